//! What a driver is told before anything is shown: to whom, what, and what stays hidden.

use crate::visit::Offer;
use eroam_domain::ids::PartyId;
use eroam_domain::money::Money;
use eroam_ssi::anoncreds::{HeldCredential, ProofRequest};
use std::collections::BTreeSet;
use std::fmt;

/// What is about to be disclosed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// To whom.
    pub operator: PartyId,
    /// Where.
    pub place: String,
    /// Whether the station's meter is certified.
    pub meter_certified: bool,
    /// Names and values that are shown.
    pub shown: Vec<(String, String)>,
    /// What is proved without being shown.
    pub proved: Vec<String>,
    /// Names of what stays hidden.
    pub hidden: Vec<String>,
    /// What it is expected to cost wholesale.
    pub estimate: Money,
    /// What it costs at most.
    pub limit: Money,
}

impl Consent {
    /// What answering `request` with `credential` at the station of `offer` discloses.
    #[must_use]
    pub fn of(offer: &Offer, request: &ProofRequest, credential: &HeldCredential) -> Self {
        let wanted: BTreeSet<String> = request
            .attributes()
            .values()
            .flat_map(|attribute| attribute.names.iter().map(str::to_owned))
            .collect();
        let (mut shown, mut hidden) = (Vec::new(), Vec::new());
        for (name, value) in credential.values() {
            if wanted.contains(name) {
                shown.push((name.to_owned(), value.to_owned()));
            } else {
                hidden.push(name.to_owned());
            }
        }
        let compared = request.predicates().values();
        let mut proved: Vec<String> = compared
            .map(|asked| format!("{} {} {}", asked.name, asked.comparison.sign(), asked.bound))
            .collect();
        if request.non_revoked().is_some() {
            proved.push("the contract is not revoked".to_owned());
        }
        let station = offer.station();
        Self {
            operator: station.operator,
            place: station.place.clone(),
            meter_certified: station.meter_certified,
            shown,
            proved,
            hidden,
            estimate: offer.estimate(),
            limit: offer.limit(),
        }
    }
}

impl fmt::Display for Consent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "to         {} at {}", self.operator, self.place)?;
        for (name, value) in &self.shown {
            writeln!(f, "shown      {name}: {value}")?;
        }
        for what in &self.proved {
            writeln!(f, "proved     {what}")?;
        }
        writeln!(f, "hidden     {}", self.hidden.join(", "))?;
        writeln!(f, "costs      about {}, at most {}", self.estimate, self.limit)?;
        if !self.meter_certified {
            writeln!(f, "note       the station's meter is not certified")?;
        }
        Ok(())
    }
}
