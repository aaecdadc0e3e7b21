//! Whole clusters under simulation: what validators do when the network, the machine or one of them fails. A failing
//! test prints its seed; the same seed fails in the same way.

mod cluster;
mod crashes;
mod dishonest;
mod epochs;
mod ledger;
mod links;
mod repetition;
