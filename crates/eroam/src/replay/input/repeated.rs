//! Sessions that were read before: a file that is named twice, or two exports whose times overlap.
//!
//! Why: counted twice, a session is energy that nobody took, a port that no station has, and a bill that is wrong. The name
//! of a file says nothing of that, so what the rows say is compared: format, id, user, station, times and energy.
//!
//! Where rows have ids, a second row that says the same is the same session, also within one file. Where they have none,
//! equal rows of one file are sessions of their own (two vehicles of a car park that came and left together), and of equal
//! rows in a later file so many are known as an earlier file had.
//!
//! What it deliberately does not do: look for sessions that are alike, or for one that an id names twice with other values:
//! which of two is right, nobody here knows.

use super::{FileReport, InputSession, Rejected, SourceRef};
use eroam_domain::codec::Digest;
use std::collections::HashMap;

/// The sessions of the files so far.
#[derive(Debug, Default)]
pub struct Repetitions {
    known: HashMap<Digest, Known>,
}

/// Rows that say the same.
#[derive(Debug)]
struct Known {
    /// Where the first was.
    first: SourceRef,
    /// How many of them a single file had.
    rows: u32,
}

impl Repetitions {
    /// What a person is told of a file from which so many sessions were taken out.
    #[must_use]
    pub fn words(file: &str, repeated: usize) -> String {
        format!("{file}: {repeated} of its sessions were read before, and count once")
    }

    /// Takes out of a file's sessions what was read before, here or in an earlier file, and lists each such row among the
    /// rejected ones; one entry for the whole file where nothing of it is new. Gives how many it took out.
    pub fn take_out(&mut self, report: &mut FileReport) -> usize {
        // What this file has of each row: how many, and where the first was.
        let mut here: HashMap<Digest, Known> = HashMap::new();
        let (mut fresh, mut repeated) = (Vec::with_capacity(report.sessions.len()), Vec::new());
        for session in std::mem::take(&mut report.sessions) {
            let key = content(&session);
            let earlier = self.known.get(&key);
            let of_file = here.entry(key).or_insert_with(|| Known { first: session.source.clone(), rows: 0 });
            let is_known = earlier.is_some_and(|earlier| of_file.rows < earlier.rows);
            let is_named_twice = session.id.is_some() && of_file.rows > 0;
            of_file.rows = of_file.rows.saturating_add(1);
            if is_known || is_named_twice {
                let first = earlier.map_or(&of_file.first, |earlier| &earlier.first).clone();
                repeated.push((session, first));
            } else {
                fresh.push(session);
            }
        }
        for (key, of_file) in here {
            match self.known.get_mut(&key) {
                Some(earlier) => earlier.rows = earlier.rows.max(of_file.rows),
                None => {
                    self.known.insert(key, of_file);
                }
            }
        }
        match repeated.first() {
            Some((session, first)) if fresh.is_empty() => {
                report.rejected.push(whole_file(session, first, repeated.len()));
            }
            _ => report.rejected.extend(repeated.iter().map(|(session, first)| row(session, first))),
        }
        report.sessions = fresh;
        repeated.len()
    }
}

/// What a row says, without where it was read.
fn content(session: &InputSession) -> Digest {
    let who = (format!("{:?}", session.source.format), &session.id, &session.user, &session.station);
    let what = (session.start_ms, session.charging_end_ms, session.end_ms, session.energy_milli_wh);
    Digest::of_value("eroam/replay/row/1", &(who, what))
}

fn row(session: &InputSession, first: &SourceRef) -> Rejected {
    Rejected {
        file: session.source.file.to_string(),
        line: session.source.line,
        item: session.source.item,
        field: "row".into(),
        reason: format!("it says what {} says, which counts already", place(first)),
        remedy: "give every session once: leave the row out of one of the files".into(),
    }
}

fn whole_file(session: &InputSession, first: &SourceRef, rows: usize) -> Rejected {
    Rejected {
        file: session.source.file.to_string(),
        line: 0,
        item: None,
        field: "file".into(),
        reason: format!(
            "all of its {rows} sessions were read before, the first of them in {}: they count once",
            place(first)
        ),
        remedy: "name every file once, and no other file with the same rows".into(),
    }
}

/// `line 7 of a.csv`.
fn place(source: &SourceRef) -> String {
    match source.item {
        Some(item) => format!("item {item} of {}", source.file),
        None => format!("line {} of {}", source.line, source.file),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, read_bytes};
    use super::*;
    use std::sync::Arc;

    fn session(file: &str, line: u64, id: Option<&str>, start_ms: i64) -> InputSession {
        InputSession {
            source: SourceRef { file: Arc::from(file), line, item: None, format: Format::Boulder },
            id: id.map(str::to_owned),
            user: None,
            station: "A".into(),
            port: 1,
            start_ms,
            charging_end_ms: start_ms + 1,
            end_ms: start_ms + 2,
            energy_milli_wh: 1,
            offset_start_s: 0,
            offset_change: None,
        }
    }

    fn report(file: &str, rows: &[(Option<&str>, i64)]) -> FileReport {
        let sessions = rows.iter().zip(2..).map(|((id, start), line)| session(file, line, *id, *start));
        FileReport {
            file: file.to_owned(),
            format: Format::Boulder,
            rows_read: u64::try_from(rows.len()).unwrap(),
            sessions: sessions.collect(),
            rejected: Vec::new(),
            error: None,
        }
    }

    /// What stays of each file: starts of sessions, and file, line and field of what was taken out.
    type Left = (Vec<i64>, Vec<(u64, String)>);

    /// A file: its name, and the id and the time of each of its sessions.
    type File<'a> = (&'a str, &'a [(Option<&'a str>, i64)]);

    fn left(files: &[File<'_>]) -> Vec<Left> {
        let mut repetitions = Repetitions::default();
        let of_file = |(name, rows): &(&str, &[(Option<&str>, i64)])| {
            let mut report = report(name, rows);
            repetitions.take_out(&mut report);
            let refused = report.rejected.into_iter().map(|r| (r.line, r.reason)).collect();
            (report.sessions.iter().map(|s| s.start_ms).collect(), refused)
        };
        files.iter().map(of_file).collect()
    }

    #[test]
    fn a_file_that_is_named_twice_counts_once_and_is_refused_in_one_entry() {
        let rows: &[_] = &[(None, 10), (None, 20), (None, 20)];
        let left = left(&[("a.csv", rows), ("copy.csv", rows)]);
        assert_eq!(
            left[0],
            (vec![10, 20, 20], Vec::new()),
            "equal rows without ids are sessions of their own"
        );
        let reason =
            "all of its 3 sessions were read before, the first of them in line 2 of a.csv: they count once";
        assert_eq!(left[1], (Vec::new(), vec![(0, reason.to_owned())]));
    }

    #[test]
    fn of_exports_that_overlap_every_session_counts_once() {
        let left = left(&[
            ("may.csv", &[(None, 10), (None, 20)]),
            ("june.csv", &[(None, 20), (None, 20), (None, 30)]),
            ("all.csv", &[(None, 20), (None, 20), (None, 20), (None, 40)]),
        ]);
        let known =
            |file: &str, line: u64| format!("it says what line {line} of {file} says, which counts already");
        assert_eq!(left[1], (vec![20, 30], vec![(2, known("may.csv", 3))]));
        assert_eq!(left[2], (vec![20, 40], vec![(2, known("may.csv", 3)), (3, known("may.csv", 3))]));
    }

    #[test]
    fn an_id_that_says_the_same_twice_is_one_session_and_with_other_values_two() {
        let left = left(&[("a.csv", &[(Some("x"), 10), (Some("y"), 10), (Some("x"), 10), (Some("x"), 11)])]);
        let reason = "it says what line 2 of a.csv says, which counts already".to_owned();
        assert_eq!(left[0], (vec![10, 10, 11], vec![(4, reason)]));
    }

    #[test]
    fn the_same_bytes_under_another_name_are_the_same_file() {
        let text = r#"[{"_id":"1","connectionTime":"Thu, 26 Apr 2018 00:00:00 GMT",
            "disconnectTime":"Thu, 26 Apr 2018 01:00:00 GMT","doneChargingTime":null,"kWhDelivered":1.5,
            "sessionID":"s1","stationID":"1-1","timezone":"America/Los_Angeles","userID":"7"}]"#;
        let mut repetitions = Repetitions::default();
        let mut counts = Vec::new();
        for name in ["a.json", "b.json"] {
            let mut report = read_bytes(name, text.as_bytes()).unwrap();
            assert_eq!(report.sessions.len(), 1, "{:?}", report.rejected);
            repetitions.take_out(&mut report);
            counts.push((report.sessions.len(), report.rejected.len()));
        }
        assert_eq!(counts, [(1, 0), (0, 1)]);
    }
}
