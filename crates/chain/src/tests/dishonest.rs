//! Leaders that lie: their blocks are refused by the others, the chain goes on, and all states are the rules'. And a
//! voter that tells everybody something else.

use super::cluster::{Settings, Simulation, seeds};
use super::ledger;
use super::objections::Objections;
use crate::application::Dishonest;
use crate::block::Block;
use crate::machine::{Rules, StateMachine};
use bytes::Bytes;
use eroam_domain::codec::Digest;
use eroam_domain::time::UnixMillis;
use eroam_ledger::execute;
use eroam_ledger::genesis::BlockTime;
use eroam_ledger::reads::Attempt;
use eroam_ledger::reject::{Item, ItemOutcome, RejectCode};
use eroam_ledger::state::{StateError, StateKey, StateView};
use eroam_ledger::tx::{Envelope, PublicKey, SignedEnvelope, VerifiedEnvelope};
use eroam_light::block::{Body, Header};
use std::sync::Arc;

/// Changes the header and the body of every block that it builds.
struct Changing<F>(F);

impl<F: Fn(&Header, &mut Header, &mut Body) + Send + Sync> Dishonest for Changing<F> {
    fn change(&self, parent: &Header, block: Block) -> Block {
        let contents = block.contents().unwrap();
        let mut body = Body {
            envelopes: contents.envelopes.iter().map(|e| e.bytes().to_vec()).collect(),
            items: contents.items.clone(),
        };
        let before = body.clone();
        let mut header = *block.header();
        (self.0)(parent, &mut header, &mut body);
        let mut bytes = block.body().clone();
        if body != before {
            bytes = Bytes::from(body.to_bytes());
            header.body = Body::digest(&bytes);
            header.receipts = body.receipts_root();
        }
        Block::new(header, bytes).unwrap()
    }
}

fn changing(change: impl Fn(&Header, &mut Header, &mut Body) + Send + Sync + 'static) -> Arc<dyn Dishonest> {
    Arc::new(Changing(change))
}

/// One of four lies whenever it leads; the others object in these words, or the engine does before them.
fn refused(lie: Arc<dyn Dishonest>, objection: Option<&str>, change: impl Fn(&mut Settings)) {
    for seed in seeds(1) {
        let liar = usize::try_from(seed).unwrap() % 4;
        let mut settings = Settings {
            dishonest: Some((liar, Arc::clone(&lie))),
            epoch_blocks: 6,
            envelopes: 4,
            ..Settings::new(seed, 4)
        };
        change(&mut settings);
        let (objections, _guard) = Objections::gather();
        Simulation::new(settings).run(async |cluster| {
            cluster.settle().await;
            let honest = |block: &Block| block.header().leader != cluster.leader(liar);
            // The first blocks have no envelopes, where some lies are none.
            let blocks = cluster.blocks(0);
            let mut envelopes = blocks.iter().filter(|b| !b.contents().unwrap().envelopes.is_empty());
            assert!(envelopes.all(|b| honest(b)), "a block of the liar is final");
        });
        let made = objections.made();
        match objection {
            Some(objection) => assert!(made.contains_key(objection), "{made:?}"),
            None => assert!(made.is_empty(), "{made:?}"),
        }
    }
}

#[test]
fn a_wrong_root_of_the_state() {
    let lie = changing(|_, header, _| header.state = Digest::of(b"another"));
    refused(lie, Some("a root of its state is wrong"), |_| {});
}

#[test]
fn a_wrong_root_of_the_receipts() {
    let lie = changing(|_, header, _| header.receipts = Digest::of(b"another"));
    refused(lie, Some("the root of its receipts is wrong"), |_| {});
}

#[test]
fn a_wrong_outcome() {
    let lie = changing(|_, _, body| {
        if let Some(item) = body.items.first_mut().and_then(|items| items.first_mut()) {
            item.outcome = ItemOutcome::Rejected(RejectCode::LimitReached);
        }
    });
    refused(lie, Some("an outcome is wrong"), |_| {});
}

#[test]
fn another_order() {
    let lie = changing(|_, _, body| {
        body.envelopes.reverse();
        body.items.reverse();
    });
    let objection = Some("an envelope is not its member's next");
    refused(lie, objection, |settings| {
        settings.together = 4;
        // Enough blocks for the liar to lead one of them.
        settings.lanes = 6;
    });
}

#[test]
fn an_envelope_twice() {
    let lie = changing(|_, _, body| {
        if let (Some(envelope), Some(items)) = (body.envelopes.first(), body.items.first()) {
            let (envelope, items) = (envelope.clone(), items.clone());
            body.envelopes.push(envelope);
            body.items.push(items);
        }
    });
    refused(lie, Some("an envelope is not its member's next"), |_| {});
}

#[test]
fn an_envelope_with_a_wrong_signature() {
    let lie = changing(|_, _, body| {
        if let Some(byte) = body.envelopes.first_mut().and_then(|e| e.last_mut()) {
            *byte ^= 1;
        }
    });
    refused(lie, Some("an envelope is not its member's next"), |_| {});
}

#[test]
fn an_envelope_of_a_later_sequence() {
    let lie = changing(|_, header, body| {
        if header.height > 1 {
            let lane = (ledger::members()[0], 7);
            let signed = ledger::envelope(Digest::ZERO, lane, 3, 0, ledger::deposit(lane, 3));
            let outcome = ItemOutcome::ACCEPTED;
            body.items.push(vec![Item { hash: signed.digest(), outcome }]);
            body.envelopes.push(signed.bytes().to_vec());
        }
    });
    refused(lie, Some("an envelope is not its member's next"), |_| {});
}

#[test]
fn outcomes_without_envelopes() {
    let lie = changing(|_, _, body| body.items.push(Vec::new()));
    refused(lie, Some("its body is malformed"), |_| {});
}

#[test]
fn a_time_before_the_parents() {
    let lie = changing(|parent, header, _| {
        if let Some(before) = UnixMillis::new(parent.time.get() - 1) {
            header.time = before;
        }
    });
    refused(lie, Some("its time is before its parent's"), |_| {});
}

#[test]
fn a_time_in_the_future() {
    let lie = changing(|_, header, _| header.time = UnixMillis::new(header.time.get() + 60_000).unwrap());
    refused(lie, Some("its time is in the future"), |settings| settings.time = BlockTime::Clock);
}

#[test]
fn another_version() {
    let lie = changing(|_, header, _| header.version += 1);
    refused(lie, Some("another version"), |_| {});
}

#[test]
fn another_place_in_the_chain() {
    refused(changing(|_, header, _| header.height += 1), None, |_| {});
    refused(changing(|_, header, _| header.height = u64::MAX), None, |_| {});
    refused(changing(|_, header, _| header.parent = Digest::of(b"another")), None, |_| {});
}

#[test]
fn another_round() {
    refused(changing(|_, header, _| header.view += 1), None, |_| {});
    refused(changing(|_, header, _| header.epoch = u64::MAX), None, |_| {});
    refused(changing(|_, header, _| header.parent_view += 1), None, |_| {});
}

/// Fills blocks beyond the limit.
struct Greedy;

impl Dishonest for Greedy {
    fn bytes_max(&self) -> Option<usize> {
        Some(1 << 20)
    }
}

#[test]
fn too_large_a_body() {
    refused(Arc::new(Greedy), Some("its body is too large"), |settings| {
        settings.block_bytes_max = 1500;
        settings.together = 4;
        settings.thinking = 0;
    });
}

/// Rules by which the sender of an envelope gets something on the side.
struct Generous;

impl StateMachine for Generous {
    fn reads(&self, envelope: &Envelope) -> Vec<StateKey> {
        Rules.reads(envelope)
    }

    fn claimed_key(
        &self,
        view: &dyn StateView,
        envelope: &Envelope,
    ) -> Result<Option<PublicKey>, StateError> {
        Rules.claimed_key(view, envelope)
    }

    fn attempt(
        &self,
        view: &dyn StateView,
        signed: &SignedEnvelope,
        verified: Option<&VerifiedEnvelope<'_>>,
        header: &execute::Header,
    ) -> Result<Attempt, StateError> {
        let mut attempt = Rules.attempt(view, signed, verified, header)?;
        if let Attempt::Done(outcome) = &mut attempt {
            let key = StateKey::Lane(signed.envelope().member, 15).to_bytes();
            outcome.writes.insert(key, Some(vec![1; 8]));
        }
        Ok(attempt)
    }
}

impl Dishonest for Generous {
    fn machine(&self) -> Option<&dyn StateMachine> {
        Some(self)
    }
}

#[test]
fn other_rules() {
    refused(Arc::new(Generous), Some("a root of its state is wrong"), |_| {});
}

#[test]
fn a_clock_that_is_far_ahead() {
    for seed in seeds(1) {
        let clocks_ahead = vec![30_000, 0, 5_000, 0];
        let settings =
            Settings { time: BlockTime::Clock, clocks_ahead, epoch_blocks: 6, ..Settings::new(seed, 4) };
        let (objections, _guard) = Objections::gather();
        Simulation::new(settings).run(async |cluster| cluster.settle().await);
        assert!(objections.made().contains_key("its time is in the future"), "{:?}", objections.made());
    }
}

#[test]
fn a_voter_that_tells_everybody_something_else() {
    for seed in seeds(2) {
        let equivocator = Some(usize::try_from(seed).unwrap() % 4);
        let settings = Settings { equivocator, epoch_blocks: 5, ..Settings::new(seed, 4) };
        Simulation::new(settings).run(async |cluster| cluster.settle().await);
    }
}

/// A block header must name operations: the engine takes that for granted before it executes anything, so that one
/// such block would end all validators.
#[test]
fn a_header_without_operations_cannot_be_read() {
    use commonware_codec::{DecodeExt as _, Encode as _};
    let mut simulation = Simulation::new(Settings { envelopes: 0, ..Settings::new(0, 1) });
    let block = simulation.run(async |cluster| {
        cluster.until_height(0, 1).await;
        cluster.blocks(0)[0].clone()
    });
    assert!(Block::decode(block.encode()).is_ok());
    let range = |start, end| {
        let mut header = *block.header();
        (header.operations_start, header.operations_end) = (start, end);
        let mut bytes = eroam_domain::codec::to_bytes(&header);
        bytes.extend_from_slice(&block.body().encode());
        Block::decode(Bytes::from(bytes)).is_ok()
    };
    assert!(range(0, 1));
    assert!(!range(1, 1));
    assert!(!range(2, 1));
}
