//! Archives that keep everything. The engine prunes its archives together with old states; here the blocks are the
//! consortium's books, and what a node that was away catches up by.

use crate::block::{Block, EngineDigest};
use commonware_consensus::marshal::store::{Blocks, Certificates};
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::simplex::types::Finalization;
use commonware_consensus::types::Height;
use commonware_runtime::{Clock, Handle, Metrics, Storage};
use commonware_storage::archive::{Identifier, prunable};
use commonware_storage::translator::EightCap;
use std::sync::Arc;

/// A certificate as it is archived.
pub(crate) type Certificate = Finalization<Scheme, EngineDigest>;
type Archive<E, V> = prunable::Archive<EightCap, E, EngineDigest, V>;

/// An archive that is never pruned.
pub(crate) struct Kept<A>(pub(crate) A);

impl<E: Storage + Metrics + Clock> Certificates for Kept<Archive<E, Certificate>> {
    type BlockDigest = EngineDigest;
    type Commitment = EngineDigest;
    type Scheme = Scheme;
    type Error = <Archive<E, Certificate> as Certificates>::Error;

    async fn put(
        self,
        height: Height,
        digest: EngineDigest,
        finalization: &Certificate,
    ) -> Result<Self, Self::Error> {
        Certificates::put(self.0, height, digest, finalization).await.map(Self)
    }

    async fn sync(self) -> Result<Self, Self::Error> {
        Certificates::sync(self.0).await.map(Self)
    }

    async fn start_sync(self) -> Result<(Self, Handle<()>), Self::Error> {
        let (archive, handle) = Certificates::start_sync(self.0).await?;
        Ok((Self(archive), handle))
    }

    async fn get(&self, id: Identifier<'_, EngineDigest>) -> Result<Option<Certificate>, Self::Error> {
        Certificates::get(&self.0, id).await
    }

    async fn has(&self, height: Height) -> Result<bool, Self::Error> {
        Certificates::has(&self.0, height).await
    }

    async fn prune(self, _: Height) -> Result<Self, Self::Error> {
        Ok(self)
    }

    fn last_index(&self) -> Option<Height> {
        Certificates::last_index(&self.0)
    }

    fn ranges_from(&self, from: Height) -> impl Iterator<Item = (Height, Height)> {
        Certificates::ranges_from(&self.0, from)
    }
}

impl<E: Storage + Metrics + Clock> Blocks for Kept<Archive<E, Arc<Block>>> {
    type Block = Arc<Block>;
    type Error = <Archive<E, Arc<Block>> as Blocks>::Error;

    async fn put(self, digest: EngineDigest, block: &Arc<Block>) -> Result<Self, Self::Error> {
        Blocks::put(self.0, digest, block).await.map(Self)
    }

    async fn sync(self) -> Result<Self, Self::Error> {
        Blocks::sync(self.0).await.map(Self)
    }

    async fn start_sync(self) -> Result<(Self, Handle<()>), Self::Error> {
        let (archive, handle) = Blocks::start_sync(self.0).await?;
        Ok((Self(archive), handle))
    }

    async fn get(&self, id: Identifier<'_, EngineDigest>) -> Result<Option<Arc<Block>>, Self::Error> {
        Blocks::get(&self.0, id).await
    }

    async fn prune(self, _: Height) -> Result<Self, Self::Error> {
        Ok(self)
    }

    fn missing_items(&self, start: Height, max: usize) -> Vec<Height> {
        Blocks::missing_items(&self.0, start, max)
    }

    fn next_gap(&self, value: Height) -> (Option<Height>, Option<Height>) {
        Blocks::next_gap(&self.0, value)
    }

    fn last_index(&self) -> Option<Height> {
        Blocks::last_index(&self.0)
    }
}
