//! The crate from outside: what it promises of any series, and what it reaches on real ones.

mod decisions;
mod degraded;
mod properties;
mod real_load;
mod synthetic;
