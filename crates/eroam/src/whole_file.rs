//! Writes a file so that it is there whole or not at all, also after a power cut.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use tempfile::NamedTempFile;

/// How the names of files begin that are being written. A crash leaves one over; nothing reads them.
pub(crate) const PARTIAL: &str = ".partial-";

/// Writes `bytes` to `directory/name` in the place of what is there.
pub(crate) fn write(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = NamedTempFile::with_prefix_in(PARTIAL, directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(directory.join(name))?;
    // Elsewhere than on Unix a directory cannot be opened, and renaming is the system's matter.
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}
