//! The ledger's rules by table, by hand-worked example and by property. [`fixture`] is the consortium they all use.

mod batch_forecasts;
mod batches;
mod determinism;
mod envelopes;
mod fixture;
mod forecast;
mod formats;
mod genesis;
mod lifecycle;
mod limits;
mod properties;
mod reads;
mod registry;
mod rejects;
mod settlements;
mod snapshots;
mod voucher;
mod world;
