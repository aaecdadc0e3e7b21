use super::*;
use eroam_domain::time::UtcOffset;
use proptest::prelude::*;

/// 2026-11-21T11:00:00Z, at the begin of a quarter.
const START: i64 = 1_795_258_800_000;

fn at(second: i64) -> UnixMillis {
    UnixMillis::new(START + second * 1_000).unwrap()
}

/// Most tests make large steps in little time.
fn settings() -> Settings {
    let power_max = Watts::new(100_000_000);
    Settings { power_max, clock: ClockState::Synchronised, ..Settings::standard() }
}

fn session() -> SessionId {
    "S1".parse().unwrap()
}

fn limits() -> Limits {
    Limits {
        energy_max: WattHours::from_wh(20_000).unwrap(),
        amount_max: 9_000_000,
        leaves_at: Some(at(36_000)),
        current_max: Some(MilliAmperes::new(16_000)),
    }
}

fn offer() -> Event {
    Event::Offer { session: session(), expires_at: at(600) }
}

fn enable() -> Event {
    Event::Enable { limits: limits(), page: 7, clock: LocalClock::fixed(UtcOffset::UTC) }
}

/// A reading of `wh` after the begin at 1,000 Wh, priced at 0.50 a kilowatt-hour; nothing more is going to flow.
fn metered(wh: u64, milliamperes: u64) -> Event {
    metered_before(wh, milliamperes, wh)
}

/// The same with `ahead` watt-hours of the session at the next reading, as far as anybody can say.
fn metered_before(wh: u64, milliamperes: u64, ahead: u64) -> Event {
    let cost = |wh: u64| Some(i64::try_from(wh).unwrap() * 500);
    Event::Metered {
        register: WattHours::from_wh(1_000 + wh).unwrap(),
        current: MilliAmperes::new(milliamperes),
        cost: cost(wh),
        ahead: cost(ahead),
    }
}

/// A charging point and what was done to it.
struct Point {
    state: State,
    effects: Vec<Effect>,
    settings: Settings,
}

impl Point {
    fn new() -> Self {
        Self { state: State::Idle, effects: vec![], settings: settings() }
    }

    fn then(mut self, second: i64, event: Event) -> Self {
        let (state, effects) = handle(&self.settings, &self.state, &event, at(second)).unwrap();
        (self.state, self.effects) = (state, effects);
        self
    }

    fn enabled() -> Self {
        Self::new().then(0, offer()).then(10, enable())
    }

    /// Since second 20, at 1,000 Wh.
    fn charging() -> Self {
        Self::enabled().then(15, Event::Plugged).then(20, metered(0, 0))
    }

    fn ended(&self) -> &Ended {
        self.state.ended().unwrap()
    }

    fn marks(&self) -> Vec<(Mark, u64)> {
        let reading = |effect: &Effect| match effect {
            Effect::Sign { reading, .. } => Some((reading.mark, reading.register.whole_wh())),
            _ => None,
        };
        self.effects.iter().filter_map(reading).collect()
    }

    fn fault(&self) -> Option<Fault> {
        match self.state {
            State::Faulted { fault, .. } => Some(fault),
            _ => None,
        }
    }
}

#[test]
fn power_comes_with_the_reservation_the_vehicle_and_a_signed_reading() {
    let enabled = Point::enabled();
    assert_eq!((enabled.state.name(), &enabled.effects), ("enabled", &vec![]));
    let waiting = enabled.then(12, metered(0, 0));
    assert_eq!((waiting.state.name(), &waiting.effects), ("enabled", &vec![]));
    let charging = waiting.then(15, Event::Plugged).then(20, metered(0, 0));
    let reading = SignedReading {
        at: at(20),
        clock: ClockState::Synchronised,
        mark: Mark::Begin,
        register: WattHours::from_wh(1_000).unwrap(),
    };
    let sign = Effect::Sign { page: 7, clock: LocalClock::fixed(UtcOffset::UTC), reading };
    let offered = Effect::OfferCurrent(MilliAmperes::new(16_000));
    assert_eq!(charging.effects, [sign, offered, Effect::SwitchOn]);
}

#[test]
fn a_charge_stops_for_each_reason_of_figure_16() {
    let stop = |by| Event::Stop(by);
    for (reason, mark, second, event) in [
        (EndReason::EnergyReached, Mark::End, 30, metered(20_000, 16_000)),
        (EndReason::AmountReached, Mark::End, 30, metered_before(14_000, 16_000, 19_000)),
        (EndReason::TimeOver, Mark::End, 36_000, metered(9_001, 16_000)),
        (EndReason::Unplugged, Mark::EndedLocally, 30, Event::Unplugged),
        (EndReason::StoppedByDriver, Mark::EndedRemotely, 30, stop(StoppedBy::Driver)),
        (EndReason::StoppedByStation, Mark::EndedRemotely, 30, stop(StoppedBy::Station)),
    ] {
        let halfway = Point::charging().then(25, metered(4_500, 16_000)).then(29, metered(9_000, 16_000));
        let point = halfway.then(second, event);
        assert_eq!(point.effects.last(), Some(&Effect::SwitchOff), "{reason}");
        let State::Stopping { reason: found, .. } = point.state else {
            panic!("{reason}: {:?}", point.state)
        };
        assert_eq!(found, reason);
        let done = point.then(second + 5, metered(20_001, 0));
        assert_eq!(done.marks(), [(mark, 21_001)], "{reason}");
        assert_eq!((done.ended().reason, done.ended().energy.whole_wh()), (reason, 20_001));
        assert_eq!(done.state.name(), "finished");
    }
}

#[test]
fn a_full_vehicle_pauses_and_then_ends_the_charge() {
    let mut point = Point::charging().then(30, metered(10, 16_000));
    let mut marks = vec![];
    for second in (40..=400).step_by(10) {
        if !matches!(point.state, State::Charging(_)) {
            break;
        }
        point = point.then(second, metered(20, 0));
        marks.extend(point.marks());
    }
    assert_eq!(marks, [(Mark::Suspended, 1_020)]);
    assert!(
        matches!(point.state, State::Stopping { reason: EndReason::Full, since, .. } if since == at(340))
    );
    let resumed =
        Point::charging().then(30, metered(10, 0)).then(95, metered(10, 0)).then(100, metered(11, 6_000));
    assert_eq!(resumed.marks(), [(Mark::Charging, 1_011)]);
    assert!(matches!(resumed.state, State::Charging(Charge { idle_since: None, .. })));
}

#[test]
fn a_charge_stops_before_the_interval_that_would_pass_its_limit() {
    // 13 kWh cost 6.50, and 7.5 kWh more are above the 20 kWh, while 10.25 would be above the 9.00.
    let energy = Point::charging().then(30, metered(5_500, 16_000)).then(40, metered(13_000, 16_000));
    let State::Stopping { reason, .. } = energy.state else { panic!("{:?}", energy.state) };
    assert_eq!(reason, EndReason::EnergyReached);
    let mut cheap = limits();
    cheap.amount_max = 5_000_000;
    let enable = Event::Enable { limits: cheap, page: 7, clock: LocalClock::fixed(UtcOffset::UTC) };
    let point =
        Point::new().then(0, offer()).then(10, enable).then(15, Event::Plugged).then(20, metered(0, 0));
    let amount =
        point.then(30, metered_before(4_000, 16_000, 8_000)).then(40, metered_before(7_001, 16_000, 10_002));
    assert!(matches!(amount.state, State::Stopping { reason: EndReason::AmountReached, .. }));
}

/// A charge that came to its limit.
#[derive(Debug, PartialEq, Eq)]
struct ToItsLimit {
    reason: EndReason,
    /// Watt-hours.
    energy: u64,
    /// Millionths.
    cost: i64,
    /// What the last look added, in watt-hours.
    last: u64,
    /// The most that one before it added; `None` if it was the first.
    before: Option<u64>,
}

impl ToItsLimit {
    fn most(&self) -> u64 {
        self.last.max(self.before.unwrap_or(0))
    }
}

/// A charge up to limits, whose looks add `steps` of watt-hours, for a fee and a rate. `None` if it did not come to its
/// limit.
fn charged_up_to(limits: Limits, steps: &[u64], fee: i64, micros_per_wh: i64) -> Option<ToItsLimit> {
    let enable = Event::Enable { limits, page: 7, clock: LocalClock::fixed(UtcOffset::UTC) };
    let mut point =
        Point::new().then(0, offer()).then(10, enable).then(15, Event::Plugged).then(20, metered(0, 0));
    let cost = |wh: u64| fee + i64::try_from(wh).unwrap() * micros_per_wh;
    let (mut delivered, mut second, mut before) = (0, 20, None);
    for step in steps.iter().copied() {
        (delivered, second) = (delivered + step, second + 10);
        let most = step.max(before.unwrap_or(0));
        let read = |current| Event::Metered {
            register: WattHours::from_wh(1_000 + delivered).unwrap(),
            current: MilliAmperes::new(current),
            cost: Some(cost(delivered)),
            ahead: Some(cost(delivered + most)),
        };
        point = point.then(second, read(16_000));
        if let State::Stopping { reason, .. } = point.state {
            let done = point.then(second + 1, read(0));
            assert_eq!(done.ended().energy.whole_wh(), delivered);
            return Some(ToItsLimit { reason, energy: delivered, cost: cost(delivered), last: step, before });
        }
        before = Some(most);
    }
    None
}

/// Why a charge whose looks all add the same ended, with how many watt-hours and at which cost.
fn even(limits: Limits, step: u64, fee: i64, micros_per_wh: i64) -> (EndReason, u64, i64) {
    let ToItsLimit { reason, energy, cost, .. } =
        charged_up_to(limits, &[step; 30], fee, micros_per_wh).unwrap();
    (reason, energy, cost)
}

#[test]
fn a_fee_for_the_charge_counts_once() {
    // 1.00 for the charge and 0.50 a look, up to 3.00: after four looks. Counted twice, the fee would end it after the
    // first.
    let allowed = Limits { amount_max: 3_000_000, ..limits() };
    assert_eq!(even(allowed, 1_000, 1_000_000, 500), (EndReason::AmountReached, 4_000, 3_000_000));
    let allowed = Limits { amount_max: 2_400_000, ..limits() };
    assert_eq!(even(allowed, 1_000, 1_000_000, 500), (EndReason::AmountReached, 2_000, 2_000_000));
}

#[test]
fn energy_that_fits_exactly_is_delivered() {
    let asked = Limits { energy_max: WattHours::from_wh(1_000).unwrap(), ..limits() };
    assert_eq!(even(asked, 40, 0, 1), (EndReason::EnergyReached, 1_000, 1_000));
    assert_eq!(even(asked, 70, 0, 1), (EndReason::EnergyReached, 980, 980));
}

#[test]
fn a_price_that_will_jump_stops_the_charge_before_it_does() {
    // The next look begins a block of 5.00; so far nothing was due.
    let jumps = |ahead| Event::Metered {
        register: WattHours::from_wh(1_400).unwrap(),
        current: MilliAmperes::new(16_000),
        cost: Some(0),
        ahead,
    };
    let stops = Point::charging().then(30, jumps(Some(9_000_001)));
    assert!(matches!(stops.state, State::Stopping { reason: EndReason::AmountReached, .. }));
    assert_eq!(Point::charging().then(30, jumps(Some(9_000_000))).state.name(), "charging");
}

proptest! {
    #[test]
    fn a_limit_is_never_passed_and_missed_by_less_than_the_most_that_a_look_added(
        mut steps in prop::collection::vec(prop_oneof![Just(0u64), 1u64..500], 40..80),
        energy_max in 500u64..12_000,
        fee in 0i64..2_000_000,
        micros_per_wh in 1i64..1_000,
        spare in 0i64..4_000_000,
    ) {
        // A vehicle takes as much as it can at first, and then less and more and nothing as it likes.
        let busiest = (0..steps.len()).max_by_key(|at| steps[*at]).unwrap();
        steps.swap(0, busiest);
        let first = i64::try_from(steps[0]).unwrap() * micros_per_wh;
        let amount_max = fee + first + spare;
        let limits = Limits { energy_max: WattHours::from_wh(energy_max).unwrap(), amount_max, ..limits() };
        if let Some(charged) = charged_up_to(limits, &steps, fee, micros_per_wh) {
            let ToItsLimit { reason, energy, cost, .. } = charged;
            prop_assert!(energy <= energy_max && cost <= amount_max);
            let added_cost = i64::try_from(charged.most()).unwrap() * micros_per_wh;
            match reason {
                EndReason::EnergyReached => prop_assert!(energy_max - energy < charged.most()),
                EndReason::AmountReached => prop_assert!(amount_max - cost < added_cost),
                other => prop_assert!(false, "{other}"),
            }
        }
    }
}

proptest! {
    /// Whatever a vehicle takes: only a look that adds more than each one before it passes a limit, and by no more than it adds.
    #[test]
    fn a_limit_is_passed_only_by_a_look_that_adds_more_than_each_before_it(
        steps in prop::collection::vec(prop_oneof![Just(0u64), 1u64..500], 1..80),
        energy_max in 1u64..12_000,
        fee in 0i64..2_000_000,
        micros_per_wh in 1i64..1_000,
        spare in 0i64..4_000_000,
    ) {
        // A limit that does not pay for the beginning is refused before power.
        let amount_max = fee + spare;
        let limits = Limits { energy_max: WattHours::from_wh(energy_max).unwrap(), amount_max, ..limits() };
        if let Some(charged) = charged_up_to(limits, &steps, fee, micros_per_wh) {
            let added_cost = i64::try_from(charged.last).unwrap() * micros_per_wh;
            let is_passed = charged.energy > energy_max || charged.cost > amount_max;
            if is_passed {
                prop_assert!(charged.before.is_none_or(|before| charged.last > before), "{:?}", charged);
            }
            prop_assert!(charged.energy - charged.last <= energy_max);
            prop_assert!(charged.cost - added_cost <= amount_max);
        }
    }
}

#[test]
fn a_price_that_cannot_be_computed_ends_the_charge_now_or_before_the_next_look() {
    let register = WattHours::from_wh(1_001).unwrap();
    for (cost, ahead) in [(None, None), (None, Some(1)), (Some(1), None)] {
        let event = Event::Metered { register, current: MilliAmperes::new(16_000), cost, ahead };
        let point = Point::charging().then(30, event);
        let stops = matches!(point.state, State::Stopping { reason: EndReason::StoppedByStation, .. });
        assert!(stops, "{cost:?}, {ahead:?}: {:?}", point.state);
        let done = point.then(31, metered(1, 0));
        assert_eq!((done.marks(), done.ended().energy.whole_wh()), (vec![(Mark::EndedRemotely, 1_001)], 1));
    }
}

#[test]
fn readings_are_signed_each_quarter_of_an_hour() {
    let mut point = Point::charging();
    let mut marks = vec![];
    for minute in 1..=60 {
        point = point.then(minute * 60, metered(minute as u64 * 100, 16_000));
        marks.extend(point.marks());
    }
    let quarters = [15, 30, 45, 60].map(|minute| (Mark::Charging, 1_000 + minute * 100));
    assert_eq!(marks, quarters);
}

#[test]
fn intermediate_readings_have_an_end_and_charging_has_not() {
    let mut point = Point::charging();
    point.settings.sign_every = DurationMs::from_millis(1_000);
    for second in 21..=620 {
        point = point.then(second, metered(second as u64 - 20, 16_000));
    }
    let State::Charging(charge) = &point.state else { panic!("{:?}", point.state) };
    assert_eq!(charge.signed.len(), INTERMEDIATE_READINGS_MAX + 1);
    let done = point.then(621, Event::Unplugged).then(622, metered(601, 0));
    assert_eq!(done.ended().energy.whole_wh(), 601);
    assert_eq!(done.ended().pages, Some((7, 8 + INTERMEDIATE_READINGS_MAX as u64)));
}

#[test]
fn a_faulty_meter_is_billed_up_to_its_last_good_reading() {
    let charging = || Point::charging().then(30, metered(500, 16_000));
    for (fault, point) in [
        (Fault::MeterBackwards, charging().then(35, metered(499, 16_000))),
        (Fault::MeterSilent, charging().then(91, Event::Tick)),
        (Fault::MeterSilent, charging().then(35, Event::Fault(Fault::MeterSilent))),
        (Fault::MeterBackwards, charging().then(35, Event::Unplugged).then(40, metered(499, 0))),
        (Fault::MeterSilent, charging().then(35, Event::Unplugged).then(66, Event::Tick)),
        (Fault::RelayStuck, charging().then(35, Event::Unplugged).then(66, metered(600, 16_000))),
    ] {
        assert_eq!(point.fault(), Some(fault));
        assert_eq!(point.marks(), [(Mark::Aborted, 1_500)], "{fault}");
        let ended = point.ended();
        assert_eq!(
            (ended.reason, ended.energy.whole_wh(), ended.end),
            (EndReason::Fault, 500, at(30)),
            "{fault}"
        );
    }
    assert_eq!(charging().then(90, Event::Tick).state.name(), "charging", "a minute of silence is borne");
}

#[test]
fn a_meter_that_jumps_is_not_believed() {
    let mut point = Point::charging();
    point.settings.power_max = Watts::new(24_000);
    // 67 Wh can flow in ten seconds, and 200 are let pass.
    let point = point.then(30, metered(266, 16_000));
    assert_eq!(point.state.name(), "charging");
    let point = point.then(40, metered(533, 16_000));
    assert_eq!((point.fault(), point.marks()), (Some(Fault::MeterImplausible), vec![(Mark::Aborted, 1_266)]));
    let mut stopping = Point::charging().then(30, Event::Unplugged);
    stopping.settings.power_max = Watts::new(24_000);
    let stopping = stopping.then(40, metered(9_000, 0));
    assert_eq!((stopping.fault(), stopping.ended().energy), (Some(Fault::MeterImplausible), WattHours::ZERO));
}

#[test]
fn other_faults_still_get_a_last_reading() {
    for fault in [Fault::SensorSilent, Fault::VehicleSilent, Fault::RelaySilent] {
        let point = Point::charging().then(30, Event::Fault(fault));
        assert_eq!((point.state.name(), point.effects.as_slice()), ("stopping", &[Effect::SwitchOff][..]));
        let point = point.then(35, Event::Fault(Fault::Overcurrent)).then(40, metered(7, 0));
        assert_eq!((point.fault(), point.marks()), (Some(fault), vec![(Mark::Aborted, 1_007)]));
    }
}

#[test]
fn too_much_current_is_borne_for_a_moment() {
    let mut point = Point::charging();
    for second in 30..60 {
        point = point.then(second, metered(1, 20_000));
        assert_eq!(point.state.name(), "charging", "{second}");
    }
    let point = point.then(60, metered(1, 20_000));
    assert!(matches!(point.state, State::Stopping { fault: Some(Fault::Overcurrent), .. }));
    let noisy = Point::charging()
        .then(30, metered(1, 20_000))
        .then(50, metered(1, 17_000))
        .then(70, metered(1, 20_000));
    assert_eq!(noisy.state.name(), "charging");
}

#[test]
fn a_charge_goes_on_after_a_short_cut() {
    let charging = || Point::charging().then(30, metered(500, 16_000));
    let back = charging().then(1_830, Event::PowerBack);
    assert_eq!(back.marks(), [(Mark::Suspended, 1_500)]);
    assert_eq!(back.effects.last(), Some(&Effect::SwitchOn));
    let on = back.then(1_835, metered(500, 0)).then(1_840, metered(510, 16_000));
    assert_eq!(on.marks(), [(Mark::Charging, 1_510)]);
    let done = on.then(1_850, Event::Stop(StoppedBy::Driver)).then(1_851, metered(520, 0));
    assert_eq!(done.ended().energy.whole_wh(), 520);

    for (second, why) in [(3_631, "an hour and a second"), (-5, "a clock that went back")] {
        let long = charging().then(second, Event::PowerBack);
        assert_eq!(long.marks(), [(Mark::PowerFailure, 1_500)], "{why}");
        assert_eq!(long.effects.first(), Some(&Effect::SwitchOff), "{why}");
        assert_eq!((long.ended().reason, long.ended().end), (EndReason::PowerCut, at(30)), "{why}");
    }
    let stopping = charging().then(31, Event::Unplugged).then(9_999, Event::PowerBack);
    assert_eq!((stopping.marks(), stopping.ended().end), (vec![(Mark::EndedLocally, 1_500)], at(30)));
    assert_eq!(stopping.effects.first(), Some(&Effect::SwitchOff));
    let silent = charging().then(1_830, Event::PowerBack).then(1_890, Event::Tick);
    assert_eq!(silent.state.name(), "charging", "the meter was not silent, it was without power");
    assert_eq!(silent.then(1_891, Event::Tick).fault(), Some(Fault::MeterSilent));
}

#[test]
fn a_clock_that_goes_back_is_not_believed_again() {
    let point = Point::charging().then(30, metered(10, 16_000)).then(-100, metered(20, 16_000));
    let done = point.then(-90, Event::Unplugged).then(-80, metered(30, 0));
    let Some(Effect::Sign { reading, .. }) = done.effects.first() else { panic!("{:?}", done.effects) };
    assert_eq!((reading.at, reading.clock), (at(30), ClockState::Unknown));
    assert_eq!(done.ended().energy.whole_wh(), 30);
}

#[test]
fn whoever_does_not_plug_in_pays_nothing() {
    for (second, event, reason) in [
        (311, Event::Tick, EndReason::TimeOver),
        (36_000, Event::Tick, EndReason::TimeOver),
        (36_000, metered(0, 0), EndReason::TimeOver),
        (12, Event::Stop(StoppedBy::Driver), EndReason::StoppedByDriver),
    ] {
        let point = Point::enabled().then(second, event);
        let ended = point.ended();
        assert_eq!((ended.reason, ended.pages, ended.energy), (reason, None, WattHours::ZERO));
        assert_eq!((point.marks(), point.fault()), (vec![], None));
    }
    assert_eq!(Point::enabled().then(310, Event::Tick).state.name(), "enabled");
    let stuck = Point::enabled().then(12, metered(0, 16_000));
    assert_eq!((stuck.fault(), stuck.ended().pages), (Some(Fault::RelayStuck), None));
    let left = Point::enabled().then(12, Event::Plugged).then(13, Event::Unplugged).then(14, metered(0, 0));
    assert_eq!(left.state.name(), "enabled");
}

#[test]
fn an_offer_ends_with_its_time_or_its_driver() {
    assert_eq!(Point::new().then(0, offer()).then(600, Event::Tick).state.name(), "offered");
    assert_eq!(Point::new().then(0, offer()).then(601, Event::Tick).state, State::Idle);
    assert_eq!(Point::new().then(0, offer()).then(1, Event::Withdraw).state, State::Idle);
}

#[test]
fn a_fault_stays_until_somebody_has_looked() {
    let faulted = Point::charging().then(30, Event::Fault(Fault::MeterSilent));
    let state = faulted.state.clone();
    assert!(handle(&settings(), &state, &Event::Repaired, at(40)).is_err(), "its session is not settled");
    let settled = faulted.then(40, Event::Settled);
    assert_eq!(settled.state, State::Faulted { fault: Fault::MeterSilent, ended: None });
    assert_eq!(settled.then(50, Event::Repaired).state, State::Idle);
}

/// A state of each kind.
fn states() -> [State; 7] {
    let stopping = Point::charging().then(30, Event::Unplugged);
    let finished = Point::charging().then(30, Event::Unplugged).then(31, metered(1, 0));
    [
        State::Idle,
        Point::new().then(0, offer()).state,
        Point::enabled().state,
        Point::charging().state,
        stopping.state,
        finished.state,
        Point::new().then(0, Event::Fault(Fault::MeterSilent)).state,
    ]
}

#[test]
fn moves_that_are_illegal() {
    let table: [(Event, &[&str]); 7] = [
        (offer(), &["offered", "enabled", "charging", "stopping", "finished", "faulted"]),
        (Event::Withdraw, &["idle", "enabled", "charging", "stopping", "finished", "faulted"]),
        (enable(), &["idle", "enabled", "charging", "stopping", "finished", "faulted"]),
        (metered(0, 0), &["idle", "offered", "finished", "faulted"]),
        (Event::Stop(StoppedBy::Driver), &["idle", "offered"]),
        (Event::Settled, &["idle", "offered", "enabled", "charging", "stopping", "faulted"]),
        (Event::Repaired, &["idle", "offered", "enabled", "charging", "stopping", "finished"]),
    ];
    for (event, wanted) in table {
        let refused = states().into_iter().filter_map(|state| {
            let error = handle(&settings(), &state, &event, at(40)).err()?;
            assert_eq!((error.state, error.event), (state.name(), event.name()));
            Some(error.state)
        });
        assert_eq!(refused.collect::<Vec<_>>(), wanted, "{event:?}");
    }
    for event in
        [Event::Plugged, Event::Unplugged, Event::Tick, Event::PowerBack, Event::Fault(Fault::RelayStuck)]
    {
        for state in states() {
            assert!(handle(&settings(), &state, &event, at(40)).is_ok(), "{event:?} in {}", state.name());
        }
    }
}

fn arb_event() -> impl Strategy<Value = Event> {
    let fault = prop::sample::select(vec![
        Fault::MeterSilent,
        Fault::SensorSilent,
        Fault::RelayStuck,
        Fault::VehicleSilent,
    ]);
    prop_oneof![
        2 => Just(offer()),
        2 => Just(enable()),
        3 => Just(Event::Plugged),
        1 => Just(Event::Unplugged),
        1 => Just(Event::Withdraw),
        12 => Just(Event::Tick),
        1 => Just(Event::PowerBack),
        1 => prop::sample::select(vec![Event::Stop(StoppedBy::Driver), Event::Stop(StoppedBy::Station)]),
        1 => fault.prop_map(Event::Fault),
        2 => prop::sample::select(vec![Event::Settled, Event::Repaired]),
        24 => (0u64..400, 0u64..17_000).prop_map(|(wh, ma)| metered(wh, ma)),
    ]
}

proptest! {
    #[test]
    fn whatever_happens(steps in prop::collection::vec((arb_event(), 0i64..120), 1..120)) {
        let settings = settings();
        let (mut state, mut second, mut register) = (State::Idle, 0, 1_000u64);
        let (mut relay_on, mut signed): (bool, Vec<SignedReading>) = (false, vec![]);
        for (event, seconds) in steps {
            second += seconds;
            // Registers go forward, by at most 400 Wh an interval; each kilowatt-hour costs 0.50.
            let event = match event {
                Event::Metered { register: step, current, .. } => {
                    register += step.whole_wh() - 1_000;
                    let begin = signed.first().map_or(register, |r| r.register.whole_wh());
                    let cost = Some((register - begin) as i64 * 500);
                    let ahead = Some((register - begin + step.whole_wh() - 1_000) as i64 * 500);
                    Event::Metered { register: WattHours::from_wh(register).unwrap(), current, cost, ahead }
                }
                // The relay falls off with the power.
                Event::PowerBack => { relay_on = false; Event::PowerBack }
                event => event,
            };
            let Ok((next, effects)) = handle(&settings, &state, &event, at(second)) else { continue };
            for effect in effects {
                match effect {
                    Effect::SwitchOn => {
                        prop_assert!(next.is_on() && matches!(state, State::Enabled(_) | State::Charging(_)));
                        relay_on = true;
                    }
                    Effect::SwitchOff => relay_on = false,
                    Effect::Sign { page, reading, .. } => {
                        if reading.mark == Mark::Begin {
                            signed.clear();
                        }
                        prop_assert_eq!(page, 7 + signed.len() as u64);
                        prop_assert!(signed.last().is_none_or(|l| l.at <= reading.at && l.register <= reading.register));
                        signed.push(reading);
                    }
                    Effect::Ended(ended) => {
                        if ended.pages.is_some() {
                            let (first, last) = (signed.first().unwrap(), signed.last().unwrap());
                            prop_assert!(first.mark == Mark::Begin && last.mark.is_end());
                            let energy = last.register.checked_sub(first.register).unwrap();
                            prop_assert_eq!(energy, ended.energy);
                            // An interval passes between the reading that stops it and the last one.
                            prop_assert!(energy.whole_wh() <= 18_000 + 2 * 400, "{}", energy);
                        }
                    }
                    Effect::OfferCurrent(current) => prop_assert_eq!(current, MilliAmperes::new(16_000)),
                    Effect::Report(_) => {}
                }
            }
            prop_assert_eq!(relay_on, next.is_on(), "{:?} after {:?}", next, event);
            state = next;
        }
    }
}
