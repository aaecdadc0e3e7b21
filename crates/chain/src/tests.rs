//! Whole clusters under simulation: what validators do when the network, the machine or one of them fails. A failing
//! test prints its seed; the same seed fails in the same way.

mod channels;
mod cluster;
mod crashes;
mod dishonest;
mod epochs;
mod equivocator;
mod execution;
mod idle;
mod joining;
pub(crate) mod ledger;
mod links;
mod objections;
mod repetition;
mod waiting;
