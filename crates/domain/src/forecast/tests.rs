//! Which forecast counts, and which load.

use super::*;
use crate::agreement::Panel;
use crate::cdr::Cdr;
use crate::pricing::tests::dynamic::{panel, rule};
use crate::pricing::tests::true_up::{record_of, terms};
use proptest::prelude::*;

/// 2021-05-05T12:00Z.
pub(super) const NOON: i64 = 450_060;

pub(super) fn instant(hour: i64, minute: i64) -> UnixMillis {
    UnixMillis::new(hour * 3_600_000 + minute * 60_000).unwrap()
}

/// What a party of the panel said: its place there, since when, and loads from `first` on.
pub(super) fn said(
    place: usize,
    number: u8,
    since: UnixMillis,
    first_hour: i64,
    load_kw: &[u32],
) -> AttestedForecast {
    AttestedForecast {
        attester: panel(5, 1).parties[place],
        id: Digest([number; 32]),
        since,
        first_hour,
        load_kw: load_kw.to_vec(),
        renewable_bps: None,
    }
}

pub(super) fn by(parties: usize, quorum: u8) -> DynamicRule {
    DynamicRule { forecasters: panel(parties, quorum), ..rule() }
}

fn loads(found: Option<&ForecastInput>) -> Vec<Option<u32>> {
    let found = found.map_or(&[][..], |f| &f.hours);
    found.iter().map(|hour| hour.map(|h| h.load_kw)).collect()
}

fn digest_of(numbers: &[u8]) -> Digest {
    set_digest(&numbers.iter().map(|n| Digest([*n; 32])).collect())
}

#[test]
fn the_median_of_those_in_force_counts_where_there_is_a_quorum() {
    let at = instant(NOON, 5);
    let all = [
        said(0, 1, instant(NOON, 0), NOON, &[100, 100, 100, 100]),
        said(1, 2, instant(NOON, 1), NOON, &[300, 305]),
        said(2, 3, instant(NOON, 2), NOON + 1, &[200]),
        said(4, 4, instant(NOON, 2), NOON, &[9_999; 4]),
    ];
    for (parties, quorum, want, of) in [
        // The fifth party is not asked.
        (3, 1, vec![Some(200), Some(200), Some(100), Some(100), None], &[1, 2, 3][..]),
        (3, 2, vec![Some(200), Some(200), None, None, None], &[1, 2, 3]),
        (3, 3, vec![None, Some(200), None, None, None], &[1, 2, 3]),
        (2, 2, vec![Some(200), Some(202), None, None, None], &[1, 2]),
        (1, 1, vec![Some(100), Some(100), Some(100), Some(100), None], &[1]),
    ] {
        let found = combine(&by(parties, quorum), &all, at, NOON..=NOON + 4);
        assert_eq!(loads(found.as_ref()), want, "{quorum} of {parties}");
        assert_eq!(found.unwrap().attestation, digest_of(of), "{quorum} of {parties}");
    }
    assert_eq!(combine(&by(4, 4), &all, at, NOON..=NOON + 4), None);
    assert_eq!(combine(&by(3, 1), &all, at, NOON + 4..=NOON + 9), None, "no hour is forecast");
}

#[test]
fn a_later_forecast_supersedes_an_earlier_one_hour_by_hour_from_its_time_on() {
    let all = [
        said(0, 1, instant(NOON, 0), NOON, &[100, 101, 102]),
        said(0, 2, instant(NOON, 10), NOON + 1, &[201]),
        // In the same block: the greater id counts, in whatever order they are given.
        said(0, 4, instant(NOON, 20), NOON + 2, &[402]),
        said(0, 3, instant(NOON, 20), NOON + 2, &[302]),
    ];
    for (minute, want, of) in [
        (0, [100, 101, 102], &[1][..]),
        (9, [100, 101, 102], &[1]),
        (10, [100, 201, 102], &[1, 2]),
        (20, [100, 201, 402], &[1, 2, 4]),
    ] {
        let found = combine(&by(1, 1), &all, instant(NOON, minute), NOON..=NOON + 2).unwrap();
        assert_eq!(loads(Some(&found)), want.map(Some), "minute {minute}");
        assert_eq!(found.attestation, digest_of(of), "minute {minute}");
    }
    assert_eq!(combine(&by(1, 1), &all, instant(NOON - 1, 59), NOON..=NOON + 2), None);
}

#[test]
fn where_the_share_counts_whoever_is_silent_about_it_has_not_spoken() {
    let green = DynamicRule {
        renewable: vec![crate::agreement::RenewableKnot { share_bps: 5_000, surcharge_bps: -100 }],
        ..by(2, 1)
    };
    let mut all = [
        said(0, 1, instant(NOON, 0), NOON, &[100, 100]),
        said(0, 2, instant(NOON, 1), NOON, &[200, 200]),
        said(1, 3, instant(NOON, 0), NOON, &[300, 300]),
    ];
    all[0].renewable_bps = Some(vec![1_000, 2_000]);
    let found = combine(&green, &all, instant(NOON, 5), NOON..=NOON + 1).unwrap();
    let said_of = |load_kw, share| Some(HourForecast { load_kw, renewable_bps: Some(share) });
    assert_eq!(found.hours, [said_of(100, 1_000), said_of(100, 2_000)]);
    all[2].renewable_bps = Some(vec![3_001, 3_001]);
    let found = combine(&green, &all, instant(NOON, 5), NOON..=NOON + 1).unwrap();
    assert_eq!(found.hours, [said_of(200, 2_000), said_of(200, 2_500)]);
    // A rule without the curve keeps no share.
    let found = combine(&by(2, 1), &all, instant(NOON, 5), NOON..=NOON).unwrap();
    assert_eq!(found.hours, [Some(HourForecast::of_load(250))]);
}

#[test]
fn the_hours_of_a_session_end_with_it_or_with_the_horizon() {
    let of = |start, end| session_hours(start, end, instant(NOON, 30));
    assert_eq!(of(instant(NOON, 30), instant(NOON + 2, 1)), NOON..=NOON + 2);
    assert_eq!(of(instant(NOON, 30), instant(NOON + 2, 0)), NOON..=NOON + 1);
    assert_eq!(of(instant(NOON, 0), instant(NOON, 0)), NOON..=NOON);
    assert_eq!(of(instant(NOON, 30), instant(NOON + 900, 0)), NOON..=NOON + AHEAD_HOURS_MAX);
    assert!(of(instant(NOON + 80, 0), instant(NOON + 90, 0)).is_empty());
}

/// A record of the three hours from noon on, accepted at noon.
pub(super) fn accepted_at_noon(attestation: Option<Digest>) -> (RoamingAgreement, Cdr) {
    let terms = terms(by(1, 1));
    let cdr = Cdr { attestation, ..record_of(&terms) };
    assert_eq!(cdr.accepted_at, instant(NOON, 0));
    (terms, cdr)
}

#[test]
fn a_record_follows_what_was_in_force_while_its_quote_can_have_been_held() {
    let all = [
        said(0, 1, instant(NOON - 2, 0), NOON, &[100; 3]),
        said(0, 2, instant(NOON - 1, 30), NOON, &[200; 3]),
        said(0, 3, instant(NOON - 1, 50), NOON, &[300; 3]),
        said(0, 4, instant(NOON, 0), NOON, &[400; 3]),
        said(0, 5, instant(NOON, 1), NOON, &[500; 3]),
    ];
    // A quote can have been made at 11:45 at the earliest, and 2 came before that.
    for (number, want) in [
        (1, Err(ForecastFault::NotInForce)),
        (2, Ok(Some(200))),
        (3, Ok(Some(300))),
        (4, Ok(Some(400))),
        (5, Err(ForecastFault::NotInForce)),
    ] {
        let (terms, cdr) = accepted_at_noon(Some(digest_of(&[number])));
        let found = of_record(&terms, &all, &cdr);
        assert_eq!(found.map(|f| f.map(|f| f.hours[0].unwrap().load_kw)), want, "{number}");
    }
    let (terms, none) = accepted_at_noon(None);
    assert_eq!(of_record(&terms, &all, &none), Err(ForecastFault::Omitted));
    assert_eq!(of_record(&terms, &all[2..], &none), Ok(None), "there was none before 11:50");
    assert_eq!(of_record::<AttestedForecast>(&terms, &[], &none), Ok(None));
    let set = accepted_at_noon(Some(digest_of(&[2, 3]))).1;
    assert_eq!(of_record(&terms, &all, &set), Err(ForecastFault::NotInForce), "not both at once");
}

#[test]
fn elsewhere_and_under_a_static_rule_there_is_no_forecast() {
    let all = [said(0, 1, instant(NOON - 2, 0), NOON, &[100; 3])];
    let named = Some(digest_of(&[1]));
    let (terms, cdr) = accepted_at_noon(named);
    assert!(of_record(&terms, &all, &cdr).unwrap().is_some());
    let elsewhere = crate::cdr::GridZone::new("PT-S").unwrap();
    let fixed = crate::agreement::PriceRule::Static { factor: crate::quantity::BasisPoints::WHOLE };
    let static_terms = RoamingAgreement { price_rule: fixed, ..terms.clone() };
    for (terms, zone) in [(&terms, &elsewhere), (&static_terms, &cdr.zone)] {
        let with = |attestation| Cdr { zone: zone.clone(), attestation, ..cdr.clone() };
        assert_eq!(of_record(terms, &all, &with(named)), Err(ForecastFault::Unexpected));
        assert_eq!(of_record(terms, &all, &with(None)), Ok(None));
    }
}

#[test]
fn the_load_counts_when_nobody_can_change_it_any_more() {
    use ActualLoad::{Awaited, Known, NeverKnown};
    let parties = panel(5, 1).parties;
    let says = |loads: &[u32]| parties.iter().copied().zip(loads.iter().copied()).collect::<Vec<_>>();
    let of = |count: usize, quorum| Actuals::Median(Panel { parties: parties[..count].to_vec(), quorum });
    let independent = Actuals::Independent { attester: parties[0] };
    for (actuals, loads, too_late, want) in [
        (&independent, &[700][..], false, Known(700)),
        (&independent, &[], false, Awaited),
        (&independent, &[], true, NeverKnown),
        (&of(3, 2), &[700, 900], false, Awaited),
        (&of(3, 2), &[700, 900], true, Known(700)),
        (&of(3, 2), &[700, 900, 800], false, Known(800)),
        (&of(3, 2), &[700], true, NeverKnown),
        // Two that differ: what both see counts, of a forecast of 500.
        (&of(2, 2), &[600, 900], false, Known(600)),
        (&of(2, 2), &[300, 400], false, Known(400)),
        (&of(2, 2), &[300, 900], false, Known(500)),
        (&of(4, 4), &[0, 600, 700, 9_999], false, Known(600)),
    ] {
        assert_eq!(actual_load(actuals, &says(loads), too_late, 500), want, "{actuals:?} {loads:?}");
    }
    // Whoever is not asked is not heard.
    assert_eq!(actual_load(&independent, &[(parties[1], 700)], false, 500), Awaited);
}

proptest! {
    #[test]
    fn a_strict_minority_moves_the_median_no_further_than_the_others_are_apart(
        honest in prop::collection::vec(0u32..1_000_000, 3..6), lies in prop::collection::vec(any::<u32>(), 0..3),
    ) {
        prop_assume!(lies.len() < honest.len());
        let found = median([honest.clone(), lies].concat()).unwrap();
        let (least, most) = (*honest.iter().min().unwrap(), *honest.iter().max().unwrap());
        prop_assert!((least..=most).contains(&found));
    }

    #[test]
    fn the_order_of_what_was_said_does_not_matter(
        all in prop::collection::vec((0usize..4, 0u8..20, 0i64..40, 0i64..6, prop::collection::vec(0u32..1_000, 1..4)), 0..12),
        keys in prop::collection::vec(any::<u32>(), 12), minute in 0i64..45,
    ) {
        let all: Vec<_> = all.iter().map(|(place, number, minute, first, loads)| {
            said(*place, *number, instant(NOON, *minute), NOON + first, loads)
        }).collect();
        // An id stands for one attestation.
        prop_assume!(all.iter().map(|s| s.id).collect::<BTreeSet<_>>().len() == all.len());
        let mut other: Vec<_> = keys.iter().zip(all.clone()).collect();
        other.sort_by_key(|(key, _)| **key);
        let other: Vec<_> = other.into_iter().map(|(_, said)| said).collect();
        let of = |all: &[AttestedForecast]| combine(&by(4, 2), all, instant(NOON, minute), NOON..=NOON + 8);
        prop_assert_eq!(of(&all), of(&other));
    }
}
