//! Which block the state on the disk is of, found by the state's root whenever a directory is opened.
//!
//! Where the state was copied from others, the engine has compared the log of operations with what the header says, and has
//! noted that the copy is whole. Which of the operations are in force only the canonical root covers. It is compared
//! here at every start, before anybody is answered or voted for, so that it does not matter when a copy was
//! interrupted; and as no state that differs from its header's is ever gone on with, whatever became of the files.

use crate::block::own_digest;
use crate::requests::Marshal;
use crate::state::Databases;
use crate::tip::Tip;
use commonware_consensus::marshal::Identifier;
use commonware_consensus::types::Height;
use commonware_runtime::Spawner;
use commonware_storage::Context as StorageContext;
use eroam_light::block::Header;
use std::ops::RangeInclusive;

/// The header of the final block whose state is in the databases; `None` for the empty state that a network begins with.
/// The archive had the blocks of `kept` when it was opened, apart from gaps.
///
/// # Panics
/// No final block has the state that is there. The node must not go on with it.
pub(crate) async fn header_of_state<E: Spawner + StorageContext>(
    databases: &Databases<E>,
    marshal: &Marshal,
    tip: &Tip,
    kept: RangeInclusive<u64>,
) -> Option<Header> {
    let anchor = marshal.get_anchor().await.map(|(_, block)| *block.inner().header());
    loop {
        let root = own_digest(databases.read().await.root());
        let near = anchor.filter(|header| header.state == root).or_else(|| tip.header_of(root));
        if near.is_some() {
            return near;
        }
        let certified = marshal.get_info(Identifier::Latest).await.map_or(0, |(height, _)| height.get());
        // It is among the latest, wherever the engine was interrupted; or one that is being applied since.
        let latest = certified.max(tip.applied()).max(*kept.end());
        for height in (*kept.start()..=latest).rev() {
            let block = marshal.get_block(Height::new(height)).await;
            if let Some(header) = block.map(|b| *b.inner().header()).filter(|h| h.state == root) {
                return Some(header);
            }
        }
        if anchor.is_none_or(|header| header.height == 0) && *kept.start() <= 1 {
            return None;
        }
        // A block may have been applied meanwhile.
        let now = own_digest(databases.read().await.root());
        assert_ne!(now, root, "the state that is here is none that a final block names");
    }
}
