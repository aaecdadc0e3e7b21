//! The bound on a lie, against every lie there is.

use super::dynamic::{arb_rule, knot, panel, rule, share};
use super::*;
use crate::agreement::DynamicRule;
use crate::forecast::{AttestedForecast, combine};
use crate::pricing::gain::{LargestGain, alone, on_panel};
use crate::pricing::true_up::leaves_band;
use proptest::prelude::*;

/// The rates at a load, at each time of use.
fn rates(rule: &DynamicRule, load_kw: u32) -> Vec<i64> {
    let factors = rule.time_of_use.iter().map(|w| w.bps.get()).chain([10_000]);
    let utilisation = u32::try_from(u64::from(load_kw) * 10_000 / u64::from(rule.capacity_kw)).unwrap();
    factors.map(|factor| rule.rate_at(factor, utilisation, None).unwrap().micros_per_kwh).collect()
}

/// The largest differences over all loads up to `most_kw`, creditor's and debtor's, by trying them all.
fn by_trying(rule: &DynamicRule, most_kw: u32) -> (i64, i64) {
    let (mut up, mut down) = (0, 0);
    for forecast in 0..=most_kw {
        let said = rates(rule, forecast);
        for actual in (0..=most_kw).filter(|actual| !leaves_band(rule.band_bps, forecast, *actual)) {
            for (said, really) in said.iter().zip(rates(rule, actual)) {
                (up, down) = (up.max(said - really), down.max(really - said));
            }
        }
    }
    (up, down)
}

fn micros(found: LargestGain) -> (i64, i64) {
    (found.creditor.micros_per_kwh, found.debtor.micros_per_kwh)
}

#[test]
fn the_largest_gain_of_the_studied_rule_by_hand() {
    // The steepest stretch, 8,500 to 10,000, rises from 1.8 to 2.5 times. A forecast of 10,000 where 9,500 would be true:
    // 2.5 times 0.12 in place of 2.2666 times. The other way 9,523 where 10,000 would be true: 2.2774 times.
    let mut rule = DynamicRule { time_of_use: Vec::new(), ..rule() };
    let found = alone(&rule, None).unwrap();
    assert_eq!(micros(found), (300_000 - 271_992, 300_000 - 273_288));
    // In proportion it is worst where the curve is still low: 7,901 where 7,505 would be true.
    assert_eq!(found.creditor.bps, Some(1_521), "180,060 over 156,300, rounded up");
    // Without a band every lie is found out, but for the basis point that a rate does not see.
    rule.band_bps = BasisPoints::ZERO;
    let found = alone(&rule, None).unwrap();
    assert!(found.creditor.micros_per_kwh <= 120_000 * 5 / 10_000, "{found:?}");
    // A level curve cannot be moved.
    let level = DynamicRule { knots: vec![knot(5_000, 700)], band_bps: BasisPoints::WHOLE, ..rule.clone() };
    assert_eq!(micros(alone(&level, None).unwrap()), (0, 0));
    // A rate that can be zero has no limit in proportion.
    let free = DynamicRule { knots: vec![knot(0, -10_000), knot(100, 0)], floor_micros: 0, ..rule.clone() };
    let found = alone(&DynamicRule { band_bps: BasisPoints::WHOLE, ..free }, None).unwrap();
    assert_eq!((found.creditor.bps, found.debtor.bps), (None, Some(10_000)));
    // The second curve needs its share, and scales the gain.
    let green = DynamicRule { renewable: vec![share(0, -5_000)], floor_micros: 0, ..super::dynamic::rule() };
    assert_eq!(alone(&green, None), Err(PriceError::NoRate));
    let whole = alone(&DynamicRule { floor_micros: 0, ..super::dynamic::rule() }, None).unwrap();
    let half = alone(&green, Some(0)).unwrap();
    assert!((half.creditor.micros_per_kwh * 2 - whole.creditor.micros_per_kwh).abs() <= 2);
}

#[test]
fn honest_forecasters_who_are_more_leave_a_liar_their_own_error() {
    let of_three = DynamicRule { forecasters: panel(3, 3), ..rule() };
    let band = alone(&of_three, None).unwrap();
    let outnumbered = on_panel(&of_three, None, 1, 100).unwrap();
    assert!(outnumbered.creditor.micros_per_kwh * 3 < band.creditor.micros_per_kwh);
    assert_eq!(on_panel(&of_three, None, 1, 9_000).unwrap(), band, "the band bounds honest errors, too");
    assert_eq!(on_panel(&of_three, None, 2, 100).unwrap(), band, "two of three decide");
    let of_two = DynamicRule { forecasters: panel(2, 2), ..rule() };
    assert_eq!(
        on_panel(&of_two, None, 1, 100).unwrap(),
        alone(&of_two, None).unwrap(),
        "half of two does, too"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn no_lie_gains_more_than_the_bound(
        rule in arb_rule(), capacity_kw in 20u32..200, band in 0u32..=10_000, scale in 1u32..8,
    ) {
        let mut rule = DynamicRule { capacity_kw, band_bps: BasisPoints::new(band), ..rule };
        rule.knots.iter_mut().for_each(|k| k.utilisation_bps = k.utilisation_bps / 8 * scale + k.utilisation_bps % 8);
        rule.knots.dedup_by_key(|k| k.utilisation_bps);
        prop_assume!(rule.check().is_ok());
        let last = rule.knots.last().unwrap().utilisation_bps;
        let most_kw = (last * capacity_kw / 10_000 + 2).min(500) * 2;
        let (creditor, debtor) = by_trying(&rule, most_kw);
        let found = micros(alone(&rule, None).unwrap());
        prop_assert!(found.0 >= creditor && found.1 >= debtor, "{found:?}, {creditor}, {debtor}");
    }

    /// Where a kilowatt is a basis point, the bound is what can be reached with a kilowatt more on either side.
    #[test]
    fn the_bound_is_reached(steps in prop::collection::vec((1u32..60, -10_000i32..=30_000), 1..6), band in 0u32..=10_000) {
        let mut at = 0;
        let knots: Vec<_> = steps.iter().map(|(run, surcharge)| { at += run; knot(at, *surcharge) }).collect();
        let rule = DynamicRule { knots, band_bps: BasisPoints::new(band), ..rule() };
        let found = micros(alone(&rule, None).unwrap());
        let (mut up, mut down) = (0, 0);
        let (band, last) = (u64::from(band), u64::from(at));
        for forecast in 0..=last {
            let from = forecast * (10_000 - band) / 10_000;
            let until = ((forecast + 1) * (10_000 + band)).div_ceil(10_000) - 1;
            let said = rates(&rule, u32::try_from(forecast).unwrap());
            for actual in from..=until {
                for (said, really) in said.iter().zip(rates(&rule, u32::try_from(actual).unwrap())) {
                    (up, down) = (up.max(said - really), down.max(really - said));
                }
            }
        }
        prop_assert_eq!(found, (up, down));
    }

    /// Two honest forecasters of three, and a liar who may say whatever it likes.
    #[test]
    fn no_liar_among_honest_ones_gains_more_than_the_bound(
        actual in 2_000u32..12_000, honest in (0u32..=400, 0u32..=400), signs in any::<(bool, bool)>(), lie in 0u32..30_000,
    ) {
        let rule = DynamicRule { forecasters: panel(3, 3), ..rule() };
        let near = |off: u32, up: bool| {
            let off = actual * off / 10_400;
            if up { actual + off } else { actual - off }
        };
        let loads = [near(honest.0, signs.0), near(honest.1, signs.1), lie];
        let said: Vec<_> = rule.forecasters.parties.iter().zip(loads).map(|(party, load_kw)| AttestedForecast {
            attester: *party, id: crate::codec::Digest::of(party.id().as_bytes()), since: UnixMillis::EPOCH,
            first_hour: 400_000, load_kw: vec![load_kw], renewable_bps: None,
        }).collect();
        let at = UnixMillis::from_utc_hour(400_000).unwrap();
        let median = combine(&rule, &said, at, 400_000..=400_000).unwrap().hour(400_000).unwrap().load_kw;
        for honest_kw in &loads[..2] {
            prop_assert!(!leaves_band(BasisPoints::new(400), *honest_kw, actual), "the test's honesty");
        }
        if !leaves_band(rule.band_bps, median, actual) {
            let bound = micros(on_panel(&rule, None, 1, 400).unwrap());
            for (said, really) in rates(&rule, median).into_iter().zip(rates(&rule, actual)) {
                prop_assert!(said - really <= bound.0 && really - said <= bound.1);
            }
        }
    }
}
