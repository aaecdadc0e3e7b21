//! The samples on the disk: a CSV that only grows, durable before anybody is told that a sample was taken.
//!
//! A crash in the middle of a row leaves a line without an end, which is cut off at the next start: nobody was told that
//! it was taken.

use eroam_domain::quantity::Watts;
use eroam_forecast::clock::LoadClock;
use eroam_forecast::hour::UtcHour;
use eroam_forecast::series::sample::Sample;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// The journal's name in the state directory.
pub const JOURNAL: &str = "samples.csv";
/// The first line: what `eroam forecast` takes for its columns and its unit.
const HEADER: &str = "time,load_w\n";
/// The largest journal: more than two centuries of hours, each with one contradiction.
const BYTES_MAX: u64 = 128 << 20;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk.
    #[error("the samples in {} cannot be {what}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("another feed uses {}: stop it, or name another directory", .0.display())]
    InUse(PathBuf),
    /// A line in the middle is none of ours.
    #[error("line {line} of {} is damaged: restore the file from a backup, or correct the line", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Which line.
        line: usize,
    },
    /// It has grown beyond all measure.
    #[error("{} has more than {BYTES_MAX} bytes: begin another directory with its newest years", .0.display())]
    TooLarge(PathBuf),
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// It is new.
    New,
    /// It has come before with the same load.
    Repeated,
    /// Its hour has come before with another load.
    Contradicts,
}

/// The journal, locked for this process.
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    /// What the file holds.
    text: String,
    /// The first load of each hour, and whether another has contradicted it.
    hours: BTreeMap<UtcHour, (Watts, bool)>,
}

impl Journal {
    /// Opens the journal of a directory, or begins one.
    pub(super) fn open(directory: &Path) -> Result<Self, JournalError> {
        let path = directory.join(JOURNAL);
        let failed = |what| {
            let path = path.clone();
            move |source| JournalError::Io { path, what, source }
        };
        std::fs::create_dir_all(directory).map_err(failed("made"))?;
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed("opened"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::InUse(path)),
            Err(TryLockError::Error(source)) => {
                return Err(JournalError::Io { path, what: "locked", source });
            }
        }
        if file.metadata().map_err(failed("read"))?.len() > BYTES_MAX {
            return Err(JournalError::TooLarge(path));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed("read"))?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        text.truncate(whole);
        // What a crash cut off goes; everything before it stays as it is.
        file.set_len(whole as u64).map_err(failed("written"))?;
        file.seek(SeekFrom::End(0)).map_err(failed("written"))?;
        let mut journal = Self { file, path, text: String::new(), hours: BTreeMap::new() };
        if text.is_empty() {
            journal.write(HEADER.to_owned())?;
        } else {
            journal.take_up(&text)?;
            journal.text = text;
        }
        Ok(journal)
    }

    /// Learns what the file holds.
    fn take_up(&mut self, text: &str) -> Result<(), JournalError> {
        for (number, line) in (1..).zip(text.lines()) {
            if number == 1 && line == HEADER.trim_end() {
                continue;
            }
            let sample = parse(line).filter(|_| number > 1);
            let sample =
                sample.ok_or_else(|| JournalError::Damaged { path: self.path.clone(), line: number })?;
            self.note(sample);
        }
        Ok(())
    }

    /// What a sample would be, beside those that are known.
    fn judge(&self, sample: Sample) -> Entered {
        match self.hours.get(&sample.hour) {
            None => Entered::New,
            Some((load, _)) if *load == sample.load => Entered::Repeated,
            Some(_) => Entered::Contradicts,
        }
    }

    fn note(&mut self, sample: Sample) {
        let (load, contradicted) = self.hours.entry(sample.hour).or_insert((sample.load, false));
        *contradicted |= *load != sample.load;
    }

    /// Writes samples down. They are durable when it returns. A repetition is not written again, and an hour that was
    /// contradicted is in doubt already: whoever sends nonsense for ever does not fill the disk.
    pub(super) fn enter(&mut self, samples: &[Sample]) -> Result<Vec<Entered>, JournalError> {
        let mut rows = String::new();
        let mut entered = Vec::with_capacity(samples.len());
        let before = self.hours.clone();
        for sample in samples {
            let what = self.judge(*sample);
            let in_doubt = self.hours.get(&sample.hour).is_some_and(|(_, contradicted)| *contradicted);
            if what == Entered::New || (what == Entered::Contradicts && !in_doubt) {
                let Sample { hour, load } = sample;
                // Writing to a string cannot fail.
                let _ = writeln!(rows, "{hour},{}", load.get());
                self.note(*sample);
            }
            entered.push(what);
        }
        if let Err(error) = self.write(rows) {
            // Nobody is told that they were taken, so they are not.
            self.hours = before;
            return Err(error);
        }
        Ok(entered)
    }

    fn write(&mut self, rows: String) -> Result<(), JournalError> {
        if rows.is_empty() {
            return Ok(());
        }
        if (self.text.len() + rows.len()) as u64 > BYTES_MAX {
            return Err(JournalError::TooLarge(self.path.clone()));
        }
        let end = self.text.len() as u64;
        let written = self.file.write_all(rows.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // Half a row must not be before the next whole one.
            let _ = self.file.set_len(end).and_then(|()| self.file.seek(SeekFrom::Start(end)));
            return Err(JournalError::Io { path: self.path.clone(), what: "written", source });
        }
        self.text.push_str(&rows);
        Ok(())
    }

    /// What the file holds.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// How many hours have a sample.
    pub(super) fn hours(&self) -> usize {
        self.hours.len()
    }

    /// The newest hour that has one.
    pub(super) fn last(&self) -> Option<UtcHour> {
        self.hours.keys().next_back().copied()
    }
}

/// A row of ours.
fn parse(line: &str) -> Option<Sample> {
    let (hour, watts) = line.split_once(',')?;
    let hour = eroam_forecast::series::sample::hour(hour, &LoadClock::utc()).ok()?;
    Some(Sample { hour, load: Watts::new(watts.parse().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(hour: i64, watts: u64) -> Sample {
        Sample { hour: UtcHour::new(hour).unwrap(), load: Watts::new(watts) }
    }

    #[test]
    fn what_was_entered_is_there_after_reopening_whatever_a_crash_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(JOURNAL);
        let mut journal = Journal::open(directory.path()).unwrap();
        let entered = journal.enter(&[sample(400_000, 5), sample(400_001, 6)]).unwrap();
        assert_eq!(entered, [Entered::New, Entered::New]);
        let text = journal.text().to_owned();
        assert_eq!(text, "time,load_w\n2015-08-19T16:00:00Z,5\n2015-08-19T17:00:00Z,6\n");
        drop(journal);
        // Every place at which the writing of a third row can end.
        let row = "2015-08-19T18:00:00Z,7";
        for cut in 0..row.len() {
            std::fs::write(&path, format!("{text}{}", &row[..cut])).unwrap();
            let mut journal = Journal::open(directory.path()).unwrap();
            assert_eq!((journal.text(), journal.hours()), (text.as_str(), 2), "{cut}");
            journal.enter(&[sample(400_002, 7)]).unwrap();
            drop(journal);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{text}{row}\n"), "{cut}");
        }
        // Also of the first line.
        std::fs::write(&path, "time,lo").unwrap();
        assert_eq!(Journal::open(directory.path()).unwrap().text(), HEADER);
    }

    #[test]
    fn repetitions_are_not_written_and_a_contradiction_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(directory.path()).unwrap();
        let all = [sample(1, 5), sample(1, 5), sample(1, 6), sample(1, 7), sample(1, 5)];
        use Entered::{Contradicts, New, Repeated};
        assert_eq!(journal.enter(&all).unwrap(), [New, Repeated, Contradicts, Contradicts, Repeated]);
        assert_eq!(journal.text().lines().count(), 3);
        drop(journal);
        let mut journal = Journal::open(directory.path()).unwrap();
        assert_eq!(journal.enter(&[sample(1, 8)]).unwrap(), [Contradicts]);
        assert_eq!(journal.text().lines().count(), 3);
    }

    #[test]
    fn a_journal_is_used_by_one_process_and_refused_when_it_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path()).unwrap();
        assert!(matches!(Journal::open(directory.path()), Err(JournalError::InUse(_))));
        drop(journal);
        std::fs::write(directory.path().join(JOURNAL), format!("{HEADER}1,2\n")).unwrap();
        assert!(matches!(Journal::open(directory.path()), Err(JournalError::Damaged { line: 2, .. })));
    }
}
