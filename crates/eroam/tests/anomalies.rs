//! The anomaly rules over real sessions: how many honest ones they contest, and how many of the frauds that are put
//! among them they find.
//!
//! Frauds are made from real sessions with a fixed seed: energy beyond the station's power, energy times 1.3, the same
//! consumption again on another day, and the same driver elsewhere at the same time. Each is looked at with all honest
//! sessions before it as history, so that what is found is found by the rules and not by another fraud. A change of pattern
//! is ten forged records in a row: a post at which slow vehicles charge suddenly has fast ones, all within its rating.

use eroam::replay::input::{InputSession, infer_ports, read_file};
use eroam_domain::cdr::{AgreementRef, Cdr, ChargingPeriod, EvsePseudonym, Payer, TariffRef};
use eroam_domain::codec::{Digest, ShortText, SignatureBytes};
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Currency, Price};
use eroam_domain::quantity::{DurationMs, WattHours, Watts};
use eroam_domain::tariff::TariffId;
use eroam_domain::time::{LocalClock, UnixMillis};
use eroam_gateway::anomalies::{
    AnomalyRules, Finding, History, Known, RecordName, SIGHTINGS_KEPT_FOR, SecondMeter, SecondMeterKind,
    Sighting, look,
};
use std::collections::{BTreeMap, BTreeSet};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

fn operator() -> PartyId {
    "US-BLD".parse().unwrap()
}

fn at(ms: i64) -> UnixMillis {
    UnixMillis::new(ms).unwrap()
}

fn span(from: i64, to: i64) -> DurationMs {
    DurationMs::from_millis(u64::try_from(to - from).unwrap())
}

fn evse(station: &str, port: u16) -> EvsePseudonym {
    let Digest(bytes) = Digest::of_parts("test evse", &[station.as_bytes(), &port.to_le_bytes()]);
    EvsePseudonym(bytes[..16].try_into().unwrap())
}

/// The record of a session as its operator would make it.
fn record(number: usize, session: &InputSession) -> Cdr {
    let id = format!("r{number}");
    let charging = span(session.start_ms, session.charging_end_ms);
    let parking = span(session.charging_end_ms, session.end_ms);
    let energy = WattHours::from_milli_wh(session.energy_milli_wh);
    let period = ChargingPeriod {
        start: at(session.start_ms),
        energy,
        charging,
        parking,
        reservation: DurationMs::ZERO,
        power: None,
        current: None,
    };
    Cdr {
        id: ShortText::new(&id).unwrap(),
        session: Digest::of(id.as_bytes()),
        agreement: AgreementRef { id: Digest::ZERO, version: 1 },
        tariff: TariffRef { id: TariffId::new("T").unwrap(), version: 1 },
        evse: evse(&session.station, session.port),
        zone: ShortText::new("Z").unwrap(),
        accepted_at: at(session.start_ms),
        start: at(session.start_ms),
        end: at(session.end_ms),
        clock: LocalClock::UTC,
        periods: vec![period],
        energy,
        attestation: None,
        price: Price::ZERO,
        currency: Currency::new("EUR").unwrap(),
        quote: Digest::ZERO,
        readings: Digest::of(id.as_bytes()),
        acceptance: SignatureBytes([0; 64]),
        payer: Payer::Contract { commitment: Digest::ZERO },
    }
}

/// The same record under another id, with other readings.
fn forged(cdr: &Cdr, change: impl FnOnce(&mut Cdr)) -> Cdr {
    let mut forged = cdr.clone();
    forged.id = ShortText::new(&format!("f{}", cdr.id)).unwrap();
    forged.readings = Digest::of(forged.id.as_str().as_bytes());
    change(&mut forged);
    forged
}

fn with_energy(cdr: &mut Cdr, milli_wh: u64) {
    cdr.energy = WattHours::from_milli_wh(milli_wh);
    cdr.periods[0].energy = cdr.energy;
}

/// Moved in time; a negative shift is one into the past.
fn moved(cdr: &mut Cdr, by_ms: i64) {
    for instant in [&mut cdr.start, &mut cdr.end, &mut cdr.accepted_at, &mut cdr.periods[0].start] {
        *instant = at(instant.get() + by_ms);
    }
}

/// The sessions of a file in the order in which they end, as records come.
fn sessions(name: &str) -> Option<Vec<InputSession>> {
    let mut sessions = read_file(&eroam_testkit::data::at(&format!("sessions/{}", name))?).unwrap().sessions;
    infer_ports(&mut sessions).unwrap();
    sessions.sort_by_key(|s| (s.end_ms, s.start_ms, s.station.clone(), s.port));
    Some(sessions)
}

/// How many of how many.
#[derive(Clone, Copy, Default)]
struct Share {
    found: u32,
    of: u32,
}

impl Share {
    fn count(&mut self, found: bool) {
        self.of += 1;
        self.found += u32::from(found);
    }

    fn percent(self) -> f64 {
        100.0 * f64::from(self.found) / f64::from(self.of)
    }
}

fn is_contested(findings: &[Finding]) -> bool {
    AnomalyRules::DEFAULT.contest(findings)
}

/// The records that make a change of pattern together, which are contested together.
fn changed(findings: &[Finding]) -> &[RecordName] {
    let run = findings.iter().find_map(|finding| match finding {
        Finding::LastingChange { run, .. } => Some(&run[..]),
        _ => None,
    });
    run.unwrap_or_default()
}

/// What the rules say of honest sessions.
#[derive(Default)]
struct Honest {
    /// Contested for whatever reason.
    contested: Share,
    /// Contested for a lasting change alone.
    changed: Share,
    /// Noticed, and not contested.
    noticed: Share,
}

impl Honest {
    fn of(
        all: usize,
        hard: &BTreeSet<RecordName>,
        soft: &BTreeSet<RecordName>,
        noticed: &BTreeSet<RecordName>,
    ) -> Self {
        let share = |found: usize| Share { found: found.try_into().unwrap(), of: all.try_into().unwrap() };
        let contested: BTreeSet<_> = hard.union(soft).collect();
        Self {
            contested: share(contested.len()),
            changed: share(soft.difference(hard).count()),
            noticed: share(noticed.iter().filter(|name| !contested.contains(name)).count()),
        }
    }
}

/// What the rules say of every honest session, and of the frauds made from it by `frauds`: records, each with what is
/// known of it, by the name of the fraud.
fn measure(
    sessions: &[InputSession],
    rating: Watts,
    mut frauds: impl FnMut(&Cdr, &Known) -> Vec<(&'static str, Cdr, Known)>,
) -> (Honest, BTreeMap<&'static str, Share>) {
    let rules = AnomalyRules::DEFAULT;
    let mut history = History::default();
    let (mut hard, mut soft, mut noticed) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut caught: BTreeMap<&'static str, Share> = BTreeMap::new();
    for (number, session) in sessions.iter().enumerate() {
        let cdr = record(number, session);
        let customer = session.user.as_ref().map_or_else(|| cdr.session, |user| Digest::of(user.as_bytes()));
        let meter = SecondMeter { kind: SecondMeterKind::Attested, energy: cdr.energy };
        let known = Known {
            agreed_power: Watts::new(350_000),
            rating: Some(rating),
            customer: Some(customer),
            places: 1,
            second_meter: Some(meter),
        };
        // As the gateway does.
        if let Some(before) = cdr.end.checked_sub(SIGHTINGS_KEPT_FOR).filter(|_| number % 1_000 == 0) {
            history.forget_before(before);
        }
        let mut sighting = Sighting::of(operator(), &cdr);
        let findings = look(&rules, &known, &cdr, &sighting, &history);
        if is_contested(&findings) {
            println!("honest session {number} at {}: {}", session.station, findings[0]);
        }
        if findings.iter().any(Finding::is_hard) {
            hard.insert(sighting.name.clone());
        }
        if !findings.is_empty() {
            noticed.insert(sighting.name.clone());
        }
        soft.extend(changed(&findings).iter().cloned());
        sighting.customer = Some(customer);
        sighting.flagged = findings.iter().any(Finding::is_hard);
        let (before_itself, beside_it): (Vec<_>, Vec<_>) =
            frauds(&cdr, &known).into_iter().partition(|(name, ..)| name.starts_with("energy"));
        let mut tell = |name, cdr: &Cdr, known: &Known, history: &History| {
            let findings = look(&rules, known, cdr, &Sighting::of(operator(), cdr), history);
            caught.entry(name).or_default().count(is_contested(&findings));
        };
        // The padded record comes in place of the honest one.
        for (name, cdr, known) in &before_itself {
            tell(name, cdr, known, &history);
        }
        history.add(sighting);
        // A copy comes beside it.
        for (name, cdr, known) in &beside_it {
            tell(name, cdr, known, &history);
        }
    }
    (Honest::of(sessions.len(), &hard, &soft, &noticed), caught)
}

/// So many records in a row are forged.
const RUN: usize = 10;

/// Posts at which slow vehicles charge (up to 60 % of the rating in the median), and from some record on fast ones (90 to
/// 100 %), ten in a row: in how many of these runs a change is contested, and how many of their records.
fn changes_of_pattern(sessions: &[InputSession], rating: Watts) -> (Share, Share) {
    let rules = AnomalyRules::DEFAULT;
    let known = Known {
        agreed_power: Watts::new(350_000),
        rating: Some(rating),
        customer: None,
        places: 1,
        second_meter: None,
    };
    let mut at_evse: BTreeMap<EvsePseudonym, Vec<Cdr>> = BTreeMap::new();
    for (number, session) in sessions.iter().enumerate() {
        let cdr = record(number, session);
        at_evse.entry(cdr.evse).or_default().push(cdr);
    }
    let (mut runs, mut records) = (Share::default(), Share::default());
    let mut random = Random(1);
    for cdrs in at_evse.values() {
        for first in (40..cdrs.len().saturating_sub(RUN)).step_by(25) {
            let mut history = History::default();
            let mut powers = Vec::new();
            for cdr in &cdrs[first.saturating_sub(80)..first] {
                let sighting = Sighting::of(operator(), cdr);
                powers.extend(sighting.mean_power().filter(|power| *power <= rating));
                history.add(sighting);
            }
            let middle = powers.len() / 2;
            if powers.select_nth_unstable(middle).1.get() > rating.get() * 6 / 10 {
                continue;
            }
            let mut contested = BTreeSet::new();
            for cdr in &cdrs[first..first + RUN] {
                let part = 900 + random.below(101);
                let full = rating.energy_over(cdr.periods[0].charging).unwrap().milli_wh();
                let forged = forged(cdr, |c| with_energy(c, (full * part / 1_000).max(1)));
                let sighting = Sighting::of(operator(), &forged);
                let findings = look(&rules, &known, &forged, &sighting, &history);
                contested.extend(
                    changed(&findings).iter().filter(|name| name.cdr.as_str().starts_with('f')).cloned(),
                );
                history.add(sighting);
            }
            runs.count(!contested.is_empty());
            records.found += u32::try_from(contested.len()).unwrap();
            records.of += u32::try_from(RUN).unwrap();
        }
    }
    (runs, records)
}

#[test]
fn frauds_among_public_sessions_are_found_and_honest_ones_are_not_contested() {
    let Some(sessions) = sessions("ev_boulder_2018_2021.csv.gz") else { return };
    // Level 2: 30 A at 240 V.
    let rating = Watts::new(7_200);
    let stations: Vec<EvsePseudonym> = {
        let mut all: Vec<_> = sessions.iter().map(|s| evse(&s.station, s.port)).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let frauds = |cdr: &Cdr, known: &Known| {
        // A record of next to nothing is no fraud worth the trouble. One in five of the others is tried.
        let Digest(seed) = Digest::of(cdr.id.as_str().as_bytes());
        let mut random = Random(u64::from_le_bytes(seed[..8].try_into().unwrap()));
        let milli_wh = cdr.energy.milli_wh();
        if milli_wh < 1_000_000 || random.below(5) > 0 {
            return Vec::new();
        }
        let unmetered = Known { second_meter: None, ..*known };
        let padded = |factor: u64| forged(cdr, |c| with_energy(c, milli_wh * factor / 1_000));
        // So much that the mean power is 1.25 to 4 times the rating.
        let full = rating.energy_over(cdr.periods[0].charging).unwrap().milli_wh();
        let impossible = full * (1_250 + random.below(2_750)) / 1_000;
        let day = 86_400_000 * (1 + i64::try_from(random.below(30)).unwrap());
        let length = cdr.duration().millis();
        let shift = i64::try_from(random.below(2 * length)).unwrap() - i64::try_from(length).unwrap();
        let elsewhere = stations[usize::try_from(random.below(stations.len() as u64)).unwrap()];
        let shifted = forged(cdr, |c| {
            moved(c, shift);
            c.evse = elsewhere;
            with_energy(c, milli_wh * (700 + random.below(500)) / 1_000);
        });
        let energy = SecondMeter { kind: SecondMeterKind::Attested, energy: cdr.energy };
        let metered = Known { second_meter: Some(energy), ..*known };
        vec![
            ("energy beyond power", forged(cdr, |c| with_energy(c, impossible)), unmetered),
            ("energy x 1.3", padded(1_300), unmetered),
            ("energy x 1.3, second meter", padded(1_300), metered),
            ("replay on another day", forged(cdr, |c| moved(c, day)), Known { customer: None, ..unmetered }),
            ("driver in two places", shifted, unmetered),
        ]
    };
    let (Honest { contested, changed, noticed }, caught) = measure(&sessions, rating, frauds);
    println!("honest: {} of {} contested ({:.3} %)", contested.found, contested.of, contested.percent());
    println!("honest: {} of them for a lasting change alone ({:.3} %)", changed.found, changed.percent());
    println!("honest: {} noticed ({:.3} %)", noticed.found, noticed.percent());
    for (name, share) in &caught {
        println!("{name}: {} of {} ({:.1} %)", share.found, share.of, share.percent());
    }
    assert!(contested.of > 23_000);
    assert!(contested.percent() <= 0.06, "{:.3} % of honest sessions contested", contested.percent());
    assert!(
        changed.percent() <= 0.05,
        "{:.3} % of honest sessions contested for a change",
        changed.percent()
    );
    assert!(noticed.percent() <= 1.0, "{:.3} % of honest sessions noticed", noticed.percent());
    for (name, floor) in [
        ("energy beyond power", 100.0),
        ("energy x 1.3", 43.0),
        ("energy x 1.3, second meter", 98.5),
        ("replay on another day", 98.5),
        ("driver in two places", 97.5),
    ] {
        let share = caught[name];
        assert!(share.of > 3_000 && share.percent() >= floor, "{name}: {:.2} %", share.percent());
    }
}

#[test]
fn slow_posts_that_suddenly_have_fast_vehicles_are_found() {
    for (name, rating, runs_min, records_min) in [
        ("ev_boulder_2018_2021.csv.gz", 7_200, 57.0, 53.0),
        ("trondheim_residential_first70.csv", 7_400, 77.0, 75.0),
    ] {
        let Some(sessions) = sessions(name) else { continue };
        let (runs, records) = changes_of_pattern(&sessions, Watts::new(rating));
        println!(
            "{name}: {} of {} runs ({:.1} %), {} of {} records ({:.1} %)",
            runs.found,
            runs.of,
            runs.percent(),
            records.found,
            records.of,
            records.percent()
        );
        assert!(runs.of >= 50 && runs.percent() >= runs_min, "{name}: {:.1} %", runs.percent());
        assert!(records.percent() >= records_min, "{name}: {:.1} %", records.percent());
    }
}

#[test]
fn drivers_with_names_are_contested_rarely() {
    for (name, rating, contested_max) in [
        ("acn_site0002_2021_first70.json", 80_000, 0.5),
        ("workplace_dataverse_first70.csv", 7_700, 1.0),
        // Which post of a garage a session used is guessed here, and what one gave says little of another.
        ("trondheim_residential_first70.csv", 7_400, 2.0),
    ] {
        let Some(sessions) = sessions(name) else { continue };
        let (Honest { contested, changed, noticed }, _) =
            measure(&sessions, Watts::new(rating), |_, _| Vec::new());
        println!(
            "{name}: {} of {} contested ({:.2} %), {} of them for a lasting change alone, {} noticed",
            contested.found,
            contested.of,
            contested.percent(),
            changed.found,
            noticed.found
        );
        assert!(changed.percent() <= 0.05, "{name}: {:.3} % for a change", changed.percent());
        assert!(contested.percent() <= contested_max, "{name}: {:.2} %", contested.percent());
    }
}
