//! A state as a file, whatever database it comes from or goes to.
//!
//! ```text
//! header    canonical bytes of SnapshotHeader, of which there are always as many
//! entries   in the order of their keys: length of the key, key, length of the value, value
//! trailer   SHA-256 of the header
//! ```
//! Lengths are 4 bytes, least significant first. The header says how many entries there are and what their digests
//! are, so that the trailer stands for everything before it; any change to a byte is found. Whether the state is the
//! one that the network agreed on is not for this file to say: whoever imports it compares [`SnapshotHeader::digest`]
//! with what others have, or the block with the validators' signatures.
//!
//! There is no I/O here: [`encode`] gives frames, and [`Decoder`] takes bytes as they come.

use crate::state::{EntriesHasher, KEY_BYTES_MAX, StateHasher, StateKey, VALUE_BYTES_MAX, hex};
use borsh::{BorshDeserialize, BorshSerialize};
use eroam_domain::codec::{self, Digest};
use eroam_domain::time::UnixMillis;
use std::fmt;

/// The format.
pub const VERSION: u8 = 1;
/// How many bytes the header has.
pub const HEADER_BYTES: usize = 153;

/// A key and its value, both canonical bytes.
pub type Entry = (Vec<u8>, Vec<u8>);

/// What a state amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Contents {
    /// [`crate::state::state_digest`]: without bookkeeping.
    pub state: Digest,
    /// The number of entries.
    pub count: u64,
    /// [`entries_digest`]: with bookkeeping.
    pub entries: Digest,
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, count, entries } = self;
        write!(f, "{count} entries of digest {entries} with the state {state}")
    }
}

/// What a snapshot is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SnapshotHeader {
    /// [`VERSION`].
    pub version: u8,
    /// The network: SHA-256 of its genesis.
    pub network: Digest,
    /// The block after which the state was like this.
    pub height: u64,
    /// That block's time.
    pub time: UnixMillis,
    /// That block's digest.
    pub block: Digest,
    /// The state.
    pub contents: Contents,
}

impl SnapshotHeader {
    /// Stands for the whole snapshot: what people compare before they import it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_value("eroam/snapshot/1", self)
    }
}

/// Why bytes are no snapshot, or entries none that could be in one. `entry` counts from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum SnapshotError {
    #[error("the snapshot has version {0}, this program reads {VERSION}: use the program that wrote it")]
    Version(u8),
    #[error("the snapshot's header cannot be read: {0}")]
    Header(String),
    #[error("entry {entry} of the snapshot has a key of {size} bytes, more than {KEY_BYTES_MAX}")]
    KeySize { entry: u64, size: usize },
    #[error("entry {entry} of the snapshot, {}, has a value of {size} bytes, more than {VALUE_BYTES_MAX}", hex(.key))]
    ValueSize { entry: u64, key: Vec<u8>, size: usize },
    #[error("entry {entry} of the snapshot, {}, is no key of the ledger: {reason}", hex(.key))]
    Key { entry: u64, key: Vec<u8>, reason: String },
    #[error("entry {entry} of the snapshot, {}, is not above the one before it", hex(.key))]
    Order { entry: u64, key: Vec<u8> },
    #[error("the snapshot ends after {found} of its {expected} entries, or within its trailer")]
    Truncated { expected: u64, found: u64 },
    #[error("the snapshot goes on after its end")]
    TooLong,
    #[error("the snapshot holds {found}, but its header says {expected}")]
    Contents { expected: Box<Contents>, found: Box<Contents> },
    #[error("the snapshot's header is not the one that its trailer stands for")]
    Trailer,
}

/// SHA-256 over all entries, bookkeeping included, and their number. They must come in the order of their keys.
#[must_use]
pub fn entries_digest<'a>(entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Digest {
    let mut hasher = EntriesHasher::default();
    entries.for_each(|(key, value)| hasher.add(key, value));
    hasher.finish()
}

/// Looks at entries one by one and adds them up.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    last: Vec<u8>,
    count: u64,
    state: StateHasher,
    entries: EntriesHasher,
}

impl Tally {
    /// The next entry; gives its key.
    ///
    /// # Errors
    /// [`SnapshotError`] when the entry is too large, is under no key of the ledger, or does not come in its place.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Result<StateKey, SnapshotError> {
        let entry = self.count;
        self.check_key_size(key.len())?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(SnapshotError::ValueSize { entry, key: key.to_vec(), size: value.len() });
        }
        let decoded = codec::from_bytes(key).map_err(|reason| SnapshotError::Key {
            entry,
            key: key.to_vec(),
            reason,
        })?;
        // No key of the ledger is empty.
        if key <= self.last.as_slice() {
            return Err(SnapshotError::Order { entry, key: key.to_vec() });
        }
        self.last.clear();
        self.last.extend_from_slice(key);
        self.state.add(key, value);
        self.entries.add(key, value);
        self.count = self.count.saturating_add(1);
        Ok(decoded)
    }

    fn check_key_size(&self, size: usize) -> Result<(), SnapshotError> {
        if size > KEY_BYTES_MAX { Err(SnapshotError::KeySize { entry: self.count, size }) } else { Ok(()) }
    }

    /// What was added.
    #[must_use]
    pub fn finish(self) -> Contents {
        Contents { state: self.state.finish(), count: self.count, entries: self.entries.finish() }
    }
}

/// Writes a snapshot, frame by frame. Its contents are added up beforehand, by a [`Tally`] over the same entries.
#[derive(Clone, Debug)]
pub struct Encoder {
    header: SnapshotHeader,
    tally: Tally,
}

impl Encoder {
    /// Gives the first frame too.
    #[must_use]
    pub fn new(header: SnapshotHeader) -> (Self, Vec<u8>) {
        let frame = codec::to_bytes(&header);
        (Self { header, tally: Tally::default() }, frame)
    }

    /// The frame of the next entry.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<Vec<u8>, SnapshotError> {
        self.tally.add(key, value)?;
        Ok(codec::to_bytes_with_capacity(
            &(key, value),
            key.len().saturating_add(value.len()).saturating_add(8),
        ))
    }

    /// The last frame.
    ///
    /// # Errors
    /// [`SnapshotError::Contents`] when the entries were not those that the header speaks of: the state has changed
    /// in the meantime.
    pub fn finish(self) -> Result<Vec<u8>, SnapshotError> {
        check_contents(self.header.contents, self.tally)?;
        Ok(self.header.digest().0.to_vec())
    }
}

fn check_contents(expected: Contents, tally: Tally) -> Result<(), SnapshotError> {
    let found = tally.finish();
    if found == expected {
        Ok(())
    } else {
        Err(SnapshotError::Contents { expected: Box::new(expected), found: Box::new(found) })
    }
}

/// The frames of a snapshot; after an error there are no more. Written one after the other they are the file.
pub fn encode<'a>(
    header: SnapshotHeader,
    mut entries: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> impl Iterator<Item = Result<Vec<u8>, SnapshotError>> {
    let (encoder, first) = Encoder::new(header);
    let mut encoder = Some(encoder);
    let rest = std::iter::from_fn(move || {
        let mut current = encoder.take()?;
        let Some((key, value)) = entries.next() else { return Some(current.finish()) };
        let frame = current.entry(key, value);
        if frame.is_ok() {
            encoder = Some(current);
        }
        Some(frame)
    });
    std::iter::once(Ok(first)).chain(rest)
}

/// What a [`Decoder`] has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Comes first.
    Header(SnapshotHeader),
    /// An entry, in the order of the keys. Worth nothing before [`Decoder::finish`] has said yes.
    Entry(Entry),
}

/// Reads a snapshot from bytes as they come, in pieces of any size. It keeps no more than one entry and a piece.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    /// What has not made a part yet.
    pending: Vec<u8>,
    header: Option<SnapshotHeader>,
    tally: Tally,
    ended: bool,
}

impl Decoder {
    /// Has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and gives the parts that they complete.
    ///
    /// # Errors
    /// [`SnapshotError`]; the decoder is then of no more use.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Part>, SnapshotError> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let (mut rest, mut parts) = (pending.as_slice(), Vec::new());
        while let Some(part) = self.part(&mut rest)? {
            parts.push(part);
        }
        self.pending = rest.to_vec();
        Ok(parts)
    }

    /// The next part, if all of it is there. The trailer is none.
    fn part(&mut self, rest: &mut &[u8]) -> Result<Option<Part>, SnapshotError> {
        let Some(header) = self.header else { return self.header(rest) };
        if self.tally.count < header.contents.count {
            return self.entry(rest);
        }
        if !self.ended {
            let Some(trailer) = take(rest, 32) else { return Ok(None) };
            check_contents(header.contents, self.tally.clone())?;
            if trailer != header.digest().0 {
                return Err(SnapshotError::Trailer);
            }
            self.ended = true;
        }
        if rest.is_empty() { Ok(None) } else { Err(SnapshotError::TooLong) }
    }

    fn header(&mut self, rest: &mut &[u8]) -> Result<Option<Part>, SnapshotError> {
        if let Some(version) = rest.first().filter(|version| **version != VERSION) {
            return Err(SnapshotError::Version(*version));
        }
        let Some(bytes) = take(rest, HEADER_BYTES) else { return Ok(None) };
        let header: SnapshotHeader = codec::from_bytes(bytes).map_err(SnapshotError::Header)?;
        self.header = Some(header);
        Ok(Some(Part::Header(header)))
    }

    fn entry(&mut self, rest: &mut &[u8]) -> Result<Option<Part>, SnapshotError> {
        let mut ahead = *rest;
        let Some(size) = length(&mut ahead) else { return Ok(None) };
        self.tally.check_key_size(size)?;
        let Some(key) = take(&mut ahead, size) else { return Ok(None) };
        let Some(size) = length(&mut ahead) else { return Ok(None) };
        if size > VALUE_BYTES_MAX {
            return Err(SnapshotError::ValueSize { entry: self.tally.count, key: key.to_vec(), size });
        }
        let Some(value) = take(&mut ahead, size) else { return Ok(None) };
        self.tally.add(key, value)?;
        *rest = ahead;
        Ok(Some(Part::Entry((key.to_vec(), value.to_vec()))))
    }

    /// That was all.
    ///
    /// # Errors
    /// [`SnapshotError::Truncated`].
    pub fn finish(self) -> Result<SnapshotHeader, SnapshotError> {
        let found = self.tally.count;
        match self.header {
            Some(header) if self.ended => Ok(header),
            Some(header) => Err(SnapshotError::Truncated { expected: header.contents.count, found }),
            None => Err(SnapshotError::Header("the bytes end within it".into())),
        }
    }
}

/// The next bytes, if there are so many.
fn take<'a>(rest: &mut &'a [u8], size: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(size)?;
    *rest = left;
    Some(taken)
}

/// A length as Borsh writes it.
fn length(rest: &mut &[u8]) -> Option<usize> {
    let (taken, left) = rest.split_first_chunk::<4>()?;
    *rest = left;
    usize::try_from(u32::from_le_bytes(*taken)).ok()
}
