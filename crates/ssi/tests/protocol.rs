//! Whole exchanges between two agents, through envelopes; every message of them stays the same; and messages as other
//! agents write them.
//!
//! `vectors/didcomm/messages` were written by this crate with fixed keys and ids; `EROAM_WRITE_VECTORS=1` writes them
//! anew. `vectors/didcomm/foreign` have the shape of what ACA-Py 1.7.0 sends, and were signed by PyNaCl.

use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use eroam_ssi::did::{self, Endpoint, VerificationKey};
use eroam_ssi::didcomm::{
    Channel, Message, MessageId, OsRng, Replay, ReplayWindow, SigningKey, pack, seal, unpack,
};
use eroam_ssi::protocol::did_exchange::{self, Connection, Ours, Requester, Responder};
use eroam_ssi::protocol::issue_credential::{self, Holder, Issuer, Offer, Preview};
use eroam_ssi::protocol::out_of_band::{Invitation, InvitationService};
use eroam_ssi::protocol::present_proof::{self, Prover, Request, Verifier};
use eroam_ssi::protocol::{
    Family, Formatted, Illegal, Incoming, basic_message, discover_features, find_format, notification,
    problem_report,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn public(seed: u8) -> VerificationKey {
    key(seed).verification_key()
}

fn id(text: &str) -> MessageId {
    MessageId::parse(text).unwrap()
}

fn at(ms: i64) -> UnixMillis {
    UnixMillis::new(ms).unwrap()
}

fn ours(seed: u8) -> Ours {
    let endpoint = Endpoint::parse(&format!("http://127.0.0.1:90{seed}")).unwrap();
    Ours::peer(public(seed), &endpoint, &[]).unwrap()
}

fn formatted(format: &str, content: &Value) -> Vec<Formatted> {
    vec![Formatted { format: format.to_owned(), content: content.to_string().into_bytes() }]
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/didcomm").join(name)
}

fn files(name: &str) -> BTreeSet<String> {
    std::fs::read_dir(folder(name))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Packs with the sender's key, opens with the recipient's.
fn carry(message: &Message, from: u8, to: u8) -> Incoming {
    let packed = pack(&message.to_bytes(), &[public(to)], Some(&key(from)), &mut OsRng).unwrap();
    receive(&packed, to)
}

fn receive(packed: &[u8], to: u8) -> Incoming {
    let own = key(to);
    Incoming::read(&unpack(packed, |wanted| (*wanted == public(to)).then_some(&own)).unwrap()).unwrap()
}

/// Over a connection, as its holder sends.
fn over(connection: &Connection, message: &Message, from: u8, to: u8) -> Incoming {
    assert_eq!(*connection.ours().key(), public(from));
    receive(&seal(message, connection.target(), &key(from), &mut OsRng).unwrap(), to)
}

/// Seeds: the station's invitation, its connection, and the wallet's connection.
const INVITATION: u8 = 31;
const STATION: u8 = 32;
const WALLET: u8 = 33;

struct Recorder {
    messages: Vec<(&'static str, Message)>,
}

impl Recorder {
    fn note(&mut self, name: &'static str, message: &Message) -> Message {
        self.messages.push((name, message.clone()));
        message.clone()
    }
}

fn dx_sent(effects: &[did_exchange::Effect]) -> &Message {
    let found = effects.iter().find_map(|effect| match effect {
        did_exchange::Effect::Send(outgoing) => Some(&outgoing.message),
        _ => None,
    });
    found.unwrap()
}

fn ic_sent(effects: &[issue_credential::Effect]) -> &Message {
    let found = effects.iter().find_map(|effect| match effect {
        issue_credential::Effect::Send(message) => Some(message),
        _ => None,
    });
    found.unwrap()
}

fn pp_sent(effects: &[present_proof::Effect]) -> &Message {
    let found = effects.iter().find_map(|effect| match effect {
        present_proof::Effect::Send(message) => Some(message),
        _ => None,
    });
    found.unwrap()
}

/// Both ends of a connection, wallet first.
fn connect(recorder: &mut Recorder) -> (Connection, Connection) {
    let service = InvitationService::Did(ours(INVITATION).did().clone());
    let invitation = Invitation::new(id("invitation-1"), Some("station"), service);
    recorder.note("01_invitation", &invitation.to_message());
    let link = invitation.to_url(&Endpoint::parse("https://station.example/").unwrap());
    let read = Invitation::from_url(&link).unwrap();
    let invited = Responder::invited(&invitation, public(INVITATION), at(1_000));
    let (requester, effects) =
        Requester::start(&read, ours(WALLET), "wallet", id("request-1"), at(1_000), did::resolve).unwrap();
    let request = recorder.note("02_request", dx_sent(&effects));
    let request = carry(&request, WALLET, INVITATION);
    let (requested, _) = invited.handle(&request, at(10), did::resolve).unwrap();
    let (responded, effects) =
        requested.respond(ours(STATION), &key(INVITATION), id("response-1"), at(20)).unwrap();
    let response = recorder.note("03_response", dx_sent(&effects));
    let response = carry(&response, STATION, WALLET);
    let (completed, effects) = requester.handle(&response, at(30), id("complete-1"), did::resolve).unwrap();
    let complete = recorder.note("04_complete", dx_sent(&effects));
    let Requester::Completed(wallet) = completed else { panic!() };
    let complete = over(&wallet, &complete, WALLET, STATION);
    let (completed, _) = responded.handle(&complete, at(40), did::resolve).unwrap();
    let Responder::Completed(station) = completed else { panic!() };
    assert_eq!(wallet.channel(), Channel { ours: public(WALLET), theirs: public(STATION) });
    assert_eq!(station.channel(), Channel { ours: public(STATION), theirs: public(WALLET) });
    (*wallet, *station)
}

#[test]
fn an_exchange_from_the_invitation_to_the_proof_stays_the_same() {
    let mut recorder = Recorder { messages: Vec::new() };
    let (wallet, station) = connect(&mut recorder);

    let preview = Preview::new(vec![("allowed_zones".to_owned(), "A,B".to_owned())]).unwrap();
    let offers = formatted(
        issue_credential::ANONCREDS_OFFER,
        &json!({"schema_id": "did:x:a/s", "cred_def_id": "did:x:a/c", "nonce": "1",
        "key_correctness_proof": {"c": "1", "xz_cap": "1", "xr_cap": [["allowed_zones", "1"]]}}),
    );
    let offer = Offer { comment: None, preview, offers };
    let (issuer, effects) = Issuer::offer(station.channel(), &offer, id("offer-1"), at(2_000)).unwrap();
    let message = recorder.note("05_offer_credential", ic_sent(&effects));
    let (holder, _) = Holder::offered(&over(&station, &message, STATION, WALLET), at(50), at(2_000)).unwrap();
    let requests = formatted(
        issue_credential::ANONCREDS_REQUEST,
        &json!({"entropy": "e", "cred_def_id": "did:x:a/c", "nonce": "2",
        "blinded_ms": {"u": "1", "ur": "1", "hidden_attributes": ["master_secret"], "committed_attributes": {}},
        "blinded_ms_correctness_proof": {"c": "1", "v_dash_cap": "1", "m_caps": {"master_secret": "1"}, "r_caps": {}}}),
    );
    let (holder, effects) = holder.request(&requests, id("request-2"), at(60)).unwrap();
    let message = recorder.note("06_request_credential", ic_sent(&effects));
    let (issuer, _) = issuer.handle(&over(&wallet, &message, WALLET, STATION), at(70)).unwrap();
    let credentials = formatted(
        issue_credential::ANONCREDS_CREDENTIAL,
        &json!({"schema_id": "did:x:a/s", "cred_def_id": "did:x:a/c",
        "values": {"allowed_zones": {"raw": "A,B", "encoded": "1"}},
        "signature": {"p_credential": {"m_2": "1", "a": "1", "e": "1", "v": "1"}, "r_credential": null},
        "signature_correctness_proof": {"se": "1", "c": "1"}}),
    );
    let (issuer, effects) = issuer.issue(&credentials, id("issue-1"), at(80)).unwrap();
    let message = recorder.note("07_issue_credential", ic_sent(&effects));
    let (holder, effects) = holder.handle(&over(&station, &message, STATION, WALLET), at(90)).unwrap();
    assert_eq!(effects, [issue_credential::Effect::Issued(credentials)]);
    let (_, effects) = holder.accept(id("ack-1")).unwrap();
    let message = recorder.note("08_ack_credential", ic_sent(&effects));
    let (issuer, _) = issuer.handle(&over(&wallet, &message, WALLET, STATION), at(100)).unwrap();
    assert_eq!(issuer.name(), "done");

    let requests = formatted(
        present_proof::ANONCREDS_REQUEST,
        &json!({"name": "driver", "version": "1.0", "nonce": "3",
        "requested_attributes": {"z": {"name": "allowed_zones"}}, "requested_predicates": {}}),
    );
    let request = Request { comment: None, will_confirm: true, requests };
    let (verifier, effects) =
        Verifier::<u32>::request(station.channel(), &request, id("request-3"), at(3_000)).unwrap();
    let message = recorder.note("09_request_presentation", pp_sent(&effects));
    let (prover, _) =
        Prover::requested(&over(&station, &message, STATION, WALLET), at(110), at(3_000)).unwrap();
    let proofs = formatted(present_proof::ANONCREDS_PROOF, &json!({"proof": {}}));
    let (prover, effects) = prover.present(&proofs, id("presentation-1"), at(120)).unwrap();
    let message = recorder.note("10_presentation", pp_sent(&effects));
    let presentation = over(&wallet, &message, WALLET, STATION);
    let (verifier, effects) = verifier.handle(&presentation, at(130)).unwrap();
    assert_eq!(effects, [present_proof::Effect::Presented(proofs)]);
    let (verifier, effects) = verifier.conclude(7, id("ack-2"), at(140)).unwrap();
    let message = recorder.note("11_ack_presentation", pp_sent(&effects));
    let (prover, _) = prover.handle(&over(&station, &message, STATION, WALLET), at(150)).unwrap();
    assert_eq!(prover.name(), "done");
    assert!(matches!(verifier, Verifier::Concluded { proof: 7, .. }));

    let text = basic_message::BasicMessage {
        content: "Grüße".into(),
        sent_time: at(160),
        locale: Some("de".into()),
    };
    recorder.note("12_basic_message", &basic_message::write(&text, id("text-1")));
    let refused = Family::of(presentation.message().kind())
        .map(|_| Illegal::WrongThread { expected: id("x"), found: id("y") });
    let report = problem_report::answer(&presentation, &refused.unwrap(), id("report-1")).unwrap();
    recorder.note("13_problem_report", &report);

    let mut unread = files("messages");
    for (name, message) in &recorder.messages {
        let file = format!("{name}.json");
        let path = folder("messages").join(&file);
        if std::env::var_os("EROAM_WRITE_VECTORS").is_some() {
            std::fs::write(&path, serde_json::to_string_pretty(&message.to_value()).unwrap() + "\n").unwrap();
        }
        let golden: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(message.to_value(), golden, "{name}");
        assert_eq!(Message::from_value(golden).unwrap(), *message, "{name}");
        unread.remove(&file);
    }
    if std::env::var_os("EROAM_WRITE_VECTORS").is_none() {
        assert!(unread.is_empty(), "vectors that no test reads: {unread:?}");
    }
}

#[test]
fn a_recorded_envelope_is_refused_by_the_window_and_by_the_state() {
    let mut recorder = Recorder { messages: Vec::new() };
    let (wallet, station) = connect(&mut recorder);
    let request = Request {
        comment: None,
        will_confirm: true,
        requests: formatted(present_proof::ANONCREDS_REQUEST, &json!({})),
    };
    let (verifier, effects) =
        Verifier::<()>::request(station.channel(), &request, id("r"), at(3_000)).unwrap();
    let asked = over(&station, pp_sent(&effects), STATION, WALLET);
    let (prover, _) = Prover::requested(&asked, at(1), at(3_000)).unwrap();
    let (_, effects) =
        prover.present(&formatted(present_proof::ANONCREDS_PROOF, &json!({})), id("p"), at(2)).unwrap();
    let recorded = seal(pp_sent(&effects), wallet.target(), &key(WALLET), &mut OsRng).unwrap();
    let mut window = ReplayWindow::new(DurationMs::from_millis(60_000), 64, 16);
    let first = receive(&recorded, STATION);
    assert_eq!(window.check(first.channel(), first.message().id(), at(3)), Replay::New);
    let (presented, _) = verifier.handle(&first, at(3)).unwrap();
    let again = receive(&recorded, STATION);
    assert_eq!(window.check(again.channel(), again.message().id(), at(4)), Replay::Before(at(3)));
    assert!(matches!(presented.handle(&again, at(4)), Err(Illegal::OutOfOrder { .. })));
}

#[test]
fn a_mediated_agent_is_reached() {
    let endpoint = Endpoint::parse("https://mediator.example/").unwrap();
    let mediated = Ours::peer(public(WALLET), &endpoint, &[public(41), public(42)]).unwrap();
    let target = did::resolve(mediated.did()).unwrap().target().unwrap().clone();
    let text = basic_message::BasicMessage { content: "a".into(), sent_time: at(1), locale: None };
    let packed = seal(&basic_message::write(&text, id("1")), &target, &key(STATION), &mut OsRng).unwrap();
    let layer = |packed: &[u8], seed: u8| {
        let own = key(seed);
        let opened = unpack(packed, |wanted| (*wanted == public(seed)).then_some(&own)).unwrap();
        eroam_ssi::didcomm::forward::unwrap(&Message::parse(&opened.plaintext).unwrap()).unwrap()
    };
    let far = layer(&packed, 42);
    assert_eq!(far.to, public(41));
    let near = layer(&far.envelope, 41);
    assert_eq!(near.to, public(WALLET));
    let came = receive(&near.envelope, WALLET);
    assert_eq!(basic_message::read(came.message()).unwrap(), text);
    assert_eq!(came.channel().theirs, public(STATION));
}

/// Reads a message as another agent wrote it.
fn foreign(unread: &mut BTreeSet<String>, name: &str) -> Message {
    let file = format!("{name}.json");
    assert!(unread.remove(&file), "{file}");
    Message::parse(&std::fs::read(folder("foreign").join(file)).unwrap()).unwrap()
}

#[test]
fn messages_of_other_agents_are_understood() {
    let mut unread = files("foreign");
    let mut read = |name: &str| foreign(&mut unread, name);

    // They invite.
    let invitation = Invitation::read(&read("01_invitation")).unwrap();
    assert_eq!((invitation.label(), invitation.offers_did_exchange()), (Some("backend"), true));
    let response = read("04_response");
    let request_id = response.thread().clone();
    let (requester, _) =
        Requester::start(&invitation, ours(WALLET), "wallet", request_id, at(100), did::resolve).unwrap();
    let response = carry(&response, 23, WALLET);
    let (completed, _) = requester.handle(&response, at(1), id("c"), did::resolve).unwrap();
    let Requester::Completed(connection) = completed else { panic!() };
    assert_eq!(connection.target().endpoint().as_str(), "http://127.0.0.1:9001");

    // We invite; they answer with either kind of identifier.
    let complete = read("05_complete");
    for name in ["02_request_did_peer_4", "03_request_did_peer_2"] {
        let request = read(name);
        let service = InvitationService::Did(ours(INVITATION).did().clone());
        let invitation = Invitation::new(request.parent_thread().unwrap().clone(), None, service);
        let invited = Responder::invited(&invitation, public(INVITATION), at(100));
        let (requested, _) = invited.handle(&carry(&request, 22, INVITATION), at(1), did::resolve).unwrap();
        let (responded, _) = requested.respond(ours(INVITATION), &key(INVITATION), id("r"), at(2)).unwrap();
        let completed = responded.handle(&carry(&complete, 22, INVITATION), at(3), did::resolve);
        // The message that completes is that of the first of the two.
        assert_eq!(completed.is_ok(), name == "02_request_did_peer_4");
    }

    let text = basic_message::read(&read("06_basic_message")).unwrap();
    assert_eq!((text.content.as_str(), text.sent_time.get()), ("from another agent", 1_795_296_952_358));

    // They issue.
    let (holder, effects) = Holder::offered(&carry(&read("07_offer"), 22, WALLET), at(1), at(100)).unwrap();
    let [issue_credential::Effect::Offered(offer)] = &effects[..] else { panic!() };
    assert_eq!(offer.preview.attributes().next(), Some(("allowed_zones", "A,B")));
    let requests = formatted(issue_credential::ANONCREDS_REQUEST, &json!({}));
    let (holder, _) = holder.request(&requests, id("r"), at(2)).unwrap();
    let (_, effects) = holder.handle(&carry(&read("09_issue_credential"), 22, WALLET), at(3)).unwrap();
    let [issue_credential::Effect::Issued(credentials)] = &effects[..] else { panic!() };
    let credential = find_format(credentials, issue_credential::ANONCREDS_CREDENTIAL).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(credential).unwrap(), json!({"values": {}}));

    // They hold.
    let request = read("08_request_credential");
    let channel = Channel { ours: public(STATION), theirs: public(22) };
    let (issuer, _) = Issuer::offer(channel, offer, request.thread().clone(), at(100)).unwrap();
    let (issuer, _) = issuer.handle(&carry(&request, 22, STATION), at(1)).unwrap();
    let credentials = formatted(issue_credential::ANONCREDS_CREDENTIAL, &json!({}));
    let (issuer, _) = issuer.issue(&credentials, id("i"), at(2)).unwrap();
    let acked = issuer.handle(&carry(&read("10_ack_credential"), 22, STATION), at(3)).unwrap();
    assert_eq!(acked.0.name(), "done");
    let reported = issuer.handle(&carry(&read("14_problem_report"), 22, STATION), at(3)).unwrap();
    assert_eq!(reported.0.name(), "abandoned");

    // They verify.
    let asked = carry(&read("11_request_presentation"), 22, WALLET);
    let (prover, _) = Prover::requested(&asked, at(1), at(100)).unwrap();
    let proofs = formatted(present_proof::ANONCREDS_PROOF, &json!({}));
    let (prover, _) = prover.present(&proofs, id("p"), at(2)).unwrap();
    let ack = read("13_ack_presentation");
    assert_eq!(notification::read(&ack).unwrap(), notification::AckStatus::Ok);
    assert_eq!(prover.handle(&carry(&ack, 22, WALLET), at(3)).unwrap().0.name(), "done");

    // They prove.
    let presentation = read("12_presentation");
    let request = Request {
        comment: None,
        will_confirm: false,
        requests: formatted(present_proof::ANONCREDS_REQUEST, &json!({})),
    };
    let (verifier, _) =
        Verifier::<()>::request(channel, &request, presentation.thread().clone(), at(100)).unwrap();
    let (presented, _) = verifier.handle(&carry(&presentation, 22, STATION), at(1)).unwrap();
    assert_eq!(presented.name(), "presented");

    assert!(unread.is_empty(), "vectors that no test reads: {unread:?}");
}

/// Every message of the vectors, as bytes.
fn all_messages() -> Vec<Vec<u8>> {
    let of = |name: &'static str| {
        files(name).into_iter().map(move |file| std::fs::read(folder(name).join(file)).unwrap())
    };
    let compact = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).unwrap().to_string().into_bytes();
    of("messages").chain(of("foreign")).map(compact).collect()
}

/// What every machine and reader makes of a message that came.
fn everywhere(incoming: &Incoming, now: UnixMillis) {
    let (message, channel) = (incoming.message(), incoming.channel());
    let thread = message.thread().clone();
    let _ = Invitation::read(message);
    let _ = basic_message::read(message);
    let _ = notification::read(message);
    let _ = problem_report::read(message);
    let _ = discover_features::answer(incoming, &[], id("a"));
    let service = InvitationService::Did(ours(INVITATION).did().clone());
    let parent = message.parent_thread().cloned().unwrap_or_else(|| id("p"));
    let invitation = Invitation::new(parent, None, service);
    let _ = Responder::invited(&invitation, channel.ours, at(9)).handle(incoming, now, did::resolve);
    let (requester, _) =
        Requester::start(&invitation, ours(WALLET), "w", thread.clone(), at(9), did::resolve).unwrap();
    let _ = requester.handle(incoming, now, id("a"), did::resolve);
    let preview = Preview::new(vec![("a".to_owned(), String::new())]).unwrap();
    let offers = formatted(issue_credential::ANONCREDS_OFFER, &json!({}));
    let offer = Offer { comment: None, preview, offers: offers.clone() };
    let (issuer, _) = Issuer::offer(channel, &offer, thread.clone(), at(9)).unwrap();
    for result in [issuer.handle(incoming, now), Issuer::proposed(incoming, now, at(9))].into_iter().flatten()
    {
        let _ = result.0.issue(&offers, id("a"), now);
    }
    if let Ok((holder, _)) = Holder::offered(incoming, now, at(9)) {
        let (holder, _) = holder.request(&offers, id("a"), now).unwrap();
        let _ = holder.handle(incoming, now);
    }
    if let Ok((prover, _)) = Prover::requested(incoming, now, at(9)) {
        let _ = prover.present(&offers, id("a"), now);
    }
    let request = Request { comment: None, will_confirm: true, requests: offers };
    let (verifier, _) = Verifier::<()>::request(channel, &request, thread, at(9)).unwrap();
    let _ = verifier.handle(incoming, now);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn changed_messages_never_panic(
        which: prop::sample::Index,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut: Option<prop::sample::Index>,
    ) {
        let messages = all_messages();
        let mut bytes = which.get(&messages).clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(message) = Message::parse(&bytes) {
            prop_assert_eq!(&Message::parse(&message.to_bytes()).unwrap(), &message);
            everywhere(&carry(&message, 22, WALLET), at(5));
        }
    }
}
