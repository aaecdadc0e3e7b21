//! Replay of real charging sessions.
pub mod input;
