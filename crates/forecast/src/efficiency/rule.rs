//! The rule that the study prices with.

use eroam_domain::agreement::{Actuals, DynamicRule, Knot, Panel, RateWindow};
use eroam_domain::cdr::GridZone;
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::BasisPoints;
use eroam_domain::time::{TimeOfDay, Weekdays};

/// Utilisation and surcharge, both in basis points.
const KNOTS: [(u32, i32); 5] =
    [(4_500, -2_000), (6_000, 0), (7_500, 3_000), (8_500, 8_000), (10_000, 15_000)];

/// The published rule for a capacity: 0.12 per kWh between 0.06 and 0.40; an afternoon of working days, 14 to 20 h,
/// costs a quarter more and a night, 22 to 6 h, 15 % less; trued up where the load leaves the forecast by more than 3 %.
/// `None` without a capacity. The windows' hours of the night and the 3 % are chosen here.
#[must_use]
pub fn study_rule(capacity_kw: u32) -> Option<DynamicRule> {
    let window = |days, start, end, bps| {
        let (start, end) = (TimeOfDay::new(start, 0)?, TimeOfDay::new(end, 0)?);
        Some(RateWindow { days, start, end, bps: BasisPoints::new(bps) })
    };
    let afternoon = window(Weekdays::WORKING_DAYS, 14, 20, 12_500)?;
    let night = window(Weekdays::EVERY_DAY, 22, 6, 8_500)?;
    // Whose word counts is no question of a study: it knows the load.
    let operator = PartyId::new("XX", "GRD").ok()?;
    let knot = |(utilisation_bps, surcharge_bps)| Knot { utilisation_bps, surcharge_bps };
    let rule = DynamicRule {
        fallback: BasisPoints::WHOLE,
        base_micros_per_kwh: 120_000,
        time_of_use: vec![afternoon, night],
        capacity_kw,
        knots: KNOTS.map(knot).to_vec(),
        floor_micros: 60_000,
        cap_micros: 400_000,
        band_bps: BasisPoints::new(300),
        vat: None,
        zone: GridZone::new("study").ok()?,
        forecasters: Panel { parties: vec![operator], quorum: 1 },
        actuals: Actuals::Independent { attester: operator },
        true_up_cap_bps: BasisPoints::WHOLE,
        renewable: Vec::new(),
    };
    rule.check().is_ok().then_some(rule)
}
