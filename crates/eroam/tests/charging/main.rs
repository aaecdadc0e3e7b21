//! Charges between agents, each with keys and a store of its own, over HTTP: that what is charged is billed, and that
//! whoever must not charge, or must not be trusted, is refused in words that a driver understands.

mod accounting;
mod consent;
mod contracts;
mod disputes;
mod hostile;
mod local_time;
mod mandates;
mod operator_away;
mod prices;
mod public_addresses;
mod refunds;
mod registration;
mod revoked_paper_stations;
mod revoked_stations;
mod staleness;
mod stations;
mod town;
mod validity;
mod vouchers;
