//! SD-JWT VC with key binding: what a station shows to a driver and to an operator. Stations are not private, so an
//! ordinary signature does, and the holder shows the claims that are asked for and no others.
//!
//! ```text
//! issuer    IssueSdJwt::sign       -> text            StatusList::sign -> text
//! holder    HeldSdJwt::receive     -> HeldSdJwt,      HeldSdJwt::present -> text
//! verifier  PresentedSdJwt::verify -> VerifiedSdJwt   VerifiedStatusList::verify
//! ```
//! One algorithm (ES256, SHA-256), one form (compact), key binding always. There are no clocks: `now` is an argument,
//! and clocks may differ by [`LEEWAY`]. Whose key signs, the caller says ([`TrustedIssuer`]); nothing is fetched.
//! Claims that are fractions are not read ([`crate::json`]).
//!
//! Source: RFC 9901; draft-ietf-oauth-sd-jwt-vc; draft-ietf-oauth-status-list; RFC 7515, 7517, 7800.
// Not on `sd-jwt-payload` 0.5.1: it reads JSON leniently (a key twice) and brings twelve crates for 200 lines (`unpack`).

mod claim_path;
mod disclosure;
mod error;
mod facts;
mod holder;
mod issuer;
mod jwt;
mod key;
mod limits;
mod status_list;
mod unpack;
mod verifier;

pub use claim_path::{ClaimPath, Step};
pub use error::{IssueError, JwtError, KeyError, PresentError, SdJwtError, StatusListError};
pub use facts::StatusReference;
pub use holder::HeldSdJwt;
pub use issuer::IssueSdJwt;
pub use key::{SigningKey, TrustedIssuer, VerifyingKey};
pub use limits::{
    AUDIENCE_BYTES_MAX, DECOYS_MAX, DISCLOSURE_BYTES_MAX, DISCLOSURES_MAX, HEADER_BYTES_MAX, JWT_BYTES_MAX,
    KEY_BINDING_BYTES_MAX, LEEWAY, NONCE_BYTES_MAX, SD_JWT_BYTES_MAX, STATUS_ENTRIES_MAX,
    STATUS_LIST_BYTES_MAX, URI_BYTES_MAX,
};
pub use status_list::{NewStatusList, StatusList, VerifiedStatusList};
pub use verifier::{Demand, PresentedSdJwt, VerifiedSdJwt, WithoutStatus};

/// The `typ` of a credential.
const CREDENTIAL_TYPE: &str = "dc+sd-jwt";
/// The `typ` of a key binding.
const KEY_BINDING_TYPE: &str = "kb+jwt";
/// The `typ` of a status list.
const STATUS_LIST_TYPE: &str = "statuslist+jwt";
/// Digests of an object's hidden claims.
const SD: &str = "_sd";
/// By which function digests are made.
const SD_ALG: &str = "_sd_alg";
/// The digest of a hidden element of an array.
const ELEMENT: &str = "...";
/// The only function.
const SHA_256: &str = "sha-256";
/// What a credential says at its top openly, so that nobody can hold it back.
const OPEN_CLAIMS: [&str; 8] = ["iss", "iat", "nbf", "exp", "cnf", "vct", "vct#integrity", "status"];

/// Base64url of the SHA-256 of a text.
fn digest(text: &str) -> String {
    use sha2::Digest as _;
    crate::did::base64url::encode(&sha2::Sha256::digest(text.as_bytes()))
}

/// Whole seconds of an instant, as JWTs write it.
fn seconds(instant: eroam_domain::time::UnixMillis) -> u64 {
    u64::try_from(instant.get().div_euclid(1000)).unwrap_or(0)
}
