//! From signed readings to what is billed: charging periods and the digest of the readings.
//!
//! Periods follow from the signed readings alone, so that whoever has the session's OCMF text and the meter's key makes the
//! same record from it as the station and its operator did.

use eroam_domain::cdr::{ChargingPeriod, Range};
use eroam_domain::codec::Digest;
use eroam_domain::quantity::{DurationMs, Watts};
use eroam_domain::time::UnixMillis;
use eroam_wire::ocmf::{MeteredSession, Sample, SignedReading, Span, spans};

/// A period for each stretch between two readings.
#[must_use]
pub fn periods(session: &MeteredSession) -> Vec<ChargingPeriod> {
    session.spans().iter().map(period).collect()
}

/// The periods of a session up to its last reading, which need not be signed yet.
#[must_use]
pub fn periods_so_far(readings: &[SignedReading]) -> Vec<ChargingPeriod> {
    let samples: Vec<Sample> = readings.iter().copied().map(Sample::from).collect();
    spans(&samples).iter().map(period).collect()
}

/// A stretch is charging or parking as a whole. Its power is the mean: a meter signs no other.
fn period(span: &Span) -> ChargingPeriod {
    let (charging, parking) =
        if span.is_charging { (span.duration, DurationMs::ZERO) } else { (DurationMs::ZERO, span.duration) };
    let power = Watts::mean(span.energy, span.duration).map(|mean| Range { min: mean, max: mean });
    ChargingPeriod {
        start: span.start,
        energy: span.energy,
        charging,
        parking,
        reservation: DurationMs::ZERO,
        power,
        current: None,
    }
}

/// One record a line, each with its end of line: the session's OCMF text.
#[must_use]
pub fn text(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

/// What stands on the ledger for the readings: SHA-256 of the session's OCMF text.
#[must_use]
pub fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// What a price so far is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoFar {
    /// When the session began.
    pub start: UnixMillis,
    /// Up to when.
    pub at: UnixMillis,
    /// What was delivered when.
    pub periods: Vec<ChargingPeriod>,
}

/// Prices a session that still runs; the host knows the quote, the tariff and the agreement.
pub trait PriceSoFar {
    /// In millionths of the quote's currency; `None` if it cannot be computed, which ends the charge.
    fn price(&self, so_far: &SoFar) -> Option<i64>;
}

impl<F: Fn(&SoFar) -> Option<i64>> PriceSoFar for F {
    fn price(&self, so_far: &SoFar) -> Option<i64> {
        self(so_far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eroam_domain::quantity::WattHours;
    use eroam_wire::ocmf::{ClockState, Mark};

    fn reading(second: i64, mark: Mark, milli_wh: u64) -> SignedReading {
        SignedReading {
            at: UnixMillis::new(second * 1_000).unwrap(),
            clock: ClockState::Synchronised,
            mark,
            register: WattHours::from_milli_wh(milli_wh),
        }
    }

    #[test]
    fn pauses_are_parking_and_power_is_the_mean() {
        let periods = periods_so_far(&[
            reading(0, Mark::Begin, 5_000),
            reading(900, Mark::Suspended, 2_505_000),
            reading(1_800, Mark::Charging, 2_505_000),
            reading(5_400, Mark::End, 13_505_000),
        ]);
        let minutes =
            |period: &ChargingPeriod| (period.charging.millis() / 60_000, period.parking.millis() / 60_000);
        assert_eq!(periods.iter().map(minutes).collect::<Vec<_>>(), [(15, 0), (0, 15), (60, 0)]);
        let watts: Vec<u64> = periods.iter().map(|p| p.power.unwrap().max.get()).collect();
        assert_eq!(watts, [10_000, 0, 11_000]);
        assert_eq!(periods_so_far(&[reading(0, Mark::Begin, 0)]), []);
    }

    #[test]
    fn the_text_ends_each_record_and_the_digest_is_over_all_of_it() {
        let text = text(&["a".to_owned(), "b".to_owned()]);
        assert_eq!(text, "a\nb\n");
        assert_eq!(digest(&text), Digest::of(b"a\nb\n"));
    }
}
