//! A ledger of one member, and its registry over HTTP.

use ed25519_dalek::SigningKey;
use eroam::consortium::Seed;
use eroam::ledger::{Ledger, LedgerSetup};
use eroam::registry::{self, Publisher, REGISTRY_LANE, Secret};
use eroam::server::{STOP_WITHIN, Server};
use eroam_domain::codec::ShortText;
use eroam_domain::ids::{EroamDid, PartyId};
use eroam_domain::quantity::DurationMs;
use eroam_ledger::genesis::{Genesis, GenesisMember, Parameters};
use eroam_ledger::membership::Roles;
use eroam_ledger::registry::{DidDocument, DidService};
use eroam_ledger::tx::PublicKey;
use eroam_ssi::anoncreds::{ObjectId, RevocationRegistryDefinition, StatusList};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use tempfile::TempDir;

/// What software that publishes in the member's name has to know.
pub(crate) const SECRET: &str = "known-to-the-issuer-alone-0123456789";

pub(crate) struct World {
    pub(crate) url: String,
    /// The member's DID.
    pub(crate) did: EroamDid,
    http: ureq::Agent,
    _server: Server,
    _ledger: Ledger,
    _tails: TempDir,
}

impl World {
    pub(crate) fn start() -> Self {
        let seed = Seed(1);
        let member: PartyId = "PT-LUZ".parse().unwrap();
        let key = seed.signing_key(member);
        let setup = LedgerSetup::default();
        let genesis = Genesis {
            name: ShortText::new("test").unwrap(),
            parameters: Parameters {
                treasurers_required: 1,
                close_grace: DurationMs::from_millis(86_400_000),
            },
            members: vec![GenesisMember {
                party: member,
                name: ShortText::new("Luz").unwrap(),
                roles: Roles::EMSP.with(Roles::ISSUER).with(Roles::TREASURER),
                key: PublicKey::of(&key),
            }],
            consensus: setup.consensus(seed, &[member]),
            imported: None,
        };
        let ledger = Ledger::open(seed, &genesis, &setup).unwrap();
        let publisher = Publisher::new(ledger.client().clone(), member, key, REGISTRY_LANE).unwrap();
        let first = SigningKey::from_bytes(&[7; 32]);
        let did = publisher.did_of(&first);
        let service = DidService {
            id: ShortText::new("didcomm-0").unwrap(),
            kind: ShortText::new("did-communication").unwrap(),
            endpoint: ShortText::new("http://127.0.0.1:9").unwrap(),
        };
        let document = DidDocument { keys: vec![PublicKey::of(&first)], services: vec![service] };
        publisher.publish_did(did, document, &first).unwrap();
        let tails = tempfile::tempdir().unwrap();
        let secret = Secret::new(SECRET).unwrap();
        let router =
            registry::router(ledger.client().clone(), tails.path(), Some((publisher, secret))).unwrap();
        let server =
            Server::start("registry", SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), router, STOP_WITHIN)
                .unwrap();
        let http =
            ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
        let url = format!("http://{}", server.address());
        Self { url, did, http, _server: server, _ledger: ledger, _tails: tails }
    }

    /// As its own issuing software publishes: the id, and what the ledger has.
    #[track_caller]
    pub(crate) fn publish(&self, kind: &str, value: Value) -> (String, Value) {
        let sent = self
            .http
            .post(format!("{}/registry/v1/publish", self.url))
            .header("Authorization", format!("Bearer {SECRET}"))
            .send(json!({ "kind": kind, "value": value }).to_string().as_bytes());
        let mut answer = sent.unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        assert_eq!(answer.status(), 200, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        (answer["id"].as_str().unwrap().to_owned(), answer["value"].clone())
    }

    #[track_caller]
    pub(crate) fn publish_list(&self, list: &StatusList) -> StatusList {
        let value = serde_json::from_slice(&list.to_json()).unwrap();
        StatusList::from_json(self.publish("status-list", value).1.to_string().as_bytes()).unwrap()
    }

    /// Stores a tails file; gives where it is.
    #[track_caller]
    pub(crate) fn put_tails(&self, registry: &RevocationRegistryDefinition, tails: &[u8]) -> String {
        let url = format!("{}/tails/hash/{}", self.url, registry.tails_hash());
        let sent =
            self.http.put(&url).header("Authorization", format!("Bearer {SECRET}")).send(tails).unwrap();
        assert!(sent.status().is_success(), "{}", sent.status());
        url
    }

    #[track_caller]
    fn bytes(&self, path: &str, query: &[(&str, &str)]) -> Vec<u8> {
        let mut request = self.http.get(format!("{}{path}", self.url));
        for (name, value) in query {
            request = request.query(name, value);
        }
        let mut answer = request.call().unwrap();
        let bytes = answer.body_mut().with_config().limit(20 << 20).read_to_vec().unwrap();
        assert_eq!(answer.status(), 200, "{path} {query:?}: {}", String::from_utf8_lossy(&bytes));
        bytes
    }

    /// An object, as anybody can look it up.
    #[track_caller]
    pub(crate) fn object(&self, id: &str) -> Vec<u8> {
        self.bytes("/registry/v1/object", &[("id", id)])
    }

    #[track_caller]
    pub(crate) fn newest_list(&self, registry: &ObjectId) -> StatusList {
        StatusList::from_json(&self.bytes("/registry/v1/status-list", &[("id", registry.as_str())])).unwrap()
    }
}
