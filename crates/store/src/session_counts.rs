//! How many sessions took which way.

use crate::database::Database;
use eroam_domain::charge::Denial;
use eroam_domain::ids::PartyId;
use eroam_gateway::ports::StoreError;
use eroam_gateway::sessions::{AuthorizedBy, Phase};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};
use sqlx::Row;
use std::collections::BTreeMap;

/// How many sessions of an organisation's stations took which way, counted in the store, so that they are the same
/// after a restart.
///
/// Every session counts once in `total`, once in its phase, and once under `authorized_*` if it was ever authorized
/// (also when it was denied afterwards, because the driver declined the quote for example).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// All of them.
    pub total: u64,
    /// Those of other organisations' customers.
    pub roaming: u64,
    /// The home utility was asked.
    pub awaiting_home: u64,
    /// An unnamed driver sees a quote; the proof of a contract is awaited.
    pub awaiting_proof: u64,
    /// The driver sees a quote.
    pub quoted: u64,
    /// The ledger was asked for credit, or for the voucher.
    pub reserving: u64,
    /// Power is on.
    pub charging: u64,
    /// The record is on its way to the ledger.
    pub recording: u64,
    /// The record is on the ledger.
    pub recorded: u64,
    /// Own customers' sessions that are complete.
    pub delivered: u64,
    /// The ledger refused the record.
    pub disputed: u64,
    /// The driver was not served.
    pub denied: u64,
    /// Why not.
    pub denials: BTreeMap<Denial, u64>,
    /// Those of which nothing more is awaited.
    pub settled: u64,
    /// The organisation's own customers, authorized by itself.
    pub authorized_home: u64,
    /// Visitors for whom the home utility was asked.
    pub authorized_partner: u64,
    /// Visitors whose profile was here already.
    pub authorized_cache: u64,
    /// Drivers who proved a contract and were not named, own customers among them.
    pub authorized_proof: u64,
}

impl SessionCounts {
    /// Visitors and own customers that were authorized without asking anybody.
    #[must_use]
    pub const fn local_authorizations(&self) -> u64 {
        self.authorized_home.saturating_add(self.authorized_cache)
    }

    /// Those of which something is awaited.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.total.saturating_sub(self.settled)
    }

    /// Counts.
    pub(crate) fn of(database: &mut Database, own: PartyId) -> Result<Self, StoreError> {
        let sql = "SELECT phase, settled, home, authorized_by, denial, COUNT(*) FROM sessions \
                   GROUP BY phase, settled, home, authorized_by, denial";
        let own = own.to_string();
        let mut counts = Self::default();
        for row in database.rows(sql, Vec::new())? {
            let group = (|| {
                Ok::<_, sqlx::Error>(Group {
                    phase: row.try_get(0)?,
                    settled: row.try_get::<i64, _>(1)? != 0,
                    roaming: row.try_get::<Option<String>, _>(2)?.is_some_and(|home| home != own),
                    authorized_by: row.try_get(3)?,
                    denial: row.try_get(4)?,
                    count: row.try_get(5)?,
                })
            })();
            let group = group.map_err(|e| database.damaged("the table `sessions`", e))?;
            counts.add(&group).map_err(|e| database.damaged("the table `sessions`", e))?;
        }
        Ok(counts)
    }

    fn add(&mut self, group: &Group) -> Result<(), String> {
        let count = u64::try_from(group.count).map_err(|_| "a negative count".to_owned())?;
        let unknown = |what: &str, name: &str| format!("`{}` is no {what}", name.escape_debug());
        let phase = match group.phase.as_str() {
            "awaiting_home" => &mut self.awaiting_home,
            "awaiting_proof" => &mut self.awaiting_proof,
            "quoted" => &mut self.quoted,
            "reserving" => &mut self.reserving,
            "charging" => &mut self.charging,
            "recording" => &mut self.recording,
            "recorded" => &mut self.recorded,
            "delivered" => &mut self.delivered,
            "disputed" => &mut self.disputed,
            "denied" => &mut self.denied,
            other => return Err(unknown("phase", other)),
        };
        add(phase, count);
        add(&mut self.total, count);
        if group.settled {
            add(&mut self.settled, count);
        }
        if group.roaming {
            add(&mut self.roaming, count);
        }
        match group.authorized_by.as_deref() {
            None => (),
            Some("home") => add(&mut self.authorized_home, count),
            Some("partner") => add(&mut self.authorized_partner, count),
            Some("cache") => add(&mut self.authorized_cache, count),
            Some("proof") => add(&mut self.authorized_proof, count),
            Some(other) => return Err(unknown("way of authorization", other)),
        }
        if let Some(denial) = &group.denial {
            let name: StrDeserializer<'_, Error> = denial.as_str().into_deserializer();
            let denial = Denial::deserialize(name).map_err(|_| unknown("denial", denial))?;
            add(self.denials.entry(denial).or_default(), count);
        }
        Ok(())
    }
}

/// Sessions that have all of this in common.
struct Group {
    phase: String,
    settled: bool,
    roaming: bool,
    authorized_by: Option<String>,
    denial: Option<String>,
    count: i64,
}

/// Counts of rows stay far below 2^64.
fn add(slot: &mut u64, count: u64) {
    *slot = slot.saturating_add(count);
}

/// The name that the column `phase` holds.
pub(crate) const fn phase_name(phase: &Phase) -> &'static str {
    match phase {
        Phase::AwaitingHome => "awaiting_home",
        Phase::AwaitingProof { .. } => "awaiting_proof",
        Phase::Quoted { .. } => "quoted",
        Phase::Reserving { .. } => "reserving",
        Phase::Charging { .. } => "charging",
        Phase::Recording { .. } => "recording",
        Phase::Recorded { .. } => "recorded",
        Phase::Delivered { .. } => "delivered",
        Phase::Disputed { .. } => "disputed",
        Phase::Denied(_) => "denied",
    }
}

/// How the session was authorized, if its phase still says so.
pub(crate) const fn authorized_by(phase: &Phase) -> Option<AuthorizedBy> {
    match phase {
        Phase::Quoted { grant, .. }
        | Phase::Reserving { grant, .. }
        | Phase::Charging { grant, .. }
        | Phase::Recording { grant, .. }
        | Phase::Recorded { grant, .. }
        | Phase::Delivered { grant, .. }
        | Phase::Disputed { grant, .. } => Some(grant.by()),
        Phase::AwaitingHome | Phase::AwaitingProof { .. } | Phase::Denied(_) => None,
    }
}

/// The name that the column `authorized_by` holds.
pub(crate) const fn authorized_by_name(by: AuthorizedBy) -> &'static str {
    match by {
        AuthorizedBy::Home => "home",
        AuthorizedBy::Partner => "partner",
        AuthorizedBy::Cache => "cache",
        AuthorizedBy::Proof => "proof",
    }
}
