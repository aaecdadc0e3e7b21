//! What other systems send and expect, translated to and from the domain's vocabulary.
//!
//! Everything that arrives here is untrusted: whatever the bytes, a reader returns a value or an error that names the
//! place, and never panics. What this crate deliberately does not do: open sockets, read clocks, decide whether a
//! peer may send what it sent, or use floating point for money, energy and time.
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

pub mod ocmf;
pub mod ocpi;
