//! Self-sovereign identity: credentials that a driver shows without saying who they are, and the messages in which
//! agents ask for them.
//!
//! ```text
//! didcomm   sealed envelopes between keys          did       whose key, and where to send
//! protocol  what is said when: pure state machines over messages
//! anoncreds issuer, holder, verifier (zero knowledge: drivers)
//! sd_jwt    issuer, holder, verifier (selective disclosure, ES256: stations)
//! custody   secrets at rest: one encrypted file
//! ```
//! No sockets and no clocks: time, objects of the registry and messages come in as arguments. What a holder needs
//! compiles for `wasm32-unknown-unknown` (without the feature `native`).
//!
//! Source: paper B; AnonCreds v1.0; Aries RFCs 0015, 0017, 0019, 0023, 0031, 0035, 0094, 0095, 0434, 0453, 0454;
//! RFC 9901 (SD-JWT).
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

pub mod anoncreds;
pub mod custody;
pub mod did;
pub mod didcomm;
pub mod json;
pub mod protocol;
pub mod sd_jwt;
