//! The driver's agent: what a wallet keeps and decides. It runs on the driver's own device.
//!
//! ```text
//! purse     vouchers and their one-time keys: withdrawn ahead, each spent once
//! visit     from a station that proved itself to an agreement with it
//! consent   what a driver is told before anything is shown: who learns what
//! cost      what a charge is going to cost, and what it would later
//! price     a tariff in words, before there is a quote
//! ```
//! No sockets, no files and no clock: a phone's browser can carry it (without the feature `native`). Keys and
//! credentials at rest are `eroam_ssi::custody`.
//!
//! Source: paper B, sections 4.1 and 4.2.
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

pub mod consent;
pub mod cost;
pub mod price;
pub mod purse;
pub mod visit;
