//! The latest finalized block, for those who ask and those who wait; and the clock that blocks are dated by.

use crate::cache::Cache;
use crate::failure::Phase;
use crate::state::StateOperation;
use eroam_domain::codec::Digest;
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use eroam_light::block::Header;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The time that submitters state. Validators of one process share it.
#[derive(Clone, Debug, Default)]
pub struct StatedTime(Arc<AtomicI64>);

impl StatedTime {
    /// Moves it forward to `at`.
    pub fn advance(&self, at: UnixMillis) {
        self.0.fetch_max(at.get(), Ordering::SeqCst);
    }

    fn get(&self) -> UnixMillis {
        UnixMillis::new(self.0.load(Ordering::SeqCst)).unwrap_or(UnixMillis::EPOCH)
    }
}

/// How far a validator is that copies the state of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copying {
    /// The operations of the state's log that arrived, in this run of the node.
    pub operations: u64,
    /// How many there are to be, in all runs; more follow while the others go on. 0 until a block is chosen.
    pub wanted: u64,
}

/// The machine's clock, or a simulation's.
pub(crate) type Now = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// A clock for the times of blocks.
pub type BlockClock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// How many of the latest headers are kept, to find the one that a state's root belongs to.
const HEADERS_KEPT: usize = 64;

struct Inner {
    /// The latest headers, the latest last.
    headers: VecDeque<Header>,
    /// The height of the latest block whose state is being applied, or was.
    applied: u64,
    /// When a block was last built, checked or finalized here, by the clock that blocks are dated by.
    last_block: UnixMillis,
    /// The node is ready when the block at this height is final; unknown until the directory is open.
    ready_at: Option<u64>,
    phase: Phase,
    copying: Option<Copying>,
    /// The state was being copied when the node stopped, and nobody goes on with it.
    unfinished: bool,
    /// The height of the first block that is kept here.
    holds_from: u64,
    /// The height of the first block that this validator may vote on.
    votes_from: u64,
    engine_ended: bool,
    stopped: bool,
}

impl Inner {
    fn header(&self) -> &Header {
        self.headers
            .back()
            .expect("the genesis header is there from the start, and the last is never removed")
    }
}

/// See the module.
pub(crate) struct Tip {
    inner: Mutex<Inner>,
    changed: Condvar,
    pub(crate) cache: Cache,
    stated: StatedTime,
    now: Now,
    /// Of blocks, if it is not `now`.
    clock: Option<BlockClock>,
}

impl Tip {
    pub(crate) fn new(header: Header, stated: StatedTime, now: Now) -> Self {
        stated.advance(header.time);
        let inner = Inner {
            headers: VecDeque::from([header]),
            applied: header.height,
            last_block: UnixMillis::EPOCH,
            ready_at: None,
            phase: Phase::Archives,
            copying: None,
            unfinished: false,
            holds_from: 1,
            votes_from: 1,
            engine_ended: false,
            stopped: false,
        };
        let (inner, changed) = (Mutex::new(inner), Condvar::new());
        let tip = Self { inner, changed, cache: Cache::default(), stated, now, clock: None };
        tip.saw_block();
        tip
    }

    /// Takes the times of blocks from another clock.
    pub(crate) fn with_clock(self, clock: Option<BlockClock>) -> Self {
        let tip = Self { clock, ..self };
        tip.saw_block();
        tip
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The header of the latest finalized block.
    pub(crate) fn header(&self) -> Header {
        *self.lock().header()
    }

    /// The header of a recent block with this state.
    pub(crate) fn header_of(&self, state: Digest) -> Option<Header> {
        self.lock().headers.iter().rev().find(|h| h.state == state).copied()
    }

    /// The time of the machine, or of a simulation.
    pub(crate) fn clock_now(&self) -> UnixMillis {
        if let Some(clock) = &self.clock {
            return clock();
        }
        let since = (self.now)().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).ok().and_then(UnixMillis::new).unwrap_or(UnixMillis::EPOCH)
    }

    pub(crate) fn stated(&self) -> UnixMillis {
        self.stated.get()
    }

    pub(crate) fn state_time(&self, at: UnixMillis) {
        self.stated.advance(at);
    }

    /// The state of the block at `height` is about to be applied: from now on somebody may read it.
    pub(crate) fn applies(&self, height: u64) {
        let mut inner = self.lock();
        inner.applied = inner.applied.max(height);
    }

    /// The height of the latest block whose state is being applied, or was.
    pub(crate) fn applied(&self) -> u64 {
        self.lock().applied
    }

    /// A block was finalized and its state applied.
    pub(crate) fn finalized(&self, header: &Header, operations: &[StateOperation]) {
        self.cache.apply(operations);
        let mut inner = self.lock();
        if header.height > inner.header().height {
            inner.headers.push_back(*header);
            if inner.headers.len() > HEADERS_KEPT {
                inner.headers.pop_front();
            }
        }
        inner.applied = inner.applied.max(header.height);
        inner.last_block = self.clock_now();
        drop(inner);
        self.stated.advance(header.time);
        self.changed.notify_all();
    }

    pub(crate) fn saw_block(&self) {
        let now = self.clock_now();
        self.lock().last_block = now;
    }

    pub(crate) fn since_last_block(&self) -> Duration {
        let since = self.clock_now().since(self.lock().last_block);
        Duration::from_millis(since.map_or(0, DurationMs::millis))
    }

    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// The archives are open and whole.
    pub(crate) fn archives_are_open(&self) {
        self.lock().phase = Phase::Rest;
    }

    /// The state is about to be copied from other validators, `wanted` operations of its log.
    pub(crate) fn copies(&self, wanted: u64) {
        let mut inner = self.lock();
        let operations = inner.copying.map_or(0, |copying| copying.operations);
        inner.copying = Some(Copying { operations, wanted });
    }

    /// So many more operations arrived.
    pub(crate) fn copied(&self, operations: usize) {
        if let Some(copying) = &mut self.lock().copying {
            let more = u64::try_from(operations).unwrap_or(u64::MAX);
            copying.operations = copying.operations.saturating_add(more);
        }
    }

    /// The state is whole.
    pub(crate) fn is_copied(&self) {
        self.lock().copying = None;
    }

    /// How far the copy of the state is, while there is one.
    pub(crate) fn copying(&self) -> Option<Copying> {
        self.lock().copying
    }

    /// The state is a part of one, and this node is not there to copy the rest.
    pub(crate) fn is_unfinished(&self) {
        self.lock().unfinished = true;
        self.changed.notify_all();
    }

    /// Whether it is.
    pub(crate) fn unfinished(&self) -> bool {
        self.lock().unfinished
    }

    /// The blocks from `height` on are kept here.
    pub(crate) fn hold_from(&self, height: u64) {
        self.lock().holds_from = height;
    }

    /// The height of the first block that is kept here.
    pub(crate) fn holds_from(&self) -> u64 {
        self.lock().holds_from
    }

    /// This validator may vote on the block at `height` and on those after it.
    pub(crate) fn vote_from(&self, height: u64) {
        self.lock().votes_from = height;
    }

    /// The height of the first block that this validator may vote on.
    pub(crate) fn votes_from(&self) -> u64 {
        self.lock().votes_from
    }

    /// Nobody told the node to stop, and it cannot go on.
    pub(crate) fn engine_ended(&self) {
        self.lock().engine_ended = true;
    }

    pub(crate) fn has_engine_ended(&self) -> bool {
        self.lock().engine_ended
    }

    /// How far the node came.
    pub(crate) fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// The node is ready when the block at `height` is final.
    pub(crate) fn ready_at(&self, height: u64) {
        self.lock().ready_at = Some(height);
        self.changed.notify_all();
    }

    /// Whether blocks are wanted although there is nothing to include.
    pub(crate) fn is_getting_ready(&self) -> bool {
        let inner = self.lock();
        inner.ready_at.is_none_or(|height| inner.header().height < height)
    }

    /// Waits until the node is ready. `false` if it stopped or `until` passed.
    pub(crate) fn wait_until_ready(&self, until: Instant) -> bool {
        self.wait(until, |inner| inner.ready_at.is_some_and(|height| inner.header().height >= height))
    }

    /// Waits until nothing that was read before is of a later block than [`Self::header`]: values can be read a moment
    /// before their block counts as the latest. `false` if the node stopped or `until` passed.
    pub(crate) fn wait_for_what_was_read(&self, until: Instant) -> bool {
        let applied = self.lock().applied;
        self.wait_for(applied, until)
    }

    /// Waits until the block at `height` is final. `false` if the node stopped or `until` passed.
    pub(crate) fn wait_for(&self, height: u64, until: Instant) -> bool {
        self.wait(until, |inner| inner.header().height >= height)
    }

    fn wait(&self, until: Instant, done: impl Fn(&Inner) -> bool) -> bool {
        let mut inner = self.lock();
        while !done(&inner) {
            let left = until.saturating_duration_since(Instant::now());
            if inner.stopped || inner.unfinished || left.is_zero() {
                return false;
            }
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::ledger::header;

    #[test]
    fn what_was_read_while_a_block_is_applied_is_waited_for() {
        let tip = Tip::new(header(0), StatedTime::default(), Arc::new(SystemTime::now));
        let now = Instant::now();
        assert!(tip.wait_for_what_was_read(now), "nothing is under way");
        tip.applies(1);
        assert!(!tip.wait_for_what_was_read(now), "block 1 may have been read, and is not the latest");
        tip.finalized(&header(1), &[]);
        assert!(tip.wait_for_what_was_read(now));
        // A block that is applied again after a crash.
        tip.applies(1);
        assert!(tip.wait_for_what_was_read(now));
        tip.applies(2);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| tip.wait_for_what_was_read(now + Duration::from_secs(600)));
            tip.finalized(&header(2), &[]);
            assert!(waiting.join().unwrap());
        });
        assert_eq!(tip.header().height, 2);
    }
}
