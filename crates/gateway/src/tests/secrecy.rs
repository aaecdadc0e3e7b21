//! What a driver shows is never printed and never logged.

use super::world::*;
use eroam_domain::charge::{AuthorizeRequest, PartnerMessage, PresentedCredential};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Writes down every field of every span and event.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let entry = format!("{field}={value:?} ");
        self.0.lock().unwrap().push_str(&entry);
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn debug_output_shows_neither_card_nor_pin() {
    let world = World::new();
    for (credential, secret, want) in
        [(card(ANA), uid(ANA), "CardUid(..)"), (pin(PIN), PIN.to_owned(), "Pin(..)")]
    {
        let request = world.ask("s1", AT_GLP, ANA, credential.clone());
        let asked = AuthorizeRequest {
            session: id("s1"),
            contract: contract(ANA),
            credential: credential.clone(),
            zone: "PT-N".parse().unwrap(),
            at: start(),
        };
        let message = PartnerMessage::Authorize(asked.clone());
        for text in [
            format!("{credential:?} {credential:#?}"),
            format!("{request:?} {request:#?}"),
            format!("{asked:?} {asked:#?}"),
            format!("{message:?} {message:#?}"),
        ] {
            assert!(text.contains(want), "{text}");
            assert!(!text.contains(&secret), "{text}");
        }
    }
    assert_eq!(format!("{:?}", PresentedCredential::None), "None");
}

#[test]
fn stores_hold_no_card_and_no_pin() {
    let mut world = World::new();
    let request = world.ask("s1", AT_GLP, ANA, pin(PIN));
    quoted(&world.request(&request));
    world.charge("s2", AT_GLP, GIL, 20_000);
    let text = format!("{:?}", world.stores());
    for secret in [PIN, &uid(ANA), &uid(GIL)] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[test]
fn the_log_names_no_card_no_pin_and_no_contract() {
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || {
        let mut world = World::new();
        world.charge("s1", AT_GLP, ANA, 20_000);
        world.charge("s2", AT_EDP, GIL, 20_000);
        for (session, evse, credential) in [
            ("s3", AT_GLP, pin("000000")),
            ("s4", AT_GLP, pin(PIN)),
            ("s5", AT_EDP, card(GIL)),
            ("s6", AT_GLP, PresentedCredential::None),
        ] {
            let request = world.ask(session, evse, ANA, credential);
            world.request(&request);
        }
        world.store(edp()).fail = true;
        world.swipe("s7", AT_GLP, PIA);
    });
    let text = log.0.lock().unwrap().clone();
    assert!(text.contains("gateway.billing.reported"), "something was logged: {text}");
    for secret in [PIN, "000000", &uid(ANA), &uid(GIL), "C00000001", "C00000002", "C00000003"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}
