//! Records whose price may still be trued up, as a side remembers them.

use crate::anomalies::RecordName;
use eroam_domain::cdr::Cdr;
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// How long a side waits before it looks again whether the loads of a record are attested.
pub const LOOK_AGAIN_AFTER: DurationMs = DurationMs::from_millis(3_600_000);
/// So many records are looked at in one pass, so that a long absence is made up for bit by bit.
pub const LOOKED_AT_MAX: u32 = 256;

/// A booked record whose price follows a forecast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitedTrueUp {
    /// The operator that recorded it.
    pub operator: PartyId,
    /// The record: a true-up is asked for with all of it.
    pub cdr: Cdr,
    /// When to look next.
    pub look_at: UnixMillis,
}

impl AwaitedTrueUp {
    /// The record's name.
    #[must_use]
    pub fn name(&self) -> RecordName {
        RecordName { operator: self.operator, cdr: self.cdr.id.clone() }
    }
}
