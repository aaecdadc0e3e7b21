//! What is compared of two sessions: every leaf of everything that an operator has of them.
//!
//! ```text
//! text leaf    equal · longest run in common · difference of lengths · of the values, both ways · of the letters
//! number       equal · difference, both ways
//! time of day  difference around the clock
//! all leaves   how many texts of one session stand anywhere in the other
//! ```
//! JSON inside of JSON and OCMF's lines are opened up, so that a value inside of them is a leaf like any other.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Leaves whose last name is this are seconds of a day: late in the evening is close to early in the morning.
pub const SECOND_OF_DAY: &str = "second_of_day";
/// Seconds of a day.
const DAY_S: f64 = 86_400.0;
/// Runs in common are looked for from this length on.
const RUN_MIN: usize = 8;
/// Letters are counted in texts of this length and more.
const LETTERS_MIN: usize = 32;
/// A text that is found elsewhere in the other session has at least this length.
const ELSEWHERE_MIN: usize = 8;
/// Values are compared by so many of their first digits.
const DIGITS: usize = 12;

#[derive(Clone, Debug, PartialEq)]
enum Leaf {
    Text(String),
    Number(f64),
}

/// All that an operator has of a session, by place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    leaves: BTreeMap<String, Leaf>,
}

impl Record {
    /// Opens JSON up.
    #[must_use]
    pub fn of(json: &Value) -> Self {
        let mut record = Self::default();
        record.open("", json);
        record
    }

    fn open(&mut self, place: &str, value: &Value) {
        match value {
            Value::Object(members) => {
                members.iter().for_each(|(name, value)| self.open(&format!("{place}/{name}"), value));
            }
            Value::Array(items) if items.len() > RUN_MIN && items.iter().all(Value::is_u64) => {
                let hex = items.iter().filter_map(Value::as_u64).map(|byte| format!("{byte:02x}"));
                self.put(place, Leaf::Text(hex.collect()));
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(n, value)| self.open(&format!("{place}/{n}"), value));
            }
            Value::String(text) => self.open_text(place, text),
            Value::Number(number) => {
                self.put(place, number.as_f64().map_or(Leaf::Text(number.to_string()), Leaf::Number));
            }
            Value::Bool(_) | Value::Null => self.put(place, Leaf::Text(value.to_string())),
        }
    }

    fn open_text(&mut self, place: &str, text: &str) {
        if text.starts_with("OCMF|") {
            for (line, record) in text.lines().enumerate() {
                for (part, text) in record.split('|').enumerate() {
                    self.open_text(&format!("{place}/{line}/{part}"), text);
                }
            }
            return;
        }
        let inner = text.starts_with(['{', '[']).then(|| serde_json::from_str::<Value>(text).ok()).flatten();
        match inner {
            Some(inner) => self.open(place, &inner),
            None => self.put(place, Leaf::Text(text.to_owned())),
        }
    }

    fn put(&mut self, place: &str, leaf: Leaf) {
        self.leaves.insert(place.to_owned(), leaf);
    }

    /// Whether a text stands in it anywhere, also inside of another one.
    #[must_use]
    pub fn holds(&self, text: &str) -> bool {
        self.leaves.values().any(|leaf| matches!(leaf, Leaf::Text(found) if found.contains(text)))
    }
}

/// Which places are compared, and how: found out once, so that all pairs have the same features.
#[derive(Clone, Debug)]
pub struct Comparison {
    texts: BTreeSet<String>,
    numbers: BTreeSet<String>,
    times_of_day: BTreeSet<String>,
}

/// What is compared of a text.
const TEXT: [&str; 6] = ["equal", "run", "length", "distance", "difference", "letters"];
/// What is compared of a number.
const NUMBER: [&str; 3] = ["equal", "distance", "difference"];

impl Comparison {
    /// Of all places that any of these records has.
    #[must_use]
    pub fn of<'a>(records: impl Iterator<Item = &'a Record>) -> Self {
        let (mut texts, mut numbers, mut times_of_day) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (place, leaf) in records.flat_map(|record| &record.leaves) {
            let kind = match leaf {
                Leaf::Text(_) => &mut texts,
                Leaf::Number(_) if place.ends_with(SECOND_OF_DAY) => &mut times_of_day,
                Leaf::Number(_) => &mut numbers,
            };
            if !kind.contains(place) {
                kind.insert(place.clone());
            }
        }
        Self { texts, numbers, times_of_day }
    }

    /// The features' names, in their order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let each = |places: &BTreeSet<String>, what: &[&str]| -> Vec<String> {
            places.iter().flat_map(|place| what.iter().map(move |what| format!("{place} {what}"))).collect()
        };
        let mut names = each(&self.texts, &TEXT);
        names.extend(each(&self.numbers, &NUMBER));
        names.extend(each(&self.times_of_day, &["around the clock"]));
        names.push("texts anywhere in the other".to_owned());
        names
    }

    /// The features of a pair, the earlier session first.
    #[must_use]
    pub fn features(&self, earlier: &Record, later: &Record) -> Vec<f32> {
        let mut features = Vec::with_capacity(
            self.texts.len() * TEXT.len() + self.numbers.len() * NUMBER.len() + self.times_of_day.len() + 1,
        );
        for place in &self.texts {
            match (earlier.leaves.get(place), later.leaves.get(place)) {
                (Some(Leaf::Text(one)), Some(Leaf::Text(other))) => features.extend(of_texts(one, other)),
                (one, other) => {
                    features.extend([truth(one.is_none() && other.is_none()), 0.0, 0.0, 0.0, 0.0, 0.0])
                }
            }
        }
        let number = |record: &Record, place: &str| match record.leaves.get(place) {
            Some(Leaf::Number(number)) => Some(*number),
            _ => None,
        };
        for place in &self.numbers {
            match (number(earlier, place), number(later, place)) {
                (Some(one), Some(other)) => {
                    let difference = other - one;
                    features.extend([truth(difference == 0.0), difference.abs() as f32, difference as f32]);
                }
                (one, other) => features.extend([truth(one.is_none() && other.is_none()), 0.0, 0.0]),
            }
        }
        for place in &self.times_of_day {
            let apart = match (number(earlier, place), number(later, place)) {
                (Some(one), Some(other)) => {
                    let apart = (other - one).rem_euclid(DAY_S);
                    apart.min(DAY_S - apart)
                }
                _ => 0.0,
            };
            features.push(apart as f32);
        }
        features.push(elsewhere(earlier, later));
        features
    }
}

fn truth(holds: bool) -> f32 {
    if holds { 1.0 } else { 0.0 }
}

fn of_texts(one: &str, other: &str) -> [f32; 6] {
    let difference = match (value(one), value(other)) {
        (Some(one), Some(other)) => other - one,
        _ => 0.0,
    };
    let shorter = one.len().min(other.len()).max(1);
    let run = if one == other { one.len() } else { longest_run(one.as_bytes(), other.as_bytes()) };
    [
        truth(one == other),
        run as f32 / shorter as f32,
        one.len().abs_diff(other.len()) as f32,
        difference.abs() as f32,
        difference as f32,
        letters_apart(one.as_bytes(), other.as_bytes()),
    ]
}

/// The beginning of a decimal or hexadecimal text, as a number below one: `None` of others.
fn value(text: &str) -> Option<f64> {
    let decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if text.is_empty() || !(decimal || hexadecimal) {
        return None;
    }
    let (radix, base) = if decimal { (10, 10.0) } else { (16, 16.0) };
    let digits = text.chars().take(DIGITS).filter_map(|c| c.to_digit(radix));
    let (value, _) = digits.fold((0.0, 1.0), |(value, place): (f64, f64), digit| {
        let place = place / base;
        (value + f64::from(digit) * place, place)
    });
    Some(value)
}

/// The longest run of letters that stands in both, found by the runs of [`RUN_MIN`] letters that it is made of; zero below
/// that length.
fn longest_run(one: &[u8], other: &[u8]) -> usize {
    let windows = |text: &[u8]| -> Vec<[u8; RUN_MIN]> {
        text.windows(RUN_MIN).filter_map(|window| window.try_into().ok()).collect()
    };
    let mut known = windows(one);
    known.sort_unstable();
    let (mut longest, mut running) = (0, 0);
    for window in windows(other) {
        running = if known.binary_search(&window).is_ok() { running + 1 } else { 0 };
        longest = longest.max(running);
    }
    if longest == 0 { 0 } else { longest + RUN_MIN - 1 }
}

/// How differently letters are spread: from 0, alike, to 2, none in common.
fn letters_apart(one: &[u8], other: &[u8]) -> f32 {
    if one.len() < LETTERS_MIN || other.len() < LETTERS_MIN {
        return 0.0;
    }
    let shares = |text: &[u8]| {
        let mut shares = [0.0_f32; 256];
        let share = 1.0 / text.len() as f32;
        for byte in text {
            if let Some(slot) = shares.get_mut(usize::from(*byte)) {
                *slot += share;
            }
        }
        shares
    };
    shares(one).iter().zip(shares(other)).map(|(one, other)| (one - other).abs()).sum()
}

/// How many different texts of one stand anywhere in the other.
fn elsewhere(one: &Record, other: &Record) -> f32 {
    fn texts(record: &Record) -> BTreeSet<&str> {
        let texts = record.leaves.values().filter_map(|leaf| match leaf {
            Leaf::Text(text) if text.len() >= ELSEWHERE_MIN => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }
    texts(one).intersection(&texts(other)).count() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_inside_of_json_and_lines_of_ocmf_are_opened_up() {
        let readings = "OCMF|{\"PG\":\"T1\"}|{\"SD\":\"AB\"}\nOCMF|{\"PG\":\"T2\"}|{\"SD\":\"CD\"}\n";
        let record = Record::of(&json!({
            "a": {"b": [1, "two"]},
            "proof": "{\"nonce\":\"77\"}",
            "readings": readings,
            "key": [1, 2, 3, 4, 5, 6, 7, 8, 255],
        }));
        let text = |text: &str| Some(Leaf::Text(text.to_owned()));
        assert_eq!(record.leaves.get("/a/b/0"), Some(&Leaf::Number(1.0)));
        assert_eq!(record.leaves.get("/a/b/1").cloned(), text("two"));
        assert_eq!(record.leaves.get("/proof/nonce").cloned(), text("77"));
        assert_eq!(record.leaves.get("/readings/1/1/PG").cloned(), text("T2"));
        assert_eq!(record.leaves.get("/readings/0/2/SD").cloned(), text("AB"));
        assert_eq!(record.leaves.get("/key").cloned(), text("0102030405060708ff"));
        assert!(record.holds("wo") && !record.holds("three"));
    }

    fn feature(one: &Value, other: &Value, name: &str) -> f32 {
        let (one, other) = (Record::of(one), Record::of(other));
        let comparison = Comparison::of([&one, &other].into_iter());
        let names = comparison.names();
        let features = comparison.features(&one, &other);
        assert_eq!(names.len(), features.len());
        features[names.iter().position(|found| found == name).unwrap()]
    }

    #[test]
    fn texts_are_compared_in_every_way() {
        let (one, other) = (json!({"n": "00012345678x"}), json!({"n": "yy12345678zz0"}));
        assert_eq!(feature(&one, &other, "/n equal"), 0.0);
        assert_eq!(feature(&one, &other, "/n run"), 8.0 / 12.0);
        assert_eq!(feature(&one, &other, "/n length"), 1.0);
        assert_eq!(feature(&one, &one, "/n equal"), 1.0);
        assert_eq!(feature(&one, &one, "/n run"), 1.0);
        let (low, high) = (json!({"k": "40ff"}), json!({"k": "80ff"}));
        assert_eq!(feature(&low, &high, "/k difference"), 0.25);
        assert_eq!(feature(&high, &low, "/k difference"), -0.25);
        assert_eq!(feature(&high, &low, "/k distance"), 0.25);
        let (digits, letters) = (json!({"t": "0".repeat(40)}), json!({"t": "a".repeat(40)}));
        assert_eq!(feature(&digits, &letters, "/t letters").round(), 2.0);
    }

    #[test]
    fn numbers_times_of_day_and_texts_in_other_places_are_compared() {
        let one = json!({"n": 5, "second_of_day": 86_000, "a": "a long text", "b": "another text"});
        let other = json!({"n": 2, "second_of_day": 400, "a": "something else", "b": "a long text"});
        assert_eq!(feature(&one, &other, "/n difference"), -3.0);
        assert_eq!(feature(&one, &other, "/n distance"), 3.0);
        assert_eq!(feature(&one, &other, "/second_of_day around the clock"), 800.0);
        assert_eq!(feature(&one, &other, "texts anywhere in the other"), 1.0);
    }

    #[test]
    fn what_only_one_of_them_has_is_a_difference() {
        let (one, other) = (json!({"a": "x", "n": 1}), json!({"a": "x"}));
        assert_eq!(feature(&one, &other, "/n equal"), 0.0);
        assert_eq!(feature(&other, &other, "/a equal"), 1.0);
    }
}
