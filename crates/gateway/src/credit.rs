//! What a resolver's decision changes on paper: a credit on the operator's invoice to the home utility, and one on the
//! driver's bill. The record and its lines stay as they are.
//!
//! A credit has the id of its record with [`SUFFIX`], as OCPI has it: it leaves room for that. The driver is given back the
//! same part of its price as the home utility of the operator's, rounded as the home utility's rules round: what the operator
//! takes back of a charge, the driver does not pay either. Who gets what of a price by the agreement's shares does not change:
//! the ledger takes all that is given back from the operator.
//!
//! Source: OCPI 2.2.1 mod_cdrs, "CDR object", `id` and `credit_reference_id`.

use crate::billing::BillLine;
use crate::invoice::WholesaleLine;
use eroam_domain::cdr::CdrId;
use eroam_domain::money::{Price, Rounding};
use eroam_domain::pricing::{ItemisedPrice, LineRule, PriceLine, Quantity};
use eroam_domain::quantity::WattHours;
use eroam_domain::time::{CivilMonth, SettlementPeriod};

/// What is added to a record's id.
pub const SUFFIX: &str = "-C";

/// So much of an amount: `given_back` of `booked`, both in millionths and above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenBack {
    /// What the operator gives back.
    pub given_back: i64,
    /// What was booked, which is not less.
    pub booked: i64,
}

/// The id of a record's credit. `None` for an id that leaves no room, which no record has.
#[must_use]
pub fn credit_id(cdr: &CdrId) -> Option<CdrId> {
    CdrId::new(&format!("{cdr}{SUFFIX}")).ok()
}

impl GivenBack {
    /// The credit for an amount: rounded down, which is away from zero for what was paid. `None` on overflow and for parts that
    /// are none.
    fn of(self, amount: i64) -> Option<i64> {
        let Self { given_back, booked } = self;
        if given_back <= 0 || given_back > booked {
            return None;
        }
        let part = i128::from(amount).checked_mul(i128::from(given_back))?.checked_neg()?;
        i64::try_from(part.checked_div_euclid(i128::from(booked))?).ok()
    }

    fn of_price(self, price: Price) -> Option<Price> {
        Some(Price { excl_vat: self.of(price.excl_vat)?, incl_vat: self.of(price.incl_vat)? })
    }

    /// The operator's credit for a record's line, in the `period` in which the ledger books it. `None` on overflow.
    #[must_use]
    pub fn on_invoice(self, line: &WholesaleLine, period: SettlementPeriod) -> Option<WholesaleLine> {
        Some(WholesaleLine {
            period,
            cdr: credit_id(&line.cdr)?,
            energy: WattHours::ZERO,
            price: self.of_price(line.price)?,
            due: self.given_back.checked_neg()?,
            true_up: 0,
            others: Vec::new(),
            ..line.clone()
        })
    }

    /// The driver's credit for a charge, on the bill of `month`: a line for each rate of VAT, and one that rounds. `None` on
    /// overflow.
    #[must_use]
    pub fn on_bill(self, line: &BillLine, month: CivilMonth, rounding: Rounding) -> Option<BillLine> {
        let mut lines: Vec<PriceLine> = Vec::new();
        for of in &line.retail.lines {
            let same = lines.iter_mut().find(|known| known.vat == of.vat);
            match same {
                Some(known) => known.amount = known.amount.checked_add(of.amount)?,
                None => lines.push(PriceLine {
                    rule: LineRule::Wholesale,
                    period: None,
                    quantity: Quantity::Session,
                    unit_price_micros: None,
                    vat: of.vat,
                    amount: of.amount,
                }),
            }
        }
        let mut total = Price::ZERO;
        for line in &mut lines {
            line.amount = self.of_price(line.amount)?;
            total = total.checked_add(line.amount)?;
        }
        let rounded =
            Price { excl_vat: rounding.apply(total.excl_vat)?, incl_vat: rounding.apply(total.incl_vat)? };
        if rounded != total {
            lines.push(PriceLine {
                rule: LineRule::Rounding,
                period: None,
                quantity: Quantity::Session,
                unit_price_micros: None,
                vat: None,
                amount: rounded.checked_sub(total)?,
            });
        }
        lines.retain(|line| line.amount != Price::ZERO);
        let retail = ItemisedPrice { lines, total: rounded, ..line.retail.clone() };
        let wholesale = match line.wholesale {
            Some(price) => Some(self.of_price(price)?),
            None => None,
        };
        Some(BillLine {
            month,
            cdr: credit_id(&line.cdr)?,
            energy: WattHours::ZERO,
            wholesale,
            retail,
            ..line.clone()
        })
    }
}

impl WholesaleLine {
    /// Whether it gives back what a resolver decided.
    #[must_use]
    pub fn is_credit(&self) -> bool {
        self.due < 0 && self.cdr.as_str().ends_with(SUFFIX)
    }
}

impl BillLine {
    /// Whether it gives back what a resolver decided.
    #[must_use]
    pub fn is_credit(&self) -> bool {
        self.energy == WattHours::ZERO
            && self.retail.total.incl_vat < 0
            && self.cdr.as_str().ends_with(SUFFIX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_are_between_nothing_and_all(amount in 0..=i64::MAX, booked in 1..=i64::MAX, part in any::<u64>()) {
            let given_back = i64::try_from(part % booked.unsigned_abs()).unwrap() + 1;
            let credit = GivenBack { given_back, booked }.of(amount).unwrap();
            prop_assert!((-amount..=0).contains(&credit));
            // Less than a millionth more than the exact part.
            let exact = i128::from(amount) * i128::from(given_back);
            let difference = i128::from(-credit) * i128::from(booked) - exact;
            prop_assert!((0..i128::from(booked)).contains(&difference));
            if given_back == booked {
                prop_assert_eq!(credit, -amount);
            }
        }
    }

    #[test]
    fn what_is_no_part_gives_no_credit() {
        for (given_back, booked) in [(0, 10), (-1, 10), (11, 10), (1, 0), (0, 0)] {
            assert_eq!(GivenBack { given_back, booked }.of(100), None, "{given_back} of {booked}");
        }
    }

    #[test]
    fn a_credit_has_the_id_of_its_record_also_where_that_is_as_long_as_a_record_has_it() {
        let id = |length: usize| CdrId::new(&"x".repeat(length)).unwrap();
        assert_eq!(credit_id(&id(36)).unwrap().as_str().len(), 38);
        assert_eq!(credit_id(&id(38)), None);
    }
}
