//! Whom a light client believes: the validators of a network's genesis, and what they finalized.

use crate::block::{Header, VERSION};
use crate::certificate::{Certificate, CertificateError, Validators, ValidatorsError};
use eroam_domain::codec::Digest;
use eroam_ledger::genesis::{BlockTime, Genesis};
use std::collections::BTreeMap;

/// How many headers may lie between a block and the certificate that finalizes it. Blocks wait for each other's
/// certificates only while validators disagree or fail.
pub const DESCENDANTS_MAX: usize = 128;

/// Which validators an epoch has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorHistory {
    first: Validators,
    /// By the first epoch of each set.
    later: BTreeMap<u64, Validators>,
}

impl ValidatorHistory {
    /// The same validators from epoch 0 on.
    #[must_use]
    pub const fn new(first: Validators) -> Self {
        Self { first, later: BTreeMap::new() }
    }

    /// Other validators from `epoch` on. Whoever calls this has seen the proof that the earlier ones agreed to it.
    ///
    /// # Errors
    /// [`TrustError::EpochOrder`] unless `epoch` lies after every change so far.
    pub fn change(&mut self, epoch: u64, validators: Validators) -> Result<(), TrustError> {
        let latest = self.later.last_key_value().map_or(0, |(epoch, _)| *epoch);
        if epoch <= latest {
            return Err(TrustError::EpochOrder { epoch, latest });
        }
        self.later.insert(epoch, validators);
        Ok(())
    }

    /// The validators of `epoch`. Those of the last change are taken to stay for ever.
    #[must_use]
    pub fn validators_at(&self, epoch: u64) -> &Validators {
        self.later.range(..=epoch).next_back().map_or(&self.first, |(_, validators)| validators)
    }
}

/// What everything is checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    network: Digest,
    epoch_blocks: u64,
    validators: ValidatorHistory,
    time: BlockTime,
}

/// Why there is nothing to trust.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The genesis names no proper set of validators.
    #[error("the genesis does not name its validators")]
    Validators(#[from] ValidatorsError),
    /// An epoch without blocks.
    #[error("the genesis has epochs of no blocks")]
    EpochBlocks,
    /// Changes are added in their order.
    #[error("validators cannot change in epoch {epoch}, after a change in epoch {latest}")]
    EpochOrder {
        /// The change.
        epoch: u64,
        /// The latest before it.
        latest: u64,
    },
}

/// A header that a quorum of its network's validators finalized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalizedHeader {
    header: Header,
}

impl FinalizedHeader {
    /// The header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }
}

/// Why a header is not finalized.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FinalityError {
    /// Of another network.
    #[error("this is about network {found}, the genesis is that of {expected}")]
    WrongNetwork {
        /// The trusted one.
        expected: Digest,
        /// The stated one.
        found: Digest,
    },
    /// More than [`DESCENDANTS_MAX`].
    #[error("{0} headers lie between the block and its certificate, more than {DESCENDANTS_MAX}")]
    TooManyDescendants(usize),
    /// A format of the future.
    #[error("header {height} has version {found}, this program knows {VERSION}")]
    WrongVersion {
        /// The header.
        height: u64,
        /// Its version.
        found: u8,
    },
    /// The epoch does not follow from the height: validators of one epoch have no say about the blocks of another.
    #[error("header {height} says epoch {found}, its height gives {expected}")]
    WrongEpoch {
        /// The header.
        height: u64,
        /// By the height.
        expected: u64,
        /// In the header.
        found: u64,
    },
    /// The certificate is none.
    #[error("the certificate proves nothing")]
    Certificate(#[from] CertificateError),
    /// The certificate is another block's.
    #[error("the certificate finalizes block {finalized}, not header {height}, which is {found}")]
    WrongBlock {
        /// The header that should be certified.
        height: u64,
        /// Its digest.
        found: Digest,
        /// What is certified.
        finalized: Digest,
    },
    /// Epoch or view of header and certificate do not agree.
    #[error("header {height} is of epoch {}, view {}, its certificate of epoch {}, view {}", .header.0, .header.1, .certificate.0, .certificate.1)]
    WrongRound {
        /// The header.
        height: u64,
        /// Its epoch and view.
        header: (u64, u64),
        /// The certificate's.
        certificate: (u64, u64),
    },
    /// A header is not the parent of the next.
    #[error("header {height} is not the parent of header {child}")]
    BrokenChain {
        /// The one.
        height: u64,
        /// The one that follows it in the list.
        child: u64,
    },
}

impl Trust {
    /// Trusts a genesis and nothing else.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn from_genesis(genesis: &Genesis) -> Result<Self, TrustError> {
        let validators = Validators::new(genesis.consensus.validators.iter().map(|v| v.key))?;
        let (consensus, validators) = (&genesis.consensus, ValidatorHistory::new(validators));
        Self::new(genesis.network(), consensus.epoch_blocks, validators, consensus.time)
    }

    /// Trusts a network whose validators have changed since its genesis. `time` is where its blocks' time comes from.
    ///
    /// # Errors
    /// [`TrustError::EpochBlocks`].
    pub fn new(
        network: Digest,
        epoch_blocks: u32,
        validators: ValidatorHistory,
        time: BlockTime,
    ) -> Result<Self, TrustError> {
        if epoch_blocks == 0 {
            return Err(TrustError::EpochBlocks);
        }
        Ok(Self { network, epoch_blocks: u64::from(epoch_blocks), validators, time })
    }

    /// The network: SHA-256 of its genesis.
    #[must_use]
    pub const fn network(&self) -> Digest {
        self.network
    }

    /// Where the time in a header comes from: only that of the validators' clocks says how old a block is.
    #[must_use]
    pub const fn time(&self) -> BlockTime {
        self.time
    }

    /// The validators.
    #[must_use]
    pub const fn validators(&self) -> &ValidatorHistory {
        &self.validators
    }

    /// Checks that `header` is finalized: by the certificate, or because it is an ancestor of the block that the
    /// certificate names. `descendants` are the headers after it, up to that block; mostly there are none.
    ///
    /// Checks: number of descendants, certificate, last header is the certified one, its epoch and view; then for each
    /// header version, epoch, parent.
    ///
    /// # Errors
    /// [`FinalityError`].
    pub fn finalized(
        &self,
        header: Header,
        descendants: &[Header],
        certificate: &[u8],
    ) -> Result<FinalizedHeader, FinalityError> {
        if descendants.len() > DESCENDANTS_MAX {
            return Err(FinalityError::TooManyDescendants(descendants.len()));
        }
        let certificate = Certificate::decode(certificate)?;
        let validators = self.validators.validators_at(certificate.epoch());
        let finalized = certificate.verify(&self.network, validators)?;
        let last = descendants.last().unwrap_or(&header);
        let (height, found) = (last.height, last.digest());
        if found != finalized.payload {
            return Err(FinalityError::WrongBlock { height, found, finalized: finalized.payload });
        }
        // Where a view fails after the last block of an epoch, the next leader proposes that same block again: it then
        // is its own parent.
        let again = self.is_last_of_epoch(height) && finalized.parent_view >= last.view;
        let in_view = finalized.view == last.view && finalized.parent_view == last.parent_view;
        if finalized.epoch != last.epoch || !(in_view || again && finalized.view > last.view) {
            return Err(FinalityError::WrongRound {
                height,
                header: (last.epoch, last.view),
                certificate: (finalized.epoch, finalized.view),
            });
        }
        let mut parent: Option<&Header> = None;
        for next in std::iter::once(&header).chain(descendants) {
            if next.version != VERSION {
                return Err(FinalityError::WrongVersion { height: next.height, found: next.version });
            }
            let (height, found, expected) = (next.height, next.epoch, self.epoch_of(next.height));
            if found != expected {
                return Err(FinalityError::WrongEpoch { height, expected, found });
            }
            if let Some(parent) = parent {
                let is_next = parent.height.checked_add(1) == Some(next.height);
                if !is_next || next.parent != parent.digest() {
                    return Err(FinalityError::BrokenChain { height: parent.height, child: next.height });
                }
            }
            parent = Some(next);
        }
        Ok(FinalizedHeader { header })
    }

    /// Source: `commonware-consensus` 2026.10.0, `types::FixedEpocher`: the genesis block counts.
    fn epoch_of(&self, height: u64) -> u64 {
        // Never zero, see `new`.
        height.checked_div(self.epoch_blocks).unwrap_or_default()
    }

    fn is_last_of_epoch(&self, height: u64) -> bool {
        height.checked_add(1).is_some_and(|next| self.epoch_of(next) != self.epoch_of(height))
    }
}

/// A header with everything that proves it to be finalized, as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalityProof {
    /// The network.
    pub network: Digest,
    /// The header.
    pub header: Header,
    /// The headers after it, up to the one that the certificate names: none if that is `header` itself.
    pub descendants: Vec<Header>,
    /// The certificate's bytes.
    pub certificate: Vec<u8>,
}

impl FinalityProof {
    /// Checks the network, then as [`Trust::finalized`].
    ///
    /// # Errors
    /// [`FinalityError`].
    pub fn verify(&self, trust: &Trust) -> Result<FinalizedHeader, FinalityError> {
        let (expected, found) = (trust.network, self.network);
        if expected != found {
            return Err(FinalityError::WrongNetwork { expected, found });
        }
        trust.finalized(self.header, &self.descendants, &self.certificate)
    }
}
