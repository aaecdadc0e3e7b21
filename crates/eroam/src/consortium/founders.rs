//! The consortium of `demo` and `replay`: four utilities, each with customers and stations of its own, an agreement
//! in each direction between any two, and the rules that each has for its customers. The organisations are invented.

use eroam_domain::agreement::{
    AgreedCost, Limits, PriceRule, RoamingAgreement, Shares, Terms, VatTreatment, WINDOW_MAX,
};
use eroam_domain::cdr::GridZone;
use eroam_domain::codec::ShortText;
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Currency, Money, Rounding, RoundingMode};
use eroam_domain::quantity::{BasisPoints, DurationMs, WattHours, Watts};
use eroam_domain::retail::{RetailBase, RetailRules, TimeOfUse};
use eroam_domain::tariff::{
    Dimension, PriceBound, PriceComponent, Restrictions, Tariff, TariffElement, TariffId, TariffParts,
    VatRate,
};
use eroam_domain::time::{PeriodKind, TimeOfDay, UnixMillis, Weekdays};
use eroam_gateway::gateway::Policy;
use eroam_gateway::rules::Rules;
use eroam_ledger::agreement::{AgreementRecord, AgreementTx, agreement_id, terms_digest};
use eroam_ledger::genesis::{Consensus, Genesis, GenesisMember, Parameters};
use eroam_ledger::membership::Roles;
use eroam_ledger::settlement::SettlementTx;
use eroam_ledger::state::{StateError, StateKey, StateView, read};
use eroam_ledger::tariff::TariffTx;
use eroam_ledger::tx::{PublicKey, Tx};

/// So many treasurers attest a deposit or a payout.
pub const TREASURERS_REQUIRED: u8 = 2;
/// So long after the end of a month it is netted.
pub const CLOSE_GRACE: DurationMs = DurationMs::from_millis(3 * 86_400_000);
/// How often the agreements are settled.
pub const PERIOD: PeriodKind = PeriodKind::Month;

/// A founding organisation.
#[derive(Clone, Debug)]
pub struct Founder {
    /// Its party id.
    pub party: PartyId,
    /// Its name.
    pub name: &'static str,
    /// Its roles.
    pub roles: Roles,
    /// The city of its stations, for addresses.
    pub city: &'static str,
    /// ISO 3166-1 alpha-3, as OCPI locations have it.
    pub country_alpha3: &'static str,
    /// Latitude and longitude of the city, as OCPI writes them.
    pub coordinates: (&'static str, &'static str),
    /// VAT on energy, in millionths.
    vat_ppm: u32,
    /// Prices in millionths: a kWh by day, a kWh by night, an hour of parking after the third, a fast kWh, a fast
    /// hour, a start.
    prices: [i64; 6],
}

/// The currency of the consortium.
#[must_use]
#[allow(clippy::expect_used, reason = "three capital letters")]
pub fn currency() -> Currency {
    Currency::new("EUR").expect("three capital letters")
}

#[allow(clippy::expect_used, reason = "constants of this file, tested below")]
fn party(text: &str) -> PartyId {
    text.parse().expect("a party id")
}

/// Reads a constant of this file.
#[allow(clippy::expect_used, reason = "constants of this file, tested below")]
fn text<const N: usize>(text: &str) -> ShortText<N> {
    ShortText::new(text).expect("short printable text")
}

/// The four organisations.
#[must_use]
pub fn founders() -> Vec<Founder> {
    let everything = Roles::EMSP.with(Roles::CPO).with(Roles::TREASURER).with(Roles::RESOLVER);
    vec![
        Founder {
            party: party("DE-RHN"),
            name: "Rheinland Strom",
            roles: everything,
            city: "Koblenz",
            country_alpha3: "DEU",
            coordinates: ("50.353500", "7.578800"),
            vat_ppm: 190_000,
            prices: [420_000, 330_000, 3_000_000, 590_000, 0, 0],
        },
        Founder {
            party: party("ES-SLV"),
            name: "Sol Levante",
            roles: everything,
            city: "Valencia",
            country_alpha3: "ESP",
            coordinates: ("39.469900", "-0.376300"),
            vat_ppm: 210_000,
            prices: [350_000, 220_000, 1_800_000, 490_000, 1_200_000, 0],
        },
        Founder {
            party: party("NO-FJL"),
            name: "Fjell Kraftlag",
            roles: everything,
            city: "Trondheim",
            country_alpha3: "NOR",
            coordinates: ("63.430500", "10.395100"),
            vat_ppm: 250_000,
            prices: [260_000, 190_000, 2_400_000, 440_000, 0, 500_000],
        },
        Founder {
            party: party("PT-LUZ"),
            name: "Luz do Atlantico",
            roles: everything,
            city: "Lisboa",
            country_alpha3: "PRT",
            coordinates: ("38.722300", "-9.139300"),
            vat_ppm: 230_000,
            prices: [380_000, 240_000, 2_000_000, 520_000, 0, 350_000],
        },
    ]
}

/// The genesis of these organisations with these keys.
#[must_use]
pub fn genesis(founders: &[Founder], consensus: Consensus, key: impl Fn(PartyId) -> PublicKey) -> Genesis {
    Genesis {
        name: text("eroam demonstration"),
        parameters: Parameters { treasurers_required: TREASURERS_REQUIRED, close_grace: CLOSE_GRACE },
        members: founders
            .iter()
            .map(|f| GenesisMember { party: f.party, name: text(f.name), roles: f.roles, key: key(f.party) })
            .collect(),
        consensus,
        imported: None,
    }
}

/// The patience of every organisation.
#[must_use]
pub const fn policy() -> Policy {
    Policy {
        quote_held_for: DurationMs::from_millis(5 * 60_000),
        cache_for: DurationMs::from_millis(30 * 86_400_000),
        patience: DurationMs::from_millis(24 * 3_600_000),
        envelope_valid_for: DurationMs::from_millis(86_400_000),
    }
}

/// The kinds of station, by the tariff they use.
pub const TARIFFS: [&str; 3] = ["AC-DAY-NIGHT", "AC-FLAT", "DC-FAST"];

impl Founder {
    /// The tariff of a name in [`TARIFFS`].
    #[must_use]
    #[allow(clippy::expect_used, reason = "constants of this file, tested below")]
    pub fn tariff(&self, id: &str) -> Tariff {
        let [day, night, parking, fast_energy, fast_hour, start] = self.prices;
        let vat = VatRate::from_ppm(self.vat_ppm);
        let component =
            |dimension, price_micros, step_size| PriceComponent { dimension, price_micros, vat, step_size };
        let always = |components| TariffElement { components, restrictions: Restrictions::NONE };
        let mut elements = match id {
            "AC-DAY-NIGHT" => {
                let by_day = Restrictions {
                    start_time: TimeOfDay::new(7, 0),
                    end_time: TimeOfDay::new(22, 0),
                    day_of_week: Some(Weekdays::WORKING_DAYS),
                    ..Restrictions::NONE
                };
                let after_three_hours =
                    Restrictions { min_duration: DurationMs::from_secs(3 * 3_600), ..by_day };
                vec![
                    TariffElement {
                        components: vec![component(Dimension::Energy, day, 1)],
                        restrictions: by_day,
                    },
                    TariffElement {
                        components: vec![component(Dimension::ParkingTime, parking, 60)],
                        restrictions: after_three_hours,
                    },
                    always(vec![component(Dimension::Energy, night, 1)]),
                ]
            }
            "AC-FLAT" => vec![always(vec![component(Dimension::Energy, day, 1)])],
            _ => {
                let mut components = vec![component(Dimension::Energy, fast_energy, 100)];
                if fast_hour > 0 {
                    components.push(component(Dimension::Time, fast_hour, 60));
                }
                vec![always(components)]
            }
        };
        if start > 0 {
            elements.push(always(vec![component(Dimension::Flat, start, 1)]));
        }
        Tariff::new(TariffParts {
            party: self.party,
            id: text(id),
            currency: currency(),
            elements,
            min_price: None,
            max_price: Some(PriceBound { excl_vat: 60_000_000, incl_vat: None }),
            valid_from: None,
            valid_until: None,
        })
        .expect("the founders' tariffs are sound")
    }

    /// The grid zone of a station, by its number.
    #[must_use]
    pub fn zone(&self, number: u64) -> GridZone {
        text(&format!("{}-{}", self.party.country(), number % 3 + 1))
    }

    /// The power of a station that uses a tariff.
    #[must_use]
    pub fn power(tariff: &TariffId) -> Watts {
        Watts::new(if tariff.as_str() == "DC-FAST" { 50_000 } else { 11_000 })
    }

    /// The rules for its own customers.
    ///
    /// Every utility gives gold, platinum and diamond customers 5, 10 and 15 % off.
    #[must_use]
    #[allow(clippy::expect_used, reason = "constants of this file, tested below")]
    pub fn retail(&self) -> RetailRules {
        let vat = VatRate::from_ppm(self.vat_ppm).expect("below 100 %");
        let window = |start, end, bps| TimeOfUse {
            days: Weekdays::WORKING_DAYS,
            start: TimeOfDay::new(start, 0).expect("an hour"),
            end: TimeOfDay::new(end, 0).expect("an hour"),
            bps,
        };
        let (base, time_of_use, margin_bps, roaming_fee_micros) = match self.party.id() {
            "RHN" => (RetailBase::PassThrough, vec![window(17, 20, 500)], 600, 250_000),
            "SLV" => (RetailBase::PassThrough, vec![window(14, 20, 1_000), window(0, 6, -1_000)], 300, 0),
            "FJL" => (RetailBase::OwnTariff(Box::new(self.tariff("AC-FLAT"))), Vec::new(), 0, 400_000),
            _ => (RetailBase::PassThrough, Vec::new(), 450, 150_000),
        };
        RetailRules {
            base,
            time_of_use,
            margin_bps,
            roaming_fee_micros,
            tier_bps: [0, -500, -1_000, -1_500],
            payment_bps: [0, -100, 0, 150, 0],
            vat,
            rounding: Rounding::cents(),
        }
    }

    /// Puts its rules in force from the beginning of time.
    #[allow(clippy::expect_used, reason = "constants of this file, tested below")]
    pub fn set_rules(&self, rules: &mut Rules) {
        *rules = Rules { home: eroam_gateway::rules::HomeRules::new([0, 1, 2, 3]), ..Rules::default() };
        rules.home.update(UnixMillis::EPOCH, self.retail()).expect("the founders' rules are sound");
    }
}

/// The terms under which customers of `emsp` charge at stations of `cpo`. Sol Levante buys its energy from Rheinland
/// Strom, which is paid for it first.
#[must_use]
#[allow(clippy::expect_used, reason = "constants of this file, tested below")]
pub fn terms(founders: &[Founder], emsp: PartyId, cpo: PartyId) -> RoamingAgreement {
    let resolver = founders
        .iter()
        .map(|f| f.party)
        .find(|p| *p != emsp && *p != cpo)
        .expect("there are more than two founders");
    let supplied = cpo == party("ES-SLV");
    let costs = AgreedCost { party: party("DE-RHN"), per_kwh_micros: 90_000, per_session_micros: 0 };
    RoamingAgreement {
        emsp,
        cpo,
        price_rule: PriceRule::Static { factor: BasisPoints::new(9_700) },
        shares: Shares { costs: if supplied { vec![costs] } else { Vec::new() }, surplus: Vec::new() },
        limits: Limits {
            energy_max: WattHours::from_wh(1_000_000).expect("a megawatt-hour"),
            duration_max: WINDOW_MAX,
            power_max: Watts::new(1_000_000),
            amount_max: 1_000_000_000,
        },
        credit_limit: Money::new(2_000_000_000_000, currency()),
        period: PERIOD,
        currency: currency(),
        rounding: Rounding::new(100, RoundingMode::HalfUp).expect("not zero"),
        vat: VatTreatment::ReverseCharge,
        resolver,
        contest_window: DurationMs::from_millis(14 * 86_400_000),
        resolve_window: DurationMs::from_millis(14 * 86_400_000),
        record_window: DurationMs::from_millis(30 * 86_400_000),
        terms: Terms::Clear,
    }
}

/// Transactions with their senders.
pub type Transactions = Vec<(PartyId, Tx)>;

/// Everything that makes the network ready: tariffs and proposed agreements, and then the acceptances of these, which
/// must be submitted later.
#[must_use]
pub fn founding_transactions(founders: &[Founder]) -> (Transactions, Transactions) {
    let (mut first, mut then) = (Vec::new(), Vec::new());
    for founder in founders {
        for id in TARIFFS {
            let tariff = founder.tariff(id);
            first.push((founder.party, Tx::Tariff(TariffTx::PublishTariff { version: 1, tariff })));
        }
    }
    for emsp in founders {
        for cpo in founders.iter().filter(|c| c.party != emsp.party) {
            let terms = terms(founders, emsp.party, cpo.party);
            let effective_from = UnixMillis::EPOCH;
            let id = agreement_id(&terms, effective_from);
            let accepted = terms_digest(&terms, effective_from);
            first.push((emsp.party, Tx::Agreement(AgreementTx::Propose { terms, effective_from })));
            then.push((cpo.party, Tx::Agreement(AgreementTx::Accept { id, version: 1, terms: accepted })));
        }
    }
    (first, then)
}

/// A deposit that a treasurer attests, each under a reference of its own: a small transaction, for measuring.
#[must_use]
pub fn attestation(party: PartyId, number: u64) -> Option<Tx> {
    let reference = ShortText::new(&format!("measured {number}")).ok()?;
    let amount = Money::new(1, currency());
    Some(Tx::Settlement(SettlementTx::AttestDeposit { party, amount, reference }))
}

/// Whether a founding transaction has had its effect already.
///
/// # Errors
/// [`StateError`].
pub fn is_done(state: &dyn StateView, tx: &Tx) -> Result<bool, StateError> {
    let agreement = |id| read::<AgreementRecord>(state, &StateKey::Agreement(id));
    Ok(match tx {
        Tx::Tariff(TariffTx::PublishTariff { tariff, .. }) => {
            let head = StateKey::TariffHead(tariff.party(), tariff.id().clone());
            read::<u32>(state, &head)?.is_some()
        }
        Tx::Agreement(AgreementTx::Propose { terms, effective_from }) => {
            agreement(agreement_id(terms, *effective_from))?.is_some()
        }
        Tx::Agreement(AgreementTx::Accept { id, .. }) => {
            agreement(*id)?.is_some_and(|a| a.version_at(UnixMillis::EPOCH).is_some())
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_founders_make_a_network_with_sound_tariffs_rules_and_terms() {
        let founders = founders();
        let consensus =
            crate::ledger::LedgerSetup::default().consensus(crate::consortium::Seed(1), &[founders[0].party]);
        let genesis =
            genesis(&founders, consensus, |p| PublicKey::of(&crate::consortium::Seed(1).signing_key(p)));
        assert!(genesis.state().is_ok());
        for founder in &founders {
            assert_eq!(founder.retail().check(), Ok(()));
            founder.set_rules(&mut Rules::default());
            for id in TARIFFS {
                assert_eq!(founder.tariff(id).party(), founder.party);
            }
            for other in founders.iter().filter(|o| o.party != founder.party) {
                assert_eq!(terms(&founders, founder.party, other.party).check(), Ok(()));
            }
        }
        let (first, then) = founding_transactions(&founders);
        assert_eq!((first.len(), then.len()), (12 + 12, 12));
    }
}
