//! `eroam study linkage`: whether an operator can tell that two charges were the same driver's.
//!
//! ```text
//! pairs of charges, half of them one driver's ──► all that the operator has of each ──► features of the pair
//!     ──► logistic regression, learned from one half of the pairs, tried on the other ──► how often it is right
//! ```
//! All drivers have the same home utility, registry, tier and zones; when and how much is charged is drawn without regard
//! to who. What is right about more than one half would then be a link in what wallets, stations and gateways do.
//! A measurement that finds nothing is worth something only if it would find something: the same is done with wallets
//! that do one thing wrong, and these must be found. What drivers' habits give away, whatever is done about it, is
//! measured apart, and so is what vouchers give away that are withdrawn on one day and spent on another.
//!
//! Proofs, one-time keys and connections are made with the machine's randomness, so that numbers differ from run to run;
//! drivers, times and energies follow from the seed.

pub mod classifier;
mod crowd;
pub mod features;
mod market;

use super::chart::{Chart, Curve};
use super::report::Report;
use crate::consortium::Seed;
use crate::simulate::SimulateError;
use classifier::{Accuracy, Example, judge};
use crowd::Crowd;
use eroam_gateway::gateway::GatewayError;
use eroam_ssi::anoncreds::{AnonCredsError, PresentError, Timestamp};
use eroam_ssi::protocol::Illegal;
use features::{Comparison, Record};
use market::{DAY_MS, DAYS, Leak, Market, Planned, START_MS, STATIONS};
use serde::Serialize;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Pairs of a month at the operator.
const PAIRS_A_MONTH: usize = 200;
/// Pairs that show which places there are to compare; they are not judged.
const PAIRS_TO_LOOK: usize = 8;
/// The least and the most that is charged, in watt-hours.
const ENERGY_WH: std::ops::Range<u64> = 5_000..50_000;
/// Drivers with habits come within so many seconds of their hour, and take within one so-many-th of their energy.
const HABIT_S: u64 = 1_800;
const HABIT_SHARE: u64 = 10;
/// How many features a report names.
const NAMED: usize = 5;

/// Why the study cannot be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum LinkageError {
    #[error("a credential cannot be used")]
    AnonCreds(#[from] AnonCredsError),
    #[error("nothing can be shown")]
    Present(#[from] PresentError),
    #[error("a message that the protocol does not allow")]
    Illegal(#[from] Illegal),
    #[error("a gateway")]
    Gateway(#[from] GatewayError),
    #[error("the organisations")]
    Simulate(#[from] SimulateError),
    #[error("a study needs at least 4 pairs, in fours, and 2 drivers: {pairs} pairs, {drivers} drivers")]
    TooFew { pairs: usize, drivers: usize },
    #[error("{what}: {why}")]
    Unexpected { what: &'static str, why: String },
    #[error("a thread of the study has failed")]
    Thread,
}

impl LinkageError {
    fn unexpected(what: &'static str, why: impl Display) -> Self {
        Self::Unexpected { what, why: why.to_string() }
    }

    fn of<E: Display>(what: &'static str) -> impl Fn(E) -> Self + Copy {
        move |error| Self::unexpected(what, error)
    }
}

/// The beginning of its files' names.
pub const NAME: &str = "linkage";

/// What to measure.
#[derive(Clone, Debug)]
pub struct LinkageSetup {
    /// Pairs of charges, a multiple of four.
    pub pairs: usize,
    /// Pairs for each of what is measured beside, a multiple of four.
    pub pairs_beside: usize,
    /// Drivers.
    pub drivers: usize,
    /// Threads.
    pub threads: usize,
    /// Drivers, times and energies follow from it.
    pub seed: Seed,
    /// The issuer's keys, made before, as JSON files in a directory; `None`: new ones are made.
    pub issuer_keys: Option<PathBuf>,
}

/// Something that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// What was different.
    pub what: &'static str,
    /// How often the distinguisher was right.
    #[serde(flatten)]
    pub accuracy: Accuracy,
    /// What it went by most.
    pub went_by: Vec<String>,
}

/// The study's results.
#[derive(Clone, Debug, Serialize)]
pub struct Linkage {
    /// Times and energies without regard to the driver, vouchers of the day: what must be as good as guessing.
    #[serde(flatten)]
    pub accuracy: Accuracy,
    /// Whether one half is in the interval.
    pub is_within_noise: bool,
    /// Drivers.
    pub drivers: usize,
    /// Features of a pair.
    pub features: usize,
    /// What it went by most.
    pub went_by: Vec<String>,
    /// Something is wrong on purpose: these must be found.
    pub controls: Vec<Measured>,
    /// Every driver has an hour and an energy: what these give away by themselves.
    pub habits: Measured,
    /// Vouchers are valid for a month, the same for everybody, and withdrawn when there are none: what that gives away.
    pub vouchers_of_a_month: Measured,
    /// What the home utility learns.
    pub provider_learns: Vec<&'static str>,
    /// What was not measured.
    pub not_covered: Vec<&'static str>,
}

/// What the home utility learns with plain vouchers (decisions 0017 and 0020).
pub const PROVIDER_LEARNS: [&str; 3] = [
    "With plain vouchers the home utility learns of each of its customers' charges: it knows for whom it signed each \
     voucher, and the operator's report names the voucher, the station, the time, the energy and the price. It has to bill \
     them. Only the operator does not learn who it was.",
    "It learns on which days a customer withdraws vouchers, and how many. At the moment of a charge it is not asked.",
    "If the home utility and an operator put together what they have, every charge has a name. Blind signatures would \
     change that for vouchers; amounts and times could still be matched.",
];

/// What the distinguisher did not get.
pub const NOT_COVERED: [&str; 5] = [
    "IP addresses, radio and whatever else a telephone shows of itself to a station's network.",
    "Habits: who always comes at the same hour for the same energy can be known again by that. It is measured apart.",
    "Rare sets of zones, rare tiers, a home utility with few customers or a small registry: here all drivers share \
     theirs, and the crowd is as large as it is.",
    "Amounts and times, matched with what the home utility or another operator has.",
    "The vehicle: its charging curve, its plug, its number plate. Cameras.",
];

/// What is measured, and how it differs from what it should be.
#[derive(Clone, Copy)]
struct Variant {
    name: &'static str,
    leak: Option<Leak>,
    habits: bool,
    valid_days: u16,
}

const AS_IT_IS: Variant = Variant { name: "as it is", leak: None, habits: false, valid_days: 1 };

/// SplitMix64: the same everywhere.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }

    fn index(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX);
        usize::try_from(self.below(end)).unwrap_or(0)
    }
}

/// A driver's habits.
struct Habit {
    second: u64,
    energy_wh: u64,
}

struct Study<'a> {
    setup: &'a LinkageSetup,
    crowd: &'a Crowd,
    habits: Vec<Habit>,
}

impl Study<'_> {
    fn charge(&self, variant: &Variant, draw: &mut Draw, driver: usize) -> Result<Planned, LinkageError> {
        let day_s = u64::try_from(DAY_MS / 1_000).unwrap_or(86_400);
        let day = draw.below(u64::try_from(DAYS).unwrap_or(30));
        let (mut second, mut energy_wh) =
            (draw.below(day_s), ENERGY_WH.start + draw.below(ENERGY_WH.end - ENERGY_WH.start));
        if variant.habits {
            let habit = self.habits.get(driver);
            let habit = habit.ok_or_else(|| LinkageError::unexpected("a driver", driver))?;
            second = (habit.second + draw.below(2 * HABIT_S) + day_s - HABIT_S) % day_s;
            let within = habit.energy_wh / HABIT_SHARE;
            energy_wh = habit.energy_wh - within + draw.below(2 * within);
        }
        let ms = (day * day_s + second) * 1_000 + draw.below(1_000);
        let at = market::after_start(i64::try_from(ms).map_err(LinkageError::of("a time"))?)?;
        Ok(Planned { driver, station: 0, at, energy_wh })
    }

    /// Sends each charge to a station that is free, whoever it is: a ledger books no two charges of one EVSE at a time.
    fn assign(planned: &mut [Planned], draw: &mut Draw) -> Result<(), LinkageError> {
        let mut by_time: Vec<&mut Planned> = planned.iter_mut().collect();
        by_time.sort_by_key(|charge| charge.at);
        let mut free_from = [START_MS; STATIONS];
        for charge in by_time {
            let at = charge.at.get();
            let free: Vec<usize> =
                (0..STATIONS).filter(|n| free_from.get(*n).is_some_and(|from| *from < at)).collect();
            let station = free.get(draw.index(free.len())).copied();
            charge.station = station.ok_or_else(|| LinkageError::unexpected("a free station", charge.at))?;
            if let Some(from) = free_from.get_mut(charge.station) {
                *from = charge.ends_at()?.get();
            }
        }
        Ok(())
    }

    /// A month: charges of so many pairs, one driver's and two drivers' in turn, whatever the order of their times.
    fn month(
        &self,
        variant: &Variant,
        number: usize,
        pairs: usize,
    ) -> Result<Vec<(Record, Record, bool)>, LinkageError> {
        let place = u64::try_from(number).unwrap_or(u64::MAX).to_le_bytes();
        let seed = self.setup.seed.derive("linkage", &[variant.name.as_bytes(), &place]);
        let [a, b, c, d, e, f, g, h, ..] = seed.0;
        let mut draw = Draw(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
        let mut planned = Vec::with_capacity(pairs * 2);
        for pair in 0..pairs {
            let one = draw.index(self.setup.drivers);
            let distance = 1 + draw.index(self.setup.drivers - 1);
            let other = if pair % 2 == 1 { one } else { (one + distance) % self.setup.drivers };
            for driver in [one, other] {
                planned.push(self.charge(variant, &mut draw, driver)?);
            }
        }
        Self::assign(&mut planned, &mut draw)?;
        let market = Market::open(self.crowd, self.setup.seed, variant.leak, variant.valid_days)?;
        let mut records = market.run(&planned)?.into_iter().zip(&planned);
        let mut made = Vec::with_capacity(pairs);
        while let (Some((one, first)), Some((other, second))) = (records.next(), records.next()) {
            let same = first.driver == second.driver;
            made.push(if first.at <= second.at { (one, other, same) } else { (other, one, same) });
        }
        if made.len() == pairs { Ok(made) } else { Err(LinkageError::unexpected("pairs", made.len())) }
    }

    fn measure(
        &self,
        variant: &Variant,
        pairs: usize,
        say: &(dyn Fn(&str) + Sync),
    ) -> Result<(Measured, usize), LinkageError> {
        let looked = self.month(variant, usize::MAX, PAIRS_TO_LOOK)?;
        let comparison = Comparison::of(looked.iter().flat_map(|(one, other, _)| [one, other]));
        let months = pairs.div_ceil(PAIRS_A_MONTH);
        let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(months)));
        let work = || -> Result<(), LinkageError> {
            loop {
                let month = next.fetch_add(1, Ordering::Relaxed);
                if month >= months {
                    return Ok(());
                }
                let here = PAIRS_A_MONTH.min(pairs - month * PAIRS_A_MONTH);
                let examples: Vec<Example> = self
                    .month(variant, month, here)?
                    .iter()
                    .map(|(earlier, later, same)| Example {
                        features: comparison.features(earlier, later),
                        same: *same,
                    })
                    .collect();
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                done.push((month, examples));
                say(&format!("{}: {} of {months} months", variant.name, done.len()));
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.setup.threads.max(1)).map(|_| scope.spawn(work)).collect();
            let ended = threads.into_iter().map(|thread| thread.join().map_err(|_| LinkageError::Thread)?);
            ended.collect::<Result<Vec<()>, _>>()
        })?;
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(month, _)| *month);
        let examples: Vec<Example> = done.into_iter().flat_map(|(_, examples)| examples).collect();
        let (accuracy, learned) = judge(&examples);
        let names = comparison.names();
        let named = learned.heaviest().into_iter().take(NAMED).filter(|(_, weight)| *weight != 0.0);
        let went_by =
            named.filter_map(|(place, weight)| Some(format!("{} ({weight:+.2})", names.get(place)?)));
        Ok((Measured { what: variant.name, accuracy, went_by: went_by.collect() }, names.len()))
    }
}

/// Makes the study. `say` hears how far it is.
///
/// # Errors
/// [`LinkageError`].
pub fn linkage(setup: &LinkageSetup, say: &(dyn Fn(&str) + Sync)) -> Result<Linkage, LinkageError> {
    let wrong = |pairs: usize| pairs < 4 || !pairs.is_multiple_of(4);
    if wrong(setup.pairs) || wrong(setup.pairs_beside) || setup.drivers < 2 {
        return Err(LinkageError::TooFew {
            pairs: setup.pairs.min(setup.pairs_beside),
            drivers: setup.drivers,
        });
    }
    if setup.issuer_keys.is_none() {
        say("the home utility makes its key for contracts: safe primes, up to a minute");
    }
    let begins = u64::try_from(START_MS / 1_000).map_err(LinkageError::of("a time"))?;
    let crowd = Crowd::enrol(
        market::emsp()?,
        market::network(setup.seed)?,
        setup.drivers,
        setup.issuer_keys.as_deref(),
        Timestamp::new(begins)?,
    )?;
    let mut draw = Draw(setup.seed.0 ^ 0x006c_696e_6b61_6765);
    let habit = |_| Habit {
        second: draw.below(86_400),
        energy_wh: ENERGY_WH.start + draw.below(ENERGY_WH.end - ENERGY_WH.start),
    };
    let habits = (0..setup.drivers).map(habit).collect();
    let study = Study { setup, crowd: &crowd, habits };
    let (as_it_is, features) = study.measure(&AS_IT_IS, setup.pairs, say)?;
    let beside =
        |variant: Variant| Ok::<_, LinkageError>(study.measure(&variant, setup.pairs_beside, say)?.0);
    let controls = vec![
        beside(Variant {
            name: "the wallet shows its customer id",
            leak: Some(Leak::CustomerId),
            ..AS_IT_IS
        })?,
        beside(Variant {
            name: "the wallet keeps one key for all connections",
            leak: Some(Leak::ConnectionKey),
            ..AS_IT_IS
        })?,
    ];
    Ok(Linkage {
        accuracy: as_it_is.accuracy,
        is_within_noise: as_it_is.accuracy.is_within_noise(),
        drivers: setup.drivers,
        features,
        went_by: as_it_is.went_by,
        controls,
        habits: beside(Variant { name: "drivers have habits", habits: true, ..AS_IT_IS })?,
        vouchers_of_a_month: beside(Variant {
            name: "vouchers are valid for stretches of 30 days",
            valid_days: 30,
            ..AS_IT_IS
        })?,
        provider_learns: PROVIDER_LEARNS.to_vec(),
        not_covered: NOT_COVERED.to_vec(),
    })
}

/// Its report.
#[must_use]
pub fn report(study: &Linkage) -> Report {
    let percent = |accuracy: &Accuracy| {
        let [low, high] = accuracy.ci95;
        format!(
            "{:.2} % of {} pairs (95 %: {:.2} to {:.2} %)",
            accuracy.accuracy * 100.0,
            accuracy.pairs,
            low * 100.0,
            high * 100.0
        )
    };
    let beside = || study.controls.iter().chain([&study.habits, &study.vouchers_of_a_month]);
    let verdict = if study.is_within_noise { "no better than guessing" } else { "not what guessing gives" };
    let mut summary = vec![
        ("told apart rightly".to_owned(), percent(&study.accuracy)),
        ("which is".to_owned(), verdict.to_owned()),
    ];
    summary.extend(study.controls.iter().map(|m| (format!("control: {}", m.what), percent(&m.accuracy))));
    let apart = [&study.habits, &study.vouchers_of_a_month];
    summary.extend(apart.map(|m| (format!("apart: {}", m.what), percent(&m.accuracy))));
    summary
        .extend(study.provider_learns.iter().map(|text| ("the home utility".to_owned(), (*text).to_owned())));
    summary.extend(study.not_covered.iter().map(|text| ("not covered".to_owned(), (*text).to_owned())));
    let row = |what: &str, accuracy: &Accuracy, went_by: &[String]| {
        let [low, high] = accuracy.ci95;
        vec![
            what.to_owned(),
            accuracy.pairs.to_string(),
            format!("{:.4}", accuracy.accuracy),
            format!("{low:.4}"),
            format!("{high:.4}"),
            went_by.join("; "),
        ]
    };
    let mut rows = vec![row(AS_IT_IS.name, &study.accuracy, &study.went_by)];
    rows.extend(beside().map(|m| row(m.what, &m.accuracy, &m.went_by)));
    Report {
        name: NAME,
        title: "Can an operator tell that two charges were the same driver's?".to_owned(),
        notes: vec![
            format!(
                "{} drivers of one home utility, in one registry, with the same tier and zones; half of the pairs are one \
                 driver's. The distinguisher gets what the operator stored (session, evidence with proof request, \
                 presentation and readings, voucher, wholesale line) and what its stations saw (keys, threads, sizes \
                 of envelopes, times): {} features of a pair, learned from one half of the pairs and tried on the other.",
                study.drivers, study.features
            ),
            "Vouchers are of the day of the charge, as a home utility makes them that lets them be valid for one day. \
             What longer ones give away is measured apart: their first day is the day of withdrawal, which \
             the charges of one driver share."
                .to_owned(),
        ],
        summary,
        table: (["what", "pairs", "accuracy", "low", "high", "went by"].map(str::to_owned).to_vec(), rows),
        charts: vec![("", chart(study))],
    }
}

/// The share told apart rightly and its interval, a line for each variant, as it is on top.
fn chart(study: &Linkage) -> Chart {
    let beside = study.controls.iter().chain([&study.habits, &study.vouchers_of_a_month]);
    let all: Vec<(&str, &Accuracy)> = std::iter::once((AS_IT_IS.name, &study.accuracy))
        .chain(beside.map(|m| (m.what, &m.accuracy)))
        .collect();
    let top = all.len() as f64;
    let interval = |(place, (what, accuracy)): (usize, &(&str, &Accuracy))| {
        let at = top - place as f64;
        let [low, high] = accuracy.ci95;
        let points = [low, accuracy.accuracy, high].map(|share| (share * 100.0, at)).to_vec();
        Curve { name: (*what).to_owned(), points, dashed: false }
    };
    let mut curves: Vec<Curve> = all.iter().enumerate().map(interval).collect();
    let guessing = vec![(50.0, 0.5), (50.0, top + 0.5)];
    curves.push(Curve { name: "guessing".to_owned(), points: guessing, dashed: true });
    Chart {
        title: "How often two charges of one driver are told from two of different drivers".to_owned(),
        x: "told apart rightly, % of pairs, with the 95 % interval".to_owned(),
        y: "variant, in the order of the table from the top".to_owned(),
        curves,
    }
}
