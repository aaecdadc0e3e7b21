//! Where an agent listens, and under which URL others reach it: behind a proxy or a router these are two.
//!
//! What others keep of an agent, in a code on a post, in an invitation or in a connection, is the URL.

use eroam_ssi::did::Endpoint;
use std::net::SocketAddr;

/// Why others cannot be told where an agent is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReachError {
    /// The URL is none that others can send to.
    #[error(
        "{0} is no URL of an agent: write http:// or https://, a host, and a port and a path if there are any, as in \
         https://stations.example/agent"
    )]
    Url(String),
    /// It listens on all addresses of the machine, and nobody says which of them others know.
    #[error(
        "{0} is every address of this machine and none that others can be told: name the URL, too, under which they reach it"
    )]
    Everywhere(SocketAddr),
}

/// Where an agent listens, and under which URL others reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    listen: SocketAddr,
    public: Option<Endpoint>,
}

impl Reach {
    /// Listens on `listen` (port 0: any that is free); others reach it at `public_url`, or there if it is not named. A slash
    /// at the end of the URL counts for nothing.
    ///
    /// # Errors
    /// [`ReachError`].
    pub fn new(listen: SocketAddr, public_url: Option<&str>) -> Result<Self, ReachError> {
        let public = match public_url {
            Some(url) => Some(endpoint(url).ok_or_else(|| ReachError::Url(url.to_owned()))?),
            None if listen.ip().is_unspecified() => return Err(ReachError::Everywhere(listen)),
            None => None,
        };
        Ok(Self { listen, public })
    }

    /// The same, listening elsewhere.
    #[must_use]
    pub fn listening_on(self, listen: SocketAddr) -> Self {
        Self { listen, ..self }
    }

    /// Where it listens.
    #[must_use]
    pub const fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Under which URL others reach it, once it has the address `bound`.
    pub(super) fn endpoint(&self, bound: SocketAddr) -> Option<Endpoint> {
        self.public.clone().or_else(|| Endpoint::parse(&format!("http://{bound}")))
    }
}

/// An agent that others reach where it listens.
impl From<SocketAddr> for Reach {
    fn from(listen: SocketAddr) -> Self {
        Self { listen, public: None }
    }
}

/// A URL to which envelopes can be sent by HTTP, and which an invitation can be put behind.
fn endpoint(url: &str) -> Option<Endpoint> {
    let is_http = url.starts_with("http://") || url.starts_with("https://");
    let is_whole = !url.contains(['?', '#']);
    Endpoint::parse(url.trim_end_matches('/')).filter(|_| is_http && is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_told_a_url_that_they_can_send_to() {
        let [here, everywhere]: [SocketAddr; 2] =
            ["127.0.0.1:0", "0.0.0.0:8021"].map(|at| at.parse().unwrap());
        let bound = "127.0.0.1:40000".parse().unwrap();
        let refused = |url: &str| Err(ReachError::Url(url.to_owned()));
        for (listen, public, expected) in [
            (here, None, Ok("http://127.0.0.1:40000")),
            (here, Some("https://stations.example"), Ok("https://stations.example")),
            (everywhere, Some("http://[2001:db8::1]:8021/agent/"), Ok("http://[2001:db8::1]:8021/agent")),
            (everywhere, None, Err(ReachError::Everywhere(everywhere))),
            (here, Some(""), refused("")),
            (here, Some("stations.example"), refused("stations.example")),
            (here, Some("https://"), refused("https://")),
            (here, Some("wss://stations.example"), refused("wss://stations.example")),
            (here, Some("https://a@stations.example"), refused("https://a@stations.example")),
            (here, Some("https://stations.example?a=b"), refused("https://stations.example?a=b")),
            (here, Some("https://stations.example/a b"), refused("https://stations.example/a b")),
        ] {
            let reach = Reach::new(listen, public);
            let found = reach.map(|reach| reach.endpoint(bound).unwrap().as_str().to_owned());
            assert_eq!(found, expected.map(ToOwned::to_owned), "{listen} {public:?}");
        }
    }
}
