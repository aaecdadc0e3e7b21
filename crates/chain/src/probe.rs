//! The latest final block that the validators know: asked of all others before a state is copied, and told to whoever
//! asks.
//!
//! A certificate proves that a block is final, not that nothing follows it. Which epochs a lost directory may have voted in
//! follows from the latest of 2f + 1 answers, each of another validator, and not from that of fewer; see
//! `docs/decisions/0028-copying-the-state.md`. The engine's own probe is content with f + 1.
//!
//! ```text
//! question   00
//! answer     01, the certificate
//! ```
//! Whoever has no certificate yet, or is asking itself, does not answer.

use crate::keep::Certificate;
use crate::requests::Marshal;
use bytes::{BufMut as _, Bytes, BytesMut};
use commonware_codec::{Decode as _, Encode as _};
use commonware_consensus::marshal::Identifier;
use commonware_consensus::simplex::scheme::ed25519::Scheme;
#[cfg(test)]
use commonware_consensus::types::Height;
use commonware_cryptography::certificate::{Scheme as _, Verifier as _};
use commonware_cryptography::ed25519;
use commonware_p2p::{Blocker, Receiver, Recipients, Sender};
use commonware_parallel::Sequential;
use commonware_runtime::{Clock, Quota};
use commonware_utils::{Faults as _, N3f1};
use rand::CryptoRng;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

/// Whoever has not answered is asked again after this.
const ASKED_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// So many messages of the channel a peer may send in a second: twice as many as there are questions.
pub(crate) const MESSAGES_PER_SECOND: Quota = Quota::per_second(NonZeroU32::new(8).expect("not zero"));
const QUESTION: u8 = 0;
const ANSWER: u8 = 1;

/// So many others must have answered, of a network of so many validators: 2f + 1. With fewer than four validators there
/// are not so many others who may be relied on, see [`can_copy`].
fn answers_wanted(validators: usize) -> usize {
    let faults = usize::try_from(N3f1::max_faults(validators)).unwrap_or(usize::MAX);
    faults.saturating_mul(2).saturating_add(1)
}

/// Whether the others go on while one validator is silent, so that it has something to copy and to follow.
pub(crate) fn can_copy(validators: usize) -> bool {
    N3f1::max_faults(validators) > 0
}

/// The greatest message of the channel.
pub(crate) fn message_bytes_max(validators: u32) -> usize {
    Certificate::max_encode_size(validators).saturating_add(1)
}

/// What was answered so far.
struct Heard {
    wanted: usize,
    answers: BTreeMap<ed25519::PublicKey, Certificate>,
}

impl Heard {
    const fn new(wanted: usize) -> Self {
        Self { wanted, answers: BTreeMap::new() }
    }

    /// Whether an answer of this validator is missing.
    fn awaits(&self, validator: &ed25519::PublicKey) -> bool {
        !self.answers.contains_key(validator)
    }

    /// Takes an answer; gives the latest of all when enough have answered.
    fn take(&mut self, from: ed25519::PublicKey, answer: Certificate) -> Option<Certificate> {
        self.answers.entry(from).or_insert(answer);
        let enough = self.answers.len() >= self.wanted;
        let latest = || self.answers.values().max_by_key(|certificate| certificate.proposal.round);
        enough.then(latest).flatten().cloned()
    }
}

/// Asks the other validators until enough have answered, and gives the latest certificate; `None` if the node is stopping.
/// Who sends what is no certificate of the network is kept away.
pub(crate) async fn latest<E, S, N>(
    context: &mut E,
    (sender, receiver): (&mut S, &mut N),
    own: &ed25519::PublicKey,
    scheme: &Scheme,
    blocker: &mut impl Blocker<PublicKey = ed25519::PublicKey>,
) -> Option<Certificate>
where
    E: Clock + CryptoRng,
    S: Sender<PublicKey = ed25519::PublicKey>,
    N: Receiver<PublicKey = ed25519::PublicKey>,
{
    let validators = scheme.participants();
    let mut heard = Heard::new(answers_wanted(validators.len()));
    loop {
        let missing = validators.iter().filter(|key| *key != own && heard.awaits(key)).cloned().collect();
        // Whoever is not reached now is asked again.
        let _ = sender.send(Recipients::Some(missing), Bytes::from_static(&[QUESTION]), false);
        let again = context.current() + ASKED_AGAIN_AFTER;
        loop {
            let (from, message) = commonware_macros::select! {
                _ = context.sleep_until(again) => break,
                received = receiver.recv() => received.ok()?,
            };
            // What is not awaited costs nothing.
            if from == *own || validators.position(&from).is_none() || !heard.awaits(&from) {
                continue;
            }
            if message.as_ref() == [QUESTION] {
                continue;
            }
            let answer = decode(message.as_ref(), scheme);
            let Some(answer) = answer.filter(|a| a.verify(context, scheme, &Sequential)) else {
                commonware_p2p::block!(blocker, from, "chain.probe.forged");
                continue;
            };
            if let Some(latest) = heard.take(from, answer) {
                return Some(latest);
            }
        }
    }
}

/// The certificate of an answer; that it proves anything is not said.
fn decode(message: &[u8], scheme: &Scheme) -> Option<Certificate> {
    let (tag, certificate) = message.split_first()?;
    let certificate = Bytes::copy_from_slice(certificate);
    let decoded = || Certificate::decode_cfg(certificate, &scheme.certificate_codec_config()).ok();
    (*tag == ANSWER).then(decoded).flatten()
}

/// Answers whoever asks, until the node is stopping.
pub(crate) async fn answer<S, N>(
    mut sender: S,
    mut receiver: N,
    marshal: Marshal,
    #[cfg(test)] dishonest: Option<std::sync::Arc<dyn crate::application::Dishonest>>,
) where
    S: Sender<PublicKey = ed25519::PublicKey>,
    N: Receiver<PublicKey = ed25519::PublicKey>,
{
    while let Ok((from, message)) = receiver.recv().await {
        if message.as_ref() != [QUESTION] {
            continue;
        }
        let known = known(&marshal).await;
        #[cfg(test)]
        let known = match dishonest.as_ref().and_then(|d| d.latest()) {
            Some(height) => marshal.get_finalization(Height::new(height)).await.or(known),
            None => known,
        };
        let Some(certificate) = known else { continue };
        let mut message = BytesMut::new();
        message.put_u8(ANSWER);
        message.extend_from_slice(&certificate.encode());
        // Whoever does not get it asks again.
        let _ = sender.send(Recipients::One(from), message.freeze(), false);
    }
}

/// The certificate of the latest final block here.
async fn known(marshal: &Marshal) -> Option<Certificate> {
    let (height, _) = marshal.get_info(Identifier::Latest).await?;
    marshal.get_finalization(height).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::ledger::validator_key;
    use commonware_cryptography::Signer as _;
    use commonware_utils::ordered::Set;
    use proptest::prelude::*;

    #[test]
    fn so_many_answers_are_wanted() {
        for (validators, wanted) in [(4, 3), (5, 3), (6, 3), (7, 5), (10, 7), (13, 9)] {
            assert_eq!(answers_wanted(validators), wanted, "of {validators}");
            assert!(can_copy(validators));
        }
        for validators in 1..4 {
            assert!(!can_copy(validators), "{validators} need the votes of all");
        }
    }

    /// The argument of `docs/decisions/0028-copying-the-state.md` in numbers. Of the validators that voted for the block
    /// that began the last epoch in which the lost one voted, at least `voters` others are honest.
    #[test]
    fn an_honest_voter_is_among_those_who_answer_and_no_more_are_waited_for_than_go_on() {
        for validators in 4..200 {
            let faults = usize::try_from(N3f1::max_faults(validators)).unwrap();
            let quorum = usize::try_from(N3f1::quorum(validators)).unwrap();
            let honest_others = validators - 1 - faults;
            let voters = quorum - 1 - faults;
            let honest_answers = |answers: usize| answers - faults;
            assert!(voters + honest_answers(answers_wanted(validators)) > honest_others, "{validators}");
            assert!(voters + honest_answers(faults + 1) <= honest_others, "{validators}: fewer would do");
            assert!(answers_wanted(validators) <= quorum, "{validators}");
        }
    }

    proptest! {
        #[test]
        fn nobody_ends_a_node_by_what_he_answers(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let scheme = Scheme::verifier(b"a network", Set::from_iter_dedup([validator_key(0).public_key()]));
            let answer = decode(&bytes, &scheme);
            prop_assert!(answer.is_none() || bytes.first() == Some(&ANSWER));
            let mut rng = commonware_utils::test_rng();
            prop_assert!(!answer.is_some_and(|a| a.verify(&mut rng, &scheme, &Sequential)));
        }
    }
}
