//! The consortium of the simulations and what its members submit.

use crate::mempool::Lane;
use commonware_codec::DecodeExt as _;
use commonware_cryptography::ed25519;
use ed25519_dalek::SigningKey;
use eroam_domain::codec::{Digest, ShortText};
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Currency, Money};
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use eroam_ledger::genesis::{BlockTime, Consensus, Genesis, GenesisMember, Parameters, Validator};
use eroam_ledger::membership::{MembershipTx, Roles};
use eroam_ledger::settlement::SettlementTx;
use eroam_ledger::tx::{Envelope, PublicKey, SignedEnvelope, Tx, VERSION};
use eroam_light::block::{self as light, Header};

/// The header of a block that says nothing but its height.
pub(crate) fn header(height: u64) -> Header {
    Header {
        version: light::VERSION,
        height,
        epoch: 0,
        view: height,
        leader: PublicKey([0; 32]),
        parent_view: 0,
        parent: Digest::ZERO,
        time: UnixMillis::EPOCH,
        body: Digest::ZERO,
        receipts: Digest::ZERO,
        state: Digest::ZERO,
        operations: Digest::ZERO,
        operations_start: 0,
        operations_end: 1,
    }
}

/// When the simulations begin.
pub(super) const NOON: i64 = 1_740_000_000_000;

pub(super) fn key_of(name: &str) -> SigningKey {
    SigningKey::from_bytes(&Digest::of(name.as_bytes()).0)
}

fn validator_name(index: usize) -> String {
    format!("validator {index}")
}

/// The key that a validator votes with.
pub(crate) fn validator_key(index: usize) -> ed25519::PrivateKey {
    let bytes = key_of(&validator_name(index)).to_bytes();
    ed25519::PrivateKey::decode(bytes::Bytes::copy_from_slice(&bytes)).unwrap()
}

pub(super) fn members() -> Vec<PartyId> {
    ["PT-AAA", "PT-BBB", "PT-CCC", "PT-DDD"].map(|m| m.parse().unwrap()).to_vec()
}

pub(super) fn genesis(
    validators: usize,
    epoch_blocks: u32,
    block_bytes_max: u32,
    time: BlockTime,
) -> Genesis {
    let members = members();
    Genesis {
        name: ShortText::new("simulations").unwrap(),
        parameters: Parameters { treasurers_required: 1, close_grace: DurationMs::from_millis(1) },
        consensus: Consensus {
            validators: (0..validators)
                .map(|n| Validator {
                    party: members[n % members.len()],
                    key: PublicKey::of(&key_of(&validator_name(n))),
                })
                .collect(),
            epoch_blocks,
            block_bytes_max,
            time,
        },
        members: members
            .into_iter()
            .map(|party| GenesisMember {
                party,
                name: ShortText::new(&party.to_string()).unwrap(),
                roles: Roles::EMSP.with(Roles::CPO).with(Roles::TREASURER),
                key: PublicKey::of(&key_of(&party.to_string())),
            })
            .collect(),
        imported: None,
    }
}

/// A deposit with a reference of its own.
pub(super) fn deposit(lane: Lane, sequence: u64) -> Tx {
    let (member, lane) = lane;
    Tx::Settlement(SettlementTx::AttestDeposit {
        party: member,
        amount: Money::new(1_000_000, Currency::new("EUR").unwrap()),
        reference: ShortText::new(&format!("{member}/{lane}/{sequence}")).unwrap(),
    })
}

fn next_key(member: PartyId) -> SigningKey {
    key_of(&format!("{member}, the next"))
}

/// Replaces the member's first key by its next.
pub(super) fn rotation(network: Digest, member: PartyId) -> Tx {
    Tx::Membership(MembershipTx::rotate(network, member, &next_key(member)))
}

/// An envelope, signed with the member's first key or its next.
pub(super) fn envelope(network: Digest, lane: Lane, sequence: u64, key: u32, tx: Tx) -> SignedEnvelope {
    let (member, lane) = lane;
    let signer = if key == 0 { key_of(&member.to_string()) } else { next_key(member) };
    let expires_at = UnixMillis::new(NOON * 2).unwrap();
    Envelope { version: VERSION, network, member, key, lane, sequence, expires_at, tx }.sign(&signer)
}
