//! Earlier records of one home utility, in the order that each rule asks for.

use super::{RecordName, Sighting};
use eroam_domain::cdr::EvsePseudonym;
use eroam_domain::codec::Digest;
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::{DurationMs, Watts};
use eroam_domain::time::UnixMillis;
use std::collections::{BTreeMap, VecDeque};

/// How long a record is compared with later ones: as long as the longest windows of an agreement for the session and its
/// record together, so that a copy is found as long as it can be recorded.
pub const SIGHTINGS_KEPT_FOR: DurationMs = DurationMs::from_millis(2 * 60 * 86_400_000);
/// So many earlier records make a pattern at most: older ones say little of what is usual now.
const PATTERN_LENGTH_MAX: usize = 512;

type Place = (PartyId, EvsePseudonym);

/// Earlier records.
#[derive(Debug)]
pub struct History {
    all: BTreeMap<RecordName, Sighting>,
    by_readings: BTreeMap<Digest, RecordName>,
    by_periods: BTreeMap<Digest, RecordName>,
    by_shape: BTreeMap<(PartyId, Digest), RecordName>,
    /// By start, so that those that can overlap are found without looking at all.
    at_evse: BTreeMap<(Place, UnixMillis, RecordName), UnixMillis>,
    of_customer: BTreeMap<(Digest, UnixMillis, RecordName), UnixMillis>,
    /// Mean powers, the newest last, with the records that they are of.
    power_at: BTreeMap<Place, VecDeque<(RecordName, Watts)>>,
    power_of: BTreeMap<PartyId, VecDeque<Watts>>,
    /// The longest session: how far back one can begin that still goes on.
    longest: DurationMs,
}

impl Default for History {
    fn default() -> Self {
        Self {
            all: BTreeMap::new(),
            by_readings: BTreeMap::new(),
            by_periods: BTreeMap::new(),
            by_shape: BTreeMap::new(),
            at_evse: BTreeMap::new(),
            of_customer: BTreeMap::new(),
            power_at: BTreeMap::new(),
            power_of: BTreeMap::new(),
            longest: DurationMs::ZERO,
        }
    }
}

impl History {
    /// Remembers a record; one that is known is replaced where it says more than before.
    pub fn add(&mut self, sighting: Sighting) {
        let name = sighting.name.clone();
        let known = self.all.contains_key(&name);
        let place = (name.operator, sighting.evse);
        self.longest = self.longest.max(sighting.end.since(sighting.start).unwrap_or(DurationMs::ZERO));
        if let Some(customer) = sighting.customer {
            self.of_customer.insert((customer, sighting.start, name.clone()), sighting.end);
        }
        if !known {
            // The first record of something is the original, whoever comes later is the copy.
            self.by_readings.entry(sighting.readings).or_insert_with(|| name.clone());
            self.by_periods.entry(sighting.periods).or_insert_with(|| name.clone());
            self.by_shape.entry((name.operator, sighting.shape)).or_insert_with(|| name.clone());
            self.at_evse.insert((place, sighting.start, name.clone()), sighting.end);
            if let Some(power) = sighting.mean_power().filter(|_| !sighting.flagged) {
                push(self.power_at.entry(place).or_default(), (name.clone(), power));
                push(self.power_of.entry(name.operator).or_default(), power);
            }
        } else if sighting.flagged && self.all.get(&name).is_some_and(|before| !before.flagged) {
            // What it was flagged for was seen late: it no longer counts as usual.
            if let Some(power) = sighting.mean_power() {
                take_out(self.power_at.get_mut(&place), |(of, _)| *of == name);
                take_out(self.power_of.get_mut(&name.operator), |one| *one == power);
            }
        }
        self.all.insert(name, sighting);
    }

    /// A record that was added.
    #[must_use]
    pub fn get(&self, name: &RecordName) -> Option<&Sighting> {
        self.all.get(name)
    }

    /// How many records are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether none are.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Forgets records that ended before `instant`. Patterns stay: they hold no times.
    pub fn forget_before(&mut self, instant: UnixMillis) {
        self.all.retain(|_, s| s.end >= instant);
        let all = &self.all;
        self.by_readings.retain(|_, name| all.contains_key(name));
        self.by_periods.retain(|_, name| all.contains_key(name));
        self.by_shape.retain(|_, name| all.contains_key(name));
        self.at_evse.retain(|_, end| *end >= instant);
        self.of_customer.retain(|_, end| *end >= instant);
    }

    pub(super) fn with_readings(&self, readings: &Digest) -> Option<&RecordName> {
        self.by_readings.get(readings)
    }

    pub(super) fn with_periods(&self, periods: &Digest) -> Option<&RecordName> {
        self.by_periods.get(periods)
    }

    pub(super) fn with_shape(&self, operator: PartyId, shape: &Digest) -> Option<&RecordName> {
        self.by_shape.get(&(operator, *shape))
    }

    /// Records at an EVSE that share time with `sighting`, each with how much.
    pub(super) fn overlaps_at_evse(&self, sighting: &Sighting) -> Vec<(&RecordName, DurationMs)> {
        overlaps(&self.at_evse, (sighting.name.operator, sighting.evse), sighting, self.longest)
    }

    /// Records of a customer that share time with `sighting`, each with how much.
    pub(super) fn overlaps_of_customer(
        &self,
        customer: Digest,
        sighting: &Sighting,
    ) -> Vec<(&RecordName, DurationMs)> {
        overlaps(&self.of_customer, customer, sighting, self.longest)
    }

    /// Mean powers of the newest `count` earlier records of an EVSE that were not flagged.
    pub(super) fn powers_at(
        &self,
        operator: PartyId,
        evse: EvsePseudonym,
        count: usize,
    ) -> impl Iterator<Item = Watts> {
        self.newest_at(operator, evse).map(|(_, power)| power).take(count)
    }

    /// Earlier records of an EVSE that were not flagged with their mean powers, the newest first.
    pub(super) fn newest_at(
        &self,
        operator: PartyId,
        evse: EvsePseudonym,
    ) -> impl Iterator<Item = (&RecordName, Watts)> {
        let powers = self.power_at.get(&(operator, evse)).into_iter().flatten();
        powers.rev().map(|(name, power)| (name, *power))
    }

    /// The mean powers of the newest `count` records of an operator that were not flagged.
    pub(super) fn powers_of(&self, operator: PartyId, count: usize) -> impl Iterator<Item = Watts> {
        self.power_of.get(&operator).into_iter().flatten().rev().take(count).copied()
    }
}

fn push<T>(powers: &mut VecDeque<T>, power: T) {
    if powers.len() >= PATTERN_LENGTH_MAX {
        powers.pop_front();
    }
    powers.push_back(power);
}

fn take_out<T>(powers: Option<&mut VecDeque<T>>, is_it: impl Fn(&T) -> bool) {
    let Some(powers) = powers else { return };
    if let Some(place) = powers.iter().rposition(is_it) {
        powers.remove(place);
    }
}

/// What shares time with a sighting among intervals that are sorted by start; none of them is longer than `longest`.
fn overlaps<'h, K: Ord + Copy>(
    intervals: &'h BTreeMap<(K, UnixMillis, RecordName), UnixMillis>,
    key: K,
    sighting: &Sighting,
    longest: DurationMs,
) -> Vec<(&'h RecordName, DurationMs)> {
    let from = sighting.start.checked_sub(longest).unwrap_or(UnixMillis::EPOCH);
    let mut found = Vec::new();
    let first_name = |at: UnixMillis| (key, at, sighting.name.clone());
    // A name says nothing of the order here; one that sorts before ours at the very first instant would be left out, so
    // the range begins a millisecond early.
    let early = from.checked_sub(DurationMs::from_millis(1)).unwrap_or(from);
    for ((of, start, name), end) in intervals.range(first_name(early)..) {
        if *of != key || *start >= sighting.end {
            break;
        }
        if *name == sighting.name {
            continue;
        }
        let shared = (*end).min(sighting.end).since((*start).max(sighting.start));
        if let Some(shared) = shared.filter(|shared| !shared.is_zero()) {
            found.push((name, shared));
        }
    }
    found
}
