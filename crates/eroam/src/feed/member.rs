//! A member of the ledger at work: signs with the key that the ledger lists for it, and says what became of it.

use super::attestor::AttestError;
use ed25519_dalek::SigningKey;
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use eroam_ledger::port::{LedgerError, LedgerPort};
use eroam_ledger::query;
use eroam_ledger::reject::{ItemOutcome, RejectCode};
use eroam_ledger::state::StateError;
use eroam_ledger::tx::{Envelope, PublicKey, Tx, VERSION};

/// The lane of a member's envelopes that only a feed uses: two senders on one lane would take each other's sequences.
pub const FEED_LANE: u16 = 3;
/// So long after its signing an envelope is worthless: within it, its hour is over anyway.
const VALID_FOR: DurationMs = DurationMs::from_millis(3_600_000);

/// A member with its key.
pub(super) struct FeedMember<P> {
    pub(super) port: P,
    pub(super) party: PartyId,
    key: SigningKey,
}

impl<P: LedgerPort> FeedMember<P> {
    pub(super) const fn new(port: P, party: PartyId, key: SigningKey) -> Self {
        Self { port, party, key }
    }

    /// The number of the key, which the ledger must list for the member and not have replaced.
    pub(super) fn key_number(&self) -> Result<u32, AttestError> {
        let party = self.party;
        let known = query::member(&self.port, party).map_err(unreadable)?;
        let known = known.ok_or_else(|| failed(format!("{party} is no member of this network")))?;
        let own = PublicKey::of(&self.key);
        let number = known.keys.iter().position(|key| key.public == own && !key.replaced);
        number.and_then(|number| u32::try_from(number).ok()).ok_or_else(|| {
            failed(format!(
                "the key is not one that signs for {party}: name the file of the key that the ledger lists"
            ))
        })
    }

    /// Signs and submits; gives why the ledger refuses it, if it does and would again.
    pub(super) fn submit(&mut self, tx: Tx, now: UnixMillis) -> Result<Option<RejectCode>, AttestError> {
        let envelope = Envelope {
            version: VERSION,
            network: self.port.network(),
            member: self.party,
            key: self.key_number()?,
            lane: FEED_LANE,
            sequence: query::next_sequence(&self.port, self.party, FEED_LANE).map_err(unreadable)?,
            expires_at: now
                .max(self.port.time())
                .checked_add(VALID_FOR)
                .ok_or_else(|| failed("the time is beyond the year 9999".to_owned()))?,
            tx,
        };
        let receipts = self.port.submit(now, vec![envelope.sign(&self.key)]).map_err(undecided)?;
        let refused =
            receipts.iter().flat_map(|receipt| &receipt.items).find_map(|item| match item.outcome {
                ItemOutcome::Rejected(code) => Some(code),
                ItemOutcome::Accepted { .. } => None,
            });
        match refused {
            // Nobody has looked at the transaction itself.
            Some(code) if code.leaves_sequence() || code == RejectCode::Expired => {
                Err(failed(code.to_string()))
            }
            refused => Ok(refused),
        }
    }
}

pub(super) const fn failed(what: String) -> AttestError {
    AttestError { what, source: None }
}

pub(super) fn unreadable(error: StateError) -> AttestError {
    AttestError { what: "the ledger's state cannot be read".to_owned(), source: Some(Box::new(error)) }
}

fn undecided(error: LedgerError) -> AttestError {
    AttestError { what: "the ledger did not take the transaction".to_owned(), source: Some(Box::new(error)) }
}
