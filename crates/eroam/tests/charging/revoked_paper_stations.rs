//! A station whose credential is of paper B's kind is revoked on the ledger: drivers do not charge there any more, and
//! charge at its operator's other stations, whoever of them has seen the newer list first.

use super::town::{Town, charge, refusal};
use eroam::charging::station::{Mode, Outcome};
use eroam::clock::leave_out;
use eroam_domain::ids::EvseId;
use eroam_domain::quantity::DurationMs;

const REVOKED: &str = "the operator has revoked this station: do not charge here";

/// Two stations of the first operator, the first and the third, with credentials of one registry.
struct Street {
    town: Town,
}

impl Street {
    fn new() -> Self {
        Self { town: Town::of_mode(1, 3, Mode::Paper) }
    }

    fn evse(&self, station: usize) -> EvseId {
        self.town.world.stations()[station].station().claims().evse.clone()
    }

    fn revoke_first(&self) {
        self.town.world.operators()[0].revoke_station(&self.evse(0), "stolen").unwrap();
    }

    /// What the driver hears who looks at a station: its id, or why it is not believed.
    fn scan(&self, station: usize) -> Result<EvseId, String> {
        let scanned = self.town.world.drivers[0].wallet.scan(&self.town.invitation(station));
        scanned.map(|claims| claims.evse).map_err(|error| error.to_string())
    }

    /// Waits until a station has accounted for so many charges.
    fn accounted(&self, station: usize, charges: usize) {
        let outcomes = std::iter::from_fn(|| self.town.world.stations()[station].outcome());
        let charged = outcomes.filter(|outcome| matches!(outcome, Ok(Outcome::Charged { .. })));
        assert_eq!(charged.take(charges).count(), charges);
    }
}

#[test]
fn a_revoked_station_of_paper_b_is_refused_and_its_operators_others_are_not() {
    let mut street = Street::new();
    assert_eq!([0, 2].map(|station| street.scan(station)), [0, 2].map(|station| Ok(street.evse(station))));
    street.revoke_first();
    // Whoever has revoked it once may do so again: nothing else follows.
    street.revoke_first();
    // So old a list may be.
    leave_out(DurationMs::from_millis(61_000));
    assert_eq!(street.scan(0), Err(REVOKED.to_owned()));
    let invitation = street.town.invitation(0);
    assert_eq!(refusal(charge(&mut street.town.world.drivers[0], &invitation)), REVOKED);
    assert_eq!(street.scan(2), Ok(street.evse(2)));
    street.town.charge(0, 2).unwrap();
    street.accounted(2, 1);
    assert_eq!(street.town.settled(), (1, 1));
}

#[test]
fn a_list_that_only_one_side_has_seen_costs_no_driver_the_charge() {
    let mut street = Street::new();
    assert_eq!([0, 2].map(|station| street.scan(station)), [0, 2].map(|station| Ok(street.evse(station))));
    // They all keep the list of before for a minute. Somebody who has none comes, and asks by the newest.
    street.revoke_first();
    let mut newcomer = street.town.newcomer("*");
    let [first, other] = [0, 2].map(|station| street.town.invitation(station));
    assert_eq!(refusal(newcomer.wallet.scan(&first)), REVOKED, "at once");
    charge(&mut newcomer, &other).unwrap();
    // Now the station has the newer list, and the driver who was here before the older one.
    street.town.charge(0, 2).unwrap();
    street.accounted(2, 2);
    assert_eq!(street.town.settled(), (2, 2));
}
