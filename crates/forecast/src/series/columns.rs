//! Which column of a file holds what: as the caller says, or as the header tells.

use super::read::{ReadError, ReadOptions};
use super::row::parse_time;
use crate::exogenous::ExogenousKind;

/// How a caller names a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnChoice {
    /// By the names that are usual in headers.
    Detect,
    /// By its name in the header, in any case.
    Named(String),
    /// By its place, from 0.
    Index(usize),
}

/// The unit that loads are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadUnit {
    /// W.
    Watt,
    /// kW.
    Kilowatt,
    /// MW.
    Megawatt,
}

impl LoadUnit {
    /// How many watts one is.
    #[must_use]
    pub const fn watts(self) -> f64 {
        match self {
            Self::Watt => 1.0,
            Self::Kilowatt => 1_000.0,
            Self::Megawatt => 1_000_000.0,
        }
    }

    /// The unit that a header names as a word of its own: `load_mw`, `MW`, `demand (kW)`.
    fn in_header(header: &str) -> Option<Self> {
        words(header).into_iter().find_map(|word| match word.as_str() {
            "w" | "watt" | "watts" => Some(Self::Watt),
            "kw" | "kwh" => Some(Self::Kilowatt),
            "mw" | "mwh" => Some(Self::Megawatt),
            _ => None,
        })
    }
}

/// The columns of one file.
pub(super) struct Columns {
    pub(super) time: usize,
    pub(super) load: usize,
    pub(super) unit: LoadUnit,
    pub(super) exogenous: Vec<(usize, ExogenousKind, String)>,
    /// Whether the first line is a header.
    pub(super) header: bool,
}

const TIME_WORDS: [&str; 8] = ["time", "timestamp", "datetime", "date", "ts", "hour", "utc", "zeit"];
const LOAD_WORDS: [&str; 8] = ["load", "mw", "kw", "demand", "consumption", "power", "watts", "last"];

impl Columns {
    /// # Errors
    /// A column or a unit that neither the caller nor the header tells.
    pub(super) fn find(first: &csv::StringRecord, options: &ReadOptions) -> Result<Self, ReadError> {
        let header = !first.iter().any(|field| parse_time(field).is_some());
        let names: Vec<&str> = first.iter().collect();
        let detect_time = || {
            if header {
                by_words(&names, &TIME_WORDS)
            } else {
                names.iter().position(|f| parse_time(f).is_some())
            }
        };
        let time =
            place(&options.time, &names, header, detect_time)?.ok_or_else(|| no_column("time", &names))?;
        let mut exogenous = Vec::new();
        for (choice, kind) in &options.exogenous {
            let detect = || by_words(&names, kind.words()).filter(|_| header);
            let at = place(choice, &names, header, detect)?.ok_or_else(|| no_column(kind.name(), &names))?;
            exogenous.push((at, *kind, kind.name().to_owned()));
        }
        let taken = |at: &usize| *at == time || exogenous.iter().any(|(other, ..)| other == at);
        let detect_load = || {
            let free: Vec<usize> = (0..names.len()).filter(|at| !taken(at)).collect();
            let named = free.iter().copied().find(|at| header && has_word(names[*at], &LOAD_WORDS));
            named.or(if let [only] = free[..] { Some(only) } else { None })
        };
        let load =
            place(&options.load, &names, header, detect_load)?.ok_or_else(|| no_column("load", &names))?;
        let stated = names.get(load).filter(|_| header).and_then(|name| LoadUnit::in_header(name));
        let unit = options.unit.or(stated).ok_or_else(|| ReadError::UnknownUnit {
            column: names.get(load).map_or_else(String::new, |name| (*name).to_owned()),
        })?;
        Ok(Self { time, load, unit, exogenous, header })
    }

    /// How many fields a row needs.
    pub(super) fn width(&self) -> usize {
        self.time.max(self.load) + 1
    }
}

fn place(
    choice: &ColumnChoice,
    names: &[&str],
    header: bool,
    detect: impl FnOnce() -> Option<usize>,
) -> Result<Option<usize>, ReadError> {
    match choice {
        ColumnChoice::Detect => Ok(detect()),
        ColumnChoice::Index(at) if *at < names.len() => Ok(Some(*at)),
        ColumnChoice::Index(at) => Err(no_column(&format!("number {at}"), names)),
        ColumnChoice::Named(name) => {
            let found = names.iter().position(|n| header && n.trim().eq_ignore_ascii_case(name));
            found.map(Some).ok_or_else(|| no_column(name, names))
        }
    }
}

fn no_column(wanted: &str, names: &[&str]) -> ReadError {
    ReadError::NoColumn { wanted: wanted.to_owned(), found: names.join(", ") }
}

/// Lower-case runs of letters.
fn words(name: &str) -> Vec<String> {
    name.split(|c: char| !c.is_alphabetic()).filter(|w| !w.is_empty()).map(str::to_lowercase).collect()
}

fn has_word(name: &str, wanted: &[&str]) -> bool {
    words(name).iter().any(|word| wanted.contains(&word.as_str()))
}

/// The first column with one of the words.
fn by_words(names: &[&str], wanted: &[&str]) -> Option<usize> {
    names.iter().position(|name| has_word(name, wanted))
}
