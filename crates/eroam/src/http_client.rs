//! How this crate's agents and programs speak HTTP to each other: how long they wait, and how little they keep.
//!
//! A process may have an agent for each of a thousand drivers, and a station talks to somebody else every hour. What a client
//! keeps of each connection, so that the next request needs no new one, is most of what such an agent needs at all: by
//! itself the library keeps ten connections with a quarter of a mebibyte of buffers each.

use std::time::Duration;
use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;

/// Bytes of each of a connection's two buffers: the headers of an answer fit in, and what is longer goes through in pieces.
const BUFFER_BYTES: usize = 16 << 10;
/// So many connections wait for another request to the same server: what is said at a time.
const IDLE_PER_SERVER_MAX: usize = 2;
/// So many wait altogether.
const IDLE_MAX: usize = 8;

/// The configuration of a client whose requests take at most `within`. It is not sent elsewhere by whom it asks.
pub(crate) fn answered_within(within: Duration) -> ConfigBuilder<AgentScope> {
    ureq::Agent::config_builder()
        .timeout_global(Some(within))
        .max_redirects(0)
        .input_buffer_size(BUFFER_BYTES)
        .output_buffer_size(BUFFER_BYTES)
        .max_idle_connections_per_host(IDLE_PER_SERVER_MAX)
        .max_idle_connections(IDLE_MAX)
}
