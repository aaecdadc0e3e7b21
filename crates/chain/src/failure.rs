//! Why a node ended, said so that whoever runs it knows what to do.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// How far a node came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It opens its archives of blocks and of certificates, which nothing else in the directory can replace.
    Archives,
    /// It opens what follows from the archives, or runs.
    Rest,
}

/// What the system says when a disk is full.
const FULL: &str = "No space left on device";
/// What the names of the votes' journals have in common.
const VOTES: &str = "-epoch-";
/// What is said when nothing tells from when on a validator that copied the state of others may vote.
pub(crate) const JOINED: &str = "what this validator remembers of copying the state";
/// What the engine says when a block or certificate of its archives, which opened, turns out to be damaged.
const ARCHIVED: [&str; 2] = ["failed to get finalization: ", "failed to get block: "];
/// A node that cannot write so much at once cannot go on.
const ROOM_BYTES: usize = 1 << 20;

/// What happened to the node of `directory`, which said `said` at its end, and what to do about it.
pub(crate) fn explain(directory: &Path, phase: Phase, alone: bool, said: &str) -> String {
    let name = directory.display();
    let unwritable = try_to_write(directory).err().map(|error| error.to_string());
    if let Some(error) = unwritable.or_else(|| said.contains(FULL).then(|| FULL.to_owned())) {
        return format!(
            "{name} cannot be written ({error}): make room there, or repair the disk, and start the node again; what \
             was acknowledged is kept"
        );
    }
    let engine = format!("{name}/engine");
    let again = "Start the node again. If it stops again, keep a copy of the directory";
    let archives = phase == Phase::Archives || ARCHIVED.iter().any(|damage| said.contains(damage));
    if said.contains(JOINED) {
        // Without it the validator would count as one that never voted.
        return format!(
            "{name}: {said}. Nothing else says from when on it may vote. Keep a copy of {name}, remove all that is in it but \
             the file snapshot, if there is one, and have the state copied from the other validators again"
        );
    }
    // Votes that are forgotten could be cast a second time for something else.
    let irreplaceable = said.contains(VOTES) || (archives && alone);
    if irreplaceable {
        format!(
            "{name}: {said}. Nothing replaces this: put back a copy of {name} that was made since the node last ran, \
             never an older one, or begin with an empty directory and a new key"
        )
    } else if archives {
        format!(
            "{name}: {said}. {again}, and remove all of {engine} but ledger-epoch-* and ledger-joined*: the blocks are fetched again from \
             the other validators"
        )
    } else {
        format!(
            "{name}: {said}. {again}, and remove all of {engine} but ledger-epoch-*, ledger-joined*, \
             ledger-blocks-*, ledger-finalizations-* and ledger-cache-*, and if that does not help, ledger-cache-* too: what is removed \
             is made again from the rest"
        )
    }
}

/// Writes a file, and removes it.
fn try_to_write(directory: &Path) -> io::Result<()> {
    let path = directory.join("room");
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&vec![1; ROOM_BYTES])?;
        file.sync_all()
    });
    // Whether it can be removed does not matter: the next start writes over it.
    let _ = fs::remove_file(&path);
    written
}
