//! Charges that are under way at a station, and those that have just ended, for drivers whose wallet was away.
//!
//! ```text
//! thread that charges                      thread of a driver who came back
//!   begin ──► progress, .. ──► finish        rejoin: signed with the key of the first connection?
//!      ▲                          │            ├─ no: nothing is known
//!      └── is_stopped ◄── stop ───┼────────────┤  charging: what is written here is passed on, stop is noted here
//!                                 └───────────►└─ finished: how it ended
//! ```
//! The charge itself does not notice: it writes what it says to the first connection here, too. The newest charges are
//! remembered; of the last one the station keeps on its disk whose it is ([`KeptDriver`]), so that a station that was switched
//! off knows its driver again.

use super::ChargingError;
use super::station::VISIT_WITHIN;
use crate::agent::{Agent, new_id};
use crate::clock::{in_time, now};
use eroam_domain::visit::{Finished, Progress, Started};
use eroam_ssi::did::VerificationKey;
use eroam_ssi::didcomm::{Channel, MessageId};
use eroam_ssi::protocol::Incoming;
use eroam_ssi::protocol::charging::{Resume, Resumed, Said, Side, Visit, resume_digest};
use eroam_ssi::protocol::did_exchange::Connection;
use eroam_ssi::protocol::questions;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// So many charges are remembered, the newest.
const REMEMBERED_MAX: usize = 64;
/// So often it is looked whether the driver says something.
const LISTENS_EVERY: Duration = Duration::from_millis(200);

/// How far a charge is.
#[derive(Default)]
struct State {
    progress: Option<Progress>,
    /// The driver wants it off.
    stop: bool,
    finished: Option<Finished>,
    /// Nothing more is going to be written here.
    is_over: bool,
}

/// A charge.
struct Charge {
    visit: MessageId,
    /// The connection that it began on.
    channel: Channel,
    started: Started,
    state: Mutex<State>,
    changed: Condvar,
}

impl Charge {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// Whether who signed is who began it, and for this connection.
    fn is_of(&self, asked: &Resume, channel: Channel) -> bool {
        let before = [&self.channel.theirs, &self.channel.ours];
        let digest = resume_digest(&self.visit, before, [&channel.theirs, &channel.ours]);
        self.channel.theirs.verifies(&digest.0, &asked.signature.0)
    }
}

/// How a charge is known to the driver who began it, also after the station was switched off.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeptDriver {
    /// The visit's thread.
    visit: String,
    /// The station's key of the connection that it began on, as multikey.
    ours: String,
    /// The driver's.
    theirs: String,
    started: Started,
}

/// The charges of a station.
#[derive(Default)]
pub(super) struct UnderWay(Mutex<VecDeque<Arc<Charge>>>);

/// A charge, for the thread that charges.
pub(super) struct Begun(Arc<Charge>);

impl Begun {
    /// Whose it is, to be kept.
    pub(super) fn kept(&self) -> KeptDriver {
        let Charge { visit, channel, started, .. } = &*self.0;
        KeptDriver {
            visit: visit.as_str().to_owned(),
            ours: channel.ours.to_multikey(),
            theirs: channel.theirs.to_multikey(),
            started: *started,
        }
    }

    /// So far it is.
    pub(super) fn progress(&self, progress: Progress) {
        self.0.change(|state| state.progress = Some(progress));
    }

    /// Whether a driver who came back wants it off.
    pub(super) fn is_stopped(&self) -> bool {
        self.0.state().stop
    }

    /// It is over.
    pub(super) fn finish(&self, finished: Finished) {
        self.0.change(|state| state.finished = Some(finished));
    }
}

impl Drop for Begun {
    /// Whoever waits for its end waits no longer, whatever came of it.
    fn drop(&mut self) {
        self.0.change(|state| state.is_over = true);
    }
}

impl UnderWay {
    fn charges(&self) -> MutexGuard<'_, VecDeque<Arc<Charge>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Power is on.
    pub(super) fn begin(&self, visit: &Visit, started: Started) -> Begun {
        let conversation = visit.conversation();
        self.remember(conversation.thread().clone(), conversation.channel(), started)
    }

    /// It goes on, or had ended, after the station was switched off.
    pub(super) fn take_up(&self, kept: &KeptDriver) -> Result<Begun, ChargingError> {
        let unusable = |why: &dyn fmt::Display| ChargingError::unexpected("whose charge was under way", why);
        let key = |text: &str| VerificationKey::from_multikey(text).map_err(|error| unusable(&error));
        let visit = MessageId::parse(&kept.visit).ok_or_else(|| unusable(&"its visit is none"))?;
        let channel = Channel { ours: key(&kept.ours)?, theirs: key(&kept.theirs)? };
        Ok(self.remember(visit, channel, kept.started))
    }

    fn remember(&self, visit: MessageId, channel: Channel, started: Started) -> Begun {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let charge = Arc::new(Charge { visit, channel, started, state, changed });
        let mut charges = self.charges();
        if charges.len() >= REMEMBERED_MAX {
            // One vehicle at a time: the oldest has ended long ago.
            charges.pop_front();
        }
        charges.push_back(Arc::clone(&charge));
        Begun(charge)
    }

    /// Answers a driver who takes a charge up again, and passes on what is said until its end.
    pub(super) fn rejoin(
        &self,
        agent: &Agent,
        connection: &Connection,
        asked: &Incoming,
    ) -> Result<(), ChargingError> {
        let channel = connection.channel();
        let question = agent.drive(connection, asked, questions::read_question::<Resume>(asked, now()))?;
        let found = self.charges().iter().find(|charge| charge.visit.as_str() == question.visit).cloned();
        let found = found.filter(|charge| charge.is_of(&question, channel));
        let answer = |resumed: Resumed| -> Result<(), ChargingError> {
            Ok(agent.send(connection, &questions::answer::<Resume>(asked, &Ok(resumed), new_id())?)?)
        };
        let Some(charge) = found else { return answer(Resumed::Unknown {}) };
        let started = charge.started;
        let (finished, is_over) = {
            let state = charge.state();
            (state.finished.clone(), state.is_over)
        };
        match finished {
            Some(finished) => return answer(Resumed::Finished { started, finished }),
            // It came to nothing before power was on.
            None if is_over => return answer(Resumed::Unknown {}),
            None => {}
        }
        answer(Resumed::Charging { started })?;
        let thread = asked.message().thread().clone();
        pass_on(
            &charge,
            agent,
            connection,
            Visit::taken_up(Side::Station, channel, thread, in_time(VISIT_WITHIN)),
        )
    }
}

/// Tells a driver how far a charge is until it has ended, and stops it if the driver wants.
fn pass_on(
    charge: &Charge,
    agent: &Agent,
    connection: &Connection,
    mut visit: Visit,
) -> Result<(), ChargingError> {
    let thread = visit.conversation().thread().clone();
    let mut told = None;
    loop {
        let (progress, finished, is_over) = {
            let is_news = |state: &State| state.progress != told || state.finished.is_some() || state.is_over;
            let waited =
                charge.changed.wait_timeout_while(charge.state(), LISTENS_EVERY, |state| !is_news(state));
            let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            (state.progress, state.finished.clone(), state.is_over)
        };
        let news = match finished {
            Some(finished) => Some(Said::Finished(finished)),
            None => progress.filter(|progress| Some(*progress) != told).map(Said::Progress),
        };
        told = progress;
        if let Some(said) = news {
            let (next, message) = visit.say(&said, new_id(), now())?;
            agent.send(connection, &message)?;
            visit = next;
            if matches!(said, Said::Finished(_)) {
                return Ok(());
            }
        } else if is_over {
            return Err(ChargingError::unexpected("the end of the charge", "the station did not see it"));
        }
        if let Ok(came) = agent.receive_from(connection, Some(&thread), Duration::ZERO)
            && let Ok((next, Said::Stop)) = visit.hear(&came, now())
        {
            visit = next;
            charge.change(|state| state.stop = true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eroam_domain::codec::SignatureBytes;
    use eroam_domain::quantity::{WattHours, Watts};
    use eroam_domain::time::UnixMillis;
    use eroam_domain::visit::EndReason;
    use eroam_ssi::protocol::charging::PROTOCOL;
    use std::net::{Ipv4Addr, SocketAddr};

    const WITHIN: Duration = Duration::from_secs(60);

    fn agent(label: &str) -> Agent {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Agent::start(label, any).unwrap().speaking(PROTOCOL)
    }

    /// A connection as a wallet has it, and as the station has it.
    fn connect(wallet: &Agent, station: &Agent) -> (Connection, Connection) {
        let (invitation, invited) = station.invite(in_time(WITHIN)).unwrap();
        std::thread::scope(|scope| {
            let theirs = scope.spawn(|| station.accept(&invitation, &invited, WITHIN).unwrap());
            (wallet.connect(&invitation, WITHIN).unwrap(), theirs.join().unwrap())
        })
    }

    fn started() -> Started {
        Started { at: UnixMillis::EPOCH, energy_max: WattHours::from_milli_wh(9), amount_max: 7 }
    }

    fn finished() -> Finished {
        let (start, end) = (UnixMillis::EPOCH, UnixMillis::EPOCH);
        let (reason, energy) = (EndReason::StoppedByDriver, WattHours::from_milli_wh(8));
        Finished { reason, start, end, energy, readings: String::new() }
    }

    /// A charge at a station, and the wallet that began it.
    struct Scene {
        wallet: Agent,
        station: Agent,
        under_way: UnderWay,
        /// The connection that it began on, as the wallet has it.
        first: Connection,
        visit: MessageId,
    }

    impl Scene {
        fn new() -> (Self, Begun) {
            let (wallet, station) = (agent("wallet"), agent("station"));
            let (first, at_station) = connect(&wallet, &station);
            let (under_way, visit) = (UnderWay::default(), new_id());
            let deadline = in_time(WITHIN);
            let visited = Visit::taken_up(Side::Station, at_station.channel(), visit.clone(), deadline);
            let begun = under_way.begin(&visited, started());
            (Self { wallet, station, under_way, first, visit }, begun)
        }

        /// Comes back over a new connection with what `sign` makes of the digest, and gives the station's answer to `then`
        /// while the station serves.
        fn come_back<T>(
            &self,
            visit: &MessageId,
            sign: impl FnOnce(&Self, &Connection) -> SignatureBytes,
            then: impl FnOnce(&Connection, Resumed, MessageId) -> T,
        ) -> (T, Result<(), ChargingError>) {
            let (connection, at_station) = connect(&self.wallet, &self.station);
            let signature = sign(self, &connection);
            std::thread::scope(|scope| {
                let serving = scope.spawn(|| {
                    let asked = self.station.receive_from(&at_station, None, WITHIN).unwrap();
                    self.under_way.rejoin(&self.station, &at_station, &asked)
                });
                let thread = new_id();
                let asked = Resume { visit: visit.as_str().to_owned(), signature };
                let message = questions::ask(&asked, thread.clone(), in_time(WITHIN)).unwrap();
                self.wallet.send(&connection, &message).unwrap();
                let came = self.wallet.receive_from(&connection, Some(&thread), WITHIN).unwrap();
                let resumed = questions::read_answer::<Resume>(&came, &thread).unwrap().unwrap();
                (then(&connection, resumed, thread), serving.join().unwrap())
            })
        }

        /// As its driver does.
        fn signed(&self, connection: &Connection) -> SignatureBytes {
            self.signed_for(&self.visit, &self.first, connection)
        }

        fn signed_for(&self, visit: &MessageId, by: &Connection, on: &Connection) -> SignatureBytes {
            let (old, new) = (self.first.channel(), on.channel());
            let digest = resume_digest(visit, [&old.ours, &old.theirs], [&new.ours, &new.theirs]);
            self.wallet.sign(by, &digest).unwrap()
        }

        fn answer(&self) -> Resumed {
            self.come_back(&self.visit, Self::signed, |_, resumed, _| resumed).0
        }
    }

    #[test]
    fn whoever_did_not_begin_a_charge_learns_nothing_of_it() {
        let (scene, _begun) = Scene::new();
        let (elsewhere, _) = connect(&scene.wallet, &scene.station);
        let other = new_id();
        let unknown = |visit: &MessageId, sign: &dyn Fn(&Scene, &Connection) -> SignatureBytes| {
            let (resumed, served) = scene.come_back(visit, sign, |_, resumed, _| resumed);
            assert_eq!(resumed, Resumed::Unknown {});
            served.unwrap();
        };
        // Another visit; with another key; what was signed for another connection.
        unknown(&other, &|scene, on| scene.signed_for(&other, &scene.first, on));
        unknown(&scene.visit, &|scene, on| scene.signed_for(&scene.visit, on, on));
        unknown(&scene.visit, &|scene, _| scene.signed(&elsewhere));
        unknown(&scene.visit, &|_, _| SignatureBytes([7; 64]));
    }

    #[test]
    fn a_driver_who_is_back_hears_how_far_it_is_and_stops_it() {
        let (scene, begun) = Scene::new();
        let progress =
            Progress { at: UnixMillis::EPOCH, energy: WattHours::from_milli_wh(3), power: Watts::new(5) };
        begun.progress(progress);
        let (heard, served) = scene.come_back(&scene.visit, Scene::signed, |connection, resumed, thread| {
            assert_eq!(resumed, Resumed::Charging { started: started() });
            let channel = connection.channel();
            let mut visit = Visit::taken_up(Side::Driver, channel, thread.clone(), in_time(WITHIN));
            let hear = |visit: &Visit| {
                let came = scene.wallet.receive_from(connection, Some(&thread), WITHIN).unwrap();
                visit.hear(&came, now()).unwrap()
            };
            let (next, first) = hear(&visit);
            assert!(!begun.is_stopped());
            let (stopping, message) = next.say(&Said::Stop, new_id(), now()).unwrap();
            scene.wallet.send(connection, &message).unwrap();
            while !begun.is_stopped() {
                std::thread::yield_now();
            }
            begun.finish(finished());
            visit = stopping;
            (first, hear(&visit).1)
        });
        assert_eq!(heard, (Said::Progress(progress), Said::Finished(finished())));
        served.unwrap();
        drop(begun);
        assert_eq!(scene.answer(), Resumed::Finished { started: started(), finished: finished() });
    }

    #[test]
    fn a_station_that_was_switched_off_knows_its_driver_and_nobody_else() {
        let (mut scene, begun) = Scene::new();
        let kept = serde_json::to_vec(&begun.kept()).unwrap();
        drop(begun);
        scene.under_way = UnderWay::default();
        assert_eq!(scene.answer(), Resumed::Unknown {});
        let again = scene.under_way.take_up(&serde_json::from_slice(&kept).unwrap()).unwrap();
        let forged = |scene: &Scene, on: &Connection| scene.signed_for(&scene.visit, on, on);
        let (resumed, _) = scene.come_back(&scene.visit, forged, |_, resumed, _| resumed);
        assert_eq!(resumed, Resumed::Unknown {});
        again.finish(finished());
        assert_eq!(scene.answer(), Resumed::Finished { started: started(), finished: finished() });
    }

    #[test]
    fn a_charge_that_came_to_nothing_is_not_waited_for() {
        let (scene, begun) = Scene::new();
        let (_, served) = scene.come_back(&scene.visit, Scene::signed, |_, resumed, _| {
            assert_eq!(resumed, Resumed::Charging { started: started() });
            drop(begun);
        });
        assert!(served.is_err(), "the driver is not left to believe that it goes on");
        assert_eq!(scene.answer(), Resumed::Unknown {});
    }

    #[test]
    fn the_newest_charges_are_remembered() {
        let (scene, begun) = Scene::new();
        begun.finish(finished());
        drop(begun);
        let channel = scene.first.channel();
        let another = || {
            let visit = Visit::taken_up(Side::Station, channel, new_id(), in_time(WITHIN));
            drop(scene.under_way.begin(&visit, started()));
        };
        (1..REMEMBERED_MAX).for_each(|_| another());
        assert!(matches!(scene.answer(), Resumed::Finished { .. }));
        another();
        assert_eq!(scene.answer(), Resumed::Unknown {});
    }
}
