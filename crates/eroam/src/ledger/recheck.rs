//! Checks a network from its genesis without believing whoever kept it: every block is linked to the one before it and
//! certified by the validators, itself or by a later block, and every envelope is executed again by the ledger's rules
//! on a state in memory. The outcomes must be the recorded ones, and the state at the end the one that was kept.
//!
//! ```text
//! genesis (and snapshot) -> genesis block -> beginning -> block -> .. -> block -> state at the end = state that is kept
//!                              ^ linked, certified, executed again ---------^
//! ```
//! A network that took up an earlier one's state begins with that state, as its genesis names it: the earlier network is
//! checked by itself. The roots of the state in headers are not computed again: they are roots of the engine's own
//! database. What the validators signed is compared with what the rules give, by outcomes and by the state at the end.

use super::blocks_file::{BlocksFileError, RecordedBlock};
use super::export::{Export, ExportError, contents};
use super::keys;
use super::reader::{Reader, ReaderError};
use eroam_chain::beginning::{Beginning, BeginningError};
use eroam_chain::directory::Directory;
use eroam_domain::codec::{Digest, from_bytes};
use eroam_domain::money::{Currency, Money};
use eroam_domain::time::UnixMillis;
use eroam_ledger::execute;
use eroam_ledger::genesis::Genesis;
use eroam_ledger::reject::{Item, ItemOutcome, RejectCode};
use eroam_ledger::snapshot::{Contents, Entry, SnapshotError};
use eroam_ledger::state::{MemoryState, StateError, StateKey, ledger_balance};
use eroam_ledger::tx::{DecodeError, PublicKey, SignedEnvelope};
use eroam_light::block::{Body, Header, VERSION};
use eroam_light::trust::{FinalityError, Trust, TrustError};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a network does not stand the check.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum RecheckError {
    #[error(transparent)]
    Export(Box<ExportError>),
    #[error(transparent)]
    Reader(Box<ReaderError>),
    #[error("{} cannot be read", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("this is network {found}, and the trusted genesis is that of {expected}")]
    OtherNetwork { expected: Digest, found: Digest },
    #[error("the network cannot begin")]
    Beginning(#[from] BeginningError),
    #[error("the genesis cannot be trusted")]
    Trust(#[from] TrustError),
    #[error("block {height} fails")]
    Block {
        height: u64,
        #[source]
        fault: Box<Fault>,
    },
    #[error("there is not even a genesis block")]
    Empty,
    #[error("the blocks end with {found}, before the network has begun with block {begun}")]
    NotBegun { found: u64, begun: u64 },
    #[error("no certificate finalizes the blocks from {from} on, up to {to}")]
    NotCertified { from: u64, to: u64 },
    #[error("the file of blocks is of network {found}, the genesis of {expected}")]
    OtherBlocks { expected: Digest, found: Digest },
    #[error("the state is said to be the one after {found}, but the blocks end with {expected}")]
    OtherEnd { expected: String, found: String },
    #[error("the state holds another value under `{0}` than the blocks give")]
    OtherValue(String),
    #[error("the state holds `{0}`, which no block gives")]
    Superfluous(String),
    #[error("the state lacks `{0}`, which the blocks give")]
    Lacking(String),
    #[error("the state that the blocks give is none that can be kept")]
    State(#[source] SnapshotError),
    #[error("the state that the blocks give cannot be read")]
    Corrupt(#[source] StateError),
    #[error("money was made or lost: the members' accounts and the attested deposits differ by {0}")]
    Money(Money),
}

impl From<ExportError> for RecheckError {
    fn from(error: ExportError) -> Self {
        Self::Export(Box::new(error))
    }
}

impl From<ReaderError> for RecheckError {
    fn from(error: ReaderError) -> Self {
        Self::Reader(Box::new(error))
    }
}

impl From<BlocksFileError> for RecheckError {
    fn from(error: BlocksFileError) -> Self {
        ExportError::from(error).into()
    }
}

/// What is wrong with a block.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Fault {
    #[error("its header says that it is block {0}")]
    Height(u64),
    #[error("it is not the genesis block that follows from the genesis")]
    NotTheBeginning,
    #[error("its header has version {0}, this program knows {VERSION}")]
    Version(u8),
    #[error("it names {found} as its parent, the block before it is {expected}")]
    Parent { expected: Digest, found: Digest },
    #[error("its header says epoch {found}, its height gives {expected}")]
    Epoch { expected: u64, found: u64 },
    #[error("its time {found} is before that of the block before it, {expected}")]
    Time { expected: UnixMillis, found: UnixMillis },
    #[error("its leader {0} is no validator")]
    Leader(PublicKey),
    #[error("its body has the digest {found}, its header says {expected}")]
    Body { expected: Digest, found: Digest },
    #[error("its body of {found} bytes is larger than the network's {max}")]
    BodySize { max: u32, found: usize },
    #[error("its body cannot be read: {0}")]
    MalformedBody(String),
    #[error("its body has {envelopes} envelopes, and outcomes of {outcomes}")]
    BodyCount { envelopes: usize, outcomes: usize },
    #[error("its receipts have the root {found}, its header says {expected}")]
    Receipts { expected: Digest, found: Digest },
    #[error("its certificate does not finalize it")]
    Certificate(#[source] FinalityError),
    #[error("it has envelopes before the network has begun")]
    TooEarly,
    #[error("envelope {envelope} cannot be read")]
    Envelope {
        envelope: usize,
        #[source]
        source: DecodeError,
    },
    #[error("envelope {envelope} is not its member's next: {code}")]
    NotAdmitted { envelope: usize, code: RejectCode },
    #[error("envelope {envelope} has {found} items, and outcomes of {recorded}")]
    ItemCount { envelope: usize, found: usize, recorded: usize },
    #[error("item {item} of envelope {envelope} is {found}, recorded is {recorded}")]
    Item { envelope: usize, item: usize, found: Digest, recorded: Digest },
    #[error("item {item} of envelope {envelope} is {found}; recorded is: {recorded}")]
    Outcome { envelope: usize, item: usize, found: String, recorded: String },
    #[error("envelope {envelope} cannot be executed")]
    Execution {
        envelope: usize,
        #[source]
        source: StateError,
    },
}

/// An outcome in words.
#[must_use]
pub fn outcome_in_words(outcome: ItemOutcome) -> String {
    match outcome {
        ItemOutcome::Accepted { booked_in: None } => "accepted".to_owned(),
        ItemOutcome::Accepted { booked_in: Some(period) } => format!("accepted, booked in {period}"),
        ItemOutcome::Rejected(code) => format!("refused: {code}"),
    }
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Blocks, the genesis block included.
    pub blocks: u64,
    /// Blocks with a certificate of their own.
    pub certificates: u64,
    /// Envelopes.
    pub envelopes: u64,
    /// Their items.
    pub items: u64,
    /// Of these, refused.
    pub refused: u64,
}

/// A network whose blocks come one after the other.
pub struct Recheck {
    trust: Trust,
    network: Digest,
    epoch_blocks: u64,
    body_bytes_max: u32,
    leaders: BTreeSet<PublicKey>,
    beginning: Beginning,
    state: MemoryState,
    last: Option<Header>,
    /// The first block after the latest that a certificate finalizes.
    open_from: u64,
    counts: Counts,
}

impl Recheck {
    /// Before the genesis block; with the bytes of the snapshot that the network takes up, where it does.
    ///
    /// # Errors
    /// [`RecheckError::Beginning`], [`RecheckError::Trust`].
    pub fn new(genesis: &Genesis, snapshot: Option<&[u8]>) -> Result<Self, RecheckError> {
        Ok(Self {
            trust: Trust::from_genesis(genesis)?,
            network: genesis.network(),
            epoch_blocks: u64::from(genesis.consensus.epoch_blocks),
            body_bytes_max: genesis.consensus.block_bytes_max,
            leaders: genesis.consensus.validators.iter().map(|v| v.key).collect(),
            beginning: Beginning::of(genesis.clone(), snapshot)?,
            state: MemoryState::default(),
            last: None,
            open_from: 0,
            counts: Counts::default(),
        })
    }

    /// The next block.
    ///
    /// # Errors
    /// [`RecheckError::Block`].
    pub fn block(&mut self, recorded: &RecordedBlock) -> Result<(), RecheckError> {
        let height = self.last.map_or(0, |last| last.height.saturating_add(1));
        self.check(height, recorded).map_err(|fault| RecheckError::Block { height, fault: Box::new(fault) })
    }

    fn check(&mut self, height: u64, recorded: &RecordedBlock) -> Result<(), Fault> {
        let header = &recorded.header;
        self.check_header(height, header)?;
        if let Some(certificate) = &recorded.certificate {
            self.trust.finalized(*header, &[], certificate).map_err(Fault::Certificate)?;
            self.counts.certificates += 1;
            self.open_from = height.saturating_add(1);
        } else if height == 0 {
            // Nobody votes on it: it follows from the genesis.
            self.open_from = 1;
        }
        let body = self.check_body(header, &recorded.body)?;
        match self.beginning.chunk(height) {
            Some(_) if !body.envelopes.is_empty() => return Err(Fault::TooEarly),
            Some(writes) => self.state.apply(writes.clone()),
            None => self.execute(header, &body)?,
        }
        self.counts.blocks += 1;
        self.last = Some(*header);
        Ok(())
    }

    fn check_header(&self, height: u64, header: &Header) -> Result<(), Fault> {
        if header.height != height {
            return Err(Fault::Height(header.height));
        }
        let Some(last) = &self.last else {
            return if header == self.beginning.header() { Ok(()) } else { Err(Fault::NotTheBeginning) };
        };
        if header.version != VERSION {
            return Err(Fault::Version(header.version));
        }
        let (expected, found) = (last.digest(), header.parent);
        if expected != found {
            return Err(Fault::Parent { expected, found });
        }
        let (expected, found) = (height / self.epoch_blocks, header.epoch);
        if expected != found {
            return Err(Fault::Epoch { expected, found });
        }
        let (expected, found) = (last.time, header.time);
        if found < expected {
            return Err(Fault::Time { expected, found });
        }
        if !self.leaders.contains(&header.leader) {
            return Err(Fault::Leader(header.leader));
        }
        Ok(())
    }

    fn check_body(&self, header: &Header, bytes: &[u8]) -> Result<Body, Fault> {
        let (expected, found) = (header.body, Body::digest(bytes));
        if expected != found {
            return Err(Fault::Body { expected, found });
        }
        if bytes.len() > usize::try_from(self.body_bytes_max).unwrap_or(usize::MAX) {
            return Err(Fault::BodySize { max: self.body_bytes_max, found: bytes.len() });
        }
        let body: Body = from_bytes(bytes).map_err(Fault::MalformedBody)?;
        if body.envelopes.len() != body.items.len() {
            return Err(Fault::BodyCount { envelopes: body.envelopes.len(), outcomes: body.items.len() });
        }
        let (expected, found) = (header.receipts, body.receipts_root());
        if expected != found {
            return Err(Fault::Receipts { expected, found });
        }
        Ok(body)
    }

    fn execute(&mut self, header: &Header, body: &Body) -> Result<(), Fault> {
        let of_block = execute::Header { network: self.network, height: header.height, time: header.time };
        for (envelope, (bytes, recorded)) in body.envelopes.iter().zip(&body.items).enumerate() {
            let signed = SignedEnvelope::decode(bytes.clone())
                .map_err(|source| Fault::Envelope { envelope, source })?;
            let outcome = execute::execute(&self.state, &signed, &of_block)
                .map_err(|source| Fault::Execution { envelope, source })?;
            if !outcome.is_admitted() {
                let code = outcome.items.iter().find_map(|item| item.outcome.rejection());
                // It has a refusal, or it would be admitted.
                return Err(Fault::NotAdmitted { envelope, code: code.unwrap_or(RejectCode::BadSignature) });
            }
            compare_items(envelope, &outcome.items, recorded)?;
            self.state.apply(outcome.writes);
            self.counts.envelopes += 1;
            self.counts.items += count(recorded.len());
            self.counts.refused += count(recorded.iter().filter(|i| !i.outcome.is_accepted()).count());
        }
        Ok(())
    }

    /// There are no more blocks.
    ///
    /// # Errors
    /// [`RecheckError`].
    pub fn finish(self) -> Result<Rechecked, RecheckError> {
        let header = self.last.ok_or(RecheckError::Empty)?;
        let begun = self.beginning.height();
        if header.height < begun {
            return Err(RecheckError::NotBegun { found: header.height, begun });
        }
        if self.open_from <= header.height {
            return Err(RecheckError::NotCertified { from: self.open_from, to: header.height });
        }
        let contents = contents(self.state.iter()).map_err(RecheckError::State)?;
        let balance = ledger_balance(self.state.iter()).map_err(RecheckError::Corrupt)?;
        if let Some((currency, sum)) = balance.iter().find(|(_, sum)| **sum != 0) {
            let micros = i64::try_from(*sum).unwrap_or(i64::MAX);
            return Err(RecheckError::Money(Money::new(micros, *currency)));
        }
        Ok(Rechecked { header, state: self.state, contents, balance, counts: self.counts })
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn compare_items(envelope: usize, found: &[Item], recorded: &[Item]) -> Result<(), Fault> {
    if found.len() != recorded.len() {
        return Err(Fault::ItemCount { envelope, found: found.len(), recorded: recorded.len() });
    }
    for (item, (found, recorded)) in found.iter().zip(recorded).enumerate() {
        if found.hash != recorded.hash {
            return Err(Fault::Item { envelope, item, found: found.hash, recorded: recorded.hash });
        }
        if found.outcome != recorded.outcome {
            let [found, recorded] = [found.outcome, recorded.outcome].map(outcome_in_words);
            return Err(Fault::Outcome { envelope, item, found, recorded });
        }
    }
    Ok(())
}

/// What came of the blocks.
pub struct Rechecked {
    /// The header of the last block.
    pub header: Header,
    /// The state after it.
    pub state: MemoryState,
    /// What that amounts to.
    pub contents: Contents,
    /// For each currency all accounts less the attested deposits: zero.
    pub balance: BTreeMap<Currency, i128>,
    /// How much was looked at.
    pub counts: Counts,
}

/// The state of the blocks beside entries that come one by one, in the order of their keys.
struct Comparison<'a, I: Iterator<Item = (&'a [u8], &'a [u8])>>(I);

impl<'a, I: Iterator<Item = (&'a [u8], &'a [u8])>> Comparison<'a, I> {
    fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), RecheckError> {
        let words = keys::bytes_in_words;
        match self.0.next() {
            Some((own, _)) if own < key => Err(RecheckError::Lacking(words(own))),
            Some((own, own_value)) if own == key => {
                if own_value == value {
                    Ok(())
                } else {
                    Err(RecheckError::OtherValue(words(key)))
                }
            }
            _ => Err(RecheckError::Superfluous(words(key))),
        }
    }

    fn end(&mut self) -> Result<(), RecheckError> {
        match self.0.next() {
            Some((key, _)) => Err(RecheckError::Lacking(keys::bytes_in_words(key))),
            None => Ok(()),
        }
    }
}

/// What was checked, and found to be so.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Always true: whatever is not so is an error.
    pub verified: bool,
    /// What was checked.
    pub source: PathBuf,
    /// The network.
    pub network: Digest,
    /// Its name.
    pub name: String,
    /// Whether the network is the one of a genesis that was given to compare with.
    pub trusted: bool,
    /// The state that it took up from an earlier network, if it did. Where that came from is not checked.
    pub imported: Option<Digest>,
    /// The height of the last block.
    pub height: u64,
    /// Its time.
    pub time: String,
    /// Its digest.
    pub block: Digest,
    /// How much was looked at.
    #[serde(flatten)]
    pub counts: Counts,
    /// The entries of the state after the last block.
    pub entries: u64,
    /// Of these, records.
    pub records: u64,
    /// [`eroam_ledger::state::state_digest`].
    pub state_digest: Digest,
    /// For each currency all accounts less the attested deposits: zero.
    pub ledger_balance_micros: BTreeMap<String, i128>,
}

impl Report {
    fn new(source: PathBuf, genesis: &Genesis, trusted: bool, found: &Rechecked) -> Self {
        let is_record = |key: &[u8]| matches!(from_bytes(key), Ok(StateKey::Cdr(..)));
        Self {
            verified: true,
            source,
            network: genesis.network(),
            name: genesis.name.as_str().to_owned(),
            trusted,
            imported: genesis.imported,
            height: found.header.height,
            time: found.header.time.to_string(),
            block: found.header.digest(),
            counts: found.counts,
            entries: found.contents.count,
            records: count(found.state.iter().filter(|(key, _)| is_record(key)).count()),
            state_digest: found.contents.state,
            ledger_balance_micros: found.balance.iter().map(|(c, sum)| (c.to_string(), *sum)).collect(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { blocks, certificates, envelopes, items, refused } = self.counts;
        writeln!(f, "verified       {}", self.source.display())?;
        writeln!(f, "network        {} ({})", self.network, self.name)?;
        if let Some(state) = self.imported {
            writeln!(
                f,
                "began with     the snapshot {state}, as its genesis says: check the earlier network by itself"
            )?;
        }
        writeln!(
            f,
            "blocks         {blocks}, up to height {} ({}); {certificates} certificates",
            self.height, self.time
        )?;
        writeln!(
            f,
            "executed again {envelopes} envelopes with {items} items, {refused} of them refused: all as recorded"
        )?;
        writeln!(f, "state          {} entries, {} records: as recorded", self.entries, self.records)?;
        writeln!(f, "state digest   {}", self.state_digest)?;
        for currency in self.ledger_balance_micros.keys() {
            writeln!(f, "money          the members' accounts in {currency} add up to what was deposited")?;
        }
        if self.trusted {
            write!(f, "trust          the network is that of the given genesis")
        } else {
            write!(
                f,
                "trust          the network is that of its own genesis: compare its digest with the members', or give \
                 their genesis with --trust"
            )
        }
    }
}

fn check_trust(genesis: &Genesis, trusted: Option<&Genesis>) -> Result<bool, RecheckError> {
    let Some(trusted) = trusted else { return Ok(false) };
    let (expected, found) = (trusted.network(), genesis.network());
    if expected == found { Ok(true) } else { Err(RecheckError::OtherNetwork { expected, found }) }
}

fn run(
    mut recheck: Recheck,
    blocks: impl Iterator<Item = Result<RecordedBlock, RecheckError>>,
    count: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Rechecked, RecheckError> {
    for (block, done) in blocks.zip(1..) {
        recheck.block(&block?)?;
        progress(done, count);
    }
    recheck.finish()
}

/// Checks an export from its genesis. `progress` is told how many blocks of how many are done.
///
/// # Errors
/// [`RecheckError`]: the first thing that is wrong.
pub fn export(
    export: &Export,
    trusted: Option<&Genesis>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, RecheckError> {
    let genesis = export.genesis();
    let is_trusted = check_trust(genesis, trusted)?;
    let recheck = Recheck::new(genesis, export.beginning()?.as_deref())?;
    let blocks = export.blocks()?;
    let (expected, found) = (genesis.network(), blocks.network());
    if expected != found {
        return Err(RecheckError::OtherBlocks { expected, found });
    }
    let count = blocks.last_height().saturating_add(1);
    let found = run(recheck, blocks.map(|block| block.map_err(RecheckError::from)), count, progress)?;
    let mut comparison = Comparison(found.state.iter());
    let snapshot = export.state::<RecheckError>(|(key, value)| comparison.entry(&key, &value))?;
    comparison.end()?;
    let end = |network: Digest, height: u64, time: UnixMillis, block: Digest| {
        format!("block {height} ({block}, {time}) of network {network}")
    };
    let expected = end(genesis.network(), found.header.height, found.header.time, found.header.digest());
    let stated = end(snapshot.network, snapshot.height, snapshot.time, snapshot.block);
    if expected != stated {
        return Err(RecheckError::OtherEnd { expected, found: stated });
    }
    Ok(Report::new(export.directory().to_owned(), genesis, is_trusted, &found))
}

/// Checks what a validator's directory holds from its genesis, its database included.
///
/// # Errors
/// [`RecheckError`]: the first thing that is wrong.
pub fn directory(
    reader: &Reader,
    trusted: Option<&Genesis>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, RecheckError> {
    let genesis = reader.client().genesis();
    let is_trusted = check_trust(genesis, trusted)?;
    let snapshot = genesis.imported.is_some().then(|| {
        let path = Directory::snapshot_file(reader.directory());
        std::fs::read(&path).map_err(|source| RecheckError::Io { path, source })
    });
    let recheck = Recheck::new(genesis, snapshot.transpose()?.as_deref())?;
    let (header, entries): (Header, Vec<Entry>) = reader.entries()?;
    let blocks = reader.blocks(header.height).map(|block| block.map_err(RecheckError::from));
    let found = run(recheck, blocks, header.height.saturating_add(1), progress)?;
    let mut comparison = Comparison(found.state.iter());
    entries.iter().try_for_each(|(key, value)| comparison.entry(key, value))?;
    comparison.end()?;
    Ok(Report::new(reader.directory().to_owned(), genesis, is_trusted, &found))
}
