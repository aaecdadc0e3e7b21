//! How far behind the ledger an answer may be: what an old block proves was true once, and says nothing of what was
//! revoked since.
//!
//! ```text
//! every network          no block below the highest that was known before it was asked
//!                        no highest block for more than STALENESS_MAX without another one after it
//! BlockTime::Clock       a block's time within STALENESS_MAX of ours
//! ```
//! Where the time of blocks is what submitters state ([`BlockTime::Stated`]: replays and simulations) it says nothing of
//! their age. A resolver that stands still is found there by the second rule, as soon as it was watched for long enough;
//! one that goes on, but slower than the network, is found by the third rule alone.
//!
//! Heights are watched by the machine's own clock, also where a simulation leaves hours out of the time of day: the
//! validators' heartbeat goes by it, too.

use eroam_domain::time::UnixMillis;
use eroam_ledger::genesis::BlockTime;
use eroam_light::block::Header;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// An answer may be so far behind the ledger. Validators with nothing to do make a block each minute
/// (`eroam_chain::epochs::Timing`): four may fail, or be late, before anybody is refused for it.
pub const STALENESS_MAX: Duration = Duration::from_secs(300);

/// Why an answer is not recent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// Of before what is known.
    #[error("it answers by block {found}, and block {known} is known")]
    Earlier {
        /// The answer's.
        found: u64,
        /// The highest that was known.
        known: u64,
    },
    /// Nothing new for too long.
    #[error("it has stood at block {height} for {} s, in which a network makes several", .stood.as_secs())]
    StandsStill {
        /// The highest.
        height: u64,
        /// For so long.
        stood: Duration,
    },
    /// Of long ago by the validators' clocks.
    #[error("its newest block is of {made}, and it is {now} by the clock here")]
    Old {
        /// By the validators' clocks.
        made: UnixMillis,
        /// By ours.
        now: UnixMillis,
    },
    /// Our clock is behind, or the validators' are ahead.
    #[error("its newest block is of {made}, and it is only {now} by the clock here: set the clock")]
    YetToCome {
        /// By the validators' clocks.
        made: UnixMillis,
        /// By ours.
        now: UnixMillis,
    },
}

/// The highest block that anybody proved.
#[derive(Clone, Copy, Debug)]
struct Highest {
    height: u64,
    /// Since when it is known; `None` for one of another run, which says nothing of how long it has stood.
    since: Option<Instant>,
}

/// What was known when a question was sent. Answers of two questions may cross, so each is held against its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    floor: u64,
    at: Instant,
}

/// How far the ledger is known to be.
#[derive(Debug)]
pub(super) struct Staleness {
    time: BlockTime,
    max: Duration,
    highest: Mutex<Highest>,
}

impl Staleness {
    pub(super) const fn new(time: BlockTime) -> Self {
        let highest = Highest { height: 0, since: None };
        Self { time, max: STALENESS_MAX, highest: Mutex::new(highest) }
    }

    /// Refuses what is further behind than `max`.
    pub(super) const fn at_most(self, max: Duration) -> Self {
        Self { max, ..self }
    }

    fn highest(&self) -> MutexGuard<'_, Highest> {
        self.highest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The highest block that is known, 0 for none.
    pub(super) fn height(&self) -> u64 {
        self.highest().height
    }

    /// Remembers what an earlier run, or another resolver, proved.
    pub(super) fn know(&self, height: u64) {
        let mut highest = self.highest();
        if height > highest.height {
            *highest = Highest { height, since: None };
        }
    }

    /// A question is sent.
    pub(super) fn ask(&self, at: Instant) -> Asked {
        Asked { floor: self.height(), at }
    }

    /// Checks the final block that an answer is proved by, at the time of day `now`.
    ///
    /// Checks: height, how long the highest has stood, time.
    ///
    /// # Errors
    /// [`Stale`].
    pub(super) fn check(&self, asked: Asked, header: &Header, now: UnixMillis) -> Result<(), Stale> {
        let Header { height, time: made, .. } = *header;
        if height < asked.floor {
            return Err(Stale::Earlier { found: height, known: asked.floor });
        }
        {
            let mut highest = self.highest();
            if height > highest.height || height == highest.height && highest.since.is_none() {
                *highest = Highest { height, since: Some(asked.at) };
            }
            let stood = highest.since.map(|since| asked.at.saturating_duration_since(since));
            if let Some(stood) = stood.filter(|stood| height == highest.height && *stood > self.max) {
                return Err(Stale::StandsStill { height, stood });
            }
        }
        if self.time == BlockTime::Stated {
            return Ok(());
        }
        let apart =
            |earlier: UnixMillis, later: UnixMillis| later.since(earlier).map(|by| u128::from(by.millis()));
        if apart(made, now).is_some_and(|by| by > self.max.as_millis()) {
            return Err(Stale::Old { made, now });
        }
        if apart(now, made).is_some_and(|by| by > self.max.as_millis()) {
            return Err(Stale::YetToCome { made, now });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eroam_domain::codec::Digest;
    use eroam_ledger::tx::PublicKey;

    const NOON: i64 = 1_800_000_000_000;
    const MAX_MS: i64 = 300_000;

    fn at(ms: i64) -> UnixMillis {
        UnixMillis::new(ms).unwrap()
    }

    fn block(height: u64, made: i64) -> Header {
        let none = Digest([0; 32]);
        Header {
            version: eroam_light::block::VERSION,
            height,
            epoch: 0,
            view: 0,
            leader: PublicKey([0; 32]),
            parent_view: 0,
            parent: none,
            time: at(made),
            body: none,
            receipts: none,
            state: none,
            operations: none,
            operations_start: 0,
            operations_end: 0,
        }
    }

    #[test]
    fn a_height_never_falls_below_what_was_known_before_the_question() {
        let (known, start) = (Staleness::new(BlockTime::Stated), Instant::now());
        let first = known.ask(start);
        let second = known.ask(start);
        assert_eq!(known.check(first, &block(8, 0), at(NOON)), Ok(()));
        // The two answers crossed.
        assert_eq!(known.check(second, &block(7, 0), at(NOON)), Ok(()));
        let refused = known.check(known.ask(start), &block(7, 0), at(NOON));
        assert_eq!(refused, Err(Stale::Earlier { found: 7, known: 8 }));
        known.know(5);
        assert_eq!(known.height(), 8);
        known.know(20);
        let refused = known.check(known.ask(start), &block(19, 0), at(NOON));
        assert_eq!(refused, Err(Stale::Earlier { found: 19, known: 20 }));
    }

    #[test]
    fn a_height_that_stands_still_is_refused_until_there_is_another_block() {
        for time in [BlockTime::Stated, BlockTime::Clock] {
            let (known, start) = (Staleness::new(time), Instant::now());
            // What another run knew says nothing of how long it has stood.
            known.know(8);
            let check = |after: Duration, height| {
                known.check(known.ask(start + after), &block(height, NOON), at(NOON))
            };
            assert_eq!(check(Duration::ZERO, 8), Ok(()));
            assert_eq!(check(STALENESS_MAX, 8), Ok(()));
            let stood = STALENESS_MAX + Duration::from_secs(1);
            assert_eq!(check(stood, 8), Err(Stale::StandsStill { height: 8, stood }));
            assert_eq!(check(stood, 9), Ok(()));
            assert_eq!(check(stood + STALENESS_MAX, 9), Ok(()));
        }
    }

    #[test]
    fn a_block_is_as_old_as_its_time_says_where_that_is_of_the_validators_clocks() {
        let check = |time, made, now| {
            let known = Staleness::new(time);
            known.check(known.ask(Instant::now()), &block(1, made), at(now))
        };
        let old = |made| Err(Stale::Old { made: at(made), now: at(NOON) });
        let to_come = |made| Err(Stale::YetToCome { made: at(made), now: at(NOON) });
        for (made, want) in [
            (NOON, Ok(())),
            (NOON - MAX_MS, Ok(())),
            (NOON - MAX_MS - 1, old(NOON - MAX_MS - 1)),
            (0, old(0)),
            (NOON + MAX_MS, Ok(())),
            (NOON + MAX_MS + 1, to_come(NOON + MAX_MS + 1)),
        ] {
            assert_eq!(check(BlockTime::Clock, made, NOON), want, "{made}");
            assert_eq!(check(BlockTime::Stated, made, NOON), Ok(()), "{made}");
        }
    }
}
