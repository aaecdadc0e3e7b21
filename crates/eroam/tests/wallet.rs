//! `eroam wallet` against `eroam simulate --serve`: a driver's program and a network, each a process.

mod support;

use eroam::agent::Agent;
use eroam::charging::state::AgentState;
use eroam::clock::in_time;
use eroam_ssi::custody::Passphrase;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::{Ended, command, eroam, tempdir};
use tempfile::TempDir;
use zeroize::Zeroizing;

const ISSUER_KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/contract");
const PASSPHRASE: &str = "EROAM_WALLET_PASSPHRASE";
const RIGHT: &str = "correct horse";
/// Vouchers that are withdrawn when there are none.
const WITHDRAWN: usize = 16;

/// A network with two stations, until it is dropped.
struct Network {
    process: Child,
    listing: Value,
    directory: TempDir,
}

impl Network {
    fn start() -> Self {
        Self::of_mode("default")
    }

    fn of_mode(mode: &str) -> Self {
        Self::of(mode, "1")
    }

    fn of(mode: &str, seed: &str) -> Self {
        let directory = tempdir();
        let mut process = command()
            .args([
                "simulate",
                "--json",
                "--mode",
                mode,
                "--seed",
                seed,
                "--stations",
                "2",
                "--issuer-keys",
                ISSUER_KEYS,
                "--serve",
            ])
            .arg(directory.path())
            // Whatever it leaves behind goes with the directory.
            .env("TMPDIR", directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let listing = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Self { process, listing, directory }
    }

    fn text(&self, pointer: &str) -> &str {
        self.listing.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer}"))
    }

    fn station(&self, number: usize) -> &str {
        self.text(&format!("/stations/{number}/invitation"))
    }

    fn genesis(&self) -> PathBuf {
        self.directory.path().join("genesis.json")
    }

    /// A wallet without a contract.
    fn wallet(&self, name: &str) -> Wallet {
        let wallet = Wallet { path: self.directory.path().join(name).join("wallet") };
        let (resolver, genesis) = (self.text("/resolver"), self.genesis());
        wallet.run(["init", "--resolver", resolver, "--genesis", genesis.to_str().unwrap()]).expect(0);
        wallet
    }

    /// A wallet with a contract of the first provider.
    fn enrolled(&self, name: &str) -> Wallet {
        let wallet = self.wallet(name);
        let name = format!("name={name}");
        let fields = [&name, "email=driver@example.org", "iban=GB29NWBK60161331926819", "tier=gold"];
        let mut args = vec!["enrol", self.text("/providers/0/url"), "--yes"];
        fields.iter().for_each(|field| args.extend(["--field", field]));
        wallet.run(args).expect(0);
        wallet
    }

    /// Another contract, with the provider of this number, for these zones: its number.
    fn enrol(&self, wallet: &Wallet, provider: usize, zones: &str) -> String {
        let url = self.text(&format!("/providers/{provider}/url"));
        let zones = format!("zones={zones}");
        let fields = ["name=A driver", "email=driver@example.org", "iban=GB29NWBK60161331926819", &zones];
        let mut args = vec!["enrol", url, "--yes"];
        fields.iter().for_each(|field| args.extend(["--field", field]));
        wallet.json(args)["contract"].as_str().unwrap().to_owned()
    }

    /// Tells it to end, and waits.
    fn end(&mut self) -> Option<i32> {
        // A test that failed may have left it stopped.
        let _ = Command::new("kill").arg("-CONT").arg(self.process.id().to_string()).status();
        let told = Command::new("kill").arg(self.process.id().to_string()).status();
        if !told.is_ok_and(|status| status.success()) {
            self.process.kill().unwrap();
        }
        self.process.wait().unwrap().code()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            self.end();
        }
    }
}

struct Wallet {
    path: PathBuf,
}

impl Wallet {
    fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = command();
        command.arg("wallet").args(args).arg("--json").arg("--wallet").arg(&self.path);
        command.env(PASSPHRASE, RIGHT);
        command
    }

    fn run(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ended {
        ended(self.command(args))
    }

    fn json(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Value {
        self.run(args).expect(0).json()
    }

    /// What a person reads.
    fn said(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
        let mut command = command();
        command.arg("wallet").args(args).arg("--wallet").arg(&self.path).env(PASSPHRASE, RIGHT);
        ended(command).expect(0).stdout
    }

    /// A short charge.
    fn charge(&self, station: &str) -> Value {
        self.json(["charge", station, "--energy", "0.1", "--yes"])
    }

    /// A charge that does not end by itself for long, with power on.
    fn charging(&self, station: &str) -> (Child, impl Iterator<Item = String>) {
        started(self.command(["charge", station, "--yes"]))
    }

    fn vouchers(&self) -> Vec<String> {
        let listed = self.json(["vouchers"]);
        let vouchers = listed[0]["vouchers"].as_array().unwrap();
        vouchers.iter().map(|voucher| voucher["nullifier"].as_str().unwrap().to_owned()).collect()
    }

    /// The bill of this month, once it has so many charges.
    fn bill_of(&self, charges: usize) -> Value {
        for _ in 0..400 {
            let bill = self.json(["bill"]);
            if bill["charges"].as_array().unwrap().len() >= charges {
                return bill;
            }
        }
        panic!("the bill never has {charges} charges");
    }
}

/// A charge with power on, and what it says from then on.
fn started(mut command: Command) -> (Child, impl Iterator<Item = String>) {
    let mut charging = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(charging.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.starts_with("power is on")), "it ended before power was on");
    (charging, said)
}

fn ended(mut command: Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn stage(charge: &Value) -> &str {
    charge["progress"]["stage"].as_str().unwrap()
}

#[test]
fn a_driver_enrols_charges_is_billed_and_has_a_receipt_that_is_verified_without_the_network() {
    let mut network = Network::start();
    let wallet = network.enrolled("ana");
    let credentials = wallet.json(["credentials"]);
    assert_eq!(credentials[0]["values"]["tier"], "gold");
    assert_eq!(credentials[0]["provider"], network.text("/providers/0/party"));

    let (one, other) = (network.text("/operators/0/url"), network.text("/operators/1/url"));
    let found = wallet.json(["find", one, other]);
    let listed = |place: usize| &found[place]["evses"][0];
    assert_eq!(found.as_array().unwrap().len(), 2);
    assert_eq!(listed(0)["invitation"], network.station(0));
    assert_eq!(listed(1)["evse_id"], network.listing["stations"][1]["claims"]["evse"]);
    assert_eq!(listed(1)["connectors"][0]["tariff_ids"][0], "AC");
    // The price, as the ledger has it: in OCPI's form, and in words.
    let connector = &listed(1)["connectors"][0];
    let element = &connector["tariffs"][0]["elements"][0]["price_components"][0];
    assert_eq!(
        (&connector["tariffs_proved"], &connector["tariffs"][0]["currency"]),
        (&true.into(), &"EUR".into())
    );
    assert_eq!((&element["type"], element["price"].is_number()), (&"ENERGY".into(), true));
    let said = wallet.said(["find", other]);
    assert!(said.contains(" EUR per kWh with ") && said.contains("tariff AC by the ledger"), "{said}");
    // Who has no wallet sees what the operator says.
    let nobody = Wallet { path: network.directory.path().join("nobody") };
    let unproved = nobody.json(["find", one]);
    let unproved = &unproved[0]["evses"][0]["connectors"][0];
    assert_eq!((&unproved["tariffs_proved"], &unproved["tariffs"][0]["id"]), (&false.into(), &"AC".into()));
    assert!(nobody.said(["find", one]).contains("by the operator, not proved"));

    let scanned = wallet.json(["scan", network.station(0)]);
    assert_eq!(
        (&scanned["genuine"], &scanned["station"]),
        (&true.into(), &network.listing["stations"][0]["claims"])
    );

    let charge = wallet.charge(network.station(0));
    assert_eq!((stage(&charge), &charge["number"]), ("finished", &1.into()));
    let finished = &charge["progress"]["finished"];
    assert_eq!(finished["reason"], "energy_reached");
    let energy = finished["energy"].as_u64().unwrap();
    assert!((1..=100_000).contains(&energy), "{energy} thousandths of a watt-hour");
    assert_eq!(wallet.json(["receipts"]), Value::from(vec![charge.clone()]));
    assert_eq!(wallet.vouchers().len(), WITHDRAWN - 1);

    let bill = wallet.bill_of(1);
    assert_eq!(
        (&bill["charges"][0]["energy"], &bill["charges"][0]["evse"]),
        (&finished["energy"], &charge["station"]["evse"])
    );
    assert_eq!(bill["totals"][0]["micros"], bill["charges"][0]["price"]["incl_vat"]);

    let proof = network.directory.path().join("proof.json");
    wallet.json(["receipts", "--proof", "1", proof.to_str().unwrap()]);
    assert_eq!(network.end(), Some(0));
    let genesis = network.genesis();
    let verified =
        eroam([OsStr::new("verify"), proof.as_ref(), OsStr::new("--trust"), genesis.as_ref()]).expect(0);
    assert!(verified.stdout.contains("status spent"), "{verified:?}");
    // Something else than what the ledger has is noticed.
    let text = fs::read_to_string(&proof).unwrap();
    let place = text.rfind(|c: char| c.is_ascii_digit()).unwrap();
    let digit = if &text[place..=place] == "1" { "2" } else { "1" };
    fs::write(&proof, format!("{}{digit}{}", &text[..place], &text[place + 1..])).unwrap();
    eroam([OsStr::new("verify"), proof.as_ref(), OsStr::new("--trust"), genesis.as_ref()]).expect(1);
}

#[test]
fn a_wallet_charges_as_paper_b_has_it() {
    let network = Network::of_mode("paper");
    let wallet = network.enrolled("ana");
    let scanned = wallet.json(["scan", network.station(0), "--mode", "paper"]);
    // The paper's credential has no time zone.
    let mut claims = network.listing["stations"][0]["claims"].clone();
    assert!(claims.as_object_mut().unwrap().remove("time_zone").is_some());
    assert_eq!(scanned["station"], claims);
    let paper = ["charge", network.station(0), "--energy", "0.1", "--yes", "--mode", "paper"];
    assert_eq!(stage(&wallet.json(paper)), "finished");
    let readme = fs::read_to_string(network.directory.path().join("README.md")).unwrap();
    assert!(readme.contains("--energy 1 --mode paper"), "{readme}");
}

#[test]
fn of_several_contracts_those_that_are_good_at_the_station_are_offered_with_their_prices() {
    let network = Network::start();
    let wallet = network.wallet("ana");
    let (station, evse) = (network.station(0), network.text("/stations/0/claims/evse"));
    let zone = network.text("/stations/0/claims/zone");
    let elsewhere = |contract: &str, zones: &str| {
        format!(
            "your contract {contract} is good in {zones}, and this station is in {zone}: charge elsewhere, or with another contract"
        )
    };
    let [far, farther] = ["NO-2", "ES-9"].map(|zones| network.enrol(&wallet, 0, zones));
    let none = wallet.run(["charge", station, "--yes"]).expect(1).stderr;
    let why = format!(
        "none of your contracts is good at {evse}:\n  {}\n  {}\n",
        elsewhere(&far, "NO-2"),
        elsewhere(&farther, "ES-9")
    );
    assert!(none.contains(&why), "{none}");

    // One that is good here is taken without a question, and another where it is named is not.
    let here = network.enrol(&wallet, 1, "*");
    let quoted = wallet.run(["quote", station]).expect(0);
    assert_eq!(quoted.json()["contract"], here.as_str());
    assert!(quoted.stderr.contains(", the only one of your contracts that is good here"), "{quoted:?}");
    let named = wallet.run(["charge", station, "--yes", "--contract", &far]).expect(1).stderr;
    assert!(named.contains(&elsewhere(&far, "NO-2")), "{named}");

    let also = network.enrol(&wallet, 0, zone);
    let several = wallet.run(["charge", station, "--yes"]).expect(1).stderr;
    let (_, listed) =
        several.split_once("several of your contracts are good here, name one with --contract:\n").unwrap();
    let mut offered: Vec<&str> = listed.lines().filter(|line| line.starts_with("  ")).collect();
    offered.sort_unstable();
    let mut expected = [(&here, 1), (&also, 0)].map(|(contract, provider)| {
        (
            format!("  {contract} of "),
            format!(" ({}), standard: about ", network.text(&format!("/providers/{provider}/party"))),
        )
    });
    expected.sort_unstable();
    assert_eq!(offered.len(), 2, "{several}");
    for (line, (contract, provider)) in offered.into_iter().zip(&expected) {
        assert!(
            line.starts_with(contract) && line.contains(provider) && line.contains(" EUR, at most "),
            "{line}"
        );
    }
    assert_eq!(wallet.json(["receipts"]), Value::Array(vec![]), "nothing was agreed to");

    let args = ["charge", station, "--energy", "0.1", "--yes", "--contract", &also];
    assert_eq!(wallet.json(args)["contract"], also.as_str());
}

#[test]
fn a_contract_that_was_signed_elsewhere_is_attached_by_its_hash() {
    let network = Network::start();
    let wallet = network.wallet("ana");
    let file = |name: &str, content: &[u8]| {
        let path = network.directory.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let fields = ["name=A driver", "email=driver@example.org", "iban=GB29NWBK60161331926819"];
    let enrol = |path: &str| {
        let mut args = vec!["enrol", network.text("/providers/0/url"), "--yes", "--attach", path];
        fields.iter().for_each(|field| args.extend(["--field", field]));
        wallet.run(args)
    };
    let missing = network.directory.path().join("missing").display().to_string();
    let empty = file("empty", b"");
    let long = file("long", &vec![7; (1 << 20) + 1]);
    for (path, sentence) in [
        (&missing, format!("{missing} cannot be read")),
        (
            &empty,
            format!(
                "{empty} cannot be attached: the attached contract is empty: attach the file that was signed"
            ),
        ),
        (
            &long,
            format!(
                "{long} cannot be attached: the attached contract has more than 1048576 bytes: attach a smaller file"
            ),
        ),
    ] {
        let refused = enrol(path).expect(1).stderr;
        assert!(refused.contains(&sentence), "{refused}");
    }
    assert_eq!(wallet.json(["credentials"]), Value::Array(vec![]));
    // FIPS 180-2, appendix B.1.
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(enrol(&file("signed", b"abc")).expect(0).json()["attached"], hash);
}

#[test]
fn whoever_registers_with_a_wrong_account_number_reads_that_alone() {
    let network = Network::start();
    let wallet = network.wallet("ana");
    let fields = ["name=A driver", "email=driver@example.org", "iban=GB28NWBK60161331926819"];
    let mut args = vec!["enrol", network.text("/providers/0/url"), "--yes"];
    fields.iter().for_each(|field| args.extend(["--field", field]));
    let said = wallet.run(args).expect(1).stderr;
    let sentence =
        "iban is no account number, since its check digits do not fit: copy it again from your bank's papers";
    assert_eq!(said.trim_end().trim_start_matches("error: ").trim_start_matches("Error: "), sentence);
}

#[test]
fn a_bill_has_the_charges_of_its_own_contract_alone() {
    let network = Network::start();
    let (ana, ben) = (network.enrolled("ana"), network.enrolled("ben"));
    ana.charge(network.station(0));
    ana.charge(network.station(1));
    let bill = ana.bill_of(2);
    let operators: Vec<&Value> =
        bill["charges"].as_array().unwrap().iter().map(|charge| &charge["operator"]).collect();
    assert_eq!(operators, [network.text("/operators/0/party"), network.text("/operators/1/party")]);
    let empty = ben.json(["bill"]);
    assert_eq!((&empty["charges"], &empty["totals"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    let before = ana.json(["bill", "--month", "2020-01"]);
    assert_eq!(before["charges"], Value::Array(vec![]));
}

#[test]
fn a_wallet_that_is_killed_while_it_charges_has_spent_its_voucher_and_charges_again() {
    let network = Network::start();
    let wallet = network.enrolled("ana");
    let withdraw = WITHDRAWN.to_string();
    wallet.json(["vouchers", "--withdraw", &withdraw]);
    let before = wallet.vouchers();
    let (mut charging, _) = wallet.charging(network.station(0));
    charging.kill().unwrap();
    assert_eq!(charging.wait().unwrap().code(), None);

    let receipts = wallet.json(["receipts"]);
    assert_eq!((receipts.as_array().unwrap().len(), &receipts[0]["number"]), (1, &1.into()));
    // Killed before or after the power was noted; in either case after the voucher was.
    assert!(["agreed", "started"].contains(&stage(&receipts[0])), "{receipts}");
    let left = wallet.vouchers();
    assert_eq!(left.len(), WITHDRAWN - 1);
    assert!(left.iter().all(|voucher| before.contains(voucher)));

    let charge = wallet.charge(network.station(1));
    assert_eq!((stage(&charge), &charge["number"]), ("finished", &2.into()));
    let now = wallet.vouchers();
    assert_eq!(now.len(), WITHDRAWN - 2);
    assert!(now.iter().all(|voucher| left.contains(voucher)));
}

#[test]
fn a_charge_goes_on_without_its_wallet_and_is_taken_up_again_and_stopped() {
    let network = Network::start();
    let wallet = network.enrolled("ana");
    let nothing = wallet.run(["charge", "--resume"]).expect(1);
    assert!(nothing.stderr.contains("no charge in your wallet waits for its end"), "{nothing:?}");
    let (mut charging, mut said) = wallet.charging(network.station(0));
    assert!(said.any(|line| line.contains(" kWh ")), "it says how far it is");
    charging.kill().unwrap();
    charging.wait().unwrap();
    let left = wallet.vouchers();

    // The station is in use until this driver stops it, and nobody else can.
    let stranger = network.enrolled("ben");
    let refused = stranger.run(["charge", network.station(0), "--yes"]).expect(1);
    assert!(refused.stderr.contains("somebody else is charging here"), "{refused:?}");

    let (mut resumed, mut said) = started(wallet.command(["charge", "--resume"]));
    assert!(said.any(|line| line.contains(" kWh ")), "it says how far it is");
    // Killed once more.
    resumed.kill().unwrap();
    resumed.wait().unwrap();
    let (mut resumed, mut said) = started(wallet.command(["charge", "--resume", "1"]));
    assert!(said.any(|line| line.contains(" kWh ")), "it says how far it is");
    assert_eq!(wallet.json(["stop"])["stopping"], true);
    said.for_each(drop);
    let mut receipt = String::new();
    resumed.stdout.take().unwrap().read_to_string(&mut receipt).unwrap();
    assert!(resumed.wait().unwrap().success());
    let receipt: Value = serde_json::from_str(&receipt).unwrap();
    let finished = &receipt["progress"]["finished"];
    assert_eq!((&receipt["number"], &finished["reason"]), (&1.into(), &"stopped_by_driver".into()));
    assert_eq!(wallet.json(["receipts"]), Value::from(vec![receipt.clone()]));
    assert_eq!(wallet.bill_of(1)["charges"][0]["energy"], finished["energy"]);
    assert_eq!(wallet.vouchers(), left, "it is the same charge, with the same voucher");
    wallet.run(["charge", "--resume"]).expect(1);
    assert_eq!(stage(&stranger.charge(network.station(0))), "finished", "the station is free again");
}

#[test]
fn a_charge_that_ended_without_its_wallet_has_its_receipt_when_the_wallet_is_back() {
    let network = Network::start();
    let wallet = network.enrolled("ana");
    let (mut charging, said) =
        started(wallet.command(["charge", network.station(0), "--yes", "--energy", "0.3"]));
    charging.kill().unwrap();
    charging.wait().unwrap();
    drop(said);
    // It ends by itself, which is seen by its being on the bill.
    let bill = wallet.bill_of(1);
    let receipt = wallet.json(["charge", "--resume"]);
    let finished = &receipt["progress"]["finished"];
    assert_eq!((stage(&receipt), &finished["reason"]), ("finished", &"energy_reached".into()));
    assert_eq!(finished["energy"], bill["charges"][0]["energy"]);
}

#[test]
fn a_charge_is_stopped_from_another_terminal() {
    let network = Network::start();
    let wallet = network.enrolled("ana");
    let nothing = wallet.run(["stop"]).expect(1);
    assert!(nothing.stderr.contains("no charge is running"), "{nothing:?}");
    let (mut charging, mut said) = wallet.charging(network.station(0));
    assert!(said.any(|line| line.contains(" kWh ")), "it says how far it is");
    let busy = wallet.run(["credentials"]).expect(1);
    assert!(busy.stderr.contains("another program is using the wallet"), "{busy:?}");
    assert_eq!(wallet.json(["stop"])["stopping"], true);
    said.for_each(drop);
    let mut receipt = String::new();
    charging.stdout.take().unwrap().read_to_string(&mut receipt).unwrap();
    assert!(charging.wait().unwrap().success());
    let receipt: Value = serde_json::from_str(&receipt).unwrap();
    assert_eq!(receipt["progress"]["finished"]["reason"], "stopped_by_driver");
}

#[test]
fn a_backup_that_is_brought_back_shows_no_voucher_again_that_was_spent_since() {
    let network = Network::start();
    let wallet = network.enrolled("ana");
    wallet.json(["vouchers", "--withdraw", "2"]);
    let backup = network.directory.path().join("backup");
    let backup = backup.to_str().unwrap();
    wallet.json(["backup", backup]);
    let both = wallet.vouchers();
    wallet.charge(network.station(0));
    let left = wallet.vouchers();
    assert_eq!((both.len(), left.len()), (2, 1));

    let kept = wallet.run(["restore", backup]).expect(1);
    assert!(kept.stderr.contains("already a wallet"), "{kept:?}");
    wallet.json(["restore", backup, "--replace"]);
    assert_eq!(wallet.vouchers(), both, "older than the charge");
    // On another device, too.
    let other = Wallet { path: network.directory.path().join("other").join("wallet") };
    other.json(["restore", backup]);
    assert_eq!(stage(&other.charge(network.station(0))), "finished");
    assert_eq!(other.vouchers(), Vec::<String>::new());
    assert_eq!(stage(&wallet.charge(network.station(1))), "finished", "with one that it withdraws");
}

#[test]
fn what_is_wrong_with_a_wallets_file_is_said_in_a_sentence() {
    let network = Network::start();
    let wallet = network.wallet("ana");
    let said = |command: Command| {
        let ended = ended(command).expect(1);
        assert_eq!((ended.stdout.as_str(), ended.stderr.lines().count()), ("", 1), "{ended:?}");
        ended.stderr
    };
    let listing = |wallet: &Wallet| wallet.command(["credentials"]);
    let check = |what: &str, said: String, expected: &str| assert!(said.contains(expected), "{what}: {said}");

    let mut wrong = listing(&wallet);
    wrong.env(PASSPHRASE, "correct hors");
    check("wrong passphrase", said(wrong), "the passphrase does not open the wallet");
    let mut unasked = listing(&wallet);
    unasked.env_remove(PASSPHRASE);
    check("no passphrase", said(unasked), "there is no terminal to ask for the passphrase");
    let nowhere = Wallet { path: network.directory.path().join("nowhere") };
    check("no file", said(listing(&nowhere)), "there is no wallet at");
    assert!(!Path::new(&format!("{}.lock", nowhere.path.display())).exists(), "nothing is left there");

    let good = fs::read(&wallet.path).unwrap();
    let mut changed = good.clone();
    *changed.last_mut().unwrap() ^= 1;
    let table: [(&str, &[u8], &str); 5] = [
        ("a changed byte", &changed, "if you are sure of it, the file is damaged"),
        ("cut short", &good[..40], "is no wallet, or is damaged"),
        ("empty", b"", "is no wallet, or is damaged"),
        ("something else", b"{\"wallet\": true}", "is no wallet, or is damaged"),
        ("from the future", b"eroam\0\0v\x63\x01", "is no wallet, or is damaged"),
    ];
    for (what, bytes, expected) in table {
        fs::write(&wallet.path, bytes).unwrap();
        check(what, said(listing(&wallet)), expected);
    }
    let mut newer = good.clone();
    newer[8] = 0x63;
    fs::write(&wallet.path, newer).unwrap();
    check("of a newer program", said(listing(&wallet)), "was written by a newer program (version 99)");

    fs::write(&wallet.path, good).unwrap();
    let genesis = network.genesis();
    let again =
        wallet.command(["init", "--resolver", "http://127.0.0.1", "--genesis", genesis.to_str().unwrap()]);
    check("once more", said(again), "there is already a wallet");
    check("no contract", said(wallet.command(["bill"])), "your wallet has no contract");
    check("no code", said(wallet.command(["scan", "https://example.org/"])), "no code of a charging station");
    wallet.run(["credentials"]).expect(0);
}

#[test]
fn a_driver_reads_one_sentence_without_what_is_behind_it() {
    let network = Network::start();
    let wallet = network.wallet("ana");
    let enrol = |zones: &str| {
        let zones = format!("zones={zones}");
        let fields =
            ["name=ana", "email=ana@example.org", "iban=GB29NWBK60161331926819", "tier=gold", &zones];
        let mut args = vec!["enrol", network.text("/providers/0/url"), "--yes"];
        fields.iter().for_each(|field| args.extend(["--field", field]));
        wallet.json(args)["contract"].as_str().unwrap().to_owned()
    };
    let (elsewhere, here) = (enrol("XX-9"), enrol("*"));
    for contract in [&elsewhere, &here] {
        wallet.json(["vouchers", "--withdraw", "2", "--contract", contract]);
    }
    let agent = Agent::start("station", ([127, 0, 0, 1], 0).into()).unwrap();
    let (gone, _) = agent.invite(in_time(Duration::from_secs(600))).unwrap();
    let code_of_gone = gone.to_url(agent.endpoint());
    drop(agent);
    let (_silent, nobody) = silence();
    let station = network.station(0);
    let zone = network.text("/stations/0/claims/zone");
    let table: [(&str, &[&str], String); 6] = [
        (
            "a code that is not ours",
            &["scan", "WIFI:S:guests;T:WPA;P:secret;;"],
            "this is no code of a charging station: scan the one on the post".to_owned(),
        ),
        (
            "a station without power",
            &["charge", &code_of_gone, "--contract", &here, "--yes"],
            "the station cannot be reached: take another one, or try again later".to_owned(),
        ),
        (
            "another zone",
            &["charge", station, "--contract", &elsewhere, "--yes"],
            format!(
                "your contract {elsewhere} is good in XX-9, and this station is in {zone}: charge elsewhere, or with another \
                 contract"
            ),
        ),
        (
            "less than the beginning costs",
            &["charge", station, "--contract", &here, "--amount", "0.01", "--yes"],
            "EUR is due for the beginning of a charge alone, and you allow 0.01 EUR: allow more, or charge elsewhere"
                .to_owned(),
        ),
        (
            "a provider that is away",
            &["enrol", &nobody, "--yes", "--wait", "1"],
            format!("the provider at {nobody} cannot be reached: check your network, or try again later"),
        ),
        (
            "a resolver of nobody",
            &["resolver", &nobody, "--wait", "1"],
            format!(
                "the resolver at {nobody} proves nothing by the genesis of your wallet's network: it is another network's, or \
                 away"
            ),
        ),
    ];
    for (what, args, sentence) in table {
        let ended = wallet.run(args).expect(1);
        let last = ended.stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("error: ") && last.ends_with(&sentence), "{what}: {last}");
        // Nothing that only a program's author understands.
        for jargon in ["Os {", "did:", "key=", "ureq", "Error", "http status", "0x", "io:"] {
            assert!(!last.contains(jargon), "{what}: {last}");
        }
        let verbose = wallet.run(args.iter().chain(&["--verbose"])).expect(1);
        let said = verbose.stderr.lines().last().unwrap_or_default().to_owned();
        assert!(said.contains(&sentence), "{what}: {said}");
    }
    let verbose = wallet.run(["resolver", &nobody, "--wait", "1", "--verbose"]).expect(1);
    let (short, long) = (wallet.run(["resolver", &nobody, "--wait", "1"]).expect(1), verbose.stderr);
    assert!(long.lines().last() > short.stderr.lines().last(), "it says what is behind it: {long}");
}

#[test]
fn a_quote_says_what_a_charge_costs_the_driver_and_the_charge_keeps_it() {
    let network = Network::start();
    let wallet = network.enrolled("ana");
    let quote = wallet.json(["quote", network.station(0), "--energy", "0.1"]);
    let provider = network.text("/providers/0/party");
    let known = &quote["cost"]["driver"]["known"];
    assert_eq!(known["provider"], provider);
    let price = known["price"]["micros"].as_i64().unwrap();
    let to_operator = quote["cost"]["to_operator"]["micros"].as_i64().unwrap();
    assert!(to_operator > 0 && price > to_operator, "{quote}");
    assert_eq!(quote["cost"]["parts"]["basis"], "static");
    assert_eq!(wallet.vouchers().len(), WITHDRAWN, "none was spent");
    let said = wallet.said(["quote", network.station(0), "--energy", "0.1"]);
    assert!(said.contains(&format!("by the rules of {provider} as of ")), "{said}");
    assert!(said.contains("This price does not depend on the load of the grid."), "{said}");

    let charge = wallet.charge(network.station(0));
    assert_eq!(charge["cost"]["driver"]["known"]["price"]["micros"], price);
    let billed = wallet.bill_of(1)["totals"][0]["micros"].as_i64().unwrap();
    // A tenth of a kilowatt-hour, less what one look adds.
    assert!((price - 60_000..=price + 10_000).contains(&billed), "{price} and {billed}");

    let found = wallet.json(["find", network.text("/operators/0/url"), "--energy", "0.1"]);
    let for_you = &found[0]["evses"][0]["connectors"][0]["for_you"][0];
    assert_eq!(for_you["contract"], charge["contract"]);
    assert_eq!(for_you["estimate"]["cost"]["driver"]["known"]["price"]["micros"], price);
    let said = wallet.said(["find", network.text("/operators/0/url")]);
    assert!(said.contains("you pay    about ") && said.contains(" for 20 kWh, by the rules of "), "{said}");
}

#[test]
fn an_amount_below_the_estimate_is_where_the_station_stops() {
    let network = Network::start();
    let wallet = network.enrolled("ana");
    let charge = wallet.json(["charge", network.station(0), "--energy", "50", "--amount", "0.5", "--yes"]);
    assert_eq!(
        (stage(&charge), &charge["progress"]["finished"]["reason"]),
        ("finished", &"amount_reached".into())
    );
    let told = charge["cost"]["to_operator"]["micros"].as_i64().unwrap();
    assert!(told > 500_000, "{charge}");
}

#[test]
fn a_wallet_has_one_passphrase_at_a_time_and_its_backups_keep_theirs() {
    let network = Network::start();
    let wallet = network.wallet("ana");
    let backup = network.directory.path().join("backup");
    wallet.json(["backup", backup.to_str().unwrap()]);
    let change = |old: &str, new: &str| {
        let mut command = wallet.command(["passphrase"]);
        command.env(PASSPHRASE, old).env("EROAM_WALLET_NEW_PASSPHRASE", new);
        ended(command)
    };
    let before = fs::read(&wallet.path).unwrap();
    let wrong = change("correct hors", "battery staple").expect(1);
    assert!(wrong.stderr.contains("the passphrase does not open the wallet"), "{wrong:?}");
    let empty = change(RIGHT, "").expect(1);
    assert!(empty.stderr.contains("this passphrase cannot be used"), "{empty:?}");
    assert_eq!(fs::read(&wallet.path).unwrap(), before, "the old one stays");

    change(RIGHT, "battery staple").expect(0);
    let old = wallet.run(["credentials"]).expect(1);
    assert!(old.stderr.contains("the passphrase does not open the wallet"), "{old:?}");
    let mut new = wallet.command(["credentials"]);
    new.env(PASSPHRASE, "battery staple");
    ended(new).expect(0);
    let other = Wallet { path: network.directory.path().join("other").join("wallet") };
    other.json(["restore", backup.to_str().unwrap()]);
    other.run(["credentials"]).expect(0);
}

#[test]
fn a_wallet_finds_its_provider_and_a_resolver_elsewhere_if_they_are_who_they_should_be() {
    let network = Network::start();
    let wallet = network.enrolled("ana");
    let moved = |url: &str| url.replace("127.0.0.1", "localhost");
    let (resolver, provider) = (moved(network.text("/resolver")), moved(network.text("/providers/0/url")));
    assert_eq!(wallet.json(["resolver", &resolver])["resolver"], resolver);
    assert_eq!(wallet.json(["provider", &provider])["provider_url"], provider);
    assert_eq!(wallet.json(["credentials"])[0]["provider_url"], provider);
    assert_eq!(stage(&wallet.charge(network.station(0))), "finished");

    // Another network's resolver proves nothing here, and another provider does not know the contract.
    let other = Network::of("default", "2");
    let refused = wallet.run(["resolver", other.text("/resolver")]).expect(1);
    assert!(refused.stderr.contains("proves nothing by the genesis of your wallet's network"), "{refused:?}");
    let refused = wallet.run(["provider", network.text("/providers/1/url")]).expect(1);
    assert!(refused.stderr.contains("your provider does not know this contract"), "{refused:?}");
    assert_eq!(wallet.json(["credentials"])[0]["provider_url"], provider);
    wallet.json(["bill"]);
}

#[test]
fn a_driver_whose_station_falls_silent_is_told_and_the_charge_goes_on() {
    let network = Network::start();
    let wallet = network.enrolled("ana");
    let signal = |name: &str| {
        let told = Command::new("kill").arg(name).arg(network.process.id().to_string()).status();
        assert!(told.unwrap().success());
    };
    let (mut charging, mut said) =
        started(wallet.command(["charge", network.station(0), "--yes", "--wait", "5"]));
    assert!(said.any(|line| line.contains(" kWh ")), "it says how far it is");
    signal("-STOP");
    assert!(
        said.any(|line| line.contains("the station says nothing any more")),
        "it says that it hears nothing"
    );
    signal("-CONT");
    assert!(said.any(|line| line.contains(" kWh ")), "it says how far it is");
    assert_eq!(wallet.json(["stop"])["stopping"], true);
    said.for_each(drop);
    assert!(charging.wait().unwrap().success());
    assert_eq!(stage(&wallet.json(["receipts"])[0]), "finished");
}

#[test]
fn an_agents_state_has_another_passphrase_from_then_on() {
    let directory = tempdir();
    let state = directory.path().join("provider");
    let secret = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let passphrase = |text: &str| Passphrase::new(Zeroizing::new(text.to_owned())).unwrap();
    drop(AgentState::open(&state, &passphrase("old")).unwrap());
    let (old, new) = (secret("old", "old\n"), secret("new", "new\n"));
    let change = |old: &Path, new: &Path| {
        let args = ["passphrase".as_ref(), state.as_os_str(), "--passphrase-file".as_ref(), old.as_os_str()];
        eroam(args.into_iter().chain(["--new-passphrase-file".as_ref(), new.as_os_str()]))
    };
    let wrong = change(&new, &old).expect(1);
    assert!(wrong.stderr.contains("the passphrase does not open"), "{wrong:?}");
    let done = change(&old, &new).expect(0);
    assert!(done.stdout.contains("opens with the new passphrase"), "{done:?}");
    assert!(AgentState::open(&state, &passphrase("old")).is_err());
    let running = AgentState::open(&state, &passphrase("new")).unwrap();
    let in_use = change(&new, &old).expect(1);
    assert!(in_use.stderr.contains("open elsewhere"), "{in_use:?}");
    drop(running);
}

/// Nobody who answers: what connects to it waits.
fn silence() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

#[test]
fn who_waits_is_told_for_whom_and_what_to_do_when_nobody_answers() {
    let mut network = Network::start();
    let wallet = network.enrolled("ana");
    wallet.json(["vouchers", "--withdraw", "2"]);
    let (_silent, url) = silence();
    let said = |args: &[&str], waits: &str, sentence: &str| {
        let ended = wallet.run(args.iter().chain(&["--wait", "2"])).expect(1);
        assert!(ended.stderr.contains(&format!("waiting for {waits}")), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains(sentence), "{args:?}: {ended:?}");
    };
    let provider = format!("the provider at {url}");
    said(&["enrol", &url, "--yes"], &provider, "cannot be reached: check your network, or try again later");
    said(&["find", &url], &format!("the operator at {url}"), "cannot be reached: check its address");
    said(&["resolver", &url], &format!("the resolver at {url}"), "proves nothing by the genesis");
    said(&["provider", &url], &provider, "cannot be reached: check your network, or try again later");
    // Without a ledger to look into, operators' words are shown as such, and that the price is not known.
    let blind = Wallet { path: network.directory.path().join("blind").join("wallet") };
    blind.run(["init", "--resolver", &url, "--genesis", network.genesis().to_str().unwrap()]).expect(0);
    let found = blind.run(["find", network.text("/operators/0/url"), "--wait", "1"]).expect(0);
    assert!(found.stderr.contains("what you would pay is not known: the resolver at "), "{found:?}");
    assert_eq!(found.json()[0]["evses"][0]["connectors"][0]["tariffs_proved"], false);
    // A station that takes messages and says nothing.
    let agent = Agent::start("station", ([127, 0, 0, 1], 0).into()).unwrap();
    let (invitation, _) = agent.invite(in_time(Duration::from_secs(600))).unwrap();
    let code = invitation.to_url(agent.endpoint());
    let away = "the station cannot be reached: take another one, or try again later";
    said(&["scan", &code], "the station", away);
    said(&["charge", &code, "--yes"], "the station", away);

    // Everybody is gone.
    assert_eq!(network.end(), Some(0));
    let (resolver, provider) = (network.text("/resolver"), network.text("/providers/0/url"));
    let gone = |args: &[&str], sentence: &str| {
        let ended = wallet.run(args.iter().chain(&["--wait", "2"])).expect(1);
        assert!(ended.stderr.contains(sentence), "{args:?}: {ended:?}");
    };
    let provider = format!("the provider at {provider} cannot be reached: check your network");
    gone(&["bill"], &provider);
    gone(&["enrol", network.text("/providers/0/url"), "--yes"], &provider);
    gone(
        &["find", network.text("/operators/0/url")],
        "cannot be reached: check its address and your network",
    );
    gone(&["scan", network.station(0)], away);
    let resolver = format!("the resolver at {resolver} cannot be asked for");
    gone(&["charge", network.station(0), "--yes"], &resolver);
    // What needs nobody works, and a wallet that was brought back says what it needs before it charges.
    assert_eq!(wallet.vouchers().len(), 2);
    let backup = network.directory.path().join("backup");
    wallet.json(["backup", backup.to_str().unwrap()]);
    wallet.json(["restore", backup.to_str().unwrap(), "--replace"]);
    gone(&["charge", network.station(0), "--yes"], &resolver);
}
