//! Two agents of ours over HTTP, and what an inbox refuses.

use eroam::agent::{Agent, AgentError, new_id};
use eroam::clock::{in_time, now};
use eroam_ssi::did::Endpoint;
use eroam_ssi::didcomm::envelope::ENVELOPE_BYTES_MAX;
use eroam_ssi::didcomm::{MEDIA_TYPE, Message, MessageType, OsRng, SigningKey, pack, seal};
use eroam_ssi::protocol::basic_message::{self, BasicMessage};
use eroam_ssi::protocol::did_exchange::Connection;
use eroam_ssi::protocol::out_of_band::Invitation;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);
/// Long enough for a message on the loopback interface to arrive, were there one.
const SHORT: Duration = Duration::from_millis(500);

fn agent(label: &str) -> Agent {
    Agent::start(label, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap()
}

/// Both ends of a connection between two agents: the invited side's, then the inviter's.
fn connect(invited: &Agent, inviter: &Agent) -> (Connection, Connection) {
    let (invitation, state) = inviter.invite(in_time(WITHIN)).unwrap();
    let url = invitation.to_url(&Endpoint::parse("https://station.example/").unwrap());
    let read = Invitation::from_url(&url).unwrap();
    std::thread::scope(|scope| {
        let theirs = scope.spawn(|| inviter.accept(&invitation, &state, WITHIN).unwrap());
        let ours = invited.connect(&read, WITHIN).unwrap();
        (ours, theirs.join().unwrap())
    })
}

fn text(content: &str) -> Message {
    let text = BasicMessage { content: content.to_owned(), sent_time: now(), locale: None };
    basic_message::write(&text, new_id())
}

fn http() -> ureq::Agent {
    ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build())
}

fn post(to: &Agent, media: &str, body: &[u8]) -> (u16, String) {
    let mut answer = http().post(to.endpoint().as_str()).header("Content-Type", media).send(body).unwrap();
    (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
}

#[test]
fn two_agents_connect_and_write_to_each_other() {
    let (wallet, station) = (agent("wallet"), agent("station"));
    let (at_wallet, at_station) = connect(&wallet, &station);
    assert_eq!(at_wallet.label(), Some("station"));
    assert_eq!(at_station.label(), Some("wallet"));
    wallet.send(&at_wallet, &text("to the station")).unwrap();
    station.send(&at_station, &text("to the wallet")).unwrap();
    for (agent, connection, expected) in
        [(&station, &at_station, "to the station"), (&wallet, &at_wallet, "to the wallet")]
    {
        let came = agent.receive_from(connection, None, WITHIN).unwrap();
        assert_eq!(basic_message::read(came.message()).unwrap().content, expected);
    }
}

#[test]
fn an_envelope_that_comes_again_is_dropped() {
    let (wallet, station) = (agent("wallet"), agent("station"));
    let (_, at_station) = connect(&wallet, &station);
    // The station's key is the agent's own secret, so a stranger's key stands for its sender here.
    let stranger = SigningKey::generate(&mut OsRng);
    let envelope = seal(&text("once"), at_station.target(), &stranger, &mut OsRng).unwrap();
    for _ in 0..3 {
        assert_eq!(post(&wallet, MEDIA_TYPE, &envelope), (202, String::new()));
    }
    let from_stranger =
        |came: &eroam_ssi::protocol::Incoming| came.channel().theirs == stranger.verification_key();
    wallet.receive("message", WITHIN, from_stranger).unwrap();
    let again = wallet.receive("message", SHORT, from_stranger);
    assert!(matches!(again, Err(AgentError::Silence { .. })), "{again:?}");
}

#[test]
fn what_is_no_envelope_for_us_is_refused_with_a_reason() {
    let (wallet, station) = (agent("wallet"), agent("station"));
    let (_, at_station) = connect(&wallet, &station);
    let (target, stranger) = (at_station.target(), SigningKey::generate(&mut OsRng));
    let good = seal(&text("fine"), target, &stranger, &mut OsRng).unwrap();
    let for_others = {
        let nobody = SigningKey::generate(&mut OsRng).verification_key();
        pack(b"{}", &[nobody], Some(&stranger), &mut OsRng).unwrap()
    };
    let anonymous = pack(&text("who?").to_bytes(), &[*target.recipient()], None, &mut OsRng).unwrap();
    let mut tampered = good.clone();
    let place = tampered.len() - 10;
    tampered[place] = if tampered[place] == b'A' { b'B' } else { b'A' };
    let deep = [vec![b'['; 200], vec![b']'; 200]].concat();
    let table: [(&str, &str, Vec<u8>, u16); 8] = [
        ("another media type", "application/json", good.clone(), 415),
        ("nothing", MEDIA_TYPE, Vec::new(), 400),
        ("no JSON", MEDIA_TYPE, b"envelope".to_vec(), 400),
        ("deep JSON", MEDIA_TYPE, deep, 400),
        ("a key twice", MEDIA_TYPE, br#"{"protected":"","protected":""}"#.to_vec(), 400),
        ("for somebody else", MEDIA_TYPE, for_others, 400),
        ("from nobody", MEDIA_TYPE, anonymous, 400),
        ("tampered with", MEDIA_TYPE, tampered, 400),
    ];
    for (what, media, body, status) in table {
        let (found, reason) = post(&wallet, media, &body);
        assert_eq!(found, status, "{what}: {reason}");
        assert!(!reason.is_empty(), "{what} is refused without a reason");
    }
    let silence = wallet.receive("anything", SHORT, |_| true);
    assert!(matches!(silence, Err(AgentError::Silence { .. })), "{silence:?}");
    // It is still there for those who write well.
    assert_eq!(post(&wallet, MEDIA_TYPE, &good).0, 202);
}

#[test]
fn an_envelope_that_is_too_large_or_never_ends_keeps_nobody_waiting() {
    let wallet = agent("wallet");
    let address = wallet.endpoint().as_str().strip_prefix("http://").unwrap().to_owned();
    // One says that it is large, and one stops in the middle.
    let begin = |length: usize| {
        let mut stream = TcpStream::connect(&address).unwrap();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(b"{\"protected\":").unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        stream
    };
    let mut half = begin(1000);
    let mut large = begin(ENVELOPE_BYTES_MAX * 2);
    // The rest of what was announced; the other side may close before it has it all.
    let _ = large.write_all(&vec![b' '; ENVELOPE_BYTES_MAX * 2 - 13]);
    let mut refused = [0; 12];
    large.read_exact(&mut refused).unwrap();
    assert_eq!(&refused, b"HTTP/1.1 400");
    // Others are served meanwhile.
    let station = agent("station");
    let _ = connect(&wallet, &station);
    half.read_exact(&mut refused).unwrap();
    assert_eq!(&refused, b"HTTP/1.1 408");
}

#[test]
fn what_is_not_spoken_is_said_and_our_own_protocols_pass() {
    let (wallet, station) = (agent("wallet"), agent("station").speaking("https://example.org/charging/1.0"));
    let (at_wallet, at_station) = connect(&wallet, &station);
    let message = |kind: &str| Message::new(MessageType::parse(kind).unwrap(), new_id());
    let unknown = message("https://example.org/poker/1.0/deal");
    wallet.send(&at_wallet, &unknown).unwrap();
    let own = message("https://example.org/charging/1.0/hello");
    wallet.send(&at_wallet, &own).unwrap();
    let came = station.receive_from(&at_station, None, WITHIN).unwrap();
    assert_eq!(came.message().id(), own.id());
    let report = wallet.receive_from(&at_wallet, Some(unknown.id()), WITHIN).unwrap();
    assert!(report.message().kind().is_problem_report(), "{report:?}");
}

#[test]
fn an_agent_that_cannot_listen_or_reach_the_other_says_so() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let refused = Agent::start("late", address).err().unwrap().to_string();
    assert!(refused.contains(&address.to_string()) && refused.contains("choose another port"), "{refused}");
    let (wallet, station) = (agent("wallet"), agent("station"));
    let (at_wallet, _) = connect(&wallet, &station);
    drop(station);
    let unreachable = wallet.send(&at_wallet, &text("are you there?")).unwrap_err();
    assert!(matches!(unreachable, AgentError::Unreachable { .. }), "{unreachable}");
    let nobody = wallet.receive("answer", SHORT, |_| true).unwrap_err().to_string();
    assert!(nobody.contains("no answer came within"), "{nobody}");
}

#[test]
fn what_is_said_over_a_forgotten_connection_is_refused_and_takes_no_room() {
    let (wallet, station) = (agent("wallet"), agent("station"));
    let (at_wallet, at_station) = connect(&wallet, &station);
    let (other_at_wallet, other_at_station) = connect(&wallet, &station);
    wallet.send(&at_wallet, &text("in time")).unwrap();
    station.forget(&at_station);
    let late = wallet.send(&at_wallet, &text("too late"));
    assert!(matches!(late, Err(AgentError::Unreachable { .. })), "{late:?}");
    // What came is gone, and others are not touched.
    wallet.send(&other_at_wallet, &text("somebody else")).unwrap();
    let came = station.receive("message", WITHIN, |_| true).unwrap();
    assert_eq!(came.channel(), other_at_station.channel());
    let none = station.receive("message", Duration::ZERO, |_| true);
    assert!(matches!(none, Err(AgentError::Silence { .. })), "{none:?}");
}

#[test]
fn a_closed_agent_refuses_mail_and_waits_for_none_until_it_is_open_again() {
    let (wallet, station) = (agent("wallet"), agent("station"));
    let (at_wallet, at_station) = connect(&wallet, &station);
    let waited = std::thread::scope(|scope| {
        let waits = scope.spawn(|| station.receive_from(&at_station, None, WITHIN));
        station.close();
        waits.join().unwrap()
    });
    assert!(matches!(waited, Err(AgentError::Stopped)), "{waited:?}");
    let refused = wallet.send(&at_wallet, &text("anybody there?"));
    assert!(matches!(refused, Err(AgentError::Unreachable { .. })), "{refused:?}");
    station.open();
    wallet.send(&at_wallet, &text("good morning")).unwrap();
    let came = station.receive_from(&at_station, None, WITHIN).unwrap();
    assert_eq!(basic_message::read(came.message()).unwrap().content, "good morning");
}

#[test]
fn keys_of_what_has_ended_or_never_began_are_forgotten() {
    let (wallet, station) = (agent("wallet"), agent("station"));
    let (invitation, invited) = station.invite(in_time(WITHIN)).unwrap();
    assert_eq!(station.identities(), 1);
    // The station has not been told to let anybody in: nothing comes.
    let silence = wallet.connect(&invitation, Duration::ZERO);
    assert!(matches!(silence, Err(AgentError::Silence { .. })), "{silence:?}");
    assert_eq!(wallet.identities(), 0);
    // The wallet does not answer to that key any more, so that the station cannot let it in.
    let knock = station.knocked(&invitation, &invited, WITHIN).unwrap();
    let refused = station.let_in(&invited, &knock, WITHIN);
    assert!(matches!(refused, Err(AgentError::Unreachable { .. })), "{refused:?}");
    assert_eq!(station.identities(), 1);

    let (at_wallet, at_station) = connect(&wallet, &station);
    assert_eq!((wallet.identities(), station.identities()), (1, 3));
    station.forget(&at_station);
    station.end_invitation(&invited);
    assert_eq!(station.identities(), 1);
    let gone = wallet.send(&at_wallet, &text("too late"));
    assert!(matches!(gone, Err(AgentError::Unreachable { .. })), "{gone:?}");
}

#[test]
fn strangers_cannot_fill_the_inbox_of_those_who_are_connected() {
    let (wallet, station) = (agent("wallet"), agent("station"));
    let (at_wallet, at_station) = connect(&wallet, &station);
    // Each may leave some messages that nobody wants, and the oldest make room.
    for _ in 0..20 {
        let stranger = SigningKey::generate(&mut OsRng);
        let write = || {
            post(&wallet, MEDIA_TYPE, &seal(&text("?"), at_station.target(), &stranger, &mut OsRng).unwrap())
        };
        let answers: Vec<u16> = (0..17).map(|_| write().0).collect();
        assert_eq!((&answers[..16], answers[16]), (&[202; 16][..], 503));
    }
    station.send(&at_station, &text("to the wallet")).unwrap();
    let came = wallet.receive_from(&at_wallet, None, WITHIN).unwrap();
    assert_eq!(basic_message::read(came.message()).unwrap().content, "to the wallet");
}
