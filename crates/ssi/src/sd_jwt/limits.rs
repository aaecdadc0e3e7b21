//! How much is read.

use std::time::Duration;

/// How far two clocks may differ.
pub const LEEWAY: Duration = Duration::from_secs(60);
/// Bytes of a credential or presentation.
pub const SD_JWT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the part that the issuer signs.
pub const JWT_BYTES_MAX: usize = 32 * 1024;
/// Bytes of a header; some carry a chain of certificates.
pub const HEADER_BYTES_MAX: usize = 8 * 1024;
/// Bytes of the key binding.
pub const KEY_BINDING_BYTES_MAX: usize = 4 * 1024;
/// Disclosures of one credential.
pub const DISCLOSURES_MAX: usize = 128;
/// Bytes of one disclosure.
pub const DISCLOSURE_BYTES_MAX: usize = 8 * 1024;
/// Decoys in one object.
pub const DECOYS_MAX: u8 = 16;
/// Bytes of a nonce.
pub const NONCE_BYTES_MAX: usize = 256;
/// Bytes of an audience.
pub const AUDIENCE_BYTES_MAX: usize = 512;
/// Bytes of the name of an issuer, of a type and of a status list.
pub const URI_BYTES_MAX: usize = 512;
/// Bytes of a status list as it travels.
pub const STATUS_LIST_BYTES_MAX: usize = 256 * 1024;
/// Credentials in one status list: 128 KiB when inflated.
pub const STATUS_ENTRIES_MAX: u32 = 1 << 20;
/// The latest second that is read: the end of the year 9999.
pub(super) const SECONDS_MAX: u64 = 253_402_300_799;
