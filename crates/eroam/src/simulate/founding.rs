//! How a simulated network begins: its genesis, and what its members agree on.

use super::Setup;
use super::world::{SimulateError, setup_error};
use crate::consortium::Seed;
use crate::consortium::founders::{self, currency};
use crate::ledger::LedgerSetup;
use eroam_domain::agreement::{Limits, PriceRule, RoamingAgreement, Shares, Terms, VatTreatment, WINDOW_MAX};
use eroam_domain::codec::ShortText;
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Money, Rounding, RoundingMode};
use eroam_domain::quantity::{BasisPoints, DurationMs, WattHours, Watts};
use eroam_domain::tariff::{
    Dimension, PriceComponent, Restrictions, Tariff, TariffElement, TariffId, TariffParts, VatRate,
};
use eroam_domain::time::{PeriodKind, TimeZoneName, UnixMillis};
use eroam_ledger::agreement::{AgreementTx, agreement_id, terms_digest};
use eroam_ledger::genesis::{BlockTime, Consensus, Genesis, GenesisMember, Parameters};
use eroam_ledger::membership::Roles;
use eroam_ledger::port::LedgerPort;
use eroam_ledger::query;
use eroam_ledger::tariff::TariffTx;
use eroam_ledger::tx::{Envelope, PublicKey, Tx, VERSION};
use eroam_ssi::didcomm::{OsRng, RngCore as _};
use std::collections::BTreeMap;

/// The lane of transactions that people make.
pub(super) const OFFICE_LANE: u16 = 1;
/// The tariff of every station.
pub(crate) const TARIFF: &str = "AC";
/// So long a transaction of the founding is worth including.
const VALID_FOR: DurationMs = DurationMs::from_millis(3_600_000);

/// Who takes part.
pub(super) struct Parties {
    /// Home utilities.
    pub(super) emsps: Vec<PartyId>,
    /// Operators.
    pub(super) cpos: Vec<PartyId>,
    /// Treasurer, resolver and validator.
    pub(super) treasury: PartyId,
}

impl Parties {
    /// As many as a set-up wants.
    pub(super) fn of(setup: &Setup) -> Result<Self, SimulateError> {
        let some = |kind, count| (0..count).map(|index| party(kind, index)).collect::<Result<Vec<_>, _>>();
        let treasury = PartyId::new("PT", "TRS").map_err(setup_error)?;
        Ok(Self { emsps: some('E', setup.emsps)?, cpos: some('O', setup.cpos)?, treasury })
    }
}

const COUNTRIES: [&str; 8] = ["PT", "ES", "DE", "NO", "FR", "IT", "AT", "NL"];

fn party(kind: char, index: usize) -> Result<PartyId, SimulateError> {
    let country = COUNTRIES.get(index % COUNTRIES.len()).copied().unwrap_or("PT");
    PartyId::new(country, &format!("{kind}{:02}", index + 1)).map_err(setup_error)
}

/// Whose local time it is at an operator's stations: that of its country.
pub(super) fn time_zone(party: PartyId) -> Result<TimeZoneName, SimulateError> {
    let name = match party.country().to_string().as_str() {
        "PT" => "Europe/Lisbon",
        "ES" => "Europe/Madrid",
        "DE" => "Europe/Berlin",
        "NO" => "Europe/Oslo",
        "FR" => "Europe/Paris",
        "IT" => "Europe/Rome",
        "AT" => "Europe/Vienna",
        "NL" => "Europe/Amsterdam",
        other => return Err(setup_error(format!("no time zone of {other}"))),
    };
    name.parse().map_err(setup_error)
}

pub(crate) fn tariff(party: PartyId, index: usize) -> Result<Tariff, SimulateError> {
    let price = 320_000 + 20_000 * i64::try_from(index % 5).unwrap_or(0);
    let component = |dimension, price_micros| PriceComponent {
        dimension,
        price_micros,
        vat: VatRate::from_ppm(200_000),
        step_size: 1,
    };
    let components = vec![component(Dimension::Energy, price), component(Dimension::Flat, 350_000)];
    Tariff::new(TariffParts {
        party,
        id: TariffId::new(TARIFF).map_err(setup_error)?,
        currency: currency(),
        elements: vec![TariffElement { components, restrictions: Restrictions::NONE }],
        min_price: None,
        max_price: None,
        valid_from: None,
        valid_until: None,
    })
    .map_err(setup_error)
}

pub(crate) fn terms(
    emsp: PartyId,
    cpo: PartyId,
    resolver: PartyId,
) -> Result<RoamingAgreement, SimulateError> {
    let days = |days: u64| DurationMs::from_millis(days * 86_400_000);
    Ok(RoamingAgreement {
        emsp,
        cpo,
        price_rule: PriceRule::Static { factor: BasisPoints::new(9_700) },
        shares: Shares::OPERATOR_ONLY,
        limits: Limits {
            energy_max: WattHours::from_wh(200_000).ok_or_else(|| setup_error("an amount of energy"))?,
            duration_max: WINDOW_MAX,
            power_max: Watts::new(400_000),
            amount_max: 200_000_000,
        },
        credit_limit: Money::new(2_000_000_000_000, currency()),
        period: PeriodKind::Month,
        currency: currency(),
        rounding: Rounding::new(100, RoundingMode::HalfUp).ok_or_else(|| setup_error("a rounding"))?,
        vat: VatTreatment::ReverseCharge,
        resolver,
        contest_window: days(14),
        resolve_window: days(14),
        record_window: days(30),
        terms: Terms::Clear,
    })
}

/// What the network is called. One that serves drivers of other processes has an empty ledger each time it begins, so its
/// name has a random part: a wallet that knows an earlier one must not take this for the same.
pub(super) fn network_name(served: bool) -> String {
    const NAME: &str = "eroam simulation";
    if served { format!("{NAME} {:016x}", OsRng.next_u64()) } else { NAME.to_owned() }
}

/// The genesis of the network of that name, whose members' keys follow from the seed. With `time` by submitters, its blocks
/// are of the time that the agents of one process share; validators with a process each have clocks.
pub(crate) fn genesis(
    name: &str,
    seed: Seed,
    emsps: &[PartyId],
    cpos: &[PartyId],
    treasury: PartyId,
    ledger: &LedgerSetup,
    time: BlockTime,
) -> Result<Genesis, SimulateError> {
    let with_roles =
        |parties: &[PartyId], roles: Roles| parties.iter().map(|party| (*party, roles)).collect::<Vec<_>>();
    let mut members = with_roles(emsps, Roles::EMSP);
    members.extend(with_roles(cpos, Roles::CPO));
    // An agency, too: whoever wants contracts to be issued by it says so on the ledger.
    members.push((treasury, Roles::TREASURER.with(Roles::RESOLVER).with(Roles::ISSUER)));
    // One validator is nobody's in particular; several are shared out among all.
    let mut parties = vec![treasury];
    if ledger.validators > 1 {
        parties = emsps.iter().chain(cpos).copied().chain([treasury]).collect();
    }
    let consensus = ledger.consensus(seed, &parties);
    Ok(Genesis {
        name: ShortText::new(name).map_err(setup_error)?,
        parameters: Parameters { treasurers_required: 1, close_grace: founders::CLOSE_GRACE },
        members: members
            .into_iter()
            .map(|(party, roles)| {
                let name = ShortText::new(&party.to_string()).map_err(setup_error)?;
                let key = PublicKey::of(&seed.signing_key(party));
                Ok(GenesisMember { party, name, roles, key })
            })
            .collect::<Result<Vec<_>, SimulateError>>()?,
        consensus: Consensus { time, ..consensus },
        imported: None,
    })
}

/// Everybody publishes a tariff and agrees with everybody, at the beginning of time.
pub(super) fn found(
    ledger: &mut impl LedgerPort,
    seed: Seed,
    emsps: &[PartyId],
    cpos: &[PartyId],
    treasury: PartyId,
    at: UnixMillis,
) -> Result<(), SimulateError> {
    let (mut first, mut then) = (Vec::new(), Vec::new());
    for (index, cpo) in cpos.iter().enumerate() {
        let tariff = tariff(*cpo, index)?;
        first.push((*cpo, Tx::Tariff(TariffTx::PublishTariff { version: 1, tariff })));
        for emsp in emsps {
            let terms = terms(*emsp, *cpo, treasury)?;
            let effective_from = UnixMillis::EPOCH;
            let (id, digest) = (agreement_id(&terms, effective_from), terms_digest(&terms, effective_from));
            first.push((*emsp, Tx::Agreement(AgreementTx::Propose { terms, effective_from })));
            then.push((*cpo, Tx::Agreement(AgreementTx::Accept { id, version: 1, terms: digest })));
        }
    }
    submit(ledger, seed, at, first)?;
    submit(ledger, seed, at, then)
}

/// Submits transactions of members, each signed with its member's key.
fn submit(
    ledger: &mut impl LedgerPort,
    seed: Seed,
    at: UnixMillis,
    txs: Vec<(PartyId, Tx)>,
) -> Result<(), SimulateError> {
    let mut sequences: BTreeMap<PartyId, u64> = BTreeMap::new();
    let (mut senders, mut envelopes) = (Vec::new(), Vec::new());
    let expires_at = at.checked_add(VALID_FOR).ok_or_else(|| setup_error("the time"))?;
    for (member, tx) in txs {
        let sequence = match sequences.get(&member) {
            Some(next) => *next,
            None => query::next_sequence(ledger, member, OFFICE_LANE).map_err(setup_error)?,
        };
        sequences.insert(member, sequence + 1);
        let (network, lane) = (ledger.network(), OFFICE_LANE);
        let envelope = Envelope { version: VERSION, network, member, key: 0, lane, sequence, expires_at, tx };
        senders.push(member);
        envelopes.push(envelope.sign(&seed.signing_key(member)));
    }
    let receipts = ledger.submit(at, envelopes).map_err(setup_error)?;
    for (party, receipt) in senders.into_iter().zip(receipts) {
        if let Some(code) = receipt.items.iter().find_map(|item| item.outcome.rejection()) {
            return Err(SimulateError::Refused { party, code });
        }
    }
    Ok(())
}
