//! A feed with everything real but the clock: samples over HTTP, an embedded ledger with an accepted agreement that names
//! the attesters, and what the ledger holds beside what `eroam forecast predict` says.

use eroam::consortium::{Seed, founders};
use eroam::feed::{FeedState, Inbox, LedgerAttestor, Runner, Settings, router};
use eroam::ledger::{Ledger, LedgerSetup};
use eroam::load_file::read_load_file;
use eroam::registry::Secret;
use eroam::server::{STOP_WITHIN, Server};
use eroam_domain::agreement::{Actuals, DynamicRule, Knot, Panel, PriceRule};
use eroam_domain::cdr::GridZone;
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::{BasisPoints, DurationMs};
use eroam_domain::time::UnixMillis;
use eroam_forecast::clock::LoadClock;
use eroam_forecast::hour::UtcHour;
use eroam_forecast::series::read::ReadOptions;
use eroam_ledger::agreement::{AgreementTx, agreement_id, terms_digest};
use eroam_ledger::genesis::Genesis;
use eroam_ledger::port::LedgerPort as _;
use eroam_ledger::query;
use eroam_ledger::state::{StateKey, read};
use eroam_ledger::tx::{Envelope, PublicKey, Tx, VERSION};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SEED: Seed = Seed(1);
const SECRET: &str = "only-the-meter-knows-this";
const HOUR_MS: u64 = 3_600_000;

/// Who pays, who delivers, and who gains nothing by the price.
fn parties() -> [PartyId; 3] {
    let mut founders = founders::founders().into_iter().map(|founder| founder.party);
    [founders.next().unwrap(), founders.next().unwrap(), founders.next().unwrap()]
}

fn genesis() -> Genesis {
    let founders = founders::founders();
    let parties: Vec<PartyId> = founders.iter().map(|founder| founder.party).collect();
    let consensus = LedgerSetup::default().consensus(SEED, &parties);
    founders::genesis(&founders, consensus, |party| PublicKey::of(&SEED.signing_key(party)))
}

fn zone() -> GridZone {
    GridZone::new("AEP").unwrap()
}

fn rule() -> DynamicRule {
    let [.., attester] = parties();
    let knot = |utilisation_bps, surcharge_bps| Knot { utilisation_bps, surcharge_bps };
    DynamicRule {
        fallback: BasisPoints::new(10_000),
        base_micros_per_kwh: 120_000,
        time_of_use: Vec::new(),
        capacity_kw: 23_000_000,
        knots: vec![knot(4_500, -2_000), knot(6_000, 0), knot(10_000, 15_000)],
        floor_micros: 60_000,
        cap_micros: 400_000,
        band_bps: BasisPoints::new(500),
        vat: None,
        zone: zone(),
        forecasters: Panel { parties: vec![attester], quorum: 1 },
        actuals: Actuals::Independent { attester },
        true_up_cap_bps: BasisPoints::new(1_000),
        renewable: Vec::new(),
    }
}

/// A ledger on which an agreement names the attester of the zone.
fn ledger(at: UnixMillis) -> Ledger {
    let ledger = Ledger::open(SEED, &genesis(), &LedgerSetup::default()).unwrap();
    let [emsp, cpo, _] = parties();
    let mut terms = founders::terms(&founders::founders(), emsp, cpo);
    terms.price_rule = PriceRule::Dynamic(rule());
    let effective_from = UnixMillis::EPOCH;
    let (id, digest) = (agreement_id(&terms, effective_from), terms_digest(&terms, effective_from));
    for (member, tx) in [
        (emsp, AgreementTx::Propose { terms, effective_from }),
        (cpo, AgreementTx::Accept { id, version: 1, terms: digest }),
    ] {
        let mut client = ledger.client().clone();
        let envelope = Envelope {
            version: VERSION,
            network: client.network(),
            member,
            key: 0,
            lane: 1,
            sequence: query::next_sequence(&client, member, 1).unwrap(),
            expires_at: at.checked_add(DurationMs::from_millis(HOUR_MS)).unwrap(),
            tx: Tx::Agreement(tx),
        };
        let receipts = client.submit(at, vec![envelope.sign(&SEED.signing_key(member))]).unwrap();
        assert!(receipts[0].items.iter().all(|item| item.outcome.is_accepted()), "{receipts:?}");
    }
    ledger
}

/// A sender of samples.
struct Sender {
    agent: ureq::Agent,
    url: String,
}

impl Sender {
    fn new(address: SocketAddr) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let config = config.timeout_global(Some(Duration::from_secs(30))).build();
        Self { agent: ureq::Agent::new_with_config(config), url: format!("http://{address}/v1/load") }
    }

    fn push(&self, secret: &str, body: &str) -> (u16, Value) {
        let request = self.agent.post(&self.url).header("authorization", format!("Bearer {secret}"));
        let mut answer = request.header("content-type", "application/json").send(body).unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    fn push_samples(&self, samples: &[Value]) -> Value {
        let (status, answer) = self.push(SECRET, &json!({ "samples": samples }).to_string());
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

/// The feed of a directory, on a clock that is turned by hand.
struct Feed {
    inbox: Arc<Mutex<Inbox>>,
    server: Server,
    clock: Arc<AtomicI64>,
}

impl Feed {
    fn start(directory: &Path, clock: &Arc<AtomicI64>) -> Self {
        let inbox = Arc::new(Mutex::new(Inbox::open(directory, None).unwrap()));
        let hand = Arc::clone(clock);
        let now = Arc::new(move || UnixMillis::new(hand.load(Ordering::SeqCst)).unwrap());
        let secret = Secret::new(SECRET).unwrap();
        let routes = router(Arc::clone(&inbox), directory.to_owned(), secret, now);
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let server = Server::start("feed", any, routes, STOP_WITHIN).unwrap();
        Self { inbox, server, clock: Arc::clone(clock) }
    }

    fn now(&self) -> UnixMillis {
        UnixMillis::new(self.clock.load(Ordering::SeqCst)).unwrap()
    }
}

#[test]
fn a_year_is_pushed_an_hour_passes_and_the_ledger_holds_what_predict_says() {
    let Some(file) = eroam_testkit::data::at("load/pjm_AEP_2013_2016.csv.gz") else { return };
    let clock: LoadClock = "America/New_York".parse().unwrap();
    let reading = read_load_file(&file, &ReadOptions::new(clock.clone())).unwrap();
    let series = &reading.series;
    // The first year, and a little that comes live.
    let origin = series.first().plus(366 * 24).unwrap();
    let sample = |hour: UtcHour| {
        let watts = series.at(hour).unwrap().get();
        json!({ "time": hour.to_string(), "mw": watts as f64 / 1e6 })
    };
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let hand = Arc::new(AtomicI64::new(origin.start().get()));
    let feed = Feed::start(&state, &hand);
    let ledger = ledger(feed.now());
    let [.., attester] = parties();
    let settings = Settings { load_settles_hours: Some(2), ..Settings::new(zone(), clock.clone()) };
    let signer = || LedgerAttestor::new(ledger.client().clone(), attester, SEED.signing_key(attester));
    assert!(signer().rights(&zone()).unwrap().forecasts);
    let runner = |feed: &Feed| {
        Runner::new(settings.clone(), &state, Arc::clone(&feed.inbox), Box::new(signer()), feed.now())
    };

    // A year, a month at a time; one of them twice, as by a sender that lost the answer.
    let sender = Sender::new(feed.server.address());
    let hours: Vec<UtcHour> = (0..366 * 24).filter_map(|n| series.first().plus(n)).collect();
    let rows: Vec<Value> = hours.iter().map(|hour| sample(*hour)).collect();
    for month in rows.chunks(730) {
        assert_eq!(sender.push_samples(month)["new"], month.len());
    }
    assert_eq!(sender.push_samples(&rows[..730])["repeated"], 730);

    // Of the hour that has begun nothing is known yet; the next one is forecast.
    let mut first = runner(&feed);
    let minute = |hours: i64| origin.start().get() + hours * HOUR_MS.cast_signed() + 60_000;
    hand.store(minute(0), Ordering::SeqCst);
    first.tick(feed.now()).unwrap();
    let status = first.status();
    assert_eq!(status.state, FeedState::Live, "{}", status.says);
    let made = status.last_forecast.clone().unwrap();
    assert_eq!((made.attested, made.degraded), (Ok(()), Vec::new()));

    // An hour passes, and the process is started again in between.
    drop((first, sender));
    let Feed { inbox, server, .. } = feed;
    server.stop();
    drop(inbox);
    let feed = Feed::start(&state, &hand);
    let mut second = runner(&feed);
    hand.store(minute(1), Ordering::SeqCst);
    let sender = Sender::new(feed.server.address());
    sender.push_samples(&[sample(origin)]);
    second.tick(feed.now()).unwrap();
    let now = origin.plus(1).unwrap();
    let made = second.status().last_forecast.clone().unwrap();
    assert_eq!((made.first_hour, made.attested), (now.get(), Ok(())));

    // What anybody says who has the same samples, with the program.
    let csv = directory.path().join("year.csv");
    let known = hours.iter().chain([&origin]);
    let rows = known.map(|hour| format!("{hour},{}\n", series.at(*hour).unwrap().get() as f64 / 1e6));
    std::fs::write(&csv, format!("time,load_mw\n{}", rows.collect::<String>())).unwrap();
    let predict = Command::new(env!("CARGO_BIN_EXE_eroam"))
        .args(["forecast", "predict", "--json", "--clock", "America/New_York"])
        .args(["--origin", &now.get().to_string(), "--input", &csv.display().to_string()])
        .output()
        .unwrap();
    assert!(predict.status.success(), "{}", String::from_utf8_lossy(&predict.stderr));
    let predicted: Value = serde_json::from_slice(&predict.stdout).unwrap();
    assert_eq!(predicted["digest"], json!(made.digest));
    let coming = &predicted["hours"].as_array().unwrap()[1..];
    let want: Vec<(i64, u32)> = coming
        .iter()
        .map(|h| (h["hour"].as_i64().unwrap(), u32::try_from(h["load_kw"].as_u64().unwrap()).unwrap()))
        .collect();
    let attested =
        query::forecasts(ledger.client(), &rule(), &(want.first().unwrap().0..=want.last().unwrap().0))
            .unwrap();
    for (hour, load_kw) in want {
        let latest = attested.iter().filter(|said| said.hour(hour).is_some()).max_by_key(|said| said.since);
        let said = latest.and_then(|said| said.hour(hour)).unwrap();
        assert_eq!(said.load_kw, load_kw, "{hour}");
    }

    // The loads of the hours that have settled.
    let settled = now.plus(-3).unwrap();
    let key = StateKey::LoadDay(attester, zone(), u8::try_from(settled.get().div_euclid(24) % 256).unwrap());
    let day: eroam_ledger::forecast::LoadDay = read(ledger.client(), &key).unwrap().unwrap();
    let place = usize::try_from(settled.get().rem_euclid(24)).unwrap();
    assert_eq!(day.load_kw[place], u32::try_from(series.at(settled).unwrap().get() / 1_000).ok());
}

#[test]
fn nobody_pushes_without_the_secret_and_nonsense_is_answered_with_what_is_expected() {
    let directory = tempfile::tempdir().unwrap();
    let hand = Arc::new(AtomicI64::new(1_700_000_000_000));
    let feed = Feed::start(directory.path(), &hand);
    let sender = Sender::new(feed.server.address());
    let good = json!({ "samples": [{ "time": "2023-11-01T05:00:00Z", "kw": 5.5 }] }).to_string();
    let late = json!({ "samples": [{ "time": "2024-11-01T05:00:00Z", "kw": 5.5 }] }).to_string();
    let long = format!("{{\"samples\": [{}]}}", " ".repeat(3 << 20));
    for (secret, body, status, says) in [
        ("another-secret-of-somebody", good.as_str(), 401, "secret"),
        (SECRET, "time,kw\n", 400, "the body is none of"),
        (SECRET, "{\"samples\": [{\"time\": \"2023-11-01T05:00:00Z\", \"load\": 5}]}", 400, "unknown field"),
        (SECRET, long.as_str(), 413, "send fewer"),
        (SECRET, late.as_str(), 422, "not over"),
        (SECRET, good.as_str(), 200, "\"new\":1"),
    ] {
        let (found, answer) = sender.push(secret, body);
        assert!(found == status && answer.to_string().contains(says), "{status} {says}: {found} {answer}");
    }
    assert_eq!(feed.inbox.lock().unwrap().hours(), 1);
}

#[test]
fn a_stranger_to_the_zone_is_told_that_the_ledger_refuses() {
    let now = UnixMillis::new(1_700_000_000_000).unwrap();
    let hour = UtcHour::of(now);
    let directory = tempfile::tempdir().unwrap();
    let ledger = ledger(now);
    let stranger = parties()[0];
    let attestor = LedgerAttestor::new(ledger.client().clone(), stranger, SEED.signing_key(stranger));
    assert!(!attestor.rights(&zone()).unwrap().forecasts);
    let mut inbox = Inbox::open(directory.path(), None).unwrap();
    let rows: Vec<eroam::feed::Row> = (-24 * 70..0)
        .filter_map(|n| hour.plus(n))
        .map(|hour| eroam::feed::Row {
            time: hour.to_string(),
            w: None,
            kw: Some(1e6 + (hour.get() % 24 * 1_000 + hour.get() * 7_919 % 1_009) as f64),
            mw: None,
        })
        .collect();
    assert_eq!(inbox.push(&rows, now).unwrap().refused, []);
    let settings = Settings::new(zone(), LoadClock::utc());
    let inbox = Arc::new(Mutex::new(inbox));
    let mut runner = Runner::new(settings, directory.path(), inbox, Box::new(attestor), now);
    runner.tick(now).unwrap();
    let why = runner.status().last_forecast.clone().unwrap().attested.unwrap_err();
    assert!(why.contains("no accepted agreement names the sender"), "{why}");
    assert!(runner.status().problems.iter().any(|p| p.reason == why));
}

/// The program, taking samples.
struct Running {
    process: Child,
    address: SocketAddr,
    /// Kept open, so that the program can go on writing.
    _says: BufReader<ChildStdout>,
}

impl Running {
    fn start(directory: &Path) -> Self {
        let path = |name: &str| directory.join(name).display().to_string();
        let [.., attester] = parties();
        let mut process = Command::new(env!("CARGO_BIN_EXE_eroam"))
            .args(["feed", "run", "--zone", "AEP", "--as", &attester.to_string(), "--listen", "127.0.0.1:0"])
            .args(["--data", &path(""), "--state", &path("state"), "--secret-file", &path("secret")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut says = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        says.read_line(&mut line).unwrap();
        let address =
            line.trim().strip_prefix("taking samples at http://").unwrap_or_else(|| panic!("{line}"));
        let address = address.strip_suffix("/v1/load").unwrap().parse().unwrap();
        Self { process, address, _says: says }
    }

    /// As a power cut would.
    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn what_the_program_has_answered_for_survives_a_kill_and_its_status_can_be_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let status = |code: i32| {
        let state = directory.path().join("state").display().to_string();
        let output =
            Command::new(env!("CARGO_BIN_EXE_eroam")).args(["feed", "status", "--state", &state]).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        String::from_utf8(if code == 1 { output.stderr } else { output.stdout }).unwrap()
    };
    assert!(status(1).contains("eroam feed run --state"));
    std::fs::write(directory.path().join("secret"), SECRET).unwrap();
    let setup = LedgerSetup { directory: Some(directory.path().join("ledger")), ..LedgerSetup::default() };
    drop(Ledger::open(SEED, &genesis(), &setup).unwrap());
    let now = UtcHour::of(eroam::clock::now());
    let sample = |back: i64| {
        let hour = now.plus(-back).unwrap();
        json!({ "time": hour.to_string(), "mw": 14_000 + hour.get() % 24 * 100 })
    };
    let first: Vec<Value> = (2..50).rev().map(sample).collect();
    let running = Running::start(directory.path());
    assert_eq!(Sender::new(running.address).push_samples(&first)["new"], 48);
    running.kill();
    let running = Running::start(directory.path());
    let again: Vec<Value> = (1..50).rev().map(sample).collect();
    let taken = Sender::new(running.address).push_samples(&again);
    assert_eq!((&taken["new"], &taken["repeated"]), (&json!(1), &json!(48)));
    running.kill();
    // It was started with a ledger on which nobody is named, and two days are no year.
    let says = status(3);
    assert!(says.starts_with("AEP: ") && says.contains("last sample"), "{says}");
}

/// What the program says at its end.
fn eroam(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_eroam")).args(args).stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// A ledger in a directory, on which an operator has published a tariff.
fn with_a_tariff(directory: &Path) -> (PartyId, eroam_domain::tariff::Tariff) {
    let operator = &founders::founders()[3];
    let setup = LedgerSetup { directory: Some(directory.join("ledger")), ..LedgerSetup::default() };
    let ledger = Ledger::open(SEED, &genesis(), &setup).unwrap();
    let tariff = operator.tariff("AC-FLAT");
    let mut client = ledger.client().clone();
    let at = UnixMillis::new(1_700_000_000_000).unwrap();
    let publish = eroam_ledger::tariff::TariffTx::PublishTariff { version: 1, tariff: tariff.clone() };
    let envelope = Envelope {
        version: VERSION,
        network: client.network(),
        member: operator.party,
        key: 0,
        lane: 1,
        sequence: 0,
        expires_at: at.checked_add(DurationMs::from_millis(HOUR_MS)).unwrap(),
        tx: Tx::Tariff(publish),
    };
    let receipts = client.submit(at, vec![envelope.sign(&SEED.signing_key(operator.party))]).unwrap();
    assert!(receipts[0].items[0].outcome.is_accepted(), "{receipts:?}");
    (operator.party, tariff)
}

/// The versions of the tariff that the ledger in a directory has.
fn tariff_versions(directory: &Path, operator: PartyId) -> Vec<eroam_domain::tariff::Tariff> {
    let reader = eroam::ledger::reader::Reader::open(directory, None).unwrap();
    let id = eroam_domain::tariff::TariffId::new("AC-FLAT").unwrap();
    (1..)
        .map_while(|version| read(reader.client(), &StateKey::Tariff(operator, id.clone(), version)).unwrap())
        .collect()
}

#[test]
fn rates_of_an_outside_server_become_the_next_version_of_a_tariff_and_wrong_ones_none() {
    let directory = tempfile::tempdir().unwrap();
    let (operator, base) = with_a_tariff(directory.path());
    let next = UtcHour::of(eroam::clock::now()).plus(2).unwrap();
    let rate = |hour: UtcHour, micros: i64| json!({ "start": hour.to_string(), "micros_per_kwh": micros });
    let said = |rates: &[Value]| json!({ "currency": "EUR", "rates": rates }).to_string();
    let good = said(&[rate(next, 182_300), rate(next.plus(1).unwrap(), 201_000)]);
    let answers = Arc::new(Mutex::new(String::new()));
    let answering = Arc::clone(&answers);
    let answer = move || async move { answering.lock().unwrap().clone() };
    let routes = axum::Router::new().route("/rates", axum::routing::get(answer));
    let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    let server = Server::start("market", any, routes, STOP_WITHIN).unwrap();
    let (url, data) = (format!("http://{}/rates", server.address()), directory.path().display().to_string());
    let party = operator.to_string();
    let publish = |extra: &[&str], answer: &str| {
        *answers.lock().unwrap() = answer.to_owned();
        let args = ["feed", "rates", "--data", &data, "--as", &party, "--url", &url, "--tariff", "AC-FLAT"];
        let limits = ["--least-micros", "10000", "--most-micros", "900000", "--clock", "Europe/Lisbon"];
        eroam(&[&args[..], &limits, extra].concat())
    };
    for (extra, answer, says) in [
        (&[][..], "", "something else than rates"),
        (&[], &said(&[]), "no rates"),
        (&[], &said(&[rate(next, 0)]), "0 millionths"),
        (&[], &said(&[rate(next, 900_001)]), "900001 millionths"),
        (&[], &good.replace("EUR", "USD"), "no rate is converted"),
        (&["--base-version", "7"], &good, "--base-version"),
        (&["--hours-max", "1"], &good, "more than 1"),
    ] {
        let (code, found) = publish(extra, answer);
        assert!(code == Some(1) && found.contains(says), "{says}: {code:?} {found}");
    }
    assert_eq!(
        tariff_versions(directory.path(), operator),
        std::slice::from_ref(&base),
        "nothing is filled in"
    );
    let (code, found) = publish(&[], &good);
    assert!(code == Some(0) && found.contains("rates for 2 hours, as version 2"), "{found}");
    // Again, of the version without rates: the hours of before are not kept.
    let (code, found) = publish(&[], &said(&[rate(next.plus(1).unwrap(), 205_000)]));
    assert!(code == Some(0) && found.contains("version 3"), "{found}");
    let versions = tariff_versions(directory.path(), operator);
    let own = base.elements().len();
    let rated: Vec<Vec<i64>> = versions
        .iter()
        .map(|tariff| {
            let rates = tariff.elements().iter().take(tariff.elements().len() - own);
            let mut micros: Vec<i64> = rates.map(|element| element.components[0].price_micros).collect();
            // An hour over midnight has two elements.
            micros.dedup();
            micros
        })
        .collect();
    assert_eq!(rated, [vec![], vec![182_300, 201_000], vec![205_000]]);
}

#[cfg(unix)]
#[test]
fn a_feed_signs_with_the_key_of_the_member_and_says_what_is_wrong_with_another() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let (operator, _) = with_a_tariff(directory.path());
    let [.., attester] = parties();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let write = |text: &str, mode: u32| {
        std::fs::write(path("key"), text).unwrap();
        std::fs::set_permissions(path("key"), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let hex =
        |party| SEED.signing_key(party).to_bytes().iter().map(|b| format!("{b:02x}")).collect::<String>();
    std::fs::write(path("load.csv"), "time,mw\n").unwrap();
    let (state, csv, key, data) = (path("state"), path("load.csv"), path("key"), path(""));
    let party = attester.to_string();
    let run = |more: &[&str]| {
        let args = ["feed", "run", "--zone", "AEP", "--as", &party, "--state", &state, "--watch", &csv];
        eroam(&[&args[..], more].concat())
    };
    // A node is never signed for with a key that anybody can work out.
    let (code, said) = run(&["--node", "http://127.0.0.1:9"]);
    assert!(code == Some(2) && said.contains("--member-key-file"), "{said}");
    let with_key = ["--data", data.as_str(), "--member-key-file", &key];
    for (text, mode, says) in [
        (hex(attester), 0o644, "make it 600"),
        ("no key".to_owned(), 0o600, "holds no key"),
        (hex(operator), 0o600, "not one that signs for"),
    ] {
        write(&text, mode);
        let (code, said) = run(&with_key);
        assert!(code == Some(1) && said.contains(says), "{says}: {said}");
    }
    std::fs::remove_file(path("key")).unwrap();
    let (code, said) = run(&with_key);
    assert!(code == Some(1) && said.contains("cannot be read"), "no other key is taken: {said}");
    // The right one: it runs until it is told to stop.
    write(&hex(attester), 0o600);
    let mut process = Command::new(env!("CARGO_BIN_EXE_eroam"))
        .args(["feed", "run", "--zone", "AEP", "--as", &party, "--state", &state, "--watch", &csv])
        .args(with_key)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(line.starts_with("AEP: "), "{line}");
}
