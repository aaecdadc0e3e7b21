//! What may happen at a charging point, and what follows from it: paper B's figure 16 as a pure function of state, event
//! and time.
//!
//! ```text
//!        Offer            Enable            Plugged, Metered            a limit, full, unplugged,
//!  Idle ------> Offered --------> Enabled -------------------> Charging ------------------------> Stopping
//!   ^  <-------          Withdraw    |     reading B, relay on    |  |     Stop, Fault: relay off    | |
//!   |                                |                            |  | meter backwards or silent     | |
//!   |              nobody plugs in,  |       cut for too long     |  +------------+    relay stuck,  | | current
//!   |              Stop, time over   v              reading P     v               |   meter silent,  | | is gone:
//!   |  Settled                    Finished <----------------------+               |      any fault   | | reading
//!   +---------------------------- Finished <----------------------(---------------(------------------(-+ E, L, R
//!   |  Repaired                                                                   v                  v
//!   +---------------------------- Faulted <------------------------------------------ reading A -----+
//! ```
//! The relay is switched on in one place, the step into `Charging` or back into it after a power cut, and is switched
//! off by every step out of it. The energy of a session is its last signed reading less its first. A charge stops when the
//! next interval would pass a limit, not when the limit has been passed, since nobody promised to pay for what is above
//! it. An interval that adds more than each one before it passes it all the same, and so does what flows until the relay is
//! open: the meter signs that, too, and the operator bills up to the limit. A time that goes back is taken for the last one
//! seen, and the reading says that its clock is not to be trusted.
//!
//! What it deliberately does not do: read hardware, sign, compute prices (what a charge costs so far comes with each
//! reading), or remember.
//!
//! Source: paper B, section 4.5 and figure 16; OCMF 1.4.1, table 7, for the marks of readings.

use eroam_domain::cdr::SessionId;
use eroam_domain::quantity::{DurationMs, MilliAmperes, WattHours, Watts};
use eroam_domain::time::{LocalClock, UnixMillis};
use eroam_domain::visit::{EndReason, Progress};
use eroam_wire::ocmf::{ClockState, Mark, SignedReading};
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// What a meter may count beyond the greatest power: registers are read a moment before or after their time, and what
/// flowed between the last reading and a power cut is counted after it.
const REGISTER_SLACK: WattHours = WattHours::from_milli_wh(200_000);

/// The greatest number of readings that are signed between begin and end; charging goes on without more. A record on the
/// ledger holds 512 periods.
pub const INTERMEDIATE_READINGS_MAX: usize = 480;

/// How a charging point behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The most current of a phase that its cable and fuse bear.
    pub current_max: MilliAmperes,
    /// The most power that can flow here: a meter that counts more has a fault.
    pub power_max: Watts,
    /// Below this the vehicle is not charging.
    pub idle_below: MilliAmperes,
    /// A vehicle that has not charged for so long makes a pause.
    pub suspend_after: DurationMs,
    /// A vehicle that has not charged for so long is full.
    pub full_after: DurationMs,
    /// Current may be above what was offered for so long: sensors are noisy and vehicles take a moment.
    pub overcurrent_after: DurationMs,
    /// Whoever is enabled plugs in within this time.
    pub plug_within: DurationMs,
    /// A charge goes on after a power cut that was not longer.
    pub resume_within: DurationMs,
    /// After the relay was told to open, the current must be gone within this time.
    pub settle_within: DurationMs,
    /// A meter that is silent for longer has a fault.
    pub silence_max: DurationMs,
    /// While charging, a reading is signed in each interval of this length, counted from midnight UTC.
    pub sign_every: DurationMs,
    /// How far the station's clock can be trusted.
    pub clock: ClockState,
}

impl Settings {
    /// A point with 32 A, as DESIGN's station: quarter-hourly readings, full after five minutes, an hour of power cut.
    #[must_use]
    pub const fn standard() -> Self {
        Self {
            current_max: MilliAmperes::new(32_000),
            // Three phases of 32 A at 250 V.
            power_max: Watts::new(24_000),
            idle_below: MilliAmperes::new(500),
            suspend_after: DurationMs::from_millis(60_000),
            full_after: DurationMs::from_millis(300_000),
            overcurrent_after: DurationMs::from_millis(30_000),
            plug_within: DurationMs::from_millis(300_000),
            resume_within: DurationMs::from_millis(3_600_000),
            settle_within: DurationMs::from_millis(30_000),
            silence_max: DurationMs::from_millis(60_000),
            sign_every: DurationMs::from_millis(900_000),
            clock: ClockState::Informative,
        }
    }
}

/// Where a charge stops at the latest. Energy and money always have a limit: nobody promised to pay without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Energy.
    pub energy_max: WattHours,
    /// Money, in millionths of the quote's currency.
    pub amount_max: i64,
    /// When the driver leaves.
    pub leaves_at: Option<UnixMillis>,
    /// Current of a phase; the point's own limit holds besides.
    pub current_max: Option<MilliAmperes>,
}

/// What is wrong with a charging point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Fault {
    #[error("the meter counted backwards")]
    MeterBackwards,
    #[error("the meter counted more than can have flowed")]
    MeterImplausible,
    #[error("the meter does not answer")]
    MeterSilent,
    #[error("the current sensor does not answer")]
    SensorSilent,
    #[error("current flows although the relay is off")]
    RelayStuck,
    #[error("the relay cannot be switched")]
    RelaySilent,
    #[error("the vehicle takes more current than it was offered")]
    Overcurrent,
    #[error("the cable's state cannot be read")]
    VehicleSilent,
}

impl Fault {
    /// Whether the meter can still be asked for a last reading.
    const fn is_of_the_meter(self) -> bool {
        matches!(self, Self::MeterBackwards | Self::MeterImplausible | Self::MeterSilent)
    }
}

/// Who stops a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoppedBy {
    /// The driver, by the wallet.
    Driver,
    /// The station or its operator.
    Station,
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A driver was made a quote.
    Offer {
        /// The session.
        session: SessionId,
        /// The last instant at which the quote can be accepted.
        expires_at: UnixMillis,
    },
    /// The driver does not want it, or the operator does not.
    Withdraw,
    /// The operator has reserved the payment.
    Enable {
        /// Where to stop.
        limits: Limits,
        /// The number of the meter's next page.
        page: u64,
        /// What clocks show here.
        clock: LocalClock,
    },
    /// The vehicle was plugged in.
    Plugged,
    /// The vehicle was unplugged.
    Unplugged,
    /// The meter and the sensor were read.
    Metered {
        /// The register.
        register: WattHours,
        /// The strongest phase.
        current: MilliAmperes,
        /// What the session costs up to this reading, in millionths of the quote's currency; `None` if that cannot be
        /// computed, which ends a charge.
        cost: Option<i64>,
        /// What it would cost up to the next reading if as much time as since the last one passed until then, and as much
        /// energy flowed as ever did between two. Priced as a whole, so that a fee for each charge counts once, and blocks,
        /// minimum prices and rates that change count as they will. `None` if that cannot be computed, which ends a charge.
        ahead: Option<i64>,
    },
    /// Somebody wants it to stop.
    Stop(StoppedBy),
    /// Something is wrong.
    Fault(Fault),
    /// The station is back after a power cut or a crash; its relay has fallen off.
    PowerBack,
    /// Time has passed.
    Tick,
    /// The accounting message of the ended session is safe.
    Settled,
    /// Somebody has looked at the fault.
    Repaired,
}

impl Event {
    const fn name(&self) -> &'static str {
        match self {
            Self::Offer { .. } => "offer",
            Self::Withdraw => "withdraw",
            Self::Enable { .. } => "enable",
            Self::Plugged => "plugged",
            Self::Unplugged => "unplugged",
            Self::Metered { .. } => "metered",
            Self::Stop(_) => "stop",
            Self::Fault(_) => "fault",
            Self::PowerBack => "power back",
            Self::Tick => "tick",
            Self::Settled => "settled",
            Self::Repaired => "repaired",
        }
    }
}

/// Something is to be done, in the order given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Tell the vehicle how much current of a phase it may take.
    OfferCurrent(MilliAmperes),
    /// Close the relay.
    SwitchOn,
    /// Open the relay.
    SwitchOff,
    /// Sign a reading with the meter's key.
    Sign {
        /// As which page.
        page: u64,
        /// What clocks show here.
        clock: LocalClock,
        /// What.
        reading: SignedReading,
    },
    /// Tell the driver how far it is.
    Report(Progress),
    /// Tell the driver and the operator that it is over.
    Ended(Ended),
}

/// A reading of the meter that was good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at: UnixMillis,
    /// The register.
    pub register: WattHours,
}

/// A session that is allowed and has not begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enabled {
    /// The session.
    pub session: SessionId,
    /// Where to stop.
    pub limits: Limits,
    /// The number of the meter's next page.
    pub page: u64,
    /// What clocks show here.
    pub clock: LocalClock,
    /// Since when.
    pub since: UnixMillis,
    /// Whether the vehicle is plugged in.
    pub is_plugged: bool,
}

/// A session that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// What was allowed.
    pub enabled: Enabled,
    /// The last good reading.
    pub last: Sample,
    /// All that was signed, oldest first; never empty.
    pub signed: Vec<SignedReading>,
    /// How far the clock can be trusted since the begin.
    pub clock: ClockState,
    /// Since when the vehicle does not charge.
    pub idle_since: Option<UnixMillis>,
    /// Since when it takes more than it was offered.
    pub over_since: Option<UnixMillis>,
    /// The most that flowed between two readings.
    pub most_flowed: WattHours,
}

impl Charge {
    /// The most that is going to flow from a reading that shows `register` until the next one: a vehicle that pauses, or takes
    /// less for a while, may take as much again as it ever took. `None` if the register went back.
    pub(crate) fn flow_ahead(&self, register: WattHours) -> Option<WattHours> {
        Some(register.checked_sub(self.last.register)?.max(self.most_flowed))
    }

    /// When it began, and with which register.
    #[must_use]
    pub fn begin(&self) -> (UnixMillis, WattHours) {
        self.signed.first().map_or((self.last.at, self.last.register), |r| (r.at, r.register))
    }

    /// Delivered up to the last good reading.
    #[must_use]
    pub fn energy(&self) -> WattHours {
        self.last.register.checked_sub(self.begin().1).unwrap_or(WattHours::ZERO)
    }

    fn sign(&mut self, mark: Mark, at: UnixMillis, register: WattHours) -> Effect {
        let reading = SignedReading { at, clock: self.clock, mark, register };
        let signed = u64::try_from(self.signed.len()).unwrap_or(u64::MAX);
        let page = self.enabled.page.saturating_add(signed);
        self.signed.push(reading);
        Effect::Sign { page, clock: self.enabled.clock, reading }
    }

    fn is_suspended(&self) -> bool {
        self.signed.last().is_some_and(|r| r.mark == Mark::Suspended)
    }

    fn may_sign_more(&self) -> bool {
        self.signed.len() <= INTERMEDIATE_READINGS_MAX
    }

    /// Signs the end, which is the last good reading.
    fn end(mut self, reason: EndReason, mark: Mark) -> (Ended, [Effect; 2]) {
        let sign = self.sign(mark, self.last.at, self.last.register);
        let (start, _) = self.begin();
        let count = u64::try_from(self.signed.len()).unwrap_or(u64::MAX);
        let last_page = self.enabled.page.saturating_add(count.saturating_sub(1));
        let ended = Ended {
            reason,
            start,
            end: self.last.at,
            energy: self.energy(),
            pages: Some((self.enabled.page, last_page)),
            session: self.enabled.session,
        };
        (ended.clone(), [sign, Effect::Ended(ended)])
    }
}

/// A session that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The session.
    pub session: SessionId,
    /// Why.
    pub reason: EndReason,
    /// When it began.
    pub start: UnixMillis,
    /// When it ended.
    pub end: UnixMillis,
    /// Delivered.
    pub energy: WattHours,
    /// The meter's first and last page of it; `None` if power never came on and nothing is to be billed.
    pub pages: Option<(u64, u64)>,
}

/// Where a charging point stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nobody is there.
    Idle,
    /// A driver has a quote.
    Offered {
        /// The session.
        session: SessionId,
        /// The last instant at which the quote can be accepted.
        expires_at: UnixMillis,
    },
    /// Payment is reserved; power comes when the vehicle is plugged in.
    Enabled(Enabled),
    /// The relay is on.
    Charging(Charge),
    /// The relay was told to open; the last reading is awaited.
    Stopping {
        /// The session.
        charge: Charge,
        /// Why it ends.
        reason: EndReason,
        /// What was wrong, if that is why.
        fault: Option<Fault>,
        /// Since when.
        since: UnixMillis,
    },
    /// The session is over.
    Finished(Ended),
    /// Nothing can be charged until somebody has looked.
    Faulted {
        /// What is wrong.
        fault: Fault,
        /// The session that was ended by it, until it is settled.
        ended: Option<Ended>,
    },
}

impl State {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Offered { .. } => "offered",
            Self::Enabled(_) => "enabled",
            Self::Charging(_) => "charging",
            Self::Stopping { .. } => "stopping",
            Self::Finished(_) => "finished",
            Self::Faulted { .. } => "faulted",
        }
    }

    /// Whether the relay has to be on.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        matches!(self, Self::Charging(_))
    }

    /// The session that is over and not yet settled.
    #[must_use]
    pub const fn ended(&self) -> Option<&Ended> {
        match self {
            Self::Finished(ended) | Self::Faulted { ended: Some(ended), .. } => Some(ended),
            _ => None,
        }
    }
}

/// Something cannot happen in this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{event}` cannot happen while the charging point is {state}")]
pub struct IllegalMove {
    /// The state's name.
    pub state: &'static str,
    /// The event's name.
    pub event: &'static str,
}

/// The next state, and what is to be done.
type Step = (State, Vec<Effect>);

/// What follows from `event` at `now`.
///
/// # Errors
/// [`IllegalMove`]; the state stays.
pub fn handle(
    settings: &Settings,
    state: &State,
    event: &Event,
    now: UnixMillis,
) -> Result<Step, IllegalMove> {
    let illegal = || IllegalMove { state: state.name(), event: event.name() };
    let same = |effects: Vec<Effect>| Ok((state.clone(), effects));
    if *event == Event::PowerBack {
        return Ok(power_back(settings, state, now));
    }
    match (state, event) {
        // What can happen at any time, and changes nothing where nobody charges.
        (State::Idle | State::Finished(_) | State::Faulted { .. }, Event::Tick)
        | (
            State::Idle | State::Offered { .. } | State::Finished(_) | State::Faulted { .. },
            Event::Plugged | Event::Unplugged,
        )
        | (State::Charging(_) | State::Stopping { .. }, Event::Plugged) => same(vec![]),
        (State::Faulted { .. }, Event::Fault(_)) => same(vec![Effect::SwitchOff]),

        (State::Idle, Event::Offer { session, expires_at }) => {
            Ok((State::Offered { session: session.clone(), expires_at: *expires_at }, vec![]))
        }
        (State::Offered { .. }, Event::Withdraw) => Ok((State::Idle, vec![])),
        (State::Offered { expires_at, .. }, Event::Tick) => {
            if now > *expires_at {
                Ok((State::Idle, vec![]))
            } else {
                same(vec![])
            }
        }
        (State::Offered { session, .. }, Event::Enable { limits, page, clock }) => {
            let enabled = Enabled {
                session: session.clone(),
                limits: *limits,
                page: *page,
                clock: *clock,
                since: now,
                is_plugged: false,
            };
            Ok((State::Enabled(enabled), vec![]))
        }
        (State::Idle | State::Offered { .. }, Event::Fault(fault)) => {
            Ok((State::Faulted { fault: *fault, ended: None }, vec![Effect::SwitchOff]))
        }

        (State::Enabled(enabled), Event::Plugged | Event::Unplugged) => {
            let is_plugged = *event == Event::Plugged;
            Ok((State::Enabled(Enabled { is_plugged, ..enabled.clone() }), vec![]))
        }
        (State::Enabled(enabled), Event::Metered { register, current, .. }) => {
            Ok(metered_before(settings, enabled, *register, *current, now))
        }
        (State::Enabled(enabled), Event::Tick) => {
            let waited = now.since(enabled.since).is_some_and(|w| w > settings.plug_within);
            if waited || is_over(enabled, now) {
                Ok(never_begun(enabled, EndReason::TimeOver, now))
            } else {
                same(vec![])
            }
        }
        (State::Enabled(enabled), Event::Stop(by)) => Ok(never_begun(enabled, reason_of(*by), now)),
        (State::Enabled(enabled), Event::Fault(fault)) => Ok(faulted_before(enabled, *fault, now)),

        (State::Charging(charge), Event::Metered { register, current, cost, ahead }) => {
            Ok(metered(settings, charge.clone(), (*register, *current), (*cost, *ahead), now))
        }
        (State::Charging(charge), Event::Tick) => {
            if now.since(charge.last.at).is_some_and(|silent| silent > settings.silence_max) {
                Ok(aborted(charge.clone(), Fault::MeterSilent, vec![Effect::SwitchOff]))
            } else if is_over(&charge.enabled, now) {
                Ok(stopping(charge.clone(), EndReason::TimeOver, None, vec![], now))
            } else {
                same(vec![])
            }
        }
        (State::Charging(charge), Event::Unplugged) => {
            Ok(stopping(charge.clone(), EndReason::Unplugged, None, vec![], now))
        }
        (State::Charging(charge), Event::Stop(by)) => {
            Ok(stopping(charge.clone(), reason_of(*by), None, vec![], now))
        }
        (State::Charging(charge), Event::Fault(fault)) if fault.is_of_the_meter() => {
            Ok(aborted(charge.clone(), *fault, vec![Effect::SwitchOff]))
        }
        (State::Charging(charge), Event::Fault(fault)) => {
            Ok(stopping(charge.clone(), EndReason::Fault, Some(*fault), vec![], now))
        }

        (State::Stopping { charge, reason, fault, since }, Event::Metered { register, current, .. }) => {
            let last = Sample { at: now.max(charge.last.at), register: *register };
            if let Some(fault) = fault_of_register(settings, charge.last, *register, now) {
                Ok(aborted(charge.clone(), fault, vec![Effect::SwitchOff]))
            } else if *current < settings.idle_below {
                Ok(finished(Charge { last, ..charge.clone() }, *reason, *fault))
            } else if has_settled(settings, *since, now) {
                // What flows now nobody has asked for: the driver pays what was there when the relay was told to open.
                Ok(aborted(charge.clone(), Fault::RelayStuck, vec![Effect::SwitchOff]))
            } else {
                same(vec![])
            }
        }
        (State::Stopping { charge, since, .. }, Event::Tick) => {
            if has_settled(settings, *since, now) {
                Ok(aborted(charge.clone(), Fault::MeterSilent, vec![Effect::SwitchOff]))
            } else {
                same(vec![])
            }
        }
        (State::Stopping { .. }, Event::Stop(_) | Event::Unplugged) => same(vec![]),
        (State::Stopping { charge, .. }, Event::Fault(fault)) if fault.is_of_the_meter() => {
            Ok(aborted(charge.clone(), *fault, vec![Effect::SwitchOff]))
        }
        (State::Stopping { charge, reason, fault: before, since }, Event::Fault(fault)) => {
            let fault = Some(before.unwrap_or(*fault));
            let state = State::Stopping { charge: charge.clone(), reason: *reason, fault, since: *since };
            Ok((state, vec![Effect::SwitchOff]))
        }

        // The driver may be a moment late.
        (State::Finished(_) | State::Faulted { .. }, Event::Stop(_)) => same(vec![]),
        (State::Finished(_), Event::Settled) => Ok((State::Idle, vec![])),
        (State::Finished(ended), Event::Fault(fault)) => {
            Ok((State::Faulted { fault: *fault, ended: Some(ended.clone()) }, vec![Effect::SwitchOff]))
        }
        (State::Faulted { fault, ended: Some(_) }, Event::Settled) => {
            Ok((State::Faulted { fault: *fault, ended: None }, vec![]))
        }
        (State::Faulted { ended: None, .. }, Event::Repaired) => Ok((State::Idle, vec![])),
        _ => Err(illegal()),
    }
}

const fn reason_of(by: StoppedBy) -> EndReason {
    match by {
        StoppedBy::Driver => EndReason::StoppedByDriver,
        StoppedBy::Station => EndReason::StoppedByStation,
    }
}

/// What a reading says that ends a session.
const fn mark_of(reason: EndReason) -> Mark {
    match reason {
        EndReason::EnergyReached | EndReason::AmountReached | EndReason::TimeOver | EndReason::Full => {
            Mark::End
        }
        EndReason::Unplugged => Mark::EndedLocally,
        EndReason::StoppedByDriver | EndReason::StoppedByStation => Mark::EndedRemotely,
        EndReason::Fault => Mark::Aborted,
        EndReason::PowerCut => Mark::PowerFailure,
    }
}

fn is_over(enabled: &Enabled, now: UnixMillis) -> bool {
    enabled.limits.leaves_at.is_some_and(|leaves_at| now >= leaves_at)
}

fn has_settled(settings: &Settings, since: UnixMillis, now: UnixMillis) -> bool {
    now.since(since).is_some_and(|waited| waited > settings.settle_within)
}

fn nothing_of(enabled: &Enabled, reason: EndReason, now: UnixMillis) -> Ended {
    Ended {
        session: enabled.session.clone(),
        reason,
        start: enabled.since,
        end: now.max(enabled.since),
        energy: WattHours::ZERO,
        pages: None,
    }
}

/// The end of a session whose power never came on.
fn never_begun(enabled: &Enabled, reason: EndReason, now: UnixMillis) -> Step {
    let ended = nothing_of(enabled, reason, now);
    (State::Finished(ended.clone()), vec![Effect::SwitchOff, Effect::Ended(ended)])
}

fn faulted_before(enabled: &Enabled, fault: Fault, now: UnixMillis) -> Step {
    let ended = nothing_of(enabled, EndReason::Fault, now);
    let effects = vec![Effect::SwitchOff, Effect::Ended(ended.clone())];
    (State::Faulted { fault, ended: Some(ended) }, effects)
}

/// The relay is told to open; the session ends with the next reading.
fn stopping(
    charge: Charge,
    reason: EndReason,
    fault: Option<Fault>,
    mut effects: Vec<Effect>,
    now: UnixMillis,
) -> Step {
    effects.push(Effect::SwitchOff);
    let since = now.max(charge.last.at);
    (State::Stopping { charge, reason, fault, since }, effects)
}

/// The session ends with the last good reading, and the charging point has a fault.
fn aborted(charge: Charge, fault: Fault, mut effects: Vec<Effect>) -> Step {
    let (ended, signed) = charge.end(EndReason::Fault, Mark::Aborted);
    effects.extend(signed);
    (State::Faulted { fault, ended: Some(ended) }, effects)
}

/// The session ends with the last good reading.
fn finished(charge: Charge, reason: EndReason, fault: Option<Fault>) -> Step {
    let (ended, effects) = charge.end(reason, mark_of(reason));
    let state = match fault {
        None => State::Finished(ended),
        Some(fault) => State::Faulted { fault, ended: Some(ended) },
    };
    (state, effects.into())
}

/// The first reading of a vehicle that is plugged in begins the session.
fn metered_before(
    settings: &Settings,
    enabled: &Enabled,
    register: WattHours,
    current: MilliAmperes,
    now: UnixMillis,
) -> Step {
    if current >= settings.idle_below {
        return faulted_before(enabled, Fault::RelayStuck, now);
    }
    if is_over(enabled, now) {
        return never_begun(enabled, EndReason::TimeOver, now);
    }
    if !enabled.is_plugged {
        return (State::Enabled(enabled.clone()), vec![]);
    }
    let at = now.max(enabled.since);
    let clock = if now < enabled.since { ClockState::Unknown } else { settings.clock };
    let mut charge = Charge {
        enabled: enabled.clone(),
        last: Sample { at, register },
        signed: Vec::new(),
        clock,
        idle_since: None,
        over_since: None,
        most_flowed: WattHours::ZERO,
    };
    let begin = charge.sign(Mark::Begin, at, register);
    let offered = offered(settings, &charge.enabled);
    (State::Charging(charge), vec![begin, Effect::OfferCurrent(offered), Effect::SwitchOn])
}

/// What is wrong with a register that shows `register` after `last`.
fn fault_of_register(
    settings: &Settings,
    last: Sample,
    register: WattHours,
    now: UnixMillis,
) -> Option<Fault> {
    let Some(flowed) = register.checked_sub(last.register) else { return Some(Fault::MeterBackwards) };
    let elapsed = now.since(last.at).unwrap_or(DurationMs::ZERO);
    let most = settings.power_max.energy_over(elapsed).and_then(|e| e.checked_add(REGISTER_SLACK));
    most.is_some_and(|most| flowed > most).then_some(Fault::MeterImplausible)
}

fn offered(settings: &Settings, enabled: &Enabled) -> MilliAmperes {
    enabled.limits.current_max.map_or(settings.current_max, |max| max.min(settings.current_max))
}

/// A reading while the relay is on.
fn metered(
    settings: &Settings,
    mut charge: Charge,
    (register, current): (WattHours, MilliAmperes),
    (cost, ahead): (Option<i64>, Option<i64>),
    now: UnixMillis,
) -> Step {
    if let Some(fault) = fault_of_register(settings, charge.last, register, now) {
        return aborted(charge, fault, vec![Effect::SwitchOff]);
    }
    let before = charge.last;
    if now < before.at {
        charge.clock = ClockState::Unknown;
    }
    let at = now.max(before.at);
    let flows_next = charge.flow_ahead(register);
    charge.most_flowed = flows_next.unwrap_or(charge.most_flowed);
    charge.last = Sample { at, register };

    let is_idle = current < settings.idle_below;
    charge.idle_since = is_idle.then(|| charge.idle_since.unwrap_or(at));
    // A fifth above what was offered is more than noise.
    let is_over_current = current.get() / 6 >= offered(settings, &charge.enabled).get() / 5;
    charge.over_since = is_over_current.then(|| charge.over_since.unwrap_or(at));

    let mut effects = Vec::new();
    let interval = |at: UnixMillis| {
        u64::try_from(at.get()).unwrap_or(0).checked_div(settings.sign_every.millis()).unwrap_or(0)
    };
    let lasted = |since: Option<UnixMillis>, limit: DurationMs| {
        since.and_then(|since| at.since(since)).is_some_and(|lasted| lasted >= limit)
    };
    let is_due = charge.signed.last().is_none_or(|signed| interval(at) > interval(signed.at));
    // A vehicle takes a moment to begin, so a pause has to last to be one; that it is over is seen at once.
    let was_paused = charge.is_suspended();
    let is_paused = if was_paused { is_idle } else { lasted(charge.idle_since, settings.suspend_after) };
    if charge.may_sign_more() && (is_due || is_paused != was_paused) {
        let mark = if is_paused { Mark::Suspended } else { Mark::Charging };
        effects.push(charge.sign(mark, at, register));
    }
    let flowed = register.checked_sub(before.register).unwrap_or(WattHours::ZERO);
    let power = at.since(before.at).and_then(|d| Watts::mean(flowed, d)).unwrap_or(Watts::ZERO);
    effects.push(Effect::Report(Progress { at, energy: charge.energy(), power }));

    if lasted(charge.over_since, settings.overcurrent_after) {
        return stopping(charge, EndReason::Fault, Some(Fault::Overcurrent), effects, at);
    }
    match reason_to_stop(settings, &charge, flows_next, (cost, ahead)) {
        Some(reason) => stopping(charge, reason, None, effects, at),
        None => (State::Charging(charge), effects),
    }
}

/// Whether the charge has to stop after its last reading. Until the next one `flows_next` flows at most, and that would cost
/// `ahead`. As long as no interval adds more than each before it, a limit is never passed, and missed by less than the most
/// that one added.
fn reason_to_stop(
    settings: &Settings,
    charge: &Charge,
    flows_next: Option<WattHours>,
    (cost, ahead): (Option<i64>, Option<i64>),
) -> Option<EndReason> {
    let limits = &charge.enabled.limits;
    // What cannot be computed does not fit.
    let next = flows_next.and_then(|flows| charge.energy().checked_add(flows));
    if next.is_none_or(|next| next > limits.energy_max) || charge.energy() >= limits.energy_max {
        return Some(EndReason::EnergyReached);
    }
    // Nobody agreed to a price that is not known.
    let (Some(cost), Some(next)) = (cost, ahead) else { return Some(EndReason::StoppedByStation) };
    if next > limits.amount_max || cost >= limits.amount_max {
        return Some(EndReason::AmountReached);
    }
    if is_over(&charge.enabled, charge.last.at) {
        return Some(EndReason::TimeOver);
    }
    let idle = charge.idle_since.and_then(|since| charge.last.at.since(since));
    idle.is_some_and(|idle| idle >= settings.full_after).then_some(EndReason::Full)
}

/// The station is back. The relay is off, and what was written down is all that is known.
fn power_back(settings: &Settings, state: &State, now: UnixMillis) -> Step {
    match state {
        State::Charging(charge) => {
            let mut charge = charge.clone();
            let cut = now.since(charge.last.at);
            if cut.is_none_or(|cut| cut > settings.resume_within) || is_over(&charge.enabled, now) {
                let (state, mut effects) = finished(charge, EndReason::PowerCut, None);
                effects.insert(0, Effect::SwitchOff);
                return (state, effects);
            }
            // The cut is a pause of the session; the next reading that shows current ends it.
            let Sample { at, register, .. } = charge.last;
            let mut effects = Vec::new();
            if charge.may_sign_more() && !charge.is_suspended() {
                effects.push(charge.sign(Mark::Suspended, at, register));
            }
            (charge.idle_since, charge.over_since) = (None, None);
            charge.last.at = now;
            effects.push(Effect::OfferCurrent(offered(settings, &charge.enabled)));
            effects.push(Effect::SwitchOn);
            (State::Charging(charge), effects)
        }
        State::Stopping { charge, reason, fault, .. } => {
            // It was about to end when power went: nothing flowed since that is worth another reading.
            let (state, mut effects) = finished(charge.clone(), *reason, *fault);
            effects.insert(0, Effect::SwitchOff);
            (state, effects)
        }
        other => (other.clone(), vec![Effect::SwitchOff]),
    }
}
