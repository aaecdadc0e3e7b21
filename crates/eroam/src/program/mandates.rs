//! A home utility's mandates: which issuers may issue contracts in its name, on the ledger.
//!
//! The state has no range scans, so what was granted here is remembered here, before it is sent; what holds is what the
//! ledger says of it. A mandate that was granted by other software of the same member is not in the list.

use crate::charging::ChargingError;
use crate::charging::state::{AgentState, Changes};
use crate::clock::now;
use crate::registry::{PublishError, Publisher};
use eroam_domain::ids::{PartyId, SchemaId};
use eroam_domain::time::UnixMillis;
use eroam_ledger::registry::Mandate;
use eroam_ledger::reject::RejectCode;
use eroam_ledger::state::{StateKey, read};
use serde::{Deserialize, Serialize};

/// Records of mandates that were granted, by issuer and schema.
const MANDATE: &str = "mandate";

/// Why there is no such mandate.
#[derive(Debug, thiserror::Error)]
pub enum MandateError {
    /// The ledger says why.
    #[error("{}", remedy(*.code, issuer, schema))]
    Refused {
        /// Who was to issue.
        issuer: PartyId,
        /// What.
        schema: SchemaId,
        /// Why not.
        code: RejectCode,
    },
    /// It could not be sent. Whether it was granted, the list says.
    #[error("the mandate cannot be published")]
    Publish(#[source] PublishError),
    /// It could not be remembered, or the ledger not be asked.
    #[error("the mandates cannot be looked up")]
    Charging(#[from] ChargingError),
}

/// What the ledger refuses, with what to do.
fn remedy(code: RejectCode, issuer: &PartyId, schema: &SchemaId) -> String {
    match code {
        RejectCode::UnknownParty => format!("{issuer} is no member of this network: check its name"),
        RejectCode::WrongRole => {
            format!("{issuer} is no issuer in this network: the genesis gives a member its roles")
        }
        RejectCode::UnknownSchema => {
            format!("nobody has published the schema {schema}: ask {issuer} for the one of its contracts")
        }
        RejectCode::UnknownMandate => {
            format!(
                "{issuer} has no mandate for {schema}: `eroam provider mandate list` shows those that hold"
            )
        }
        RejectCode::BadMandatePeriod | RejectCode::InThePast => {
            "a mandate ends after it begins, and in the future".to_owned()
        }
        other => format!("the ledger refuses it: {other}"),
    }
}

/// A mandate that was granted, and how it stands on the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedMandate {
    /// Who issues.
    pub issuer: PartyId,
    /// Credentials of which schema.
    pub schema: SchemaId,
    /// When; `None` for one that was revoked, or that the ledger has not taken.
    pub period: Option<Period>,
    /// Whether it holds now.
    pub in_force: bool,
}

/// From when until when a mandate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// From this time on.
    pub from: UnixMillis,
    /// Before this time.
    pub until: UnixMillis,
}

/// Grants and revokes.
pub struct Mandates {
    publisher: Publisher,
    state: AgentState,
}

impl Mandates {
    /// Those of the publisher's member that `state` knows.
    #[must_use]
    pub const fn new(publisher: Publisher, state: AgentState) -> Self {
        Self { publisher, state }
    }

    /// Lets an issuer issue credentials of a schema in this member's name; an earlier mandate for the same is replaced.
    ///
    /// # Errors
    /// [`MandateError`].
    pub fn grant(&self, issuer: PartyId, schema: &SchemaId, period: Period) -> Result<(), MandateError> {
        let record = (issuer, schema.clone());
        let changes = Changes::new().put(MANDATE, &format!("{issuer} {schema}"), &record);
        self.state.write(changes).map_err(ChargingError::from)?;
        let mandate = Mandate { from: period.from, until: period.until };
        let granted = self.publisher.grant_mandate(issuer, schema.clone(), mandate);
        granted.map_err(|error| Self::refused(error, issuer, schema))
    }

    /// Ends a mandate at once: no station takes a contract that was issued under it any more.
    ///
    /// # Errors
    /// [`MandateError`], among them that there is none.
    pub fn revoke(&self, issuer: PartyId, schema: &SchemaId) -> Result<(), MandateError> {
        let revoked = self.publisher.revoke_mandate(issuer, schema.clone());
        revoked.map_err(|error| Self::refused(error, issuer, schema))
    }

    /// All that were granted here, as the ledger has them now.
    ///
    /// # Errors
    /// [`MandateError::Charging`].
    pub fn list(&self) -> Result<Vec<ListedMandate>, MandateError> {
        let granted = self.state.each::<(PartyId, SchemaId)>(MANDATE).map_err(ChargingError::from)?;
        let (ledger, member, at) = (self.publisher.client(), self.publisher.member(), now());
        let mut listed = Vec::with_capacity(granted.len());
        for (_, (issuer, schema)) in granted {
            let found: Option<Mandate> = read(ledger, &StateKey::Mandate(member, issuer, schema.clone()))
                .map_err(|error| ChargingError::unexpected("a mandate on the ledger", error))?;
            let in_force = found.is_some_and(|mandate| mandate.from <= at && at < mandate.until);
            let period = found.map(|Mandate { from, until }| Period { from, until });
            listed.push(ListedMandate { issuer, schema, period, in_force });
        }
        Ok(listed)
    }

    fn refused(error: PublishError, issuer: PartyId, schema: &SchemaId) -> MandateError {
        match error {
            PublishError::Refused(code) => MandateError::Refused { issuer, schema: schema.clone(), code },
            error => MandateError::Publish(error),
        }
    }
}
