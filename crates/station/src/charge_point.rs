//! One charging point at work: reads its hardware, lets [`crate::process`] decide, writes down, and acts.
//!
//! ```text
//! poll(now): vehicle, meter, sensor -> event -> process::handle -> journal, then effects -> relay, vehicle, meter's key
//!                                                                                       `-> notices for the host
//! ```
//! An event is in the journal before anything follows from it, so a power cut at any instant leaves either nothing or
//! something that [`ChargePoint::open`] finishes: it folds the entries again, signs what was not signed, and goes on.
//! What it deliberately does not do: read a clock, wait, or talk to anybody. The host polls once a sampling interval.

use crate::hardware::Hardware;
use crate::journal::{Entry, Journal, JournalError};
use crate::metering::{PriceSoFar, SoFar, periods_so_far, text};
use crate::process::{
    Charge, Effect, Ended, Event, Fault, IllegalMove, Limits, Settings, State, StoppedBy, handle,
};
use eroam_domain::cdr::SessionId;
use eroam_domain::quantity::WattHours;
use eroam_domain::time::{LocalClock, UnixMillis};
use eroam_domain::visit::{Finished, Progress};
use eroam_wire::ocmf::{Mark, RecordWriter, SignedReading, WriteError};
use std::collections::VecDeque;

/// Why a charging point did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ChargePointError {
    /// It cannot happen now.
    #[error(transparent)]
    Illegal(#[from] IllegalMove),
    /// Nothing may follow from what is not written down.
    #[error("the charging point's journal failed")]
    Journal(#[from] JournalError),
    /// A reading could not be signed.
    #[error("a reading could not be signed")]
    Sign(#[from] WriteError),
    /// There are no more pages.
    #[error("the meter has used up its pages")]
    Pages,
}

/// What the host tells others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// How far a charge is.
    Progress(Progress),
    /// A session is over. It stays in the state until it is settled.
    Ended(Ended),
}

/// A charging point.
#[derive(Debug)]
pub struct ChargePoint<J> {
    settings: Settings,
    hardware: Hardware,
    writer: RecordWriter,
    journal: J,
    state: State,
    /// What the meter signed in the current session.
    lines: Vec<String>,
}

impl<J: Journal> ChargePoint<J> {
    /// Takes up what the journal holds, with the relay off unless a charge goes on.
    ///
    /// # Errors
    /// [`ChargePointError`].
    pub fn open(
        settings: Settings,
        hardware: Hardware,
        writer: RecordWriter,
        mut journal: J,
        now: UnixMillis,
    ) -> Result<(Self, Vec<Notice>), ChargePointError> {
        let mut state = State::Idle;
        let (mut lines, mut to_sign) = (Vec::new(), Vec::new());
        for entry in journal.entries()? {
            match entry {
                Entry::Signed { line, .. } => lines.push(line),
                Entry::Event { at, event } => {
                    let (next, effects) = handle(&settings, &state, &event, at)?;
                    state = next;
                    to_sign.extend(effects.into_iter().filter(|e| matches!(e, Effect::Sign { .. })));
                }
            }
        }
        let mut point = Self { settings, hardware, writer, journal, state, lines };
        // Pages are signed in their order, so what is missing is at the end.
        for effect in to_sign.split_off(point.lines.len().min(to_sign.len())) {
            if let Effect::Sign { page, clock, reading } = effect {
                point.sign(page, &clock, reading)?;
            }
        }
        let notices = point.apply(Event::PowerBack, now)?;
        Ok((point, notices))
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// What the meter signed in the current session, or in the last one until it is settled: OCMF, a record a line.
    #[must_use]
    pub fn readings(&self) -> String {
        text(&self.lines)
    }

    /// What the driver is told at the end of a session, until it is settled.
    #[must_use]
    pub fn finished(&self) -> Option<Finished> {
        let ended = self.state.ended()?;
        Some(Finished {
            reason: ended.reason,
            start: ended.start,
            end: ended.end,
            energy: ended.energy,
            readings: self.readings(),
        })
    }

    /// What signs.
    #[must_use]
    pub const fn writer(&self) -> &RecordWriter {
        &self.writer
    }

    /// The journal, for its outbox.
    pub const fn journal(&mut self) -> &mut J {
        &mut self.journal
    }

    /// A driver has a quote.
    ///
    /// # Errors
    /// [`ChargePointError`].
    pub fn offer(
        &mut self,
        session: SessionId,
        expires_at: UnixMillis,
        now: UnixMillis,
    ) -> Result<(), ChargePointError> {
        self.apply(Event::Offer { session, expires_at }, now).map(drop)
    }

    /// The quote is not accepted.
    ///
    /// # Errors
    /// [`ChargePointError`].
    pub fn withdraw(&mut self, now: UnixMillis) -> Result<(), ChargePointError> {
        self.apply(Event::Withdraw, now)?;
        self.forget()
    }

    /// The payment is reserved: power comes on with the vehicle.
    ///
    /// # Errors
    /// [`ChargePointError`].
    pub fn enable(
        &mut self,
        limits: Limits,
        clock: LocalClock,
        now: UnixMillis,
    ) -> Result<(), ChargePointError> {
        let page = self.journal.last_page()?.checked_add(1).ok_or(ChargePointError::Pages)?;
        self.apply(Event::Enable { limits, page, clock }, now).map(drop)
    }

    /// Somebody wants it to stop; the session ends with the next reading.
    ///
    /// # Errors
    /// [`ChargePointError`].
    pub fn stop(&mut self, by: StoppedBy, now: UnixMillis) -> Result<Vec<Notice>, ChargePointError> {
        self.apply(Event::Stop(by), now)
    }

    /// Looks at the hardware and the time, once a sampling interval.
    ///
    /// # Errors
    /// [`ChargePointError`]. Hardware that does not answer is no error here but a fault of the charging point.
    pub fn poll(
        &mut self,
        now: UnixMillis,
        prices: &dyn PriceSoFar,
    ) -> Result<Vec<Notice>, ChargePointError> {
        let mut notices = Vec::new();
        if let Some(event) = self.look_at_vehicle() {
            notices.extend(self.apply(event, now)?);
        }
        if let Some(event) = self.look_at_meter(now, prices) {
            notices.extend(self.apply(event, now)?);
        }
        notices.extend(self.apply(Event::Tick, now)?);
        if self.state == State::Idle {
            self.forget()?;
        }
        Ok(notices)
    }

    /// The session is over and `message` accounts for it (`None` if there is nothing to account for): from here on the
    /// outbox has it, and the point is free. Gives the message's number.
    ///
    /// # Errors
    /// [`ChargePointError`].
    pub fn settle(
        &mut self,
        message: Option<&str>,
        now: UnixMillis,
    ) -> Result<Option<u64>, ChargePointError> {
        // The journal ends the session and forgets it at once, so this event is not written down by itself.
        let (state, _) = handle(&self.settings, &self.state, &Event::Settled, now)?;
        let next = match &state {
            State::Faulted { fault, .. } => vec![Entry::Event { at: now, event: Event::Fault(*fault) }],
            _ => vec![],
        };
        let number = self.journal.finish(message, &next)?;
        self.state = state;
        self.lines.clear();
        Ok(number)
    }

    /// Somebody has looked at the fault.
    ///
    /// # Errors
    /// [`ChargePointError`].
    pub fn repair(&mut self, now: UnixMillis) -> Result<(), ChargePointError> {
        self.apply(Event::Repaired, now)?;
        self.forget()
    }

    /// Nobody is there any more: the entries of an offer that came to nothing go.
    fn forget(&mut self) -> Result<(), ChargePointError> {
        if !self.journal.entries()?.is_empty() {
            self.journal.finish(None, &[])?;
        }
        Ok(())
    }

    fn look_at_vehicle(&mut self) -> Option<Event> {
        let was_plugged = match &self.state {
            State::Enabled(enabled) => enabled.is_plugged,
            State::Charging(_) => true,
            _ => return None,
        };
        match self.hardware.vehicle.is_plugged() {
            Ok(is_plugged) if is_plugged == was_plugged => None,
            Ok(true) => Some(Event::Plugged),
            Ok(false) => Some(Event::Unplugged),
            Err(_) => Some(Event::Fault(Fault::VehicleSilent)),
        }
    }

    fn look_at_meter(&mut self, now: UnixMillis, prices: &dyn PriceSoFar) -> Option<Event> {
        if !matches!(self.state, State::Enabled(_) | State::Charging(_) | State::Stopping { .. }) {
            return None;
        }
        // A meter may miss a reading; one that misses them for long is found by the time that passes.
        let register = self.hardware.meter.register().ok()?;
        let Ok(current) = self.hardware.sensor.current() else {
            return Some(Event::Fault(Fault::SensorSilent));
        };
        let cost = match &self.state {
            State::Charging(charge) | State::Stopping { charge, .. } => {
                prices.price(&so_far(charge, register, now))
            }
            _ => None,
        };
        let ahead = match &self.state {
            State::Charging(charge) => one_more(charge, register, now)
                .and_then(|(register, at)| prices.price(&so_far(charge, register, at))),
            _ => None,
        };
        Some(Event::Metered { register, current, cost, ahead })
    }

    /// Takes an event. If the journal or the meter's key fails, the relay is opened: nobody would know what flowed.
    fn apply(&mut self, event: Event, now: UnixMillis) -> Result<Vec<Notice>, ChargePointError> {
        let result = self.decide_and_act(event, now);
        if matches!(result, Err(ChargePointError::Journal(_) | ChargePointError::Sign(_))) {
            // What else could be done if the relay fails as well, the fuse has to do.
            let _ = self.hardware.relay.switch(false);
        }
        result
    }

    /// Decides, writes it down if it changes anything, and acts.
    fn decide_and_act(&mut self, event: Event, now: UnixMillis) -> Result<Vec<Notice>, ChargePointError> {
        let mut notices = Vec::new();
        let mut events = VecDeque::from([event]);
        let mut relay_failed = false;
        while let Some(event) = events.pop_front() {
            let (state, effects) = handle(&self.settings, &self.state, &event, now)?;
            if state != self.state {
                self.journal.append(&Entry::Event { at: now, event })?;
                self.state = state;
            }
            for effect in effects {
                match effect {
                    Effect::Sign { page, clock, reading } => self.sign(page, &clock, reading)?,
                    Effect::Report(progress) => notices.push(Notice::Progress(progress)),
                    Effect::Ended(ended) => notices.push(Notice::Ended(ended)),
                    Effect::OfferCurrent(current) => {
                        if self.hardware.vehicle.offer(current).is_err() {
                            events.push_back(Event::Fault(Fault::VehicleSilent));
                        }
                    }
                    Effect::SwitchOn | Effect::SwitchOff => {
                        let on = effect == Effect::SwitchOn;
                        if self.hardware.relay.switch(on).is_err() && !relay_failed {
                            relay_failed = true;
                            events.push_back(Event::Fault(Fault::RelaySilent));
                        }
                    }
                }
            }
        }
        Ok(notices)
    }

    fn sign(
        &mut self,
        page: u64,
        clock: &LocalClock,
        reading: SignedReading,
    ) -> Result<(), ChargePointError> {
        let line = self.writer.sign(page, clock, &[reading])?;
        self.journal.append(&Entry::Signed { page, line: line.clone() })?;
        self.lines.push(line);
        Ok(())
    }
}

/// Register and time of the next reading, after as long a time as since the last one, if as much flows as ever did between two.
fn one_more(charge: &Charge, register: WattHours, now: UnixMillis) -> Option<(WattHours, UnixMillis)> {
    let flows = charge.flow_ahead(register)?;
    Some((register.checked_add(flows)?, now.checked_add(now.since(charge.last.at)?)?))
}

/// What a price is made of, as if the session ended with `register` now.
fn so_far(charge: &Charge, register: WattHours, now: UnixMillis) -> SoFar {
    let at = now.max(charge.last.at);
    let mut readings = charge.signed.clone();
    let register = register.max(charge.last.register);
    readings.push(SignedReading { at, clock: charge.clock, mark: Mark::End, register });
    SoFar { start: charge.begin().0, at, periods: periods_so_far(&readings) }
}
