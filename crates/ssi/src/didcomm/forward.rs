//! Layers for mediators: each opens one, learns only where the next goes, and passes it on.
//!
//! ```text
//! routing keys [near, far]:  anonymous to far {to: near, msg: anonymous to near {to: recipient, msg: envelope}}
//! ```
//! Source: Aries RFCs 0094 and 0067 (`routingKeys`: the nearest to the recipient first).

use super::envelope::{ENVELOPE_BYTES_MAX, PackError, pack};
use super::message::MessageId;
use super::{CryptoRngCore, Message, MessageType};
use crate::did::VerificationKey;
use serde_json::Value;

/// The most layers that are put around an envelope.
pub const LAYERS_MAX: usize = 4;
/// The type of a layer's message.
pub const FORWARD: &str = "https://didcomm.org/routing/1.0/forward";

/// Why a message is not one that a mediator passes on.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// Another type of message.
    #[error("a message of the type {found}, expected {FORWARD}")]
    NotForward {
        /// Its type.
        found: MessageType,
    },
    /// `to` names no key.
    #[error("no key is named to pass it on to")]
    To,
    /// `msg` is no envelope.
    #[error("there is no envelope to pass on")]
    Msg,
}

/// What a mediator passes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// To the holder of which key.
    pub to: VerificationKey,
    /// The envelope.
    pub envelope: Vec<u8>,
}

/// Puts a layer around an envelope for each routing key, the nearest to the recipient innermost.
///
/// # Errors
/// [`PackError`].
pub fn wrap(
    envelope: Vec<u8>,
    recipient: &VerificationKey,
    routing_keys: &[VerificationKey],
    rng: &mut impl CryptoRngCore,
) -> Result<Vec<u8>, PackError> {
    if routing_keys.len() > LAYERS_MAX {
        return Err(PackError::Layers { found: routing_keys.len() });
    }
    let (mut envelope, mut to) = (envelope, recipient);
    for key in routing_keys {
        let inner: Value = serde_json::from_slice(&envelope).map_err(|_| PackError::Cipher)?;
        let forward = serde_json::json!({"@type": FORWARD, "@id": MessageId::random(rng).as_str(), "to": to.to_string(),
            "msg": inner});
        envelope = pack(forward.to_string().as_bytes(), &[*key], None, rng)?;
        to = key;
    }
    Ok(envelope)
}

/// What a mediator does with a message that it opened: for whom the envelope in it is. Whether it serves that key is
/// the mediator's to decide.
///
/// # Errors
/// [`ForwardError`].
pub fn unwrap(message: &Message) -> Result<Forward, ForwardError> {
    let kind = message.kind();
    if !kind.is("routing", 1, "forward") {
        return Err(ForwardError::NotForward { found: kind.clone() });
    }
    let to = message.body().get("to").and_then(Value::as_str).ok_or(ForwardError::To)?;
    let to = if to.starts_with("did:key:") {
        VerificationKey::from_did_key(to)
    } else {
        VerificationKey::from_base58(to)
    };
    let inner = message.body().get("msg").filter(|inner| inner.is_object()).ok_or(ForwardError::Msg)?;
    let envelope = inner.to_string().into_bytes();
    if envelope.len() > ENVELOPE_BYTES_MAX {
        return Err(ForwardError::Msg);
    }
    Ok(Forward { to: to.map_err(|_| ForwardError::To)?, envelope })
}
