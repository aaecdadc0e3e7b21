//! The eroam binary's own parts: command line, wiring of a consortium in one process, replay, demo and benchmarks.
pub mod replay;
