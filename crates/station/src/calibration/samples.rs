//! Measurements of a sensor and its reference as a file: CSV with the columns `time`, `reference_a` and `reading_a`.
//!
//! ```text
//! time,reference_a,reading_a
//! 2026-11-22T08:00:00Z,16.02,15.41
//! ```
//! Empty lines and lines that begin with `#` are passed over. A line that is wrong is named with what is wrong with it, and
//! then nothing is calibrated: which measurements to leave out, whoever measured decides.

use super::{Pair, REFERENCE_MAX_A};
use eroam_wire::ocpi::datetime;
use std::fmt::{self, Write as _};

/// The columns.
pub const HEADER: &str = "time,reference_a,reading_a";
/// More bytes are not read: a measurement each second for a day is below 4 MiB.
pub const SAMPLES_BYTES_MAX: usize = 64 << 20;
/// So many faults are named; of more it is said how many there are.
const FAULTS_NAMED: usize = 20;

/// A line that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which, counted from one.
    pub line: usize,
    /// What is wrong with it, and what it should be.
    pub why: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

/// Why measurements cannot be read: every line that is wrong, of which the first twenty are shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", listed(.0))]
pub struct SamplesError(pub Vec<Fault>);

fn listed(faults: &[Fault]) -> String {
    let named: Vec<String> = faults.iter().take(FAULTS_NAMED).map(ToString::to_string).collect();
    let mut text = named.join("; ");
    let more = faults.len().saturating_sub(FAULTS_NAMED);
    if more > 0 {
        let _ = write!(text, "; and {more} more");
    }
    text
}

/// Reads measurements.
///
/// # Errors
/// [`SamplesError`].
pub fn read(text: &str) -> Result<Vec<Pair>, SamplesError> {
    let only = |line, why: String| SamplesError(vec![Fault { line, why }]);
    if text.len() > SAMPLES_BYTES_MAX {
        return Err(only(1, format!("{} bytes are more than {SAMPLES_BYTES_MAX}: cut it", text.len())));
    }
    let (mut pairs, mut faults) = (Vec::new(), Vec::new());
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim).zip(1_usize..);
    let mut lines = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    let (header, number) =
        lines.next().ok_or_else(|| only(1, format!("nothing is there: begin with {HEADER}")))?;
    if header.replace(' ', "") != HEADER {
        return Err(only(number, format!("the first line must be {HEADER}")));
    }
    for (line, number) in lines {
        match pair(line) {
            Ok(pair) => pairs.push(pair),
            Err(why) => faults.push(Fault { line: number, why }),
        }
    }
    if faults.is_empty() { Ok(pairs) } else { Err(SamplesError(faults)) }
}

fn pair(line: &str) -> Result<Pair, String> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [time, reference, reading] = fields.as_slice() else {
        return Err(format!("{} values instead of three ({HEADER})", fields.len()));
    };
    let at = datetime::parse(time).ok_or_else(|| format!("{time:?} is not {}", datetime::EXPECTED))?;
    let amperes = |name: &str, text: &str| {
        let number: Option<f64> = text.parse().ok().filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| format!("{name} {text:?} is no number of amperes, with a point, such as 16.02"))
    };
    let reference_a = amperes("reference_a", reference)?;
    if !(0.0..=REFERENCE_MAX_A).contains(&reference_a) {
        return Err(format!("reference_a {reference} is not between 0 and {REFERENCE_MAX_A} A"));
    }
    Ok(Pair { at, reference_a, reading_a: amperes("reading_a", reading)? })
}

/// Writes measurements, as [`read`] reads them.
#[must_use]
pub fn write(pairs: &[Pair]) -> String {
    let mut text = format!("{HEADER}\n");
    for Pair { at, reference_a, reading_a } in pairs {
        // A string takes everything.
        let _ = writeln!(text, "{},{reference_a},{reading_a}", datetime::format(*at));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use eroam_domain::time::UnixMillis;
    use proptest::prelude::*;

    fn faults(text: &str) -> Vec<(usize, String)> {
        read(text).unwrap_err().0.into_iter().map(|Fault { line, why }| (line, why)).collect()
    }

    #[test]
    fn measurements_are_read_with_remarks_and_spaces() {
        let text =
            "\u{feff}# bench 2\r\n\r\ntime, reference_a, reading_a\r\n2026-11-22T08:00:00Z, 16.02 ,15.41\r\n";
        let read = read(text).unwrap();
        let at = datetime::parse("2026-11-22T08:00:00Z").unwrap();
        assert_eq!(read, [Pair { at, reference_a: 16.02, reading_a: 15.41 }]);
        assert_eq!(super::read(HEADER), Ok(vec![]));
    }

    #[test]
    fn every_line_that_is_wrong_is_named_with_its_number_and_what_it_should_be() {
        let good = "2026-11-22T08:00:00Z,16.02,15.41";
        let table = [
            ("2026-11-22,16,15", "a date and time in UTC"),
            ("2026-11-22T08:00:00Z,16", "2 values instead of three"),
            ("2026-11-22T08:00:00Z,16,15,9", "4 values instead of three"),
            ("2026-11-22T08:00:00Z,\"16,02\",15", "4 values"),
            ("2026-11-22T08:00:00Z,x,15", "reference_a \"x\" is no number"),
            ("2026-11-22T08:00:00Z,30.01,15", "is not between 0 and 30 A"),
            ("2026-11-22T08:00:00Z,-1,15", "is not between 0 and 30 A"),
            ("2026-11-22T08:00:00Z,1,inf", "reading_a \"inf\" is no number"),
            ("2026-11-22T08:00:00Z,NaN,1", "reference_a \"NaN\" is no number"),
        ];
        for (line, why) in table {
            let found = faults(&format!("{HEADER}\n{good}\n{line}\n{good}\n{line}\n"));
            assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 5], "{line}");
            assert!(found[0].1.contains(why), "{line}: {found:?}");
        }
    }

    #[test]
    fn without_the_columns_nothing_is_read() {
        assert_eq!(faults("")[0].0, 1);
        let found = faults("# measured by hand\n2026-11-22T08:00:00Z,16.02,15.41\n");
        assert_eq!(
            (found[0].0, found[0].1.as_str()),
            (2, "the first line must be time,reference_a,reading_a")
        );
    }

    #[test]
    fn of_many_faults_the_first_are_shown_and_the_others_counted() {
        let text = format!("{HEADER}\n{}", "x\n".repeat(25));
        let said = read(&text).unwrap_err().to_string();
        assert!(said.starts_with("line 2: ") && said.ends_with("; and 5 more"), "{said}");
        assert_eq!(said.matches("line ").count(), 20);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            values in prop::collection::vec((0i64..4_000_000_000_000, 0.0f64..=30.0, -50.0f64..50.0), 0..20),
        ) {
            let pair = |(ms, reference_a, reading_a)| {
                Pair { at: UnixMillis::new(ms).unwrap(), reference_a, reading_a }
            };
            let pairs: Vec<Pair> = values.into_iter().map(pair).collect();
            prop_assert_eq!(read(&write(&pairs)).unwrap(), pairs);
        }

        #[test]
        fn arbitrary_text_is_never_a_panic(text in "(?s).{0,200}") {
            let _ = read(&text);
        }
    }
}
