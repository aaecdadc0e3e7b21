//! The thresholds of the anomaly rules as an organisation writes them down: units in the names, what is left out is the
//! default, what cannot be meant is refused.
//!
//! Why bounds: a tolerance of 1000 % would look like a rule and be none, and one of nothing would contest every honest record
//! whose clock runs a second fast. Whoever wants a rule off says so where that is possible (`0` for the numbers of records).

use super::AnomalyRules;
use eroam_domain::quantity::{BasisPoints, DurationMs, WattHours};
use serde::{Deserialize, Serialize};

/// What a configuration says; [`AnomalyConfig::rules`] checks it. Every key may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnomalyConfig {
    /// How far above a rating a power may be, in basis points.
    pub power_tolerance_bps: Option<u32>,
    /// How much longer energy may have flowed than a record says, in seconds.
    pub time_tolerance_s: Option<u32>,
    /// So many earlier records of an EVSE say what it can give; 0 never asks them.
    pub ceiling_records_min: Option<u32>,
    /// The most that an EVSE gave says what it can give only from this part of its rating on, in basis points.
    pub ceiling_of_rating_min_bps: Option<u32>,
    /// How far above the most that an EVSE gave before a mean power may be, in basis points.
    pub ceiling_margin_bps: Option<u32>,
    /// Two records may share so much time, in seconds.
    pub overlap_tolerance_s: Option<u32>,
    /// A record below this energy is no replay for having the consumption of another, in watt-hours.
    pub replay_energy_min_wh: Option<u32>,
    /// How far above an attested second meter a record may be, in basis points.
    pub second_meter_tolerance_bps: Option<u32>,
    /// How far above the vehicle's counter a record may be, in basis points.
    pub vehicle_tolerance_bps: Option<u32>,
    /// What a record may be above any second meter in any case, in watt-hours.
    pub second_meter_floor_wh: Option<u32>,
    /// So many newest records make a pattern.
    pub pattern_records: Option<u32>,
    /// With fewer there is no pattern; 0 never looks for one.
    pub pattern_records_min: Option<u32>,
    /// A change is sudden from so many median deviations on.
    pub pattern_deviations: Option<u32>,
    /// A deviation counts as at least so much of the median, in basis points.
    pub pattern_deviation_min_bps: Option<u32>,
    /// Whether a sudden change of a single record is contested, too, and not only noticed.
    pub contest_sudden_change: Option<bool>,
    /// So many records of an EVSE one after another are a lasting change of its pattern, which is contested; 0 never looks
    /// for one.
    pub change_records: Option<u32>,
    /// In so many of all pairs of one of them and one from before, the newer one must be above, in basis points.
    pub change_share_bps: Option<u32>,
    /// Above means by more than so much, in basis points.
    pub change_margin_bps: Option<u32>,
}

/// Why a configuration is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {found} is not between {least} and {most}: {why}")]
pub struct AnomalyConfigFault {
    /// Which key.
    pub key: &'static str,
    /// What it says.
    pub found: u32,
    /// The least that can be meant.
    pub least: u32,
    /// The most that can be meant.
    pub most: u32,
    /// What would be wrong with it.
    pub why: &'static str,
}

/// The value of a key within its bounds, or the default where it is left out.
fn within(
    key: &'static str,
    found: Option<u32>,
    default: u32,
    (least, most): (u32, u32),
    why: &'static str,
) -> Result<u32, AnomalyConfigFault> {
    let found = found.unwrap_or(default);
    if (least..=most).contains(&found) {
        Ok(found)
    } else {
        Err(AnomalyConfigFault { key, found, least, most, why })
    }
}

impl AnomalyConfig {
    /// The rules that it means, [`AnomalyRules::DEFAULT`] where it says nothing.
    ///
    /// # Errors
    /// The first [`AnomalyConfigFault`], in the order of the keys.
    pub fn rules(&self) -> Result<AnomalyRules, AnomalyConfigFault> {
        const TOO_WIDE: &str = "a wider one finds nothing";
        let default = AnomalyRules::DEFAULT;
        let bps = |key, found: Option<u32>, default: BasisPoints, bounds, why| {
            within(key, found, default.get(), bounds, why).map(BasisPoints::new)
        };
        let seconds = |key, found: Option<u32>, default: DurationMs| {
            let default = u32::try_from(default.millis() / 1_000).unwrap_or(u32::MAX);
            let seconds = within(key, found, default, (0, 3_600), "more than an hour is no tolerance")?;
            Ok(DurationMs::from_millis(u64::from(seconds).saturating_mul(1_000)))
        };
        let energy = |key, found: Option<u32>, default: WattHours, most| {
            let default = u32::try_from(default.milli_wh() / 1_000).unwrap_or(u32::MAX);
            let wh = within(key, found, default, (0, most), "more is a whole charge")?;
            Ok(WattHours::from_milli_wh(u64::from(wh).saturating_mul(1_000)))
        };
        let pattern_why = "with more the pattern is that of another season";
        let pattern_records = within(
            "pattern_records",
            self.pattern_records,
            default.pattern_records,
            (1, 10_000),
            pattern_why,
        );
        Ok(AnomalyRules {
            power_tolerance: bps(
                "power_tolerance_bps",
                self.power_tolerance_bps,
                default.power_tolerance,
                (0, 5_000),
                TOO_WIDE,
            )?,
            time_tolerance: seconds("time_tolerance_s", self.time_tolerance_s, default.time_tolerance)?,
            ceiling_records_min: within(
                "ceiling_records_min",
                self.ceiling_records_min,
                default.ceiling_records_min,
                (0, 10_000),
                "no EVSE has as many records in the time that is remembered; 0 turns it off",
            )?,
            ceiling_of_rating_min: bps(
                "ceiling_of_rating_min_bps",
                self.ceiling_of_rating_min_bps,
                default.ceiling_of_rating_min,
                (1, 10_000),
                "it is a part of the rating",
            )?,
            ceiling_margin: bps(
                "ceiling_margin_bps",
                self.ceiling_margin_bps,
                default.ceiling_margin,
                (0, 5_000),
                TOO_WIDE,
            )?,
            overlap_tolerance: seconds(
                "overlap_tolerance_s",
                self.overlap_tolerance_s,
                default.overlap_tolerance,
            )?,
            replay_energy_min: energy(
                "replay_energy_min_wh",
                self.replay_energy_min_wh,
                default.replay_energy_min,
                100_000,
            )?,
            second_meter_tolerance: bps(
                "second_meter_tolerance_bps",
                self.second_meter_tolerance_bps,
                default.second_meter_tolerance,
                (0, 5_000),
                TOO_WIDE,
            )?,
            vehicle_tolerance: bps(
                "vehicle_tolerance_bps",
                self.vehicle_tolerance_bps,
                default.vehicle_tolerance,
                (0, 10_000),
                TOO_WIDE,
            )?,
            second_meter_floor: energy(
                "second_meter_floor_wh",
                self.second_meter_floor_wh,
                default.second_meter_floor,
                10_000,
            )?,
            pattern_records: pattern_records?,
            pattern_records_min: within(
                "pattern_records_min",
                self.pattern_records_min,
                default.pattern_records_min,
                (0, self.pattern_records.unwrap_or(default.pattern_records)),
                "a pattern has no more records than pattern_records; 0 turns it off",
            )?,
            pattern_deviations: within(
                "pattern_deviations",
                self.pattern_deviations,
                default.pattern_deviations,
                (1, 1_000),
                "0 would find every record, and more finds none",
            )?,
            pattern_deviation_min: bps(
                "pattern_deviation_min_bps",
                self.pattern_deviation_min_bps,
                default.pattern_deviation_min,
                (1, 10_000),
                "0 would find the second record of an EVSE that always gives the same, and more finds none",
            )?,
            contest_sudden_change: self.contest_sudden_change.unwrap_or(default.contest_sudden_change),
            change_records: match self.change_records {
                Some(0) => 0,
                records => within(
                    "change_records",
                    records,
                    default.change_records,
                    (3, 64),
                    "fewer are chance, more would be usual before they are found; 0 turns it off",
                )?,
            },
            change_share: bps(
                "change_share_bps",
                self.change_share_bps,
                default.change_share,
                (7_500, 10_000),
                "less is chance, and more finds nothing",
            )?,
            change_margin: bps(
                "change_margin_bps",
                self.change_margin_bps,
                default.change_margin,
                (0, 10_000),
                TOO_WIDE,
            )?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_the_default_and_what_is_said_counts() {
        assert_eq!(AnomalyConfig::default().rules(), Ok(AnomalyRules::DEFAULT));
        let said = AnomalyConfig {
            power_tolerance_bps: Some(2_000),
            time_tolerance_s: Some(90),
            second_meter_floor_wh: Some(0),
            pattern_records_min: Some(0),
            contest_sudden_change: Some(true),
            change_records: Some(0),
            ..AnomalyConfig::default()
        };
        let want = AnomalyRules {
            power_tolerance: BasisPoints::new(2_000),
            time_tolerance: DurationMs::from_millis(90_000),
            second_meter_floor: WattHours::ZERO,
            pattern_records_min: 0,
            contest_sudden_change: true,
            change_records: 0,
            ..AnomalyRules::DEFAULT
        };
        assert_eq!(said.rules(), Ok(want));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        let config = AnomalyConfig::default();
        for (wrong, key) in [
            (AnomalyConfig { power_tolerance_bps: Some(5_001), ..config }, "power_tolerance_bps"),
            (AnomalyConfig { time_tolerance_s: Some(3_601), ..config }, "time_tolerance_s"),
            (AnomalyConfig { ceiling_records_min: Some(10_001), ..config }, "ceiling_records_min"),
            (AnomalyConfig { ceiling_of_rating_min_bps: Some(0), ..config }, "ceiling_of_rating_min_bps"),
            (
                AnomalyConfig { ceiling_of_rating_min_bps: Some(10_001), ..config },
                "ceiling_of_rating_min_bps",
            ),
            (AnomalyConfig { ceiling_margin_bps: Some(5_001), ..config }, "ceiling_margin_bps"),
            (AnomalyConfig { overlap_tolerance_s: Some(86_400), ..config }, "overlap_tolerance_s"),
            (AnomalyConfig { replay_energy_min_wh: Some(100_001), ..config }, "replay_energy_min_wh"),
            (
                AnomalyConfig { second_meter_tolerance_bps: Some(5_001), ..config },
                "second_meter_tolerance_bps",
            ),
            (AnomalyConfig { vehicle_tolerance_bps: Some(10_001), ..config }, "vehicle_tolerance_bps"),
            (AnomalyConfig { second_meter_floor_wh: Some(10_001), ..config }, "second_meter_floor_wh"),
            (AnomalyConfig { pattern_records: Some(0), ..config }, "pattern_records"),
            (AnomalyConfig { pattern_records: Some(10), ..config }, "pattern_records_min"),
            (AnomalyConfig { pattern_records_min: Some(65), ..config }, "pattern_records_min"),
            (AnomalyConfig { pattern_deviations: Some(0), ..config }, "pattern_deviations"),
            (AnomalyConfig { pattern_deviation_min_bps: Some(0), ..config }, "pattern_deviation_min_bps"),
            (AnomalyConfig { change_records: Some(2), ..config }, "change_records"),
            (AnomalyConfig { change_records: Some(65), ..config }, "change_records"),
            (AnomalyConfig { change_share_bps: Some(7_499), ..config }, "change_share_bps"),
            (AnomalyConfig { change_share_bps: Some(10_001), ..config }, "change_share_bps"),
            (AnomalyConfig { change_margin_bps: Some(10_001), ..config }, "change_margin_bps"),
        ] {
            let refused = wrong.rules().unwrap_err();
            assert_eq!(refused.key, key);
            assert!(refused.to_string().starts_with(&format!("{key} = ")), "{refused}");
        }
    }
}
