//! Blocks on their way to the writer: few enough of them, and in order.

use crate::block::Block;
use eroam_domain::agreement::{AgreementId, RoamingAgreement};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many may wait.
const JOBS_MAX: usize = 1024;
/// So many bytes of bodies may wait, or a single block of any size.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// So many bytes of bodies are handed to the writer together, or a single block of any size.
const TOGETHER_BYTES: usize = 16 * 1024 * 1024;

/// Terms by agreement and version.
pub(super) type Terms = Vec<((AgreementId, u32), RoamingAgreement)>;

pub(super) enum Job {
    Block(Arc<Block>),
    Terms(Terms),
    /// The blocks before this height will never come; the terms are those of then.
    Begins(u64, Terms),
}

impl Job {
    fn bytes(&self) -> usize {
        match self {
            Self::Block(block) => block.body().len(),
            Self::Terms(_) | Self::Begins(..) => 0,
        }
    }
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    bytes: usize,
    closed: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

pub(super) enum Taken {
    /// What waited, in order; not empty.
    Jobs(Vec<Job>),
    /// Nothing came in time.
    Nothing,
    /// Nothing will come.
    Closed,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room. What is pushed after [`Self::close`] is dropped.
    pub(super) fn push(&self, job: Job) {
        let bytes = job.bytes();
        let mut waiting = self.lock();
        while !waiting.closed
            && !waiting.jobs.is_empty()
            && (waiting.jobs.len() >= JOBS_MAX || waiting.bytes.saturating_add(bytes) > BYTES_MAX)
        {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if waiting.closed {
            return;
        }
        waiting.bytes = waiting.bytes.saturating_add(bytes);
        waiting.jobs.push_back(job);
        self.changed.notify_all();
    }

    /// Waits for something to do; until then without end, if that is `None`.
    pub(super) fn take(&self, until: Option<Instant>) -> Taken {
        let mut waiting = self.lock();
        while waiting.jobs.is_empty() {
            if waiting.closed {
                return Taken::Closed;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Taken::Nothing;
            }
            waiting = match left {
                Some(left) => {
                    self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            };
        }
        let mut jobs = Vec::new();
        let mut together = 0usize;
        while let Some(job) = waiting.jobs.front() {
            let bytes = job.bytes();
            if !jobs.is_empty() && together.saturating_add(bytes) > TOGETHER_BYTES {
                break;
            }
            together = together.saturating_add(bytes);
            jobs.extend(waiting.jobs.pop_front());
        }
        waiting.bytes = waiting.bytes.saturating_sub(together);
        self.changed.notify_all();
        Taken::Jobs(jobs)
    }

    /// Nothing more is taken in; what waits can still be taken out.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}
