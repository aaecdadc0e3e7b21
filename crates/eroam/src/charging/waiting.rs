//! How long a wallet waits for others, and who hears of it: nobody should look at a program that says nothing.
//!
//! ```text
//! wait(what) ──► work ───────────────────────────► done
//!                  `── after a moment: "waiting for <what>", once
//! ```
//! What it deliberately does not do: end what is waited for. Sockets and inboxes have time limits of their own, which are
//! [`Patience::within`].

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// So long another side may take to answer, if nothing is said.
pub const WITHIN_USUAL: Duration = Duration::from_secs(30);

type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// How long is waited, and who hears of it.
#[derive(Clone)]
pub struct Patience {
    within: Duration,
    told: Option<(Duration, Tell)>,
}

impl Default for Patience {
    /// As long as is usual, and nobody hears of it.
    fn default() -> Self {
        Self { within: WITHIN_USUAL, told: None }
    }
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = self.told.as_ref().map(|(after, _)| after);
        f.debug_struct("Patience").field("within", &self.within).field("told_after", &after).finish()
    }
}

impl Patience {
    /// Waits for each answer as long as `within`. Whoever is told hears, `after` a moment, for what.
    #[must_use]
    pub fn telling(within: Duration, after: Duration, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { within, told: Some((after, Arc::new(tell))) }
    }

    /// So long another side may take.
    #[must_use]
    pub const fn within(&self) -> Duration {
        self.within
    }

    /// Does what has to wait for somebody; `what` for, as in "waiting for ...".
    pub fn wait<T>(&self, what: &str, work: impl FnOnce() -> T) -> T {
        let Some((after, tell)) = &self.told else { return work() };
        let (done, ended) = channel::<()>();
        std::thread::scope(|scope| {
            let watch = move || {
                if ended.recv_timeout(*after) == Err(RecvTimeoutError::Timeout) {
                    tell(what);
                }
            };
            // Without a thread for it, nobody is told, and the work is done all the same.
            let _watching = std::thread::Builder::new().name("waits".to_owned()).spawn_scoped(scope, watch);
            let result = work();
            drop(done);
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn who_waits_is_told_for_what_and_once() {
        let (say, said) = channel();
        let say = Mutex::new(say);
        let tell = move |what: &str| say.lock().unwrap().send(what.to_owned()).unwrap();
        let patience = Patience::telling(WITHIN_USUAL, Duration::ZERO, tell);
        // What is waited for comes when the telling has: there is no other way to end.
        let heard = patience.wait("the resolver", || said.recv().unwrap());
        assert_eq!((heard.as_str(), said.try_recv().is_err()), ("the resolver", true));
    }

    #[test]
    fn nobody_is_told_of_what_is_there_at_once() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&told);
        let tell = move |what: &str| list.lock().unwrap().push(what.to_owned());
        let patience = Patience::telling(WITHIN_USUAL, Duration::from_secs(86_400), tell);
        assert_eq!(patience.wait("the resolver", || 5), 5);
        assert_eq!(Patience::default().wait("the resolver", || 5), 5);
        assert!(told.lock().unwrap().is_empty());
    }
}
