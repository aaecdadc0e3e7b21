//! What waits to be included: deduplicated, limited by member, expiring, in the order of each lane.
//!
//! Which of a lane's envelopes come next is not remembered here: the leader reads the lane's sequence from the state
//! that it builds on, so that a pending block is neither repeated nor skipped.

use crate::tip::Now;
use eroam_domain::codec::Digest;
use eroam_domain::ids::PartyId;
use eroam_domain::time::UnixMillis;
use eroam_ledger::port::Receipt;
use eroam_ledger::reject::{Item, ItemOutcome, RejectCode};
use eroam_ledger::tx::{BATCH_MAX, CheckedEnvelope, item_count};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;

/// A member's lane.
pub(crate) type Lane = (PartyId, u16);

/// Envelopes may arrive so far ahead of their lane's next sequence.
pub(crate) const SEQUENCE_WINDOW: u64 = 4096;

/// An envelope behind a gap in its lane waits at most so long for the ones before it. Others need no such limit: the
/// next blocks take them.
pub(crate) const GAP_WAITS_MAX: Duration = Duration::from_secs(600);

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub struct PoolLimits {
    /// Bytes of all envelopes together.
    pub bytes_max: usize,
    /// Bytes of one member's envelopes.
    pub member_bytes_max: usize,
}

impl PoolLimits {
    /// 64 MiB in all, 32 MiB for each member.
    pub const DEFAULT: Self = Self { bytes_max: 64 << 20, member_bytes_max: 32 << 20 };
}

/// Why an envelope does not wait here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// No room; there will be after a few blocks.
    Full,
    /// The same envelope waits already.
    Known,
    /// It can never be included.
    Refused(RejectCode),
}

/// Receipts that somebody waits for.
#[derive(Default)]
pub(crate) struct Ticket {
    state: Mutex<TicketState>,
    changed: Condvar,
}

#[derive(Default)]
struct TicketState {
    receipts: BTreeMap<Digest, Receipt>,
    stopped: Option<String>,
}

/// Why waiting ended without all receipts.
#[derive(Debug)]
pub(crate) enum WaitError {
    TimedOut,
    Stopped(String),
}

impl Ticket {
    fn lock(&self) -> MutexGuard<'_, TicketState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn answer(&self, receipt: Receipt) {
        self.lock().receipts.insert(receipt.envelope, receipt);
        self.changed.notify_all();
    }

    fn stop(&self, reason: &str) {
        self.lock().stopped = Some(reason.to_owned());
        self.changed.notify_all();
    }

    /// Waits until `count` different envelopes are answered, and gives all answers.
    pub(crate) fn wait(&self, count: usize, until: Instant) -> Result<BTreeMap<Digest, Receipt>, WaitError> {
        let mut state = self.lock();
        loop {
            if state.receipts.len() >= count {
                return Ok(std::mem::take(&mut state.receipts));
            }
            if let Some(reason) = &state.stopped {
                return Err(WaitError::Stopped(reason.clone()));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(WaitError::TimedOut);
            }
            state = self
                .changed
                .wait_timeout(state, left.min(Duration::from_secs(1)))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

struct Waiting {
    envelope: CheckedEnvelope,
    digest: Digest,
    /// The order of arrival.
    arrival: u64,
    /// When it arrived.
    since: SystemTime,
    /// When it was last told to the others.
    told: SystemTime,
    own: bool,
}

/// A block that was built on may still fail; then its envelopes are proposed again after so long.
const PENDING_FOR: Duration = Duration::from_secs(1);

/// What is known of a lane's next sequence.
#[derive(Clone, Copy, Default)]
struct Mark {
    /// In the latest finalized state.
    next: u64,
    /// After a block that is not final yet.
    ahead: Option<(u64, SystemTime)>,
}

impl Mark {
    fn next_to_propose(&self, now: SystemTime) -> u64 {
        match self.ahead {
            Some((ahead, since)) if now.duration_since(since).unwrap_or_default() < PENDING_FOR => {
                self.next.max(ahead)
            }
            _ => self.next,
        }
    }
}

#[derive(Default)]
struct Inner {
    /// At most as many as members have lanes.
    marks: BTreeMap<Lane, Mark>,
    lanes: BTreeMap<Lane, BTreeMap<u64, Waiting>>,
    known: BTreeSet<Digest>,
    bytes: usize,
    member_bytes: BTreeMap<PartyId, usize>,
    arrivals: u64,
    tickets: BTreeMap<Digest, Vec<Arc<Ticket>>>,
    stopped: Option<String>,
}

/// The mempool of one validator.
#[derive(Clone)]
pub struct Mempool(Arc<Shared>);

struct Shared {
    limits: PoolLimits,
    now: Now,
    inner: Mutex<Inner>,
    /// Somebody may have something to propose.
    arrived: Notify,
    /// There is room again.
    room: Condvar,
}

/// How full a mempool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolFill {
    /// So many envelopes wait.
    pub envelopes: usize,
    /// They have so many bytes.
    pub bytes: usize,
}

impl Mempool {
    pub(crate) fn new(limits: PoolLimits, now: Now) -> Self {
        Self(Arc::new(Shared {
            limits,
            now,
            inner: Mutex::default(),
            arrived: Notify::new(),
            room: Condvar::new(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How full it is.
    #[must_use]
    pub fn fill(&self) -> PoolFill {
        let inner = self.lock();
        PoolFill { envelopes: inner.known.len(), bytes: inner.bytes }
    }

    /// Takes an envelope in whose lane's next sequence is `next`, at block time `now`.
    pub(crate) fn insert(
        &self,
        envelope: &CheckedEnvelope,
        next: u64,
        now: UnixMillis,
        own: bool,
    ) -> Result<(), NotTaken> {
        let signed = envelope.signed();
        let claim = signed.envelope();
        let lane = (claim.member, claim.lane);
        let digest = signed.digest();
        let size = signed.bytes().len();
        let mut inner = self.lock();
        // The state was read before; a block may have been finalized since.
        let next = next.max(inner.marks.get(&lane).map_or(0, |mark| mark.next));
        if claim.sequence < next {
            return Err(NotTaken::Refused(RejectCode::SequenceUsed));
        }
        if now >= claim.expires_at {
            return Err(NotTaken::Refused(RejectCode::Expired));
        }
        if claim.sequence >= next.saturating_add(SEQUENCE_WINDOW) {
            return Err(NotTaken::Refused(RejectCode::SequenceGap));
        }
        if inner.known.contains(&digest) {
            return Err(NotTaken::Known);
        }
        // The first envelope of a sequence keeps its place until it expires: nobody pays twice for one intention.
        let rival = inner.lanes.get(&lane).and_then(|l| l.get(&claim.sequence));
        if let Some(rival) = rival {
            if now < rival.envelope.signed().envelope().expires_at {
                return Err(NotTaken::Refused(RejectCode::SequenceUsed));
            }
            inner.remove(lane, claim.sequence, |digest| refused(digest, RejectCode::Expired));
        }
        let mark = inner.marks.entry(lane).or_default();
        mark.next = mark.next.max(next);
        let limits = &self.0.limits;
        let fits = inner.has_room(claim.member, size, limits)
            || inner.follows(lane, next, claim.sequence) && inner.make_room(claim.member, size, limits);
        if !fits {
            return Err(NotTaken::Full);
        }
        inner.bytes += size;
        *inner.member_bytes.entry(claim.member).or_default() += size;
        inner.known.insert(digest);
        inner.arrivals += 1;
        let arrival = inner.arrivals;
        let since = (self.0.now)();
        let waiting = Waiting { envelope: envelope.clone(), digest, arrival, since, told: since, own };
        inner.lanes.entry(lane).or_default().insert(claim.sequence, waiting);
        drop(inner);
        self.0.arrived.notify_waiters();
        self.0.arrived.notify_one();
        Ok(())
    }

    /// Lets `ticket` know what becomes of an envelope.
    pub(crate) fn watch(&self, digest: Digest, ticket: &Arc<Ticket>) {
        let mut inner = self.lock();
        if let Some(reason) = &inner.stopped {
            ticket.stop(reason);
        }
        inner.tickets.entry(digest).or_default().push(Arc::clone(ticket));
    }

    /// Forgets a ticket that nobody waits for any more.
    pub(crate) fn unwatch(&self, digest: &Digest, ticket: &Arc<Ticket>) {
        let mut inner = self.lock();
        if let Some(tickets) = inner.tickets.get_mut(digest) {
            tickets.retain(|t| !Arc::ptr_eq(t, ticket));
            if tickets.is_empty() {
                inner.tickets.remove(digest);
            }
        }
    }

    /// Waits until something may have left, or `until`.
    pub(crate) fn wait_for_room(&self, until: Instant) -> Result<(), WaitError> {
        let inner = self.lock();
        if let Some(reason) = &inner.stopped {
            return Err(WaitError::Stopped(reason.clone()));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(WaitError::TimedOut);
        }
        drop(self.0.room.wait_timeout(inner, left.min(Duration::from_millis(100))));
        Ok(())
    }

    /// Whether anything waits that could be proposed now.
    pub(crate) fn is_ready(&self) -> bool {
        let now = (self.0.now)();
        let inner = self.lock();
        inner.lanes.iter().any(|(lane, waiting)| {
            let mark = inner.marks.get(lane).copied().unwrap_or_default();
            waiting.contains_key(&mark.next_to_propose(now))
        })
    }

    /// A block that is not final yet has these sequences.
    pub(crate) fn pending(&self, included: impl Iterator<Item = (Lane, u64)>) {
        let now = (self.0.now)();
        let mut inner = self.lock();
        for (lane, sequence) in included {
            inner.marks.entry(lane).or_default().ahead = Some((sequence.saturating_add(1), now));
        }
    }

    /// Returns when something may have arrived.
    pub(crate) async fn arrival(&self) {
        self.0.arrived.notified().await;
    }

    /// The lanes in which anything waits.
    pub(crate) fn lanes(&self) -> Vec<Lane> {
        self.lock().lanes.keys().copied().collect()
    }

    /// The envelopes that fit into a block, given each lane's next sequence in the state that it is built on: without
    /// gaps within a lane, otherwise in the order of arrival.
    pub(crate) fn select(
        &self,
        next: &BTreeMap<Lane, u64>,
        bytes_max: usize,
        items_max: usize,
    ) -> Vec<CheckedEnvelope> {
        let inner = self.lock();
        let mut heads: BinaryHeap<Reverse<(u64, Lane, u64)>> = BinaryHeap::new();
        let head = |lane: &Lane, sequence: u64| {
            inner
                .lanes
                .get(lane)
                .and_then(|l| l.get(&sequence))
                .map(|w| Reverse((w.arrival, *lane, sequence)))
        };
        heads.extend(next.iter().filter_map(|(lane, sequence)| head(lane, *sequence)));
        let (mut chosen, mut bytes, mut items) = (Vec::new(), 0, 0);
        while let Some(Reverse((_, lane, sequence))) = heads.pop() {
            let Some(waiting) = inner.lanes.get(&lane).and_then(|l| l.get(&sequence)) else { continue };
            let signed = waiting.envelope.signed();
            // A batch with too many items is refused as a whole.
            let count = item_count(&signed.envelope().tx).min(BATCH_MAX);
            // Each item's outcome takes up to 64 bytes of the body as well.
            let size = signed.bytes().len() + 16 + 64 * count;
            if bytes + size > bytes_max || (items > 0 && items + count > items_max) {
                // A lane that does not fit waits; others may have something smaller.
                continue;
            }
            bytes += size;
            items += count;
            chosen.push(waiting.envelope.clone());
            heads.extend(sequence.checked_add(1).and_then(|s| head(&lane, s)));
        }
        chosen
    }

    /// An envelope that waits here, whose signature need not be checked again.
    pub(crate) fn find(
        &self,
        member: PartyId,
        lane: u16,
        sequence: u64,
        digest: &Digest,
    ) -> Option<CheckedEnvelope> {
        let inner = self.lock();
        let waiting = inner.lanes.get(&(member, lane))?.get(&sequence)?;
        (waiting.digest == *digest).then(|| waiting.envelope.clone())
    }

    /// Drops an envelope that can never be included.
    pub(crate) fn refuse(&self, envelope: &CheckedEnvelope, code: RejectCode) {
        let claim = envelope.signed().envelope();
        let digest = envelope.signed().digest();
        let mut inner = self.lock();
        let place = inner.lanes.get(&(claim.member, claim.lane)).and_then(|l| l.get(&claim.sequence));
        if place.is_some_and(|w| w.digest == digest) {
            inner.remove((claim.member, claim.lane), claim.sequence, |digest| refused(digest, code));
        }
        drop(inner);
        self.0.room.notify_all();
    }

    /// A block was finalized: answers whoever waits, and drops what it used up, what has expired, and what has waited
    /// behind a gap for too long.
    pub(crate) fn finalized<'a>(
        &self,
        height: u64,
        time: UnixMillis,
        included: impl Iterator<Item = (Lane, u64, Digest, &'a [Item])>,
    ) {
        let mut inner = self.lock();
        for (lane, sequence, digest, items) in included {
            let receipt = Receipt { envelope: digest, height: Some(height), items: items.to_vec() };
            inner.answer(&digest, &receipt);
            let mark = inner.marks.entry(lane).or_default();
            mark.next = mark.next.max(sequence.saturating_add(1));
            let used: Vec<u64> = inner
                .lanes
                .get(&lane)
                .map(|l| l.range(..=sequence).map(|(s, _)| *s).collect())
                .unwrap_or_default();
            for sequence in used {
                inner.remove(lane, sequence, |digest| refused(digest, RejectCode::SequenceUsed));
            }
        }
        let expired: Vec<(Lane, u64)> = inner
            .lanes
            .iter()
            .flat_map(|(lane, l)| l.iter().map(move |(s, w)| (*lane, *s, w)))
            .filter(|(_, _, w)| time >= w.envelope.signed().envelope().expires_at)
            .map(|(lane, sequence, _)| (lane, sequence))
            .collect();
        for (lane, sequence) in expired {
            inner.remove(lane, sequence, |digest| refused(digest, RejectCode::Expired));
        }
        let now = (self.0.now)();
        let too_long =
            |waiting: &Waiting| now.duration_since(waiting.since).unwrap_or_default() >= GAP_WAITS_MAX;
        let abandoned: Vec<(Lane, u64)> = inner
            .gapped()
            .filter(|(.., waiting)| too_long(waiting))
            .map(|(lane, sequence, _)| (lane, sequence))
            .collect();
        for (lane, sequence) in abandoned {
            inner.remove(lane, sequence, |digest| refused(digest, RejectCode::SequenceGap));
        }
        drop(inner);
        self.0.room.notify_all();
    }

    /// Own envelopes that have waited for `patience` since they were last told to the others.
    pub(crate) fn to_tell_again(&self, patience: Duration) -> Vec<CheckedEnvelope> {
        let now = (self.0.now)();
        let mut again = Vec::new();
        for lane in self.lock().lanes.values_mut() {
            for waiting in lane.values_mut() {
                if waiting.own && now.duration_since(waiting.told).unwrap_or_default() >= patience {
                    waiting.told = now;
                    again.push(waiting.envelope.clone());
                }
            }
        }
        again
    }

    /// The node has stopped: nobody waits any longer.
    pub(crate) fn stop(&self, reason: &str) {
        let mut inner = self.lock();
        inner.stopped = Some(reason.to_owned());
        for ticket in inner.tickets.values().flatten() {
            ticket.stop(reason);
        }
        drop(inner);
        self.0.room.notify_all();
        self.0.arrived.notify_waiters();
    }

    /// Why the node has stopped, if it has.
    pub(crate) fn stopped(&self) -> Option<String> {
        self.lock().stopped.clone()
    }
}

fn refused(envelope: Digest, code: RejectCode) -> Receipt {
    let outcome = ItemOutcome::Rejected(code);
    Receipt { envelope, height: None, items: vec![Item { hash: envelope, outcome }] }
}

impl Inner {
    fn bytes_of(&self, member: PartyId) -> usize {
        self.member_bytes.get(&member).copied().unwrap_or(0)
    }

    fn has_room(&self, member: PartyId, size: usize, limits: &PoolLimits) -> bool {
        self.bytes + size <= limits.bytes_max && self.bytes_of(member) + size <= limits.member_bytes_max
    }

    /// Whether everything waits that comes before this sequence in a lane whose next is `next`.
    fn follows(&self, lane: Lane, next: u64, sequence: u64) -> bool {
        let before = self.lanes.get(&lane).map_or(0, |waiting| waiting.range(next..sequence).count());
        u64::try_from(before).is_ok_and(|before| before == sequence - next)
    }

    /// What waits behind a gap in its lane, so that no block can take it.
    fn gapped(&self) -> impl Iterator<Item = (Lane, u64, &Waiting)> {
        self.lanes.iter().flat_map(|(lane, waiting)| {
            let mut next = self.marks.get(lane).map_or(0, |mark| mark.next);
            let behind_gap = waiting.iter().filter(move |(sequence, _)| {
                let follows = **sequence == next;
                next = next.saturating_add(u64::from(follows));
                !follows
            });
            behind_gap.map(|(sequence, waiting)| (*lane, *sequence, waiting))
        })
    }

    /// Drops what waits behind gaps, of whoever has most the latest first, until there is room for an envelope that the
    /// next blocks can take. Drops nothing if that would not be enough.
    fn make_room(&mut self, member: PartyId, size: usize, limits: &PoolLimits) -> bool {
        let mut of_member = (self.bytes_of(member) + size).saturating_sub(limits.member_bytes_max);
        let mut of_all = (self.bytes + size).saturating_sub(limits.bytes_max);
        let mut gapped: Vec<(usize, u64, Lane, u64, usize)> = self
            .gapped()
            .map(|(lane, sequence, waiting)| {
                let size = waiting.envelope.signed().bytes().len();
                (self.bytes_of(lane.0), waiting.arrival, lane, sequence, size)
            })
            .collect();
        gapped.sort_unstable_by(|a, b| b.cmp(a));
        let mut dropped = BTreeSet::new();
        // What the member itself has too much of comes first: it makes room in all as well.
        for (.., lane, sequence, size) in gapped.iter().filter(|(_, _, lane, ..)| lane.0 == member) {
            if of_member == 0 {
                break;
            }
            of_member = of_member.saturating_sub(*size);
            of_all = of_all.saturating_sub(*size);
            dropped.insert((*lane, *sequence));
        }
        for (.., lane, sequence, size) in gapped {
            if of_all == 0 {
                break;
            }
            if dropped.insert((lane, sequence)) {
                of_all = of_all.saturating_sub(size);
            }
        }
        if of_member > 0 || of_all > 0 {
            return false;
        }
        for (lane, sequence) in dropped {
            self.remove(lane, sequence, |digest| refused(digest, RejectCode::SequenceGap));
        }
        true
    }

    fn answer(&mut self, digest: &Digest, receipt: &Receipt) {
        for ticket in self.tickets.remove(digest).into_iter().flatten() {
            ticket.answer(receipt.clone());
        }
    }

    fn remove(&mut self, lane: Lane, sequence: u64, why: impl Fn(Digest) -> Receipt) {
        let Some(entries) = self.lanes.get_mut(&lane) else { return };
        let Some(gone) = entries.remove(&sequence) else { return };
        if entries.is_empty() {
            self.lanes.remove(&lane);
        }
        let size = gone.envelope.signed().bytes().len();
        self.bytes = self.bytes.saturating_sub(size);
        if let Some(bytes) = self.member_bytes.get_mut(&lane.0) {
            *bytes = bytes.saturating_sub(size);
            if *bytes == 0 {
                self.member_bytes.remove(&lane.0);
            }
        }
        self.known.remove(&gone.digest);
        self.answer(&gone.digest, &why(gone.digest));
    }
}
