//! Load series in, forecasts with a band out; and the arithmetic of the studies, where floats are allowed.
//!
//! ```text
//! CSV -> series (findings, holes) -> features -> learner: ridge regressions and simple rules, the best one forecasts
//!                                                      \-> forecaster: whole kW, band, digest; else the seasonal rule
//! backtest, efficiency: how good the forecasts are, and the prices that follow them;  revenue: paper A's equations
//! ```
//! What it deliberately does not do: open files and sockets, read clocks, start threads, use randomness, attest a
//! forecast, or decide what a forecast is for. Prices are [`eroam_domain`]'s: no second rule is written here. Models
//! use additions, multiplications, divisions and square roots alone, in a fixed order, so that the same series gives
//! the same forecast, to the bit, for everybody who checks its digest.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod backtest;
pub mod clock;
pub mod conformal;
pub mod demand;
pub mod efficiency;
pub mod exogenous;
pub mod features;
pub mod forecaster;
pub mod hour;
pub mod learner;
pub mod revenue;
pub mod ridge;
pub mod seasonal;
pub mod series;
