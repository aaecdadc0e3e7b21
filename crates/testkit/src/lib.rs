//! What the checks of the whole workspace share: its root, its files and its manifests. Development only.
//!
//! The checks themselves are in `tests/`: `layering` (which crate may use which), `dependencies` (every dependency is
//! explained and its licence allowed), `documents` (nothing is left unlinked) and `tidy` (what no file may hold).
//! Clusters for simulations come here with the consensus engine; generators live beside their types.

pub mod licence;
pub mod workspace;
