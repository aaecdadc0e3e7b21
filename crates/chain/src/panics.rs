//! The engine panics where its storage fails, and the read model's database where its file is damaged. Such a panic
//! ends the node or the query, not the process; what it said is in their errors and in the log, not on the terminal.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use tokio::runtime::{Handle, Id};

/// What the first panic of an engine or a query said.
type First = Arc<Mutex<Option<String>>>;

/// The engines that run.
static ENGINES: Mutex<Vec<(Id, First)>> = Mutex::new(Vec::new());
static HOOK: Once = Once::new();

thread_local! {
    /// Of what the thread runs now.
    static OWN: RefCell<Option<First>> = const { RefCell::new(None) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a panic of the calling thread is told.
fn teller() -> Option<First> {
    // A thread that ends has no such value any more.
    if let Ok(Some(own)) = OWN.try_with(|own| own.borrow().clone()) {
        return Some(own);
    }
    let runtime = Handle::try_current().ok()?.id();
    lock(&ENGINES).iter().find(|(id, _)| *id == runtime).map(|(_, first)| Arc::clone(first))
}

/// Something whose panics are kept and logged instead of printed.
pub(crate) struct Quiet {
    first: First,
    /// What the thread ran before.
    outer: Option<First>,
}

impl Quiet {
    /// For what the calling thread does from now on.
    pub(crate) fn begin() -> Self {
        HOOK.call_once(|| {
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                let Some(first) = teller() else {
                    usual(info);
                    return;
                };
                let text = info.payload_as_str().unwrap_or("it panicked").to_owned();
                let place = info.location().map_or_else(String::new, ToString::to_string);
                tracing::error!(text, place, "chain.engine.failed");
                // A task's panic ends other tasks with panics of their own: the first says why.
                lock(&first).get_or_insert(text);
            }));
        });
        let first = First::default();
        let outer = OWN.with_borrow_mut(|own| own.replace(Arc::clone(&first)));
        Self { first, outer }
    }

    /// From now on also for the other threads of the runtime that the calling thread is in.
    pub(crate) fn extend(&self) {
        lock(&ENGINES).push((Handle::current().id(), Arc::clone(&self.first)));
    }

    /// What the first panic said, if there was any.
    pub(crate) fn first(&self) -> Option<String> {
        lock(&self.first).clone()
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        lock(&ENGINES).retain(|(_, first)| !Arc::ptr_eq(first, &self.first));
        OWN.with_borrow_mut(|own| *own = self.outer.take());
    }
}

/// Runs `work`. If it panics, gives what it said.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let quiet = Quiet::begin();
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|_| quiet.first().unwrap_or_else(|| "it panicked".to_owned()))
}
