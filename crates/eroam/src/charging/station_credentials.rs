//! What a station shows of itself: the credential that its operator gave it, and paper B's beside it where drivers ask for
//! that. Wallets believe it by the key that the ledger lists for the operator at the moment; when it is renewed is in
//! [`super::station`].

use super::ChargingError;
use super::catalogue::Catalogue;
use super::operator::station_issuer_key;
use super::paper::{KeptHolder, StationHolder};
use super::proving;
use super::state::{AgentState, Changes};
use super::station::Mode;
use crate::agent::Agent;
use crate::agent::kept::KeptConnection;
use crate::clock::now;
use crate::tails_cache::TailsCache;
use eroam_domain::ids::{EroamDid, PartyId};
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use eroam_domain::visit::StationClaims;
use eroam_ledger::registry::DidRecord;
use eroam_ledger::state::StateKey;
use eroam_ssi::protocol::did_exchange::Connection;
use eroam_ssi::protocol::station_registration::StationRegistration;
use eroam_ssi::sd_jwt::{HeldSdJwt, JwtError, SdJwtError, SigningKey, TrustedIssuer};
use serde::{Deserialize, Serialize};

/// Records of the station.
pub(super) const STATION_RECORD: &str = "station";
/// What the operator gave.
const REGISTERED: &str = "registered";
/// Paper B's credential.
const PAPER: &str = "paper";

/// The key with which an operator signs stations' credentials now, and who it is: looked up in the ledger anew, by proof.
///
/// # Errors
/// [`ChargingError`].
pub(crate) fn operator_of(
    catalogue: &Catalogue,
    did: EroamDid,
) -> Result<(TrustedIssuer, PartyId), ChargingError> {
    let name = did.to_string();
    let record: DidRecord = catalogue.entry(&StateKey::Did(did), &name)?;
    let issuer = station_issuer_key(&record.document.services).and_then(|key| TrustedIssuer::new(name, key));
    let issuer = issuer.ok_or_else(|| {
        ChargingError::unexpected("the station's operator", format!("{did} vouches for no stations"))
    })?;
    Ok((issuer, record.member))
}

/// What the operator gave.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptRegistration {
    sd_jwt: String,
    operator: KeptConnection,
}

/// The credentials of a station.
pub(super) struct StationCredentials {
    /// The station's own, with its key.
    pub(super) sd_jwt: HeldSdJwt,
    /// Paper B's.
    pub(super) paper: Option<StationHolder>,
}

/// Who asks for them, and of whom.
pub(super) struct Applicant<'a> {
    pub(super) agent: &'a Agent,
    pub(super) operator: &'a Connection,
    /// Signs the operator's credentials, as the ledger says.
    pub(super) operator_key: &'a TrustedIssuer,
    pub(super) claims: &'a StationClaims,
    /// What is on the post.
    pub(super) invitation: String,
    pub(super) catalogue: &'a Catalogue,
    pub(super) tails: &'a TailsCache,
    pub(super) mode: Mode,
}

impl StationCredentials {
    /// What was kept, with the connection to the operator; nothing at the first start.
    pub(super) fn kept(
        state: &AgentState,
        agent: &Agent,
        key: &SigningKey,
        mode: Mode,
    ) -> Result<Option<(Self, Connection)>, ChargingError> {
        let Some(kept) = state.get::<KeptRegistration>(STATION_RECORD, REGISTERED)? else { return Ok(None) };
        let key = SigningKey::from_scalar(&key.to_scalar())?;
        let sd_jwt = HeldSdJwt::restore(&kept.sd_jwt, key).map_err(ChargingError::SdJwt)?;
        let paper = match (mode, state.get::<KeptHolder>(STATION_RECORD, PAPER)?) {
            (Mode::Default, _) => None,
            // It registered before drivers asked for that here.
            (Mode::Paper, None) => return Ok(None),
            (Mode::Paper, Some(kept)) => Some(StationHolder::restore(&kept)?),
        };
        Ok(Some((Self { sd_jwt, paper }, agent.take_up_connection(&kept.operator)?)))
    }

    /// Registers with the operator, or again, and keeps what it gives.
    pub(super) fn ask(
        applicant: &Applicant<'_>,
        key: &SigningKey,
        state: &AgentState,
    ) -> Result<Self, ChargingError> {
        let Applicant { agent, operator, operator_key, claims, invitation, catalogue, tails, mode } =
            applicant;
        let channel = operator.channel();
        let registration = StationRegistration::sign(
            (*claims).clone(),
            invitation.clone(),
            key,
            &channel.ours,
            &channel.theirs,
        );
        let given = proving::question(agent, operator, &registration)?;
        let key = SigningKey::from_scalar(&key.to_scalar())?;
        let sd_jwt =
            HeldSdJwt::receive(&given.sd_jwt, operator_key, key, now()).map_err(ChargingError::SdJwt)?;
        let paper = match mode {
            Mode::Default => None,
            Mode::Paper => Some(StationHolder::take(agent, operator, catalogue, tails)?),
        };
        // Together: the operator offers paper B's credential once for a registration.
        let kept =
            KeptRegistration { sd_jwt: sd_jwt.text().to_owned(), operator: agent.keep_connection(operator)? };
        let mut changes = Changes::new().put(STATION_RECORD, REGISTERED, &kept);
        if let Some(holder) = &paper {
            changes = changes.put(STATION_RECORD, PAPER, &holder.keep()?);
        }
        state.write(changes)?;
        Ok(Self { sd_jwt, paper })
    }

    /// Whether the station's own is signed with the key that its operator has now: wallets believe no other.
    pub(super) fn are_signed_with(&self, operator_key: &TrustedIssuer) -> Result<bool, ChargingError> {
        let key = SigningKey::from_scalar(&self.sd_jwt.key().to_scalar())?;
        match HeldSdJwt::receive(self.sd_jwt.text(), operator_key, key, now()) {
            Err(SdJwtError::Issuer(JwtError::Signature)) => Ok(false),
            // Whatever else is wrong with it, another key does not mend.
            _ => Ok(true),
        }
    }

    /// Whether they are over so long after `at`.
    pub(super) fn end_within(&self, left: DurationMs, at: UnixMillis) -> bool {
        let ends = self.sd_jwt.expires_at();
        ends.is_some_and(|ends| at.checked_add(left).is_none_or(|then| then >= ends))
    }
}
