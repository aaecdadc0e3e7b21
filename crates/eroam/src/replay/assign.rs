//! Who is who in a replay: users become drivers with contracts spread over home utilities, stations are spread over
//! operators. The rule is deterministic and looks at nothing but the data, the seed and the roaming share:
//!
//! 1. A station belongs to organisation number `hash(seed, station) mod n`; its tariff is `hash mod 3` of the three
//!    that every operator has. A port of a station is an EVSE, `<operator>*E<7 characters of the hash>*<port>`.
//! 2. A user of a file is one driver. Where a file names no user, the sessions of a station that start in the same
//!    three hours of the local day, on working days or at the weekend, are one driver's: a pool car's, say.
//! 3. A driver's main operator is the one at whose stations the driver charges most (the first by id in a tie). A
//!    driver roams when `hash(seed, driver)` as a fraction is below the roaming share, and then has a contract with
//!    another organisation, chosen by the same hash; all others have theirs with the main operator. The share of
//!    *sessions* that roam comes close to it and is reported.
//! 4. A contract's instance is `C` and eight characters of the driver's hash; tier, payment option and card follow
//!    from the hash too (60 % standard, 25 % gold, 10 % platinum, 5 % diamond).

use super::input::InputSession;
use crate::consortium::Seed;
use crate::consortium::founders::{Founder, TARIFFS};
use eroam_domain::cdr::SessionId;
use eroam_domain::charge::AllowedZones;
use eroam_domain::codec::{Digest, ShortText};
use eroam_domain::ids::{ContractId, EvseId, PartyId};
use eroam_domain::quantity::WattHours;
use eroam_domain::retail::{PaymentOption, Tier};
use eroam_domain::tariff::TariffId;
use eroam_domain::time::{LocalClock, UnixMillis, UtcOffset};
use eroam_gateway::authenticate::CardDigest;
use eroam_gateway::gateway::Evse;
use eroam_gateway::profiles::{ContractState, HomeProfile, ServicePortfolio};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A share of sessions in parts of a million, so that it is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoamingShare(u32);

impl std::str::FromStr for RoamingShare {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is no share: a number from 0 to 1 is expected, such as 0.5");
        let ppm = eroam_domain::money::parse_decimal(text, 6).map_err(|_| bad())?;
        u32::try_from(ppm).ok().filter(|p| *p <= 1_000_000).map(Self).ok_or_else(bad)
    }
}

impl std::fmt::Display for RoamingShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&eroam_domain::money::decimal(i128::from(self.0), 6, 1))
    }
}

/// A driver and the card in the driver's pocket.
#[derive(Clone, Debug)]
pub struct Driver {
    /// The contract.
    pub contract: ContractId,
    /// The card's uid.
    pub card: String,
    /// The tier.
    pub tier: Tier,
    /// How the driver pays.
    pub payment: PaymentOption,
}

/// A session with its places in the consortium.
#[derive(Clone, Debug)]
pub struct PlannedSession {
    /// The operator's id for it.
    pub id: SessionId,
    /// Who operates the station.
    pub operator: PartyId,
    /// Where: index into [`Assignment::evses`].
    pub evse: usize,
    /// Who: index into [`Assignment::drivers`].
    pub driver: usize,
    /// Plugged in.
    pub start: UnixMillis,
    /// Energy stopped flowing.
    pub charging_end: UnixMillis,
    /// Unplugged.
    pub end: UnixMillis,
    /// Delivered.
    pub energy: WattHours,
    /// The station's clock.
    pub clock: LocalClock,
    /// Where it was read: index into the input sessions.
    pub input: usize,
}

/// Everybody and everything in a replay.
#[derive(Debug, Default)]
pub struct Assignment {
    /// The charging points, by operator.
    pub evses: Vec<(PartyId, Evse)>,
    /// The drivers.
    pub drivers: Vec<Driver>,
    /// The sessions, by start and id.
    pub sessions: Vec<PlannedSession>,
    /// Sessions that cannot be placed: index into the input sessions, field, reason.
    pub unplaced: Vec<(usize, &'static str, String)>,
}

/// Characters of contract instances and EVSE numbers.
const ALPHABET: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// `length` characters of the alphabet from a hash and a counter.
fn code(hash: &Digest, counter: u64, length: usize) -> String {
    let mixed = Digest::of_parts("eroam/replay-code/1", &[&hash.0, &counter.to_le_bytes()]);
    mixed.0.iter().take(length).map(|b| char::from(ALPHABET[usize::from(*b) % 36])).collect()
}

/// The first eight bytes of a hash as a number.
fn number(hash: &Digest) -> u64 {
    let (head, _) = hash.0.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    u64::from_le_bytes(*head)
}

/// How far each repetition is moved: whole weeks beyond the data, so that weekdays stay and nothing overlaps.
fn repeat_shift_ms(sessions: &[InputSession]) -> i64 {
    const YEAR_OF_WEEKS_MS: i64 = 364 * 86_400_000;
    let first = sessions.iter().map(|s| s.start_ms).min().unwrap_or(0);
    let last = sessions.iter().map(|s| s.end_ms).max().unwrap_or(0);
    ((last - first) / YEAR_OF_WEEKS_MS + 1) * YEAR_OF_WEEKS_MS
}

/// The driver of a session, as text.
fn driver_name(session: &InputSession, repetition: u32) -> String {
    match &session.user {
        Some(user) => format!("{:?}/{user}/{repetition}", session.source.format),
        None => {
            const HOUR_MS: i64 = 3_600_000;
            let local = session.start_ms + i64::from(session.offset_start_s) * 1_000;
            let hours = local.div_euclid(HOUR_MS);
            let part_of_day = hours.rem_euclid(24) / 3;
            // 1970-01-01 was a Thursday, so days 2 and 3 of each seven are Saturday and Sunday.
            let weekend = matches!(hours.div_euclid(24).rem_euclid(7), 2 | 3);
            let days = if weekend { "weekend" } else { "working days" };
            format!("{:?}/{}/{days} {part_of_day}/{repetition}", session.source.format, session.station)
        }
    }
}

/// Places every session, `repeat` times.
#[must_use]
pub fn assign(
    inputs: &[InputSession],
    founders: &[Founder],
    seed: Seed,
    share: RoamingShare,
    repeat: u32,
) -> Assignment {
    let mut assignment = Assignment::default();
    let station_hash = |s: &InputSession| {
        seed.derive("station", &[format!("{:?}", s.source.format).as_bytes(), s.station.as_bytes()])
    };
    let operator_of =
        |hash: &Digest| &founders[usize::try_from(number(hash) % founders.len() as u64).unwrap_or(0)];
    let mut evse_places: HashMap<(Digest, u16), usize> = HashMap::new();
    let mut evse_ids: BTreeSet<EvseId> = BTreeSet::new();
    let mut placed: Vec<(usize, usize, PartyId)> = Vec::new();
    for (index, session) in inputs.iter().enumerate() {
        let hash = station_hash(session);
        let founder = operator_of(&hash);
        let place = match evse_places.get(&(hash, session.port)) {
            Some(place) => *place,
            None => {
                let evse = evse(founder, &hash, session, &mut evse_ids);
                assignment.evses.push((founder.party, evse));
                evse_places.insert((hash, session.port), assignment.evses.len() - 1);
                assignment.evses.len() - 1
            }
        };
        placed.push((index, place, founder.party));
    }
    let shift = repeat_shift_ms(inputs);
    let mut contracts: BTreeSet<ContractId> = BTreeSet::new();
    let mut session_ids: HashMap<Digest, u32> = HashMap::new();
    for repetition in 0..repeat {
        let drivers =
            drivers(inputs, &placed, founders, seed, share, repetition, &mut contracts, &mut assignment);
        for (index, place, operator) in &placed {
            let session = &inputs[*index];
            match planned(
                session,
                *index,
                *place,
                *operator,
                drivers[index],
                repetition,
                shift,
                seed,
                &mut session_ids,
            ) {
                Ok(planned) => assignment.sessions.push(planned),
                Err((field, reason)) => assignment.unplaced.push((*index, field, reason)),
            }
        }
    }
    assignment.sessions.sort_by(|a, b| (a.start, &a.id).cmp(&(b.start, &b.id)));
    assignment
}

fn evse(founder: &Founder, hash: &Digest, session: &InputSession, taken: &mut BTreeSet<EvseId>) -> Evse {
    let tariff = TARIFFS[usize::try_from(number(&Digest::of(&hash.0)) % 3).unwrap_or(0)];
    let tariff: TariffId = ShortText::new(tariff).unwrap_or_else(|_| unreachable!("a constant name"));
    let mut counter = 0;
    let id = loop {
        let text = format!(
            "{}*{}*E{}*{}",
            founder.party.country(),
            founder.party.id(),
            code(hash, counter, 7),
            session.port
        );
        // The parts are capitals and digits within the limits, so the text is an EVSE id.
        if let Ok(id) = text.parse::<EvseId>()
            && taken.insert(id.clone())
        {
            break id;
        }
        counter += 1;
    };
    let ascii: String =
        session.station.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).take(48).collect();
    let place = ShortText::new(&format!("{ascii}, port {}", session.port))
        .or_else(|_| ShortText::new("station"))
        .unwrap_or_else(|_| unreachable!("a constant name"));
    Evse { id, place, zone: founder.zone(number(hash)), power: Founder::power(&tariff), tariff }
}

/// The drivers of one repetition: for each input session the index of its driver.
#[allow(clippy::too_many_arguments, reason = "the parts of one documented rule")]
fn drivers(
    inputs: &[InputSession],
    placed: &[(usize, usize, PartyId)],
    founders: &[Founder],
    seed: Seed,
    share: RoamingShare,
    repetition: u32,
    contracts: &mut BTreeSet<ContractId>,
    assignment: &mut Assignment,
) -> HashMap<usize, usize> {
    let mut visits: BTreeMap<String, BTreeMap<PartyId, u32>> = BTreeMap::new();
    let names: Vec<String> = placed.iter().map(|(i, _, _)| driver_name(&inputs[*i], repetition)).collect();
    for ((_, _, operator), name) in placed.iter().zip(&names) {
        *visits.entry(name.clone()).or_default().entry(*operator).or_default() += 1;
    }
    let mut by_name: HashMap<String, usize> = HashMap::with_capacity(visits.len());
    for (name, operators) in visits {
        let hash = seed.derive("driver", &[name.as_bytes()]);
        let main = operators
            .iter()
            .max_by(|(a, x), (b, y)| x.cmp(y).then(b.cmp(a)))
            .map_or(founders[0].party, |(party, _)| *party);
        let roams = number(&hash) % 1_000_000 < u64::from(share.0);
        let others: Vec<PartyId> = founders.iter().map(|f| f.party).filter(|p| *p != main).collect();
        let draw = number(&Digest::of(&hash.0));
        let home = if roams && !others.is_empty() {
            others[usize::try_from(draw % others.len() as u64).unwrap_or(0)]
        } else {
            main
        };
        let mut counter = 0;
        let contract = loop {
            // `C` and eight capitals or digits are an instance of an ISO contract id.
            let candidate = ContractId::from_parts(home, &format!("C{}", code(&hash, counter, 8)));
            if let Ok(contract) = candidate
                && contracts.insert(contract)
            {
                break contract;
            }
            counter += 1;
        };
        let card: String = hash.0.iter().rev().take(7).map(|b| format!("{b:02X}")).collect();
        let tier = match draw / 7 % 100 {
            0..60 => Tier::Standard,
            60..85 => Tier::Gold,
            85..95 => Tier::Platinum,
            _ => Tier::Diamond,
        };
        let payment = PaymentOption::ALL[usize::try_from(draw / 701 % 5).unwrap_or(0)];
        assignment.drivers.push(Driver { contract, card, tier, payment });
        by_name.insert(name, assignment.drivers.len() - 1);
    }
    placed.iter().zip(&names).map(|((index, _, _), name)| (*index, by_name[name])).collect()
}

#[allow(clippy::too_many_arguments, reason = "the parts of one documented rule")]
fn planned(
    session: &InputSession,
    input: usize,
    evse: usize,
    operator: PartyId,
    driver: usize,
    repetition: u32,
    shift: i64,
    seed: Seed,
    ids: &mut HashMap<Digest, u32>,
) -> Result<PlannedSession, (&'static str, String)> {
    let moved = |ms: i64| {
        let at = ms.checked_add(shift.checked_mul(i64::from(repetition))?)?;
        UnixMillis::new(at)
    };
    let late = |field| (field, "it would lie beyond the year 9999: repeat less often".to_owned());
    let start = moved(session.start_ms).ok_or_else(|| late("start"))?;
    let charging_end = moved(session.charging_end_ms).ok_or_else(|| late("end"))?;
    let end = moved(session.end_ms).ok_or_else(|| late("end"))?;
    let offset =
        |s| UtcOffset::new(s).ok_or(("time zone", format!("an offset of {s} s from UTC does not exist")));
    let change = match session.offset_change {
        Some((at, seconds)) => Some((moved(at).ok_or_else(|| late("end"))?, offset(seconds)?)),
        None => None,
    };
    let clock = LocalClock { offset: offset(session.offset_start_s)?, change };
    let name = format!(
        "{:?}|{:?}|{:?}|{}|{}|{}|{}|{}",
        session.source.format,
        session.id,
        session.user,
        session.station,
        start.get(),
        end.get(),
        session.energy_milli_wh,
        repetition
    );
    let hash = seed.derive("session", &[name.as_bytes()]);
    // Rows of a file without ids that are equal in everything are sessions of their own; what was read twice is not here
    // any more (`input::Repetitions`).
    let twin = ids.entry(hash).or_default();
    let id = if *twin == 0 { hash } else { Digest::of_parts("twin", &[&hash.0, &twin.to_le_bytes()]) };
    *twin += 1;
    let id = id.to_string();
    let id = id.get(..32).and_then(|s| SessionId::new(s).ok()).ok_or(("id", "no session id".to_owned()))?;
    let energy = WattHours::from_milli_wh(session.energy_milli_wh);
    Ok(PlannedSession { id, operator, evse, driver, start, charging_end, end, energy, clock, input })
}

impl Driver {
    /// The driver's contract, as the home utility with this secret salt keeps it.
    #[must_use]
    pub fn profile(&self, salt: &Digest) -> HomeProfile {
        HomeProfile {
            contract: self.contract,
            state: ContractState::Active,
            valid_from: UnixMillis::EPOCH,
            valid_until: None,
            tier: self.tier,
            payment: self.payment,
            portfolio: ServicePortfolio {
                roaming: true,
                zones: AllowedZones::All,
                priority: 0,
                energy_max: WattHours::from_milli_wh(1_000_000_000),
                amount_max: 1_000_000_000,
            },
            cards: vec![CardDigest::new(salt, &self.contract, &self.card)],
            pin: None,
            wrong_pins: 0,
            visiting: None,
        }
    }
}
