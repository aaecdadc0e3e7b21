//! Envelopes: a message sealed to one key or several, and authenticated by the sender's or anonymous.
//!
//! ```text
//! {protected, iv, ciphertext, tag}                  each base64url
//! protected  {enc, typ, alg, recipients: [{encrypted_key, header: {kid, sender, iv}}]}
//! Authcrypt  encrypted_key = box(content key; sender -> recipient, header.iv)
//!            header.sender = sealed box of the sender's key as base58 text
//! Anoncrypt  encrypted_key = sealed box of the content key; neither sender nor iv
//! ```
//! The content is sealed with ChaCha20-Poly1305 and a nonce of 12 bytes, although `enc` says
//! `xchacha20poly1305_ietf`: every agent does so. What is authenticated beside it is the base64url *text* of
//! `protected`.
//!
//! **Who wrote it.** Every recipient of an envelope learns its content key and can seal other content to the other
//! recipients under the same sender. [`Opened::sender`] is therefore certain only where [`Opened::recipients`] is 1;
//! the protocols of this crate refuse the others.
//!
//! Source: Aries RFC 0019.

use super::{CryptoRngCore, SigningKey};
use crate::did::{KeyError, VerificationKey, base64url};
use crate::json::{self, JsonError};
use chacha20poly1305::aead::{Aead as _, AeadInPlace as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};
use crypto_box::{PublicKey, SalsaBox};
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

/// The longest envelope that is read or written.
pub const ENVELOPE_BYTES_MAX: usize = 1024 * 1024;
/// The most recipients of an envelope.
pub const RECIPIENTS_MAX: usize = 16;

const ENC: &str = "xchacha20poly1305_ietf";
const TYP: &str = "JWM/1.0";
const AUTHCRYPT: &str = "Authcrypt";
const ANONCRYPT: &str = "Anoncrypt";
/// The longest text of a member of a header: `sender` is the longest.
const HEADER_BYTES_MAX: usize = 512;

/// Points of the curve that X25519 multiplies to zero: whatever is sealed with such an ephemeral key is open to all.
const LOW_ORDER: [[u8; 32]; 7] = {
    const fn of(first: u8, rest: u8, last: u8) -> [u8; 32] {
        let mut bytes = [rest; 32];
        bytes[0] = first;
        bytes[31] = last;
        bytes
    }
    [
        of(0, 0, 0),
        of(1, 0, 0),
        [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
            0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
        ],
        [
            0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
            0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
        ],
        of(0xec, 0xff, 0x7f),
        of(0xed, 0xff, 0x7f),
        of(0xee, 0xff, 0x7f),
    ]
};

/// Why nothing was packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Nobody, or more than [`RECIPIENTS_MAX`].
    #[error("{found} recipients, 1 to {RECIPIENTS_MAX} are possible")]
    Recipients {
        /// How many.
        found: usize,
    },
    /// The envelope would be longer than [`ENVELOPE_BYTES_MAX`].
    #[error("an envelope of {found} bytes, at most {ENVELOPE_BYTES_MAX} are sent")]
    Oversized {
        /// How long.
        found: usize,
    },
    /// More layers than [`super::forward::LAYERS_MAX`].
    #[error("{found} routing keys, at most {} are possible", super::forward::LAYERS_MAX)]
    Layers {
        /// How many routing keys.
        found: usize,
    },
    /// The cipher refuses.
    #[error("sealing failed")]
    Cipher,
}

/// Why an envelope was not opened.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Longer than [`ENVELOPE_BYTES_MAX`].
    #[error("an envelope of {found} bytes, at most {ENVELOPE_BYTES_MAX} are read")]
    Oversized {
        /// How long.
        found: usize,
    },
    /// Not JSON that is read.
    #[error("the JSON of {part}")]
    Json {
        /// Of which part.
        part: &'static str,
        /// What is wrong with it.
        #[source]
        source: JsonError,
    },
    /// A part is missing, or not what it must be.
    #[error("{0} is missing or malformed")]
    Malformed(&'static str),
    /// More recipients than [`RECIPIENTS_MAX`].
    #[error("{found} recipients, at most {RECIPIENTS_MAX} are read")]
    TooManyRecipients {
        /// How many.
        found: usize,
    },
    /// Another cipher or another kind of envelope.
    #[error("{member} is {found:?}, which is not supported")]
    Unsupported {
        /// `alg`, `enc` or `typ`.
        member: &'static str,
        /// What it says.
        found: String,
    },
    /// None of the recipients is a key of ours.
    #[error("sealed to other keys")]
    WrongRecipient,
    /// The sender's key, or the one-time key of a sealed box, is not used.
    #[error("the key of {whose}")]
    Key {
        /// Whose key.
        whose: &'static str,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// Not what was sealed: changed, or sealed by another key.
    #[error("{0} does not open")]
    BadCiphertext(&'static str),
}

/// What was in an envelope.
pub struct Opened {
    /// The message. Wiped from memory when it is dropped.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// Which of our keys it was sealed to.
    pub recipient: VerificationKey,
    /// Who sealed it: certain only when there is one recipient. `None` for anonymous envelopes.
    pub sender: Option<VerificationKey>,
    /// To how many keys it was sealed.
    pub recipients: usize,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { plaintext, recipient, sender, recipients } = self;
        f.debug_struct("Opened")
            .field("plaintext", &format_args!("{} bytes", plaintext.len()))
            .field("recipient", recipient)
            .field("sender", sender)
            .field("recipients", recipients)
            .finish()
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    protected: &'a str,
    iv: String,
    ciphertext: String,
    tag: String,
}

#[derive(Serialize)]
struct Protected {
    enc: &'static str,
    typ: &'static str,
    alg: &'static str,
    recipients: Vec<Recipient>,
}

#[derive(Serialize)]
struct Recipient {
    encrypted_key: String,
    header: Header,
}

#[derive(Serialize)]
struct Header {
    kid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iv: Option<String>,
}

/// Seals bytes to keys: authenticated by `sender`, or anonymously.
///
/// # Errors
/// [`PackError`].
pub fn pack(
    plaintext: &[u8],
    recipients: &[VerificationKey],
    sender: Option<&SigningKey>,
    rng: &mut impl CryptoRngCore,
) -> Result<Vec<u8>, PackError> {
    if !(1..=RECIPIENTS_MAX).contains(&recipients.len()) {
        return Err(PackError::Recipients { found: recipients.len() });
    }
    if plaintext.len() > ENVELOPE_BYTES_MAX {
        return Err(PackError::Oversized { found: plaintext.len() });
    }
    let mut content_key = Zeroizing::new([0; 32]);
    rng.fill_bytes(content_key.as_mut());
    let to =
        recipients.iter().map(|key| wrap_key(&content_key, key, sender, rng)).collect::<Result<_, _>>()?;
    let alg = if sender.is_some() { AUTHCRYPT } else { ANONCRYPT };
    let protected = Protected { enc: ENC, typ: TYP, alg, recipients: to };
    let protected = base64url::encode(&serde_json::to_vec(&protected).map_err(|_| PackError::Cipher)?);
    let mut iv = [0; 12];
    rng.fill_bytes(&mut iv);
    let mut content = Zeroizing::new(plaintext.to_vec());
    let tag = ChaCha20Poly1305::new(Key::from_slice(content_key.as_ref()))
        .encrypt_in_place_detached(Nonce::from_slice(&iv), protected.as_bytes(), &mut content)
        .map_err(|_| PackError::Cipher)?;
    let envelope = Envelope {
        protected: &protected,
        iv: base64url::encode(&iv),
        ciphertext: base64url::encode(&content),
        tag: base64url::encode(&tag),
    };
    let bytes = serde_json::to_vec(&envelope).map_err(|_| PackError::Cipher)?;
    if bytes.len() > ENVELOPE_BYTES_MAX {
        Err(PackError::Oversized { found: bytes.len() })
    } else {
        Ok(bytes)
    }
}

/// The content key for one recipient.
fn wrap_key(
    content_key: &[u8; 32],
    recipient: &VerificationKey,
    sender: Option<&SigningKey>,
    rng: &mut impl CryptoRngCore,
) -> Result<Recipient, PackError> {
    let public = PublicKey::from(recipient.agreement_bytes().ok_or(PackError::Cipher)?);
    let kid = recipient.to_string();
    let Some(sender) = sender else {
        let encrypted_key = public.seal(rng, content_key).map_err(|_| PackError::Cipher)?;
        let header = Header { kid, sender: None, iv: None };
        return Ok(Recipient { encrypted_key: base64url::encode(&encrypted_key), header });
    };
    let name = sender.verification_key().to_string();
    let sealed_name = public.seal(rng, name.as_bytes()).map_err(|_| PackError::Cipher)?;
    let mut iv = [0; 24];
    rng.fill_bytes(&mut iv);
    let encrypted_key = SalsaBox::new(&public, &sender.agreement())
        .encrypt(&iv.into(), content_key.as_slice())
        .map_err(|_| PackError::Cipher)?;
    let header =
        Header { kid, sender: Some(base64url::encode(&sealed_name)), iv: Some(base64url::encode(&iv)) };
    Ok(Recipient { encrypted_key: base64url::encode(&encrypted_key), header })
}

/// Opens an envelope with the first of its recipients that `find` knows.
///
/// # Errors
/// [`UnpackError`].
pub fn unpack<'k>(
    envelope: &[u8],
    find: impl Fn(&VerificationKey) -> Option<&'k SigningKey>,
) -> Result<Opened, UnpackError> {
    if envelope.len() > ENVELOPE_BYTES_MAX {
        return Err(UnpackError::Oversized { found: envelope.len() });
    }
    let envelope = json::value(envelope, ENVELOPE_BYTES_MAX)
        .map_err(|source| UnpackError::Json { part: "the envelope", source })?;
    let protected_text = text(&envelope, "protected")?;
    let protected = base64url::decode(protected_text).ok_or(UnpackError::Malformed("protected"))?;
    let protected = json::value(&protected, ENVELOPE_BYTES_MAX)
        .map_err(|source| UnpackError::Json { part: "protected", source })?;
    let supported = |member: &'static str, known: &[&str]| {
        let found = text(&protected, member)?;
        if known.contains(&found) {
            return Ok(found);
        }
        Err(UnpackError::Unsupported { member, found: found.chars().take(64).collect() })
    };
    let alg = supported("alg", &[AUTHCRYPT, ANONCRYPT])?;
    supported("enc", &[ENC])?;
    supported("typ", &[TYP])?;
    let recipients = protected.get("recipients").and_then(Value::as_array);
    let recipients = recipients.ok_or(UnpackError::Malformed("recipients"))?;
    if recipients.len() > RECIPIENTS_MAX {
        return Err(UnpackError::TooManyRecipients { found: recipients.len() });
    }
    // Names of keys that cannot be ours are not judged.
    let ours = recipients.iter().find_map(|recipient| {
        let kid = recipient.get("header")?.get("kid")?.as_str()?;
        find(&VerificationKey::from_base58(kid).ok()?).map(|key| (recipient, key))
    });
    let (recipient, key) = ours.ok_or(UnpackError::WrongRecipient)?;
    let (content_key, sender) = unwrap_key(recipient, key, alg == AUTHCRYPT)?;
    let iv = bytes(&envelope, "iv")?;
    let tag = bytes(&envelope, "tag")?;
    let mut content = Zeroizing::new(bytes(&envelope, "ciphertext")?);
    let iv: [u8; 12] = iv.try_into().map_err(|_| UnpackError::Malformed("iv"))?;
    let tag: [u8; 16] = tag.try_into().map_err(|_| UnpackError::Malformed("tag"))?;
    ChaCha20Poly1305::new(Key::from_slice(content_key.as_ref()))
        .decrypt_in_place_detached(
            Nonce::from_slice(&iv),
            protected_text.as_bytes(),
            &mut content,
            Tag::from_slice(&tag),
        )
        .map_err(|_| UnpackError::BadCiphertext("ciphertext"))?;
    Ok(Opened { plaintext: content, recipient: key.verification_key(), sender, recipients: recipients.len() })
}

/// The content key, and who sealed it.
fn unwrap_key(
    recipient: &Value,
    key: &SigningKey,
    authenticated: bool,
) -> Result<(Zeroizing<[u8; 32]>, Option<VerificationKey>), UnpackError> {
    let secret = key.agreement();
    let open = |part: &'static str, sealed: &[u8]| {
        let one_time = sealed.first_chunk::<32>().ok_or(UnpackError::Malformed(part))?;
        if is_low_order(one_time) {
            return Err(UnpackError::Key { whose: part, source: KeyError::LowOrder });
        }
        secret.unseal(sealed).map(Zeroizing::new).map_err(|_| UnpackError::BadCiphertext(part))
    };
    let encrypted_key = bytes(recipient, "encrypted_key")?;
    let header = recipient.get("header").ok_or(UnpackError::Malformed("header"))?;
    let (content_key, sender) = if authenticated {
        let name = open("sender", &bytes(header, "sender")?)?;
        let name = std::str::from_utf8(&name).map_err(|_| UnpackError::Malformed("sender"))?;
        let sender = VerificationKey::from_base58(name)
            .map_err(|source| UnpackError::Key { whose: "the sender", source })?;
        let public = sender.agreement_bytes().ok_or(UnpackError::Malformed("sender"))?;
        let iv: [u8; 24] =
            bytes(header, "iv")?.try_into().map_err(|_| UnpackError::Malformed("header.iv"))?;
        let opened = SalsaBox::new(&PublicKey::from(public), &secret)
            .decrypt(&iv.into(), encrypted_key.as_slice())
            .map_err(|_| UnpackError::BadCiphertext("encrypted_key"))?;
        (Zeroizing::new(opened), Some(sender))
    } else {
        if header.get("sender").is_some() {
            return Err(UnpackError::Malformed("an anonymous envelope that names a sender, which"));
        }
        (open("encrypted_key", &encrypted_key)?, None)
    };
    let content_key =
        <[u8; 32]>::try_from(content_key.as_slice()).map_err(|_| UnpackError::Malformed("encrypted_key"));
    Ok((Zeroizing::new(content_key?), sender))
}

/// Whether a Montgomery point has low order. The top bit is not part of the point.
fn is_low_order(point: &[u8; 32]) -> bool {
    let mut masked = *point;
    if let Some(last) = masked.last_mut() {
        *last &= 0x7f;
    }
    LOW_ORDER.contains(&masked)
}

fn text<'a>(object: &'a Value, member: &'static str) -> Result<&'a str, UnpackError> {
    object.get(member).and_then(Value::as_str).ok_or(UnpackError::Malformed(member))
}

fn bytes(object: &Value, member: &'static str) -> Result<Vec<u8>, UnpackError> {
    let text = text(object, member)?;
    if member != "ciphertext" && text.len() > HEADER_BYTES_MAX {
        return Err(UnpackError::Malformed(member));
    }
    base64url::decode(text).ok_or(UnpackError::Malformed(member))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_points_of_low_order_are_those_that_make_every_secret_the_same() {
        for point in LOW_ORDER {
            let agreed = |seed: u8| {
                let secret = crypto_box::SecretKey::from_bytes([seed; 32]);
                SalsaBox::new(&PublicKey::from(point), &secret)
                    .encrypt(&[0; 24].into(), b"a".as_slice())
                    .unwrap()
            };
            assert_eq!(agreed(1), agreed(2), "{point:02x?}");
            let mut high = point;
            high[31] |= 0x80;
            assert!(is_low_order(&high));
        }
        assert!(!is_low_order(crypto_box::SecretKey::from_bytes([1; 32]).public_key().as_bytes()));
    }

    #[test]
    fn a_sealed_box_of_a_low_order_key_is_refused() {
        let key = SigningKey::from_seed(&[1; 32]);
        let mut sealed = LOW_ORDER[1].to_vec();
        sealed.extend([0; 48]);
        let recipient = serde_json::json!({"encrypted_key": base64url::encode(&sealed), "header": {}});
        let error = unwrap_key(&recipient, &key, false).unwrap_err();
        assert!(matches!(error, UnpackError::Key { whose: "encrypted_key", source: KeyError::LowOrder }));
    }
}
