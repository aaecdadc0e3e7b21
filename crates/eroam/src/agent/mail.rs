//! What has come to an agent and nobody has taken yet.
//!
//! Anybody who has seen an invitation can write, so what nobody wants must not pile up: it is thrown away after a while,
//! and strangers (whoever has no connection) share a small room in which the oldest message goes when a new one comes.
//! Whoever is connected has room that strangers cannot fill; when that is full, the sender is told to try again.

use eroam_ssi::didcomm::Channel;
use eroam_ssi::protocol::Incoming;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Messages of connections that wait at most, and of one channel among them: sixteen drivers, whom a station talks to at a
/// time, leave room for its operator.
const KNOWN_MAX: usize = 1_024;
const CHANNEL_MAX: usize = 48;
/// Messages of strangers that wait at most, and of one of them.
const STRANGERS_MAX: usize = 256;
const STRANGER_MAX: usize = 16;
/// So long a message waits: longer than anybody may take for a step, a person who has to agree included.
const WAITS_FOR: Duration = Duration::from_secs(900);

/// There is no room for another message of this sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// A message with when it came.
pub(super) struct Letter {
    incoming: Incoming,
    came: Instant,
}

impl Letter {
    pub(super) const fn incoming(&self) -> &Incoming {
        &self.incoming
    }

    fn channel(&self) -> Channel {
        self.incoming.channel()
    }
}

/// What has come: as it came, and looked at by the agent but taken by nobody yet.
#[derive(Default)]
pub(super) struct Mail {
    new: VecDeque<Letter>,
    waiting: Vec<Letter>,
}

impl Mail {
    /// A message has come. `knows` says who is connected. Gives the channels of which something was thrown away, and
    /// nothing is left: these need not be remembered any more.
    pub(super) fn put(
        &mut self,
        incoming: Incoming,
        knows: impl Fn(&Channel) -> bool,
        now: Instant,
    ) -> Result<Vec<Channel>, Full> {
        let mut dropped = self.drop_old(now);
        let (channel, is_known) = (incoming.channel(), knows(&incoming.channel()));
        let of_channel = self.letters().filter(|letter| letter.channel() == channel).count();
        let of_kind = self.letters().filter(|letter| knows(&letter.channel()) == is_known).count();
        let (channel_max, kind_max) =
            if is_known { (CHANNEL_MAX, KNOWN_MAX) } else { (STRANGER_MAX, STRANGERS_MAX) };
        if of_channel >= channel_max || (is_known && of_kind >= kind_max) {
            return Err(Full);
        }
        if of_kind >= kind_max {
            dropped.extend(self.drop_oldest(|channel| !knows(channel)));
        }
        self.new.push_back(Letter { incoming, came: now });
        dropped.retain(|channel| self.letters().all(|letter| letter.channel() != *channel));
        Ok(dropped)
    }

    fn letters(&self) -> impl Iterator<Item = &Letter> {
        self.new.iter().chain(&self.waiting)
    }

    fn drop_old(&mut self, now: Instant) -> Vec<Channel> {
        let is_old = |letter: &Letter| now.saturating_duration_since(letter.came) > WAITS_FOR;
        let dropped = self.letters().filter(|letter| is_old(letter)).map(Letter::channel).collect();
        self.new.retain(|letter| !is_old(letter));
        self.waiting.retain(|letter| !is_old(letter));
        dropped
    }

    fn drop_oldest(&mut self, of: impl Fn(&Channel) -> bool) -> Option<Channel> {
        let oldest = self.letters().filter(|letter| of(&letter.channel())).min_by_key(|letter| letter.came);
        let (came, channel) = oldest.map(|letter| (letter.came, letter.channel()))?;
        let is_it = |letter: &Letter| letter.came == came && letter.channel() == channel;
        if let Some(place) = self.waiting.iter().position(is_it) {
            self.waiting.remove(place);
        } else if let Some(place) = self.new.iter().position(is_it) {
            self.new.remove(place);
        }
        Some(channel)
    }

    /// The next one that the agent has not looked at.
    pub(super) fn next_new(&mut self) -> Option<Letter> {
        self.new.pop_front()
    }

    /// The agent has looked at it: it waits for its taker.
    pub(super) fn keep(&mut self, letter: Letter) {
        self.waiting.push(letter);
    }

    /// The first that is wanted, of those that the agent has looked at.
    pub(super) fn take(&mut self, wanted: impl Fn(&Incoming) -> bool) -> Option<Incoming> {
        let place = self.waiting.iter().position(|letter| wanted(&letter.incoming))?;
        Some(self.waiting.remove(place).incoming)
    }

    /// Throws away what has come over a channel.
    pub(super) fn forget(&mut self, channel: &Channel) {
        self.new.retain(|letter| letter.channel() != *channel);
        self.waiting.retain(|letter| letter.channel() != *channel);
    }

    /// How many there are.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.letters().count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::new_id;
    use crate::clock::now;
    use eroam_ssi::did::{self, Endpoint};
    use eroam_ssi::didcomm::{OsRng, SigningKey, seal, unpack};
    use eroam_ssi::protocol::basic_message::{self, BasicMessage};
    use eroam_ssi::protocol::did_exchange::Ours;

    /// Somebody who writes to us.
    struct Sender(SigningKey);

    impl Sender {
        fn new() -> Self {
            Self(SigningKey::generate(&mut OsRng))
        }

        fn writes(&self, to: &SigningKey, content: &str) -> Incoming {
            let endpoint = Endpoint::parse("http://127.0.0.1:1").unwrap();
            let ours = Ours::peer(to.verification_key(), &endpoint, &[]).unwrap();
            let document = did::resolve(ours.did()).unwrap();
            let text = BasicMessage { content: content.to_owned(), sent_time: now(), locale: None };
            let message = basic_message::write(&text, new_id());
            let envelope = seal(&message, document.target().unwrap(), &self.0, &mut OsRng).unwrap();
            let opened = unpack(&envelope, |key| (*key == to.verification_key()).then_some(to)).unwrap();
            Incoming::read(&opened).unwrap()
        }
    }

    fn said(incoming: &Incoming) -> String {
        basic_message::read(incoming.message()).unwrap().content
    }

    fn all(mail: &mut Mail) -> Vec<String> {
        while let Some(letter) = mail.next_new() {
            mail.keep(letter);
        }
        std::iter::from_fn(|| mail.take(|_| true)).map(|incoming| said(&incoming)).collect()
    }

    #[test]
    fn of_strangers_the_oldest_message_goes_and_nobody_who_is_connected_loses_any() {
        let (us, friend, begin) = (Sender::new().0, Sender::new(), Instant::now());
        let friends = friend.writes(&us, "friend").channel();
        let knows = |channel: &Channel| *channel == friends;
        let mut mail = Mail::default();
        mail.put(friend.writes(&us, "friend"), knows, begin).unwrap();
        let strangers: Vec<Sender> = (0..=STRANGERS_MAX).map(|_| Sender::new()).collect();
        let mut dropped = Vec::new();
        for (n, stranger) in strangers.iter().enumerate() {
            let at = begin + Duration::from_millis(u64::try_from(n).unwrap());
            dropped.extend(mail.put(stranger.writes(&us, &n.to_string()), knows, at).unwrap());
        }
        assert_eq!(dropped, [strangers[0].writes(&us, "").channel()], "the first, of whom nothing is left");
        assert_eq!(mail.len(), STRANGERS_MAX + 1);
        let there = all(&mut mail);
        assert_eq!((there[0].as_str(), there[1].as_str()), ("friend", "1"));
        assert_eq!(there.last(), Some(&STRANGERS_MAX.to_string()));
    }

    #[test]
    fn one_sender_alone_cannot_fill_the_room_of_all() {
        let (us, one, other, begin) = (Sender::new().0, Sender::new(), Sender::new(), Instant::now());
        for (is_known, most) in [(false, STRANGER_MAX), (true, CHANNEL_MAX)] {
            let mut mail = Mail::default();
            let put = |mail: &mut Mail, from: &Sender| mail.put(from.writes(&us, "x"), |_| is_known, begin);
            for _ in 0..most {
                assert_eq!(put(&mut mail, &one), Ok(vec![]));
            }
            assert_eq!(put(&mut mail, &one), Err(Full));
            assert_eq!(put(&mut mail, &other), Ok(vec![]));
            assert_eq!(mail.len(), most + 1);
        }
    }

    #[test]
    fn connections_are_told_when_their_room_is_full() {
        let (us, begin) = (Sender::new().0, Instant::now());
        let mut mail = Mail::default();
        let senders: Vec<Sender> = (0..KNOWN_MAX / CHANNEL_MAX + 1).map(|_| Sender::new()).collect();
        let letters: Vec<Incoming> = senders.iter().map(|sender| sender.writes(&us, "x")).collect();
        let mut put = |n: usize| mail.put(letters[n / CHANNEL_MAX].clone(), |_| true, begin);
        for n in 0..KNOWN_MAX {
            assert_eq!(put(n), Ok(vec![]));
        }
        assert_eq!(put(KNOWN_MAX), Err(Full));
    }

    #[test]
    fn what_nobody_takes_goes_after_a_while() {
        let (us, friend, stranger, begin) = (Sender::new().0, Sender::new(), Sender::new(), Instant::now());
        let (channel, friends) = (stranger.writes(&us, "").channel(), friend.writes(&us, "").channel());
        let knows = |channel: &Channel| *channel == friends;
        let mut mail = Mail::default();
        mail.put(stranger.writes(&us, "old"), knows, begin).unwrap();
        let looked_at = mail.next_new().unwrap();
        mail.keep(looked_at);
        mail.put(friend.writes(&us, "newer"), knows, begin + Duration::from_secs(1)).unwrap();
        let later = |ms| begin + WAITS_FOR + Duration::from_millis(ms);
        assert_eq!(mail.put(friend.writes(&us, "b"), knows, later(0)), Ok(vec![]), "to the instant it waits");
        assert_eq!(mail.put(friend.writes(&us, "c"), knows, later(1)), Ok(vec![channel]));
        // Of the friend something is left, so that it is remembered what came.
        assert_eq!(mail.put(friend.writes(&us, "d"), knows, later(1_001)), Ok(vec![]));
        assert_eq!(all(&mut mail), ["b", "c", "d"]);
    }

    #[test]
    fn what_came_over_a_connection_that_ended_is_gone() {
        let (us, one, other, begin) = (Sender::new().0, Sender::new(), Sender::new(), Instant::now());
        let mut mail = Mail::default();
        for sender in [&one, &other, &one] {
            mail.put(sender.writes(&us, "x"), |_| true, begin).unwrap();
        }
        let looked_at = mail.next_new().unwrap();
        mail.keep(looked_at);
        mail.forget(&one.writes(&us, "").channel());
        assert_eq!(mail.len(), 1);
    }
}
