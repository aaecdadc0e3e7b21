//! Files and directories that are made beside their place and put there whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Why something cannot be put in its place.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// There is something already.
    #[error("{} is not empty: name a new or an empty directory", .0.display())]
    NotEmpty(PathBuf),
    /// Such as `/` or `..`.
    #[error("`{}` names no file or directory that could be made: give it a name", .0.display())]
    NoName(PathBuf),
    /// The system does not let us.
    #[error("{}: cannot {what}: name a place where you may write and the disk has room", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

pub(crate) fn failed(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> StagingError + use<> {
    let path = path.to_owned();
    move |source| StagingError::Io { path, what, source }
}

/// A directory that becomes `target` when it is complete, and goes when it does not.
pub(crate) struct Staging {
    path: PathBuf,
    target: PathBuf,
    is_in_place: bool,
}

fn parent(target: &Path) -> &Path {
    target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A name beside `target` that no other process uses.
fn beside(target: &Path) -> Result<PathBuf, StagingError> {
    let name = target.file_name().ok_or_else(|| StagingError::NoName(target.to_owned()))?;
    Ok(parent(target).join(format!(".{}.partial-{}", name.to_string_lossy(), std::process::id())))
}

fn sync(directory: &Path) -> Result<(), StagingError> {
    let synced = File::open(directory).and_then(|d| d.sync_all());
    synced.map_err(failed(directory, "write the directory"))
}

impl Staging {
    /// An empty directory beside `target`, which must be new or empty.
    pub(crate) fn beside(target: &Path) -> Result<Self, StagingError> {
        match fs::read_dir(target) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(StagingError::NotEmpty(target.to_owned()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(target, "list the directory")(error)),
        }
        let path = beside(target)?;
        fs::create_dir_all(parent(target)).map_err(failed(parent(target), "create the directory"))?;
        fs::create_dir(&path).map_err(failed(&path, "create the directory"))?;
        Ok(Self { path, target: target.to_owned(), is_in_place: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Everything is there, and its files are on the disk.
    pub(crate) fn put_in_place(mut self) -> Result<(), StagingError> {
        sync(&self.path)?;
        if self.target.is_dir() {
            // Not everywhere can a directory take the place of another. This one was empty, and must be still.
            fs::remove_dir(&self.target).map_err(failed(&self.target, "replace the directory"))?;
        }
        fs::rename(&self.path, &self.target)
            .map_err(failed(&self.target, "put the directory in its place"))?;
        self.is_in_place = true;
        sync(parent(&self.target))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.is_in_place {
            // What is left over is hidden and named after its purpose.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Writes a file so that it is there whole or as it was before.
pub(crate) fn write_file(path: &Path, contents: &[u8]) -> Result<(), StagingError> {
    let partial = beside(path)?;
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    let written = write().map_err(failed(path, "write the file"));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written?;
    sync(parent(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_directory_appears_when_it_is_complete_and_leaves_nothing_when_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("new/place");
        let staging = Staging::beside(&target).unwrap();
        fs::write(staging.path().join("file"), "x").unwrap();
        assert!(!target.exists());
        drop(staging);
        assert_eq!(names(&dir.path().join("new")), [""; 0]);
        fs::create_dir(&target).unwrap();
        let staging = Staging::beside(&target).unwrap();
        fs::write(staging.path().join("file"), "x").unwrap();
        staging.put_in_place().unwrap();
        assert_eq!(names(&target), ["file"]);
        assert_eq!(names(&dir.path().join("new")), ["place"]);
        assert!(matches!(Staging::beside(&target), Err(StagingError::NotEmpty(_))));
        assert!(matches!(
            Staging::beside(Path::new("..")),
            Err(StagingError::NoName(_) | StagingError::NotEmpty(_))
        ));
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for text in ["one", "two"] {
            write_file(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(names(dir.path()), ["file"]);
        assert!(write_file(&dir.path().join("nowhere/file"), b"x").is_err());
    }
}
