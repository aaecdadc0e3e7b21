//! A CSV that another program appends to: each complete new line is read once.
//!
//! The state is a place in the file, kept beside the journal and written after it: after a crash in between, lines are
//! read again, and the journal knows them. A file that is shorter than before, or begins otherwise, is another one and
//! is read from its beginning.

use super::inbox::remedied;
use crate::whole_file;
use eroam_domain::codec::Digest;
use eroam_forecast::series::read::{ReadError, ReadOptions};
use eroam_forecast::series::sample::{Sample, SampleReader};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// The state's name in the state directory.
pub const WATCHED: &str = "watched.json";
/// So many bytes are read at a time; what is left waits for the next time.
const BYTES_AT_ONCE: u64 = 16 << 20;
/// The longest line.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// Why the watched file is not read. It is tried again the next time.
#[derive(Debug, thiserror::Error)]
pub enum WatchedError {
    /// The file.
    #[error("{} cannot be read", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its first line does not say what is where.
    #[error("the first line of {} does not say what its columns are", path.display())]
    Columns {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// The place cannot be kept.
    #[error("how far {} was read cannot be kept in {}", path.display(), state.display())]
    State {
        /// The watched file.
        path: PathBuf,
        /// The state.
        state: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// How far a file was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// Bytes that were read: whole lines.
    offset: u64,
    /// Lines that were read.
    lines: u64,
    /// SHA-256 of the first line, by which the file is known again.
    first_line: Option<Digest>,
}

/// A watched file.
pub(super) struct Watched {
    path: PathBuf,
    /// Where the place is kept.
    directory: PathBuf,
    options: ReadOptions,
    place: Place,
}

/// What new lines say.
#[derive(Debug, Default)]
pub(super) struct NewLines {
    pub(super) samples: Vec<(u64, Sample)>,
    /// Lines that could not be used, each with the reason.
    pub(super) refused: Vec<(u64, String)>,
    /// How far it is then.
    place: Place,
}

impl Watched {
    /// Watches a file; it need not be there yet.
    pub(super) fn new(path: PathBuf, directory: &Path, options: ReadOptions) -> Self {
        // A state that cannot be read is none: the file is read from its beginning, and the journal knows its lines.
        let place =
            std::fs::read(directory.join(WATCHED)).ok().and_then(|json| serde_json::from_slice(&json).ok());
        Self { path, directory: directory.to_owned(), options, place: place.unwrap_or_default() }
    }

    /// The lines that are new since the last [`Watched::done`].
    pub(super) fn new_lines(&self) -> Result<NewLines, WatchedError> {
        let failed = |source| WatchedError::Io { path: self.path.clone(), source };
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.place == Place::default() => {
                return Ok(NewLines::default());
            }
            Err(error) => return Err(failed(error)),
        };
        let length = file.metadata().map_err(failed)?.len();
        let mut file = BufReader::new(file);
        let mut first = Vec::new();
        file.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut first).map_err(failed)?;
        if first.last() != Some(&b'\n') {
            // The first line is not complete yet.
            return Ok(NewLines { place: self.place.clone(), ..NewLines::default() });
        }
        let digest = Digest::of(&first);
        let same = self.place.first_line == Some(digest) && self.place.offset <= length;
        let mut place = if same { self.place.clone() } else { Place::default() };
        place.first_line = Some(digest);
        let first_line = String::from_utf8_lossy(&first);
        let reader = SampleReader::from_first_line(first_line.trim_end(), &self.options);
        let reader = reader.map_err(|source| WatchedError::Columns { path: self.path.clone(), source })?;
        if place.offset == 0 && reader.has_header() {
            place.offset = first.len() as u64;
            place.lines = 1;
        }
        file.seek(SeekFrom::Start(place.offset)).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(BYTES_AT_ONCE).read_to_end(&mut bytes).map_err(failed)?;
        let mut new = NewLines { place, ..NewLines::default() };
        // What is after the last end of a line is still being written.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in bytes.get(..whole).unwrap_or(&[]).split_inclusive(|byte| *byte == b'\n') {
            new.place.offset += line.len() as u64;
            new.place.lines += 1;
            let text = String::from_utf8_lossy(line);
            if text.trim().is_empty() {
                continue;
            }
            match reader.row(text.trim_end()) {
                Ok(sample) => new.samples.push((new.place.lines, sample)),
                Err(fault) => new.refused.push((new.place.lines, remedied(&fault))),
            }
        }
        Ok(new)
    }

    /// The lines were dealt with: they do not come again.
    pub(super) fn done(&mut self, lines: NewLines) -> Result<(), WatchedError> {
        if lines.place == self.place {
            return Ok(());
        }
        self.place = lines.place;
        let json = serde_json::to_vec(&self.place).map_err(io::Error::from);
        let kept = json.and_then(|json| whole_file::write(&self.directory, WATCHED, &json));
        kept.map_err(|source| WatchedError::State {
            path: self.path.clone(),
            state: self.directory.join(WATCHED),
            source,
        })
    }
}
