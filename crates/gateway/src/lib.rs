//! One organisation's business: routing, authentication, authorization and accounting (AAA), rules, profiles,
//! quotes, sessions and bills, behind ports for storage and for the ledger.
//!
//! It opens no socket, reads no clock and knows no SQL. Time comes in with every event; what must happen outside
//! comes back as [`gateway::Effect`]s.
//!
//! Source: Paper A, sections 2.1.2 to 2.1.5 and 2.2.2 to 2.2.4.
#![deny(clippy::unwrap_used, clippy::panic, clippy::float_arithmetic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing))]

pub mod account;
pub mod anomalies;
pub mod authenticate;
pub mod authorize;
pub mod billing;
pub mod charge_evidence;
pub mod credit;
pub mod forecasts;
pub mod gateway;
pub mod invoice;
pub mod limits;
mod page;
pub mod ports;
pub mod profiles;
pub mod quote;
pub mod rates;
pub mod route;
pub mod rules;
pub mod sessions;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod true_ups;
pub mod unknown_driver;
pub mod vouchers;
