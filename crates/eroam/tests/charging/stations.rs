//! Codes that lead nowhere, stations that are not genuine, and drivers who stand in each other's way.

use crate::town::{SEED, Town, charge, denied, refusal};
use eroam::agent::{Agent, new_id};
use eroam::charging::ChargingError;
use eroam::charging::local_time::clock_at;
use eroam::charging::operator::{STATION_VCT, station_issuer_key, station_issuer_service};
use eroam::charging::post::Mishap;
use eroam::charging::proving::{ask_proof, asked_proof, question};
use eroam::charging::station::{Outcome, SD_JWT, SD_JWT_REQUEST, StationDemand};
use eroam::charging::wallet::read_code;
use eroam::clock::{in_time, leave_out, now};
use eroam::registry::{Publisher, REGISTRY_LANE};
use eroam::simulate::world::Driver;
use eroam_domain::cdr::SessionId;
use eroam_domain::charge::{AllowedZones, Denial};
use eroam_domain::codec::ShortText;
use eroam_domain::ids::EroamDid;
use eroam_domain::quantity::DurationMs;
use eroam_domain::retail::Tier;
use eroam_domain::tariff::TariffId;
use eroam_domain::time::{LocalClock, TimeZoneName, UtcOffset};
use eroam_domain::visit::{ChargeLimits, QuoteRequest, ReserveRequest, ShownContract, StationClaims};
use eroam_gateway::gateway::Evse;
use eroam_gateway::sessions::{PayerOpening, Phase};
use eroam_ledger::registry::{DidDocument, DidRecord};
use eroam_ledger::state::StateKey;
use eroam_ledger::tx::PublicKey;
use eroam_ssi::didcomm::OsRng;
use eroam_ssi::protocol::Illegal;
use eroam_ssi::protocol::charging::PROTOCOL;
use eroam_ssi::protocol::did_exchange::Connection;
use eroam_ssi::protocol::out_of_band::Invitation;
use eroam_ssi::protocol::questions::{Question, STATION};
use eroam_ssi::protocol::station_registration::{StationCredential, StationRegistration};
use eroam_ssi::sd_jwt::{HeldSdJwt, IssueSdJwt, SigningKey, StatusReference, TrustedIssuer};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::time::Duration;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn agent(label: &str) -> Agent {
    Agent::start(label, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap().speaking(PROTOCOL)
}

/// So many days pass, and the driver withdraws vouchers for the day that it is then.
fn days_pass(town: &mut Town, days: u64) {
    leave_out(DurationMs::from_millis(days * 86_400_000));
    let Driver { wallet, contract } = &mut town.world.drivers[0];
    wallet.withdraw(contract, 2, now().utc_day()).unwrap();
}

#[test]
fn a_stations_credential_is_renewed_in_the_month_before_it_ends() {
    let mut town = Town::new(1, 1);
    // It is good for three years.
    days_pass(&mut town, 3 * 365 - 10);
    town.charge(0, 0).unwrap();
    assert!(matches!(town.outcome(0), Outcome::Charged { .. }));
    // It does so by itself after a visit; here it is waited for.
    town.world.stations()[0].station().look_after_credentials().unwrap();
    days_pass(&mut town, 20);
    town.world.operators()[0].stop();
    // It shows a good one without its operator; only then it needs that one.
    assert_eq!(refusal(town.charge(0, 0)), "the station cannot go on at the moment, try another one");
}

#[test]
fn a_station_whose_credential_is_over_gets_another_before_anybody_charges() {
    let mut town = Town::new(1, 1);
    days_pass(&mut town, 4 * 365);
    town.charge(0, 0).unwrap();
    assert!(matches!(town.outcome(0), Outcome::Charged { .. }));
    assert_eq!(town.settled(), (1, 1));
}

#[test]
fn nobody_waits_for_an_operator_that_does_not_answer_while_the_old_credential_is_good() {
    let town = Town::new(1, 1);
    // It ends in ten days.
    leave_out(DurationMs::from_millis((3 * 365 - 10) * 86_400_000));
    let (invitation, wallet) = (town.invitation(0), &town.world.drivers[0].wallet);
    let (station, operator) = (town.world.stations()[0].station(), &town.world.operators()[0]);
    let (hold, is_held) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        // Whatever it is asked, it answers when the gate is open.
        scope.spawn(move || {
            operator.office().with(|_, _| {
                hold.send(()).unwrap();
                let _ = gate.recv();
            });
        });
        is_held.recv().unwrap();
        let renewal = scope.spawn(|| station.look_after_credentials());
        // More drivers than it talks to at a time; the station is done with each.
        for _ in 0..20 {
            wallet.scan(&invitation).unwrap();
            assert_eq!(denied(town.outcome(0)), "the driver only wanted to see whose station this is");
        }
        drop(open);
        // It may have taken too long for that; then the next one brings another credential.
        let _ = renewal.join().unwrap();
    });
    station.look_after_credentials().unwrap();
    leave_out(DurationMs::from_millis(20 * 86_400_000));
    operator.stop();
    wallet.scan(&invitation).unwrap();
}

/// The first operator signs stations' credentials with another key from now on.
fn rotate(town: &Town) {
    let operator = &town.world.operators()[0];
    let (node, party) = (operator.office().client().clone(), operator.party());
    let publisher = Publisher::new(node, party, SEED.signing_key(party), REGISTRY_LANE).unwrap();
    let (first, issuing) = (SEED.did_key(party), SigningKey::generate(&mut OsRng));
    let services = vec![station_issuer_service(&issuing.verifying_key()).unwrap()];
    let document = DidDocument { keys: vec![PublicKey::of(&first)], services };
    publisher.publish_did(publisher.did_of(&first), document, &first).unwrap();
    operator.sign_with(issuing);
}

#[test]
fn a_station_whose_operator_signs_with_another_key_gets_a_credential_by_that_key() {
    let mut town = Town::new(1, 1);
    town.charge(0, 0).unwrap();
    assert!(matches!(town.outcome(0), Outcome::Charged { .. }));
    let old = credential(&town);
    for _ in 0..2 {
        rotate(&town);
        // It looks every minute by itself; here it is waited for.
        town.world.stations()[0].station().look_after_credentials().unwrap();
        // A wallet that knows the old key looks the new one up.
        town.charge(0, 0).unwrap();
        assert!(matches!(town.outcome(0), Outcome::Charged { .. }));
    }
    let said = charge_at(&mut town, |demand, audience| {
        old.present(&BTreeSet::new(), audience, &demand.nonce, now()).unwrap()
    });
    assert_eq!(said, "the station does not prove that it is genuine: do not charge here");
    // It is renewed by that key, too, also where the station has not looked since.
    rotate(&town);
    days_pass(&mut town, 4 * 365);
    town.charge(0, 0).unwrap();
    assert!(matches!(town.outcome(0), Outcome::Charged { .. }));
    assert_eq!(town.settled(), (4, 4));
}

#[test]
fn a_code_that_is_none_of_a_station_is_refused() {
    for code in [
        "",
        "hello",
        "https://example.org/menu",
        "https://example.org/?oob=bWVudQ",
        "https://example.org/?oob=eyJAdHlwZSI6Im1lbnUifQ",
        "WIFI:S:guests;T:WPA;P:secret;;",
    ] {
        let refused = read_code(code).expect_err(code).to_string();
        assert_eq!(refused, "this is no code of a charging station: scan the one on the post", "{code}");
    }
    let town = Town::new(1, 1);
    let read = read_code(&format!(" {}\n", town.world.stations()[0].station().url())).unwrap();
    assert_eq!(read, town.invitation(0));
}

#[test]
fn an_invitation_that_has_expired_is_refused() {
    let mut town = Town::new(1, 1);
    let old = agent("an old post");
    let (invitation, invited) = old.invite(now()).unwrap();
    let said = std::thread::scope(|scope| {
        scope.spawn(|| old.accept(&invitation, &invited, PATIENCE).unwrap_err());
        refusal(charge(&mut town.world.drivers[0], &invitation))
    });
    assert_eq!(
        said,
        "the station does not take this code, it may have expired: look for a newer one on the post"
    );
}

#[test]
fn a_station_that_is_switched_off_is_said_to_be_away() {
    let mut town = Town::new(1, 1);
    let gone = agent("a post without power");
    let (invitation, _) = gone.invite(in_time(PATIENCE)).unwrap();
    drop(gone);
    let said = refusal(charge(&mut town.world.drivers[0], &invitation));
    assert_eq!(said, "the station cannot be reached: take another one, or try again later");
}

#[test]
fn a_station_that_its_operator_has_revoked_is_refused_by_the_wallet() {
    let mut town = Town::new(1, 1);
    let evse = town.world.stations()[0].station().claims().evse.clone();
    town.world.operators()[0].revoke_station(&evse, "stolen").unwrap();
    let said = refusal(town.charge(0, 0));
    assert_eq!(said, "the operator has revoked this station: do not charge here");
}

/// Charges at somebody who shows `make(demand, audience)` for a station's credential.
pub(crate) fn charge_at(town: &mut Town, make: impl FnOnce(&StationDemand, &str) -> String + Send) -> String {
    let rogue = agent("a post");
    let (invitation, invited) = rogue.invite(in_time(PATIENCE)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let connection = rogue.accept(&invitation, &invited, PATIENCE).unwrap();
            let asked = asked_proof(&rogue, &connection, SD_JWT_REQUEST).unwrap();
            let demand: StationDemand = serde_json::from_slice(&asked.request).unwrap();
            let shown = make(&demand, &connection.channel().theirs.to_multikey());
            asked.show(&rogue, &connection, SD_JWT, shown.into_bytes()).unwrap();
            // Nobody is there who could serve: whoever believes it hears that nobody answers.
            rogue.close();
        });
        refusal(charge(&mut town.world.drivers[0], &invitation))
    })
}

#[test]
fn a_station_that_no_operator_of_the_network_vouches_for_is_refused() {
    let mut town = Town::new(1, 1);
    let claims = town.world.stations()[0].station().claims().clone();
    let network = town.world.catalogue().unwrap().network();
    let [issuing, key] = [(); 2].map(|()| SigningKey::generate(&mut OsRng));
    let did = EroamDid::derive(network, &[3; 32]).to_string();
    let said = charge_at(&mut town, |demand, audience| {
        let issued = IssueSdJwt {
            issuer: did.clone(),
            key_id: None,
            vct: STATION_VCT.to_owned(),
            issued_at: now(),
            not_before: None,
            expires_at: in_time(PATIENCE),
            holder: key.verifying_key(),
            status: Some(StatusReference { uri: "http://127.0.0.1:9/stations/status".to_owned(), index: 0 }),
            claims: serde_json::to_value(&claims).unwrap().as_object().unwrap().clone(),
            disclosable: BTreeSet::new(),
            decoys: 0,
        };
        let trusted = TrustedIssuer::new(did.clone(), issuing.verifying_key()).unwrap();
        let text = issued.sign(&issuing, &mut OsRng).unwrap();
        let held = HeldSdJwt::receive(&text, &trusted, key, now()).unwrap();
        held.present(&BTreeSet::new(), audience, &demand.nonce, now()).unwrap()
    });
    assert_eq!(said, "no operator of this network vouches for the station: do not charge here");
}

#[test]
fn a_post_that_passes_a_genuine_stations_credential_on_is_refused() {
    let mut town = Town::new(1, 1);
    let genuine = town.invitation(0);
    let said = charge_at(&mut town, |demand, _| {
        let between = agent("between");
        let connection = between.connect(&genuine, PATIENCE).unwrap();
        let asked = serde_json::to_vec(demand).unwrap();
        let awaited = ask_proof(&between, &connection, SD_JWT_REQUEST, asked).unwrap();
        String::from_utf8(awaited.shown(&between, &connection, SD_JWT).unwrap()).unwrap()
    });
    assert_eq!(said, "the station does not prove that it is genuine: do not charge here");
}

/// A post that is connected with an operator, and the key of its credential.
pub(crate) struct Post {
    agent: Agent,
    connection: Connection,
    pub(crate) key: SigningKey,
}

impl Post {
    /// That answers an invitation.
    pub(crate) fn by(invitation: &Invitation) -> Self {
        let agent = agent("a post").speaking(STATION);
        let connection = agent.connect(invitation, PATIENCE).unwrap();
        Self { agent, connection, key: SigningKey::generate(&mut OsRng) }
    }

    /// The same post, which answers an invitation once more.
    pub(crate) fn again_by(self, invitation: &Invitation) -> Self {
        Self { key: self.key, ..Self::by(invitation) }
    }

    /// Of a station of the first operator, which has entered and invited it.
    fn invited(town: &Town, evse: &str) -> (Self, StationClaims) {
        let claims = entered(town, evse);
        (Self::by(&town.world.operators()[0].invite(&claims.evse).unwrap()), claims)
    }

    /// Of somebody who knows where the first operator is and was not invited.
    pub(crate) fn stranger(town: &Town) -> Self {
        let elsewhere = entered(town, "PT*O01*E00090").evse;
        Self::by(&town.world.operators()[0].invite(&elsewhere).unwrap().under(new_id()))
    }

    /// Its registration, signed with a key.
    pub(crate) fn registration(&self, claims: &StationClaims, key: &SigningKey) -> StationRegistration {
        let (invitation, _) = self.agent.invite(in_time(PATIENCE)).unwrap();
        let (url, channel) = (invitation.to_url(self.agent.endpoint()), self.connection.channel());
        StationRegistration::sign(claims.clone(), url, key, &channel.ours, &channel.theirs)
    }

    pub(crate) fn register(&self, claims: &StationClaims) -> StationCredential {
        self.ask(&self.registration(claims, &self.key)).unwrap()
    }

    fn ask<Q: Question>(&self, asked: &Q) -> Result<Q::Answer, ChargingError> {
        question(&self.agent, &self.connection, asked)
    }

    /// Asks, and is told that it is no station.
    pub(crate) fn is_unknown<Q: Question<Answer: std::fmt::Debug>>(&self, asked: &Q) -> String {
        match self.ask(asked) {
            Err(ChargingError::Denied(denied)) if denied.denial == Denial::UnknownStation => denied.reason,
            other => panic!("{other:?}"),
        }
    }
}

/// Enters a station of the first operator: what it may say of itself.
pub(crate) fn entered(town: &Town, evse: &str) -> StationClaims {
    let operator = &town.world.operators()[0];
    let claims = town.world.stations()[0].station().claims().clone();
    let claims = StationClaims { evse: evse.parse().unwrap(), ..claims };
    let evse = Evse {
        id: claims.evse.clone(),
        place: ShortText::new(&claims.place).unwrap(),
        zone: claims.zone.clone(),
        tariff: TariffId::new("AC").unwrap(),
        power: claims.power,
    };
    let time_zone = claims.time_zone.clone().unwrap();
    operator.enter(evse, time_zone);
    claims
}

/// A station of the first operator that is no more than its credential.
pub(crate) fn credential(town: &Town) -> HeldSdJwt {
    let party = town.world.operators()[0].party();
    let (post, claims) = Post::invited(town, "PT*O01*E00099");
    let given = post.register(&claims);
    let key = post.key;
    let catalogue = town.world.catalogue().unwrap();
    let did = EroamDid::derive(catalogue.network(), SEED.did_key(party).verifying_key().as_bytes());
    let record: DidRecord = catalogue.entry(&StateKey::Did(did), "the operator").unwrap();
    let issuing = station_issuer_key(&record.document.services).unwrap();
    let trusted = TrustedIssuer::new(did.to_string(), issuing).unwrap();
    HeldSdJwt::receive(&given.sd_jwt, &trusted, key, now()).unwrap()
}

#[test]
fn only_who_has_the_key_of_a_station_takes_its_place() {
    let town = Town::new(1, 1);
    let operator = &town.world.operators()[0];
    let (station, claims) = Post::invited(&town, "PT*O01*E00099");
    let first = station.registration(&claims, &station.key);
    station.ask(&first).unwrap();
    let listed = || operator.stations().into_iter().find(|known| known.claims.evse == claims.evse).unwrap();
    let known = listed();
    assert_eq!((&known.invitation, known.key), (&first.invitation, station.key.verifying_key()));

    // Whoever knows where the operator is and has seen the station's credential has everything but its key.
    let stranger = Post::stranger(&town);
    let own = stranger.registration(&claims, &stranger.key);
    let with_its_key = StationRegistration { key: first.key.clone(), ..own.clone() };
    let at_its_post = StationRegistration { invitation: own.invitation.clone(), ..first.clone() };
    for (what, sent, why) in [
        ("the station's public key", &with_its_key, "not signed by the station's own key"),
        ("what the station signed on its connection", &first, "not signed by the station's own key"),
        ("the same with another invitation", &at_its_post, "not signed by the station's own key"),
        ("a key of its own", &own, "has a credential for other keys"),
    ] {
        let said = stranger.is_unknown(sent);
        assert!(said.contains(why) && said.contains("PT*O01*E00099"), "{what}: {said}");
        assert_eq!((listed().invitation, listed().key), (first.invitation.clone(), known.key), "{what}");
    }

    // The station itself comes over another connection, with another invitation; what it had before is over.
    let again = Post::stranger(&town);
    let anew = again.registration(&claims, &station.key);
    again.ask(&anew).unwrap();
    assert_eq!((listed().invitation, listed().index), (anew.invitation, known.index));
    let old = station.ask(&first).map(drop).unwrap_err();
    assert!(matches!(old, ChargingError::Agent(_)), "{old:?}");
}

#[test]
fn a_station_whose_clock_is_of_another_time_zone_is_refused_by_its_operator() {
    let town = Town::new(1, 1);
    let (station, claims) = Post::invited(&town, "PT*O01*E00099");
    let elsewhere =
        StationClaims { time_zone: Some("Europe/Madrid".parse::<TimeZoneName>().unwrap()), ..claims.clone() };
    let said = station.is_unknown(&station.registration(&elsewhere, &station.key));
    assert_eq!(
        said,
        "station PT*O01*E00099 is configured with the time zone Europe/Madrid, and its operator has entered Europe/Lisbon: \
         make them the same"
    );
    station.register(&claims);
    // It asks for a price by another clock than that of its place.
    let at = now();
    let right = clock_at(claims.time_zone.as_ref().unwrap(), at).unwrap();
    let ahead = UtcOffset::new(right.offset.seconds() + 3_600).unwrap();
    let request = |session: &str, clock| QuoteRequest {
        session: session.parse().unwrap(),
        evse: claims.evse.clone(),
        emsp: town.world.providers()[0].office().party(),
        voucher: eroam_domain::codec::Digest::of(b"a voucher"),
        limits: ChargeLimits::default(),
        at,
        clock,
    };
    let said = station.is_unknown(&request("by another clock", LocalClock::fixed(ahead)));
    assert_eq!(said, "station PT*O01*E00099 does not know the local time: take another one");
    station.ask(&request("by its own clock", right)).unwrap();
}

#[test]
fn strangers_who_connect_to_an_operator_and_stay_are_forgotten_and_no_station_is() {
    let town = Town::new(1, 1);
    let (station, claims) = Post::invited(&town, "PT*O01*E00099");
    station.register(&claims);
    let first = Post::stranger(&town);
    // One more than are remembered: they are let in one after another, so the last but one is known when the last is let in.
    let strangers: Vec<Post> = (0..65).map(|_| Post::stranger(&town)).collect();
    let forgotten = first.ask(&first.registration(&claims, &first.key)).map(drop).unwrap_err();
    assert!(matches!(forgotten, ChargingError::Agent(_)), "{forgotten:?}");
    // The newest is heard, and the station, who came before all of them, too.
    let newest = strangers.last().unwrap();
    newest.is_unknown(&newest.registration(&claims, &newest.key));
    station.register(&claims);
}

#[test]
fn a_station_learns_and_reserves_nothing_of_anothers_session() {
    let mut town = Town::new(1, 1);
    town.charge(0, 0).unwrap();
    let Outcome::Charged { session, .. } = town.outcome(0) else { panic!("charged") };
    let operator = &town.world.operators()[0];
    let booked = operator.office().with(|gateway, _| gateway.session(&session)).unwrap().unwrap();
    let Phase::Recorded { opening: PayerOpening::Voucher { spent, quote }, .. } = booked.phase else {
        panic!("{:?}", booked.phase);
    };

    let [one, other] = ["PT*O01*E00098", "PT*O01*E00099"].map(|evse| {
        let (post, claims) = Post::invited(&town, evse);
        post.register(&claims);
        (post, claims)
    });
    let at = now();
    let request = |(_, claims): &(Post, StationClaims), session: &SessionId| QuoteRequest {
        session: session.clone(),
        evse: claims.evse.clone(),
        emsp: spent.voucher.voucher.emsp,
        voucher: spent.voucher.commitment(),
        limits: ChargeLimits::default(),
        at,
        clock: clock_at(claims.time_zone.as_ref().unwrap(), at).unwrap(),
    };
    let shown =
        ShownContract { emsp: spent.voucher.voucher.emsp, tier: Tier::Standard, zones: AllowedZones::All };
    let reserve = |session: &SessionId| ReserveRequest {
        session: session.clone(),
        shown: shown.clone(),
        spent: *spent,
    };
    let own: SessionId = "of the one".parse().unwrap();
    let quoted = one.0.ask(&request(&one, &own)).unwrap();
    for session in [&own, &session] {
        other.0.is_unknown(&request(&other, session));
        other.0.is_unknown(&reserve(session));
    }
    other.0.is_unknown(&reserve(&"never quoted".parse().unwrap()));
    // It goes on as if nobody had asked.
    assert_eq!(one.0.ask(&request(&one, &own)).unwrap(), quoted);
    assert_ne!(quoted.session, quote.session);
}

#[test]
fn a_station_whose_clock_is_an_hour_off_is_said_to_be_so() {
    let mut town = Town::new(1, 1);
    let held = credential(&town);
    let hour = DurationMs::from_millis(3_600_000);
    let words = "the station's clock and yours are too far apart: one of them is wrong, take another station";
    for clock in [now().checked_add(hour).unwrap(), now().checked_sub(hour).unwrap()] {
        let said = charge_at(&mut town, |demand, audience| {
            held.present(&BTreeSet::new(), audience, &demand.nonce, clock).unwrap()
        });
        assert_eq!(said, words);
    }
    // One that is ahead finds the wallet's question too late, and says that.
    let ahead = agent("a post");
    let (invitation, invited) = ahead.invite(in_time(PATIENCE)).unwrap();
    let said = std::thread::scope(|scope| {
        scope.spawn(|| {
            let connection = ahead.accept(&invitation, &invited, PATIENCE).unwrap();
            let asked = ahead.receive_from(&connection, None, PATIENCE).unwrap();
            let late = Illegal::Expired { until: now(), now: now().checked_add(hour).unwrap() };
            ahead.drive::<()>(&connection, &asked, Err(late)).unwrap_err();
        });
        refusal(charge(&mut town.world.drivers[0], &invitation))
    });
    assert_eq!(said, words);
    // With a clock that goes right the same credential is believed: what is missing then is the station.
    let said = charge_at(&mut town, |demand, audience| {
        held.present(&BTreeSet::new(), audience, &demand.nonce, now()).unwrap()
    });
    assert!(!said.contains("clock") && !said.contains("genuine"), "{said}");
}

#[test]
fn a_driver_who_scans_and_goes_away_keeps_nobody_waiting() {
    let mut town = Town::new(1, 1);
    let invitation: Invitation = town.invitation(0);
    let silent = agent("somebody");
    for _ in 0..3 {
        silent.connect(&invitation, PATIENCE).unwrap();
    }
    town.charge(0, 0).unwrap();
    // This is the first visit that ends: the silent ones are still waited for.
    assert!(matches!(town.outcome(0), Outcome::Charged { .. }));
}

#[test]
fn whoever_comes_while_somebody_charges_is_told_so_and_served_afterwards() {
    let mut town = Town::new(2, 1);
    let invitation = town.invitation(0);
    let (power, is_on) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    let waits = move || {
        power.send(()).unwrap();
        let _ = gate.recv();
    };
    town.world.stations()[0].mishaps().add(Mishap::Meanwhile(Box::new(waits)));
    let [first, second] = &mut town.world.drivers[..] else { panic!("two drivers") };
    std::thread::scope(|scope| {
        let charging = scope.spawn(|| charge(first, &invitation));
        is_on.recv().unwrap();
        let said = refusal(charge(second, &invitation));
        assert_eq!(said, "somebody else is charging here: wait until that is over, or take another station");
        drop(open);
        charging.join().unwrap().unwrap();
    });
    assert!(denied(town.outcome(0)).starts_with("somebody else"));
    assert!(matches!(town.outcome(0), Outcome::Charged { .. }));
    town.charge(1, 0).unwrap();
    assert!(matches!(town.outcome(0), Outcome::Charged { .. }));
    assert_eq!(town.settled(), (2, 2));
}
