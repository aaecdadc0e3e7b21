//! Sessions as hours of stations.

use super::Quantity;
use crate::hour::UtcHour;
use eroam_domain::quantity::WattHours;
use eroam_domain::time::UnixMillis;
use std::collections::BTreeMap;

/// The most values that are kept: hours times stations. Ten thousand stations for a year.
pub const VALUES_MAX: usize = 100_000_000;

const HOUR_MS: i64 = 3_600_000;

/// What is taken from a real session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StationSession {
    /// Where.
    pub station: String,
    /// Plugged in.
    pub start: UnixMillis,
    /// Energy stopped flowing; it is taken to have flowed evenly until then.
    pub charging_end: UnixMillis,
    /// Unplugged.
    pub end: UnixMillis,
    /// How much.
    pub energy: WattHours,
}

/// Why sessions do not give hours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum DemandError {
    #[error("there is no session: a demand cannot be learned from nothing")]
    NoSession,
    #[error(
        "the sessions at `{station}` from {start} on end before they start: correct their times, or leave them out"
    )]
    Times { station: String, start: UnixMillis },
    #[error(
        "{stations} stations over {hours} hours are more than {VALUES_MAX} values: give fewer stations, or a shorter time"
    )]
    TooMuch { stations: usize, hours: i64 },
}

/// The hours of one station, from the one of its first session on.
#[derive(Clone, Debug, PartialEq)]
pub struct StationHours {
    first: UtcHour,
    sessions: usize,
    /// `[hour]`, kilowatt-hours.
    energy_kwh: Vec<f64>,
    /// `[hour]`, mean number of vehicles plugged in.
    plugged: Vec<f64>,
}

impl StationHours {
    /// How many sessions it had.
    #[must_use]
    pub const fn sessions(&self) -> usize {
        self.sessions
    }
}

/// The hours of all stations. Before its first session a station is taken not to be there; after its last it is, until
/// the last hour of all.
#[derive(Clone, Debug, PartialEq)]
pub struct DemandHistory {
    first: UtcHour,
    end: UtcHour,
    stations: BTreeMap<String, StationHours>,
}

impl DemandHistory {
    /// Spreads sessions over their hours.
    ///
    /// # Errors
    /// [`DemandError`].
    pub fn of(sessions: &[StationSession]) -> Result<Self, DemandError> {
        let mut opened: BTreeMap<&str, UtcHour> = BTreeMap::new();
        let (mut first, mut end) = (None::<UtcHour>, None::<UtcHour>);
        for session in sessions {
            let ordered = session.start <= session.charging_end && session.charging_end <= session.end;
            if !ordered {
                let station = session.station.clone();
                return Err(DemandError::Times { station, start: session.start });
            }
            let (from, to) = (UtcHour::of(session.start), UtcHour::of(session.end));
            let opened = opened.entry(&session.station).or_insert(from);
            *opened = from.min(*opened);
            first = Some(first.map_or(from, |first| first.min(from)));
            end = Some(end.map_or(to, |end| end.max(to)));
        }
        let (Some(first), Some(last)) = (first, end) else { return Err(DemandError::NoSession) };
        let end = last.plus(1).unwrap_or(last);
        let hours = end.since(first);
        let values = usize::try_from(hours).ok().and_then(|hours| hours.checked_mul(opened.len()));
        if values.is_none_or(|values| values > VALUES_MAX) {
            return Err(DemandError::TooMuch { stations: opened.len(), hours });
        }
        let mut history = Self { first, end, stations: BTreeMap::new() };
        for (name, opened) in opened {
            let hours = usize::try_from(end.since(opened)).unwrap_or(0);
            let station = StationHours {
                first: opened,
                sessions: 0,
                energy_kwh: vec![0.0; hours],
                plugged: vec![0.0; hours],
            };
            history.stations.insert(name.to_owned(), station);
        }
        // Sums of floats depend on their order, and the order of a file means nothing.
        let mut ordered: Vec<&StationSession> = sessions.iter().collect();
        ordered.sort_by_key(|s| (s.start, s.end, s.charging_end, s.energy));
        for session in ordered {
            if let Some(station) = history.stations.get_mut(&session.station) {
                station.add(session);
            }
        }
        Ok(history)
    }

    /// The hour of the first session.
    #[must_use]
    pub const fn first(&self) -> UtcHour {
        self.first
    }

    /// The hour after the last.
    #[must_use]
    pub const fn end(&self) -> UtcHour {
        self.end
    }

    /// A station by its name.
    #[must_use]
    pub fn station(&self, name: &str) -> Option<&StationHours> {
        self.stations.get(name)
    }

    /// The stations by name.
    pub fn stations(&self) -> impl Iterator<Item = (&str, &StationHours)> {
        self.stations.iter().map(|(name, station)| (name.as_str(), station))
    }

    /// The hours of a station within a span, the end exclusive, each with its value.
    pub fn hours<'h>(
        &self,
        station: &'h StationHours,
        quantity: Quantity,
        from: UtcHour,
        until: UtcHour,
    ) -> impl Iterator<Item = (UtcHour, f64)> + 'h {
        let values = station.values(quantity);
        let index = |hour: UtcHour| usize::try_from(hour.since(station.first)).unwrap_or(0).min(values.len());
        let (from, until) = (index(from), index(until));
        let span = values.get(from..until.max(from)).unwrap_or(&[]);
        (from..).zip(span).filter_map(|(at, value)| Some((station.first.plus(at as i64)?, *value)))
    }
}

impl StationHours {
    fn values(&self, quantity: Quantity) -> &[f64] {
        match quantity {
            Quantity::EnergyKwh => &self.energy_kwh,
            Quantity::Plugged => &self.plugged,
        }
    }

    /// The value of an hour; `None` before its first session and after the last hour of all.
    pub(super) fn at(&self, quantity: Quantity, hour: UtcHour) -> Option<f64> {
        self.values(quantity).get(usize::try_from(hour.since(self.first)).ok()?).copied()
    }

    fn add(&mut self, session: &StationSession) {
        self.sessions += 1;
        let first = self.first;
        // Exact below 2^53 thousandths of a watt-hour, which is more than any station gives in a lifetime.
        let kwh = session.energy.milli_wh() as f64 / 1e6;
        let charging = session.charging_end.get() - session.start.get();
        if charging == 0 {
            // No time is stated: all of it in the hour of arrival.
            let at = usize::try_from(UtcHour::of(session.start).since(first)).ok();
            if let Some(slot) = at.and_then(|at| self.energy_kwh.get_mut(at)) {
                *slot += kwh;
            }
        } else {
            spread(&mut self.energy_kwh, first, session.start, session.charging_end, kwh / charging as f64);
        }
        spread(&mut self.plugged, first, session.start, session.end, 1.0 / HOUR_MS as f64);
    }
}

/// Adds `each_ms` for every millisecond of a span to the hours that it touches.
fn spread(values: &mut [f64], first: UtcHour, from: UnixMillis, to: UnixMillis, each_ms: f64) {
    let mut at = from.get();
    while at < to.get() {
        let hour = at.div_euclid(HOUR_MS);
        let until = ((hour + 1) * HOUR_MS).min(to.get());
        let slot = usize::try_from(hour - first.get()).ok().and_then(|index| values.get_mut(index));
        if let Some(slot) = slot {
            *slot += (until - at) as f64 * each_ms;
        }
        at = until;
    }
}
