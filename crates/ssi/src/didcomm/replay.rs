//! Which messages came before: an envelope that was recorded and is sent again opens as well as the first time.
//!
//! A window remembers the ids of each connection's messages for a while, the latest so many of them. Beyond that the
//! protocols themselves refuse: a thread that ended takes no message again. An id that comes again with other content
//! is refused too.
//!
//! One connection's messages never push out another's, and a stranger gets no memory: callers ask here only after
//! they know whose message it is.

use super::MessageId;
use crate::did::VerificationKey;
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use std::collections::{BTreeMap, VecDeque};

/// The keys of a connection: every message between two agents names both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel {
    /// The key that opens what the other sends.
    pub ours: VerificationKey,
    /// The key that authenticates it.
    pub theirs: VerificationKey,
}

/// What a window says about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// It is new, and is remembered now.
    New,
    /// It came before, at that time.
    Before(UnixMillis),
    /// It cannot be told: there are as many connections as are remembered, all with recent messages. To refuse it is
    /// safe.
    Full,
}

/// The ids of recent messages.
#[derive(Debug)]
pub struct ReplayWindow {
    span: DurationMs,
    ids_max: usize,
    channels_max: usize,
    seen: BTreeMap<Channel, VecDeque<(UnixMillis, MessageId)>>,
}

impl ReplayWindow {
    /// A window that remembers the latest `ids_max` ids (at least one) of each of at most `channels_max` connections for
    /// `span`.
    #[must_use]
    pub fn new(span: DurationMs, ids_max: usize, channels_max: usize) -> Self {
        Self { span, ids_max: ids_max.max(1), channels_max, seen: BTreeMap::new() }
    }

    /// Whether the message came before; if not, it is remembered.
    pub fn check(&mut self, channel: Channel, id: &MessageId, now: UnixMillis) -> Replay {
        let span = self.span;
        // A clock that went back makes nothing old.
        let old = |at: UnixMillis| now.since(at).is_some_and(|age| age > span);
        if !self.seen.contains_key(&channel) && self.seen.len() >= self.channels_max {
            self.seen.retain(|_, ids| ids.back().is_some_and(|(at, _)| !old(*at)));
            if self.seen.len() >= self.channels_max {
                return Replay::Full;
            }
        }
        let ids = self.seen.entry(channel).or_default();
        while ids.front().is_some_and(|(at, _)| old(*at)) {
            ids.pop_front();
        }
        if let Some((at, _)) = ids.iter().find(|(_, seen)| seen == id) {
            return Replay::Before(*at);
        }
        if ids.len() >= self.ids_max {
            ids.pop_front();
        }
        ids.push_back((now, id.clone()));
        Replay::New
    }

    /// Forgets a connection that ended.
    pub fn forget(&mut self, channel: &Channel) {
        self.seen.remove(channel);
    }

    /// How many connections are remembered.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.seen.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::didcomm::SigningKey;
    use proptest::prelude::*;

    fn channel(theirs: u8) -> Channel {
        let key = |seed| SigningKey::from_seed(&[seed; 32]).verification_key();
        Channel { ours: key(200), theirs: key(theirs) }
    }

    fn at(ms: i64) -> UnixMillis {
        UnixMillis::new(ms).unwrap()
    }

    fn id(n: u64) -> MessageId {
        MessageId::parse(&n.to_string()).unwrap()
    }

    fn window() -> ReplayWindow {
        ReplayWindow::new(DurationMs::from_millis(100), 3, 2)
    }

    #[test]
    fn a_message_is_new_once_within_the_span() {
        let mut window = window();
        assert_eq!(window.check(channel(1), &id(1), at(1000)), Replay::New);
        assert_eq!(window.check(channel(1), &id(1), at(1100)), Replay::Before(at(1000)));
        assert_eq!(window.check(channel(2), &id(1), at(1100)), Replay::New);
        assert_eq!(window.check(channel(1), &id(1), at(900)), Replay::Before(at(1000)));
        assert_eq!(window.check(channel(1), &id(1), at(1101)), Replay::New);
    }

    #[test]
    fn a_connection_pushes_out_only_its_own_ids() {
        let mut window = window();
        window.check(channel(2), &id(0), at(0));
        for n in 0..4 {
            assert_eq!(window.check(channel(1), &id(n), at(0)), Replay::New);
        }
        assert_eq!(window.check(channel(1), &id(3), at(0)), Replay::Before(at(0)));
        assert_eq!(window.check(channel(1), &id(0), at(0)), Replay::New);
        assert_eq!(window.check(channel(2), &id(0), at(0)), Replay::Before(at(0)));
    }

    #[test]
    fn more_connections_than_are_remembered_wait_for_old_ones() {
        let mut window = window();
        window.check(channel(1), &id(1), at(0));
        window.check(channel(2), &id(1), at(50));
        assert_eq!(window.check(channel(3), &id(1), at(60)), Replay::Full);
        assert_eq!(window.check(channel(3), &id(1), at(120)), Replay::New);
        assert_eq!(window.check(channel(1), &id(1), at(120)), Replay::Full);
        window.forget(&channel(3));
        assert_eq!(window.channels(), 1);
        assert_eq!(window.check(channel(1), &id(1), at(120)), Replay::New);
    }

    proptest! {
        #[test]
        fn a_window_stays_within_its_bounds_and_repeats_nothing_recent(
            messages in proptest::collection::vec((0_u8..4, 0_u64..6, 0_i64..40), 1..60)) {
            let (mut window, mut now) = (window(), 0);
            let mut taken: Vec<(u8, u64, i64)> = Vec::new();
            for (from, n, pause) in messages {
                now += pause;
                if window.check(channel(from), &id(n), at(now)) == Replay::New {
                    // The last three of a connection within the span are never taken again.
                    let recent = taken.iter().rev().filter(|(f, ..)| *f == from).take(3);
                    prop_assert!(recent.clone().all(|(_, m, t)| *m != n || now - t > 100));
                    taken.push((from, n, now));
                }
                prop_assert!(window.channels() <= 2);
                prop_assert!(window.seen.values().all(|ids| ids.len() <= 3));
            }
        }
    }
}
