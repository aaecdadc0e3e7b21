//! What the checks of the whole workspace share: its root, its files and its manifests; and what tests of several crates
//! share. Development only.
//!
//! The checks themselves are in `tests/`: `layering` (which crate may use which), `dependencies` (every dependency is
//! explained and its licence allowed), `documents` (nothing is left unlinked), `fuzzing` (targets, programs and corpora are
//! the same) and `tidy` (what no file may hold).
//! Clusters for simulations come here with the consensus engine; generators live beside their types.

pub mod corpus;
pub mod data;
pub mod licence;
pub mod python;
pub mod workspace;
