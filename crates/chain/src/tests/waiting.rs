//! What a mempool does with envelopes that cannot be included yet, or not any more.

use super::ledger::{self, NOON};
use crate::admission::admit;
use crate::mempool::{GAP_WAITS_MAX, Lane, Mempool, NotTaken, PoolLimits, Ticket};
use eroam_domain::codec::Digest;
use eroam_domain::ids::PartyId;
use eroam_domain::time::UnixMillis;
use eroam_ledger::port::Receipt;
use eroam_ledger::reject::RejectCode;
use eroam_ledger::state::{MemoryState, StateKey, StateView as _};
use eroam_ledger::tx::{CheckedEnvelope, SignedEnvelope};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// A mempool whose clock stands still until it is moved on.
struct Pool {
    pool: Mempool,
    seconds: Arc<AtomicU64>,
}

impl Pool {
    /// With room for so many envelopes in all and of each member.
    fn of(all: usize, of_member: usize) -> Self {
        let size = signed(lane(0), 10).bytes().len();
        let limits = PoolLimits { bytes_max: size * all, member_bytes_max: size * of_member };
        let seconds = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&seconds);
        let now = move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::SeqCst));
        Self { pool: Mempool::new(limits, Arc::new(now)), seconds }
    }

    fn insert(&self, envelope: &CheckedEnvelope) -> Result<(), NotTaken> {
        self.insert_at(envelope, at(0))
    }

    fn insert_at(&self, envelope: &CheckedEnvelope, time: UnixMillis) -> Result<(), NotTaken> {
        self.pool.insert(envelope, 0, time, true)
    }

    /// An envelope that somebody waits for.
    fn watched(&self, envelope: &CheckedEnvelope) -> Arc<Ticket> {
        let ticket = Arc::new(Ticket::default());
        self.pool.watch(envelope.signed().digest(), &ticket);
        self.insert(envelope).unwrap();
        ticket
    }

    fn waits(&self) -> usize {
        self.pool.fill().envelopes
    }

    /// A block without envelopes is final.
    fn empty_block(&self, height: u64, time: UnixMillis) {
        self.pool.finalized(height, time, std::iter::empty());
    }
}

fn at(seconds: i64) -> UnixMillis {
    UnixMillis::new(NOON + seconds * 1000).unwrap()
}

fn lane(member: usize) -> Lane {
    (ledger::members()[member], 0)
}

fn network() -> Digest {
    Digest::of(b"a network")
}

/// Of ten or more envelopes of a lane all have the same size.
fn signed(lane: Lane, sequence: u64) -> SignedEnvelope {
    ledger::envelope(network(), lane, sequence, 0, ledger::deposit(lane, sequence + 10))
}

fn checked(signed: SignedEnvelope) -> CheckedEnvelope {
    let member: PartyId = signed.envelope().member;
    let mut state = MemoryState::default();
    let genesis = ledger::genesis(
        1,
        1000,
        eroam_ledger::genesis::BLOCK_BYTES_MIN,
        eroam_ledger::genesis::BlockTime::Stated,
    );
    state.apply(genesis.state().unwrap());
    let known = state.get(&StateKey::Member(member).to_bytes()).unwrap().unwrap().into_owned();
    admit(Arc::new(signed), network(), Some(&known), None).unwrap().0
}

fn envelope(member: usize, sequence: u64) -> CheckedEnvelope {
    checked(signed(lane(member), sequence))
}

fn expiring(member: usize, sequence: u64, seconds: i64) -> CheckedEnvelope {
    let mut claim = signed(lane(member), sequence).envelope().clone();
    claim.expires_at = at(seconds);
    let key = ledger::key_of(&claim.member.to_string());
    checked(claim.sign(&key))
}

#[track_caller]
fn refused_with(ticket: &Ticket) -> Option<RejectCode> {
    let receipts = ticket.wait(1, Instant::now()).ok()?;
    let receipt: &Receipt = receipts.values().next().unwrap();
    assert_eq!(receipt.height, None, "{receipt:?}");
    Some(receipt.items[0].outcome.rejection().unwrap())
}

#[test]
fn an_envelope_that_expires_while_it_waits_is_dropped_and_its_sender_told() {
    let pool = Pool::of(10, 10);
    let ticket = pool.watched(&expiring(0, 0, 60));
    pool.empty_block(1, at(59));
    assert_eq!((pool.waits(), refused_with(&ticket)), (1, None));
    pool.empty_block(2, at(60));
    assert_eq!((pool.waits(), refused_with(&ticket)), (0, Some(RejectCode::Expired)));
}

#[test]
fn a_rival_with_the_same_sequence_is_refused_until_the_first_has_expired() {
    let pool = Pool::of(10, 10);
    let first = pool.watched(&expiring(0, 0, 60));
    let rival = envelope(0, 0);
    assert_eq!(pool.insert_at(&rival, at(59)), Err(NotTaken::Refused(RejectCode::SequenceUsed)));
    assert_eq!(pool.insert_at(&rival, at(60)), Ok(()));
    assert_eq!((pool.waits(), refused_with(&first)), (1, Some(RejectCode::Expired)));
    assert_eq!(pool.insert_at(&rival, at(60)), Err(NotTaken::Known));
}

/// Two members fill the mempool with envelopes that no block can take, because the first of each lane is missing.
fn flooded() -> Pool {
    let pool = Pool::of(20, 10);
    for member in [0, 1] {
        for sequence in 1..=10 {
            pool.insert(&envelope(member, sequence)).unwrap();
        }
        assert_eq!(pool.insert(&envelope(member, 11)), Err(NotTaken::Full));
    }
    assert_eq!(pool.waits(), 20);
    pool
}

#[test]
fn a_third_member_gets_through_when_two_flood_the_mempool_behind_gaps() {
    let pool = flooded();
    for sequence in 0..10 {
        assert_eq!(pool.insert(&envelope(2, sequence)), Ok(()), "{sequence}");
    }
    assert_eq!(pool.waits(), 20);
    // Both had to give way.
    let waits = |member: usize| {
        (1..=10)
            .filter(|n| pool.pool.find(lane(member).0, 0, *n, &signed(lane(member), *n).digest()).is_some())
            .count()
    };
    assert_eq!((waits(0), waits(1)), (5, 5));
    // What does not follow either has no better right, and what follows is never dropped.
    assert_eq!(pool.insert(&envelope(3, 1)), Err(NotTaken::Full));
    assert_eq!(pool.insert(&envelope(2, 10)), Err(NotTaken::Full), "it has as much as a member may have");
    let chosen = pool.pool.select(&[(lane(2), 0)].into(), 1 << 20, 100);
    assert_eq!(chosen.len(), 10);
}

#[test]
fn a_member_that_closes_its_gap_makes_room_for_that_itself() {
    let pool = flooded();
    let last = Arc::new(Ticket::default());
    pool.pool.watch(signed(lane(0), 10).digest(), &last);
    assert_eq!(pool.insert(&envelope(0, 0)), Ok(()));
    assert_eq!((pool.waits(), refused_with(&last)), (20, Some(RejectCode::SequenceGap)));
    assert_eq!(pool.pool.select(&[(lane(0), 0)].into(), 1 << 20, 100).len(), 10, "all from 0 to 9");
    // Now nothing of it waits behind a gap.
    assert_eq!(pool.insert(&envelope(0, 10)), Err(NotTaken::Full));
}

#[test]
fn nothing_is_dropped_if_that_would_not_make_enough_room() {
    let pool = Pool::of(2, 2);
    pool.insert(&envelope(0, 0)).unwrap();
    let gapped = pool.watched(&envelope(1, 1));
    // Larger than what could be dropped.
    let mut large = signed(lane(2), 0).envelope().clone();
    large.tx = ledger::deposit((lane(2).0, u16::MAX), u64::MAX);
    let key = ledger::key_of(&large.member.to_string());
    let large = checked(large.sign(&key));
    assert!(large.signed().bytes().len() > signed(lane(1), 1).bytes().len());
    assert_eq!(pool.insert(&large), Err(NotTaken::Full));
    assert_eq!((pool.waits(), refused_with(&gapped)), (2, None));
    // What has the same size does get in.
    assert_eq!(pool.insert(&envelope(2, 0)), Ok(()));
    assert_eq!((pool.waits(), refused_with(&gapped)), (2, Some(RejectCode::SequenceGap)));
}

#[test]
fn an_envelope_behind_a_gap_waits_ten_minutes_and_others_as_long_as_it_takes() {
    let pool = Pool::of(10, 10);
    let (follows, gapped) = (pool.watched(&envelope(0, 0)), pool.watched(&envelope(1, 1)));
    pool.seconds.store(GAP_WAITS_MAX.as_secs() - 1, Ordering::SeqCst);
    pool.empty_block(1, at(1));
    assert_eq!((refused_with(&follows), refused_with(&gapped)), (None, None));
    pool.seconds.store(GAP_WAITS_MAX.as_secs(), Ordering::SeqCst);
    pool.empty_block(2, at(2));
    assert_eq!((refused_with(&follows), refused_with(&gapped)), (None, Some(RejectCode::SequenceGap)));
    assert_eq!(pool.waits(), 1);
}
