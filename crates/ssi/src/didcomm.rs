//! Sealed messages between agents (DIDComm v1).
//!
//! - [`SigningKey`]: the secret half of a key; envelopes are sealed to and by Ed25519 keys.
//! - [`envelope`]: authenticated and anonymous envelopes, for one recipient or several.
//! - [`forward`]: layers for mediators on the way.
//! - [`Message`]: what is in an envelope: its type, its id, its thread.
//! - [`attachment`]: data within a message, signed or not.
//! - [`replay`]: which messages came before.
//!
//! Nothing is sent or received here, and there is no clock. Randomness comes in as an argument of the trait
//! [`CryptoRngCore`]; [`OsRng`] is the operating system's (in a browser: the browser's).
//!
//! Source: Aries RFCs 0008, 0011, 0017, 0019, 0025, 0032, 0094.

pub mod attachment;
pub mod envelope;
pub mod forward;
pub mod message;
pub mod replay;
mod signing_key;
mod timestamp;

pub use attachment::{Attachment, AttachmentError};
pub use crypto_box::aead::rand_core::{CryptoRngCore, OsRng, RngCore};
pub use envelope::{Opened, PackError, UnpackError, pack, unpack};
pub use message::{Message, MessageError, MessageId, MessageType, ReturnRoute, Version};
pub use replay::{Channel, Replay, ReplayWindow};
pub use signing_key::SigningKey;
pub use timestamp::parse_timestamp;

use crate::did::Target;

/// The media type of an envelope.
pub const MEDIA_TYPE: &str = "application/didcomm-envelope-enc";
/// The media type that some agents send for the same envelopes.
pub const MEDIA_TYPE_OLD: &str = "application/ssi-agent-wire";

/// Packs a message for a target, authenticated by `sender`, with a layer for each mediator on the way: the bytes to
/// send to the target's endpoint as [`MEDIA_TYPE`].
///
/// # Errors
/// [`PackError`].
pub fn seal(
    message: &Message,
    target: &Target,
    sender: &SigningKey,
    rng: &mut impl CryptoRngCore,
) -> Result<Vec<u8>, PackError> {
    let plaintext = zeroize::Zeroizing::new(message.to_bytes());
    let packed = pack(&plaintext, &[*target.recipient()], Some(sender), rng)?;
    forward::wrap(packed, target.recipient(), target.routing_keys(), rng)
}
