//! The engine panics where its storage fails. Such a panic ends the node, not the process; what it said is told once,
//! by whoever asks the node next.

use std::any::Any;
use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use tokio::runtime::{Handle, Id};

/// What the first panic of an engine said.
type First = Arc<Mutex<Option<String>>>;

/// The engines that run.
static ENGINES: Mutex<Vec<(Id, First)>> = Mutex::new(Vec::new());
static HOOK: Once = Once::new();

thread_local! {
    /// The engine that a node's own thread runs.
    static OWN: RefCell<Option<First>> = const { RefCell::new(None) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The engine that the calling thread works for.
fn engine() -> Option<First> {
    // A thread that ends has no such value any more.
    if let Ok(Some(own)) = OWN.try_with(|own| own.borrow().clone()) {
        return Some(own);
    }
    let runtime = Handle::try_current().ok()?.id();
    lock(&ENGINES).iter().find(|(id, _)| *id == runtime).map(|(_, first)| Arc::clone(first))
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "it panicked".to_owned())
}

/// An engine whose panics are kept and logged instead of printed.
pub(crate) struct Quiet(First);

impl Quiet {
    /// For what the calling thread does from now on.
    pub(crate) fn begin() -> Self {
        HOOK.call_once(|| {
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                let Some(first) = engine() else {
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
        OWN.with_borrow_mut(|own| *own = Some(Arc::clone(&first)));
        Self(first)
    }

    /// From now on also for the other threads of the runtime that the calling thread is in.
    pub(crate) fn extend(&self) {
        lock(&ENGINES).push((Handle::current().id(), Arc::clone(&self.0)));
    }

    /// What the first panic said; `panic` if none was seen.
    pub(crate) fn first(&self, panic: &(dyn Any + Send)) -> String {
        lock(&self.0).take().unwrap_or_else(|| message(panic))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        lock(&ENGINES).retain(|(_, first)| !Arc::ptr_eq(first, &self.0));
        OWN.with_borrow_mut(|own| *own = None);
    }
}
