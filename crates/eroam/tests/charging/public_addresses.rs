//! Agents that others reach elsewhere than where they listen: behind a proxy, or at a router that passes connections on.
//! Here that is a port of another address of the machine, which passes bytes on.

use super::stations::entered;
use super::town::{Town, charge};
use eroam::agent::reach::Reach;
use eroam::charging::post::{Pace, SimulatedPost};
use eroam::charging::state::AgentState;
use eroam::charging::station::{Mode, Station};
use eroam::charging::wallet::{Wallet, read_code};
use eroam::clock::now;
use eroam::simulate::world::{Driver, fields};
use eroam::tails_cache::TailsCache;
use eroam_domain::visit::StationClaims;
use eroam_station::journal::MemoryJournal;
use eroam_wire::ocmf::MeterKey;
use std::io::copy;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::spawn;

/// Passes connections on, to where it is told once that is known.
struct Forwarder {
    address: SocketAddr,
    to: Arc<OnceLock<SocketAddr>>,
    passed: Arc<AtomicUsize>,
}

impl Forwarder {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.2:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (to, passed) = (Arc::new(OnceLock::new()), Arc::new(AtomicUsize::new(0)));
        let (target, counted): (Arc<OnceLock<SocketAddr>>, _) = (Arc::clone(&to), Arc::clone(&passed));
        spawn(move || {
            for came in listener.incoming() {
                let came = came.unwrap();
                // Whoever connects before anybody listens behind it finds nobody.
                let Some(there) = target.get().and_then(|target| TcpStream::connect(target).ok()) else {
                    continue;
                };
                counted.fetch_add(1, Ordering::AcqRel);
                for (mut from, mut into) in [
                    (came.try_clone().unwrap(), there.try_clone().unwrap()),
                    (there.try_clone().unwrap(), came.try_clone().unwrap()),
                ] {
                    spawn(move || {
                        let _ = copy(&mut from, &mut into);
                        let _ = into.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Self { address, to, passed }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Of an agent that listens on `listen`, and of which others are told that it is here.
    fn reach(&self, listen: SocketAddr) -> Reach {
        Reach::new(listen, Some(&self.url())).unwrap()
    }

    fn passed(&self) -> usize {
        self.passed.load(Ordering::Acquire)
    }
}

/// A station of the town's first operator, behind a forwarder.
fn station(town: &Town, directory: &tempfile::TempDir, before: &Forwarder) -> Station {
    let claims = entered(town, "PT*O01*E00099");
    let (key, journal) = (MeterKey::from_bytes(&[9; 32]).unwrap(), Box::new(MemoryJournal::default()));
    let state = AgentState::in_memory();
    let post = SimulatedPost::new(claims.evse.clone(), key, 5, Pace::AtOnce, journal, state.clone()).unwrap();
    let claims = StationClaims { meter_key: post.meter_key().to_string(), ..claims };
    let operator = &town.world.operators()[0];
    let invitation = operator.invite(&claims.evse).unwrap();
    // It registers as soon as it listens, so where it listens is known before: at a port that was free a moment ago, of an
    // address that nothing else here uses.
    let listen = TcpListener::bind("127.0.0.3:0").unwrap().local_addr().unwrap();
    before.to.set(listen).unwrap();
    let station = Station::start(
        claims,
        &invitation,
        operator.did(),
        town.world.catalogue().unwrap(),
        Arc::new(TailsCache::open(directory.path().join("station"), 1 << 20).unwrap()),
        Mode::Default,
        Box::new(post),
        state,
        before.reach(listen),
    );
    station.unwrap()
}

#[test]
fn a_wallet_and_a_station_that_are_reached_elsewhere_than_they_listen_charge() {
    let mut town = Town::new(1, 1);
    let directory = tempfile::tempdir().unwrap();
    let [at_station, at_wallet] = [(); 2].map(|()| Forwarder::new());
    let station = station(&town, &directory, &at_station);
    let registered = at_station.passed();
    assert!(registered > 0, "the operator has answered the station where the station said that it is");

    let tails = TailsCache::open(directory.path().join("wallet"), 1 << 20).unwrap();
    let wallet = Wallet::new(Arc::new(town.world.catalogue().unwrap()), Arc::new(tails), Mode::Default);
    let mut wallet = wallet.unwrap().reached(&at_wallet.reach(([127, 0, 0, 1], 0).into())).unwrap();
    at_wallet.to.set(wallet.agent_address()).unwrap();
    let contract = wallet.enrol(town.world.provider_url(0).unwrap(), &fields(50)).unwrap();
    wallet.withdraw(&contract, 3, now().utc_day()).unwrap();
    let enrolled = at_wallet.passed();
    assert!(enrolled > 0, "the provider has answered the wallet where the wallet said that it is");

    // What is on the post leads there, too.
    let code = station.url();
    assert!(code.starts_with(&format!("{}?oob=", at_station.url())), "{code}");
    let invitation = read_code(&code).unwrap();
    let mut driver = Driver { wallet, contract };
    std::thread::scope(|scope| {
        scope.spawn(|| station.serve(drop));
        let charged = charge(&mut driver, &invitation);
        // Before it stops: what is not accounted for by then waits for its next start.
        let accounted = station.account_for_all();
        station.stop();
        charged.unwrap();
        accounted.unwrap();
    });
    assert!(at_wallet.passed() > enrolled && at_station.passed() > registered);
    assert_eq!(town.settled(), (1, 1));
}
