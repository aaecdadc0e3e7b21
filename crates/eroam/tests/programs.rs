//! Agents as programs: killed and started again at the worst moments, told to stop, commanded by their staff.
#![cfg(unix)]

use eroam::bench::resident_memory_mib;
use eroam::charging::ChargingError;
use eroam::charging::attached::AttachedContract;
use eroam::charging::catalogue::Catalogue;
use eroam::charging::customers::ListedCustomer;
use eroam::charging::post::Pace;
use eroam::charging::station::{Mode, StationStatus};
use eroam::charging::stations::RegisteredStation;
use eroam::charging::wallet::{Attendant, Receipt, Timings, Wallet};
use eroam::consortium::Seed;
use eroam::consortium::founders::currency;
use eroam::node::RemoteNode;
use eroam::program::node::{NodeCommand, NodeStatus};
use eroam::program::operator::OperatorCommand;
use eroam::program::provider::ProviderCommand;
use eroam::program::station::StationProgramCommand;
use eroam::simulate::processes::{Processes, Program};
use eroam::simulate::world::fields;
use eroam::simulate::{Programs, Setup};
use eroam::tails_cache::TailsCache;
use eroam_domain::ids::ContractId;
use eroam_domain::money::Money;
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::visit::{ChargeLimits, Progress, Started};
use eroam_light::trust::Trust;
use eroam_ssi::protocol::out_of_band::Invitation;
use eroam_ssi::protocol::questions::BilledCharge;
use eroam_station::calibration::Calibration;
use eroam_wallet::consent::Consent;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

const PROGRAM: &str = env!("CARGO_BIN_EXE_eroam");
/// What runs on a station's own computer.
const STATION_PROGRAM: &str = env!("CARGO_BIN_EXE_eroam-station");

/// One of each, in processes of their own; the stations are fast chargers in real time.
fn town() -> Processes {
    town_with(0, Pace::RealTime)
}

fn town_with(drivers: usize, pace: Pace) -> Processes {
    town_of(drivers, pace, 1)
}

fn town_of(drivers: usize, pace: Pace, validators: usize) -> Processes {
    let setup = Setup {
        drivers,
        emsps: 1,
        cpos: 1,
        stations: 1,
        events: 0,
        seed: Seed(11),
        mode: Mode::Default,
        issuer_keys: Some(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/contract")),
        data: None,
        served: false,
        processes: None,
    };
    let programs = Programs { eroam: PROGRAM.into(), station: Some(STATION_PROGRAM.into()), validators };
    Processes::start_at(&setup, &programs, pace, &mut |_| {}).unwrap()
}

/// A driver in this process.
struct Driver {
    wallet: Wallet,
    _directory: tempfile::TempDir,
}

impl Driver {
    fn new(town: &Processes) -> Self {
        let node = RemoteNode::connect(&town.nodes[0].ready.url, None).unwrap();
        let trust = Trust::from_genesis(node.genesis()).unwrap();
        let catalogue = Arc::new(Catalogue::new(&town.nodes[0].ready.url, trust));
        let directory = tempfile::tempdir().unwrap();
        let tails = Arc::new(TailsCache::open(directory.path(), 64 << 20).unwrap());
        Self { wallet: Wallet::new(catalogue, tails, Mode::Default).unwrap(), _directory: directory }
    }

    fn enrol(&mut self, town: &Processes) -> ContractId {
        self.wallet.enrol(&town.providers[0].ready.url, &fields(0)).unwrap()
    }

    fn withdraw(&mut self, contract: &ContractId) {
        self.wallet.withdraw(contract, 2, eroam::clock::now().utc_day()).unwrap();
    }

    /// Charges at the first station, and agrees to everything.
    fn charge(&mut self, town: &Processes, contract: &ContractId, wh: u64) -> Result<Receipt, ChargingError> {
        let invitation = Invitation::from_url(&town.stations[0].ready.invitation).unwrap();
        self.charge_at(&invitation, contract, wh, &mut |_: &Consent| true)
    }

    fn charge_at(
        &mut self,
        station: &Invitation,
        contract: &ContractId,
        wh: u64,
        attendant: &mut dyn Attendant,
    ) -> Result<Receipt, ChargingError> {
        let allowed = Money::new(40_000_000, currency());
        self.wallet.charge(contract, station, limits(wh), allowed, attendant, &mut Timings::default())
    }
}

/// Says how far it is, and stops when the other end is gone.
struct Watching {
    tells: Sender<WattHours>,
    stop: Receiver<()>,
}

impl Attendant for Watching {
    fn agrees(&mut self, _: &Consent) -> bool {
        true
    }

    fn started(&mut self, _: &Started) {
        let _ = self.tells.send(WattHours::ZERO);
    }

    fn progress(&mut self, progress: &Progress) {
        let _ = self.tells.send(progress.energy);
    }

    fn wants_stop(&mut self) -> bool {
        matches!(self.stop.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected))
    }
}

fn limits(wh: u64) -> ChargeLimits {
    ChargeLimits { energy_max: WattHours::from_wh(wh), ..ChargeLimits::default() }
}

/// Charges in a thread; hears how far it is. Dropping the sender stops it.
#[allow(clippy::type_complexity, reason = "one use")]
fn charging(
    town: &Processes,
    mut driver: Driver,
    contract: ContractId,
    wh: u64,
) -> (Receiver<WattHours>, Sender<()>, std::thread::JoinHandle<(Driver, bool)>) {
    let invitation = Invitation::from_url(&town.stations[0].ready.invitation).unwrap();
    let ((tells, told), (stops, stop)) = (channel(), channel());
    let thread = std::thread::spawn(move || {
        let charged = driver.charge_at(&invitation, &contract, wh, &mut Watching { tells, stop });
        (driver, charged.is_ok())
    });
    (told, stops, thread)
}

#[test]
fn a_provider_killed_after_enrolment_and_a_station_killed_in_mid_charge_bill_once() {
    let mut town = town();
    let mut driver = Driver::new(&town);
    let contract = driver.enrol(&town);
    let url = town.providers[0].ready.url.clone();
    town.providers[0].kill().unwrap();
    town.providers[0].restart().unwrap();
    assert_eq!(town.providers[0].ready.url, url, "others have its address");
    // Over the connection that was made before.
    driver.withdraw(&contract);

    // The wallet goes on waiting for a station that has forgotten it; nobody waits for the wallet.
    let (told, _stops, _) = charging(&town, driver, contract, 400);
    let before = told.iter().find(|energy| *energy > WattHours::ZERO).expect("power");
    town.stations[0].kill().unwrap();
    let invitation = town.stations[0].ready.invitation.clone();
    town.stations[0].restart().unwrap();
    assert_eq!(town.stations[0].ready.invitation, invitation, "it is printed on the post");
    assert_eq!(town.settle(1).unwrap(), (1, 1));
    // Whoever is killed now has nothing left to forget, and nobody bills again.
    town.stations[0].kill().unwrap();
    let node = town.nodes[0].ready.url.clone();
    town.nodes[0].kill().unwrap();
    town.operators[0].kill().unwrap();
    town.providers[0].kill().unwrap();
    town.nodes[0].restart().unwrap();
    assert_eq!(town.nodes[0].ready.url, node);
    town.operators[0].restart().unwrap();
    town.providers[0].restart().unwrap();
    town.stations[0].restart().unwrap();
    assert!(town.accounted().unwrap());
    assert_eq!(town.settle(1).unwrap(), (1, 1));
    let today = eroam_domain::time::LocalClock::UTC.at(eroam::clock::now()).date;
    let month = today.to_string()[..7].parse().unwrap();
    let bill = ProviderCommand::Bill { contract, month };
    let bill: Vec<BilledCharge> = town.providers[0].command(&bill).unwrap();
    assert_eq!(bill.len(), 1);
    assert!(bill[0].energy > before, "it went on after the power cut: {bill:?}");
}

#[test]
fn an_operator_that_was_away_for_a_day_gets_what_the_station_kept() {
    let mut town = town();
    let mut driver = Driver::new(&town);
    let contract = driver.enrol(&town);
    driver.withdraw(&contract);
    let (told, _stops, thread) = charging(&town, driver, contract, 150);
    told.recv().expect("power");
    town.operators[0].kill().unwrap();
    let (driver, is_charged) = thread.join().unwrap();
    assert!(is_charged, "who has power goes on without the operator");
    // The station's program ends, too, in the meantime: what it owes is on its disk. It needs no network to begin again.
    town.stations[0].kill().unwrap();
    town.nodes[0].kill().unwrap();
    town.leave_out(DurationMs::from_millis(86_400_000)).unwrap();
    town.stations[0].restart().unwrap();
    let status: StationStatus = town.stations[0].command(&StationProgramCommand::Status).unwrap();
    assert_eq!((status.accounts_waiting, status.fault), (1, None));
    town.nodes[0].restart().unwrap();
    town.operators[0].restart().unwrap();
    town.stations[0].kill().unwrap();
    town.stations[0].restart().unwrap();
    assert_eq!(town.settle(1).unwrap(), (1, 1));
    drop(driver);
}

#[test]
fn a_registration_that_staff_decides_on_waits_and_is_told_of_the_decision() {
    let mut town = town();
    let config = town.providers[0].config.clone();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("approval = \"automatic\"", "approval = \"staff\"")).unwrap();
    town.providers[0].kill().unwrap();
    town.providers[0].restart().unwrap();
    let url = town.providers[0].ready.url.clone();
    let [mut ana, mut ben] = [(); 2].map(|()| Driver::new(&town));
    let signed = b"%PDF-1.7 signed on paper";
    let attached = AttachedContract::of(signed).unwrap();
    let enrol = |driver: &mut Driver, number| {
        // One of them brings a contract that was signed elsewhere.
        let attached = (number == 1).then(|| attached.clone());
        driver.wallet.enrol_with(&url, &fields(number), attached)
    };
    let refused = |driver: &mut Driver, number| enrol(driver, number).map(drop).unwrap_err().to_string();
    let waits = refused(&mut ana, 1);
    refused(&mut ben, 2);
    let waiting: Vec<ListedCustomer> = town.providers[0].command(&ProviderCommand::Registrations).unwrap();
    assert_eq!(waiting.len(), 2);
    assert_eq!(
        waits,
        format!(
            "your registration {} waits for somebody to look at it: enrol again later with the same fields",
            waiting[0].contract
        )
    );
    assert_eq!([waiting[0].attached, waiting[1].attached], [Some(attached.sha256), None]);
    town.providers[0].kill().unwrap();
    let config = config.to_str().unwrap();
    let [first, second] = [0, 1].map(|place| waiting[place].contract.to_string());
    // The provider has the file, sealed on the disk, and staff gets it, whether the program runs or not.
    let state = Path::new(config).parent().unwrap();
    assert!(!holds(state, signed) && !holds(state, b"JVBERi0xLjcg"), "{}", state.display());
    let out = state.join("signed.pdf");
    let write = ["provider", "attached", &first, "--out", out.to_str().unwrap(), "--config", config];
    let (is_done, text) = eroam(&write);
    assert!(is_done && text.contains(&attached.sha256.to_string()), "{text}");
    assert_eq!(std::fs::read(&out).unwrap(), signed);
    let (is_done, text) = eroam(&write);
    assert!(!is_done && text.contains("name a file that is not there yet"), "{text}");
    let other = state.join("other.pdf");
    let (is_done, text) =
        eroam(&["provider", "attached", &second, "--out", other.to_str().unwrap(), "--config", config]);
    assert!(
        !is_done && text.contains(&format!("nothing was attached to {second}")) && !other.exists(),
        "{text}"
    );
    let (is_done, text) = eroam(&["provider", "accept", &first, "--config", config]);
    assert!(is_done, "{text}");
    town.providers[0].restart().unwrap();
    let (is_done, text) =
        eroam(&["provider", "attached", &first, "--out", other.to_str().unwrap(), "--config", config]);
    assert!(is_done && std::fs::read(&other).unwrap() == signed, "{text}");
    let why = "the account is not yours";
    let (is_done, text) = eroam(&["provider", "reject", &second, "--reason", why, "--config", config]);
    assert!(is_done && text.contains(why), "{text}");
    // Who was decided on cannot be decided on otherwise.
    assert!(!eroam(&["provider", "reject", &first, "--reason", why, "--config", config]).0);
    assert_eq!(enrol(&mut ana, 1).unwrap().to_string(), first);
    assert_eq!(refused(&mut ben, 2), format!("your registration was rejected: {why}"));
}

/// Whether a file below a directory has these bytes in it.
fn holds(directory: &Path, bytes: &[u8]) -> bool {
    let mut entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries.any(|entry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => holds(&entry.path(), bytes),
        kind if kind.is_file() => {
            let content = std::fs::read(entry.path()).unwrap();
            content.windows(bytes.len()).any(|window| window == bytes)
        }
        _ => false,
    })
}

/// Kills a program and starts it again until it is told to end, each time after it has answered some commands more.
fn kill_again_and_again<R: DeserializeOwned + Send>(
    mut program: Program<R>,
    command: &(impl Serialize + Sync),
    ends: &AtomicBool,
) -> (Program<R>, u32) {
    let mut kills = 0;
    while !ends.load(Ordering::Acquire) {
        for _ in 0..(kills * 977 + 311) % 6_000 {
            program.command::<Value>(command).unwrap();
        }
        program.kill().unwrap();
        program.restart().unwrap();
        kills += 1;
    }
    (program, kills)
}

#[test]
fn whoever_is_killed_meanwhile_every_charge_that_a_driver_has_the_end_of_is_billed_once() {
    let mut town = town_with(1, Pace::AtOnce);
    let (operator, provider) = (town.operators.remove(0), town.providers.remove(0));
    let ends = AtomicBool::new(false);
    let (mut charged, mut kills) = (0, 0);
    let (mut tries, mut refused) = (0, Vec::new());
    std::thread::scope(|scope| {
        let operators = scope.spawn(|| kill_again_and_again(operator, &OperatorCommand::Records, &ends));
        let providers = scope.spawn(|| kill_again_and_again(provider, &ProviderCommand::Bills, &ends));
        while charged < 4 && tries < 10 {
            tries += 1;
            match town.charge_at(0, 0) {
                Ok(_) => charged += 1,
                Err(error) => refused.push(error),
            }
        }
        ends.store(true, Ordering::Release);
        let (program, killed) = operators.join().unwrap();
        town.operators.push(program);
        kills += killed;
        let (program, killed) = providers.join().unwrap();
        town.providers.push(program);
        kills += killed;
    });
    eprintln!("{charged} of {tries} tries charged, {kills} kills; refused: {refused:?}");
    assert!(kills > 2, "{kills}");
    assert!(charged > 0, "{refused:?}");
    // A station tries again after a while, or when it is switched on.
    town.stations[0].kill().unwrap();
    town.stations[0].restart().unwrap();
    assert!(town.accounted().unwrap());
    let (records, bills) = town.settle(charged).unwrap();
    assert_eq!(records, bills);
    // What a driver has not heard the end of may have been charged all the same.
    assert!((charged..=tries).contains(&bills), "{charged} of {tries} tries charged, {bills} billed");
}

fn eroam(arguments: &[&str]) -> (bool, String) {
    run(PROGRAM, arguments)
}

fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn staff_lists_and_revokes_whether_the_program_runs_or_not() {
    let mut town = town();
    let mut driver = Driver::new(&town);
    let contract = driver.enrol(&town);
    driver.withdraw(&contract);
    let customers: Vec<ListedCustomer> = town.providers[0].command(&ProviderCommand::Registrations).unwrap();
    assert_eq!(customers.len(), 1);
    let config = town.providers[0].config.to_str().unwrap().to_owned();
    let (is_done, text) = eroam(&["provider", "credentials", "--config", &config]);
    assert!(is_done && text.contains(&contract.to_string()) && text.contains("credential 1"), "{text}");

    // A mandate for what nobody has published is refused, and the list says that there is none.
    let schema = format!("did:eroam:{:016x}:{:032x}/anoncreds/v1/schema/contract/1.0", 1, 2);
    let mandate = |doing: &str, more: &[&str]| {
        let with = [&["provider", "mandate", doing][..], more, &["--config", &config]].concat();
        eroam(&with)
    };
    let (is_done, text) = mandate("list", &[]);
    assert!(is_done && !text.contains(&schema), "{text}");
    let (is_done, text) = mandate("grant", &["PT-ZZZ", "--schema", &schema, "--until", "2999-12-31"]);
    assert!(!is_done && text.contains("PT-ZZZ is no member of this network"), "{text}");
    let (is_done, text) = mandate("list", &[]);
    assert!(is_done && text.contains(&format!("PT-ZZZ  {schema}  none on the ledger")), "{text}");

    // Nobody runs: the same command does it by itself.
    town.providers[0].kill().unwrap();
    let (is_done, text) = mandate("revoke", &["PT-ZZZ", "--schema", &schema]);
    assert!(!is_done && text.contains("has no mandate for"), "{text}");
    let contract_text = contract.to_string();
    let (is_done, text) =
        eroam(&["provider", "revoke", &contract_text, "--reason", "moved away", "--config", &config]);
    assert!(is_done && text.contains("moved away"), "{text}");
    town.providers[0].restart().unwrap();
    let customers: Vec<ListedCustomer> = town.providers[0].command(&ProviderCommand::Credentials).unwrap();
    assert_eq!(customers[0].revoked.as_deref(), Some("moved away"));
    let unknown = eroam(&["provider", "block", "PT-E01-C00000099", "--config", &config]);
    assert!(!unknown.0 && unknown.1.contains("there is no such contract"), "{unknown:?}");

    let config = town.operators[0].config.to_str().unwrap().to_owned();
    let evse = town.stations[0].ready.claims.evse.to_string();
    let (is_done, text) = eroam(&["operator", "invite", &evse, "--config", &config]);
    assert!(!is_done && text.contains("has registered and has its key"), "{text}");
    let (is_done, text) = eroam(&["operator", "invite", "PT*O01*E99999", "--config", &config]);
    assert!(!is_done && text.contains("no station PT*O01*E99999 is entered"), "{text}");
    let (is_done, text) = eroam(&["operator", "revoke", &evse, "--reason", "stolen", "--config", &config]);
    assert!(is_done && text.contains("stolen"), "{text}");
    town.operators[0].kill().unwrap();
    town.operators[0].restart().unwrap();
    let stations: Vec<RegisteredStation> = town.operators[0].command(&OperatorCommand::Stations).unwrap();
    assert_eq!(stations[0].revoked.as_deref(), Some("stolen"));
    let refused = driver.charge(&town, &contract, 100).map(drop).unwrap_err().to_string();
    assert_eq!(refused, "the operator has revoked this station: do not charge here");
}

#[test]
fn a_provider_blocks_the_vouchers_of_a_wallet_that_was_lost_and_the_contract_goes_on() {
    let town = town();
    let mut driver = Driver::new(&town);
    let contract = driver.enrol(&town);
    driver.withdraw(&contract);
    let config = town.providers[0].config.to_str().unwrap();
    let (is_done, text) = eroam(&["provider", "block", &contract.to_string(), "--config", config]);
    assert_eq!((is_done, text), (true, format!("blocked {contract}\n")));
    let refused = driver.charge(&town, &contract, 50).map(drop).unwrap_err().to_string();
    assert!(refused.contains("voucher"), "{refused}");
    // Its other voucher is blocked, too; those that it gets from now on are good.
    driver.charge(&town, &contract, 50).map(drop).unwrap_err();
    driver.withdraw(&contract);
    driver.charge(&town, &contract, 50).unwrap();
    assert_eq!(town.settle(1).unwrap(), (1, 1));
}

#[test]
fn a_provider_revokes_the_key_of_its_vouchers_and_signs_with_another() {
    let mut town = town();
    let mut driver = Driver::new(&town);
    let contract = driver.enrol(&town);
    driver.withdraw(&contract);
    let config = town.providers[0].config.to_str().unwrap().to_owned();
    let revoke =
        || eroam(&["provider", "revoke-voucher-key", "--reason", "a lost backup", "--config", &config]);
    let (is_done, said) = revoke();
    assert!(is_done && said.contains("a lost backup"), "{said}");
    let refused = driver.charge(&town, &contract, 50).map(drop).unwrap_err().to_string();
    assert_eq!(refused, "your provider has withdrawn the voucher with others: renew your vouchers");
    // The others of that key are not tried one after the other.
    assert_eq!(driver.wallet.contracts[&contract].purse.vouchers().count(), 0);
    driver.withdraw(&contract);
    driver.charge(&town, &contract, 50).unwrap();
    // The same by a program of its own; the next start knows the newest key.
    town.providers[0].kill().unwrap();
    let (is_done, said) = revoke();
    assert!(is_done, "{said}");
    town.providers[0].restart().unwrap();
    driver.charge(&town, &contract, 50).map(drop).unwrap_err();
    driver.withdraw(&contract);
    driver.charge(&town, &contract, 50).unwrap();
    assert_eq!(town.settle(2).unwrap(), (2, 2));
}

#[test]
fn a_station_with_a_fault_is_out_of_service_until_staff_says_what_was_done() {
    let mut town = town();
    let mut driver = Driver::new(&town);
    let contract = driver.enrol(&town);
    driver.withdraw(&contract);
    let config = town.stations[0].config.clone();
    let repair = |reason: &str| {
        run(STATION_PROGRAM, &["repair", "--reason", reason, "--config", config.to_str().unwrap()])
    };
    let stands = |town: &Processes| -> StationStatus {
        town.stations[0].command(&StationProgramCommand::Status).unwrap()
    };
    let (is_done, said) = repair("looked at it");
    assert!(!is_done && said.contains("nothing is wrong with the station"), "{said}");

    // A sensor that shows four times what flows: more than the vehicle was offered.
    let correction = config.with_file_name("correction.json");
    std::fs::write(&correction, Calibration { gain: 4.0, offset_a: 0.0 }.to_json().unwrap()).unwrap();
    let right = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("calibration_file = \"correction.json\"\n{right}")).unwrap();
    town.stations[0].kill().unwrap();
    town.stations[0].restart().unwrap();
    let (told, _stops, thread) = charging(&town, driver, contract, 5_000);
    told.recv().expect("power");
    let (said_while_charging, reason) = (repair("in a hurry"), "a new sensor");
    assert!(!said_while_charging.0 && said_while_charging.1.contains("somebody is charging"));
    let (mut driver, is_charged) = thread.join().unwrap();
    assert!(is_charged, "the driver has the end of it, with what the meter signed");
    let fault = stands(&town).fault.expect("a fault");
    assert_eq!(fault, "the vehicle takes more current than it was offered");

    // With a right sensor it is out of service all the same, also after a power cut.
    std::fs::write(&config, right).unwrap();
    town.stations[0].kill().unwrap();
    town.stations[0].restart().unwrap();
    let refused = driver.charge(&town, &contract, 50).map(drop).unwrap_err().to_string();
    assert_eq!(refused, "the station has a fault: take another one");
    let (is_done, said) = repair(" ");
    assert!(!is_done && said.contains("say what was done"), "{said}");
    let (is_done, said) = repair(reason);
    assert!(is_done && said.contains(&fault) && said.contains(reason), "{said}");
    let repaired = stands(&town);
    let last = repaired.last_repair.expect("it is remembered");
    assert_eq!((repaired.fault, last.fault.as_str(), last.reason.as_str()), (None, fault.as_str(), reason));
    assert!(!repair(reason).0, "once");
    driver.charge(&town, &contract, 50).unwrap();
    assert_eq!(town.settle(2).unwrap(), (2, 2));
    // A power cut does not bring the fault back.
    town.stations[0].kill().unwrap();
    town.stations[0].restart().unwrap();
    assert_eq!(stands(&town).fault, None);
    town.stations[0].kill().unwrap();
    let (is_done, said) = repair(reason);
    assert!(!is_done && said.contains("no program runs"), "{said}");
}

/// `eroam wallet` with a wallet of its own.
struct WalletProgram {
    path: PathBuf,
}

impl WalletProgram {
    /// One that is enrolled.
    fn enrolled(town: &Processes) -> Self {
        let root = town.stations[0].config.parent().unwrap();
        let wallet = Self { path: root.join("ana/wallet") };
        let genesis = root.join("genesis.json");
        wallet.run(&["init", "--resolver", &town.nodes[0].ready.url, "--genesis", genesis.to_str().unwrap()]);
        let mut words = vec!["enrol", &town.providers[0].ready.url, "--yes"];
        for field in ["name=Ana", "email=ana@example.org", "iban=GB29NWBK60161331926819", "tier=gold"] {
            words.extend(["--field", field]);
        }
        wallet.run(&words);
        wallet
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("wallet").args(words).arg("--json").arg("--wallet").arg(&self.path);
        command.env("EROAM_WALLET_PASSPHRASE", "correct horse").stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Value {
        let output = self.command(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// Starts a command that charges; waits until it says how far the charge is.
    fn charges(&self, words: &[&str]) -> Child {
        let mut charging = self.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(charging.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(said.any(|line| line.contains(" kWh ")), "it ended before power was on");
        // It goes on writing there.
        std::thread::spawn(move || said.for_each(drop));
        charging
    }
}

fn ended(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_station_that_was_killed_in_mid_charge_knows_its_driver_again() {
    let mut town = town();
    let wallet = WalletProgram::enrolled(&town);
    let post = town.stations[0].ready.invitation.clone();
    let charging = wallet.charges(&["charge", &post, "--yes"]);
    town.stations[0].kill().unwrap();
    ended(charging);
    town.stations[0].restart().unwrap();
    // It goes on, the driver hears of it, and stops it.
    let resumed = wallet.charges(&["charge", "--resume"]);
    assert_eq!(wallet.run(&["stop"])["stopping"], true);
    let output = resumed.wait_with_output().unwrap();
    assert!(output.status.success());
    let receipt: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(receipt["progress"]["finished"]["reason"], "stopped_by_driver");
    assert_eq!(town.settle(1).unwrap(), (1, 1));

    // One that ended while the wallet was away, after which the station was switched off.
    ended(wallet.charges(&["charge", &post, "--yes", "--energy", "0.3"]));
    assert_eq!(town.settle(2).unwrap(), (2, 2));
    town.stations[0].kill().unwrap();
    town.stations[0].restart().unwrap();
    let receipt = wallet.run(&["charge", "--resume"]);
    assert_eq!(receipt["progress"]["finished"]["reason"], "energy_reached");
}

/// On the small computer in a post, memory is what there is least of.
#[cfg(target_os = "linux")]
#[test]
fn a_station_that_charges_has_at_most_forty_mebibytes() {
    let town = town();
    let mut driver = Driver::new(&town);
    let contract = driver.enrol(&town);
    driver.withdraw(&contract);
    let (told, stops, thread) = charging(&town, driver, contract, 5_000);
    told.iter().find(|energy| *energy > WattHours::ZERO).expect("power");
    let mib = resident_memory_mib(town.stations[0].id()).expect("a process");
    assert!(mib > 1.0 && mib <= 40.0, "{mib} MiB");
    drop(stops);
    assert!(thread.join().unwrap().1);
}

#[test]
fn a_station_that_is_told_to_stop_in_mid_charge_ends_the_charge_and_bills_it() {
    let mut town = town();
    let mut driver = Driver::new(&town);
    let contract = driver.enrol(&town);
    driver.withdraw(&contract);
    let (told, _stops, thread) = charging(&town, driver, contract, 5_000);
    told.iter().find(|energy| *energy > WattHours::ZERO).expect("power");
    terminate(town.stations[0].id());
    assert!(town.stations[0].ended_well().unwrap());
    assert!(thread.join().unwrap().1, "the driver is told that it is over");
    town.stations[0].restart().unwrap();
    assert!(town.accounted().unwrap());
    assert_eq!(town.settle(1).unwrap(), (1, 1));
}

fn terminate(id: u32) {
    assert!(Command::new("kill").args(["-TERM", &id.to_string()]).status().unwrap().success());
}

#[test]
fn every_program_ends_by_itself_when_it_is_told_to() {
    let mut town = town();
    terminate(town.stations[0].id());
    assert!(town.stations[0].ended_well().unwrap());
    terminate(town.providers[0].id());
    assert!(town.providers[0].ended_well().unwrap());
    terminate(town.operators[0].id());
    assert!(town.operators[0].ended_well().unwrap());
    terminate(town.nodes[0].id());
    assert!(town.nodes[0].ended_well().unwrap());
}

/// What the program's command said, as JSON, with its exit code.
fn eroam_json(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(PROGRAM).args(arguments).arg("--json").output().unwrap();
    let said = serde_json::from_slice(&output.stdout);
    let said = said.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), said)
}

#[test]
fn second_meters_are_imported_row_by_row_and_partners_listings_are_counted() {
    let mut town = town();
    let mut driver = Driver::new(&town);
    let contract = driver.enrol(&town);
    driver.withdraw(&contract);
    let (_told, _stops, thread) = charging(&town, driver, contract, 300);
    assert!(thread.join().unwrap().1);
    assert_eq!(town.settle(1).unwrap(), (1, 1));
    let today = eroam_domain::time::LocalClock::UTC.at(eroam::clock::now()).date;
    let month = today.to_string()[..7].parse().unwrap();
    let bill: Vec<BilledCharge> =
        town.providers[0].command(&ProviderCommand::Bill { contract, month }).unwrap();
    let BilledCharge { operator, cdr, energy, .. } = &bill[0];
    let config = town.providers[0].config.to_str().unwrap().to_owned();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("meters.csv");
    let import = |rows: &str| {
        std::fs::write(&file, format!("operator,record,kind,energy_wh\n{rows}")).unwrap();
        eroam_json(&["provider", "second-meter", "import", file.to_str().unwrap(), "--config", &config])
    };
    // What the station's own meter counted is within what two meters may differ by.
    let wh = energy.milli_wh() / 1_000;
    let (code, said) = import(&format!("{operator},{cdr},attested,{wh}\n"));
    assert_eq!((code, &said["compared"][0]["result"]["result"]), (Some(0), &"agrees".into()), "{said}");
    let below = format!("{operator},{cdr},attested,0\nhere,{cdr},attested,0\n{operator},X9,vehicle,1\n");
    for (turn, case) in ["waiting", "contested"].iter().enumerate() {
        let (code, said) = import(&below);
        assert_eq!(code, Some(3), "used in part: {said}");
        assert_eq!(said["compared"][0]["result"]["result"], "above", "{said}");
        // It is contested before the second time.
        if turn == 1 {
            assert_eq!(said["compared"][0]["result"]["case"], *case, "{said}");
        }
        assert_eq!(said["compared"][1]["result"]["result"], "unknown_record");
        assert_eq!(
            (&said["bad_rows"][0]["line"], said["bad_rows"].as_array().unwrap().len()),
            (&3.into(), 1)
        );
    }
    let node = RemoteNode::connect(&town.nodes[0].ready.url, None).unwrap();
    let booked = eroam_ledger::query::cdr(&node, *operator, cdr).unwrap().unwrap();
    assert!(matches!(booked.status, eroam_domain::cdr::CdrStatus::Contested { .. }), "{booked:?}");
    assert_eq!(town.settle(1).unwrap(), (1, 1), "nothing is dropped");

    // The operator's listing was read when the provider began, if it was there by then; it is there now.
    town.providers[0].kill().unwrap();
    town.providers[0].restart().unwrap();
    let seen = (0..2_000)
        .map(|_| town.providers[0].command::<Value>(&ProviderCommand::Partners).unwrap())
        .find(|seen| seen.as_array().is_some_and(|seen| !seen.is_empty()))
        .expect("the listing is read");
    assert_eq!(
        (&seen[0]["operator"], &seen[0]["charging_points"]),
        (&operator.to_string().into(), &1.into())
    );
    assert_eq!(seen[0]["uptime_bps"], 10_000);
    assert!(seen[0]["turned_away"].is_null() && seen[0]["unknown"]["turned_away"].is_string(), "{seen}");

    // Thresholds that cannot be meant stop it before it does anything.
    town.providers[0].kill().unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.contains("[anomalies]"), "{text}");
    std::fs::write(&config, text.replace("[anomalies]", "[anomalies]\ntime_tolerance_s = 9000")).unwrap();
    let (is_done, said) = eroam(&["provider", "run", "--config", &config]);
    assert!(!is_done && said.contains("time_tolerance_s = 9000 is not between 0 and 3600"), "{said}");
}

#[test]
fn a_contest_is_seen_checked_and_decided_by_commands() {
    let town = town();
    let mut driver = Driver::new(&town);
    let contract = driver.enrol(&town);
    driver.withdraw(&contract);
    driver.charge(&town, &contract, 50).unwrap();
    assert_eq!(town.settle(1).unwrap(), (1, 1));
    let today = eroam_domain::time::LocalClock::UTC.at(eroam::clock::now()).date;
    let month = today.to_string()[..7].parse().unwrap();
    let bill = || {
        let command = ProviderCommand::Bill { contract, month };
        town.providers[0].command::<Vec<BilledCharge>>(&command).unwrap()
    };
    let BilledCharge { operator, cdr, price, .. } = bill().remove(0);
    let (operator, record) = (operator.to_string(), cdr.to_string());
    let emsp = town.providers[0].ready.party.to_string();
    let providers = town.providers[0].config.to_str().unwrap();
    let operators = town.operators[0].config.to_str().unwrap();
    let node = town.nodes[0].ready.url.as_str();

    let reason = "the customer says that the cable gave no power";
    let contest = ["provider", "contest", &operator, &record, "--reason", reason, "--config", providers];
    assert_eq!(eroam_json(&contest).0, Some(0));
    let (is_done, said) = eroam(&contest);
    assert!(!is_done && said.contains("cannot be contested any more"), "{said}");

    // The operator hears of it, checks it, and its evidence arrives at the home utility.
    let list = ["operator", "contests", "--config", operators];
    let listed = (0..2_000)
        .map(|_| eroam_json(&list).1)
        .find(|listed| listed[0]["evidence_with"].as_array().is_some_and(|with| !with.is_empty()))
        .expect("it is confirmed");
    assert_eq!(
        (&listed[0]["reasons"][0], &listed[0]["evidence_with"][0]),
        (&reason.into(), &emsp.as_str().into())
    );
    assert_eq!(listed[0]["verdict"]["verdict"], "holds", "{listed}");
    let found = eroam_json(&["provider", "contests", "--config", providers]).1;
    assert_eq!((&found[0]["verdict"]["verdict"], &found[0]["case"]), (&"holds".into(), &"contested".into()));
    let text = eroam(&list);
    assert!(
        text.0 && text.1.contains("proof, voucher and readings hold; our evidence is with"),
        "{}",
        text.1
    );
    let again = eroam_json(&["operator", "recheck", &record, "--config", operators]);
    assert_eq!((again.0, &again.1["verdict"]), (Some(0), &"holds".into()));

    // Whoever has no program is given a file.
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let evidence = file("evidence.json");
    let out = ["provider", "evidence", &operator, &record, "--out", &evidence, "--config", providers];
    assert_eq!(eroam_json(&out).0, Some(0));
    let check = ["dispute", "check", &evidence, "--node", node];
    let (code, said) = eroam_json(&check);
    assert_eq!((code, &said["verdict"]["verdict"]), (Some(0), &"holds".into()), "{said}");
    let written = std::fs::read_to_string(&evidence).unwrap();
    std::fs::write(&evidence, written.replace("\"standard\\\"", "\"diamond\\\"")).unwrap();
    let (code, said) = eroam_json(&check);
    assert_eq!((code, &said["verdict"]["verdict"]), (Some(1), &"fails".into()), "{said}");

    let key = |party: &str| {
        let path = file(&format!("{party}.key"));
        let digits: String = Seed(11)
            .signing_key(party.parse().unwrap())
            .to_bytes()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        std::fs::write(&path, digits).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path
    };
    let resolve = |party: &str, how: &[&str]| {
        let key = key(party);
        let words = [
            "dispute",
            "resolve",
            &operator,
            &record,
            "--as",
            party,
            "--member-key-file",
            &key,
            "--node",
            node,
        ];
        eroam(&[&words[..], how].concat())
    };
    let (is_done, said) = resolve(&emsp, &["--uphold"]);
    assert!(!is_done && said.contains("is decided by PT-TRS"), "{said}");
    let (is_done, said) = resolve("PT-TRS", &["--give-back", "1000"]);
    assert!(!is_done && said.contains("the ledger refuses the decision"), "{said}");
    let (is_done, said) = resolve("PT-TRS", &["--give-back", "0.10"]);
    assert!(is_done && said.contains("given back"), "{said}");

    // The home utility's staff sees it, and the customer's bill has a credit.
    let found = eroam_json(&["provider", "contests", "--config", providers]).1;
    assert_eq!(found[0]["ledger"]["stands"]["stands"], "given_back", "{found}");
    let lines = bill();
    assert_eq!((lines.len(), lines[0].price), (2, price));
    assert_eq!(lines[1].cdr.to_string(), format!("{record}-C"));
    assert!(lines[1].price.incl_vat < 0 && -lines[1].price.incl_vat < price.incl_vat, "{lines:?}");
    assert_eq!(town.settled().unwrap(), (1, 1), "a credit is no charge");
}

/// Waits until the node has a block that the first one has, too, and no later one is there; their states.
fn states_at_one_height(town: &Processes, node: usize) -> (NodeStatus, NodeStatus) {
    loop {
        let of = |node: usize| town.nodes[node].command::<NodeStatus>(&NodeCommand::Status).unwrap();
        let (first, other) = (of(0), of(node));
        if first.height == other.height {
            return (first, other);
        }
    }
}

/// Home utility and operator have a node each; two more are nobody's. What one books, the other sees.
#[test]
fn four_nodes_settle_among_themselves_while_one_is_away() {
    let mut town = town_of(0, Pace::RealTime, 4);
    let mut driver = Driver::new(&town);
    let contract = driver.enrol(&town);
    driver.withdraw(&contract);
    driver.charge(&town, &contract, 50).unwrap();
    assert_eq!(town.settle(1).unwrap(), (1, 1));

    town.nodes[3].kill().unwrap();
    driver.charge(&town, &contract, 50).unwrap();
    assert_eq!(town.settle(2).unwrap(), (2, 2), "three of four are enough");
    town.nodes[3].restart().unwrap();
    let (first, other) = states_at_one_height(&town, 3);
    assert_eq!((first.state, first.network, first.validators), (other.state, other.network, 4));

    // The operator's own: its programs wait for it, and nothing is lost.
    driver.withdraw(&contract);
    let operators = town.nodes[1].ready.url.clone();
    town.nodes[1].kill().unwrap();
    driver.charge(&town, &contract, 50).map(drop).expect_err("no reserve, no power");
    town.nodes[1].restart().unwrap();
    assert_eq!(town.nodes[1].ready.url, operators);
    driver.withdraw(&contract);
    driver.charge(&town, &contract, 50).unwrap();
    assert_eq!(town.settle(3).unwrap(), (3, 3));
    let (first, other) = states_at_one_height(&town, 1);
    assert_eq!(first.state, other.state);
}
