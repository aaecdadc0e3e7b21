//! A wallet that is told how a charge goes on, for as long as it keeps nobody waiting.

use std::time::{Duration, Instant};

/// A wallet that takes so long to hear something is not told any more: meanwhile nobody looks at the meter.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

/// Whether a wallet still listens. One that was away or slow once is not called again: each call may take its time, and what
/// it missed it is told at the end, or when it comes back.
#[derive(Debug)]
pub(super) struct Listener {
    listens: bool,
}

impl Listener {
    /// One that has not been told anything yet.
    pub(super) const fn new() -> Self {
        Self { listens: true }
    }

    /// Tells it something, if it still listens. `clock` only goes forward; `tell` says whether it was heard.
    pub(super) fn tell(&mut self, clock: impl Fn() -> Instant, tell: impl FnOnce() -> bool) {
        if !self.listens {
            return;
        }
        let begun = clock();
        self.listens = tell() && clock().duration_since(begun) < HEARD_WITHIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// How often a wallet was called that takes so many milliseconds each time, and is there or not.
    fn calls(answers: &[(u64, bool)]) -> usize {
        let (clock, calls) = (Cell::new(Instant::now()), Cell::new(0));
        let mut listener = Listener::new();
        for (takes_ms, is_there) in answers {
            listener.tell(
                || clock.get(),
                || {
                    calls.set(calls.get() + 1);
                    clock.set(clock.get() + Duration::from_millis(*takes_ms));
                    *is_there
                },
            );
        }
        calls.get()
    }

    #[test]
    fn a_wallet_that_is_away_or_slow_is_not_called_again() {
        assert_eq!(calls(&[(0, true), (1_999, true), (300, true), (1_999, true)]), 4, "each is in time");
        assert_eq!(calls(&[(0, true), (2_000, true), (0, true), (0, true)]), 2, "slow once");
        assert_eq!(calls(&[(30_000, true), (0, true)]), 1, "slow at once");
        assert_eq!(calls(&[(10, false), (0, true)]), 1, "away");
    }
}
