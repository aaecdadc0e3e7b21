//! A validator that tells each of the others something else.

use crate::block::EngineDigest;
use commonware_codec::varint::UInt;
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::simplex::types::{Finalize, Notarize, Nullify, Proposal, Vote};
use commonware_consensus::types::Round;
use commonware_consensus::{Epochable as _, Viewable as _};
use commonware_cryptography::certificate::Scheme as _;
use commonware_cryptography::ed25519;
use commonware_p2p::utils::mux::parse;
use commonware_p2p::{Receiver, Recipients, Sender};
use commonware_runtime::deterministic::Context;
use rand::RngExt as _;
use std::collections::BTreeSet;

type Key = ed25519::PublicKey;
type Ballot = Vote<Scheme, EngineDigest>;

/// Answers the first vote of each round: one of the others gets the same votes, one gets votes for another block, one
/// gets a vote against the view. Where it leads, each gets another proposal, of a block that nobody has.
pub(super) async fn equivocate(
    mut context: Context,
    scheme: Scheme,
    (mut sender, mut receiver): (impl Sender<PublicKey = Key>, impl Receiver<PublicKey = Key>),
) {
    let me = scheme.me().unwrap().signer().unwrap();
    let validators = scheme.participants().clone();
    let others: Vec<Key> =
        validators.iter().filter(|key| validators.position(key) != Some(usize::from(me))).cloned().collect();
    let mut answered = BTreeSet::new();
    while let Ok((_, message)) = receiver.recv().await {
        let (channel, message) = parse(message).unwrap();
        let vote = Ballot::decode(message).unwrap();
        let round = Round::new(vote.epoch(), vote.view());
        if !answered.insert(round) {
            continue;
        }
        let mut tell = |to: &Key, vote: &Ballot| {
            let mut message = UInt(channel).encode().to_vec();
            message.extend_from_slice(&vote.encode());
            let _ = sender.send(Recipients::One(to.clone()), bytes::Bytes::from(message), true);
        };
        let proposal = match vote {
            Vote::Notarize(notarize) => Some(notarize.proposal),
            Vote::Finalize(finalize) => Some(finalize.proposal),
            Vote::Nullify(_) => None,
        };
        let turn: usize = context.random_range(0..others.len());
        for (place, other) in others.iter().enumerate() {
            let another: [u8; 32] = context.random();
            let mine = match ((place + turn) % others.len(), &proposal) {
                (0, Some(proposal)) => Some(proposal.clone()),
                (1, Some(proposal)) => {
                    Some(Proposal::new(round, proposal.parent, EngineDigest::from(another)))
                }
                _ => None,
            };
            match mine {
                Some(mine) => {
                    tell(other, &Vote::Notarize(Notarize::sign(&scheme, mine.clone()).unwrap()));
                    tell(other, &Vote::Finalize(Finalize::sign(&scheme, mine).unwrap()));
                }
                None => tell(other, &Vote::Nullify(Nullify::sign::<EngineDigest>(&scheme, round).unwrap())),
            }
            let next = Round::new(round.epoch(), round.view().next());
            let leader = next.epoch().get().wrapping_add(next.view().get()) % validators.len() as u64;
            if leader == u64::from(me.get()) && !round.view().is_zero() {
                let another: [u8; 32] = context.random();
                let mine = Proposal::new(next, round.view(), EngineDigest::from(another));
                tell(other, &Vote::Notarize(Notarize::sign(&scheme, mine).unwrap()));
            }
        }
    }
}
