//! Charging rules and policy (CRP): one set for the organisation's own customers, one for each partner's.
//!
//! Rules are versioned and can be changed while the gateway runs: a new version applies from its time on, and a
//! session keeps the version it was quoted with. Source: Paper A, section 2.1.4.

use crate::vouchers::VoucherRules;
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::WattHours;
pub use eroam_domain::retail::RetailVersion;
use eroam_domain::retail::{RetailRules, Tier};
use eroam_domain::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The rules for the organisation's own customers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeRules {
    versions: Vec<RetailVersion>,
    /// OCPP charging priority of each tier, in the order of [`Tier::ALL`].
    priorities: [i8; 4],
}

/// Why rules were not taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// They contradict themselves.
    #[error("the retail rules are refused: {0}")]
    Invalid(String),
    /// They would change what was quoted already.
    #[error("a new version must apply from later than {0}, the start of the version before it")]
    InThePast(UnixMillis),
}

impl HomeRules {
    /// No rules yet; nobody can be authorized until there are some.
    #[must_use]
    pub const fn new(priorities: [i8; 4]) -> Self {
        Self { versions: Vec::new(), priorities }
    }

    /// Adds a version that applies from `from` on, and gives its number.
    ///
    /// # Errors
    /// [`RulesError`]; the rules in force stay in force.
    pub fn update(&mut self, from: UnixMillis, rules: RetailRules) -> Result<u32, RulesError> {
        rules.check().map_err(RulesError::Invalid)?;
        if let Some(last) = self.versions.last()
            && from <= last.from
        {
            return Err(RulesError::InThePast(last.from));
        }
        let version = u32::try_from(self.versions.len()).unwrap_or(u32::MAX).saturating_add(1);
        self.versions.push(RetailVersion { version, from, rules });
        Ok(version)
    }

    /// The version in force at `instant`.
    #[must_use]
    pub fn in_force(&self, instant: UnixMillis) -> Option<(u32, &RetailRules)> {
        self.versions.iter().rev().find(|v| v.from <= instant).map(|v| (v.version, &v.rules))
    }

    /// The version in force at `instant` and those that come after it, the oldest first.
    #[must_use]
    pub fn since(&self, instant: UnixMillis) -> &[RetailVersion] {
        let first = self.versions.iter().rposition(|version| version.from <= instant).unwrap_or(0);
        self.versions.get(first..).unwrap_or_default()
    }

    /// A version by number.
    #[must_use]
    pub fn version(&self, version: u32) -> Option<&RetailRules> {
        self.versions.iter().find(|v| v.version == version).map(|v| &v.rules)
    }

    /// All versions, the oldest first.
    #[must_use]
    pub fn versions(&self) -> &[RetailVersion] {
        &self.versions
    }

    /// The charging priority of a tier.
    #[must_use]
    pub fn priority(&self, tier: Tier) -> i8 {
        let [standard, gold, platinum, diamond] = self.priorities;
        match tier {
            Tier::Standard => standard,
            Tier::Gold => gold,
            Tier::Platinum => platinum,
            Tier::Diamond => diamond,
        }
    }
}

/// The rules for one partner's customers at this organisation's stations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartnerRules {
    /// Whether they are served at all.
    pub accept: bool,
    /// The most energy of one session.
    pub energy_max: WattHours,
    /// The highest charging priority that is honoured, -9 to 9.
    pub priority_max: i8,
}

impl PartnerRules {
    /// Everything that the agreement and the home utility allow.
    pub const OPEN: Self =
        Self { accept: true, energy_max: WattHours::from_milli_wh(u64::MAX), priority_max: 9 };
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// For the organisation's own customers.
    pub home: HomeRules,
    /// For partners' customers; a partner that is not listed gets [`PartnerRules::OPEN`], since the agreement is what
    /// admits it.
    pub partners: BTreeMap<PartyId, PartnerRules>,
    /// How vouchers for own customers are made; `None` when there are none.
    pub vouchers: Option<VoucherRules>,
}

impl Rules {
    /// The rules for a partner's customers.
    #[must_use]
    pub fn partner(&self, home: PartyId) -> PartnerRules {
        self.partners.get(&home).copied().unwrap_or(PartnerRules::OPEN)
    }
}
