//! The eroam binary's own parts: the command line, a consortium in one process, replay, demo and benchmarks.

pub mod agent;
pub mod bench;
pub mod causes;
pub mod charging;
pub mod clock;
pub mod consortium;
pub mod demo;
pub mod feed;
mod http_client;
pub mod ledger;
pub mod load_file;
pub mod node;
pub mod output_directory;
pub mod partners_unknown;
#[cfg(unix)]
pub mod program;
pub mod rate_server;
pub mod registry;
pub mod replay;
pub mod resolution;
pub mod second_meter;
pub mod server;
pub mod simulate;
pub mod study;
pub mod tails_cache;
pub mod usage;
mod whole_file;
