//! What a process used so far, and what its agents sent: for whoever measures several processes together.

use crate::agent::traffic;
use crate::bench::network::process_cpu_time;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a process used, and what its agents sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Processor time of the process, in microseconds.
    pub cpu_us: u64,
    /// Presentations that were shown.
    pub presentations: u64,
    /// Credentials that were issued.
    pub credentials: u64,
    /// Messages besides handshakes, credentials and presentations.
    pub others: u64,
    /// All messages.
    pub all: u64,
    /// How long they took to be sealed and taken, in microseconds.
    pub sending_us: u64,
    /// How long presentations took, in microseconds.
    pub presenting_us: u64,
}

impl Usage {
    /// That of this process.
    #[must_use]
    pub fn now() -> Self {
        let us = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let sent = traffic();
        Self {
            cpu_us: us(process_cpu_time()),
            presentations: sent.presentations,
            credentials: sent.credentials,
            others: sent.others,
            all: sent.all,
            sending_us: us(sent.sending),
            presenting_us: us(sent.presenting),
        }
    }

    fn both(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            cpu_us: with(self.cpu_us, other.cpu_us),
            presentations: with(self.presentations, other.presentations),
            credentials: with(self.credentials, other.credentials),
            others: with(self.others, other.others),
            all: with(self.all, other.all),
            sending_us: with(self.sending_us, other.sending_us),
            presenting_us: with(self.presenting_us, other.presenting_us),
        }
    }

    /// Together with another's.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.both(other, u64::saturating_add)
    }

    /// Since an earlier one.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        self.both(before, u64::saturating_sub)
    }

    /// How long a message took.
    #[must_use]
    pub fn mean_message(&self) -> Duration {
        Duration::from_micros(self.sending_us.checked_div(self.all).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_used_meanwhile_is_added() {
        let used = |cpu_us, all, sending_us| Usage { cpu_us, all, sending_us, ..Usage::default() };
        let before = used(5, 1, 10).and(used(6, 2, 20));
        let after = used(8, 4, 40).and(used(9, 5, 50));
        assert_eq!(after.since(before), used(6, 6, 60));
        assert_eq!(after.since(before).mean_message(), Duration::from_micros(10));
        assert_eq!(Usage::default().mean_message(), Duration::ZERO);
    }
}
