//! ACA-Py, an independent agent, on the other side of every protocol, with `did:eroam` by the plugin of `interop/acapy`.
//!
//! Each test starts a ledger with its registry, an agent of ours, and ACA-Py. Where ACA-Py is not installed they are
//! left out, and say so; in CI that is a failure.

mod ours;
mod peer;
mod world;

use eroam::agent::{Agent, new_id};
use eroam::clock::{in_time, now};
use eroam::tails_cache::TailsCache;
use eroam_ssi::anoncreds::*;
use eroam_ssi::didcomm::{Message, MessageType};
use eroam_ssi::protocol::basic_message::{self, BasicMessage};
use eroam_ssi::protocol::did_exchange::Connection;
use eroam_ssi::protocol::present_proof::{self, Request, Verifier};
use eroam_ssi::protocol::{Family, Illegal, discover_features};
use ours::*;
use peer::Peer;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use world::World;

fn agent() -> Agent {
    Agent::start("ours", SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap()
}

/// We invite, ACA-Py answers: our end, and the name of the connection there.
fn invite(agent: &Agent, peer: &Peer) -> (Connection, String) {
    let (invitation, invited) = agent.invite(deadline()).unwrap();
    let theirs = peer.take(&invitation);
    let connection = agent.accept(&invitation, &invited, WITHIN).unwrap();
    peer.connected(&theirs);
    (connection, theirs)
}

/// Everything that a test about credentials needs; `None` where ACA-Py is not installed.
struct Scene {
    peer: Peer,
    agent: Agent,
    connection: Connection,
    theirs: String,
    world: World,
}

impl Scene {
    fn start() -> Option<Self> {
        let world = World::start();
        let peer = Peer::start(&world.url, world::SECRET)?;
        let agent = agent();
        let (connection, theirs) = invite(&agent, &peer);
        Some(Self { peer, agent, connection, theirs, world })
    }

    /// ACA-Py asks for what `request` says, our wallet answers with what `make` makes of it: whether ACA-Py says that it
    /// is verified, and what our side of the exchange ends in.
    #[track_caller]
    fn verified_there(
        &self,
        wallet: &Wallet<'_>,
        request: &Value,
        make: impl FnOnce(&ProofRequest) -> Vec<u8>,
    ) -> (bool, &'static str) {
        self.verified_there_within(wallet, request, make, WITHIN)
    }

    /// As [`Self::verified_there`], where ACA-Py may leave the exchange as it is.
    #[track_caller]
    fn verified_there_within(
        &self,
        wallet: &Wallet<'_>,
        request: &Value,
        make: impl FnOnce(&ProofRequest) -> Vec<u8>,
        patience: Duration,
    ) -> (bool, &'static str) {
        let body = json!({
            "connection_id": self.theirs,
            "auto_verify": true,
            "presentation_request": { "anoncreds": request },
        });
        let exchange = self.peer.post("/present-proof-2.0/send-request", &body);
        let (prover, thread) = wallet.answer(&self.agent, &self.connection, make);
        let path = format!("/present-proof-2.0/records/{}", exchange["pres_ex_id"].as_str().unwrap());
        let ended = self.peer.ended(&path, patience);
        let word = self.agent.receive_from(&self.connection, Some(&thread), Duration::from_secs(3));
        let state = word.map_or("presented", |word| prover.handle(&word, now()).unwrap().0.name());
        (ended["verified"] == "true", state)
    }
}

/// What ACA-Py asks: zones and tariff shown, a contract that has not expired, not revoked within an interval.
fn their_request(cred_def_id: &ObjectId, expiry: i32, interval: &Value) -> Value {
    let restrictions = json!([{ "cred_def_id": cred_def_id.as_str() }]);
    json!({
        "name": "charge",
        "version": "1.0",
        "requested_attributes": { "zones": { "names": ["allowed_zones", "tariff"], "restrictions": restrictions } },
        "requested_predicates": {
            "valid": { "name": "expiry", "p_type": ">=", "p_value": expiry, "restrictions": restrictions },
        },
        "non_revoked": interval,
    })
}

/// From a second on until now. ACA-Py takes an interval of one second for "any time before", so it must be longer.
fn within(from: u64) -> Value {
    json!({ "from": from, "to": Timestamp::from(now()).seconds().max(from + 1) })
}

/// The interval in which only the newest list counts.
fn newest(issuer: &OurIssuer) -> Value {
    let newest = issuer.registry.list.timestamp().seconds();
    within(newest)
}

/// The request as a dishonest wallet reads it: any list will do.
fn from_any_time(request: &ProofRequest) -> ProofRequest {
    let mut asked: Value = serde_json::from_slice(&request.to_json()).unwrap();
    asked["non_revoked"]["from"] = 0.into();
    ProofRequest::from_json(asked.to_string().as_bytes()).unwrap()
}

fn json_of(presentation: &Presentation) -> Value {
    serde_json::from_slice(&presentation.to_json()).unwrap()
}

#[test]
fn acapy_connects_to_us_and_we_to_it_and_both_are_heard() {
    let world = World::start();
    let Some(peer) = Peer::start(&world.url, world::SECRET) else { return };
    let agent = agent();
    let (invited, theirs) = invite(&agent, &peer);
    // It uses did:peer:4 of its own accord; ours is the other method.
    assert!(invited.theirs().as_str().starts_with("did:peer:4"), "{}", invited.theirs());
    let (invitation, there) = peer.invite();
    let connected = agent.connect(&invitation, WITHIN).unwrap();
    assert!(connected.theirs().as_str().starts_with("did:peer:2"), "{}", connected.theirs());
    let there = peer.connection_of(&there);
    for (connection, theirs) in [(&invited, &theirs), (&connected, &there)] {
        let text = BasicMessage {
            content: format!("Grüße über {theirs}"),
            sent_time: now(),
            locale: Some("de".to_owned()),
        };
        agent.send(connection, &basic_message::write(&text, new_id())).unwrap();
        peer.post(
            &format!("/connections/{theirs}/send-message"),
            &json!({ "content": format!("to {theirs} – ça va ?") }),
        );
        let answer = agent.receive_from(connection, None, WITHIN).unwrap();
        assert_eq!(basic_message::read(answer.message()).unwrap().content, format!("to {theirs} – ça va ?"));
    }
    // It understood ours: the message is in its log of messages only as an event, so it is asked what it speaks, on the
    // same connections, and answers.
    for connection in [&invited, &connected] {
        let query = discover_features::query(&["https://didcomm.org/*"], new_id()).unwrap();
        agent.send(connection, &query).unwrap();
        let answer = agent.receive_from(connection, Some(query.id()), WITHIN).unwrap();
        let deadline = deadline();
        let spoken =
            discover_features::read_disclosures(&answer, connection.channel(), query.id(), deadline).unwrap();
        for family in
            [Family::IssueCredential, Family::PresentProof, Family::BasicMessage, Family::DidExchange]
        {
            assert!(spoken.contains(&family.uri()), "{family:?} is not among {spoken:?}");
        }
    }
}

#[test]
fn acapy_is_told_what_we_speak_and_what_we_do_not() {
    let Some(Scene { peer, agent, connection, theirs, .. }) = Scene::start() else { return };
    // It asks; our agent answers by itself while it waits for something else.
    let path = format!("/discover-features-2.0/queries?connection_id={theirs}&query_protocol=*");
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| peer.get(&path));
        assert!(is_silence(&agent.receive_from(&connection, None, Duration::from_secs(3))));
        let (status, answer) = asking.join().unwrap();
        assert_eq!(status, 200, "{answer}");
        let spoken = answer.to_string();
        for family in [Family::IssueCredential, Family::PresentProof, Family::DidExchange] {
            assert!(spoken.contains(&family.uri()), "{family:?} is not in {spoken}");
        }
    });
    // A ping is not spoken here, and it is told so. It does not know what to do with that, and says so in turn; there it
    // ends, since reports are not answered with reports.
    peer.post(&format!("/connections/{theirs}/send-ping"), &json!({ "comment": "there?" }));
    let complaint = agent.receive_from(&connection, None, WITHIN).unwrap();
    assert!(complaint.message().kind().is_problem_report(), "{complaint:?}");
    let silence = agent.receive_from(&connection, None, Duration::from_secs(2));
    assert!(is_silence(&silence), "{silence:?}");
    // What we send that it does not speak, it reports.
    let kind = MessageType::parse("https://didcomm.org/charging/1.0/hello").unwrap();
    let hello = Message::new(kind, new_id());
    agent.send(&connection, &hello).unwrap();
    let report = agent.receive_from(&connection, Some(hello.id()), WITHIN).unwrap();
    assert!(report.message().kind().is_problem_report(), "{:?}", report.message());
}

#[test]
fn acapy_holds_our_credential_and_shows_it_until_it_is_revoked() {
    let Some(Scene { peer, agent, connection, world, .. }) = Scene::start() else { return };
    let mut issuer = OurIssuer::publish(&world, "a");
    let index = issuer.issue_over(&agent, &connection);
    let held =
        peer.until("/credentials", |value| value["results"].as_array().is_some_and(|list| !list.is_empty()));
    assert_eq!(held["results"][0]["cred_def_id"], issuer.cred_def_id.as_str());
    assert_eq!(held["results"][0]["attrs"]["allowed_zones"], "A,B");
    let verified = issuer.ask(&agent, &connection, &issuer.request(TODAY));
    let verified = verified.unwrap_or_else(|error| panic!("{error}\n{}", peer.log()));
    assert_eq!(verified.value("zones", "allowed_zones"), Some("A,B"));
    assert_eq!(verified.value("zones", "tariff"), Some("std"));
    assert_eq!(verified.predicates().len(), 1);
    // A contract that would have to be valid longer than it is: nothing is shown.
    let unmet = issuer.ask(&agent, &connection, &issuer.request(20_991_231)).unwrap_err();
    assert!(unmet.contains("the prover gave up"), "{unmet}");
    // A credential of somebody else's definition.
    let other = OurIssuer::publish(&world, "b");
    let foreign = other.ask(&agent, &connection, &other.request(TODAY)).unwrap_err();
    assert!(foreign.contains("the prover gave up"), "{foreign}");
    // A request that expired before the answer came.
    let request = issuer.request(TODAY);
    let asked = Request {
        comment: None,
        will_confirm: true,
        requests: formatted(present_proof::ANONCREDS_REQUEST, request.to_json()),
    };
    let soon = in_time(Duration::from_millis(1));
    let (verifier, effects) = Verifier::<()>::request(connection.channel(), &asked, new_id(), soon).unwrap();
    send_proving(&agent, &connection, &effects);
    let thread = verifier.unfinished().unwrap().thread().clone();
    let late = agent.receive_from(&connection, Some(&thread), WITHIN).unwrap();
    assert!(matches!(verifier.handle(&late, now()), Err(Illegal::Expired { .. })));
    // Revoked: what it shows now is refused, with the newest list demanded.
    issuer.revoke(&world, index);
    let revoked = issuer.ask(&agent, &connection, &issuer.request(TODAY)).unwrap_err();
    assert!(revoked.contains("gave up") || revoked.contains("proof"), "{revoked}");
}

#[test]
fn acapy_issues_to_us_and_takes_what_we_show_until_it_revokes() {
    let Some(scene) = Scene::start() else { return };
    let Scene { peer, agent, connection, theirs, world } = &scene;
    let schema = json!({ "schema": {
        "issuerId": world.did.to_string(), "name": "theirs", "version": "1.0", "attrNames": ["allowed_zones", "tariff", "expiry"],
    } });
    let schema = peer.post("/anoncreds/schema", &schema);
    let schema_id = schema["schema_state"]["schema_id"].as_str().unwrap().to_owned();
    let definition = json!({
        "credential_definition": { "issuerId": world.did.to_string(), "schemaId": schema_id, "tag": "1" },
        "options": { "support_revocation": true, "revocation_registry_size": 10 },
    });
    let definition = peer.post("/anoncreds/credential-definition", &definition);
    let definition =
        definition["credential_definition_state"]["credential_definition_id"].as_str().unwrap().to_owned();
    let encoded = definition.replace('/', "%2F");
    peer.until(&format!("/anoncreds/revocation/active-registry/{encoded}"), |_| true);
    let attributes = [("allowed_zones", "A,B"), ("tariff", "std"), ("expiry", "20301231")];
    let attributes: Vec<Value> =
        attributes.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    let exchange = peer.post("/issue-credential-2.0/send", &json!({
        "connection_id": theirs,
        "auto_remove": false,
        "credential_preview": { "@type": "issue-credential/2.0/credential-preview", "attributes": attributes },
        "filter": { "anoncreds": { "cred_def_id": definition } },
    }));
    let link_secret = LinkSecret::random().unwrap();
    let held = take_credential(world, agent, connection, &link_secret);
    let record = format!("/issue-credential-2.0/records/{}", exchange["cred_ex_id"].as_str().unwrap());
    assert_eq!(peer.ended(&record, WITHIN)["cred_ex_record"]["state"], "done");

    let registry_id = held.registry_id().unwrap().clone();
    let registry = RevocationRegistryDefinition::from_json(&world.object(registry_id.as_str())).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let tails = TailsCache::open(directory.path(), 1 << 20).unwrap().tails(&registry).unwrap();
    let mut objects = KnownObjects::new();
    objects.add_schema(
        held.schema_id().clone(),
        Schema::from_json(&world.object(held.schema_id().as_str())).unwrap(),
    );
    let definition = CredentialDefinition::from_json(&world.object(held.cred_def_id().as_str())).unwrap();
    objects.add_credential_definition(held.cred_def_id().clone(), definition);
    objects.add_registry(registry_id.clone(), registry.clone());
    let index = held.revocation_index().unwrap();
    let show = |objects: &KnownObjects, list: &StatusList, newest: &StatusList| {
        let witness = WitnessState::create(&registry, index, list, &tails).unwrap();
        let wallet = Wallet { link_secret: &link_secret, held: &held, witness: &witness, objects };
        let request = their_request(held.cred_def_id(), TODAY, &within(newest.timestamp().seconds()));
        scene.verified_there(&wallet, &request, |request| {
            wallet.show(&from_any_time(request)).unwrap().to_json()
        })
    };
    let list = world.newest_list(&registry_id);
    objects.add_status_list(list.clone());
    assert_eq!(show(&objects, &list, &list), (true, "done"));

    peer.post(
        "/anoncreds/revocation/revoke",
        &json!({
            "cred_ex_id": exchange["cred_ex_id"], "publish": true,
        }),
    );
    let next = world.newest_list(&registry_id);
    assert!(next.timestamp() > list.timestamp() && next.is_revoked(index), "the revocation is on the ledger");
    // With the newest list there is nothing to show; with that of before it is refused.
    let witness = WitnessState::create(&registry, index, &next, &tails);
    assert!(witness.map_or(true, |witness| witness.is_revoked()));
    let (verified, state) = show(&objects, &list, &next);
    assert!(!verified, "an old list is taken; our side ends {state}");
}

#[test]
fn acapy_refuses_what_we_tampered_with_and_acknowledges_it_all_the_same() {
    let Some(scene) = Scene::start() else { return };
    let mut issuer = OurIssuer::publish(&scene.world, "a");
    let other = OurIssuer::publish(&scene.world, "b");
    let link_secret = LinkSecret::random().unwrap();
    let (held, witness) = issuer.issue_to(&link_secret);
    let objects = issuer.objects();
    let wallet = Wallet { link_secret: &link_secret, held: &held, witness: &witness, objects: &objects };
    let request = their_request(&issuer.cred_def_id, TODAY, &newest(&issuer));
    let plain = |request: &ProofRequest| wallet.show(request).unwrap().to_json();
    assert_eq!(scene.verified_there(&wallet, &request, plain), (true, "done"));

    type Tamper = fn(&mut Value);
    let tampers: [(&str, Tamper); 3] = [
        ("another value", |value| {
            value["requested_proof"]["revealed_attr_groups"]["zones"]["values"]["allowed_zones"]["raw"] =
                "A,B,C".into();
        }),
        ("another number", |value| {
            let v =
                value["proof"]["proofs"][0]["primary_proof"]["eq_proof"]["v"].as_str().unwrap().to_owned();
            let last = if v.ends_with('1') { "2" } else { "1" };
            value["proof"]["proofs"][0]["primary_proof"]["eq_proof"]["v"] =
                format!("{}{last}", &v[..v.len() - 1]).into();
        }),
        ("no predicate", |value| {
            value["requested_proof"]["predicates"] = json!({});
        }),
    ];
    for (what, tamper) in tampers {
        let tampered = |request: &ProofRequest| {
            let mut value = json_of(&wallet.show(request).unwrap());
            tamper(&mut value);
            value.to_string().into_bytes()
        };
        let (verified, state) = scene.verified_there(&wallet, &request, tampered);
        assert!(!verified, "{what}");
        // Its ack is the same as for a good one: it authorizes nothing, and our side learns nothing from it.
        assert_eq!(state, "done", "{what}");
    }
    let for_another_nonce = |request: &ProofRequest| {
        wallet.show(&request.with_nonce(Nonce::random().unwrap())).unwrap().to_json()
    };
    assert!(!scene.verified_there(&wallet, &request, for_another_nonce).0);
    // A credential of another definition than the one that is asked for.
    let foreign = their_request(&other.cred_def_id, TODAY, &newest(&other));
    let own = their_request(&issuer.cred_def_id, TODAY, &newest(&issuer));
    let with_ours = |request: &ProofRequest| {
        let mut own = own.clone();
        own["nonce"] = request.nonce().as_decimal().into();
        let own = ProofRequest::from_json(own.to_string().as_bytes()).unwrap();
        wallet.show(&own).unwrap().to_json()
    };
    // It throws the presentation away with an error in its log, and leaves the exchange open.
    let patience = Duration::from_secs(5);
    assert!(!scene.verified_there_within(&wallet, &foreign, with_ours, patience).0);
    assert!(scene.peer.log().contains("does not satisfy proof request restrictions"), "{}", scene.peer.log());
    // Its request for more than the credential says: there is nothing to show.
    let unmet = their_request(&issuer.cred_def_id, 20_991_231, &newest(&issuer));
    let unmet = ProofRequest::from_json(&{
        let mut unmet = unmet;
        unmet["nonce"] = "1".into();
        unmet.to_string().into_bytes()
    });
    assert!(wallet.show(&unmet.unwrap()).is_err());
}

#[test]
fn acapy_refuses_a_revoked_holder_with_an_old_list_when_it_asks_as_we_ask() {
    let Some(scene) = Scene::start() else { return };
    let mut issuer = OurIssuer::publish(&scene.world, "a");
    let link_secret = LinkSecret::random().unwrap();
    let (held, old) = issuer.issue_to(&link_secret);
    let before = issuer.objects();
    let index = held.revocation_index().unwrap().get();
    issuer.revoke(&scene.world, index);
    let wallet = Wallet { link_secret: &link_secret, held: &held, witness: &old, objects: &before };
    let with_old = |request: &ProofRequest| wallet.show(&from_any_time(request)).unwrap().to_json();
    let fresh = their_request(&issuer.cred_def_id, TODAY, &newest(&issuer));
    assert!(!scene.verified_there(&wallet, &fresh, with_old).0);
    // As verifier ours refuses the same: the list is named, and it is not the newest.
    let request = issuer.request(TODAY);
    let shown = wallet.show(&from_any_time(&request)).unwrap();
    let refused = verifier::verify(&shown, &request, &issuer.objects(), &issuer.fresh());
    assert!(matches!(refused, Err(VerifyError::Stale { .. })), "{refused:?}");
    // With the newest list there is nothing that it could show.
    let registry = &issuer.registry;
    let newest = WitnessState::create(
        &registry.definition,
        set(&[index], 20).pop_first().unwrap(),
        &registry.list,
        &registry.tails,
    );
    let revoked: BTreeSet<bool> = newest.iter().map(WitnessState::is_revoked).collect();
    assert_eq!(revoked, [true].into());
}
