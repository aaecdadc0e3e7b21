//! What validators object to in blocks, gathered from what they log.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Metadata, Subscriber};

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Objections(Arc<Mutex<BTreeMap<String, usize>>>);

impl Objections {
    /// Gathers in this thread, until the guard is dropped.
    pub(super) fn gather() -> (Self, DefaultGuard) {
        let objections = Self::default();
        let guard = tracing::subscriber::set_default(objections.clone());
        (objections, guard)
    }

    /// Each objection, and how often it was made.
    pub(super) fn made(&self) -> BTreeMap<String, usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Visit for Objections {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "objection" {
            let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *made.entry(value.to_owned()).or_default() += 1;
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

impl Subscriber for Objections {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().ends_with("::application")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
