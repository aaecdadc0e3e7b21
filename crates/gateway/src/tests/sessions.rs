//! The session's state machine: one record at most, and what is missing is named.

use super::world::*;
use crate::sessions::{
    AcceptedBy, Consumption, Grant, PayerOpening, Pending, Phase, Session, SessionEffect, SessionEvent,
    handle, resume,
};
use eroam_domain::cdr::Cdr;
use eroam_domain::charge::{Denial, Quote};
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::time::{PeriodKind, SettlementPeriod, UnixMillis};
use eroam_domain::voucher::SpentVoucher;
use eroam_ledger::reject::RejectCode;
use proptest::prelude::*;
use std::sync::OnceLock;

/// What the events of one session carry, taken from a real one.
#[derive(Clone)]
struct Script {
    /// Just asked.
    asked: Session,
    grant: Grant,
    quote: Quote,
    by: AcceptedBy,
    consumption: Consumption,
    cdr: Cdr,
    opening: PayerOpening,
}

fn script() -> &'static Script {
    static SCRIPT: OnceLock<Script> = OnceLock::new();
    SCRIPT.get_or_init(|| {
        let mut world = World::new();
        let quote = world.charge("s1", AT_GLP, ANA, 10_000);
        let session = world.session("s1");
        let Phase::Recorded { grant, cdr, opening, .. } = session.phase.clone() else { panic!("recorded") };
        let consumption = session.consumption.clone().unwrap();
        let asked = Session { phase: Phase::AwaitingHome, consumption: None, ..session };
        Script { asked, grant, quote, by: AcceptedBy::Station(cdr.acceptance), consumption, cdr, opening }
    })
}

/// An event by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Authorized,
    Denied,
    Accept,
    AcceptLate,
    Refuse,
    Reserved,
    NotReserved,
    Consumed,
    ConsumedOtherwise,
    RecordAccepted,
    RecordRefused,
    ReportReceived,
    Tick,
    TickLate,
}

/// What happens when nothing goes wrong.
const GOOD: [Step; 6] = [
    Step::Authorized,
    Step::Accept,
    Step::Reserved,
    Step::Consumed,
    Step::RecordAccepted,
    Step::ReportReceived,
];

const ALL: [Step; 14] = [
    Step::Authorized,
    Step::Accept,
    Step::Reserved,
    Step::Consumed,
    Step::RecordAccepted,
    Step::ReportReceived,
    Step::Denied,
    Step::AcceptLate,
    Step::Refuse,
    Step::NotReserved,
    Step::ConsumedOtherwise,
    Step::RecordRefused,
    Step::Tick,
    Step::TickLate,
];

fn march() -> SettlementPeriod {
    SettlementPeriod::containing(PeriodKind::Month, start())
}

impl Step {
    fn event(self) -> SessionEvent {
        let s = script();
        match self {
            Self::Authorized => SessionEvent::Authorized { grant: s.grant.clone(), quote: s.quote.clone() },
            Self::Denied => SessionEvent::Denied(Denial::Suspended),
            Self::Accept => SessionEvent::Accept { at: s.quote.made_at, by: s.by.clone() },
            Self::AcceptLate => SessionEvent::Accept { at: later(s.quote.expires_at, 1), by: s.by.clone() },
            Self::Refuse => SessionEvent::Refuse,
            Self::Reserved => SessionEvent::Reserved,
            Self::NotReserved => SessionEvent::NotReserved(RejectCode::CreditExhausted),
            Self::Consumed => SessionEvent::Consumed(s.consumption.clone()),
            Self::ConsumedOtherwise => SessionEvent::Consumed(hour_of(start(), 9_999)),
            Self::RecordAccepted => SessionEvent::RecordAccepted(march()),
            Self::RecordRefused => SessionEvent::RecordRefused(RejectCode::OverlappingRecord),
            Self::ReportReceived => SessionEvent::ReportReceived,
            Self::Tick => SessionEvent::Tick(s.quote.expires_at),
            Self::TickLate => SessionEvent::Tick(later(s.quote.expires_at, 1)),
        }
    }
}

/// Applies an event as the gateway does: whoever is asked to join joins at once.
fn apply(session: &mut Session, own: PartyId, event: SessionEvent) -> Vec<SessionEffect> {
    let mut effects = handle(session, own, event);
    if effects.contains(&SessionEffect::Join) {
        let joined = SessionEvent::Joined { cdr: script().cdr.clone(), opening: script().opening.clone() };
        effects.extend(handle(session, own, joined));
    }
    effects
}

/// The session after these steps, and everything that it wanted. `own` is EDP for its own station.
fn play(own: PartyId, steps: &[Step]) -> (Session, Vec<SessionEffect>) {
    let mut session = script().asked.clone();
    let effects = steps.iter().flat_map(|s| apply(&mut session, own, s.event())).collect();
    (session, effects)
}

const PATIENCE: DurationMs = DurationMs::from_millis(HOUR);

fn much_later() -> UnixMillis {
    later(start(), 100 * DAY)
}

proptest! {
    #[test]
    fn whatever_its_messages_do_a_session_makes_one_record_or_says_what_is_missing(
        steps in proptest::collection::vec(proptest::sample::select(&ALL), 0..40),
        roaming: bool,
    ) {
        let own = if roaming { glp() } else { edp() };
        let mut session = script().asked.clone();
        let mut effects = Vec::new();
        for step in steps {
            let wanted = apply(&mut session, own, step.event());
            let once = session.clone();
            prop_assert_eq!(apply(&mut session, own, step.event()), [], "{:?} repeated", step);
            prop_assert_eq!(&session, &once, "{:?} repeated", step);
            effects.extend(wanted);
        }
        effects.extend(apply(&mut session, own, SessionEvent::Tick(much_later())));
        let count = |wanted: SessionEffect| effects.iter().filter(|e| **e == wanted).count();
        let denials = effects.iter().filter(|e| matches!(e, SessionEffect::Deny(_))).count();
        for once in [
            SessionEffect::ShowQuote, SessionEffect::Reserve, SessionEffect::PowerOn, SessionEffect::Join,
            SessionEffect::Submit, SessionEffect::Report, SessionEffect::BillOwn,
        ] {
            prop_assert!(count(once) <= 1, "{:?}", once);
        }
        prop_assert_eq!(count(SessionEffect::Join), count(SessionEffect::Submit));
        prop_assert_eq!(denials, usize::from(matches!(session.phase, Phase::Denied(_))));
        prop_assert!(denials == 0 || count(SessionEffect::PowerOn) == 0, "denied and served");
        let settles_with = if roaming { SessionEffect::BillOwn } else { SessionEffect::Submit };
        prop_assert_eq!(count(settles_with), 0);
        // In the end it is settled, or somebody can see why not.
        let pending = session.pending(much_later(), PATIENCE);
        prop_assert_eq!(session.is_settled(), pending.is_none(), "{:?}", pending);
        if session.is_settled() {
            prop_assert_eq!(resume(&session), []);
        }
    }

    #[test]
    fn whoever_repeats_what_was_not_answered_gets_exactly_one_record(
        order in proptest::collection::vec(proptest::sample::select(&GOOD), 0..30),
    ) {
        // Some messages come early, late, twice or not at all; then everybody says everything again, in order.
        let steps: Vec<Step> = order.into_iter().chain(GOOD).collect();
        let (session, effects) = play(glp(), &steps);
        prop_assert_eq!(effects.iter().filter(|e| **e == SessionEffect::Submit).count(), 1);
        prop_assert_eq!(&session.consumption, &Some(script().consumption.clone()));
        match &session.phase {
            Phase::Recorded { cdr, reported: true, .. } => prop_assert_eq!(cdr, &script().cdr),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn an_own_customers_session_is_billed_once_in_any_order(
        order in proptest::collection::vec(proptest::sample::select(&GOOD), 0..30),
    ) {
        let steps: Vec<Step> = order.into_iter().chain(GOOD).collect();
        let (session, effects) = play(edp(), &steps);
        prop_assert_eq!(effects.iter().filter(|e| **e == SessionEffect::BillOwn).count(), 1);
        prop_assert!(matches!(session.phase, Phase::Delivered { .. }), "{:?}", session.phase);
    }
}

/// What the events of an unknown driver's session carry, taken from a real one.
struct UnknownScript {
    asked: Session,
    quote: Quote,
    grant: Grant,
    spent: SpentVoucher,
    cdr: Cdr,
    opening: PayerOpening,
    consumption: Consumption,
}

fn unknown_script() -> &'static UnknownScript {
    static SCRIPT: OnceLock<UnknownScript> = OnceLock::new();
    SCRIPT.get_or_init(|| {
        let mut world = World::new();
        let purse = world.withdraw(ANA, "a");
        let quote = world.charge_unknown("s1", AT_GLP, &purse, 10_000);
        let session = world.session("s1");
        let Phase::Recorded { grant, cdr, opening, .. } = session.phase.clone() else { panic!("recorded") };
        let consumption = session.consumption.clone().unwrap();
        let asked = Session { phase: Phase::AwaitingHome, consumption: None, ..session };
        let spent = purse.spend(&quote, 20 * EUR);
        UnknownScript { asked, quote, grant, spent, cdr, opening, consumption }
    })
}

/// An event of an unknown driver's session, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnknownStep {
    Offered,
    Denied,
    Proven,
    Refuted,
    Accept,
    AcceptLate,
    Refuse,
    Reserved,
    NotReserved,
    Consumed,
    RecordAccepted,
    RecordRefused,
    ReportReceived,
    TickLate,
}

const GOOD_UNKNOWN: [UnknownStep; 7] = [
    UnknownStep::Offered,
    UnknownStep::Proven,
    UnknownStep::Accept,
    UnknownStep::Reserved,
    UnknownStep::Consumed,
    UnknownStep::RecordAccepted,
    UnknownStep::ReportReceived,
];

const ALL_UNKNOWN: [UnknownStep; 14] = [
    UnknownStep::Offered,
    UnknownStep::Proven,
    UnknownStep::Accept,
    UnknownStep::Reserved,
    UnknownStep::Consumed,
    UnknownStep::RecordAccepted,
    UnknownStep::ReportReceived,
    UnknownStep::Denied,
    UnknownStep::Refuted,
    UnknownStep::AcceptLate,
    UnknownStep::Refuse,
    UnknownStep::NotReserved,
    UnknownStep::RecordRefused,
    UnknownStep::TickLate,
];

impl UnknownStep {
    fn event(self) -> SessionEvent {
        let s = unknown_script();
        let accept = |at| SessionEvent::Accept { at, by: AcceptedBy::Voucher(Box::new(s.spent)) };
        match self {
            Self::Offered => SessionEvent::Offered { quote: s.quote.clone(), energy_max: s.grant.energy_max },
            Self::Denied => SessionEvent::Denied(Denial::NoAgreement),
            Self::Proven => SessionEvent::Proven(s.grant.clone()),
            Self::Refuted => SessionEvent::Refuted(Denial::ForgedVoucher),
            Self::Accept => accept(s.quote.made_at),
            Self::AcceptLate => accept(later(s.quote.expires_at, 1)),
            Self::Refuse => SessionEvent::Refuse,
            Self::Reserved => SessionEvent::Reserved,
            Self::NotReserved => SessionEvent::NotReserved(RejectCode::VoucherSpent),
            Self::Consumed => SessionEvent::Consumed(s.consumption.clone()),
            Self::RecordAccepted => SessionEvent::RecordAccepted(march()),
            Self::RecordRefused => SessionEvent::RecordRefused(RejectCode::VoucherLimit),
            Self::ReportReceived => SessionEvent::ReportReceived,
            Self::TickLate => SessionEvent::Tick(later(s.quote.expires_at, 1)),
        }
    }

    fn apply(self, session: &mut Session, own: PartyId) -> Vec<SessionEffect> {
        let mut effects = handle(session, own, self.event());
        if effects.contains(&SessionEffect::Join) {
            let s = unknown_script();
            let joined = SessionEvent::Joined { cdr: s.cdr.clone(), opening: s.opening.clone() };
            effects.extend(handle(session, own, joined));
        }
        effects
    }
}

proptest! {
    #[test]
    fn whatever_its_messages_do_an_unknown_drivers_session_has_power_only_with_a_reserved_voucher(
        steps in proptest::collection::vec(proptest::sample::select(&ALL_UNKNOWN), 0..40),
        roaming: bool,
    ) {
        let own = if roaming { glp() } else { edp() };
        let mut session = unknown_script().asked.clone();
        let mut effects = Vec::new();
        let mut reserved = false;
        for step in steps {
            let was_reserving = matches!(session.phase, Phase::Reserving { .. });
            let wanted = step.apply(&mut session, own);
            reserved |= was_reserving && step == UnknownStep::Reserved;
            prop_assert!(reserved || !wanted.contains(&SessionEffect::PowerOn), "{:?}", step);
            let once = session.clone();
            // The quote is shown with the offer, and again when the proof has come.
            prop_assert_eq!(step.apply(&mut session, own), [], "{:?} repeated", step);
            prop_assert_eq!(&session, &once, "{:?} repeated", step);
            effects.extend(wanted);
        }
        effects.extend(handle(&mut session, own, SessionEvent::Tick(much_later())));
        let count = |wanted: SessionEffect| effects.iter().filter(|e| **e == wanted).count();
        prop_assert!(count(SessionEffect::ShowQuote) <= 2);
        for once in [
            SessionEffect::Reserve, SessionEffect::PowerOn, SessionEffect::Join, SessionEffect::Submit,
            SessionEffect::Report, SessionEffect::BillOwn,
        ] {
            prop_assert!(count(once) <= 1, "{:?}", once);
        }
        let denials = effects.iter().filter(|e| matches!(e, SessionEffect::Deny(_))).count();
        prop_assert_eq!(denials, usize::from(matches!(session.phase, Phase::Denied(_))));
        prop_assert!(denials == 0 || count(SessionEffect::PowerOn) == 0, "denied and served");
        let pending = session.pending(much_later(), PATIENCE);
        prop_assert_eq!(session.is_settled(), pending.is_none(), "{:?}", pending);
    }

    #[test]
    fn an_unknown_drivers_session_makes_one_record_in_whatever_order_its_messages_are_repeated(
        order in proptest::collection::vec(proptest::sample::select(&GOOD_UNKNOWN), 0..30),
    ) {
        let mut session = unknown_script().asked.clone();
        let effects: Vec<_> =
            order.into_iter().chain(GOOD_UNKNOWN).flat_map(|s| s.apply(&mut session, glp())).collect();
        prop_assert_eq!(effects.iter().filter(|e| **e == SessionEffect::Submit).count(), 1);
        prop_assert!(matches!(&session.phase, Phase::Recorded { reported: true, .. }), "{:?}", session.phase);
    }
}

#[test]
fn resuming_an_unknown_drivers_session_asks_for_exactly_what_is_outstanding() {
    use SessionEffect as E;
    for (steps, want) in [
        (1, Some(E::ShowQuote)),
        (2, Some(E::ShowQuote)),
        (3, Some(E::Reserve)),
        (4, Some(E::PowerOn)),
        (5, Some(E::Submit)),
        (6, Some(E::Report)),
        (7, None),
    ] {
        let mut session = unknown_script().asked.clone();
        for step in &GOOD_UNKNOWN[..steps] {
            step.apply(&mut session, glp());
        }
        assert_eq!(resume(&session), Vec::from_iter(want), "after {steps} steps");
    }
}

#[test]
fn the_first_report_of_the_station_stands() {
    let (session, _) = play(glp(), &[Step::Authorized, Step::Consumed, Step::ConsumedOtherwise]);
    assert_eq!(session.consumption.as_ref(), Some(&script().consumption));
}

#[test]
fn each_message_that_is_lost_is_named_once_patience_is_over() {
    let s = script();
    let (asked, accepted) = (s.asked.requested_at, s.quote.made_at);
    for (steps, since, want) in [
        (&GOOD[..0], asked, Pending::HomeSilent),
        (&GOOD[..2], accepted, Pending::LedgerSilent),
        (&GOOD[..3], s.quote.until, Pending::ConsumptionMissing),
        (&GOOD[..4], s.cdr.end, Pending::LedgerSilent),
        (&GOOD[..5], s.cdr.end, Pending::ReportUnconfirmed),
    ] {
        let (session, _) = play(glp(), steps);
        let patient = since.checked_add(PATIENCE).unwrap();
        assert_eq!(session.pending(patient, PATIENCE), None, "{want:?}");
        assert_eq!(session.pending(later(patient, 1), PATIENCE), Some(want));
        assert!(!session.is_settled());
    }
    let (session, _) = play(glp(), &GOOD);
    assert_eq!(session.pending(much_later(), PATIENCE), None);
    assert!(session.is_settled());
}

#[test]
fn energy_that_nobody_authorized_is_seen_at_once() {
    for refusal in [&[Step::Denied][..], &[Step::Authorized, Step::Refuse], &[Step::Authorized]] {
        for energy_comes_first in [false, true] {
            let mut steps = refusal.to_vec();
            steps.insert(if energy_comes_first { 0 } else { steps.len() }, Step::Consumed);
            let (session, effects) = play(glp(), &steps);
            assert!(!effects.contains(&SessionEffect::Submit));
            assert_eq!(session.pending(start(), PATIENCE), Some(Pending::EnergyWithoutAuthorization));
            assert!(!session.is_settled(), "it must stay in sight: {steps:?}");
        }
    }
}

#[test]
fn a_denied_session_without_energy_is_settled() {
    let mut session = play(glp(), &[Step::Denied]).0;
    let none = Consumption { energy: WattHours::ZERO, ..script().consumption.clone() };
    for consumption in [None, Some(none)] {
        session.consumption = consumption;
        assert_eq!(session.pending(much_later(), PATIENCE), None);
        assert!(session.is_settled());
    }
}

#[test]
fn a_record_that_the_ledger_refused_stays_in_sight_with_its_reason() {
    let mut steps = GOOD[..4].to_vec();
    steps.extend([Step::RecordRefused, Step::RecordAccepted, Step::ReportReceived]);
    let (session, _) = play(glp(), &steps);
    let why = RejectCode::OverlappingRecord.to_string();
    assert_eq!(session.pending(start(), PATIENCE), Some(Pending::RecordRefused(why)));
    assert!(!session.is_settled());
}

#[test]
fn two_halves_that_make_no_record_are_seen_at_once() {
    let mut session = play(glp(), &GOOD[..3]).0;
    // Nobody joins.
    assert_eq!(handle(&mut session, glp(), Step::Consumed.event()), [SessionEffect::Join]);
    assert_eq!(session.pending(start(), PATIENCE), Some(Pending::Unpriced));
    assert_eq!(resume(&session), [SessionEffect::Join]);
}

#[test]
fn power_is_not_switched_on_for_a_session_that_is_over() {
    for own in [glp(), edp()] {
        let steps = [Step::Consumed, Step::Authorized, Step::Accept, Step::Reserved];
        let (_, effects) = play(own, &steps);
        assert!(!effects.contains(&SessionEffect::PowerOn), "{effects:?}");
    }
}

#[test]
fn resuming_asks_for_exactly_what_is_outstanding() {
    use SessionEffect as E;
    for (steps, want) in [
        (0, None),
        (1, Some(E::ShowQuote)),
        (2, Some(E::Reserve)),
        (3, Some(E::PowerOn)),
        (4, Some(E::Submit)),
        (5, Some(E::Report)),
        (6, None),
    ] {
        let (session, _) = play(glp(), &GOOD[..steps]);
        assert_eq!(resume(&session), Vec::from_iter(want), "after {steps} steps");
    }
    for steps in [&[Step::Denied][..], &[Step::Authorized, Step::Refuse]] {
        assert_eq!(resume(&play(glp(), steps).0), []);
    }
    let refused: Vec<Step> = GOOD[..4].iter().copied().chain([Step::RecordRefused]).collect();
    assert_eq!(resume(&play(glp(), &refused).0), [], "a refused record is not sent for ever");
}

#[test]
fn a_session_of_which_not_even_the_beginning_is_within_its_limit_stays_in_sight_and_nothing_is_sent() {
    let Script { asked, grant, quote, by, consumption, cdr, opening } = script().clone();
    let (mut session, at) = (asked, quote.made_at);
    let own = quote.operator;
    handle(&mut session, own, SessionEvent::Authorized { grant, quote });
    handle(&mut session, own, SessionEvent::Accept { at, by });
    handle(&mut session, own, SessionEvent::Reserved);
    assert_eq!(
        handle(&mut session, own, SessionEvent::Consumed(consumption.clone())),
        [SessionEffect::Join],
        "both halves are there"
    );
    let too_dear = SessionEvent::OverLimit { cdr: cdr.clone(), opening, due: 7, limit: 5 };
    assert_eq!(handle(&mut session, own, too_dear), []);
    let expected = "the beginning of the session alone costs 7 millionths, and the driver agreed to 5 at most: nothing of it can \
                    be billed";
    assert!(
        matches!(&session.phase, Phase::Disputed { code, .. } if code == expected),
        "{:?}",
        session.phase
    );
    assert_eq!(session.consumption, Some(consumption));
    let pending = session.pending(at, DurationMs::ZERO);
    assert_eq!(pending, Some(Pending::RecordRefused(expected.to_owned())));
    assert!(!session.is_settled() && resume(&session).is_empty());
}
