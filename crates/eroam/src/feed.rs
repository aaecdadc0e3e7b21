//! A node's load feed: samples come in by HTTP push or from a growing CSV, and every hour a forecast of them is attested.
//!
//! ```text
//! POST /v1/load ─┐                                      ┌─ learns, forecasts (crate forecast)
//!                ├─► Inbox ─► journal on the disk ─► Runner ─► Attestor ─► ledger
//! CSV that grows ┘   (refused rows are listed)          └─ status.json: is the feed alive, what was attested
//! ```
//! The journal holds what came, one row a sample, as a file that `eroam forecast` reads: whoever has it and the model's
//! version makes the same forecast, bit by bit. What repeats, contradicts, or cannot be is judged by the same reader at
//! each hour, with everything that came by then.
//!
//! | state | the newest sample | attested |
//! |---|---|---|
//! | live | of the hour before this one | the model's forecast |
//! | late | up to a day old | the model's, which looks further ahead, then the seasonal rule's |
//! | degraded | older, or what the model needs is missing or cannot be | the seasonal rule's, where the model has none |
//! | lost | older than the limit | nothing |
//! | absent | there is none that can be used | nothing |
//!
//! Rates of an outside server are published by the same key ([`rates`]).
//!
//! A sample counts when its hour is over. Time comes in, so that a test drives a year in a moment; waiting is done by
//! whoever hosts it.

pub mod attestor;
mod inbox;
mod journal;
mod member;
mod push;
pub mod rates;
mod runner;
mod status;
#[cfg(test)]
mod tests;
mod watched;

pub use attestor::{AttestError, Attested, Attestor, LedgerAttestor};
pub use inbox::{Inbox, Row, Taken, WrongSample};
pub use journal::{JOURNAL, JournalError};
pub use member::FEED_LANE;
pub use push::{PUSH_BYTES_MAX, router};
pub use runner::{FORECAST_HOURS, FeedError, GRACE, LOST_AFTER_HOURS, Runner, STATUS_EVERY, Settings};
pub use status::{FeedState, FeedStatus, LastForecast, Problem, STATUS, read_status};
pub use watched::{WATCHED, WatchedError};
