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

/// Everything that the operator keeps, sends and shows of drivers with vouchers names none of them, nor their home
/// utility's customers at all.
#[test]
fn an_operator_keeps_and_sends_nothing_that_names_an_unknown_driver() {
    let log = Log::default();
    let (stores, letters, blocks) = tracing::subscriber::with_default(log.clone(), || {
        let mut world = World::new();
        let (a, b) = (world.withdraw(ANA, "a"), world.withdraw(ANA, "b"));
        world.charge_unknown("s1", AT_GLP, &a, 20_000);
        world.charge_unknown("s2", AT_GLP, &b, 20_000);
        let lost = world.withdraw(GIL, "g");
        let quote = world.quote_unknown("s3", AT_GLP, &lost);
        world.pay("s3", &lost.spend(&quote, 31 * EUR));
        let stores = format!("{:?}", world.store(glp()));
        let sessions: Vec<_> = world.store(glp()).sessions.values().cloned().collect();
        let stores = stores + &serde_json::to_string(&sessions).unwrap();
        let letters: Vec<u8> = world.letters.iter().flat_map(|l| l.bytes.clone()).collect();
        let blocks: Vec<u8> = world.ledger.blocks.iter().flat_map(|(e, _)| e.bytes().to_vec()).collect();
        assert_eq!(world.bill_lines(edp()).len(), 2, "but the home utility knows them");
        (
            stores,
            String::from_utf8_lossy(&letters).into_owned(),
            String::from_utf8_lossy(&blocks).into_owned(),
        )
    });
    let log = log.0.lock().unwrap().clone();
    for (place, text) in [("store", &stores), ("letters", &letters), ("blocks", &blocks), ("log", &log)] {
        for secret in ["C00000001", "C00000002", &uid(ANA)] {
            assert!(!text.contains(secret), "{place}: {secret}");
        }
    }
    assert!(letters.contains("voucher") && stores.contains("Voucher"));
}

/// Two sessions of one driver have no more in common than two sessions of two drivers.
#[test]
fn an_operator_cannot_link_two_sessions_of_an_unknown_driver() {
    let kept_of = |drivers: [&str; 2]| {
        let mut world = World::new();
        for (session, driver) in ["s1", "s2"].into_iter().zip(drivers) {
            let purse = world.withdraw(driver, session);
            world.charge_unknown(session, AT_GLP, &purse, 20_000);
        }
        world.store(glp()).clone()
    };
    // The keys are drawn alike, so that whatever else differed would be a link.
    assert_eq!(kept_of([ANA, ANA]), kept_of([ANA, GIL]));
}
