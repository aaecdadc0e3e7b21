//! Published tariffs: an operator's prices, versioned, never changed and never removed.
//!
//! Checks of `PublishTariff`, in order: the sender is an operator (`WrongRole`); the tariff is its own
//! (`NotOwnTariff`); the version follows the latest one (`WrongTariffVersion`).

use crate::membership::{Roles, require};
use crate::reject::{Refusal, RejectCode};
use crate::state::{Overlay, StateKey};
use borsh::{BorshDeserialize, BorshSerialize};
use eroam_domain::ids::PartyId;
use eroam_domain::tariff::Tariff;
use eroam_domain::time::UnixMillis;

/// Transactions about tariffs.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum TariffTx {
    /// Publishes the next version of a tariff. From when it applies is in the tariff; quotes accepted before the
    /// block of its publication cannot use it.
    PublishTariff {
        /// From 1, without gaps.
        version: u32,
        /// The tariff.
        tariff: Tariff,
    },
}

/// What [`apply`] reads and writes, but for the sender's own member and lane.
pub(crate) fn reads(keys: &mut Vec<StateKey>, sender: PartyId, tx: &TariffTx) {
    let TariffTx::PublishTariff { version, tariff } = tx;
    let id = tariff.id();
    keys.extend([
        StateKey::TariffHead(sender, id.clone()),
        StateKey::Tariff(sender, id.clone(), *version),
        StateKey::TariffPublished(sender, id.clone(), *version),
    ]);
}

pub(crate) fn apply(
    state: &mut Overlay<'_>,
    now: UnixMillis,
    sender: PartyId,
    tx: &TariffTx,
) -> Result<(), Refusal> {
    let TariffTx::PublishTariff { version, tariff } = tx;
    require(state, sender, Roles::CPO, RejectCode::WrongRole)?;
    if tariff.party() != sender {
        return Err(RejectCode::NotOwnTariff.into());
    }
    let head = StateKey::TariffHead(sender, tariff.id().clone());
    let latest = state.read::<u32>(&head)?.unwrap_or(0);
    if latest.checked_add(1) != Some(*version) {
        return Err(RejectCode::WrongTariffVersion.into());
    }
    state.write(&head, version);
    state.write(&StateKey::Tariff(sender, tariff.id().clone(), *version), tariff);
    state.write(&StateKey::TariffPublished(sender, tariff.id().clone(), *version), &now);
    Ok(())
}
