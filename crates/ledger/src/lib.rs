//! What the consortium enforces: a transaction and the current state give an outcome and the state's changes.
//!
//! [`execute::execute`] is a pure function of (state, transaction, block header). There is no clock, randomness,
//! I/O, thread, global, float or hash-ordered iteration in this crate; the engine that orders transactions and
//! stores the state is behind [`port::LedgerPort`].
//!
//! [`reads`] says what an envelope will look at, [`genesis`] how a network begins, and [`snapshot`] how a state travels
//! from one database, or network, to another.
//!
//! A file per transaction family; each lists its checks in the order in which they run. The first failure wins and
//! is part of consensus.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_arithmetic
)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod agreement;
mod batch_forecasts;
pub mod cdr;
pub mod execute;
pub mod forecast;
pub mod genesis;
pub mod membership;
pub mod port;
pub mod query;
pub mod reads;
pub mod registry;
pub mod reject;
pub mod settlement;
pub mod snapshot;
pub mod state;
pub mod tariff;
pub mod tree;
pub mod true_up;
pub mod tx;
pub mod voucher;

#[cfg(test)]
mod tests;
