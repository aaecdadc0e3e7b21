//! The authenticated database that the state lives in.
//!
//! A database key is eight bytes that seldom are another key's ([`eroam_light::state::stored_key`]), and the state key
//! itself, so that the entries can be listed without an index of their own.

use bytes::Bytes;
use commonware_cryptography::Sha256;
use commonware_glue::stateful::db::{DatabaseSet, Shared};
use commonware_parallel::Sequential;
use commonware_storage::mmr;
use commonware_storage::qmdb::any::ordered::variable::Operation;
use commonware_storage::qmdb::current::ordered::variable;
use commonware_storage::translator::EightCap;
use eroam_light::state::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// The bytes of a chunk of the bitmap of active operations; 32 gives the smallest proofs.
pub(crate) const CHUNK: usize = 32;
pub(crate) type Family = mmr::Family;
pub(crate) type Key = Vec<u8>;
pub(crate) type Database<E> = variable::Db<Family, E, Key, Bytes, Sha256, EightCap, CHUNK, Sequential>;
pub(crate) type Databases<E> = Shared<Database<E>>;
pub(crate) type Unmerkleized<E> = <Databases<E> as DatabaseSet<E>>::Unmerkleized;
pub(crate) type Merkleized<E> = <Databases<E> as DatabaseSet<E>>::Merkleized;
pub(crate) type Readers<E> = <Databases<E> as DatabaseSet<E>>::Readers;
pub(crate) type StateOperation = Operation<Family, Key, Bytes>;

type Range = commonware_codec::RangeCfg<usize>;

/// The limits of keys and values.
pub(crate) fn operation_cfg() -> ((Range, ()), Range) {
    (((0..=KEY_BYTES_MAX).into(), ()), (0..=VALUE_BYTES_MAX).into())
}

/// The state key that a database key stands for.
pub(crate) fn state_key(stored: &[u8]) -> &[u8] {
    stored.get(8..).unwrap_or_default()
}
