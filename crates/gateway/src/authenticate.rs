//! Is the driver who shows a contract number the contract's driver?
//!
//! A card's uid or a PIN together with the contract id answers it; a bare typed number never does (anybody can read
//! one off a card). Source: Paper A, section 2.1.3; DESIGN.md, Identifiers.

use crate::profiles::HomeProfile;
use argon2::{Algorithm, Argon2, Params, Version};
use eroam_domain::charge::{Denial, PresentedCredential};
use eroam_domain::codec::{Digest, to_bytes};
use eroam_domain::ids::ContractId;
use serde::{Deserialize, Serialize};

/// So many wrong PINs in a row lock the PIN.
pub const WRONG_PINS_MAX: u8 = 5;
/// Argon2id memory in KiB.
const PIN_MEMORY_KIB: u32 = 8 * 1024;
/// Argon2id passes.
const PIN_PASSES: u32 = 2;

/// A salted digest of a card's uid: the uid itself is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardDigest(Digest);

impl CardDigest {
    /// Of the card `uid` (hexadecimal as the reader gives it; case and separators do not matter) for `contract`,
    /// under the organisation's secret salt.
    #[must_use]
    pub fn new(salt: &Digest, contract: &ContractId, uid: &str) -> Self {
        let uid: String = uid.chars().filter(char::is_ascii_alphanumeric).collect();
        let uid = uid.to_ascii_uppercase();
        Self(Digest::of_parts("eroam/card/1", &[&salt.0, &to_bytes(contract), uid.as_bytes()]))
    }
}

/// What a PIN is checked against: Argon2id, since a PIN has few digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinVerifier {
    salt: Digest,
    hash: Digest,
}

/// The PIN could not be hashed.
#[derive(Debug, thiserror::Error)]
#[error("the PIN could not be hashed: {0}")]
pub struct PinError(String);

impl PinVerifier {
    /// For a PIN, with a fresh salt from the caller.
    ///
    /// # Errors
    /// [`PinError`] when Argon2 refuses its input.
    pub fn new(salt: Digest, pin: &str) -> Result<Self, PinError> {
        Ok(Self { salt, hash: hash_pin(&salt, pin)? })
    }

    /// Whether `pin` is the PIN.
    ///
    /// # Errors
    /// [`PinError`].
    pub fn verifies(&self, pin: &str) -> Result<bool, PinError> {
        Ok(hash_pin(&self.salt, pin)? == self.hash)
    }
}

fn hash_pin(salt: &Digest, pin: &str) -> Result<Digest, PinError> {
    let error = |e: argon2::Error| PinError(e.to_string());
    let params = Params::new(PIN_MEMORY_KIB, PIN_PASSES, 1, Some(32)).map_err(error)?;
    let mut out = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(pin.as_bytes(), &salt.0, &mut out)
        .map_err(error)?;
    Ok(Digest(out))
}

/// Checks what was shown against the customer's own profile. A wrong PIN is counted in the profile, a right one
/// forgives the wrong ones before it; the caller stores the profile when it changed.
///
/// # Errors
/// The [`Denial`] to show the driver, inside `Ok`; [`PinError`] when the PIN could not be hashed.
pub fn at_home(
    salt: &Digest,
    profile: &mut HomeProfile,
    shown: &PresentedCredential,
) -> Result<Result<(), Denial>, PinError> {
    Ok(match shown {
        PresentedCredential::None => Err(Denial::CredentialNeeded),
        PresentedCredential::CardUid(uid) => {
            let digest = CardDigest::new(salt, &profile.contract, uid);
            if profile.cards.contains(&digest) { Ok(()) } else { Err(Denial::WrongCredential) }
        }
        PresentedCredential::Pin(_) if profile.wrong_pins >= WRONG_PINS_MAX => Err(Denial::PinLocked),
        PresentedCredential::Pin(pin) => {
            let right = match &profile.pin {
                Some(verifier) => verifier.verifies(pin)?,
                None => false,
            };
            if right {
                profile.wrong_pins = 0;
                Ok(())
            } else {
                profile.wrong_pins = profile.wrong_pins.saturating_add(1);
                Err(Denial::WrongCredential)
            }
        }
    })
}

/// A salted digest of a credential that the home utility has accepted, by which a visited operator knows it again.
/// `None` for nothing shown.
#[must_use]
pub fn seen_credential(salt: &Digest, contract: &ContractId, shown: &PresentedCredential) -> Option<Digest> {
    let (kind, secret): (&[u8], &str) = match shown {
        PresentedCredential::CardUid(uid) => (b"card", uid),
        PresentedCredential::Pin(pin) => (b"pin", pin),
        PresentedCredential::None => return None,
    };
    Some(Digest::of_parts(
        "eroam/seen-credential/1",
        &[&salt.0, &to_bytes(contract), kind, secret.as_bytes()],
    ))
}
