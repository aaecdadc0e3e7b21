//! Opens a file of hourly loads, plain or gzip, and reads it.

use eroam_forecast::series::read::{ReadError, ReadOptions, Reading, read_series};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;

/// How a gzip file begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Why a file of loads cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum LoadFileError {
    #[error("{file} cannot be opened")]
    Open { file: String, source: io::Error },
    #[error("{file} cannot be used")]
    Read { file: String, source: ReadError },
}

/// Reads the series in a file.
///
/// # Errors
/// [`LoadFileError`].
pub fn read_load_file(path: &Path, options: &ReadOptions) -> Result<Reading, LoadFileError> {
    let file = || path.display().to_string();
    let open = |source| LoadFileError::Open { file: file(), source };
    let mut reader = BufReader::new(File::open(path).map_err(open)?);
    let compressed = reader.fill_buf().map_err(open)?.starts_with(&GZIP);
    let input: Box<dyn Read> =
        if compressed { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) };
    read_series(input, options).map_err(|source| LoadFileError::Read { file: file(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const TEXT: &str = "time,mw\n2016-06-01 00:00,5\n2016-06-01 01:00,6\n";

    #[test]
    fn plain_and_gzip_read_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let (plain, packed) = (directory.path().join("a.csv"), directory.path().join("b"));
        std::fs::write(&plain, TEXT).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(File::create(&packed).unwrap(), Default::default());
        encoder.write_all(TEXT.as_bytes()).unwrap();
        encoder.finish().unwrap();
        let options = ReadOptions::new("UTC".parse().unwrap());
        let [plain, packed] = [plain, packed].map(|path| read_load_file(&path, &options).unwrap().series);
        assert_eq!(plain, packed);
        assert_eq!(plain.load().len(), 2);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read_load_file(Path::new("no-such-file"), &ReadOptions::new("UTC".parse().unwrap()));
        assert_eq!(error.unwrap_err().to_string(), "no-such-file cannot be opened");
    }
}
