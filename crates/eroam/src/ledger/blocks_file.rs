//! The blocks of a network as a file: every block with its header, its body, and its certificate where it has one.
//!
//! ```text
//! "eroam-blocks/1\n"
//! network, height of the last block      canonical bytes: 32 and 8 bytes
//! for each block, from the genesis block:
//!   length, RecordedBlock                4 bytes, least significant first; canonical bytes
//! ```
//! The file needs no digest of its own: each block's header commits to its body and to the header before it, and the
//! certificates to headers. Whether all that is so is not looked at here, see [`super::recheck`].

use super::staging::{StagingError, failed};
use borsh::{BorshDeserialize, BorshSerialize};
use eroam_domain::codec::{Digest, from_bytes, to_bytes_with_capacity};
use eroam_ledger::genesis::BLOCK_BYTES_MAX;
use eroam_light::block::{HEADER_BYTES, Header};
use eroam_light::certificate::CERTIFICATE_BYTES_MAX;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

const FORMAT: &[u8; 15] = b"eroam-blocks/1\n";
/// The greatest length of a block with its lengths and its certificate.
const FRAME_BYTES_MAX: usize = HEADER_BYTES + BLOCK_BYTES_MAX as usize + CERTIFICATE_BYTES_MAX + 16;

/// A block as it is handed on.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RecordedBlock {
    /// The header.
    pub header: Header,
    /// The encoded [`eroam_light::block::Body`].
    pub body: Vec<u8>,
    /// The encoded certificate; a block without one is an ancestor of one that has.
    pub certificate: Option<Vec<u8>>,
}

/// Why a file of blocks cannot be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BlocksFileError {
    #[error("{} cannot be read: let this program read it, or copy or export it again", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is no file of blocks, or of another version of this program: use the program that wrote it", .0.display())]
    Format(PathBuf),
    #[error("{} ends within block {height}: it was cut off; copy or export it again", path.display())]
    Truncated { path: PathBuf, height: u64 },
    #[error("block {height} of {} cannot be read: {reason}; copy or export it again", path.display())]
    Frame { path: PathBuf, height: u64, reason: String },
    #[error("{} goes on after block {last}, which is to be the last: copy or export it again", path.display())]
    TooLong { path: PathBuf, last: u64 },
}

/// Writes such a file.
pub(crate) struct BlocksWriter {
    file: BufWriter<File>,
    path: PathBuf,
}

impl BlocksWriter {
    pub(crate) fn create(path: &Path, network: Digest, last: u64) -> Result<Self, StagingError> {
        let file = File::create(path).map_err(failed(path, "create the file"))?;
        let mut writer = Self { file: BufWriter::with_capacity(1 << 20, file), path: path.to_owned() };
        writer.put(FORMAT)?;
        writer.put(&to_bytes_with_capacity(&(network, last), 40))?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StagingError> {
        self.file.write_all(bytes).map_err(failed(&self.path, "write the file"))
    }

    pub(crate) fn block(&mut self, block: &RecordedBlock) -> Result<(), StagingError> {
        let frame = to_bytes_with_capacity(block, block.body.len() + 1024);
        // No block comes near 4 GiB; a frame that were longer could not be read again.
        self.put(&u32::try_from(frame.len()).unwrap_or(u32::MAX).to_le_bytes())?;
        self.put(&frame)
    }

    pub(crate) fn finish(mut self) -> Result<(), StagingError> {
        let flushed = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        flushed.map_err(failed(&self.path, "write the file"))
    }
}

/// Reads such a file, one block at a time.
pub struct BlocksFile {
    file: BufReader<File>,
    path: PathBuf,
    network: Digest,
    last: u64,
    next: u64,
    /// Nothing is read after an error.
    ended: bool,
}

impl BlocksFile {
    /// Opens the file and reads its head.
    ///
    /// # Errors
    /// [`BlocksFileError`].
    pub fn open(path: &Path) -> Result<Self, BlocksFileError> {
        let io = |source| BlocksFileError::Io { path: path.to_owned(), source };
        let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(io)?);
        let mut head = [0; FORMAT.len() + 40];
        let read = file.read_exact(&mut head);
        let no_format = || BlocksFileError::Format(path.to_owned());
        match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(no_format()),
            other => other.map_err(io)?,
        }
        let rest = head.strip_prefix(FORMAT).ok_or_else(no_format)?;
        let (network, last) = from_bytes(rest).map_err(|_| no_format())?;
        Ok(Self { file, path: path.to_owned(), network, last, next: 0, ended: false })
    }

    /// The network that the head names.
    #[must_use]
    pub const fn network(&self) -> Digest {
        self.network
    }

    /// The height of the last block, as the head says.
    #[must_use]
    pub const fn last_height(&self) -> u64 {
        self.last
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), BlocksFileError> {
        self.file.read_exact(buffer).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => {
                BlocksFileError::Truncated { path: self.path.clone(), height: self.next }
            }
            _ => BlocksFileError::Io { path: self.path.clone(), source },
        })
    }

    fn frame(&mut self) -> Result<RecordedBlock, BlocksFileError> {
        let mut length = [0; 4];
        self.read(&mut length)?;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        let bad = |file: &Self, reason: String| BlocksFileError::Frame {
            path: file.path.clone(),
            height: file.next,
            reason,
        };
        if length > FRAME_BYTES_MAX {
            return Err(bad(self, format!("it says that it has {length} bytes, and none has so many")));
        }
        let mut frame = vec![0; length];
        self.read(&mut frame)?;
        from_bytes(&frame).map_err(|reason| bad(self, reason))
    }

    fn end(&mut self) -> Option<Result<RecordedBlock, BlocksFileError>> {
        match self.file.read(&mut [0]) {
            Ok(0) => None,
            Ok(_) => Some(Err(BlocksFileError::TooLong { path: self.path.clone(), last: self.last })),
            Err(source) => Some(Err(BlocksFileError::Io { path: self.path.clone(), source })),
        }
    }
}

impl Iterator for BlocksFile {
    type Item = Result<RecordedBlock, BlocksFileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.next > self.last {
            self.ended = true;
            return self.end();
        }
        let block = self.frame();
        self.ended = block.is_err();
        self.next = self.next.saturating_add(1);
        Some(block)
    }
}
