//! Copying the state from other validators: asks them for the operations of the state's log, and answers those who ask.
//!
//! Whoever copies believes nobody. A final block's header names the root and the range of the log (see
//! [`sync_targets`](commonware_glue::stateful::Application::sync_targets)), and every answer carries a proof that leads
//! to that root; the engine checks it and says so here, and who answered wrongly is not asked again.
//!
//! The engine's own actor for this takes only operations whose decoding needs no limits, which ours do, so that the same
//! protocol is spoken here over `commonware-resolver`.

use crate::state::{Database, Databases, Family, StateOperation, operation_cfg};
use crate::tip::Tip;
use bytes::Bytes;
use commonware_codec::{Decode as _, Encode as _, EncodeSize as _};
use commonware_cryptography::{ed25519, sha256};
use commonware_glue::stateful::db::AttachableResolver;
use commonware_p2p::{Blocker, Provider, Receiver, Sender};
use commonware_resolver::{Consumer, Delivery, Fetch, Resolver as _, p2p};
use commonware_runtime::{Clock, Metrics, Quota, Spawner};
use commonware_storage::Context as StorageContext;
use commonware_storage::qmdb::sync::{Feedback, Request, Response, Source, source};
use commonware_utils::channel::{mpsc, oneshot};
use commonware_utils::{NZDuration, NZUsize};
use rand::Rng;
use std::cmp::Ordering;
use std::future::Future;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering as Memory};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// So many operations are asked for at once.
pub(crate) const OPERATIONS_MAX: NonZeroU64 = NonZeroU64::new(64).expect("not zero");
/// So many operations are read before it is known how large they are; 2 MiB if all are as large as can be.
const OPERATIONS_FIRST: NonZeroU64 = NonZeroU64::new(8).expect("not zero");
/// An answer is no longer; it holds fewer operations where they are large, and always one.
pub(crate) const ANSWER_BYTES_MAX: usize = 1 << 20;
/// So many answers are prepared at the same time; who asks meanwhile asks somebody else, or again.
const ANSWERS_MAX: usize = 4;
/// So many questions are open at a time. They go to several others, of whom each prepares [`ANSWERS_MAX`].
pub(crate) const QUESTIONS_MAX: NonZeroUsize = NonZeroUsize::new(8).expect("not zero");
/// So many messages of the channel a peer may send in a second: what it reads of our disk is bounded by this many answers.
pub(crate) const MESSAGES_PER_SECOND: Quota = Quota::per_second(NonZeroU32::new(128).expect("not zero"));
/// Who has not answered by then is left alone.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// How long until somebody else is asked.
const ASKED_AGAIN_AFTER: Duration = Duration::from_millis(100);

type Question = Request<Family>;
type Answer = Response<Family, StateOperation, sha256::Digest>;
type Reply = mpsc::Sender<(Answer, oneshot::Sender<bool>)>;

/// Somebody here who waits for an answer. Two who wait for the same differ in their number.
#[derive(Clone)]
pub(crate) struct Waiting {
    number: u64,
    reply: Reply,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number.cmp(&other.number)
    }
}

/// The state that others may copy, once it is open.
struct Offer<E: StorageContext>(Arc<Mutex<Option<Databases<E>>>>);

impl<E: StorageContext> Clone for Offer<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E: StorageContext> Offer<E> {
    fn get(&self) -> Option<Databases<E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the network calls: with answers to our questions, and with the questions of others.
struct Desk<E: StorageContext> {
    context: Arc<E>,
    offer: Offer<E>,
    /// How many answers are being prepared.
    answers: Arc<AtomicUsize>,
    tip: Arc<Tip>,
    #[cfg(test)]
    dishonest: Option<Arc<dyn crate::application::Dishonest>>,
}

impl<E: StorageContext> Clone for Desk<E> {
    fn clone(&self) -> Self {
        Self {
            context: Arc::clone(&self.context),
            offer: self.offer.clone(),
            answers: Arc::clone(&self.answers),
            tip: Arc::clone(&self.tip),
            #[cfg(test)]
            dishonest: self.dishonest.clone(),
        }
    }
}

/// An answer that has the form of one to `question`; what it says is checked by whoever asked.
fn decode(question: &Question, bytes: Bytes) -> Option<Answer> {
    let count = usize::try_from(question.max_ops().get()).ok()?;
    let answer = Answer::decode_cfg(bytes, &(count, operation_cfg())).ok()?;
    let fits = matches!(
        (question, &answer),
        (Request::Operations { .. }, Response::Operations { .. })
            | (Request::Boundary { .. }, Response::Boundary { .. })
    );
    fits.then_some(answer)
}

impl<E: Spawner + StorageContext> Consumer for Desk<E> {
    type Key = Question;
    type Value = Bytes;
    type Subscriber = Waiting;
    type Outcome = bool;

    fn deliver(&mut self, delivery: Delivery<Question, Waiting>, value: Bytes) -> oneshot::Receiver<bool> {
        let (judge, judged) = oneshot::channel();
        let Some(answer) = decode(&delivery.key, value) else {
            // Whoever sent it is not asked again. The receiver is there, this function returns it.
            let _ = judge.send(false);
            return judged;
        };
        let operations = match &answer {
            Response::Operations { operations, .. } => operations.len(),
            Response::Boundary { .. } => 0,
        };
        let tip = Arc::clone(&self.tip);
        let mut verdicts = Vec::new();
        for (waiting, _) in delivery.subscribers.into_vec() {
            let (verdict, given) = oneshot::channel();
            if waiting.reply.try_send((answer.clone(), verdict)).is_ok() {
                verdicts.push(given);
            }
        }
        self.context.child("verdict").spawn(move |_| async move {
            // All check it against the same history, so that the first verdict is everybody's; but all must have taken the
            // answer before the next one can come.
            let mut first = None;
            for verdict in verdicts {
                first = first.or(verdict.await.ok());
            }
            if let Some(verdict) = first {
                if verdict {
                    tip.copied(operations);
                }
                // Nobody wants to know when the node is stopping.
                let _ = judge.send(verdict);
            }
        });
        judged
    }
}

/// Counts an answer that is being prepared.
struct Turn(Arc<AtomicUsize>);

impl Turn {
    fn take(answers: &Arc<AtomicUsize>) -> Option<Self> {
        let more = |count: usize| (count < ANSWERS_MAX).then_some(count.saturating_add(1));
        answers.fetch_update(Memory::SeqCst, Memory::SeqCst, more).ok()?;
        Some(Self(Arc::clone(answers)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Memory::SeqCst);
    }
}

/// The question, for at most so many operations.
fn at_most(question: Question, operations: NonZeroU64) -> Question {
    match question {
        Request::Operations { size, start, max_ops } => {
            Request::Operations { size, start, max_ops: max_ops.min(operations) }
        }
        boundary @ Request::Boundary { .. } => boundary,
    }
}

/// So many operations fit into an answer if they are as large as those that were read, whose answer has `bytes`.
fn fitting(read: NonZeroU64, bytes: usize) -> NonZeroU64 {
    let limit = u64::try_from(ANSWER_BYTES_MAX).unwrap_or(u64::MAX);
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    let count = read.get().saturating_mul(limit).checked_div(bytes).unwrap_or(0);
    NonZeroU64::new(count).unwrap_or(NonZeroU64::MIN)
}

/// The answer of `database`, with about as many operations as fit. A few are read first, to see how large they are, so
/// that who asks does not make this node read much more than it sends.
async fn answer<D>(database: &D, question: Question) -> Option<Bytes>
where
    D: Source<Family = Family, Digest = sha256::Digest, Op = StateOperation>,
{
    let mut first = question.max_ops().min(OPERATIONS_FIRST);
    loop {
        let (answer, _) = database.serve(at_most(question, first)).await.ok()?;
        let bytes = answer.encode_size();
        if bytes <= ANSWER_BYTES_MAX {
            let more = fitting(first, bytes).min(question.max_ops());
            if first < question.max_ops().min(OPERATIONS_FIRST) || more <= first {
                return Some(answer.encode());
            }
            let (longer, _) = database.serve(at_most(question, more)).await.ok()?;
            // Those that follow may be larger.
            let fits = longer.encode_size() <= ANSWER_BYTES_MAX;
            return Some(if fits { longer.encode() } else { answer.encode() });
        }
        // One always fits.
        first = NonZeroU64::new(first.get() / 2)?;
    }
}

impl<E: Spawner + StorageContext> p2p::Producer for Desk<E> {
    type Key = Question;

    fn produce(&mut self, question: Question) -> oneshot::Receiver<Bytes> {
        let (give, given) = oneshot::channel();
        if question.max_ops() > OPERATIONS_MAX {
            return given;
        }
        let (Some(database), Some(turn)) = (self.offer.get(), Turn::take(&self.answers)) else {
            // Then it says that it has no answer, and somebody else is asked.
            return given;
        };
        #[cfg(test)]
        let dishonest = self.dishonest.clone();
        self.context.child("answer").spawn(move |_| async move {
            let answer = answer(&database, question).await;
            #[cfg(test)]
            let answer = answer.map(|honest| match dishonest {
                Some(dishonest) => dishonest.answer(honest),
                None => honest,
            });
            if let Some(answer) = answer {
                // Nobody waits any more when the node is stopping.
                let _ = give.send(answer);
            }
            drop(turn);
        });
        given
    }
}

/// Where the engine gets the operations of the state from that it copies. See the module.
pub(crate) struct Copier<E: StorageContext> {
    context: Arc<E>,
    resolver: p2p::Mailbox<Question, ed25519::PublicKey, Waiting>,
    next: Arc<AtomicU64>,
    offer: Offer<E>,
}

impl<E: StorageContext> Clone for Copier<E> {
    fn clone(&self) -> Self {
        Self {
            context: Arc::clone(&self.context),
            resolver: self.resolver.clone(),
            next: Arc::clone(&self.next),
            offer: self.offer.clone(),
        }
    }
}

/// Nobody can be asked any more.
#[derive(Debug, thiserror::Error)]
#[error("the node is stopping")]
pub(crate) struct Stopping;

impl<E: Spawner + StorageContext + 'static> Source for Copier<E> {
    type Family = Family;
    type Digest = sha256::Digest;
    type Op = StateOperation;
    type Error = Stopping;

    async fn serve(&self, question: Question) -> source::Result<Self> {
        let (reply, mut answers) = mpsc::channel(1);
        let number = self.next.fetch_add(1, Memory::Relaxed);
        let mut resolver = self.resolver.clone();
        let subscriber = Waiting { number, reply: reply.clone() };
        // It is refused when the node is stopping, and then nobody answers either.
        let _ = resolver.fetch(Fetch { key: question, subscriber, span: tracing::Span::none() });
        // Whoever gave up, or is content, closes the channel: the question is then taken back.
        self.context.child("waiting").spawn(move |_| async move {
            reply.closed().await;
            let _ = resolver.retain(move |_, waiting| waiting.number != number);
        });
        let (answer, verdict) = answers.recv().await.ok_or(Stopping)?;
        Ok((answer, Some(Feedback::new(verdict, answers))))
    }
}

impl<E: Spawner + StorageContext + 'static> AttachableResolver<Database<E>> for Copier<E> {
    fn attach_database(&self, database: Databases<E>) -> impl Future<Output = ()> + Send {
        *self.offer.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(database);
        std::future::ready(())
    }
}

/// The greatest message of the channel.
pub(crate) fn message_bytes_max() -> usize {
    p2p::max_message_size::<Question>(ANSWER_BYTES_MAX)
}

/// Asks and answers over a channel of the network, from now on.
pub(crate) fn start<E, S, N, O>(
    context: &E,
    own: ed25519::PublicKey,
    oracle: &O,
    channel: (S, N),
    tip: Arc<Tip>,
    #[cfg(test)] dishonest: Option<Arc<dyn crate::application::Dishonest>>,
) -> Copier<E>
where
    E: Spawner + Metrics + Clock + Rng + StorageContext + Send + Sync + 'static,
    S: Sender<PublicKey = ed25519::PublicKey>,
    N: Receiver<PublicKey = ed25519::PublicKey>,
    O: Blocker<PublicKey = ed25519::PublicKey> + Provider<PublicKey = ed25519::PublicKey> + Clone,
{
    let desk = Desk {
        context: Arc::new(context.child("desk")),
        offer: Offer(Arc::default()),
        answers: Arc::default(),
        tip,
        #[cfg(test)]
        dishonest,
    };
    let offer = desk.offer.clone();
    let (engine, resolver) = p2p::Engine::new(
        context.child("resolver"),
        p2p::Config {
            peer_provider: oracle.clone(),
            blocker: oracle.clone(),
            consumer: desk.clone(),
            producer: desk,
            mailbox_size: NZUsize!(1024),
            me: Some(own),
            fetch_timeout: NZDuration!(ANSWERED_WITHIN),
            fetch_retry_delay: ASKED_AGAIN_AFTER,
            priority_requests: false,
            priority_responses: false,
        },
    );
    engine.start(channel);
    Copier { context: Arc::new(context.child("copier")), resolver, next: Arc::default(), offer }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::ledger::header;
    use crate::tip::StatedTime;
    use commonware_runtime::{Runner as _, Supervisor as _, deterministic};
    use commonware_storage::mmr::{Location, Proof};
    use commonware_storage::qmdb::any::ordered::Update;
    use commonware_storage::qmdb::sync::max_response_size;
    use commonware_utils::vec::NonEmptyVec;
    use eroam_light::state::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
    use std::time::SystemTime;

    #[test]
    fn an_answer_with_one_operation_always_fits() {
        // A tag, the key, the value and the next key, each with its length.
        let operation = 1 + KEY_BYTES_MAX + VALUE_BYTES_MAX + KEY_BYTES_MAX + 3 * 5;
        assert!(max_response_size::<Family, sha256::Digest>(1, operation) <= ANSWER_BYTES_MAX);
    }

    /// A log whose operations have values of these sizes; it counts the bytes of values that are read.
    struct Log {
        sizes: Vec<usize>,
        read: AtomicUsize,
    }

    impl Source for Log {
        type Family = Family;
        type Digest = sha256::Digest;
        type Op = StateOperation;
        type Error = Stopping;

        async fn serve(&self, question: Question) -> source::Result<Self> {
            let Request::Operations { start, max_ops, .. } = question else { panic!("not asked here") };
            let start = usize::try_from(*start).unwrap();
            let sizes = self.sizes.iter().skip(start).take(usize::try_from(max_ops.get()).unwrap());
            let operation = |size: &usize| {
                self.read.fetch_add(*size, Memory::Relaxed);
                let (key, value) = (vec![0; 8], Bytes::from(vec![0; *size]));
                StateOperation::Update(Update { key: key.clone(), value, next_key: key })
            };
            Ok((
                Response::Operations { proof: Proof::default(), operations: sizes.map(operation).collect() },
                None,
            ))
        }
    }

    fn question(max_ops: u64) -> Question {
        let (size, start) = (Location::new(1000), Location::new(0));
        Request::Operations { size, start, max_ops: NonZeroU64::new(max_ops).unwrap() }
    }

    /// The operations of the answer of a log with values of these sizes, and the bytes that were read for it.
    fn answered(sizes: Vec<usize>, max_ops: u64) -> (usize, usize) {
        let log = Log { sizes, read: AtomicUsize::new(0) };
        let bytes =
            deterministic::Runner::default().start(async |_| answer(&log, question(max_ops)).await).unwrap();
        assert!(bytes.len() <= ANSWER_BYTES_MAX);
        let Some(Response::Operations { operations, .. }) = decode(&question(max_ops), bytes) else {
            panic!()
        };
        (operations.len(), log.read.into_inner())
    }

    #[test]
    fn what_is_read_for_an_answer_is_not_much_more_than_is_sent() {
        let (asked, first) = (OPERATIONS_MAX.get(), OPERATIONS_FIRST.get());
        let all = usize::try_from(asked).unwrap();
        // Small ones: all that was asked for, and the first of them twice.
        assert_eq!(answered(vec![100; 200], asked), (all, 100 * (all + 8)));
        assert_eq!(answered(vec![100; 200], 3), (3, 300));
        assert_eq!(answered(vec![100; 20], asked), (20, 100 * 28));
        // The largest that there are: as many as fit.
        let (count, read) = answered(vec![VALUE_BYTES_MAX; 200], asked);
        assert!((2..=4).contains(&count), "{count}");
        assert!(read <= (8 + 4 + 2) * VALUE_BYTES_MAX, "{read}");
        // Larger ones: as many as fit, read once more at most.
        let (count, read) = answered(vec![40_000; 200], asked);
        assert!((20..=26).contains(&count), "{count}");
        assert!(read <= 2 << 20, "{read}");
        // Small ones that large ones follow: the first are enough.
        let mut sizes = vec![1; usize::try_from(first).unwrap()];
        sizes.extend([VALUE_BYTES_MAX; 100]);
        assert_eq!(answered(sizes, asked).0, 8);
    }

    #[test]
    fn an_answer_is_progress_when_it_is_judged_right() {
        for right in [false, true] {
            deterministic::Runner::default().start(async |context| {
                let tip = Arc::new(Tip::new(header(0), StatedTime::default(), Arc::new(SystemTime::now)));
                tip.copies(100);
                let mut desk = Desk {
                    context: Arc::new(context.child("desk")),
                    offer: Offer(Arc::default()),
                    answers: Arc::default(),
                    tip: Arc::clone(&tip),
                    dishonest: None,
                };
                let log = Log { sizes: vec![10; 100], read: AtomicUsize::new(0) };
                let bytes = answer(&log, question(5)).await.unwrap();
                let (reply, mut answers) = mpsc::channel(1);
                let subscribers = NonEmptyVec::new((Waiting { number: 0, reply }, tracing::Span::none()));
                let delivery = Delivery { key: question(5), subscribers };
                let judged = desk.deliver(delivery, bytes);
                let (_, verdict) = answers.recv().await.unwrap();
                assert_eq!(tip.copying().unwrap().operations, 0, "nobody has judged it");
                verdict.send(right).unwrap();
                assert_eq!(judged.await, Ok(right));
                assert_eq!(tip.copying().unwrap().operations, if right { 5 } else { 0 });
            });
        }
    }
}
