//! A charging tariff with the meaning of OCPI 2.2.1.
//!
//! A tariff is a list of elements; each has price components and the restrictions under which they apply. For every
//! dimension the first element in the list that has a component for it and whose restrictions match is the one that
//! applies (OCPI 2.2.1 mod_tariffs 1.4.1). A dimension for which nothing matches costs nothing *only if* the tariff
//! prices some other dimension of the session; [`crate::pricing`] turns a session for which no element matches at
//! all into an error.
//!
//! Source: OCPI 2.2.1 mod_tariffs (TariffElement, PriceComponent, TariffRestrictions).

use crate::codec::ShortText;
use crate::ids::PartyId;
use crate::money::{Currency, Price};
use crate::quantity::{DurationMs, MilliAmperes, WattHours, Watts};
use crate::time::{CivilDate, TimeOfDay, UnixMillis, Weekdays};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// The greatest number of elements in a tariff (the largest real one seen has 311).
pub const ELEMENTS_MAX: usize = 512;
/// The greatest number of price components in an element: one for each dimension.
pub const COMPONENTS_MAX: usize = 4;

/// OCPI tariff id.
pub type TariffId = ShortText<36>;

/// What is priced.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Dimension {
    /// Energy, priced per kWh; step size in Wh.
    Energy,
    /// Time during which the vehicle charges, priced per hour; step size in seconds.
    Time,
    /// Time connected without charging, priced per hour; step size in seconds.
    ParkingTime,
    /// A fee, once per session.
    Flat,
}

impl Dimension {
    /// Every dimension, in the order in which a price lists them.
    pub const ALL: [Self; 4] = [Self::Energy, Self::Time, Self::ParkingTime, Self::Flat];
}

/// Value-added tax as millionths of the amount without tax (21 % is 210,000).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, Serialize)]
#[serde(transparent)]
pub struct VatRate(u32);

impl VatRate {
    /// No tax.
    pub const ZERO: Self = Self(0);

    /// A rate in millionths; `None` above 100 %.
    #[must_use]
    pub fn from_ppm(ppm: u32) -> Option<Self> {
        (ppm <= 1_000_000).then_some(Self(ppm))
    }

    /// In millionths.
    #[must_use]
    pub const fn ppm(self) -> u32 {
        self.0
    }

    /// The tax on `excl_vat` millionths, rounded down; `None` on overflow.
    #[must_use]
    pub fn tax_on(self, excl_vat: i64) -> Option<i64> {
        // Nearly always 64 bits are enough, and dividing 128 takes ten times as long.
        if let Some(product) = excl_vat.checked_mul(i64::from(self.0)) {
            return Some(product.div_euclid(1_000_000));
        }
        let tax = i128::from(excl_vat).checked_mul(i128::from(self.0))?.checked_div_euclid(1_000_000)?;
        i64::try_from(tax).ok()
    }
}

impl BorshDeserialize for VatRate {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        Self::from_ppm(u32::deserialize_reader(reader)?).ok_or_else(|| crate::codec::invalid("VAT rate"))
    }
}

impl<'de> Deserialize<'de> for VatRate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_ppm(<u32 as Deserialize>::deserialize(deserializer)?)
            .ok_or_else(|| serde::de::Error::custom("a VAT rate is at most 1000000 millionths"))
    }
}

/// The price of one dimension.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct PriceComponent {
    /// What is priced.
    pub dimension: Dimension,
    /// Millionths of the tariff's currency per kWh, per hour, or per session, without VAT.
    pub price_micros: i64,
    /// The VAT on it. `None` means that no VAT applies, which is not the same as a rate of zero on an invoice.
    pub vat: Option<VatRate>,
    /// Billed in blocks of so many Wh or seconds; 0 and 1 mean exact billing.
    pub step_size: u32,
}

/// Whether an element prices a reservation instead of charging.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReservationRestriction {
    /// Applies while a reservation lasts.
    Reservation,
    /// Applies when a reservation expires unused.
    ReservationExpires,
}

/// When an element applies. All that are given must hold; lower bounds are inclusive, upper bounds exclusive.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Restrictions {
    /// From this local time of day.
    pub start_time: Option<TimeOfDay>,
    /// Until this local time of day; not after `start_time` means past midnight.
    pub end_time: Option<TimeOfDay>,
    /// From this local date.
    pub start_date: Option<CivilDate>,
    /// Until this local date, exclusive.
    pub end_date: Option<CivilDate>,
    /// From this much energy in the session.
    pub min_energy: Option<WattHours>,
    /// Until this much energy in the session.
    pub max_energy: Option<WattHours>,
    /// While the current is at least this.
    pub min_current: Option<MilliAmperes>,
    /// While the current is below this.
    pub max_current: Option<MilliAmperes>,
    /// While the power is at least this.
    pub min_power: Option<Watts>,
    /// While the power is below this.
    pub max_power: Option<Watts>,
    /// From this long into the session.
    pub min_duration: Option<DurationMs>,
    /// Until this long into the session.
    pub max_duration: Option<DurationMs>,
    /// On these local days of the week.
    pub day_of_week: Option<Weekdays>,
    /// Prices a reservation, not charging.
    pub reservation: Option<ReservationRestriction>,
}

impl Restrictions {
    /// No restriction: the element always applies.
    pub const NONE: Self = Self {
        start_time: None,
        end_time: None,
        start_date: None,
        end_date: None,
        min_energy: None,
        max_energy: None,
        min_current: None,
        max_current: None,
        min_power: None,
        max_power: None,
        min_duration: None,
        max_duration: None,
        day_of_week: None,
        reservation: None,
    };
}

/// Price components that share restrictions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct TariffElement {
    /// One to four components, at most one per dimension.
    pub components: Vec<PriceComponent>,
    /// When they apply.
    pub restrictions: Restrictions,
}

impl TariffElement {
    /// The component for `dimension`, if the element has one.
    #[must_use]
    pub fn component(&self, dimension: Dimension) -> Option<&PriceComponent> {
        self.components.iter().find(|c| c.dimension == dimension)
    }
}

/// A lower or upper bound on the price of a session. `incl_vat` may be left out where the tariff has one VAT rate.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct PriceBound {
    /// Without VAT, millionths.
    pub excl_vat: i64,
    /// With VAT, millionths.
    pub incl_vat: Option<i64>,
}

/// A tariff of one operator. Checked by [`Tariff::new`]; a decoded one is checked again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, Serialize)]
pub struct Tariff {
    party: PartyId,
    id: TariffId,
    currency: Currency,
    elements: Vec<TariffElement>,
    min_price: Option<PriceBound>,
    max_price: Option<PriceBound>,
    valid_from: Option<UnixMillis>,
    valid_until: Option<UnixMillis>,
}

/// The parts of a tariff, as they come from a file, a message or a form.
#[derive(Clone, Debug, BorshDeserialize, Deserialize)]
pub struct TariffParts {
    /// The operator.
    pub party: PartyId,
    /// The operator's name for it.
    pub id: TariffId,
    /// The currency of all its prices.
    pub currency: Currency,
    /// Its elements, the first match wins.
    pub elements: Vec<TariffElement>,
    /// A session costs at least this.
    pub min_price: Option<PriceBound>,
    /// A session costs at most this.
    pub max_price: Option<PriceBound>,
    /// The first instant at which a session may start under it.
    pub valid_from: Option<UnixMillis>,
    /// The first instant at which a session may no longer start under it.
    pub valid_until: Option<UnixMillis>,
}

/// Why a tariff is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum TariffError {
    #[error(
        "tariff {id}: it has no elements, so it prices nothing: add one, for a free tariff with a price of 0"
    )]
    NoElements { id: TariffId },
    #[error("tariff {id}: {found} elements are more than {ELEMENTS_MAX}")]
    TooManyElements { id: TariffId, found: usize },
    #[error("tariff {id}, element {element}: it has no price components")]
    NoComponents { id: TariffId, element: usize },
    #[error("tariff {id}, element {element}: {dimension:?} is priced twice, keep one component for it")]
    DuplicateDimension { id: TariffId, element: usize, dimension: Dimension },
    #[error(
        "tariff {id}, element {element}: {field} leaves no room, the lower bound must be below the upper"
    )]
    EmptyRange { id: TariffId, element: usize, field: &'static str },
    #[error("tariff {id}: min_price is above max_price")]
    MinAboveMax { id: TariffId },
    #[error("tariff {id}: valid_from is not before valid_until")]
    NeverValid { id: TariffId },
    #[error(
        "tariff {id}: {bound} has no amount with VAT and the components have different VAT rates: give incl_vat"
    )]
    AmbiguousVat { id: TariffId, bound: &'static str },
    #[error("tariff {id}: {bound} must not be negative")]
    NegativeBound { id: TariffId, bound: &'static str },
    #[error(
        "tariff {id}: {bound} is {incl_vat} millionths with VAT, which is less than the {excl_vat} without: give incl_vat as \
         excl_vat and the VAT on it"
    )]
    BoundBelowItsNet { id: TariffId, bound: &'static str, excl_vat: i64, incl_vat: i64 },
}

impl Tariff {
    /// Checks the parts.
    ///
    /// # Errors
    /// [`TariffError`] names the element and the field.
    pub fn new(parts: TariffParts) -> Result<Self, TariffError> {
        let TariffParts { party, id, currency, elements, min_price, max_price, valid_from, valid_until } =
            parts;
        if elements.is_empty() {
            return Err(TariffError::NoElements { id });
        }
        if elements.len() > ELEMENTS_MAX {
            return Err(TariffError::TooManyElements { id, found: elements.len() });
        }
        for (index, element) in elements.iter().enumerate() {
            check_element(&id, index, element)?;
        }
        if let (Some(min), Some(max)) = (min_price, max_price)
            && min.excl_vat > max.excl_vat
        {
            return Err(TariffError::MinAboveMax { id });
        }
        if let (Some(from), Some(until)) = (valid_from, valid_until)
            && from >= until
        {
            return Err(TariffError::NeverValid { id });
        }
        let tariff = Self { party, id, currency, elements, min_price, max_price, valid_from, valid_until };
        for (bound, name) in [(tariff.min_price, "min_price"), (tariff.max_price, "max_price")] {
            let Some(bound) = bound else { continue };
            if bound.excl_vat < 0 || bound.incl_vat.is_some_and(|v| v < 0) {
                return Err(TariffError::NegativeBound { id: tariff.id, bound: name });
            }
            let excl_vat = bound.excl_vat;
            match bound.incl_vat {
                // A price that it bounded would be more without VAT than with it.
                Some(incl_vat) if incl_vat < excl_vat => {
                    return Err(TariffError::BoundBelowItsNet {
                        id: tariff.id,
                        bound: name,
                        excl_vat,
                        incl_vat,
                    });
                }
                None if tariff.common_vat().is_none() => {
                    return Err(TariffError::AmbiguousVat { id: tariff.id, bound: name });
                }
                Some(_) | None => {}
            }
        }
        Ok(tariff)
    }

    /// The operator whose tariff it is.
    #[must_use]
    pub const fn party(&self) -> PartyId {
        self.party
    }

    /// The operator's name for it.
    #[must_use]
    pub const fn id(&self) -> &TariffId {
        &self.id
    }

    /// The currency of its prices.
    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.currency
    }

    /// Its elements in order.
    #[must_use]
    pub fn elements(&self) -> &[TariffElement] {
        &self.elements
    }

    /// The least that a session costs, with VAT filled in.
    #[must_use]
    pub fn min_price(&self) -> Option<Price> {
        self.bound(self.min_price)
    }

    /// The most that a session costs, with VAT filled in.
    #[must_use]
    pub fn max_price(&self) -> Option<Price> {
        self.bound(self.max_price)
    }

    /// The least and the most that a session costs, as the tariff states them: for writing the tariff down.
    #[must_use]
    pub const fn stated_bounds(&self) -> (Option<PriceBound>, Option<PriceBound>) {
        (self.min_price, self.max_price)
    }

    /// The validity window; a session that starts at `start` may use the tariff.
    #[must_use]
    pub fn valid_at(&self, start: UnixMillis) -> bool {
        self.valid_from.is_none_or(|from| start >= from) && self.valid_until.is_none_or(|until| start < until)
    }

    /// From when it may be used.
    #[must_use]
    pub const fn valid_from(&self) -> Option<UnixMillis> {
        self.valid_from
    }

    /// Until when it may be used.
    #[must_use]
    pub const fn valid_until(&self) -> Option<UnixMillis> {
        self.valid_until
    }

    /// Whether some component gives money back, as tariffs do that follow a spot market: OCPI sets no lower bound for prices.
    #[must_use]
    pub fn has_negative_prices(&self) -> bool {
        self.elements
            .iter()
            .flat_map(|element| &element.components)
            .any(|component| component.price_micros < 0)
    }

    /// The VAT rate that all components share; a component without VAT counts as a rate of zero.
    pub(crate) fn common_vat(&self) -> Option<VatRate> {
        let mut rates =
            self.elements.iter().flat_map(|e| &e.components).map(|c| c.vat.unwrap_or(VatRate::ZERO));
        let first = rates.next()?;
        rates.all(|rate| rate == first).then_some(first)
    }

    fn bound(&self, bound: Option<PriceBound>) -> Option<Price> {
        let PriceBound { excl_vat, incl_vat } = bound?;
        let incl_vat = match incl_vat {
            Some(incl) => incl,
            None => excl_vat.checked_add(self.common_vat()?.tax_on(excl_vat)?)?,
        };
        Some(Price { excl_vat, incl_vat })
    }
}

fn check_element(id: &TariffId, index: usize, element: &TariffElement) -> Result<(), TariffError> {
    if element.components.is_empty() {
        return Err(TariffError::NoComponents { id: id.clone(), element: index });
    }
    for dimension in Dimension::ALL {
        if element.components.iter().filter(|c| c.dimension == dimension).count() > 1 {
            return Err(TariffError::DuplicateDimension { id: id.clone(), element: index, dimension });
        }
    }
    fn empty<T: PartialOrd>(low: Option<T>, high: Option<T>) -> bool {
        matches!((low, high), (Some(low), Some(high)) if low >= high)
    }
    let r = &element.restrictions;
    let ranges = [
        ("start_date..end_date", empty(r.start_date, r.end_date)),
        ("min_kwh..max_kwh", empty(r.min_energy, r.max_energy)),
        ("min_current..max_current", empty(r.min_current, r.max_current)),
        ("min_power..max_power", empty(r.min_power, r.max_power)),
        ("min_duration..max_duration", empty(r.min_duration, r.max_duration)),
        ("day_of_week", r.day_of_week.is_some_and(Weekdays::is_empty)),
    ];
    match ranges.iter().find(|(_, is_empty)| *is_empty) {
        Some((field, _)) => Err(TariffError::EmptyRange { id: id.clone(), element: index, field }),
        None => Ok(()),
    }
}

impl BorshDeserialize for Tariff {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let parts = TariffParts::deserialize_reader(reader)?;
        Self::new(parts).map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidData, e))
    }
}

impl<'de> Deserialize<'de> for Tariff {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(<TariffParts as Deserialize>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(dimension: Dimension) -> PriceComponent {
        PriceComponent { dimension, price_micros: 250_000, vat: VatRate::from_ppm(100_000), step_size: 1 }
    }

    fn parts() -> TariffParts {
        TariffParts {
            party: PartyId::new("PT", "GLP").unwrap(),
            id: TariffId::new("T1").unwrap(),
            currency: Currency::new("EUR").unwrap(),
            elements: vec![TariffElement {
                components: vec![component(Dimension::Energy)],
                restrictions: Restrictions::NONE,
            }],
            min_price: None,
            max_price: None,
            valid_from: None,
            valid_until: None,
        }
    }

    #[test]
    fn each_fault_is_named() {
        type Fault = (&'static str, fn(&mut TariffParts));
        let cases: [Fault; 12] = [
            ("it has no elements", |p| p.elements.clear()),
            ("513 elements", |p| p.elements = vec![p.elements[0].clone(); 513]),
            ("element 0: it has no price components", |p| p.elements[0].components.clear()),
            ("Energy is priced twice", |p| {
                let c = component(Dimension::Energy);
                p.elements[0].components.push(c);
            }),
            ("min_kwh..max_kwh leaves no room", |p| {
                p.elements[0].restrictions.min_energy = WattHours::from_wh(5);
                p.elements[0].restrictions.max_energy = WattHours::from_wh(5);
            }),
            ("day_of_week leaves no room", |p| {
                p.elements[0].restrictions.day_of_week = Some([].into_iter().collect());
            }),
            ("min_price is above max_price", |p| {
                p.min_price = Some(PriceBound { excl_vat: 2, incl_vat: None });
                p.max_price = Some(PriceBound { excl_vat: 1, incl_vat: None });
            }),
            ("valid_from is not before", |p| {
                p.valid_from = UnixMillis::new(5);
                p.valid_until = UnixMillis::new(5);
            }),
            ("give incl_vat", |p| {
                let mut c = component(Dimension::Time);
                c.vat = None;
                p.elements[0].components.push(c);
                p.min_price = Some(PriceBound { excl_vat: 2, incl_vat: None });
            }),
            ("must not be negative", |p| p.max_price = Some(PriceBound { excl_vat: -2, incl_vat: None })),
            ("min_price is 1 millionths with VAT, which is less than the 2 without", |p| {
                p.min_price = Some(PriceBound { excl_vat: 2, incl_vat: Some(1) });
            }),
            ("max_price is 0 millionths with VAT, which is less than the 1 without", |p| {
                p.max_price = Some(PriceBound { excl_vat: 1, incl_vat: Some(0) });
            }),
        ];
        for (message, spoil) in cases {
            let mut spoiled = parts();
            spoil(&mut spoiled);
            let error = Tariff::new(spoiled).expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn a_bound_without_vat_takes_the_common_rate() {
        let mut p = parts();
        p.min_price = Some(PriceBound { excl_vat: 500_000, incl_vat: None });
        let tariff = Tariff::new(p).unwrap();
        assert_eq!(tariff.min_price(), Some(Price { excl_vat: 500_000, incl_vat: 550_000 }));
    }

    #[test]
    fn canonical_bytes_are_checked_when_decoded() {
        let tariff = Tariff::new(parts()).unwrap();
        let bytes = crate::codec::to_bytes(&tariff);
        assert_eq!(crate::codec::from_bytes::<Tariff>(&bytes), Ok(tariff.clone()));
        let json = serde_json::to_string(&tariff).unwrap();
        assert_eq!(serde_json::from_str::<Tariff>(&json).unwrap(), tariff);
    }
}
