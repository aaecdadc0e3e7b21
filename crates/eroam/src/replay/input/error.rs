//! Errors that concern a whole file; faults of single rows are in `row`.

use super::Format;

/// Why a file could not be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file is missing or may not be read.
    #[error("{file}: cannot be opened; check the path and the permissions")]
    Open {
        /// File name.
        file: String,
        /// The system's reason.
        #[source]
        cause: std::io::Error,
    },
    /// Reading failed on the way.
    #[error("{file}: reading failed at line {line}; check the disk, or copy the file again")]
    Io {
        /// File name.
        file: String,
        /// Line reached.
        line: u64,
        /// The system's reason.
        #[source]
        cause: std::io::Error,
    },
    /// There is nothing in it.
    #[error("{file}: holds no sessions, it is empty; give a file with at least a header or one session")]
    Empty {
        /// File name.
        file: String,
    },
    /// The bytes are no UTF-8 text where every format needs text.
    #[error("{file}: line {line} is not UTF-8 text (byte {byte} of the file); save it as UTF-8")]
    NotUtf8 {
        /// File name.
        file: String,
        /// 1-based line.
        line: u64,
        /// Offset of the first wrong byte from the beginning of the (unpacked) file.
        byte: u64,
    },
    /// The gzip stream ends early.
    #[error("{file}: the gzip stream ends early, at line {line}; copy or download the file again")]
    GzipTruncated {
        /// File name.
        file: String,
        /// Line reached.
        line: u64,
    },
    /// The gzip stream is damaged.
    #[error("{file}: the gzip stream is damaged at or before line {line}; copy or download the file again")]
    GzipDamaged {
        /// File name.
        file: String,
        /// Line reached.
        line: u64,
        /// What the decoder found.
        #[source]
        cause: std::io::Error,
    },
    /// The JSON document ends in the middle of an item or array.
    #[error(
        "{file}: the JSON item at line {line} has no end; close its brackets and quotes, or, if the file was cut, \
         download it again"
    )]
    JsonCut {
        /// File name.
        file: String,
        /// Line on which the unfinished item begins; the last line if none does.
        line: u64,
    },
    /// The table is of a known format but not complete.
    #[error(
        "{file}: looks like {format} but lacks the columns {}; export it again with these columns",
        list(missing)
    )]
    MissingColumns {
        /// File name.
        file: String,
        /// The format with the most columns in common.
        format: Format,
        /// The columns it lacks.
        missing: Vec<String>,
    },
    /// The table holds one row per day, not per session.
    #[error("{file}: holds daily totals, one row per day, not sessions; accepted are {}", list(&Format::ALL))]
    DailyTotals {
        /// File name.
        file: String,
    },
    /// Nothing known.
    #[error("{file}: of no known format, it begins with `{found}`; accepted are {}", list(&Format::ALL))]
    UnknownFormat {
        /// File name.
        file: String,
        /// How it begins, shortened.
        found: String,
    },
    /// More text than is read.
    #[error("{file}: holds more than {limit_bytes} bytes of text; split it")]
    TooLarge {
        /// File name.
        file: String,
        /// The limit, bytes after unpacking.
        limit_bytes: u64,
    },
    /// Too many bad rows to go on.
    #[error(
        "{file}: stopped at line {line} after {limit} rejected rows; correct the kind of row listed first and retry"
    )]
    TooManyRejected {
        /// File name.
        file: String,
        /// Line reached.
        line: u64,
        /// The limit.
        limit: usize,
    },
    /// The bundled time zone database lacks a zone that a format needs.
    #[error("{file}: the time zone database has no `{zone}`; build with the bundled database")]
    TimeZoneData {
        /// File name.
        file: String,
        /// IANA name.
        zone: String,
    },
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
