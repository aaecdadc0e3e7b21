//! A network as files that no database knows of: enough to check it from its genesis, and to begin another network
//! with its state.
//!
//! ```text
//! genesis.json   the network
//! beginning      the snapshot that the network itself began with, if it took up an earlier one's state
//! blocks         every block, see blocks_file.rs
//! state          the state after the last of them, see eroam_ledger::snapshot
//! ```

use super::blocks_file::{BlocksFile, BlocksFileError, BlocksWriter};
use super::reader::{Reader, ReaderError};
use super::staging::{Staging, StagingError, failed};
use eroam_chain::directory::Directory;
use eroam_domain::codec::Digest;
use eroam_ledger::genesis::{Genesis, GenesisError};
use eroam_ledger::snapshot::{
    Contents, Decoder, Entry, Part, SnapshotError, SnapshotHeader, Tally, VERSION, encode,
};
use serde::Serialize;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

const GENESIS: &str = "genesis.json";
const BEGINNING: &str = "beginning";
const BLOCKS: &str = "blocks";
const STATE: &str = "state";

/// Why a ledger cannot be exported, or an export not be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ExportError {
    #[error(transparent)]
    Reader(#[from] ReaderError),
    #[error("the export cannot be written")]
    Staging(#[from] StagingError),
    #[error("the ledger's state is none that can be exported")]
    State(#[source] SnapshotError),
    #[error("{} is no export: it has no {name}; name the directory that `eroam ledger export` wrote", directory.display())]
    Missing { directory: PathBuf, name: &'static str },
    #[error("{} cannot be read: name a file that is there and that you may read", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is no genesis: name the `genesis.json` of a validator's directory, unaltered", path.display())]
    Genesis {
        path: PathBuf,
        #[source]
        source: GenesisError,
    },
    #[error("{} is no whole snapshot of a state: copy or export it again", path.display())]
    Snapshot {
        path: PathBuf,
        #[source]
        source: SnapshotError,
    },
    #[error(transparent)]
    Blocks(#[from] BlocksFileError),
}

/// What was exported.
#[derive(Clone, Debug, Serialize)]
pub struct Exported {
    /// Where.
    pub export: PathBuf,
    /// The network.
    pub network: Digest,
    /// The height of the last block.
    pub height: u64,
    /// Its time.
    pub time: String,
    /// How many blocks, the genesis block included.
    pub blocks: u64,
    /// How many entries the state has.
    pub entries: u64,
    /// [`eroam_ledger::state::state_digest`].
    pub state_digest: Digest,
    /// Stands for the whole state: what people compare before they import it.
    pub snapshot: Digest,
    /// The size of all files together.
    pub bytes: u64,
}

impl fmt::Display for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "exported to    {}", self.export.display())?;
        writeln!(f, "network        {}", self.network)?;
        writeln!(f, "blocks         {}, up to height {} ({})", self.blocks, self.height, self.time)?;
        writeln!(f, "state digest   {}", self.state_digest)?;
        writeln!(f, "entries        {}", self.entries)?;
        writeln!(f, "snapshot       {}", self.snapshot)?;
        write!(f, "size           {:.1} MiB", self.bytes as f64 / 1_048_576.0)
    }
}

/// Writes everything that a validator's directory holds to `target`, a new or an empty directory. `progress` is told
/// how many blocks of how many are written.
///
/// # Errors
/// [`ExportError`]; `target` is then as it was.
pub fn write(
    reader: &Reader,
    target: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Exported, ExportError> {
    let staging = Staging::beside(target)?;
    let place = |name: &str| staging.path().join(name);
    let genesis = reader.client().genesis();
    let network = genesis.network();
    let (header, entries) = reader.entries()?;
    write_file(&place(GENESIS), &[genesis.to_json().as_bytes()])?;
    if genesis.imported.is_some() {
        let kept = Directory::snapshot_file(reader.directory());
        let copied = fs::copy(&kept, place(BEGINNING)).and_then(|_| File::open(place(BEGINNING))?.sync_all());
        copied.map_err(failed(&kept, "copy the file"))?;
    }
    let mut blocks = BlocksWriter::create(&place(BLOCKS), network, header.height)?;
    for (block, done) in reader.blocks(header.height).zip(1..) {
        blocks.block(&block?)?;
        progress(done, header.height.saturating_add(1));
    }
    blocks.finish()?;
    let contents = contents(entries.iter().map(|(k, v)| (k.as_slice(), v.as_slice())));
    let snapshot = SnapshotHeader {
        version: VERSION,
        network,
        height: header.height,
        time: header.time,
        block: header.digest(),
        contents: contents.map_err(ExportError::State)?,
    };
    write_state(&place(STATE), snapshot, &entries)?;
    let bytes = size(staging.path());
    staging.put_in_place()?;
    Ok(Exported {
        export: target.to_owned(),
        network,
        height: header.height,
        time: header.time.to_string(),
        blocks: header.height.saturating_add(1),
        entries: snapshot.contents.count,
        state_digest: snapshot.contents.state,
        snapshot: snapshot.digest(),
        bytes,
    })
}

/// What some entries amount to.
pub(crate) fn contents<'a>(
    entries: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<Contents, SnapshotError> {
    let mut tally = Tally::default();
    for (key, value) in entries {
        tally.add(key, value)?;
    }
    Ok(tally.finish())
}

fn write_file(path: &Path, parts: &[&[u8]]) -> Result<(), StagingError> {
    let write = || {
        let mut file = File::create(path)?;
        parts.iter().try_for_each(|part| file.write_all(part))?;
        file.sync_all()
    };
    write().map_err(failed(path, "write the file"))
}

fn write_state(path: &Path, header: SnapshotHeader, entries: &[Entry]) -> Result<(), ExportError> {
    let io = || failed(path, "write the file");
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(io())?);
    for frame in encode(header, entries.iter().map(|(k, v)| (k.as_slice(), v.as_slice()))) {
        file.write_all(&frame.map_err(ExportError::State)?).map_err(io())?;
    }
    file.flush().and_then(|()| file.get_ref().sync_all()).map_err(io())?;
    Ok(())
}

/// The bytes of all files under a directory; what cannot be looked at counts as nothing.
pub(crate) fn size(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// An export whose genesis was read.
#[derive(Debug)]
pub struct Export {
    directory: PathBuf,
    genesis: Genesis,
}

impl Export {
    /// Opens what [`write()`] wrote.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn open(directory: &Path) -> Result<Self, ExportError> {
        for name in [GENESIS, BLOCKS, STATE] {
            if !directory.join(name).is_file() {
                return Err(ExportError::Missing { directory: directory.to_owned(), name });
            }
        }
        let genesis = read_genesis(&directory.join(GENESIS))?;
        if genesis.imported.is_some() && !directory.join(BEGINNING).is_file() {
            return Err(ExportError::Missing { directory: directory.to_owned(), name: BEGINNING });
        }
        Ok(Self { directory: directory.to_owned(), genesis })
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The genesis that it comes with.
    #[must_use]
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The bytes of the snapshot that the network began with, if there is one.
    ///
    /// # Errors
    /// [`ExportError::Io`].
    pub fn beginning(&self) -> Result<Option<Vec<u8>>, ExportError> {
        self.genesis.imported.is_some().then(|| read(&self.directory.join(BEGINNING))).transpose()
    }

    /// The blocks.
    ///
    /// # Errors
    /// [`ExportError::Blocks`].
    pub fn blocks(&self) -> Result<BlocksFile, ExportError> {
        Ok(BlocksFile::open(&self.directory.join(BLOCKS))?)
    }

    /// The bytes of the state.
    ///
    /// # Errors
    /// [`ExportError::Io`].
    pub fn state_bytes(&self) -> Result<Vec<u8>, ExportError> {
        read(&self.directory.join(STATE))
    }

    /// Reads the state, entry by entry.
    ///
    /// # Errors
    /// [`ExportError`]; what `each` says, too.
    pub fn state<E: From<ExportError>>(
        &self,
        mut each: impl FnMut(Entry) -> Result<(), E>,
    ) -> Result<SnapshotHeader, E> {
        let path = self.directory.join(STATE);
        let io = |source| ExportError::Io { path: path.clone(), source };
        let refused = |source| ExportError::Snapshot { path: path.clone(), source };
        let mut file = File::open(&path).map_err(io)?;
        let (mut decoder, mut piece) = (Decoder::new(), vec![0; 1 << 16]);
        loop {
            let read = file.read(&mut piece).map_err(io)?;
            if read == 0 {
                return Ok(decoder.finish().map_err(refused)?);
            }
            for part in decoder.push(piece.get(..read).unwrap_or_default()).map_err(refused)? {
                if let Part::Entry(entry) = part {
                    each(entry)?;
                }
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ExportError> {
    fs::read(path).map_err(|source| ExportError::Io { path: path.to_owned(), source })
}

/// Reads a genesis file.
///
/// # Errors
/// [`ExportError::Io`], [`ExportError::Genesis`].
pub fn read_genesis(path: &Path) -> Result<Genesis, ExportError> {
    let text =
        fs::read_to_string(path).map_err(|source| ExportError::Io { path: path.to_owned(), source })?;
    Genesis::from_json(&text).map_err(|source| ExportError::Genesis { path: path.to_owned(), source })
}
