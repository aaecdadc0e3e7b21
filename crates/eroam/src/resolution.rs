//! The resolver of an agreement decides about a contested record: signs with the key that the ledger lists for it, and says
//! what the ledger made of it.
//!
//! It needs no program of its own: a node and the member's key are enough. Source: DESIGN.md, "Ledger" (`Resolve`).

use ed25519_dalek::SigningKey;
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use eroam_gateway::anomalies::RecordName;
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::port::{LedgerError, LedgerPort};
use eroam_ledger::query;
use eroam_ledger::reject::RejectCode;
use eroam_ledger::state::StateError;
use eroam_ledger::tx::{Envelope, PublicKey, Tx, VERSION};

/// The lane of a member's decisions, which nothing else uses: two senders on one lane would take each other's sequences.
pub const RESOLUTION_LANE: u16 = 4;
/// So long after its signing a decision may still be included.
const VALID_FOR: DurationMs = DurationMs::from_millis(3_600_000);

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum ResolutionError {
    /// The one who signs.
    #[error("{0} is no member of this network")]
    NoMember(PartyId),
    /// Its key.
    #[error("the key is not one that signs for {0}: name the file of the key that the ledger lists")]
    OtherKey(PartyId),
    /// The ledger has no such record.
    #[error(
        "the ledger has no {0}: `eroam operator contests` and `eroam provider contests` list contested ones"
    )]
    Unknown(RecordName),
    /// It is not the signer's to decide.
    #[error("{name} is decided by {resolver}, not by {member}")]
    NotResolver {
        /// Which.
        name: RecordName,
        /// Who decides.
        resolver: PartyId,
        /// Who signs.
        member: PartyId,
    },
    /// The ledger refuses it.
    #[error("the ledger refuses the decision about {name}: {code}")]
    Refused {
        /// Which.
        name: RecordName,
        /// Why.
        code: RejectCode,
    },
    /// Beyond the end of time.
    #[error("the time is beyond the year 9999")]
    Time,
    /// The ledger failed.
    #[error("the ledger did not take the decision")]
    Ledger(#[from] LedgerError),
    /// Its state.
    #[error("the ledger's state cannot be read")]
    State(#[from] StateError),
}

/// Decides that the operator gives so much back of a contested record, in millionths of the agreement's currency; nothing
/// upholds it.
///
/// # Errors
/// [`ResolutionError`].
pub fn resolve<P: LedgerPort>(
    mut port: P,
    (member, key): (PartyId, &SigningKey),
    name: &RecordName,
    give_back: i64,
    at: UnixMillis,
) -> Result<(), ResolutionError> {
    let known = query::member(&port, member)?.ok_or(ResolutionError::NoMember(member))?;
    let own = PublicKey::of(key);
    let number = known.keys.iter().position(|key| key.public == own && !key.replaced);
    let number = number.and_then(|number| u32::try_from(number).ok());
    let number = number.ok_or(ResolutionError::OtherKey(member))?;
    let booked = crate::charging::dispute::booked(&port, name, at)?;
    let booked = booked.ok_or_else(|| ResolutionError::Unknown(name.clone()))?;
    if booked.resolver != member {
        let resolver = booked.resolver;
        return Err(ResolutionError::NotResolver { name: name.clone(), resolver, member });
    }
    let at = at.max(port.time());
    let RecordName { operator, cdr } = name.clone();
    let envelope = Envelope {
        version: VERSION,
        network: port.network(),
        member,
        key: number,
        lane: RESOLUTION_LANE,
        sequence: query::next_sequence(&port, member, RESOLUTION_LANE)?,
        expires_at: at.checked_add(VALID_FOR).ok_or(ResolutionError::Time)?,
        tx: Tx::Cdr(CdrTx::Resolve { operator, cdr, give_back }),
    };
    let receipts = port.submit(at, vec![envelope.sign(key)])?;
    let refused =
        receipts.iter().flat_map(|receipt| &receipt.items).find_map(|item| item.outcome.rejection());
    match refused {
        Some(code) => Err(ResolutionError::Refused { name: name.clone(), code }),
        None => Ok(()),
    }
}
