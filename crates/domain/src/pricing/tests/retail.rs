//! The driver's price.

use super::*;
use crate::agreement::VatTreatment;
use crate::money::Money;
use crate::retail::{
    Bound, EnergyBound, PaymentOption, RetailBase, RetailInputs, RetailRules, RetailTerms, RetailVersion,
    Tier, TimeOfUse, bound, most, price as retail_price,
};
use crate::time::Weekdays;
use proptest::prelude::*;

fn plain() -> RetailRules {
    RetailRules {
        base: RetailBase::PassThrough,
        time_of_use: Vec::new(),
        margin_bps: 0,
        roaming_fee_micros: 0,
        tier_bps: [0; 4],
        payment_bps: [0; 5],
        vat: VatRate::ZERO,
        rounding: exact(),
    }
}

/// Two hours: 10 kWh from 12:00 to 13:00 UTC and 10 kWh from 13:00 to 14:00, at 0.25 and 21 % VAT.
fn session() -> (Tariff, Vec<ChargingPeriod>, UnixMillis) {
    let tariff = tariff(&[element(NONE, &[with_vat(21, component(Dimension::Energy, 250_000, 1))])]);
    let hour = charging(mins(60), wh(10_000));
    let (periods, end) = sequence(&[hour, hour]);
    (tariff, periods, end)
}

fn driver(rules: &RetailRules, tier: Tier, payment: PaymentOption, roaming: bool) -> ItemisedPrice {
    let (tariff, periods, end) = session();
    let wholesale = price(&inputs(&tariff, &periods, end)).unwrap();
    let before = wholesale.clone();
    let clock = LocalClock::fixed(UtcOffset::new(3_600).unwrap());
    let inputs =
        RetailInputs { tier, payment, roaming, wholesale: &wholesale, periods: &periods, end, clock };
    let retail = retail_price(rules, &inputs).unwrap();
    adds_up(&retail);
    assert_eq!(wholesale, before, "the wholesale leg never changes");
    assert_eq!((retail.leg, wholesale.leg), (PriceLeg::Retail, PriceLeg::Wholesale));
    retail
}

fn standard(rules: &RetailRules) -> ItemisedPrice {
    driver(rules, Tier::Standard, PaymentOption::Postpaid, true)
}

fn amounts(priced: &ItemisedPrice) -> Vec<(LineRule, i64)> {
    priced.lines.iter().map(|line| (line.rule, line.amount.excl_vat)).collect()
}

#[test]
fn wholesale_is_passed_on_without_its_vat() {
    let priced = standard(&plain());
    assert_eq!(amounts(&priced), [(LineRule::Wholesale, 5_000_000)]);
    let priced = standard(&RetailRules { vat: VatRate::from_ppm(230_000).unwrap(), ..plain() });
    assert_eq!(priced.total, Price { excl_vat: 5_000_000, incl_vat: 6_150_000 });
}

#[test]
fn four_tiers_pay_four_prices_for_one_wholesale_price() {
    let rules = RetailRules { tier_bps: [0, -500, -1_000, -1_500], ..plain() };
    let prices = Tier::ALL.map(|tier| driver(&rules, tier, PaymentOption::Postpaid, true).total.excl_vat);
    assert_eq!(prices, [5_000_000, 4_750_000, 4_500_000, 4_250_000]);
    let gold = driver(&rules, Tier::Gold, PaymentOption::Postpaid, true);
    assert_eq!(amounts(&gold)[1], (LineRule::Tier { tier: Tier::Gold, bps: -500 }, -250_000));
}

#[test]
fn energy_in_a_window_costs_more_or_less() {
    let window = |start, end, bps, days| TimeOfUse {
        days,
        start: TimeOfDay::new(start, 0).unwrap(),
        end: TimeOfDay::new(end, 0).unwrap(),
        bps,
    };
    // At the station it is 13:00 when the session starts, and 14:00 when its second period does. It is Wednesday.
    let rules = RetailRules {
        time_of_use: vec![
            window(14, 18, 2_000, [Weekday::Sunday].into_iter().collect()),
            window(14, 18, 1_000, Weekdays::EVERY_DAY),
            window(14, 18, 9_000, Weekdays::EVERY_DAY),
        ],
        ..plain()
    };
    let priced = standard(&rules);
    let rule = LineRule::TimeOfUse { window: 1, bps: 1_000 };
    assert_eq!(amounts(&priced), [(LineRule::Wholesale, 5_000_000), (rule, 250_000)]);
    assert_eq!(priced.lines[1].period, Some(1));
    let night = RetailRules { time_of_use: vec![window(22, 14, -1_000, Weekdays::EVERY_DAY)], ..plain() };
    assert_eq!(standard(&night).total.excl_vat, 4_750_000);
}

#[test]
fn an_own_tariff_takes_the_place_of_the_wholesale_price() {
    let own = tariff(&[element(
        NONE,
        &[with_vat(21, component(Dimension::Energy, 400_000, 1)), component(Dimension::Flat, 1_000_000, 1)],
    )]);
    let rules = RetailRules {
        base: RetailBase::OwnTariff(Box::new(own)),
        margin_bps: 1_000,
        vat: VatRate::from_ppm(100_000).unwrap(),
        ..plain()
    };
    let priced = standard(&rules);
    // 20 kWh at 0.40 and 1.00, ten per cent on top, then the driver's VAT and not the tariff's.
    assert_eq!(priced.total, Price { excl_vat: 9_900_000, incl_vat: 10_890_000 });

    let later = Restrictions { start_date: "2022-01-01".parse().ok(), ..NONE };
    let unknown = tariff(&[element(later, &[component(Dimension::Energy, 1, 1)])]);
    let rules = RetailRules { base: RetailBase::OwnTariff(Box::new(unknown)), ..plain() };
    let (tariff, periods, end) = session();
    let wholesale = price(&inputs(&tariff, &periods, end)).unwrap();
    let (tier, payment, clock) = (Tier::Standard, PaymentOption::Postpaid, LocalClock::UTC);
    let inputs =
        RetailInputs { tier, payment, roaming: true, wholesale: &wholesale, periods: &periods, end, clock };
    assert_eq!(retail_price(&rules, &inputs), Err(PriceError::NoMatchingElement { tariff: "T".into() }));
}

#[test]
fn margin_fee_tier_and_payment_follow_in_this_order() {
    let rules = RetailRules {
        margin_bps: 1_000,
        roaming_fee_micros: 500_000,
        tier_bps: [0, -1_000, 0, 0],
        payment_bps: [0, 0, 0, 200, 0],
        rounding: Rounding::cents(),
        ..plain()
    };
    let away = driver(&rules, Tier::Gold, PaymentOption::CreditCard, true);
    assert_eq!(
        amounts(&away),
        [
            (LineRule::Wholesale, 5_000_000),
            (LineRule::Margin { bps: 1_000 }, 500_000),
            (LineRule::RoamingFee, 500_000),
            (LineRule::Tier { tier: Tier::Gold, bps: -1_000 }, -600_000),
            (LineRule::Payment { option: PaymentOption::CreditCard, bps: 200 }, 108_000),
            (LineRule::Rounding, 2_000),
        ]
    );
    assert_eq!(away.total.excl_vat, 5_510_000);
    // At home there is no fee for roaming, and a line of nothing is left out.
    let home = driver(&rules, Tier::Standard, PaymentOption::Prepaid, false);
    assert_eq!(
        amounts(&home),
        [(LineRule::Wholesale, 5_000_000), (LineRule::Margin { bps: 1_000 }, 500_000)]
    );
}

proptest! {
    #[test]
    fn lines_always_add_up(
        margin_bps in -10_000i32..100_000,
        roaming_fee_micros in 0i64..10_000_000,
        tier_bps in [-10_000i32..100_000, -10_000i32..100_000, -10_000i32..100_000, -10_000i32..100_000],
        payment_bps in [-10_000i32..100_000, -10_000i32..100_000, -10_000i32..100_000, -10_000i32..100_000, -10_000i32..100_000],
        window in (0u16..24, 0u16..24, -10_000i32..100_000),
        vat in 0u32..=1_000_000,
        unit in 1u32..1_000_000,
        own in any::<bool>(),
        roaming in any::<bool>(),
    ) {
        let (start, end, bps) = window;
        let days = Weekdays::EVERY_DAY;
        let (start, end) = (TimeOfDay::new(start, 0).unwrap(), TimeOfDay::new(end, 30).unwrap());
        let base = if own { RetailBase::OwnTariff(Box::new(session().0)) } else { RetailBase::PassThrough };
        let rules = RetailRules {
            base,
            time_of_use: vec![TimeOfUse { days, start, end, bps }],
            margin_bps,
            roaming_fee_micros,
            tier_bps,
            payment_bps,
            vat: VatRate::from_ppm(vat).unwrap(),
            rounding: Rounding::new(unit, RoundingMode::HalfUp).unwrap(),
        };
        prop_assert_eq!(rules.check(), Ok(()));
        for tier in Tier::ALL {
            for payment in PaymentOption::ALL {
                // `driver` checks the sum.
                let priced = driver(&rules, tier, payment, roaming);
                prop_assert!(priced.total.excl_vat >= 0);
                prop_assert_eq!(priced.total.excl_vat % i64::from(unit), 0);
                prop_assert_eq!(priced.total.incl_vat % i64::from(unit), 0);
            }
        }
    }
}

#[test]
fn a_retail_tariff_in_another_currency_gives_no_price() {
    let (tariff, periods, end) = session();
    let mut wholesale = price(&inputs(&tariff, &periods, end)).unwrap();
    wholesale.currency = Currency::new("NOK").unwrap();
    let rules = RetailRules { base: RetailBase::OwnTariff(Box::new(tariff.clone())), ..plain() };
    let retail_inputs = RetailInputs {
        tier: Tier::Standard,
        payment: PaymentOption::Postpaid,
        roaming: true,
        wholesale: &wholesale,
        periods: &periods,
        end,
        clock: LocalClock::UTC,
    };
    let refused = PriceError::OtherCurrency { tariff: tariff.currency(), session: wholesale.currency };
    assert_eq!(retail_price(&rules, &retail_inputs), Err(refused));
}

/// Prices at which an operator's tariff takes money or gives it back.
fn arb_price() -> impl Strategy<Value = i64> {
    prop_oneof![4 => 0i64..2_000_000, 1 => -2_000_000i64..0]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn no_driver_pays_more_than_the_most_that_a_limit_allows(
        prices in (arb_price(), arb_price(), arb_price()),
        bounds in (prop::option::of((0i64..1_000_000, 0i64..500_000)), prop::option::of((1_000_000i64..9_000_000, 0i64..500_000))),
        factor in 1u32..=20_000,
        tariff_vat in (0u32..=30, prop::option::of(0u32..=30)),
        above in 0i64..3_000_000,
        window_bps in prop_oneof![Just(0i32), -10_000i32..=20_000],
        margin_bps in -10_000i32..=20_000,
        roaming_fee_micros in 0i64..2_000_000,
        tier_bps in prop::array::uniform4(-10_000i32..=20_000),
        payment_bps in -10_000i32..=20_000,
        vat in 0u32..=1_000_000,
        units in (1u32..1_000_000, 1u32..1_000_000),
        modes in (0usize..3, 0usize..3),
        roaming in any::<bool>(),
    ) {
        let (_, periods, end) = session();
        let other_vat = tariff_vat.1.unwrap_or(tariff_vat.0);
        let components = [
            with_vat(tariff_vat.0, component(Dimension::Energy, prices.0, 1)),
            with_vat(other_vat, component(Dimension::Flat, prices.1, 1)),
            with_vat(tariff_vat.0, component(Dimension::Time, prices.2, 1)),
        ];
        let [min_price, max_price] = [bounds.0, bounds.1].map(|bound| {
            bound.map(|(excl_vat, more)| PriceBound { excl_vat, incl_vat: Some(excl_vat + more) })
        });
        let elements = [element(NONE, &components)];
        let tariff = Tariff::new(TariffParts { min_price, max_price, ..parts(&elements) }).unwrap();
        let rule = PriceRule::Static { factor: BasisPoints::new(factor) };
        let modes = [modes.0, modes.1].map(|at| [RoundingMode::Down, RoundingMode::HalfUp, RoundingMode::HalfEven][at]);
        let rounding = Rounding::new(units.0, modes[0]).unwrap();
        let by_agreement = PricingInputs { rule: &rule, rounding, ..inputs(&tariff, &periods, end) };
        let wholesale = price(&by_agreement).unwrap();
        let midnight = TimeOfDay::new(0, 0).unwrap();
        let all_day =
            TimeOfUse { days: Weekdays::EVERY_DAY, start: midnight, end: midnight, bps: window_bps };
        let rules = RetailRules {
            time_of_use: vec![all_day],
            margin_bps,
            roaming_fee_micros,
            tier_bps,
            payment_bps: [payment_bps; 5],
            vat: VatRate::from_ppm(vat).unwrap(),
            rounding: Rounding::new(units.1, modes[1]).unwrap(),
            ..plain()
        };
        let is_negative = prices.0 < 0 || prices.1 < 0 || prices.2 < 0;
        for tier in Tier::ALL {
            let (clock, payment) = (LocalClock::UTC, PaymentOption::Prepaid);
            let inputs =
                RetailInputs { tier, payment, roaming, wholesale: &wholesale, periods: &periods, end, clock };
            let pays = retail_price(&rules, &inputs).unwrap().total;
            for (treatment, due) in [
                (VatTreatment::ReverseCharge, wholesale.total.excl_vat),
                (VatTreatment::Charged, wholesale.total.incl_vat),
                (VatTreatment::Charged, wholesale.total.incl_vat + above),
            ] {
                let due_max = Money::new(due, wholesale.currency);
                let Some(bound) = bound(&tariff, &rule, rounding, treatment, due_max) else {
                    prop_assert!(is_negative && other_vat != tariff_vat.0, "nothing hides what is passed on");
                    continue;
                };
                match most(&rules, tier, payment, roaming, bound).unwrap() {
                    Some(most) => prop_assert!(
                        pays.incl_vat <= most.incl_vat && pays.excl_vat <= most.excl_vat,
                        "{:?} and not {:?}", pays, most
                    ),
                    None => prop_assert!(window_bps != 0 && (is_negative || max_price.is_some())),
                }
            }
        }
    }
}

#[test]
fn what_is_given_back_with_another_vat_than_is_taken_hides_what_is_passed_on() {
    let (_, periods, end) = session();
    // 20 kWh at 1.00 without VAT, and 10.00 back at 100 %: nothing is due, and 10.00 are passed on.
    let back = with_vat(100, component(Dimension::Flat, -10_000_000, 1));
    let elements = |energy_vat| {
        [element(NONE, &[with_vat(energy_vat, component(Dimension::Energy, 1_000_000, 1)), back])]
    };
    let exact = Rounding::new(1, RoundingMode::Down).unwrap();
    let rule = PriceRule::Static { factor: BasisPoints::WHOLE };
    let of = |energy_vat| {
        let tariff = tariff(&elements(energy_vat));
        let total =
            price(&PricingInputs { rounding: exact, ..inputs(&tariff, &periods, end) }).unwrap().total;
        let due_max = |micros| Money::new(micros, tariff.currency());
        let [charged, reverse] =
            [(VatTreatment::Charged, total.incl_vat), (VatTreatment::ReverseCharge, total.excl_vat)]
                .map(|(vat, due)| bound(&tariff, &rule, exact, vat, due_max(due)));
        (total, charged.map(|b| b.passed_on_max.micros), reverse.map(|b| b.passed_on_max.micros))
    };
    let (total, charged, reverse) = of(0);
    assert_eq!(
        (total, charged, reverse),
        (Price { excl_vat: 10_000_000, incl_vat: 0 }, None, Some(10_000_000))
    );
    // With one rate there is a bound.
    let (total, charged, reverse) = of(100);
    assert_eq!((total.excl_vat, total.incl_vat, reverse), (10_000_000, 20_000_000, Some(10_000_000)));
    assert!(charged.is_some_and(|most| (10_000_000..=20_010_000).contains(&most)), "{charged:?}");
}

#[test]
fn the_most_is_said_only_where_something_bounds_it() {
    let (tariff, periods, end) = session();
    let wholesale = price(&inputs(&tariff, &periods, end)).unwrap();
    let due_max = Money::new(wholesale.total.excl_vat, wholesale.currency);
    let within = |rules: &RetailRules, energy| {
        let bound = Bound { passed_on_max: due_max, energy };
        most(rules, Tier::Gold, PaymentOption::Prepaid, true, bound).unwrap().map(|price| price.excl_vat)
    };
    let (hidden, four) = (EnergyBound::Hidden, EnergyBound::AtMost(4_000_000));
    let rules = RetailRules { margin_bps: 1_000, roaming_fee_micros: 500_000, ..plain() };
    // 5.00 and a tenth and the fee.
    for energy in [hidden, four, EnergyBound::AnySign] {
        assert_eq!(within(&rules, energy), Some(6_000_000));
    }
    let window = |bps| {
        let (start, end) = (TimeOfDay::new(8, 0).unwrap(), TimeOfDay::new(20, 0).unwrap());
        vec![TimeOfUse { days: Weekdays::EVERY_DAY, start, end, bps }]
    };
    let cheaper = RetailRules { time_of_use: window(-500), ..rules.clone() };
    assert_eq!(within(&cheaper, hidden), Some(6_000_000));
    assert_eq!(within(&cheaper, EnergyBound::AnySign), None, "a discount on what is given back");
    let dearer = RetailRules { time_of_use: window(1_000), ..rules.clone() };
    assert_eq!((within(&dearer, hidden), within(&dearer, EnergyBound::AnySign)), (None, None));
    // A tenth of 4.00 more, and a tenth of that, and what is rounded up.
    assert_eq!(within(&dearer, four), Some(6_440_001));
    let own = RetailRules { base: RetailBase::OwnTariff(Box::new(tariff.clone())), ..rules };
    assert_eq!(within(&own, four), None);

    let exact = Rounding::new(1, RoundingMode::Down).unwrap();
    let energy = |tariff: &Tariff, factor| {
        let rule = PriceRule::Static { factor: BasisPoints::new(factor) };
        bound(tariff, &rule, exact, VatTreatment::Charged, due_max).unwrap().energy
    };
    assert_eq!(energy(&tariff, 10_000), EnergyBound::AtMost(5_000_003));
    assert_eq!(energy(&tariff, 5_000), EnergyBound::AtMost(10_000_005));
    let max_price = Some(PriceBound { excl_vat: 1_000_000, incl_vat: None });
    let elements = [element(NONE, &[component(Dimension::Energy, 250_000, 1)])];
    let capped = Tariff::new(TariffParts { max_price, ..parts(&elements) }).unwrap();
    assert_eq!((energy(&tariff, 0), energy(&capped, 10_000)), (hidden, hidden));
}

#[test]
fn the_rules_in_force_when_a_quote_is_made_are_the_newest_that_have_begun() {
    let at = |ms| UnixMillis::new(ms).unwrap();
    let version = |version, from| RetailVersion { version, from: at(from), rules: plain() };
    let terms =
        RetailTerms { payment: PaymentOption::Prepaid, versions: vec![version(3, 100), version(4, 200)] };
    let number = |ms| terms.in_force(at(ms)).map(|found| found.version);
    assert_eq!([number(99), number(100), number(199), number(200)], [None, Some(3), Some(3), Some(4)]);
}
