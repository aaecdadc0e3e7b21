//! What nobody can say of a partner, and why: the same keys and words wherever partners are compared (`eroam ledger
//! partners`, `eroam provider partners`), so that `null` is never taken for zero or for perfect.

use std::collections::BTreeMap;

/// Keys of a comparison that are `null`, each with the reason.
pub type Unknown = BTreeMap<&'static str, &'static str>;

/// Drivers who were turned away at stations.
const TURNED_AWAY: (&str, &str) = (
    "turned_away",
    "a driver who gets no power before credit is reserved leaves nothing on the ledger, and wallets do not report to their \
     home utility where somebody wanted to charge in vain: that is the driver's to tell. reservations_unused has those \
     who left with a reservation and without a charge",
);

/// What the ledger does not have of any operator.
#[must_use]
pub fn on_the_ledger() -> Unknown {
    let uptime = "whether stations are in order is not on the ledger; how often a partner's listing answered one home \
                  utility, that home utility has: `eroam provider partners`";
    [TURNED_AWAY, ("uptime_bps", uptime)].into()
}

/// What a home utility does not know of an operator that has answered it, or never has.
#[must_use]
pub fn to_a_home_utility(has_answered: bool) -> Unknown {
    let mut unknown: Unknown = [TURNED_AWAY].into();
    if !has_answered {
        unknown.insert("uptime_bps", "it has never answered, so it may be a party without stations");
    }
    unknown
}
