//! An operator's list of revoked stations that is old, forged or not to be had: a driver does not charge where nobody can
//! say whether the station was revoked, and is told why.

use crate::stations::{charge_at, credential};
use crate::town::Town;
use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use eroam::clock::{leave_out, now};
use eroam::server::{STOP_WITHIN, Server};
use eroam_domain::quantity::DurationMs;
use eroam_ssi::sd_jwt::HeldSdJwt;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// Serves whatever it is told to.
struct Told {
    server: Server,
    answer: Arc<Mutex<(StatusCode, String)>>,
}

impl Told {
    fn new() -> Self {
        let answer = Arc::new(Mutex::new((StatusCode::NOT_FOUND, String::new())));
        let told = Arc::clone(&answer);
        let router =
            Router::new().fallback(move || async move { told.lock().unwrap().clone().into_response() });
        let server = Server::start("told", ([127, 0, 0, 1], 0).into(), router, STOP_WITHIN).unwrap();
        Self { server, answer }
    }

    fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    fn serve(&self, status: StatusCode, text: &str) {
        *self.answer.lock().unwrap() = (status, text.to_owned());
    }
}

/// A town with a station whose credential says that its operator's list is at a server of ours.
struct Listed {
    town: Town,
    told: Told,
    /// The operator's own server.
    operator: Server,
    held: HeldSdJwt,
}

impl Listed {
    fn new() -> Self {
        let (town, told) = (Town::new(1, 1), Told::new());
        let operator = &town.world.operators()[0];
        let server =
            Server::start("operator", ([127, 0, 0, 1], 0).into(), operator.router(), STOP_WITHIN).unwrap();
        operator.served_at(&told.url());
        let held = credential(&town);
        Self { town, told, operator: server, held }
    }

    /// The list as the operator signs it now.
    fn signed(&self) -> String {
        let url = format!("http://{}/stations/status", self.operator.address());
        ureq::get(url).call().unwrap().into_body().read_to_string().unwrap()
    }

    /// What a driver at the station hears, with this list.
    fn charge(&mut self, status: StatusCode, text: &str) -> String {
        self.told.serve(status, text);
        // Longer than a wallet keeps a list.
        leave_out(DurationMs::from_millis(61_000));
        let held = &self.held;
        charge_at(&mut self.town, |demand, audience| {
            held.present(&BTreeSet::new(), audience, &demand.nonce, now()).unwrap()
        })
    }

    fn sentence(&self, says: &str) -> String {
        says.replace("URL", &format!("{}/stations/status", self.told.url()))
    }
}

const AWAY: &str = "the list of revoked stations cannot be fetched from URL, so nobody can say whether this station was \
                    revoked: take another one, or try again later";
const OLD: &str = "the list of revoked stations at URL is too old, so nobody can say whether this station was revoked: \
                   take another one, or try again later";
const FORGED: &str = "the list of revoked stations at URL is not genuine: do not charge here";

#[test]
fn a_list_that_is_no_list_or_not_there_is_no_reason_to_believe_a_station() {
    let mut listed = Listed::new();
    let mut foreign = listed.signed().into_bytes();
    // Another signature over the same list.
    let last = foreign.len() - 3;
    foreign[last] = if foreign[last] == b'A' { b'B' } else { b'A' };
    let foreign = String::from_utf8(foreign).unwrap();
    for (status, text, words) in [
        (StatusCode::INTERNAL_SERVER_ERROR, "out of order", AWAY),
        (StatusCode::NOT_FOUND, "", AWAY),
        (StatusCode::OK, "", FORGED),
        (StatusCode::OK, "garbage", FORGED),
        (StatusCode::OK, "<html>sign in to the network of this car park</html>", FORGED),
        (StatusCode::OK, &foreign, FORGED),
    ] {
        assert_eq!(listed.charge(status, text), listed.sentence(words), "{status} {text}");
    }
}

#[test]
fn a_list_of_a_while_ago_does_not_hide_a_station_that_was_revoked_since() {
    let mut listed = Listed::new();
    let before = listed.signed();
    // A minute later it is good: what is missing then is the station.
    let said = listed.charge(StatusCode::OK, &before);
    assert!(!said.contains("revoked"), "{said}");
    let newer = listed.signed();
    let said = listed.charge(StatusCode::OK, &newer);
    assert!(!said.contains("revoked"), "{said}");
    // Still of these five minutes, but older than what the wallet has seen.
    assert_eq!(listed.charge(StatusCode::OK, &before), listed.sentence(OLD));
    // Not expired by what its operator says of it, but nobody who asks gets one that old.
    leave_out(DurationMs::from_millis(300_000));
    assert_eq!(listed.charge(StatusCode::OK, &newer), listed.sentence(OLD));
    leave_out(DurationMs::from_millis(2 * 3_600_000));
    assert_eq!(listed.charge(StatusCode::OK, &newer), listed.sentence(OLD));
    let evse = "PT*O01*E00099".parse().unwrap();
    listed.town.world.operators()[0].revoke_station(&evse, "stolen").unwrap();
    let newest = listed.signed();
    let said = listed.charge(StatusCode::OK, &newest);
    assert_eq!(said, "the operator has revoked this station: do not charge here");
}
