//! Who is registered as a station: whom its operator has invited, once.

use crate::stations::{Post, entered};
use crate::town::{Town, charge};
use eroam::charging::ChargingError;
use eroam::charging::operator::INVITED_FOR;
use eroam::charging::post::{Pace, SimulatedPost};
use eroam::charging::state::AgentState;
use eroam::charging::station::{Mode, Station};
use eroam::clock::leave_out;
use eroam::tails_cache::TailsCache;
use eroam_domain::ids::{EroamDid, EvseId};
use eroam_domain::quantity::DurationMs;
use eroam_domain::visit::StationClaims;
use eroam_station::journal::MemoryJournal;
use eroam_wire::ocmf::MeterKey;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

const EVSE: &str = "PT*O01*E00099";

fn registered(town: &Town, evse: &EvseId) -> usize {
    town.world.operators()[0].stations().iter().filter(|station| station.claims.evse == *evse).count()
}

#[test]
fn whoever_was_not_invited_does_not_register_first() {
    let town = Town::new(1, 1);
    let operator = &town.world.operators()[0];
    let claims = entered(&town, EVSE);
    let void = operator.invite(&claims.evse).unwrap();
    let other = operator.invite(&entered(&town, "PT*O01*E00098").evse).unwrap();
    let invitation = operator.invite(&claims.evse).unwrap();
    for (what, post) in [
        ("who knows where the operator is", Post::stranger(&town)),
        ("an invitation that another came in place of", Post::by(&void)),
        ("another station's invitation", Post::by(&other)),
    ] {
        let said = post.is_unknown(&post.registration(&claims, &post.key));
        let remedy = "put a new one into its configuration, `eroam operator invite PT*O01*E00099` makes it";
        assert!(said.contains(EVSE) && said.ends_with(remedy), "{what}: {said}");
        assert_eq!(registered(&town, &claims.evse), 0, "{what}");
    }
    // None of these used up the one that is out.
    let station = Post::by(&invitation);
    station.register(&claims);
    assert_eq!(registered(&town, &claims.evse), 1);
}

#[test]
fn an_invitation_is_for_one_key_which_may_come_back_with_it() {
    let town = Town::new(1, 1);
    let operator = &town.world.operators()[0];
    let claims = entered(&town, EVSE);
    let invitation = operator.invite(&claims.evse).unwrap();
    // As a URL in a configuration.
    let url = operator.url_of(&invitation);
    let station = Post::by(&eroam_ssi::protocol::out_of_band::Invitation::from_url(&url).unwrap());
    station.register(&claims);
    let second = Post::by(&invitation);
    let said = second.is_unknown(&second.registration(&claims, &second.key));
    assert!(said.contains("has a credential for other keys"), "{said}");
    // A station that did not hear the answer connects and registers again.
    let again = station.again_by(&invitation);
    again.register(&claims);
    let known = operator.stations().into_iter().find(|known| known.claims.evse == claims.evse).unwrap();
    assert_eq!(known.key, again.key.verifying_key());
    let refused = operator.invite(&claims.evse).unwrap_err();
    assert!(matches!(&refused, ChargingError::RegisteredBefore(evse) if *evse == claims.evse), "{refused}");
}

#[test]
fn an_invitation_ends_and_is_for_stations_that_are_entered() {
    let town = Town::new(1, 1);
    let operator = &town.world.operators()[0];
    let nobody: EvseId = "PT*O01*E00097".parse().unwrap();
    let refused = operator.invite(&nobody).unwrap_err();
    assert!(matches!(&refused, ChargingError::NotEntered(evse) if *evse == nobody), "{refused}");
    let claims = entered(&town, EVSE);
    let invitation = operator.invite(&claims.evse).unwrap();
    let lasts = u64::try_from(INVITED_FOR.as_millis()).unwrap();
    leave_out(DurationMs::from_millis(lasts + 1));
    let late = Post::by(&invitation);
    assert!(late.is_unknown(&late.registration(&claims, &late.key)).contains("or is over"));
    let station = Post::by(&operator.invite(&claims.evse).unwrap());
    station.register(&claims);
}

/// A station of a town's first operator as its program starts it.
struct Started {
    claims: StationClaims,
    state: AgentState,
    invitation: eroam_ssi::protocol::out_of_band::Invitation,
    directory: tempfile::TempDir,
}

impl Started {
    fn start(&self, town: &Town, mode: Mode) -> Result<Station, ChargingError> {
        let (key, journal) = (MeterKey::from_bytes(&[9; 32]).unwrap(), Box::new(MemoryJournal::default()));
        let (evse, state) = (self.claims.evse.clone(), self.state.clone());
        let post = SimulatedPost::new(evse, key, 5, Pace::AtOnce, journal, state).unwrap();
        let claims = StationClaims { meter_key: post.meter_key().to_string(), ..self.claims.clone() };
        let tails = TailsCache::open(self.directory.path().join("tails"), 64 << 20).unwrap();
        let did: EroamDid = town.world.operators()[0].did();
        let (catalogue, listen) =
            (town.world.catalogue().unwrap(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let (tails, state) = (Arc::new(tails), self.state.clone());
        Station::start(claims, &self.invitation, did, catalogue, tails, mode, Box::new(post), state, listen)
    }
}

/// It has its own credential from before drivers asked for paper B's: it registers again, with its key, and is given both.
#[test]
fn a_station_that_is_to_show_paper_bs_credential_from_now_on_is_given_it() {
    let mut town = Town::of_mode(1, 1, Mode::Paper);
    let claims = entered(&town, EVSE);
    let started = Started {
        state: AgentState::in_memory(),
        invitation: town.world.operators()[0].invite(&claims.evse).unwrap(),
        directory: tempfile::tempdir().unwrap(),
        claims,
    };
    let known = || {
        let stations = town.world.operators()[0].stations();
        stations
            .into_iter()
            .map(|station| (station.claims.evse, station.key, station.index))
            .collect::<Vec<_>>()
    };
    drop(started.start(&town, Mode::Default).unwrap());
    let first = known();
    drop(started.start(&town, Mode::Paper).unwrap());
    assert_eq!(first, known(), "it is the same station");
    // What it was given is kept: it starts without its operator, and drivers believe it.
    town.world.operators()[0].stop();
    let station = started.start(&town, Mode::Paper).unwrap();
    town.world.operators()[0].resume().unwrap();
    let invitation = station.invitation().clone();
    std::thread::scope(|scope| {
        scope.spawn(|| station.serve(drop));
        let charged = charge(&mut town.world.drivers[0], &invitation);
        station.stop();
        charged.unwrap();
    });
}
