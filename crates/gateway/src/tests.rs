//! One organisation's business, and three of them together. [`world`] is the consortium that the tests share.

mod anomalies;
mod authentication;
mod authorization;
mod bills;
mod charges;
mod contest_evidence;
mod crashes;
mod forecasts;
mod profiles;
mod quotes;
mod rates;
mod routing;
mod rules;
mod secrecy;
mod sessions;
mod unknown_drivers;
mod voucher_bills;
mod vouchers;
mod wallet;
mod world;
