//! The ledger of a consortium that lives in one process: the rules of `eroam-ledger` over a state in memory, with a
//! log of envelopes that are executed again at start.
//!
//! It orders and keeps transactions for organisations that trust one process with that; it is not Byzantine fault
//! tolerant. Everything above it sees [`LedgerPort`] alone.

use eroam_domain::codec::Digest;
use eroam_domain::time::UnixMillis;
use eroam_ledger::execute::{Header, execute};
use eroam_ledger::genesis::{Genesis, GenesisError};
use eroam_ledger::port::{LedgerError, LedgerPort, Receipt};
use eroam_ledger::state::{StateError, StateView, Writes};
use eroam_ledger::tx::SignedEnvelope;
use eroam_store::{EnvelopeLog, LogError};
use std::borrow::Cow;
use std::collections::HashMap;

/// A ledger's state in a hash table: a look-up costs the same however many records there are, which an ordered map's
/// does not. Nothing is ever read in the table's own order.
#[derive(Clone, Debug, Default)]
pub struct StateTable(HashMap<Box<[u8]>, Box<[u8]>>);

impl StateTable {
    /// Applies changes.
    pub fn apply(&mut self, writes: Writes) {
        for (key, value) in writes {
            match value {
                // Boxed, so that nothing but the bytes themselves is kept.
                Some(value) => self.0.insert(key.into_boxed_slice(), value.into_boxed_slice()),
                None => self.0.remove(key.as_slice()),
            };
        }
    }

    /// All entries in the order of their keys. It sorts them first.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&[u8], &[u8])> {
        let mut entries: Vec<_> = self.0.iter().map(|(k, v)| (k.as_ref(), v.as_ref())).collect();
        entries.sort_unstable();
        entries
    }
}

impl StateView for StateTable {
    fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StateError> {
        Ok(self.0.get(key).map(|v| Cow::Borrowed(v.as_ref())))
    }
}

/// The rules over a state in memory.
pub struct MemoryLedger {
    network: Digest,
    state: StateTable,
    height: u64,
    time: UnixMillis,
    log: Option<EnvelopeLog>,
}

/// Why a ledger could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenLedgerError {
    /// The genesis makes no network.
    #[error("the genesis is refused")]
    Genesis(#[from] GenesisError),
    /// The log could not be read.
    #[error("the log of envelopes cannot be read")]
    Log(#[from] LogError),
    /// The log holds something else than envelopes.
    #[error(
        "envelope {index} of the log is damaged: {reason}; restore the directory from a backup, or start a new one"
    )]
    Damaged {
        /// Its place in the log, from 0.
        index: u64,
        /// What was found.
        reason: String,
    },
}

impl MemoryLedger {
    /// A new network without a log: it is gone when the process ends.
    ///
    /// # Errors
    /// [`OpenLedgerError::Genesis`].
    pub fn new(genesis: &Genesis) -> Result<Self, OpenLedgerError> {
        let mut state = StateTable::default();
        state.apply(genesis.state()?);
        Ok(Self { network: genesis.network(), state, height: 0, time: UnixMillis::EPOCH, log: None })
    }

    /// A network whose envelopes are in `log`: all of them are executed again.
    ///
    /// # Errors
    /// [`OpenLedgerError`].
    pub fn open(genesis: &Genesis, mut log: EnvelopeLog) -> Result<Self, OpenLedgerError> {
        let mut ledger = Self::new(genesis)?;
        let mut index = 0;
        log.each(&mut |height, time_ms, bytes| {
            ledger.replay(height, time_ms, bytes, index)?;
            index += 1;
            Ok::<_, OpenLedgerError>(())
        })?;
        ledger.log = Some(log);
        Ok(ledger)
    }

    fn replay(
        &mut self,
        height: u64,
        time_ms: i64,
        bytes: Vec<u8>,
        index: u64,
    ) -> Result<(), OpenLedgerError> {
        let damaged = |reason: String| OpenLedgerError::Damaged { index, reason };
        let envelope = SignedEnvelope::decode(bytes).map_err(|e| damaged(e.to_string()))?;
        let time = UnixMillis::new(time_ms).ok_or_else(|| damaged("its time is out of range".into()))?;
        if height < self.height || time < self.time {
            return Err(damaged("height or time moves backwards".into()));
        }
        (self.height, self.time) = (height, time);
        self.include(&envelope).map_err(|e| damaged(e.to_string()))?;
        Ok(())
    }

    fn include(&mut self, envelope: &SignedEnvelope) -> Result<Receipt, StateError> {
        let header = Header { network: self.network, height: self.height, time: self.time };
        let outcome = execute(&self.state, envelope, &header)?;
        self.state.apply(outcome.writes);
        Ok(Receipt { envelope: envelope.digest(), height: self.height, items: outcome.items })
    }

    /// The height of the latest block.
    #[must_use]
    pub const fn height(&self) -> u64 {
        self.height
    }

    /// The whole state, to digest it or to add it up.
    #[must_use]
    pub const fn state(&self) -> &StateTable {
        &self.state
    }
}

impl StateView for MemoryLedger {
    fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StateError> {
        self.state.get(key)
    }
}

impl LedgerPort for MemoryLedger {
    fn network(&self) -> Digest {
        self.network
    }

    fn time(&self) -> UnixMillis {
        self.time
    }

    fn submit(
        &mut self,
        at: UnixMillis,
        envelopes: Vec<SignedEnvelope>,
    ) -> Result<Vec<Receipt>, LedgerError> {
        let height = self.height.saturating_add(1);
        let time = self.time.max(at);
        // First the log, then the state: what is acknowledged survives.
        if let Some(log) = &mut self.log {
            let entries: Vec<(u64, i64, Vec<u8>)> =
                envelopes.iter().map(|e| (height, time.get(), e.bytes().to_vec())).collect();
            log.append(&entries).map_err(|e| LedgerError::Log(e.into()))?;
        }
        (self.height, self.time) = (height, time);
        envelopes.iter().map(|e| self.include(e).map_err(LedgerError::State)).collect()
    }
}
