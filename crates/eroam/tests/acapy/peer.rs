//! ACA-Py as the other side: a process of its own, driven through its administration interface.

use eroam_ssi::protocol::out_of_band::Invitation;
use eroam_testkit::python::interpreter;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// So long ACA-Py may take for anything; it makes keys of safe primes meanwhile.
const WITHIN: Duration = Duration::from_secs(150);

/// A running agent.
pub(crate) struct Peer {
    process: Child,
    admin: String,
    http: ureq::Agent,
    _home: TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap().local_addr().unwrap().port()
}

impl Peer {
    /// Starts ACA-Py with the plugin of `interop/acapy`, its registry at `registry`; `None` where it is not installed.
    pub(crate) fn start(registry: &str, secret: &str) -> Option<Self> {
        let python = interpreter("acapy_agent")?;
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let home = tempfile::tempdir().unwrap();
        let (inbound, admin) = (free_port(), free_port());
        let log = std::fs::File::create(home.path().join("log")).unwrap();
        let process = Command::new(python)
            .arg(root.join("tests/acapy/agent.py"))
            .args(["--label", "ACA-Py", "-it", "http", "127.0.0.1", &inbound.to_string(), "-ot", "http"])
            .args(["-e", &format!("http://127.0.0.1:{inbound}")])
            .args(["--admin", "127.0.0.1", &admin.to_string(), "--admin-insecure-mode", "--no-ledger"])
            .args([
                "--wallet-type",
                "askar-anoncreds",
                "--wallet-storage-type",
                "default",
                "--wallet-name",
                "peer",
            ])
            .args([
                "--wallet-key",
                "7L5kFJcgDwB2BsEdVDEzhBVPYcQx4v4oYYmWXBHBLSUQ",
                "--wallet-key-derivation-method",
                "RAW",
            ])
            .args([
                "--auto-provision",
                "--plugin",
                "eroam_plugin",
                "--auto-accept-invites",
                "--auto-accept-requests",
            ])
            .args([
                "--auto-respond-credential-offer",
                "--auto-respond-credential-request",
                "--auto-store-credential",
            ])
            .args([
                "--auto-respond-presentation-request",
                "--auto-verify-presentation",
                "--preserve-exchange-records",
            ])
            .args(["--tails-server-base-url", &format!("{registry}/tails"), "--log-level", "warning"])
            .args([
                "--tails-server-upload-url",
                &format!("{}/tails", registry.replace("http://", &format!("http://eroam:{secret}@"))),
            ])
            .env("HOME", home.path())
            .env("PYTHONPATH", root.join("../../interop/acapy"))
            .env("EROAM_REGISTRY_URL", registry)
            .env("EROAM_REGISTRY_SECRET", secret)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let http = ureq::Agent::new_with_config(
            ureq::Agent::config_builder().timeout_global(Some(WITHIN)).http_status_as_error(false).build(),
        );
        let mut peer = Self { process, admin: format!("http://127.0.0.1:{admin}"), http, _home: home };
        let until = Instant::now() + WITHIN;
        while peer.http.get(format!("{}/status/ready", peer.admin)).call().is_err() {
            assert!(peer.process.try_wait().unwrap().is_none(), "ACA-Py ended: {}", peer.log());
            assert!(Instant::now() < until, "ACA-Py does not start: {}", peer.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(peer)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self._home.path().join("log")).unwrap_or_default()
    }

    #[track_caller]
    fn answer(
        &self,
        what: &str,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> (u16, Value) {
        let mut answer = answer.unwrap_or_else(|error| panic!("{what}: {error}\n{}", self.log()));
        let text = answer.body_mut().read_to_string().unwrap();
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (answer.status().as_u16(), value)
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        let sent = self.http.post(format!("{}{path}", self.admin)).header("Content-Type", "application/json");
        let (status, value) = self.answer(path, sent.send(body.to_string().as_bytes()));
        assert_eq!(status, 200, "{path}: {value}\n{}", self.log());
        value
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        self.answer(path, self.http.get(format!("{}{path}", self.admin)).call())
    }

    /// Asks again until the answer is as wanted.
    #[track_caller]
    pub(crate) fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + WITHIN;
        loop {
            let (status, value) = self.get(path);
            if status == 200 && wanted(&value) {
                return value;
            }
            assert!(Instant::now() < until, "{path} stays {status}: {value}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// An exchange that has ended, whichever way, or as it is after `patience`.
    #[track_caller]
    pub(crate) fn ended(&self, path: &str, patience: Duration) -> Value {
        let until = Instant::now() + patience;
        loop {
            let (status, value) = self.get(path);
            let record = value.get("cred_ex_record").unwrap_or(&value);
            let ended =
                ["done", "abandoned", "credential-revoked"].iter().any(|state| record["state"] == *state);
            if ended || Instant::now() >= until {
                assert_eq!(status, 200, "{path}: {value}");
                return value;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// An invitation, and the id that it has there.
    pub(crate) fn invite(&self) -> (Invitation, String) {
        let body = json!({ "handshake_protocols": ["https://didcomm.org/didexchange/1.1"], "use_did_method": "did:peer:2" });
        let made = self.post("/out-of-band/create-invitation?auto_accept=true", &body);
        let invitation = Invitation::parse(made["invitation"].to_string().as_bytes()).unwrap();
        (invitation, made["invi_msg_id"].as_str().unwrap().to_owned())
    }

    /// Answers an invitation of ours; the id of the connection there.
    pub(crate) fn take(&self, invitation: &Invitation) -> String {
        let body = invitation.to_message().to_value();
        let made = self
            .post("/out-of-band/receive-invitation?auto_accept=true&use_existing_connection=false", &body);
        made["connection_id"].as_str().unwrap().to_owned()
    }

    /// Waits until the connection is made there.
    #[track_caller]
    pub(crate) fn connected(&self, connection: &str) {
        self.until(&format!("/connections/{connection}"), |value| {
            value["state"] == "active" || value["rfc23_state"] == "completed"
        });
    }

    /// The connection that an invitation led to.
    #[track_caller]
    pub(crate) fn connection_of(&self, invitation: &str) -> String {
        let path = format!("/connections?invitation_msg_id={invitation}");
        let made = |value: &Value| {
            value["results"]
                .as_array()
                .is_some_and(|list| list.iter().any(|c| c["rfc23_state"] == "completed"))
        };
        let value = self.until(&path, made);
        let list = value["results"].as_array().unwrap();
        let made = list.iter().find(|c| c["rfc23_state"] == "completed").unwrap();
        made["connection_id"].as_str().unwrap().to_owned()
    }
}
