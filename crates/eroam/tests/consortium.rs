//! The consortium as a library: outages, quotes that come to nothing, and one session at four tiers.

mod support;

use eroam::consortium::{AtStation, Consortium, Seed, Setup, founders};
use eroam::ledger::reader::Reader;
use eroam::ledger::{LedgerSetup, partners};
use eroam_domain::cdr::SessionId;
use eroam_domain::charge::{AllowedZones, ChargeRequest, Denial, PresentedCredential, Quote};
use eroam_domain::codec::ShortText;
use eroam_domain::ids::{ContractId, EvseId, PartyId};
use eroam_domain::pricing::plan::{EvenSession, periods};
use eroam_domain::pricing::{ItemisedPrice, LineRule};
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::retail::{PaymentOption, Tier};
use eroam_domain::time::{LocalClock, SettlementPeriod, UnixMillis};
use eroam_gateway::account::readings_digest;
use eroam_gateway::anomalies::{AnomalyRules, CaseState, Finding, RecordName};
use eroam_gateway::authenticate::CardDigest;
use eroam_gateway::billing::BillLine;
use eroam_gateway::gateway::Evse;
use eroam_gateway::ports::Store as _;
use eroam_gateway::profiles::{ContractState, HomeProfile, ServicePortfolio};
use eroam_gateway::sessions::{AuthorizedBy, Consumption, Phase};
use eroam_ledger::query;
use eroam_ledger::settlement::PeriodPairs;
use eroam_ledger::state::{StateKey, read};
use support::tempdir;
use tempfile::TempDir;

fn party(text: &str) -> PartyId {
    text.parse().unwrap()
}

/// A consortium with a station of each kind at each utility, and a clock.
struct World {
    consortium: Consortium,
    now: UnixMillis,
    /// The ledger's, unless it is somebody else's.
    _directory: Option<TempDir>,
}

/// 2026-03-02, a Monday, 08:00 UTC.
const MONDAY_MS: i64 = 1_772_438_400_000;
const CARD: &str = "04A1B2C3";

fn minutes(n: u64) -> DurationMs {
    DurationMs::from_millis(n * 60_000)
}

impl World {
    fn new() -> Self {
        let directory = tempdir();
        let ledger = LedgerSetup { directory: Some(directory.path().into()), ..LedgerSetup::default() };
        Self { _directory: Some(directory), ..Self::at(&Setup { stores: None, ledger, anomalies: None }) }
    }

    /// With the records of an earlier one, if there are any.
    fn at(setup: &Setup) -> Self {
        let mut consortium = Consortium::open(Seed(11), setup).unwrap();
        for founder in consortium.founders().to_vec() {
            for (tariff, number) in founders::TARIFFS.iter().zip(1u64..) {
                let id = format!("{}*{}*E{number:04}*1", founder.party.country(), founder.party.id());
                let tariff = ShortText::new(tariff).unwrap();
                consortium.gateway(founder.party).unwrap().put_station(Evse {
                    id: id.parse().unwrap(),
                    place: ShortText::new("a station").unwrap(),
                    zone: founder.zone(number),
                    power: founders::Founder::power(&tariff),
                    tariff,
                });
            }
        }
        consortium.resume().unwrap();
        Self { consortium, now: UnixMillis::new(MONDAY_MS).unwrap(), _directory: None }
    }

    /// A customer of a utility.
    fn customer(&mut self, home: &str, number: u32, tier: Tier) -> ContractId {
        let contract = ContractId::from_parts(party(home), &format!("C{number:08}")).unwrap();
        let gateway = self.consortium.gateway(party(home)).unwrap();
        let card = CardDigest::new(&gateway.salt(), &contract, CARD);
        let profile = HomeProfile {
            contract,
            state: ContractState::Active,
            valid_from: UnixMillis::EPOCH,
            valid_until: None,
            tier,
            payment: PaymentOption::Postpaid,
            portfolio: ServicePortfolio {
                roaming: true,
                zones: AllowedZones::All,
                priority: 0,
                energy_max: WattHours::from_wh(100_000).unwrap(),
                amount_max: 200_000_000,
            },
            cards: vec![card],
            pin: None,
            wrong_pins: 0,
            visiting: None,
        };
        gateway.store_mut().put_home_profile(&profile).unwrap();
        contract
    }

    /// The driver holds the card to the reader; what the station shows.
    fn ask(&mut self, session: &str, operator: &str, contract: &ContractId) -> Result<Quote, Denial> {
        let request = ChargeRequest {
            session: SessionId::new(session).unwrap(),
            evse: evse(operator),
            contract: contract.to_string(),
            credential: PresentedCredential::CardUid(CARD.into()),
            energy_wanted: WattHours::from_wh(20_000),
            leaves_at: self.now.checked_add(minutes(120)),
            at: self.now,
            clock: LocalClock::UTC,
        };
        self.consortium.request(party(operator), &request).unwrap();
        match &self.consortium.at_stations()[..] {
            [(_, AtStation::Quote(quote))] => Ok(quote.clone()),
            [(_, AtStation::Denied { denial, .. })] => Err(*denial),
            other => panic!("{other:?}"),
        }
    }

    /// Accepts; whether the power went on.
    fn accept(&mut self, session: &str, operator: &str) -> bool {
        let id = SessionId::new(session).unwrap();
        self.consortium.accept(party(operator), &id, self.now).unwrap();
        self.consortium.flush(self.now).unwrap();
        self.consortium.at_stations().iter().any(|(_, event)| matches!(event, AtStation::PowerOn { .. }))
    }

    /// Twenty kilowatt-hours in 80 minutes.
    fn deliver(&mut self, session: &str, operator: &str) {
        let tariff = ShortText::new(founders::TARIFFS[0]).unwrap();
        let (_, tariff) =
            query::latest_tariff(self.consortium.ledger(), party(operator), &tariff).unwrap().unwrap();
        let start = self.now;
        let end = start.checked_add(minutes(80)).unwrap();
        let energy = WattHours::from_wh(20_000).unwrap();
        let even = EvenSession { start, charging_end: end, end, energy };
        let periods = periods(&even, &tariff, &LocalClock::UTC).unwrap();
        let readings = readings_digest(&periods);
        let consumption = Consumption { start, end, clock: LocalClock::UTC, periods, energy, readings };
        let id = SessionId::new(session).unwrap();
        self.consortium.consumed(party(operator), &id, consumption).unwrap();
        self.consortium.flush(end).unwrap();
        self.now = end;
    }

    fn charge(&mut self, session: &str, operator: &str, contract: &ContractId) -> Result<Quote, Denial> {
        let quote = self.ask(session, operator, contract)?;
        assert!(self.accept(session, operator), "{session}: the power stays off");
        self.deliver(session, operator);
        Ok(quote)
    }

    fn phase(&mut self, session: &str, operator: &str) -> Phase {
        let id = SessionId::new(session).unwrap();
        self.consortium.session(party(operator), &id).unwrap().unwrap().phase
    }

    fn authorized_by(&mut self, session: &str, operator: &str) -> AuthorizedBy {
        match self.phase(session, operator) {
            Phase::Quoted { grant, .. }
            | Phase::Charging { grant, .. }
            | Phase::Recorded { grant, .. }
            | Phase::Delivered { grant, .. } => grant.by(),
            other => panic!("{other:?}"),
        }
    }

    /// The sessions on a utility's bills.
    fn billed(&mut self, home: &str) -> Vec<String> {
        self.bill_lines(home).iter().map(|line| line.cdr.to_string()).collect()
    }

    fn bill_lines(&mut self, home: &str) -> Vec<BillLine> {
        let mut lines = Vec::new();
        let store = self.consortium.gateway(party(home)).unwrap().store_mut();
        store
            .each_bill_line(&mut |line| {
                lines.push(line);
                Ok(())
            })
            .unwrap();
        lines.sort_by(|a, b| a.cdr.cmp(&b.cdr));
        lines
    }

    fn recorded(&self, session: &str, operator: &str) -> bool {
        let id = ShortText::new(session).unwrap();
        query::cdr(self.consortium.ledger(), party(operator), &id).unwrap().is_some()
    }

    fn carried(&self, kind: &str) -> u64 {
        self.consortium.carried().get(kind).copied().unwrap_or(0)
    }
}

/// The station with the day and night tariff.
fn evse(operator: &str) -> EvseId {
    let operator = party(operator);
    format!("{}*{}*E0001*1", operator.country(), operator.id()).parse().unwrap()
}

#[test]
fn without_a_home_utility_exactly_its_uncached_visitors_are_denied() {
    let mut world = World::new();
    let known = world.customer("PT-LUZ", 1, Tier::Gold);
    let unknown = world.customer("PT-LUZ", 2, Tier::Standard);
    let elsewhere = world.customer("PT-LUZ", 3, Tier::Standard);
    let other = world.customer("NO-FJL", 4, Tier::Standard);
    let own = world.customer("ES-SLV", 5, Tier::Standard);
    world.charge("a-1", "ES-SLV", &known).unwrap();
    world.charge("e-1", "DE-RHN", &elsewhere).unwrap();
    let asked = world.carried("authorize");

    let away = world.consortium.take_away(party("PT-LUZ")).unwrap();
    world.charge("a-2", "ES-SLV", &known).expect("its service description is here");
    assert_eq!(world.authorized_by("a-2", "ES-SLV"), AuthorizedBy::Cache);
    assert_eq!(world.ask("u-1", "ES-SLV", &unknown), Err(Denial::HomeUnreachable));
    assert_eq!(world.ask("e-2", "ES-SLV", &elsewhere), Err(Denial::HomeUnreachable), "known elsewhere only");
    world.charge("e-3", "DE-RHN", &elsewhere).expect("and there it is known");
    world.charge("o-1", "ES-SLV", &other).expect("its own home utility answers");
    world.charge("s-1", "ES-SLV", &own).expect("at home");
    assert!(world.recorded("a-2", "ES-SLV") && world.recorded("e-3", "DE-RHN"), "the ledger is there");
    assert_eq!(world.billed("NO-FJL"), ["o-1"]);
    assert_eq!(world.billed("ES-SLV"), ["s-1"]);
    assert_eq!(world.carried("authorize"), asked + 1, "nobody read the letters to PT-LUZ");

    world.consortium.bring_back(away).unwrap();
    assert_eq!(world.billed("PT-LUZ"), ["a-1", "a-2", "e-1", "e-3"], "what was recorded meanwhile is billed");
    for (session, operator) in [("a-2", "ES-SLV"), ("e-3", "DE-RHN")] {
        assert!(
            matches!(world.phase(session, operator), Phase::Recorded { reported: true, .. }),
            "{session}"
        );
    }
    assert_eq!(world.phase("u-1", "ES-SLV"), Phase::Denied(Denial::HomeUnreachable), "no is no");
    world.charge("u-2", "ES-SLV", &unknown).expect("the next time it is asked again");
    assert_eq!(world.authorized_by("u-2", "ES-SLV"), AuthorizedBy::Partner);
}

#[test]
fn without_an_operator_its_stations_are_silent_and_others_go_on() {
    let mut world = World::new();
    let driver = world.customer("PT-LUZ", 1, Tier::Gold);
    let away = world.consortium.take_away(party("ES-SLV")).unwrap();
    let session = SessionId::new("x").unwrap();
    assert!(world.consortium.accept(party("ES-SLV"), &session, world.now).is_err());
    world.charge("n-1", "NO-FJL", &driver).unwrap();
    world.consortium.bring_back(away).unwrap();
    world.charge("e-1", "ES-SLV", &driver).unwrap();
    assert_eq!(world.billed("PT-LUZ"), ["e-1", "n-1"]);
}

#[test]
fn a_refused_quote_delivers_no_energy_and_makes_no_record() {
    let mut world = World::new();
    let driver = world.customer("DE-RHN", 1, Tier::Standard);
    world.ask("r-1", "PT-LUZ", &driver).unwrap();
    let session = SessionId::new("r-1").unwrap();
    world.consortium.refuse(party("PT-LUZ"), &session).unwrap();
    world.consortium.flush(world.now).unwrap();
    assert_eq!(world.phase("r-1", "PT-LUZ"), Phase::Denied(Denial::QuoteRefused));
    assert!(!world.accept("r-1", "PT-LUZ"), "it is too late to change one's mind");
    nothing_came_of_it(&mut world, "r-1");
}

#[test]
fn an_expired_quote_delivers_no_energy_and_makes_no_record() {
    for tick_first in [true, false] {
        let mut world = World::new();
        let driver = world.customer("DE-RHN", 1, Tier::Standard);
        let quote = world.ask("x-1", "PT-LUZ", &driver).unwrap();
        world.now = quote.expires_at.checked_add(DurationMs::from_millis(1)).unwrap();
        if tick_first {
            world.consortium.tick(world.now).unwrap();
        }
        assert!(!world.accept("x-1", "PT-LUZ"));
        assert_eq!(world.phase("x-1", "PT-LUZ"), Phase::Denied(Denial::QuoteExpired));
        nothing_came_of_it(&mut world, "x-1");
    }
}

#[test]
fn a_quote_that_is_accepted_in_its_last_millisecond_still_holds() {
    let mut world = World::new();
    let driver = world.customer("DE-RHN", 1, Tier::Standard);
    let quote = world.ask("l-1", "PT-LUZ", &driver).unwrap();
    world.now = quote.expires_at;
    assert!(world.accept("l-1", "PT-LUZ"));
    world.deliver("l-1", "PT-LUZ");
    assert_eq!(world.billed("DE-RHN"), ["l-1"]);
}

/// No credit is held, no record, no bill line, nothing to settle.
fn nothing_came_of_it(world: &mut World, session: &str) {
    assert!(!world.recorded(session, "PT-LUZ"));
    assert!(world.billed("DE-RHN").is_empty());
    let ledger = world.consortium.ledger();
    let (agreement, _) =
        query::agreement_in_force(ledger, party("DE-RHN"), party("PT-LUZ"), world.now).unwrap().unwrap();
    assert_eq!(query::exposure(ledger, agreement.id).unwrap(), Default::default(), "no credit is held");
    let period = SettlementPeriod::containing(founders::PERIOD, world.now);
    let booked: Option<PeriodPairs> =
        read(ledger, &StateKey::PeriodPairs(period, founders::currency())).unwrap();
    assert!(booked.is_none());
    // The station may not bill what flowed by mistake either: it is shown, not recorded.
    world.deliver(session, "PT-LUZ");
    assert!(!world.recorded(session, "PT-LUZ"));
    assert!(world.billed("DE-RHN").is_empty());
}

/// The amount of the line of a rule.
fn line(price: &ItemisedPrice, wanted: impl Fn(&LineRule) -> bool) -> i64 {
    price.lines.iter().filter(|l| wanted(&l.rule)).map(|l| l.amount.excl_vat).sum()
}

#[test]
fn one_session_at_four_tiers_has_four_itemised_prices_and_one_wholesale_price() {
    let mut retail = Vec::new();
    let mut wholesale = Vec::new();
    for (tier, number) in Tier::ALL.into_iter().zip(1..) {
        // A world each, so that the four sessions are the same in everything but the tier.
        let mut world = World::new();
        let driver = world.customer("PT-LUZ", number, tier);
        let quote = world.charge("t-1", "DE-RHN", &driver).unwrap();
        let [bill] = &world.bill_lines("PT-LUZ")[..] else { panic!("{tier}") };
        assert_eq!((bill.tier, bill.operator), (tier, party("DE-RHN")));
        let Phase::Recorded { cdr, .. } = world.phase("t-1", "DE-RHN") else { panic!("{tier}") };
        assert_eq!(Some(cdr.price), bill.wholesale, "what is booked is what is passed on");
        assert_eq!(quote.wholesale, cdr.price, "it was delivered as quoted");
        assert_eq!(quote.retail, Some(bill.retail.total));
        let sum = bill.retail.lines.iter().map(|l| l.amount.incl_vat).sum::<i64>();
        assert_eq!(sum, bill.retail.total.incl_vat, "the lines add up");
        wholesale.push((cdr.price, cdr.energy, cdr.periods.clone()));
        retail.push(bill.retail.clone());
    }
    assert!(wholesale.windows(2).all(|pair| pair[0] == pair[1]), "{wholesale:?}");
    let totals: Vec<i64> = retail.iter().map(|r| r.total.incl_vat).collect();
    assert!(totals.windows(2).all(|pair| pair[0] > pair[1]), "a higher tier pays less: {totals:?}");
    for (price, (tier, bps)) in retail.iter().zip(Tier::ALL.into_iter().zip([0i64, -500, -1_000, -1_500])) {
        let before: i64 = line(price, |r| {
            matches!(r, LineRule::Wholesale | LineRule::Margin { .. } | LineRule::RoamingFee)
        });
        let discount = line(price, |r| matches!(r, LineRule::Tier { tier: t, .. } if *t == tier));
        assert_eq!(discount, (before * bps).div_euclid(10_000), "{tier}");
        let others = line(price, |r| matches!(r, LineRule::Tier { tier: t, .. } if *t != tier));
        assert_eq!(others, 0);
    }
}

#[test]
fn a_driver_who_shows_up_elsewhere_is_recalled_where_the_driver_was() {
    let mut world = World::new();
    let driver = world.customer("PT-LUZ", 1, Tier::Gold);
    world.charge("e-1", "ES-SLV", &driver).unwrap();
    world.charge("e-2", "ES-SLV", &driver).unwrap();
    assert_eq!(world.authorized_by("e-2", "ES-SLV"), AuthorizedBy::Cache);
    world.charge("n-1", "NO-FJL", &driver).unwrap();
    assert_eq!(world.carried("recall"), 1);
    world.charge("e-3", "ES-SLV", &driver).unwrap();
    assert_eq!(world.authorized_by("e-3", "ES-SLV"), AuthorizedBy::Partner, "the copy is gone");
    assert_eq!(world.billed("PT-LUZ"), ["e-1", "e-2", "e-3", "n-1"]);
}

/// Charges once, commits as `commit` says, loses the rest in a crash, and starts again; the bill lines then.
fn billed_after_a_crash(commit: impl Fn(&mut World)) -> Vec<BillLine> {
    let dir = tempdir();
    let setup = Setup::at(dir.path());
    let mut world = World::at(&setup);
    let driver = world.customer("PT-LUZ", 1, Tier::Gold);
    world.consortium.commit().unwrap();
    world.charge("c-1", "DE-RHN", &driver).unwrap();
    assert!(world.recorded("c-1", "DE-RHN"));
    commit(&mut world);
    drop(world);

    let mut world = World::at(&setup);
    world.consortium.finish().unwrap();
    assert!(matches!(world.phase("c-1", "DE-RHN"), Phase::Recorded { reported: true, .. }));
    world.bill_lines("PT-LUZ")
}

#[test]
fn a_charge_is_billed_once_whoever_forgets_in_a_crash_what_the_ledger_booked() {
    let undisturbed = billed_after_a_crash(|world| world.consortium.finish().unwrap());
    assert_eq!(undisturbed.len(), 1);
    assert_eq!(undisturbed[0].place, "a station");
    let everybody_forgets = billed_after_a_crash(|_| {});
    assert_eq!(everybody_forgets, undisturbed);
    for remembers in ["DE-RHN", "PT-LUZ"] {
        let billed = billed_after_a_crash(|world| {
            world.consortium.gateway(party(remembers)).unwrap().commit().unwrap();
        });
        assert_eq!(billed, undisturbed, "only {remembers} remembers");
    }
}

#[test]
fn a_consortium_is_founded_once_and_alike_for_the_same_seed() {
    let dir = tempdir();
    let entries = |c: &Consortium| c.ledger().entries().unwrap().1;
    let first = entries(&Consortium::open(Seed(3), &Setup::at(dir.path())).unwrap());
    let again = entries(&Consortium::open(Seed(3), &Setup::at(dir.path())).unwrap());
    // Sequences and times of blocks included: no transaction was repeated.
    assert_eq!(again, first, "nothing was founded twice");
    let other = tempdir();
    let twin = entries(&Consortium::open(Seed(3), &Setup::at(other.path())).unwrap());
    assert_eq!(twin, first);
    assert!(Consortium::open(Seed(4), &Setup::at(dir.path())).is_err(), "another network");
}

#[test]
fn a_customer_in_two_places_at_once_is_contested_and_partners_are_compared_with_it() {
    let directory = tempdir();
    let ledger = LedgerSetup { directory: Some(directory.path().into()), ..LedgerSetup::default() };
    let mut world = World::at(&Setup { stores: None, ledger, anomalies: Some(AnomalyRules::DEFAULT) });
    let contract = world.customer("PT-LUZ", 1, Tier::Standard);
    world.charge("s0", "DE-RHN", &contract).unwrap();
    let start = world.now;
    for operator in ["ES-SLV", "DE-RHN"] {
        world.ask(&format!("s-{operator}"), operator, &contract).unwrap();
        assert!(world.accept(&format!("s-{operator}"), operator));
    }
    for operator in ["ES-SLV", "DE-RHN"] {
        world.now = start;
        world.deliver(&format!("s-{operator}"), operator);
    }
    world.consortium.finish().unwrap();
    world.consortium.flush(world.now).unwrap();
    let name = RecordName { operator: party("DE-RHN"), cdr: ShortText::new("s-DE-RHN").unwrap() };
    let case = world.consortium.gateway(party("PT-LUZ")).unwrap().anomaly(&name).unwrap().unwrap();
    assert_eq!(case.state, CaseState::Contested, "{case:?}");
    let overlaps = |finding: &Finding| matches!(finding, Finding::Overlap { with, .. } if with.operator == party("ES-SLV"));
    assert!(case.findings.iter().any(overlaps), "{:?}", case.findings);
    assert!(world.recorded("s-DE-RHN", "DE-RHN"), "it stays booked");
    drop(world);

    let reader = Reader::open(directory.path(), None).unwrap();
    let all = partners::of(&reader, Some(party("PT-LUZ"))).unwrap();
    let of = |operator| all.partners.iter().find(|p| p.operator == party(operator)).unwrap();
    let (contested, other) = (of("DE-RHN"), of("ES-SLV"));
    assert_eq!((contested.records, other.records), (2, 1));
    assert_eq!(contested.energy_milli_wh, 40_000_000);
    assert_eq!((contested.contests.open, other.contests.open), (1, 0));
    // Of 20 kWh each; what the ledger does not know is not zero.
    let per_kwh = contested.micros_per_kwh.unwrap();
    assert_eq!(per_kwh, contested.price_micros / 40);
    assert_eq!((contested.turned_away, contested.uptime_bps), (None, None));
    assert_eq!(all.partners.len(), 2);
    let text = all.to_string();
    assert!(text.contains("uptime: unknown") && text.contains("1 open"), "{text}");
}

#[test]
fn a_reservation_that_no_record_followed_is_counted_once_it_has_expired() {
    let directory = tempdir();
    let ledger = LedgerSetup { directory: Some(directory.path().into()), ..LedgerSetup::default() };
    let mut world = World::at(&Setup { stores: None, ledger, anomalies: None });
    let contract = world.customer("PT-LUZ", 1, Tier::Standard);
    world.charge("s0", "ES-SLV", &contract).unwrap();
    world.ask("in-vain", "ES-SLV", &contract).unwrap();
    assert!(world.accept("in-vain", "ES-SLV"));
    // Longer than any session.
    world.now = world.now.checked_add(minutes(120 * 24 * 60)).unwrap();
    world.charge("s1", "ES-SLV", &contract).unwrap();
    world.ask("under-way", "ES-SLV", &contract).unwrap();
    assert!(world.accept("under-way", "ES-SLV"));
    drop(world);
    let reader = Reader::open(directory.path(), None).unwrap();
    let all = partners::of(&reader, Some(party("PT-LUZ"))).unwrap();
    let [partner] = &all.partners[..] else { panic!("{all}") };
    assert_eq!((partner.records, partner.reservations, partner.reservations_unused), (2, 4, 1));
    assert!(all.to_string().contains("1 of 4 reservations expired without a record"), "{all}");
}
