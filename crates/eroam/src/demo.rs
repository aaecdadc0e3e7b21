//! `eroam demo`: a day of roaming, told as it happens.
//!
//! Everything that is printed is read back from the gateways, their stores and the ledger after the fact; the script
//! below says only who comes to which station with what in hand.

mod wallet_charge;

pub use wallet_charge::WalletCharge;

use crate::charging::ChargingError;
use crate::consortium::founders::{self, Founder};
use crate::consortium::{AtStation, Consortium, ConsortiumError, Seed, Setup};
use crate::replay::output::{self, OutputError};
use crate::simulate::SimulateError;
use eroam_domain::cdr::SessionId;
use eroam_domain::charge::{AllowedZones, ChargeRequest, PresentedCredential, Quote};
use eroam_domain::codec::{Digest, ShortText};
use eroam_domain::ids::{ContractId, EvseId, PartyId};
use eroam_domain::money::Money;
use eroam_domain::pricing::plan::{EvenSession, periods};
use eroam_domain::pricing::{ItemisedPrice, LineRule, Quantity};
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::retail::{PaymentOption, Tier};
use eroam_domain::time::{LocalClock, SettlementPeriod, UnixMillis, UtcOffset};
use eroam_gateway::account::readings_digest;
use eroam_gateway::authenticate::{CardDigest, PinVerifier};
use eroam_gateway::billing::BillLine;
use eroam_gateway::gateway::{Evse, GatewayError};
use eroam_gateway::ports::{Store as _, StoreError};
use eroam_gateway::profiles::{ContractState, HomeProfile, ServicePortfolio};
use eroam_gateway::sessions::{AuthorizedBy, Consumption, Phase};
use eroam_ledger::query;
use eroam_ledger::state::{ledger_balance, state_digest};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// What a driver does at a station.
#[derive(Clone, Copy)]
enum Act {
    /// Holds the card to the reader, accepts the quote, charges.
    Card,
    /// Types contract number and PIN, accepts the quote, charges.
    Pin,
    /// Types the contract number alone.
    NumberOnly,
    /// Holds the card to the reader and declines the quote.
    CardDecline,
    /// Holds the card of a provider that is no member.
    Stranger,
}

/// One line of the script.
struct Scene {
    /// The driver, by place in [`DRIVERS`].
    driver: usize,
    /// The operator of the station.
    operator: &'static str,
    /// The station's tariff.
    tariff: &'static str,
    /// Hours after the first midnight.
    hour: u64,
    /// Watt-hours.
    energy_wh: u64,
    /// Minutes of charging.
    charging_min: u64,
    /// Minutes connected afterwards.
    parking_min: u64,
    act: Act,
}

/// Home utility, tier, payment option.
const DRIVERS: [(&str, Tier, PaymentOption); 4] = [
    ("PT-LUZ", Tier::Gold, PaymentOption::Postpaid),
    ("DE-RHN", Tier::Platinum, PaymentOption::CreditCard),
    ("NO-FJL", Tier::Standard, PaymentOption::Prepaid),
    ("ES-SLV", Tier::Diamond, PaymentOption::DebitCard),
];

const SCRIPT: [Scene; 11] = [
    scene(0, "PT-LUZ", "AC-DAY-NIGHT", 7, 9_400, 95, 20, Act::Card),
    scene(0, "ES-SLV", "DC-FAST", 12, 31_250, 38, 0, Act::Card),
    scene(1, "NO-FJL", "DC-FAST", 13, 42_000, 51, 0, Act::Pin),
    scene(2, "PT-LUZ", "AC-FLAT", 14, 12_000, 80, 0, Act::NumberOnly),
    scene(2, "PT-LUZ", "AC-FLAT", 15, 12_000, 80, 0, Act::Card),
    scene(3, "DE-RHN", "AC-DAY-NIGHT", 16, 18_700, 140, 75, Act::CardDecline),
    scene(3, "DE-RHN", "AC-DAY-NIGHT", 17, 18_700, 140, 75, Act::Card),
    scene(1, "ES-SLV", "AC-FLAT", 18, 20_000, 120, 0, Act::Stranger),
    scene(0, "ES-SLV", "AC-DAY-NIGHT", 20, 15_500, 160, 60, Act::Card),
    scene(0, "DE-RHN", "DC-FAST", 33, 27_800, 34, 0, Act::Card),
    scene(1, "PT-LUZ", "AC-DAY-NIGHT", 37, 22_100, 170, 90, Act::Card),
];

#[allow(clippy::too_many_arguments, reason = "a row of the script")]
const fn scene(
    driver: usize,
    operator: &'static str,
    tariff: &'static str,
    hour: u64,
    energy_wh: u64,
    charging_min: u64,
    parking_min: u64,
    act: Act,
) -> Scene {
    Scene { driver, operator, tariff, hour, energy_wh, charging_min, parking_min, act }
}

/// Monday 2026-05-04, 00:00 UTC.
const FIRST_MIDNIGHT_MS: i64 = 1_777_852_800_000;
/// The PIN of the demonstration's drivers.
const PIN: &str = "4711";

/// Why the demonstration stopped.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The consortium failed.
    #[error(transparent)]
    Consortium(#[from] ConsortiumError),
    /// The output could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The wallet's network failed.
    #[error(transparent)]
    Network(#[from] SimulateError),
    /// The wallet cannot charge.
    #[error(transparent)]
    Charging(#[from] ChargingError),
    /// The script does not fit the consortium.
    #[error("the script is at fault: {0}")]
    Script(String),
}

fn script(what: impl fmt::Display) -> DemoError {
    DemoError::Script(what.to_string())
}

/// A line of an itemised price, for people.
#[derive(Clone, Debug, Serialize)]
pub struct Why {
    /// The rule, in words.
    pub rule: String,
    /// Without VAT, in millionths.
    pub excl_vat_micros: i64,
}

/// What became of one visit to a station.
#[derive(Clone, Debug, Serialize)]
pub struct Visit {
    /// When, UTC.
    pub at: String,
    /// The contract that was shown.
    pub contract: String,
    /// Its home utility.
    pub home: String,
    /// The operator.
    pub operator: String,
    /// Where.
    pub evse: String,
    /// What was shown with the contract.
    pub shown: &'static str,
    /// How it was authorized; none when it was not.
    pub authorized_by: Option<AuthorizedBy>,
    /// Why not.
    pub denied: Option<String>,
    /// The price that the driver was quoted, with VAT, in millionths.
    pub quoted_micros: Option<i64>,
    /// Delivered.
    pub energy: Option<String>,
    /// What the home utility owes the operator, and why.
    pub wholesale: Vec<Why>,
    /// What the driver owes, and why.
    pub retail: Vec<Why>,
    /// Their sums: without VAT for the wholesale leg (reverse charge), with VAT for the driver.
    pub wholesale_micros: Option<i64>,
    /// With VAT.
    pub retail_micros: Option<i64>,
    /// The record on the ledger.
    pub record: Option<String>,
}

/// Who owes whom.
#[derive(Clone, Debug, Serialize)]
pub struct Owed {
    /// Who owes.
    pub debtor: String,
    /// Whom.
    pub creditor: String,
    /// Millionths.
    pub amount_micros: i64,
}

/// The whole story.
#[derive(Clone, Debug, Serialize)]
pub struct Story {
    /// The seed.
    pub seed: u64,
    /// The network.
    pub network: String,
    /// The members: id and name.
    pub members: Vec<(String, String)>,
    /// What happened at the stations.
    pub visits: Vec<Visit>,
    /// Letters between organisations, by kind.
    pub letters: BTreeMap<String, u64>,
    /// Blocks on the ledger. How the transactions are packed into them differs from run to run.
    pub ledger_height: u64,
    /// How many validators agreed on them.
    pub validators: usize,
    /// The settlement period.
    pub period: String,
    /// Before netting.
    pub gross: Vec<Owed>,
    /// After netting: party and what it is owed (positive) or owes.
    pub net: Vec<(String, i64)>,
    /// Bills: contract, charges, total with VAT in millionths.
    pub bills: Vec<(String, usize, i64)>,
    /// All accounts less attested deposits, by currency.
    pub ledger_balance_micros: BTreeMap<String, i64>,
    /// The state that every member computes.
    pub state_digest: String,
    /// A charge by wallet, if one was wanted.
    pub wallet: Option<WalletCharge>,
}

/// Plays the script. With `with_wallet`, somebody charges by wallet after it, in a network of agents: during that, time
/// passes in this process as the meter says.
///
/// # Errors
/// [`DemoError`].
pub fn run(seed: Seed, with_wallet: bool, out: Option<&Path>) -> Result<Story, DemoError> {
    if let Some(dir) = out {
        output::check(dir)?;
    }
    let mut consortium = Consortium::open(seed, &Setup::default())?;
    let founders = consortium.founders().to_vec();
    let evses = build_stations(&mut consortium, &founders)?;
    let drivers = enrol(&mut consortium, seed)?;
    let mut visits = Vec::new();
    for (number, scene) in SCRIPT.iter().enumerate() {
        visits.push(play(&mut consortium, &evses, &drivers, number, scene)?);
    }
    let first = UnixMillis::new(FIRST_MIDNIGHT_MS).ok_or_else(|| script("its first day"))?;
    let period = SettlementPeriod::containing(founders::PERIOD, first);
    let close = period
        .end()
        .and_then(|e| e.checked_add(founders::CLOSE_GRACE))
        .ok_or_else(|| script("its period"))?;
    consortium.settle(close, period, founders::currency())?;
    consortium.finish()?;
    fill_in_bills(&mut consortium, &mut visits)?;
    let mut story = tell(&mut consortium, seed, period, visits)?;
    story.wallet = with_wallet.then(|| wallet_charge::charge(seed)).transpose()?;
    if let Some(dir) = out {
        output::prepare(dir)?;
        output::write(dir, &mut consortium, &evses, &[])?;
        output::write_marker(dir, &story)?;
    }
    Ok(story)
}

/// A station of each kind for each operator.
fn build_stations(
    consortium: &mut Consortium,
    founders: &[Founder],
) -> Result<Vec<(PartyId, Evse)>, DemoError> {
    let mut evses = Vec::new();
    for founder in founders {
        for (id, number) in founders::TARIFFS.iter().zip(1u64..) {
            let tariff = ShortText::new(id).map_err(script)?;
            let text = format!("{}*{}*E000{number}*1", founder.party.country(), founder.party.id());
            let evse = Evse {
                id: text.parse::<EvseId>().map_err(script)?,
                place: ShortText::new(&format!("{}, station {number}", founder.city)).map_err(script)?,
                zone: founder.zone(number),
                power: Founder::power(&tariff),
                tariff,
            };
            consortium.gateway(founder.party)?.put_station(evse.clone());
            evses.push((founder.party, evse));
        }
    }
    Ok(evses)
}

/// A driver's contract and card.
struct DemoDriver {
    contract: ContractId,
    card: String,
}

fn enrol(consortium: &mut Consortium, seed: Seed) -> Result<Vec<DemoDriver>, DemoError> {
    let mut drivers = Vec::new();
    for ((home, tier, payment), number) in DRIVERS.iter().zip(1u8..) {
        let home: PartyId = home.parse().map_err(script)?;
        let contract = ContractId::from_parts(home, &format!("C{number:08}")).map_err(script)?;
        let card = format!("04{}", &seed.derive("card", &[&[number]]).to_string()[..12]);
        let gateway = consortium.gateway(home)?;
        let salt = gateway.salt();
        let pin = PinVerifier::new(seed.derive("pin", &[&[number]]), PIN).map_err(script)?;
        let profile = HomeProfile {
            contract,
            state: ContractState::Active,
            valid_from: UnixMillis::EPOCH,
            valid_until: None,
            tier: *tier,
            payment: *payment,
            portfolio: ServicePortfolio {
                roaming: true,
                zones: AllowedZones::All,
                priority: 0,
                energy_max: WattHours::from_milli_wh(100_000_000),
                amount_max: 200_000_000,
            },
            cards: vec![CardDigest::new(&salt, &contract, &card)],
            pin: Some(pin),
            wrong_pins: 0,
            visiting: None,
        };
        gateway.store_mut().put_home_profile(&profile).map_err(|source| store_failed(home, source))?;
        drivers.push(DemoDriver { contract, card });
    }
    consortium.commit()?;
    Ok(drivers)
}

fn store_failed(party: PartyId, source: StoreError) -> DemoError {
    ConsortiumError::Gateway(GatewayError::Store { party, source }).into()
}

fn play(
    consortium: &mut Consortium,
    evses: &[(PartyId, Evse)],
    drivers: &[DemoDriver],
    number: usize,
    scene: &Scene,
) -> Result<Visit, DemoError> {
    let operator: PartyId = scene.operator.parse().map_err(script)?;
    let driver = drivers.get(scene.driver).ok_or_else(|| script("its drivers"))?;
    let evse = evses.iter().find(|(p, e)| *p == operator && e.tariff.as_str() == scene.tariff);
    let (_, evse) = evse.ok_or_else(|| script("its stations"))?;
    let hours = |h: u64| DurationMs::from_millis(h * 3_600_000);
    let minutes = |m: u64| DurationMs::from_millis(m * 60_000);
    let start = UnixMillis::new(FIRST_MIDNIGHT_MS)
        .and_then(|t| t.checked_add(hours(scene.hour)))
        .ok_or_else(|| script("its times"))?;
    let charging_end = start.checked_add(minutes(scene.charging_min)).ok_or_else(|| script("its times"))?;
    let end = charging_end.checked_add(minutes(scene.parking_min)).ok_or_else(|| script("its times"))?;
    let energy = WattHours::from_wh(scene.energy_wh).ok_or_else(|| script("its energy"))?;
    let offset = UtcOffset::new(2 * 3_600).ok_or_else(|| script("its clock"))?;
    let clock = LocalClock::fixed(offset);
    let contract = match scene.act {
        Act::Stranger => {
            ContractId::from_parts("FR-ZZZ".parse().map_err(script)?, "C00000009").map_err(script)?
        }
        _ => driver.contract,
    };
    let (credential, shown) = match scene.act {
        Act::Pin => (PresentedCredential::Pin(PIN.into()), "PIN"),
        Act::NumberOnly => (PresentedCredential::None, "the number alone"),
        _ => (PresentedCredential::CardUid(driver.card.clone()), "card"),
    };
    let session = SessionId::new(&format!("demo-{number:04}")).map_err(script)?;
    let request = ChargeRequest {
        session: session.clone(),
        evse: evse.id.clone(),
        contract: contract.to_string(),
        credential,
        energy_wanted: Some(energy),
        leaves_at: Some(end),
        at: start,
        clock,
    };
    let mut visit = Visit {
        at: start.to_string(),
        contract: contract.to_string(),
        home: contract.party().to_string(),
        operator: operator.to_string(),
        evse: evse.id.to_string(),
        shown,
        authorized_by: None,
        denied: None,
        quoted_micros: None,
        energy: None,
        wholesale: Vec::new(),
        retail: Vec::new(),
        wholesale_micros: None,
        retail_micros: None,
        record: None,
    };
    consortium.request(operator, &request)?;
    if let Some(quote) = shown_quote(consortium, &mut visit) {
        visit.quoted_micros = quote.retail.map(|retail| retail.incl_vat);
        if let Some(known) = consortium.session(operator, &session)?
            && let Phase::Quoted { grant, .. } = &known.phase
        {
            visit.authorized_by = Some(grant.by());
        }
        if matches!(scene.act, Act::CardDecline) {
            consortium.refuse(operator, &session)?;
        } else {
            consortium.accept(operator, &session, start)?;
        }
    }
    consortium.flush(start)?;
    let powered = consortium.at_stations().into_iter().any(|(_, event)| match event {
        AtStation::PowerOn { .. } => true,
        AtStation::Denied { denial, .. } => {
            visit.denied = Some(denial.to_string());
            false
        }
        AtStation::Quote(_) => false,
    });
    if powered {
        let tariff = query::latest_tariff(consortium.ledger(), operator, &evse.tariff)
            .map_err(ConsortiumError::from)?
            .ok_or_else(|| script("its tariffs"))?
            .1;
        let even = EvenSession { start, charging_end, end, energy };
        let periods = periods(&even, &tariff, &clock).map_err(script)?;
        let readings = readings_digest(&periods);
        let consumption = Consumption { start, end, clock, periods, energy, readings };
        consortium.consumed(operator, &session, consumption)?;
        consortium.flush(end)?;
        visit.energy = Some(energy.to_string());
    }
    if let Some(known) = consortium.session(operator, &session)?
        && let Phase::Recorded { cdr, .. } = &known.phase
    {
        visit.record = Some(cdr.id.to_string());
    }
    Ok(visit)
}

/// The quote on the station's screen, if there is one; a denial is noted.
fn shown_quote(consortium: &mut Consortium, visit: &mut Visit) -> Option<Quote> {
    let mut quote = None;
    for (_, event) in consortium.at_stations() {
        match event {
            AtStation::Quote(shown) => quote = Some(shown),
            AtStation::Denied { denial, .. } => visit.denied = Some(denial.to_string()),
            AtStation::PowerOn { .. } => {}
        }
    }
    quote
}

/// Adds to each visit what its bill line says.
fn fill_in_bills(consortium: &mut Consortium, visits: &mut [Visit]) -> Result<(), DemoError> {
    let mut lines: Vec<BillLine> = Vec::new();
    for party in consortium.parties() {
        let gateway = consortium.gateway(party)?;
        let result = gateway.store_mut().each_bill_line(&mut |line| {
            lines.push(line);
            Ok(())
        });
        result.map_err(|source| store_failed(party, source))?;
    }
    for line in lines {
        let of = |v: &&mut Visit| v.at == line.start.to_string() && v.evse == line.evse.to_string();
        let Some(visit) = visits.iter_mut().find(of) else { continue };
        visit.retail = why(&line.retail);
        visit.retail_micros = Some(line.retail.total.incl_vat);
        visit.wholesale_micros = line.wholesale.map(|w| w.excl_vat);
        let id = SessionId::new(line.cdr.as_str()).map_err(script)?;
        let (ledger, gateway) = consortium.ledger_and_gateway(line.operator)?;
        let session = gateway.session(&id).map_err(ConsortiumError::from)?;
        if let Some(Phase::Recorded { cdr, .. }) = session.map(|s| s.phase) {
            let terms =
                query::agreement_in_force(ledger, line.contract.party(), line.operator, cdr.accepted_at)
                    .map_err(ConsortiumError::from)?;
            let tariff =
                query::latest_tariff(ledger, line.operator, &cdr.tariff.id).map_err(ConsortiumError::from)?;
            if let (Some((_, terms)), Some((_, tariff))) = (terms, tariff) {
                let forecast = eroam_gateway::forecasts::of_booked(ledger, &terms, &cdr)
                    .map_err(ConsortiumError::from)?
                    .map_err(script)?;
                let price = eroam_gateway::account::wholesale_of(&terms, &tariff, &cdr, forecast.as_ref())
                    .map_err(script)?;
                visit.wholesale = why(&price);
            }
        }
    }
    Ok(())
}

/// An itemised price in words.
fn why(price: &ItemisedPrice) -> Vec<Why> {
    let mut lines: Vec<Why> = Vec::new();
    for line in price.lines.iter().filter(|l| l.amount.excl_vat != 0) {
        let percent = |bps: i32| {
            let sign = if bps < 0 { "-" } else { "+" };
            format!("{sign}{} %", eroam_domain::money::decimal(i128::from(bps.unsigned_abs()), 2, 0))
        };
        let rule = match line.rule {
            LineRule::Tariff { element, .. } => {
                let unit = line.unit_price_micros.map_or_else(String::new, |p| {
                    format!(" x {}", eroam_domain::money::decimal(i128::from(p), 6, 2))
                });
                let quantity = match line.quantity {
                    Quantity::Energy { billed, .. } => format!("{billed}{unit}"),
                    Quantity::Time { billed, .. } => format!("{billed}{unit}/h"),
                    Quantity::Session => "start".into(),
                };
                format!("{quantity} (tariff element {})", element + 1)
            }
            LineRule::MinPrice => "the tariff's minimum".into(),
            LineRule::MaxPrice => "the tariff's maximum".into(),
            LineRule::AgreementFactor { factor } => {
                format!(
                    "the agreement: {} % of the tariff",
                    eroam_domain::money::decimal(i128::from(factor.get()), 2, 0)
                )
            }
            LineRule::Rounding => "rounding".into(),
            LineRule::Wholesale => "what the operator charges".into(),
            LineRule::Margin { bps } => format!("margin {}", percent(bps)),
            LineRule::TimeOfUse { bps, .. } => format!("time of use {}", percent(bps)),
            LineRule::Tier { tier, bps } => format!("tier {tier} {}", percent(bps)),
            LineRule::Payment { option, bps } => format!("paid by {option} {}", percent(bps)),
            LineRule::RoamingFee => "roaming fee".into(),
            LineRule::Dynamic { hour, utilisation_bps, surcharge_bps, renewable } => {
                let energy = match line.quantity {
                    Quantity::Energy { billed, .. } => billed.to_string(),
                    Quantity::Time { .. } | Quantity::Session => "energy".into(),
                };
                let rate = line.unit_price_micros.map_or_else(String::new, |p| {
                    format!(" x {}", eroam_domain::money::decimal(i128::from(p), 6, 2))
                });
                let green = renewable.map_or_else(String::new, |part| {
                    let share = eroam_domain::money::decimal(i128::from(part.share_bps), 2, 0);
                    format!("; renewable {share} %: {}", percent(part.surcharge_bps))
                });
                format!(
                    "{energy}{rate} (grid load {} % at {:02}:00 UTC: {}{green})",
                    eroam_domain::money::decimal(i128::from(utilisation_bps), 2, 0),
                    hour.rem_euclid(24),
                    percent(surcharge_bps)
                )
            }
        };
        lines.push(Why { rule, excl_vat_micros: line.amount.excl_vat });
    }
    lines
}

fn tell(
    consortium: &mut Consortium,
    seed: Seed,
    period: SettlementPeriod,
    visits: Vec<Visit>,
) -> Result<Story, DemoError> {
    let currency = founders::currency();
    let closed =
        query::closed_period(consortium.ledger(), period, currency).map_err(ConsortiumError::from)?;
    let closed = closed.ok_or_else(|| script("nothing was booked"))?;
    let mut bills: BTreeMap<String, (usize, i64)> = BTreeMap::new();
    for visit in &visits {
        if let Some(retail) = visit.retail_micros {
            let (charges, total) = bills.entry(visit.contract.clone()).or_default();
            *charges += 1;
            *total = total.checked_add(retail).ok_or(ConsortiumError::Overflow)?;
        }
    }
    let ledger = consortium.ledger();
    let (latest, entries) = ledger.entries().map_err(ConsortiumError::from)?;
    let entries = || entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
    let balance = ledger_balance(entries()).map_err(ConsortiumError::from)?;
    let digest: Digest = state_digest(entries());
    Ok(Story {
        seed: seed.0,
        network: eroam_ledger::port::LedgerPort::network(ledger).to_string(),
        members: consortium.founders().iter().map(|f| (f.party.to_string(), f.name.to_owned())).collect(),
        visits,
        letters: consortium.carried().iter().map(|(k, v)| ((*k).to_owned(), *v)).collect(),
        ledger_height: latest.height,
        validators: consortium.validators().nodes().len(),
        period: period.to_string(),
        gross: closed
            .gross
            .iter()
            .map(|(debtor, creditor, amount)| Owed {
                debtor: debtor.to_string(),
                creditor: creditor.to_string(),
                amount_micros: *amount,
            })
            .collect(),
        net: closed.net.iter().map(|n| (n.party.to_string(), n.micros)).collect(),
        bills: bills.into_iter().map(|(contract, (charges, total))| (contract, charges, total)).collect(),
        ledger_balance_micros: balance
            .into_iter()
            .map(|(c, sum)| i64::try_from(sum).map(|sum| (c.to_string(), sum)))
            .collect::<Result<_, _>>()
            .map_err(|_| ConsortiumError::Overflow)?,
        state_digest: digest.to_string(),
        wallet: None,
    })
}

fn euro(micros: i64) -> String {
    Money::new(micros, founders::currency()).to_string()
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "A roaming consortium, seed {}, network {}", self.seed, &self.network[..16])?;
        for (party, name) in &self.members {
            writeln!(f, "  {party}  {name}")?;
        }
        writeln!(f, "\nWho charged where, at what price and why")?;
        for visit in &self.visits {
            write_visit(f, visit)?;
        }
        writeln!(f, "\nWho owes whom for {} (before netting, as the ledger booked it)", self.period)?;
        for owed in &self.gross {
            writeln!(f, "  {} owes {} {:>16}", owed.debtor, owed.creditor, euro(owed.amount_micros))?;
        }
        writeln!(f, "After netting")?;
        for (party, micros) in &self.net {
            let what = if *micros < 0 { "pays" } else { "receives" };
            writeln!(f, "  {party} {what:>8} {:>16}", euro(micros.saturating_abs()))?;
        }
        writeln!(f, "\nEach driver's bill for {}, over all operators", self.period)?;
        for (contract, charges, total) in &self.bills {
            writeln!(f, "  {contract}  {charges} charges {:>16}", euro(*total))?;
        }
        let validators = if self.validators == 1 { "validator" } else { "validators" };
        writeln!(
            f,
            "\nThe ledger: {} blocks, agreed on by {} {validators}, state {}",
            self.ledger_height,
            self.validators,
            &self.state_digest[..16]
        )?;
        for (currency, sum) in &self.ledger_balance_micros {
            writeln!(
                f,
                "  all accounts less attested deposits: {} {currency}",
                eroam_domain::money::decimal(i128::from(*sum), 6, 2)
            )?;
        }
        let letters: Vec<String> = self.letters.iter().map(|(k, n)| format!("{n} {k}")).collect();
        write!(f, "  letters between organisations: {}", letters.join(", "))?;
        self.wallet.as_ref().map_or(Ok(()), |wallet| write!(f, "\n\n{wallet}"))
    }
}

fn write_visit(f: &mut fmt::Formatter<'_>, visit: &Visit) -> fmt::Result {
    let Visit { at, contract, operator, evse, shown, .. } = visit;
    writeln!(f, "\n{at}  {contract} ({shown}) at {operator}, {evse}")?;
    match visit.authorized_by {
        Some(AuthorizedBy::Home) => writeln!(f, "  own customer: authorized here")?,
        Some(AuthorizedBy::Partner) => writeln!(f, "  authorized by {}", visit.home)?,
        Some(AuthorizedBy::Cache) => {
            writeln!(f, "  known from an earlier visit: authorized here, {} not asked", visit.home)?
        }
        Some(AuthorizedBy::Proof) => writeln!(f, "  authorized by a proof that names nobody")?,
        None => {}
    }
    if let Some(quoted) = visit.quoted_micros {
        writeln!(f, "  quoted {} with VAT", euro(quoted))?;
    }
    if let Some(denied) = &visit.denied {
        writeln!(f, "  no energy: {denied}")?;
    }
    if let Some(energy) = &visit.energy {
        writeln!(f, "  delivered {energy}")?;
    }
    if let Some(wholesale) = visit.wholesale_micros {
        writeln!(f, "  {} owes {operator} {} without VAT", visit.home, euro(wholesale))?;
        for why in &visit.wholesale {
            writeln!(f, "    {:<58} {:>14}", why.rule, euro(why.excl_vat_micros))?;
        }
    }
    if let Some(retail) = visit.retail_micros {
        writeln!(f, "  the driver owes {} {} with VAT", visit.home, euro(retail))?;
        for why in &visit.retail {
            writeln!(f, "    {:<58} {:>14}", why.rule, euro(why.excl_vat_micros))?;
        }
    }
    if let Some(record) = &visit.record {
        writeln!(f, "  recorded on the ledger as {record}")?;
    }
    Ok(())
}
