//! Checks what the ledger says with nothing but its genesis: certificates, receipts, and proofs of state.
//!
//! A station or a wallet carries this crate. It knows the formats of blocks and proofs, but no engine, runtime, socket
//! or database, and compiles for `wasm32-unknown-unknown`. Signatures and trees are computed by the engine's own crates
//! `commonware-cryptography` and `commonware-storage` (without `std`), so that a light client takes a vote or a path
//! exactly when a validator would.
//!
//! ```text
//! genesis -> Trust ---------+
//!                           v
//! headers, certificate -> FinalizedHeader --+--> VerifiedReceipt   what became of one item of one envelope
//!                                           +--> VerifiedEntry     what the state has, or has not, under a key
//! ```
//!
//! What is checked is that enough validators finalized it, never that it is the latest: whoever asks for a proof asks
//! for a height, or looks at the time in the header.
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

pub mod block;
pub mod certificate;
pub mod document;
pub mod receipt;
pub mod state;
pub mod trust;
