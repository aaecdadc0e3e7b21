//! The elliptic curves of OCMF's table 22, and signatures on those that this build can check.

use ecdsa::signature::hazmat::PrehashVerifier as _;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};

/// One body for curves whose types have nothing but traits in common.
macro_rules! check {
    ($curve:ty, $point:expr, $hash:expr, $signature:expr) => {{
        let Ok(key) = ecdsa::VerifyingKey::<$curve>::from_sec1_bytes($point) else { return Check::NoKey };
        // A few meters write the two numbers side by side instead of their DER.
        let signature = ecdsa::Signature::<$curve>::from_der($signature)
            .or_else(|_| ecdsa::Signature::<$curve>::from_slice($signature));
        let Ok(signature) = signature else { return Check::NoSignature };
        // (r, s) and (r, -s) are the same statement; one of the curves knows only the smaller s.
        match key.verify_prehash($hash, &signature.normalize_s()) {
            Ok(()) => Check::Right,
            Err(_) => Check::Wrong,
        }
    }};
}

/// The curve of our own meters, several times faster: an operator and a home utility check every reading of every session. What
/// it does not accept is looked at again, since it does not say what is wrong, nor read other spellings than DER.
fn is_right_on_p256(point: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).is_ok()
}

/// A curve that OCMF names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    Secp192k1,
    Secp256k1,
    Secp192r1,
    Secp256r1,
    Brainpool256r1,
    Secp384r1,
    Brainpool384r1,
}

/// What came of checking a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Right,
    Wrong,
    Unsupported,
    /// Neither DER nor two numbers side by side.
    NoSignature,
    /// The key is no point of the curve.
    NoKey,
}

impl Curve {
    pub(super) const ALL: [Self; 7] = [
        Self::Secp192k1,
        Self::Secp256k1,
        Self::Secp192r1,
        Self::Secp256r1,
        Self::Brainpool256r1,
        Self::Secp384r1,
        Self::Brainpool384r1,
    ];

    /// The curve's name, as it stands in the name of an algorithm.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Secp192k1 => "secp192k1",
            Self::Secp256k1 => "secp256k1",
            Self::Secp192r1 => "secp192r1",
            Self::Secp256r1 => "secp256r1",
            Self::Brainpool256r1 => "brainpool256r1",
            Self::Secp384r1 => "secp384r1",
            Self::Brainpool384r1 => "brainpool384r1",
        }
    }

    /// The curve of an algorithm such as `ECDSA-secp256r1-SHA256`. Real meters also write `brainpoolP256r1`.
    pub(super) fn of_algorithm(name: &str) -> Option<Self> {
        let curve = name.strip_prefix("ECDSA-")?.strip_suffix("-SHA256")?;
        let plain = curve.replace("brainpoolP", "brainpool");
        Self::ALL.into_iter().find(|c| c.name() == plain)
    }

    /// The DER of a SubjectPublicKeyInfo up to the uncompressed point, which begins with 4. It is the same for every key
    /// of a curve.
    pub(super) const fn spki_header(self) -> &'static [u8] {
        match self {
            Self::Secp192k1 => b"\x30\x46\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x1f\x03\x32\x00",
            Self::Secp256k1 => b"\x30\x56\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x0a\x03\x42\x00",
            Self::Secp192r1 => {
                b"\x30\x49\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x01\x03\x32\x00"
            }
            Self::Secp256r1 => {
                b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00"
            }
            Self::Brainpool256r1 => {
                b"\x30\x5a\x30\x14\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01\x07\x03\x42\x00"
            }
            Self::Secp384r1 => b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00",
            Self::Brainpool384r1 => {
                b"\x30\x7a\x30\x14\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01\x0b\x03\x62\x00"
            }
        }
    }

    /// Bytes of an uncompressed point: 4, then both coordinates.
    pub(super) const fn point_bytes(self) -> usize {
        match self {
            Self::Secp192k1 | Self::Secp192r1 => 49,
            Self::Secp256k1 | Self::Secp256r1 | Self::Brainpool256r1 => 65,
            Self::Secp384r1 | Self::Brainpool384r1 => 97,
        }
    }

    /// Whether signatures on it can be checked here.
    pub(super) const fn is_supported(self) -> bool {
        !matches!(self, Self::Secp192k1 | Self::Secp192r1)
    }

    /// Checks ECDSA over SHA-256 of `message`; also on the curves of 384 bits, OCMF hashes with SHA-256.
    pub(super) fn check(self, point: &[u8], message: &[u8], signature: &[u8]) -> Check {
        if self == Self::Secp256r1 && is_right_on_p256(point, message, signature) {
            return Check::Right;
        }
        let hash: [u8; 32] = Sha256::digest(message).into();
        match self {
            Self::Secp192k1 | Self::Secp192r1 => Check::Unsupported,
            Self::Secp256k1 => check!(k256::Secp256k1, point, &hash, signature),
            Self::Secp256r1 => check!(p256::NistP256, point, &hash, signature),
            Self::Brainpool256r1 => check!(bp256::BrainpoolP256r1, point, &hash, signature),
            Self::Secp384r1 => check!(p384::NistP384, point, &hash, signature),
            Self::Brainpool384r1 => check!(bp384::BrainpoolP384r1, point, &hash, signature),
        }
    }
}
