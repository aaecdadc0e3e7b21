//! Reservations of stations that were offline, for which there was no credit when they came.
//!
//! Power was given already, so such a session is not over with the refusal: it is asked for again when less of the
//! agreement's credit is in use than then, and once an hour besides, since what is owed for closed periods counts, too,
//! and the ledger alone says when it is too late. In between nothing is sent: each refusal stands in a block.

use eroam_domain::cdr::SessionId;
use eroam_domain::time::UnixMillis;
use eroam_ledger::settlement::Exposure;
use std::collections::BTreeMap;

/// Sessions with the credit that was in use when theirs was refused. Kept in memory: after a restart each is asked for
/// once more.
#[derive(Debug, Default)]
pub(super) struct LateReservations {
    refused: BTreeMap<SessionId, i128>,
    hour: Option<i64>,
}

/// Reserved and booked, in millionths.
fn in_use(exposure: &Exposure) -> i128 {
    let reserved = exposure.reserved.iter().map(|(_, micros)| i128::from(*micros));
    reserved.chain(exposure.booked.iter().map(|(_, micros)| i128::from(*micros))).sum()
}

impl LateReservations {
    /// There was no credit for a session.
    pub(super) fn refused(&mut self, session: &SessionId, exposure: &Exposure) {
        self.refused.insert(session.clone(), in_use(exposure));
    }

    /// Whether there was none for it the last time.
    pub(super) fn is_waiting(&self, session: &SessionId) -> bool {
        self.refused.contains_key(session)
    }

    /// Whether it is worth asking again.
    pub(super) fn has_a_chance(&self, session: &SessionId, exposure: &Exposure) -> bool {
        self.refused.get(session).is_none_or(|then| in_use(exposure) < *then)
    }

    /// Its reservation was decided.
    pub(super) fn decided(&mut self, session: &SessionId) {
        self.refused.remove(session);
    }

    /// Time has passed: in a new hour, everybody may ask once more.
    pub(super) fn tick(&mut self, now: UnixMillis) {
        let hour = now.utc_hour();
        if self.hour.replace(hour).is_some_and(|before| before != hour) {
            self.refused.clear();
        }
    }
}
