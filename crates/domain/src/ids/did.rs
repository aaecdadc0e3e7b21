//! Decentralized identifiers of organisations, and the names of what they publish for verifiers.
//!
//! ```text
//! did:eroam:<network>:<id>                                                  an organisation's issuer or agent
//! <did>/anoncreds/v1/schema/<name>/<version>
//! <did>/anoncreds/v1/credential-definition/<schema>/<tag>
//! <did>/anoncreds/v1/revocation-registry/<credential definition>/<tag>
//! ```
//! `<network>` is the beginning of the network's digest, `<id>` the beginning of SHA-256 of the DID's first key: nobody
//! else can register it. `<schema>` and `<credential definition>` are the beginning of SHA-256 of the full id of what
//! an object builds on, since that may be another organisation's. All of these in lower-case hexadecimal; names, versions
//! and tags are percent-encoded, and only the one canonical spelling is read.
//!
//! Source: DID Core 1.0, section 3; the layout follows did:indy, where objects also live under their issuer by path.

use crate::codec::{Digest, ShortText, write_hex};
use borsh::{BorshDeserialize, BorshSerialize};
use std::fmt;
use std::str::FromStr;

/// The text before the network.
const METHOD: &str = "did:eroam:";
/// The text between a DID and the kind of an object.
const OBJECTS: &str = "/anoncreds/v1/";
/// The greatest size in bytes of a schema's name and of a tag, before percent-encoding.
pub const NAME_BYTES_MAX: usize = 64;
/// The greatest size in bytes of a schema's version.
pub const SCHEMA_VERSION_BYTES_MAX: usize = 16;

/// A DID that is registered on the ledger of the network that it names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct EroamDid {
    network: [u8; 8],
    id: [u8; 16],
}

/// Why text is no DID, or no name of an object, of an eroam network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{found}` is no {expected} in its canonical spelling: did:eroam:<16 hexadecimal digits>:<32 hexadecimal digits>{path}"
)]
pub struct ObjectIdError {
    /// The beginning of the text.
    found: String,
    /// What it should have been.
    expected: &'static str,
    /// What follows the DID.
    path: &'static str,
}

impl EroamDid {
    /// The DID that begins with an Ed25519 public key on a network.
    #[must_use]
    pub fn derive(network: Digest, first_key: &[u8; 32]) -> Self {
        Self { network: beginning_of(&network), id: beginning_of(&Digest::of(first_key)) }
    }

    /// Whether it is one of this network.
    #[must_use]
    pub fn is_of(&self, network: Digest) -> bool {
        self.network == beginning_of(&network)
    }

    /// Whether this Ed25519 public key was its first.
    #[must_use]
    pub fn begins_with(&self, key: &[u8; 32]) -> bool {
        self.id == beginning_of(&Digest::of(key))
    }
}

/// The first bytes of a digest.
fn beginning_of<const N: usize>(digest: &Digest) -> [u8; N] {
    const { assert!(N <= 32, "a digest has 32 bytes") };
    let mut beginning = [0; N];
    beginning.iter_mut().zip(digest.0).for_each(|(to, from)| *to = from);
    beginning
}

/// `2 * N` lower-case hexadecimal digits.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (digits, rest) = text.as_bytes().as_chunks::<2>();
    let mut bytes = [0; N];
    if digits.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(digits) {
        let digit = |d: &u8| match d {
            b'0'..=b'9' | b'a'..=b'f' => char::from(*d).to_digit(16).and_then(|d| u8::try_from(d).ok()),
            _ => None,
        };
        *byte = digit(high)?.checked_mul(16)?.checked_add(digit(low)?)?;
    }
    Some(bytes)
}

impl fmt::Display for EroamDid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(METHOD)?;
        write_hex(f, &self.network)?;
        f.write_str(":")?;
        write_hex(f, &self.id)
    }
}

impl fmt::Debug for EroamDid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn did_of(text: &str) -> Option<EroamDid> {
    let (network, id) = text.strip_prefix(METHOD)?.split_once(':')?;
    Some(EroamDid { network: hex(network)?, id: hex(id)? })
}

impl FromStr for EroamDid {
    type Err = ObjectIdError;
    fn from_str(s: &str) -> Result<Self, ObjectIdError> {
        did_of(s).ok_or_else(|| ObjectIdError { found: beginning(s), expected: "DID", path: "" })
    }
}

crate::codec::text_serde!(EroamDid);

fn beginning(text: &str) -> String {
    text.chars().take(160).collect()
}

/// Characters that stand for themselves in a path.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Text as it stands in a path.
struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            if is_unreserved(byte) { write!(f, "{}", char::from(byte))? } else { write!(f, "%{byte:02X}")? }
        }
        Ok(())
    }
}

/// The text that a path's segment spells, if it spells it canonically.
fn decoded<const N: usize>(segment: &str) -> Option<ShortText<N>> {
    let mut text = String::new();
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            hex::<1>(&std::str::from_utf8(&digits).ok()?.to_ascii_lowercase()).map(|[byte]| byte)?
        } else {
            byte
        };
        text.push(char::from(byte));
    }
    let text = ShortText::new(&text).ok()?;
    (Encoded(text.as_str()).to_string() == segment).then_some(text)
}

/// The two segments after `<did>/anoncreds/v1/<kind>/`.
fn segments<'a>(text: &'a str, kind: &str) -> Option<(EroamDid, &'a str, &'a str)> {
    let (did, path) = text.split_once(OBJECTS)?;
    let (first, second) = path.strip_prefix(kind)?.strip_prefix('/')?.split_once('/')?;
    Some((did_of(did)?, first, second))
}

macro_rules! object_id {
    ($(#[$doc:meta])* $name:ident { $(#[$first_doc:meta])* $first:ident: $first_type:ty, $(#[$second_doc:meta])* $second:ident: $second_type:ty },
     $kind:literal, $what:literal, $path:literal, $parse:expr, $show:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
        pub struct $name {
            /// Whose it is.
            pub did: EroamDid,
            $(#[$first_doc])* pub $first: $first_type,
            $(#[$second_doc])* pub $second: $second_type,
        }

        impl FromStr for $name {
            type Err = ObjectIdError;
            fn from_str(s: &str) -> Result<Self, ObjectIdError> {
                let parse = || {
                    let (did, first, second) = segments(s, $kind)?;
                    Some(Self { did, $first: $parse(first)?, $second: decoded(second)? })
                };
                parse().ok_or_else(|| ObjectIdError { found: beginning(s), expected: $what, path: $path })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Self { did, $first: first, $second: second } = self;
                write!(f, concat!("{}/anoncreds/v1/", $kind, "/{}/{}"), did, $show(first), Encoded(second.as_str()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        crate::codec::text_serde!($name);
    };
}

/// Part of an object's id: the beginning of SHA-256 of the full id of the object that it builds on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct IdHash([u8; 8]);

impl IdHash {
    /// Of a full id.
    #[must_use]
    pub fn of(id: &impl fmt::Display) -> Self {
        Self(beginning_of(&Digest::of(id.to_string().as_bytes())))
    }
}

impl fmt::Display for IdHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for IdHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

object_id!(
    /// A schema: which attributes a kind of credential has.
    SchemaId {
        /// Its name.
        name: ShortText<NAME_BYTES_MAX>,
        /// Its version.
        version: ShortText<SCHEMA_VERSION_BYTES_MAX>
    },
    "schema", "id of a schema", "/anoncreds/v1/schema/<name>/<version>", decoded,
    |text: &'_ ShortText<NAME_BYTES_MAX>| Encoded(text.as_str()).to_string()
);

object_id!(
    /// A credential definition: an issuer's keys for credentials of a schema.
    CredentialDefinitionId {
        /// Of the schema's id.
        schema: IdHash,
        /// Tells an issuer's definitions for one schema apart.
        tag: ShortText<NAME_BYTES_MAX>
    },
    "credential-definition", "id of a credential definition",
    "/anoncreds/v1/credential-definition/<16 hexadecimal digits>/<tag>", |text: &str| hex(text).map(IdHash), |hash: &IdHash| *hash
);

object_id!(
    /// A revocation registry of a credential definition.
    RevocationRegistryId {
        /// Of the credential definition's id.
        credential_definition: IdHash,
        /// Tells a definition's registries apart.
        tag: ShortText<NAME_BYTES_MAX>
    },
    "revocation-registry", "id of a revocation registry",
    "/anoncreds/v1/revocation-registry/<16 hexadecimal digits>/<tag>", |text: &str| hex(text).map(IdHash), |hash: &IdHash| *hash
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{from_bytes, to_bytes};
    use proptest::prelude::*;

    fn did() -> EroamDid {
        EroamDid::derive(Digest([0x1f; 32]), &[7; 32])
    }

    const DID: &str = "did:eroam:1f1f1f1f1f1f1f1f:bb1a48a7d6c5a2e7a6a1a1d4d4b1b3ee";

    #[test]
    fn a_did_names_its_network_and_its_first_key() {
        let did = did();
        let text = did.to_string();
        assert!(text.starts_with("did:eroam:1f1f1f1f1f1f1f1f:"), "{text}");
        assert_eq!(text.len(), DID.len());
        assert_eq!(text.parse(), Ok(did));
        assert!(did.is_of(Digest([0x1f; 32])) && !did.is_of(Digest([0x1e; 32])));
        assert!(did.begins_with(&[7; 32]) && !did.begins_with(&[8; 32]));
        assert_eq!(from_bytes::<EroamDid>(&to_bytes(&did)), Ok(did));
        assert_eq!(to_bytes(&did).len(), 24);
    }

    #[test]
    fn what_is_no_did_is_refused() {
        let upper = DID.replace("bb1a", "BB1A");
        let table = [
            "",
            "did",
            "did:eroam:",
            "did:key:z6Mk",
            &DID[..DID.len() - 1],
            &DID[..DID.len() - 2],
            &upper,
            &format!("{DID}0"),
            &format!("{DID}00"),
            &format!(" {DID}"),
            &format!("{DID}#key-1"),
            &format!("{DID}/"),
        ]
        .map(str::to_owned);
        for text in table {
            let error = text.parse::<EroamDid>().unwrap_err().to_string();
            assert!(error.contains("is no DID"), "{text}: {error}");
        }
        assert!(DID.parse::<EroamDid>().is_ok());
    }

    #[test]
    fn objects_have_one_spelling() {
        let schema = SchemaId {
            did: did(),
            name: ShortText::new("driver card/2 %").unwrap(),
            version: ShortText::new("1.0").unwrap(),
        };
        let text = schema.to_string();
        assert!(text.ends_with("/anoncreds/v1/schema/driver%20card%2F2%20%25/1.0"), "{text}");
        assert_eq!(text.parse(), Ok(schema.clone()));
        let definition = CredentialDefinitionId {
            did: did(),
            schema: IdHash::of(&schema),
            tag: ShortText::new("2026").unwrap(),
        };
        assert_eq!(definition.to_string().parse(), Ok(definition.clone()));
        let registry = RevocationRegistryId {
            did: did(),
            credential_definition: IdHash::of(&definition),
            tag: ShortText::new("a").unwrap(),
        };
        assert_eq!(registry.to_string().parse(), Ok(registry.clone()));
        assert_eq!(from_bytes::<SchemaId>(&to_bytes(&schema)), Ok(schema));
        let base = did().to_string();
        let table = [
            format!("{base}/anoncreds/v1/schema/driver%20card/"),
            format!("{base}/anoncreds/v1/schema//1.0"),
            format!("{base}/anoncreds/v1/schema/a/b/c"),
            format!("{base}/anoncreds/v1/schema/driver card/1.0"),
            format!("{base}/anoncreds/v1/schema/%61/1.0"),
            format!("{base}/anoncreds/v1/schema/a%2f/1.0"),
            format!("{base}/anoncreds/v1/schema/a%2/1.0"),
            format!("{base}/anoncreds/v1/schema/a%C3%A9/1.0"),
            format!("{base}/anoncreds/v1/schema/é/1.0"),
            format!("{base}/anoncreds/v0/schema/a/1.0"),
            format!("{base}/anoncreds/v1/schema/{}/1.0", "a".repeat(65)),
            format!("{base}/anoncreds/v1/credential-definition/12345678/a"),
        ];
        for text in table {
            assert!(text.parse::<SchemaId>().is_err(), "{text}");
            assert!(text.parse::<CredentialDefinitionId>().is_err(), "{text}");
            assert!(text.parse::<RevocationRegistryId>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn ids_round_trip(name in "[ -~]{1,64}", version in "[ -~]{1,16}") {
            let (name, version) = (ShortText::new(&name).unwrap(), ShortText::new(&version).unwrap());
            let id = SchemaId { did: did(), name, version };
            prop_assert_eq!(id.to_string().parse::<SchemaId>(), Ok(id));
        }

        #[test]
        fn arbitrary_text_is_never_a_panic(text in "(did:eroam:)?[0-9a-f:]{0,60}(/anoncreds/v1/)?.{0,30}") {
            let _ = text.parse::<EroamDid>();
            if let Ok(id) = text.parse::<SchemaId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
