//! Copying the state from others, which a node of a fixed set of validators never needs: it catches up by the blocks
//! that its peers keep. The engine wants somebody to ask all the same.

use crate::state::{Database, Family, StateOperation};
use commonware_cryptography::sha256;
use commonware_glue::stateful::db::{AttachableResolver, Shared};
use commonware_storage::Context as StorageContext;
use commonware_storage::qmdb::sync::{Request, Source, source};
use std::future::{Future, ready};
use std::marker::PhantomData;

/// Answers nothing.
pub(crate) struct NoSync<E>(PhantomData<fn(E)>);

impl<E> NoSync<E> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<E> Clone for NoSync<E> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

/// Nobody can be asked for the state.
#[derive(Debug, thiserror::Error)]
#[error("copying the state from other validators is not supported")]
pub(crate) struct NotSupported;

impl<E: StorageContext + 'static> Source for NoSync<E> {
    type Family = Family;
    type Digest = sha256::Digest;
    type Op = StateOperation;
    type Error = NotSupported;

    async fn serve(&self, _: Request<Family>) -> source::Result<Self> {
        Err(NotSupported)
    }
}

impl<E: StorageContext + 'static> AttachableResolver<Database<E>> for NoSync<E> {
    fn attach_database(&self, _: Shared<Database<E>>) -> impl Future<Output = ()> + Send {
        ready(())
    }
}
