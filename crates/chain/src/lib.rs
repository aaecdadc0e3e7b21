//! Runs the consortium's rules on a Byzantine-fault-tolerant engine (Commonware): blocks, mempool, provable state,
//! archive, read model. The only crate that knows the engine; everything above sees
//! [`LedgerPort`](eroam_ledger::port::LedgerPort).

mod admission;
mod anchor;
mod application;
mod assembly;
pub mod beginning;
pub mod block;
mod cache;
mod channels;
pub mod client;
pub mod directory;
mod epochs;
mod execution;
mod failure;
mod gossip;
mod history;
mod hold;
mod joining;
mod keep;
pub mod machine;
pub mod mempool;
pub mod node;
mod panics;
mod probe;
pub mod read_model;
mod requests;
mod state;
mod sync;
#[cfg(test)]
mod tests;
mod tip;

pub use epochs::Timing;
pub use tip::{BlockClock, Copying, StatedTime};
