//! A ledger that no program runs, opened to be read: which of its validators, and what its blocks and state are.

use super::blocks_file::RecordedBlock;
use super::validator_directory;
use eroam_chain::block::Block;
use eroam_chain::client::{Certified, Client};
use eroam_chain::machine::Rules;
use eroam_chain::node::{Node, StartError};
use eroam_chain::read_model::ReadModelError;
use eroam_ledger::port::LedgerError;
use eroam_ledger::snapshot::Entry;
use eroam_light::block::Header;
use eroam_light::trust::FinalityProof;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long the read model may take to be made again.
const INDEXED_WITHIN: Duration = Duration::from_secs(600);

/// Why a ledger cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// Nothing that looks like one.
    #[error(
        "{} holds no ledger: name the directory that was given to `eroam replay --data`, its `ledger`, or that of one \
         validator",
        .0.display()
    )]
    NoLedger(PathBuf),
    /// Another number than those that are there.
    #[error("{} holds no validator {wanted}; there are: {found}", directory.display())]
    NoValidator {
        /// The ledger's directory.
        directory: PathBuf,
        /// Which was asked for.
        wanted: usize,
        /// Which there are.
        found: String,
    },
    /// Nothing to choose from.
    #[error("{} is the directory of one validator: leave --validator out, or name the ledger's directory", .0.display())]
    OneValidator(PathBuf),
    /// The directory does not open.
    #[error("the ledger in {} cannot be opened", directory.display())]
    Open {
        /// The validator's directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: StartError,
    },
    /// Not even the first block is final.
    #[error("the ledger in {} has not begun: start it once with the program that made it", .0.display())]
    NotBegun(PathBuf),
    /// The engine does not answer.
    #[error("the ledger cannot be read")]
    Ledger(#[from] LedgerError),
    /// The read model does not answer.
    #[error("the ledger cannot be searched")]
    ReadModel(#[from] ReadModelError),
    /// No such height.
    #[error("there is no block {wanted}: the latest is {latest}")]
    NoBlock {
        /// What was asked for.
        wanted: u64,
        /// The latest.
        latest: u64,
    },
    /// A height that should be there.
    #[error(
        "block {0} is missing from the directory: take the directory of another validator with --validator"
    )]
    MissingBlock(u64),
    /// A height from before the state that was copied.
    #[error(
        "block {wanted} is not kept here: this validator copied the state of others and keeps the blocks from {from} on; \
         take the directory of another validator with --validator"
    )]
    NotKept {
        /// What was asked for.
        wanted: u64,
        /// The first that is kept.
        from: u64,
    },
    /// No certificate.
    #[error(
        "nothing proves block {0} final yet: start the ledger, so that a block follows it, and ask again"
    )]
    NotCertified(u64),
}

/// A validator's directory, open.
pub struct Reader {
    node: Node,
    directory: PathBuf,
}

fn is_validator(directory: &Path) -> bool {
    directory.join("format").is_file()
}

/// The numbers of the validators under a ledger's directory, in order.
fn validators(ledger: &Path) -> Vec<usize> {
    let entries = std::fs::read_dir(ledger).into_iter().flatten().flatten();
    let number = |name: String| name.strip_prefix("validator-")?.parse().ok();
    let mut numbers: Vec<usize> =
        entries.filter_map(|entry| number(entry.file_name().into_string().ok()?)).collect();
    numbers.retain(|number| is_validator(&validator_directory(ledger, *number)));
    numbers.sort_unstable();
    numbers
}

/// The validator's directory that is meant by `data`: a data directory, a ledger's directory, or itself.
///
/// # Errors
/// [`ReaderError::NoLedger`], [`ReaderError::NoValidator`], [`ReaderError::OneValidator`].
pub fn locate(data: &Path, validator: Option<usize>) -> Result<PathBuf, ReaderError> {
    if is_validator(data) {
        return match validator {
            None => Ok(data.to_owned()),
            Some(_) => Err(ReaderError::OneValidator(data.to_owned())),
        };
    }
    for ledger in [data.to_owned(), data.join("ledger")] {
        let found = validators(&ledger);
        let Some(first) = found.first() else { continue };
        let wanted = validator.unwrap_or(*first);
        if found.contains(&wanted) {
            return Ok(validator_directory(&ledger, wanted));
        }
        let found = found.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        return Err(ReaderError::NoValidator { directory: ledger, wanted, found });
    }
    Err(ReaderError::NoLedger(data.to_owned()))
}

impl Reader {
    /// Opens the ledger that `data` means, see [`locate`].
    ///
    /// # Errors
    /// [`ReaderError`].
    pub fn open(data: &Path, validator: Option<usize>) -> Result<Self, ReaderError> {
        let directory = locate(data, validator)?;
        let node = Node::read(&directory, Arc::new(Rules)).and_then(|starting| starting.ready());
        match node {
            Ok(node) if node.client().latest().height == 0 => Err(ReaderError::NotBegun(directory)),
            Ok(node) => Ok(Self { node, directory }),
            Err(source) => Err(ReaderError::Open { directory, source }),
        }
    }

    /// Whom to ask.
    #[must_use]
    pub const fn client(&self) -> &Client {
        self.node.client()
    }

    /// The validator's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Waits until the read model knows all blocks: it is made again where it was deleted.
    pub(crate) fn wait_for_read_model(&self) {
        // Where it has failed, the next question says why.
        let _ = self.client().read_model().wait_for(self.client().latest().height, INDEXED_WITHIN);
    }

    /// A block that must be there.
    ///
    /// # Errors
    /// [`ReaderError`].
    pub fn block(&self, height: u64) -> Result<Block, ReaderError> {
        let latest = self.client().latest().height;
        if height > latest {
            return Err(ReaderError::NoBlock { wanted: height, latest });
        }
        let from = self.client().holds_from();
        self.client().block(height)?.ok_or(if height < from {
            ReaderError::NotKept { wanted: height, from }
        } else {
            ReaderError::MissingBlock(height)
        })
    }

    /// The blocks up to a height, from the genesis block on, one after the other.
    pub fn blocks(&self, up_to: u64) -> impl Iterator<Item = Result<RecordedBlock, ReaderError>> {
        (0..=up_to).map(|height| {
            let block = self.block(height)?;
            let certificate = self.client().certificate(height)?.map(|bytes| bytes.to_vec());
            Ok(RecordedBlock { header: *block.header(), body: block.body().to_vec(), certificate })
        })
    }

    /// The entries of the latest state in the order of their keys, and the header of its block.
    ///
    /// # Errors
    /// [`ReaderError`].
    pub fn entries(&self) -> Result<(Header, Vec<Entry>), ReaderError> {
        Ok(self.client().entries()?)
    }

    /// What proves that a block is final.
    ///
    /// # Errors
    /// [`ReaderError`]; [`ReaderError::NotCertified`] if nothing does.
    pub fn certified(&self, height: u64) -> Result<Certified, ReaderError> {
        self.client().certified(height)?.ok_or(ReaderError::NotCertified(height))
    }

    /// The same as it travels.
    ///
    /// # Errors
    /// As [`Self::certified`].
    pub fn finality(&self, header: Header) -> Result<FinalityProof, ReaderError> {
        let Certified { descendants, certificate } = self.certified(header.height)?;
        let network = self.client().genesis().network();
        Ok(FinalityProof { network, header, descendants, certificate: certificate.to_vec() })
    }
}
