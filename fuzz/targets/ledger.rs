//! What the fuzz targets of `eroam-ledger` do with their bytes: they read them as somebody else's, and say whether they
//! were accepted. What was accepted is written as what was read.

#[path = "target.rs"]
mod target;

use eroam_domain::codec;
use eroam_ledger::genesis::Genesis;
use eroam_ledger::reads::reads;
use eroam_ledger::snapshot::{Decoder, Part, SnapshotError, SnapshotHeader};
use eroam_ledger::tx::{PublicKey, SignedEnvelope, item_count};
use target::Target;

/// Every target by its name, which is also that of its corpus.
pub(crate) const TARGETS: &[(&str, Target)] =
    &[("ledger_envelope", envelope), ("ledger_genesis", genesis), ("ledger_snapshot", snapshot)];

/// Runs one target.
pub(crate) fn run(name: &str, bytes: &[u8]) -> bool {
    target::run(TARGETS, name, bytes)
}

fn envelope(bytes: &[u8]) -> bool {
    let Ok(signed) = SignedEnvelope::decode(bytes.to_vec()) else { return false };
    let envelope = signed.envelope();
    assert!(bytes.starts_with(&codec::to_bytes(envelope)), "two envelopes of other bytes are the same");
    // What a node does with it before it knows the member.
    let _ = (item_count(&envelope.tx), reads(envelope));
    let _ = signed.verify(&PublicKey(envelope.network.0));
    true
}

fn genesis(bytes: &[u8]) -> bool {
    let read = |text: &str| Genesis::from_json(text).ok();
    let Some(genesis) = std::str::from_utf8(bytes).ok().and_then(read) else { return false };
    assert_eq!(read(&genesis.to_json()), Some(genesis), "it is written as another");
    true
}

/// Reads a snapshot in two pieces, and gives its entries with its header.
fn parts(first: &[u8], second: &[u8]) -> Result<(Vec<Part>, SnapshotHeader), SnapshotError> {
    let mut decoder = Decoder::new();
    let mut parts = decoder.push(first)?;
    parts.extend(decoder.push(second)?);
    Ok((parts, decoder.finish()?))
}

fn snapshot(bytes: &[u8]) -> bool {
    let whole = parts(bytes, &[]);
    // Wherever it is cut, which its first byte after the version says, the same is read.
    let cut = bytes.get(1).map_or(0, |byte| usize::from(*byte) * bytes.len() / 256);
    let (first, second) = bytes.split_at(cut);
    assert_eq!(parts(first, second).ok(), whole.clone().ok(), "cut at {cut}, it is another snapshot");
    whole.is_ok()
}
