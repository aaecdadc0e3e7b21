//! The ledger's rules by table, by hand-worked example and by property. [`fixture`] is the consortium they all use.

mod batches;
mod determinism;
mod fixture;
mod formats;
mod lifecycle;
mod properties;
mod rejects;
mod settlements;
mod world;
