//! A charging station: what it does from the moment at which a driver's quote is made to the accounting message.
//!
//! ```text
//! hardware: relay, meter, sensor, vehicle     process: what may happen in which state, pure
//!          \                                 /
//!           charge_point: reads, decides, writes down, acts  ---> journal: survives a power cut, outbox
//!                          |
//!                          metering: readings signed with the meter's key -> periods, digest
//! ```
//! The same code runs on a computer of the size of a Raspberry Pi and inside an operator's node that hosts ordinary
//! stations. What it deliberately does not do: open sockets, read clocks (time comes in with every call), talk to
//! wallets or operators, decide prices or who may charge.
//!
//! Source: paper B, sections 4.5 and 4.6, figures 15 to 19.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
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

pub mod calibration;
pub mod charge_point;
#[cfg(all(feature = "gpio", target_os = "linux"))]
pub mod gpio;
pub mod hardware;
pub mod journal;
pub mod metering;
pub mod process;
