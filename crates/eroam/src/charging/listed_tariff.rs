//! The tariff behind a listed station: as its operator lists it, in OCPI's form, and as the ledger has it.

use eroam_domain::ids::PartyId;
use eroam_domain::tariff::{Tariff, TariffId};
use eroam_domain::time::UnixMillis;
use eroam_gateway::gateway::TARIFFS_AHEAD_MAX;
use eroam_ledger::query;
use eroam_ledger::state::{StateError, StateKey, StateView, read};
use eroam_wire::ocpi::tariff::{tariff_from_json, tariff_to_json};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A tariff that is written and read as OCPI 2.2.1 has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTariff {
    /// The tariff.
    pub tariff: Tariff,
    /// When this version was published.
    pub last_updated: UnixMillis,
}

/// The version of an operator's tariff under which a charge may start at `at`, as a ledger has it; the newest one may be for
/// later, and is then passed over as the operator's gateway does.
///
/// # Errors
/// [`StateError`].
pub fn tariff_in_force(
    ledger: &(impl StateView + ?Sized),
    operator: PartyId,
    id: &TariffId,
    at: UnixMillis,
) -> Result<Option<(u32, Tariff)>, StateError> {
    let Some((latest, tariff)) = query::latest_tariff(ledger, operator, id)? else { return Ok(None) };
    let mut found = Some((latest, tariff)).filter(|(_, tariff)| tariff.valid_at(at));
    for version in (1..latest).rev().take(TARIFFS_AHEAD_MAX) {
        if found.is_some() {
            break;
        }
        let earlier: Option<Tariff> = read(ledger, &StateKey::Tariff(operator, id.clone(), version))?;
        found = earlier.filter(|tariff| tariff.valid_at(at)).map(|tariff| (version, tariff));
    }
    Ok(found)
}

impl ListedTariff {
    /// [`tariff_in_force`], with when it was published.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn in_force(
        ledger: &(impl StateView + ?Sized),
        operator: PartyId,
        id: &TariffId,
        at: UnixMillis,
    ) -> Result<Option<Self>, StateError> {
        let Some((version, tariff)) = tariff_in_force(ledger, operator, id, at)? else { return Ok(None) };
        let published = StateKey::TariffPublished(operator, id.clone(), version);
        let last_updated = read(ledger, &published)?.unwrap_or(UnixMillis::EPOCH);
        Ok(Some(Self { tariff, last_updated }))
    }
}

impl Serialize for ListedTariff {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = tariff_to_json(&self.tariff, self.last_updated).map_err(serde::ser::Error::custom)?;
        // As it was written, so that no price passes through a float.
        RawValue::from_string(text).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ListedTariff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        // The owner stands in a tariff of this version; one that names none is nobody's.
        let nobody = PartyId::new("ZZ", "ZZZ").map_err(serde::de::Error::custom)?;
        let read = tariff_from_json(text.get(), nobody).map_err(serde::de::Error::custom)?;
        Ok(Self { tariff: read.tariff, last_updated: read.last_updated.unwrap_or(UnixMillis::EPOCH) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eroam_domain::money::Currency;
    use eroam_domain::tariff::{
        Dimension, PriceComponent, Restrictions, TariffElement, TariffParts, VatRate,
    };
    use eroam_ledger::state::{MemoryState, Overlay};

    fn at(ms: i64) -> UnixMillis {
        UnixMillis::new(ms).unwrap()
    }

    fn operator() -> PartyId {
        "PT-GLP".parse().unwrap()
    }

    fn id() -> TariffId {
        "AC".parse().unwrap()
    }

    fn tariff(price_micros: i64, valid_from: i64) -> Tariff {
        let vat = VatRate::from_ppm(230_000);
        let priced = PriceComponent { dimension: Dimension::Energy, price_micros, vat, step_size: 1 };
        Tariff::new(TariffParts {
            party: operator(),
            id: id(),
            currency: Currency::new("EUR").unwrap(),
            elements: vec![TariffElement { components: vec![priced], restrictions: Restrictions::NONE }],
            min_price: None,
            max_price: None,
            valid_from: Some(at(valid_from)),
            valid_until: None,
        })
        .unwrap()
    }

    /// Versions that are valid from 0, 1000, 2000, .. s, published at 1, 2, 3, ..
    fn ledger(versions: u32) -> MemoryState {
        let mut state = MemoryState::default();
        let mut overlay = Overlay::new(&state);
        overlay.write(&StateKey::TariffHead(operator(), id()), &versions);
        for version in 1..=versions {
            let n = i64::from(version);
            let key = StateKey::Tariff(operator(), id(), version);
            overlay.write(&key, &tariff(100_000 * n, (n - 1) * 1_000_000));
            overlay.write(&StateKey::TariffPublished(operator(), id(), version), &at(n));
        }
        let writes = overlay.into_writes();
        state.apply(writes);
        state
    }

    #[test]
    fn what_is_published_ahead_of_its_time_is_passed_over() {
        let in_force = |versions, time| {
            let found = ListedTariff::in_force(&ledger(versions), operator(), &id(), at(time)).unwrap();
            found.map(|found| (found.tariff, found.last_updated))
        };
        assert_eq!(in_force(3, 2_000_000), Some((tariff(300_000, 2_000_000), at(3))));
        assert_eq!(in_force(3, 1_999_999), Some((tariff(200_000, 1_000_000), at(2))));
        assert_eq!(in_force(1, 5), Some((tariff(100_000, 0), at(1))));
        let none = ListedTariff::in_force(&MemoryState::default(), operator(), &id(), at(5)).unwrap();
        assert_eq!(none, None);
        // No operator publishes so many ahead; so many keys nobody looks at.
        assert_eq!(in_force(u32::try_from(TARIFFS_AHEAD_MAX).unwrap() + 2, 5), None);
    }

    #[test]
    fn a_listed_tariff_is_ocpi_and_comes_back_exactly() {
        let listed = ListedTariff { tariff: tariff(350_123, 0), last_updated: at(1_000) };
        let text = serde_json::to_string(&listed).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["country_code"], &value["id"]), (&"PT".into(), &"AC".into()));
        assert!(text.contains("0.350123") && text.contains("\"vat\":23"), "{text}");
        assert_eq!(serde_json::from_str::<ListedTariff>(&text).unwrap(), listed);
        for wrong in ["5", "{}", &text.replace("\"ENERGY\"", "\"WIND\"")] {
            assert!(serde_json::from_str::<ListedTariff>(wrong).is_err(), "{wrong}");
        }
    }
}
