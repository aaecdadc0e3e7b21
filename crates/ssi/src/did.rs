//! Whose key it is, and where to send: decentralized identifiers and what they resolve to.
//!
//! - [`Did`]: any identifier, checked for its form alone.
//! - [`resolve`]: the document of an identifier that carries it: `did:key`, `did:peer:2`, `did:peer:4` (long form).
//! - [`accept`]: the document of an organisation's `did:eroam`, which lies on the ledger.
//!
//! Nothing is fetched here.
//!
//! Source: W3C DID Core 1.0; the did:key and did:peer specifications; Aries RFCs 0067 and 0360.

pub(crate) mod base64url;
mod document;
mod eroam;
mod key;
pub mod peer2;
pub mod peer4;

pub use document::{Document, DocumentError, Endpoint, KEYS_MAX, SERVICES_MAX, Service, Target};
pub use eroam::accept;
pub use key::{KeyError, VerificationKey};

use std::fmt;

/// The longest identifier that is read. The long form of `did:peer:4` carries a whole document.
pub const DID_BYTES_MAX: usize = 4096;

/// Why text is not an identifier, or an identifier has no document here.
#[derive(Debug, thiserror::Error)]
pub enum DidError {
    /// Longer than [`DID_BYTES_MAX`].
    #[error("an identifier of {found} bytes, at most {DID_BYTES_MAX} are read")]
    TooLong {
        /// Its bytes.
        found: usize,
    },
    /// Not of the form `did:method:id`.
    #[error("not of the form did:method:id")]
    Form,
    /// Another method, or one whose documents lie elsewhere.
    #[error("an identifier of the method {method} does not carry its document")]
    NotSelfContained {
        /// The method.
        method: String,
    },
    /// The short form of `did:peer:4`: the long form must have been seen before.
    #[error("the short form of did:peer:4 does not carry its document")]
    ShortForm,
    /// A part of the identifier cannot be read.
    #[error("{part} cannot be read")]
    Malformed {
        /// Which part.
        part: &'static str,
    },
    /// The hash within the identifier is not that of its document.
    #[error("the hash within the identifier is not that of the document")]
    HashMismatch,
    /// A key within the identifier is not used.
    #[error("a key of the identifier")]
    Key(#[from] KeyError),
    /// The document that the identifier carries is not one.
    #[error("the document of the identifier")]
    Document(#[from] DocumentError),
}

/// A decentralized identifier without path, query or fragment, checked for its form: `did:method:id`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Did(Box<str>);

impl Did {
    /// Reads an identifier.
    ///
    /// # Errors
    /// [`DidError::TooLong`], [`DidError::Form`].
    pub fn parse(text: &str) -> Result<Self, DidError> {
        if text.len() > DID_BYTES_MAX {
            return Err(DidError::TooLong { found: text.len() });
        }
        let (method, id) =
            text.strip_prefix("did:").and_then(|rest| rest.split_once(':')).ok_or(DidError::Form)?;
        let named =
            !method.is_empty() && method.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if named && is_specific_id(id) { Ok(Self(text.into())) } else { Err(DidError::Form) }
    }

    /// Text that this module wrote in the proper form.
    fn trusted(text: String) -> Self {
        Self(text.into())
    }

    /// The identifier.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The method: `peer` in `did:peer:2..`.
    #[must_use]
    pub fn method(&self) -> &str {
        self.split().0
    }

    /// What follows the method: `2..` in `did:peer:2..`.
    #[must_use]
    pub fn specific_id(&self) -> &str {
        self.split().1
    }

    fn split(&self) -> (&str, &str) {
        self.0.strip_prefix("did:").and_then(|rest| rest.split_once(':')).unwrap_or_default()
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Did({})", self.0)
    }
}

/// The document that an identifier carries within itself.
///
/// # Errors
/// [`DidError::NotSelfContained`] for other methods, `did:eroam` among them; else what is wrong with it.
pub fn resolve(did: &Did) -> Result<Document, DidError> {
    let id = did.specific_id();
    match (did.method(), id.as_bytes().first()) {
        ("key", _) => Ok(Document::of_key(did.clone(), VerificationKey::from_did_key(did.as_str())?)),
        ("peer", Some(b'2')) => peer2::resolve(did),
        ("peer", Some(b'4')) => peer4::resolve(did),
        (method, _) => Err(DidError::NotSelfContained { method: method.to_owned() }),
    }
}

/// `idchar`s and percent-encoded bytes, in parts that colons separate; the last part is not empty.
fn is_specific_id(id: &str) -> bool {
    let mut bytes = id.bytes();
    while let Some(byte) = bytes.next() {
        let proper = match byte {
            b'%' => [bytes.next(), bytes.next()].iter().all(|b| b.is_some_and(|b| b.is_ascii_hexdigit())),
            _ => byte.is_ascii_alphanumeric() || b".-_:".contains(&byte),
        };
        if !proper {
            return false;
        }
    }
    !id.is_empty() && !id.ends_with(':')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_form_of_an_identifier_is_taken() {
        for good in ["did:web:a.example", "did:x:y", "did:a1:b%2Fc", "did:web:a::b", "did:key:z6Mk"] {
            assert_eq!(Did::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "did:",
            "did:x",
            "did:x:",
            "did::y",
            "did:X:y",
            "did:x:y/z",
            "did:x:y#z",
            "did:x:y?z",
            "did:x:ä",
        ] {
            assert!(matches!(Did::parse(bad), Err(DidError::Form)), "{bad}");
        }
        for bad in ["did:x:y%", "did:x:%2", "did:x:%zz", "did:x:y:", " did:x:y", "DID:x:y", "did:x:y "] {
            assert!(matches!(Did::parse(bad), Err(DidError::Form)), "{bad}");
        }
        let long = format!("did:x:{}", "y".repeat(DID_BYTES_MAX));
        assert!(matches!(Did::parse(&long), Err(DidError::TooLong { found: 4102 })));
    }

    #[test]
    fn a_did_key_is_its_own_document() {
        let key = key::tests::key(3);
        let document = resolve(&key.to_did_key()).unwrap();
        assert!(document.has_key(&key));
        assert!(document.target().is_none());
        assert_eq!(document.id(), &key.to_did_key());
    }

    #[test]
    fn other_methods_need_a_document_from_elsewhere() {
        for did in ["did:web:a.example", "did:eroam:a:b", "did:peer:0z6Mk", "did:peer:3zQm", "did:sov:abc"] {
            let error = resolve(&Did::parse(did).unwrap()).unwrap_err();
            assert!(matches!(error, DidError::NotSelfContained { .. }), "{did}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "(did:(peer:[24]|key:|eroam:|x:))?[ -~ä]{0,60}") {
            if let Ok(did) = Did::parse(&text) {
                prop_assert_eq!(did.to_string(), text);
                let _ = resolve(&did);
            }
        }
    }
}
