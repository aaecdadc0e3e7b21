//! The engine panics where its storage fails. Such a panic ends the node, not the process; what it says is reported
//! once, by whoever asks the node next.

use std::any::Any;
use std::sync::{Mutex, Once, PoisonError};

static FIRST: Mutex<Option<String>> = Mutex::new(None);
static HOOK: Once = Once::new();

/// What a panic said.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let said = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "it panicked".to_owned());
    // A task's panic ends the runtime with another one: the first says why.
    FIRST.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or(said)
}

/// From now on a panic in an engine's thread is kept and logged instead of printed.
pub(crate) fn keep_quiet() {
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or_default();
            if !(name.starts_with("ledger") || name.starts_with("tokio")) {
                usual(info);
                return;
            }
            let text = info.payload_as_str().unwrap_or("it panicked").to_owned();
            let place = info.location().map_or_else(String::new, ToString::to_string);
            tracing::error!(text, place, "chain.engine.failed");
            FIRST.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
        }));
    });
}
