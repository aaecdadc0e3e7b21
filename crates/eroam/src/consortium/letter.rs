//! A message between two organisations on its way: JSON, signed by the sender's key on the ledger.

use ed25519_dalek::{Signer as _, SigningKey};
use eroam_domain::charge::PartnerMessage;
use eroam_domain::codec::Digest;
use eroam_domain::ids::PartyId;
use eroam_ledger::query;
use eroam_ledger::state::{StateError, StateView};
use serde::{Deserialize, Serialize};

/// A letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Letter {
    /// Who wrote it.
    pub(crate) from: PartyId,
    /// Who is to read it.
    pub(crate) to: PartyId,
    /// What it says.
    pub(crate) message: PartnerMessage,
}

/// Why a letter is not read.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    /// It cannot be written or read as JSON.
    #[error("it is no letter")]
    Malformed(#[from] serde_json::Error),
    /// It is shorter than a signature.
    #[error("it carries no signature")]
    Unsigned,
    /// The sender is no member.
    #[error("{0}, its sender, is no member")]
    UnknownSender(PartyId),
    /// None of the sender's current keys signed it.
    #[error("{0} did not sign it")]
    Forged(PartyId),
    /// It is addressed to somebody else.
    #[error("it is addressed to {0}")]
    Misdelivered(PartyId),
    /// The ledger's state could not be read.
    #[error("the ledger's state cannot be read")]
    State(#[from] StateError),
}

fn digest(body: &[u8]) -> Digest {
    Digest::of_parts("eroam/letter/1", &[body])
}

impl Letter {
    /// The bytes of the letter: a signature, then JSON.
    ///
    /// # Errors
    /// [`LetterError::Malformed`].
    pub(crate) fn seal(&self, key: &SigningKey) -> Result<Vec<u8>, LetterError> {
        let body = serde_json::to_vec(self)?;
        let mut bytes = key.sign(&digest(&body).0).to_bytes().to_vec();
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// Reads a letter whose signature is by a current key of its sender.
    ///
    /// # Errors
    /// [`LetterError`].
    pub(crate) fn open(bytes: &[u8], ledger: &dyn StateView) -> Result<Self, LetterError> {
        let (signature, body) = bytes.split_first_chunk::<64>().ok_or(LetterError::Unsigned)?;
        let letter: Self = serde_json::from_slice(body)?;
        let member = query::member(ledger, letter.from)?.ok_or(LetterError::UnknownSender(letter.from))?;
        let digest = digest(body);
        let signed = member.keys.iter().any(|k| !k.replaced && k.public.verifies(&digest.0, signature));
        if signed { Ok(letter) } else { Err(LetterError::Forged(letter.from)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consortium::{Seed, founders};
    use eroam_ledger::state::MemoryState;
    use eroam_ledger::tx::PublicKey;

    #[test]
    fn a_letter_altered_in_any_byte_or_sent_by_a_stranger_is_refused() {
        let seed = Seed(7);
        let founders = founders::founders();
        let mut state = MemoryState::default();
        let consensus = crate::ledger::LedgerSetup::default().consensus(seed, &[founders[0].party]);
        let genesis = founders::genesis(&founders, consensus, |p| PublicKey::of(&seed.signing_key(p)));
        state.apply(genesis.state().expect("the founders make a network"));
        let (from, to) = (founders[0].party, founders[1].party);
        let letter = Letter { from, to, message: PartnerMessage::ReportsReceived(Vec::new()) };
        let sealed = letter.seal(&seed.signing_key(from)).expect("it is JSON");
        assert_eq!(Letter::open(&sealed, &state).expect("it is genuine"), letter);
        for place in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[place] ^= 1;
            assert!(Letter::open(&altered, &state).is_err(), "byte {place}");
        }
        let forged = letter.seal(&seed.signing_key(to)).expect("it is JSON");
        assert!(matches!(Letter::open(&forged, &state), Err(LetterError::Forged(p)) if p == from));
        assert!(matches!(Letter::open(&sealed[..10], &state), Err(LetterError::Unsigned)));
    }
}
