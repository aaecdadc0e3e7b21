//! One of an issuer's revocation registries: its secret, its window, its newest list, and which place is the next.

use super::super::ChargingError;
use eroam_ledger::registry::RegistryWindow;
use eroam_ssi::anoncreds::issuer::{Place, RegistrySecret};
use eroam_ssi::anoncreds::{ObjectId, RevocationIndex, RevocationRegistryDefinition, StatusList};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where a credential can be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialPlace {
    /// The number of the issuer's registry, from 1.
    pub registry: u32,
    /// The index in it, from 1.
    pub index: u32,
}

impl fmt::Display for CredentialPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of registry {}", self.index, self.registry)
    }
}

/// Which places of a registry are free, and the newest list.
struct Places {
    list: StatusList,
    /// From here on nobody has taken any.
    next: u32,
    /// Taken, and given back before a credential was made.
    returned: Vec<u32>,
}

/// One registry. Its window never changes.
pub(super) struct IssuerRegistry {
    pub(super) number: u32,
    pub(super) id: ObjectId,
    pub(super) definition: RevocationRegistryDefinition,
    pub(super) secret: RegistrySecret,
    pub(super) window: RegistryWindow,
    places: Mutex<Places>,
}

impl IssuerRegistry {
    pub(super) fn new(
        (number, id): (u32, ObjectId),
        definition: RevocationRegistryDefinition,
        secret: RegistrySecret,
        window: RegistryWindow,
        (list, next): (StatusList, u32),
    ) -> Self {
        let places = Mutex::new(Places { list, next, returned: Vec::new() });
        Self { number, id, definition, secret, window, places }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many credentials can be issued.
    pub(super) fn left(&self) -> u32 {
        let places = self.places();
        let returned = u32::try_from(places.returned.len()).unwrap_or(u32::MAX);
        self.definition.size().saturating_sub(places.next).saturating_add(returned)
    }

    /// Takes a place; `None` when it is full. `keep` makes durable which is the next, before anybody has this one: no two
    /// have the same, whatever happens next.
    pub(super) fn take(
        self: &Arc<Self>,
        keep: impl FnOnce(u32) -> Result<(), ChargingError>,
    ) -> Result<Option<TakenPlace>, ChargingError> {
        let mut places = self.places();
        let size = self.definition.size();
        let index = match places.returned.pop() {
            Some(index) => index,
            None if places.next < size => {
                let index = places.next;
                keep(index + 1)?;
                places.next = index + 1;
                index
            }
            None => return Ok(None),
        };
        let index = RevocationIndex::new(index, size)?;
        drop(places);
        Ok(Some(TakenPlace { registry: Arc::clone(self), index, is_used: false }))
    }

    /// Changes the list, one change at a time.
    pub(super) fn change_list(
        &self,
        change: impl FnOnce(&StatusList) -> Result<Option<StatusList>, ChargingError>,
    ) -> Result<(), ChargingError> {
        let mut places = self.places();
        if let Some(list) = change(&places.list)? {
            places.list = list;
        }
        Ok(())
    }

    /// The newest list.
    pub(super) fn list(&self) -> StatusList {
        self.places().list.clone()
    }
}

/// A place that nobody else has. One for which no credential was made is free again when it is dropped.
pub struct TakenPlace {
    registry: Arc<IssuerRegistry>,
    index: RevocationIndex,
    is_used: bool,
}

impl TakenPlace {
    /// Where it is.
    #[must_use]
    pub fn place(&self) -> CredentialPlace {
        CredentialPlace { registry: self.registry.number, index: self.index.get() }
    }

    /// When its credential counts.
    #[must_use]
    pub fn window(&self) -> RegistryWindow {
        self.registry.window
    }

    /// What a credential at this place is made with, once.
    pub(super) fn used<T>(mut self, make: impl FnOnce(Place<'_>) -> T) -> T {
        self.is_used = true;
        let list = self.registry.list();
        let IssuerRegistry { definition, secret, .. } = &*self.registry;
        make(Place { registry: definition, secret, list: &list, index: self.index })
    }
}

impl Drop for TakenPlace {
    fn drop(&mut self) {
        if !self.is_used {
            self.registry.places().returned.push(self.index.get());
        }
    }
}
