//! did:eroam: identifiers of organisations, whose documents lie on the ledger of a network.
//!
//! The identifier ([`EroamDid`]) certifies its first key: who is shown another document than the ledger's first one
//! finds out without asking the ledger. Keys that came later are the ledger's word, or a proof of its state.

use super::{Did, Document, DocumentError};
use eroam_domain::ids::EroamDid;

impl From<EroamDid> for Did {
    fn from(did: EroamDid) -> Self {
        Self::trusted(did.to_string())
    }
}

/// Takes a document for the first one of an identifier: it says so, and its first key is the one.
///
/// # Errors
/// [`DocumentError::OtherSubject`], [`DocumentError::KeyMismatch`].
pub fn accept(did: EroamDid, document: Document) -> Result<Document, DocumentError> {
    let expected = Did::from(did);
    if *document.id() != expected {
        return Err(DocumentError::OtherSubject { expected, found: document.id().clone() });
    }
    let begins = document.keys().next().is_some_and(|(_, key)| did.begins_with(key.as_bytes()));
    if begins { Ok(document) } else { Err(DocumentError::KeyMismatch(expected)) }
}

#[cfg(test)]
mod tests {
    use super::super::VerificationKey;
    use super::super::key::tests::key;
    use super::*;
    use eroam_domain::codec::Digest;

    /// The identifier of the key of a seed, on the network whose digest is all sevens.
    fn did(seed: u8) -> EroamDid {
        EroamDid::derive(Digest([7; 32]), key(seed).as_bytes())
    }

    #[test]
    fn only_a_document_with_the_first_key_is_taken() {
        let document = |id: EroamDid, keys: &[VerificationKey]| Document::new(id.into(), keys, None).unwrap();
        let proper = document(did(1), &[key(1), key(2)]);
        assert_eq!(accept(did(1), proper.clone()).unwrap(), proper);
        let second = accept(did(1), document(did(1), &[key(2), key(1)]));
        assert!(matches!(second, Err(DocumentError::KeyMismatch(_))));
        let other = accept(did(1), document(did(2), &[key(1)]));
        assert!(matches!(other, Err(DocumentError::OtherSubject { .. })));
    }
}
