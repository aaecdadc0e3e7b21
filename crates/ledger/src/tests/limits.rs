//! Nothing is written that could not be stored: how large each kind of key and value can become.

use super::fixture::*;
use super::registry::{did_on, registry_id};
use crate::agreement::{AgreementRecord, AgreementStatus, Pending, SUCCESSORS_MAX, VERSIONS_MAX, Version};
use crate::cdr::{ADJUSTMENTS_MAX, CdrRecord, EvseDay, RECORDS_PER_EVSE_DAY_MAX};
use crate::forecast::{DayForecast, ForecastDay, ForecastTimes, LoadDay, PER_DAY_MAX, ZoneRights};
use crate::genesis::{MEMBERS_MAX, Parameters};
use crate::membership::{KEYS_MAX, KeyRecord, Member, Roles};
use crate::registry::{
    ATTRIBUTES_MAX, DID_KEYS_MAX, DID_SERVICES_MAX, DefinitionRecord, DidDocument, DidRecord, DidService,
    Mandate, REGISTRY_SIZE_MAX, REVOCATION_CHANGES_MAX, RegistryRecord, RegistryWindow, RevocationChange,
    RevocationList, SchemaRecord,
};
use crate::reject::RejectCode;
use crate::settlement::{
    Attestation, ClosedPeriod, Exposure, NetPosition, PAIRS_MAX, PERIOD_AGREEMENTS_MAX, PeriodPairs,
    Reservation, UNPAID_MAX,
};
use crate::state::{Account, AttestationKind, KEY_BYTES_MAX, StateKey, VALUE_BYTES_MAX};
use crate::tx::PublicKey;
use crate::voucher::{self, VoucherKey, VoucherState};
use eroam_domain::agreement::{
    Actuals, AgreedCost, BENEFICIARIES_MAX, DynamicRule, Knot, Panel, PriceRule, RateWindow, RenewableKnot,
    RoamingAgreement, Shares, SurplusShare, dynamic,
};
use eroam_domain::cdr::{Adjustment, AgreementRef, CdrId, CdrStatus, EvsePseudonym};
use eroam_domain::codec::{self, Digest, ShortText};
use eroam_domain::ids::{CredentialDefinitionId, IdHash, PartyId, SchemaId};
use eroam_domain::money::Money;
use eroam_domain::quantity::{BasisPoints, DurationMs, MilliAmperes, WattHours, Watts};
use eroam_domain::tariff::{
    COMPONENTS_MAX, Dimension, ELEMENTS_MAX, PriceBound, PriceComponent, ReservationRestriction,
    Restrictions, Tariff, TariffElement, TariffId, TariffParts, VatRate,
};
use eroam_domain::time::{CivilDate, TimeOfDay, UnixMillis, Weekdays};
use eroam_domain::voucher::Nullifier;

const DIGEST: Digest = Digest([7; 32]);

fn text<const N: usize>() -> ShortText<N> {
    ShortText::new(&"x".repeat(N)).unwrap()
}

fn size<T: borsh::BorshSerialize>(value: &T) -> usize {
    codec::to_bytes(value).len()
}

/// So many different parties.
fn parties(count: usize) -> Vec<PartyId> {
    let character = |n: usize| char::from_digit(u32::try_from(n % 36).unwrap(), 36).unwrap();
    (0..count)
        .map(|n| {
            PartyId::new("PT", &[n / 1_296, n / 36, n].map(character).iter().collect::<String>()).unwrap()
        })
        .collect()
}

fn digests(count: usize) -> impl Iterator<Item = Digest> {
    (0..count).map(|n| Digest::of(&n.to_le_bytes()))
}

/// A period with so many pairs and agreements.
fn pairs_of(pairs: usize, agreements: usize) -> PeriodPairs {
    let names = parties(MEMBERS_MAX);
    let all = names.iter().flat_map(|debtor| names.iter().map(|creditor| (*debtor, *creditor)));
    PeriodPairs { pairs: all.take(pairs).collect(), agreements: digests(agreements).collect() }
}

/// A tariff that uses everything that a tariff may have.
fn greatest_tariff() -> Tariff {
    let at = |hour| Some(TimeOfDay::new(hour, 0).unwrap());
    let restrictions = Restrictions {
        start_time: at(1),
        end_time: at(2),
        start_date: Some(CivilDate::new(2025, 1, 1).unwrap()),
        end_date: Some(CivilDate::new(2026, 1, 1).unwrap()),
        min_energy: Some(WattHours::ZERO),
        max_energy: Some(WattHours::from_milli_wh(u64::MAX)),
        min_current: Some(MilliAmperes::ZERO),
        max_current: Some(MilliAmperes::new(u64::MAX)),
        min_power: Some(Watts::ZERO),
        max_power: Some(Watts::new(u64::MAX)),
        min_duration: Some(DurationMs::ZERO),
        max_duration: Some(DurationMs::from_millis(u64::MAX)),
        day_of_week: Some(Weekdays::EVERY_DAY),
        reservation: Some(ReservationRestriction::Reservation),
    };
    let components = Dimension::ALL.map(|dimension| PriceComponent {
        dimension,
        price_micros: EUR,
        vat: Some(VatRate::ZERO),
        step_size: 1,
    });
    assert_eq!(components.len(), COMPONENTS_MAX);
    let bound = |excl_vat| Some(PriceBound { excl_vat, incl_vat: Some(excl_vat) });
    Tariff::new(TariffParts {
        party: vis(),
        id: text(),
        currency: eur(),
        elements: vec![TariffElement { components: components.to_vec(), restrictions }; ELEMENTS_MAX],
        min_price: bound(0),
        max_price: bound(EUR),
        valid_from: Some(on(1, 1, 0)),
        valid_until: Some(on(2, 1, 0)),
    })
    .unwrap()
}

/// Terms that use everything that terms may have.
fn greatest_terms() -> RoamingAgreement {
    let window = RateWindow {
        days: Weekdays::EVERY_DAY,
        start: TimeOfDay::MIDNIGHT,
        end: TimeOfDay::MIDNIGHT,
        bps: BasisPoints::WHOLE,
    };
    let knots = u32::try_from(dynamic::KNOTS_MAX).unwrap();
    let panel = Panel { parties: parties(dynamic::PANEL_MAX), quorum: 5 };
    let rule = DynamicRule {
        fallback: BasisPoints::WHOLE,
        base_micros_per_kwh: 120_000,
        time_of_use: vec![window; dynamic::RATE_WINDOWS_MAX],
        capacity_kw: 1_000,
        knots: (0..knots).map(|utilisation_bps| Knot { utilisation_bps, surcharge_bps: 0 }).collect(),
        floor_micros: 60_000,
        cap_micros: 400_000,
        band_bps: BasisPoints::new(500),
        vat: Some(VatRate::ZERO),
        zone: text(),
        forecasters: panel.clone(),
        actuals: Actuals::Median(panel),
        true_up_cap_bps: BasisPoints::WHOLE,
        renewable: (0..knots).map(|share_bps| RenewableKnot { share_bps, surcharge_bps: 0 }).collect(),
    };
    let cost = AgreedCost { party: own(), per_kwh_micros: 1, per_session_micros: 1 };
    let share = SurplusShare { party: own(), share: BasisPoints::new(1) };
    let terms = RoamingAgreement {
        price_rule: PriceRule::Dynamic(rule),
        shares: Shares { costs: vec![cost; BENEFICIARIES_MAX], surplus: vec![share; BENEFICIARIES_MAX] },
        ..terms(hom(), vis())
    };
    assert_eq!(terms.check(), Ok(()));
    terms
}

/// The greatest key and value of each kind. A new kind does not compile until it has its place here.
fn greatest(key: &StateKey) -> usize {
    let version = Version { number: 1, since: UnixMillis::EPOCH };
    match key {
        StateKey::Parameters => {
            size(&Parameters { treasurers_required: 2, close_grace: DurationMs::from_millis(DAY) })
        }
        StateKey::Lane(..) => size(&u64::MAX),
        StateKey::Member(_) => size(&Member {
            name: text(),
            roles: Roles::EMSP,
            keys: vec![KeyRecord { public: PublicKey([7; 32]), replaced: true }; KEYS_MAX],
        }),
        StateKey::Agreement(_) => size(&AgreementRecord {
            emsp: hom(),
            cpo: vis(),
            status: AgreementStatus::Terminated { at: UnixMillis::EPOCH },
            versions: vec![version; VERSIONS_MAX],
            pending: Some(Pending { version, by: hom(), terms: DIGEST }),
        }),
        StateKey::AgreementTerms(..) => size(&greatest_terms()),
        StateKey::AgreementOf(..) => size(&vec![DIGEST; SUCCESSORS_MAX]),
        StateKey::TariffHead(..) => size(&u32::MAX),
        StateKey::Tariff(..) => size(&greatest_tariff()),
        StateKey::Cdr(..) => size(&CdrRecord {
            digest: DIGEST,
            agreement: AgreementRef { id: DIGEST, version: 1 },
            emsp: hom(),
            amount: EUR,
            period: month(1),
            status: CdrStatus::Contested { resolve_until: UnixMillis::EPOCH, evidence: DIGEST },
            adjustments: vec![Adjustment::Credit { micros: 1 }; ADJUSTMENTS_MAX],
        }),
        StateKey::EvseDay(..) => size(&EvseDay {
            day: 1,
            intervals: vec![(UnixMillis::EPOCH, UnixMillis::EPOCH); RECORDS_PER_EVSE_DAY_MAX],
        }),
        // Reservations expire within 60 days and are then released. Open periods are as many as nobody closes: these
        // are the days of half a century.
        StateKey::Exposure(_) => {
            size(&Exposure { clock: 0, reserved: vec![(0, EUR); 64], booked: vec![(month(1), EUR); 20_000] })
        }
        StateKey::Reservation(..) => size(&Reservation { amount: EUR, day: 1 }),
        StateKey::Account(_) | StateKey::Attested(_) => size(&i64::MAX),
        StateKey::PeriodPairs(..) => size(&pairs_of(PAIRS_MAX, PERIOD_AGREEMENTS_MAX)),
        // Of the most pairs that a period can have, see below.
        StateKey::ClosedPeriod(..) => size(&ClosedPeriod {
            net: vec![NetPosition { party: hom(), micros: EUR }; MEMBERS_MAX],
            gross: vec![(hom(), vis(), EUR); MOST_PAIRS],
        }),
        StateKey::Unpaid(_) => size(&vec![month(1); UNPAID_MAX]),
        StateKey::Attestation(..) => size(&Attestation {
            party: hom(),
            amount: Money::new(EUR, eur()),
            by: parties(MEMBERS_MAX).into_iter().collect(),
            applied: true,
        }),
        StateKey::TariffPublished(..) => size(&UnixMillis::EPOCH),
        StateKey::Did(_) => {
            let service = DidService { id: text(), kind: text(), endpoint: text() };
            let document = DidDocument {
                keys: vec![PublicKey([7; 32]); DID_KEYS_MAX],
                services: vec![service; DID_SERVICES_MAX],
            };
            size(&DidRecord { member: hom(), version: 1, document })
        }
        StateKey::Schema(_) => size(&SchemaRecord { attributes: vec![text(); ATTRIBUTES_MAX] }),
        StateKey::CredentialDefinition(_) => {
            size(&DefinitionRecord { schema: schema(), revocable: true, value: text() })
        }
        StateKey::RevocationRegistry(_) => size(&RegistryRecord {
            definition: definition(),
            size: REGISTRY_SIZE_MAX,
            tails_hash: text(),
            tails_location: text(),
            public_keys: text(),
        }),
        StateKey::RegistryWindow(_) => {
            size(&RegistryWindow { from: UnixMillis::EPOCH, until: UnixMillis::EPOCH })
        }
        StateKey::RevocationList(_) => size(&RevocationList {
            version: 1,
            time: UnixMillis::EPOCH,
            accumulator: text(),
            revoked: vec![255; REGISTRY_SIZE_MAX as usize / 8],
        }),
        StateKey::RevocationChange(..) => size(&RevocationChange {
            time: UnixMillis::EPOCH,
            accumulator: text(),
            revoked: vec![1; REVOCATION_CHANGES_MAX],
            reinstated: Vec::new(),
        }),
        StateKey::Mandate(..) => size(&Mandate { from: UnixMillis::EPOCH, until: UnixMillis::EPOCH }),
        StateKey::VoucherKeys(_) => {
            let (public, valid_from, valid_until) =
                (PublicKey([7; 32]), UnixMillis::EPOCH, UnixMillis::EPOCH);
            size(&vec![VoucherKey { public, valid_from, valid_until }; voucher::KEYS_MAX])
        }
        StateKey::Voucher(..) => {
            let spent = VoucherState::Spent { operator: vis(), cdr: text(), amount: EUR };
            let reserved = VoucherState::Reserved {
                agreement: DIGEST,
                session: DIGEST,
                acceptance: DIGEST,
                limit: EUR,
                final_after: UnixMillis::EPOCH,
            };
            size(&spent).max(size(&reserved))
        }
        StateKey::ZoneAttester(..) => size(&ZoneRights { forecasts: true, loads: true }),
        StateKey::ForecastDay(..) => {
            let (load_kw, renewable_bps) = (vec![1; 24], Some(vec![1; 24]));
            let forecast = DayForecast { id: DIGEST, first_hour: 1, load_kw, renewable_bps };
            size(&ForecastDay { day: 1, forecasts: vec![forecast; PER_DAY_MAX] })
        }
        StateKey::ForecastTimes(..) => {
            size(&ForecastTimes { day: 1, since: vec![(DIGEST, UnixMillis::EPOCH); PER_DAY_MAX] })
        }
        StateKey::LoadDay(..) => size(&LoadDay { day: 1, load_kw: [Some(1); 24] }),
    }
}

fn schema() -> SchemaId {
    SchemaId { did: did_on(DIGEST, hom()), name: text(), version: text() }
}

fn definition() -> CredentialDefinitionId {
    CredentialDefinitionId { did: did_on(DIGEST, hom()), schema: IdHash::of(&schema()), tag: text() }
}

/// Money that is given back can add pairs to a period that is full: each by a record of an agreement of its own, so
/// that the period is too large to be stored before it has more.
const MOST_PAIRS: usize = 12_500;

fn one_of_each_key() -> Vec<StateKey> {
    let tariff: TariffId = text();
    let cdr: CdrId = text();
    let period = month(1);
    let registry = registry_id(&definition());
    vec![
        StateKey::Parameters,
        StateKey::Lane(vis(), 0),
        StateKey::Member(vis()),
        StateKey::Agreement(DIGEST),
        StateKey::AgreementTerms(DIGEST, 1),
        StateKey::AgreementOf(hom(), vis()),
        StateKey::TariffHead(vis(), tariff.clone()),
        StateKey::Tariff(vis(), tariff.clone(), 1),
        StateKey::Cdr(vis(), cdr),
        StateKey::EvseDay(vis(), EvsePseudonym([7; 16]), 1),
        StateKey::Exposure(DIGEST),
        StateKey::Reservation(DIGEST, DIGEST),
        StateKey::Account(Account::Payable(period, hom(), vis(), eur())),
        StateKey::PeriodPairs(period, eur()),
        StateKey::ClosedPeriod(period, eur()),
        StateKey::Unpaid(eur()),
        StateKey::Attestation(AttestationKind::Deposit, text()),
        StateKey::Attested(eur()),
        StateKey::TariffPublished(vis(), tariff, 1),
        StateKey::Did(registry.did),
        StateKey::Schema(schema()),
        StateKey::CredentialDefinition(definition()),
        StateKey::RevocationRegistry(registry.clone()),
        StateKey::RevocationList(registry.clone()),
        StateKey::RevocationChange(registry.clone(), 1),
        StateKey::Mandate(hom(), arb(), schema()),
        StateKey::VoucherKeys(hom()),
        StateKey::Voucher(hom(), Nullifier(DIGEST)),
        StateKey::ZoneAttester(text(), tr1()),
        StateKey::ForecastDay(tr1(), text(), 1),
        StateKey::ForecastTimes(tr1(), text(), 1),
        StateKey::LoadDay(tr1(), text(), 1),
        StateKey::RegistryWindow(registry),
    ]
}

#[test]
fn every_kind_of_key_and_value_can_be_stored() {
    for (number, key) in (0u8..).zip(one_of_each_key()) {
        let bytes = key.to_bytes();
        assert_eq!(bytes[0], number, "the keys above are in the order of their kinds");
        assert!(bytes.len() <= KEY_BYTES_MAX / 4, "{key:?}: {} bytes", bytes.len());
        let value = greatest(&key);
        assert!((1..=VALUE_BYTES_MAX).contains(&value), "{key:?}: {value} bytes");
    }
    assert!(size(&pairs_of(MOST_PAIRS, MOST_PAIRS - PAIRS_MAX)) > VALUE_BYTES_MAX);
}

#[test]
fn a_period_with_as_many_agreements_as_it_may_have_takes_no_record_of_another() {
    let mut chain = Chain::new();
    let roaming = chain.agree(terms(hom(), vis()));
    let other = chain.agree(terms(uti(), vis()));
    let mut full = pairs_of(0, PERIOD_AGREEMENTS_MAX - 1);
    full.agreements.insert(roaming.at.id);
    full.pairs.insert((hom(), vis()));
    let key = StateKey::PeriodPairs(month(1), eur());
    chain.put(&key, &full);
    let cdrs = [
        roaming.cdr(1, on(1, 10, 8), 10_000),
        other.cdr(2, on(1, 10, 9), 10_000),
        // Nobody is owed for it, so it leaves no trace in the period.
        other.cdr(3, on(1, 10, 10), 0),
    ];
    let items = chain.submit(vis(), records(cdrs));
    let refusals: Vec<_> = items.iter().map(|i| i.outcome.rejection()).collect();
    assert_eq!(refusals, [None, Some(RejectCode::LimitReached), None]);
    assert_eq!(chain.read::<PeriodPairs>(&key), Some(full));
}

#[test]
fn a_transaction_that_would_write_too_large_a_value_is_refused_whole() {
    let mut chain = Chain::new();
    let roaming = chain.agree(terms(hom(), vis()));
    let cdr = roaming.cdr(1, on(1, 10, 8), 10_000);
    chain.record(&cdr, vis());
    // Nearly as large as a value may be; the credit would add a pair and an agreement.
    let mut large = pairs_of(PAIRS_MAX, 0);
    let left = VALUE_BYTES_MAX - size(&large);
    large.agreements.extend(digests(left / 32));
    assert!(size(&large) <= VALUE_BYTES_MAX);
    chain.put(&StateKey::PeriodPairs(month(1), eur()), &large);
    let before = chain.digest();
    let sequence = chain.envelope(vis(), records([])).sequence;
    assert_eq!(chain.refused(vis(), credit(&cdr, EUR)), RejectCode::LimitReached);
    assert_eq!(chain.digest(), before);
    assert_eq!(chain.envelope(vis(), records([])).sequence, sequence + 1, "the sequence is consumed");
    // With room for both it is accepted.
    let more_room: Vec<Digest> = large.agreements.iter().take(2).copied().collect();
    more_room.iter().for_each(|id| assert!(large.agreements.remove(id)));
    chain.put(&StateKey::PeriodPairs(month(1), eur()), &large);
    chain.ok(vis(), credit(&cdr, EUR));
}
