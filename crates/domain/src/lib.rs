//! Vocabulary and arithmetic of electric-vehicle roaming: identifiers, money, energy, time, tariffs,
//! agreements, prices, charge detail records and the messages of a charge.
//!
//! What it deliberately does not do: read a clock, a file, a socket or a random source; use floating point.
//! Everything here is a pure function of its arguments, because the consortium's ledger prices with this
//! crate and every organisation must get the same number.
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

#[macro_use]
pub mod codec;
pub mod agreement;
pub mod cdr;
pub mod charge;
pub mod forecast;
pub mod ids;
pub mod money;
pub mod pricing;
pub mod quantity;
pub mod quote_detail;
pub mod retail;
pub mod tariff;
pub mod time;
pub mod visit;
pub mod voucher;
