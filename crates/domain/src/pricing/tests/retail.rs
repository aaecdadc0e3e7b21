//! The driver's price.

use super::*;
use crate::retail::{
    PaymentOption, RetailBase, RetailInputs, RetailRules, Tier, TimeOfUse, price as retail_price,
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
