//! Whose station it is: a wallet believes the credential that an operator of the ledger signed, if it was not revoked.

use super::super::catalogue::CatalogueError;
use super::super::operator::STATION_VCT;
use super::super::staleness::STALENESS_MAX;
use super::super::station::{Mode, SD_JWT, SD_JWT_REQUEST, StationDemand};
use super::super::station_credentials::operator_of;
use super::super::{ChargingError, paper, proving};
use super::{LIST_AGE, Wallet, text};
use crate::agent::new_id;
use crate::clock::{is_younger, now};
use eroam_domain::ids::{EroamDid, PartyId};
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use eroam_domain::visit::StationClaims;
use eroam_ssi::anoncreds::Nonce;
use eroam_ssi::protocol::did_exchange::Connection;
use eroam_ssi::protocol::out_of_band::Invitation;
use eroam_ssi::protocol::problem_report;
use eroam_ssi::sd_jwt::{
    Demand, PresentedSdJwt, TrustedIssuer, VerifiedSdJwt, VerifiedStatusList, WithoutStatus,
};
use std::sync::PoisonError;
use std::time::Duration;

/// So long an answer to a nonce of ours is good.
const STATION_PROOF_FOR: Duration = Duration::from_secs(60);

/// An operator signs its list of revoked stations anew for whoever asks: one that was signed longer ago than what of the
/// ledger may be old ([`STALENESS_MAX`]) was kept back by somebody.
const LIST_ISSUED_WITHIN: DurationMs = DurationMs::from_millis(STALENESS_MAX.as_secs() * 1_000);

impl Wallet {
    /// Looks whose station an invitation leads to, and whether it is genuine, and goes away.
    ///
    /// # Errors
    /// [`ChargingError`], with a sentence for the driver.
    pub fn scan(&self, invitation: &Invitation) -> Result<StationClaims, ChargingError> {
        let connection = self.scan_code(invitation)?;
        let station = self.check_station(&connection);
        self.leave(&connection);
        self.agent.forget(&connection);
        station
    }

    /// Connects with the station of an invitation.
    pub(super) fn scan_code(&self, invitation: &Invitation) -> Result<Connection, ChargingError> {
        let connected =
            self.patience.wait("the station", || self.agent.connect(invitation, self.patience.within()));
        connected.map_err(ChargingError::of_scan)
    }

    /// Leaves a station that was asked for nothing: others may be waiting behind us.
    pub(super) fn leave(&self, connection: &Connection) {
        let farewell = problem_report::farewell(new_id(), "only looking");
        let _ = self.agent.send(connection, &farewell);
    }

    /// Has the station prove that its operator vouches for it, and that it was not revoked.
    pub(super) fn check_station(&self, connection: &Connection) -> Result<StationClaims, ChargingError> {
        let checked = self.patience.wait("the station's proof", || self.have_proved(connection));
        checked.map_err(|error| error.of_silence(ChargingError::StationSilent))
    }

    fn have_proved(&self, connection: &Connection) -> Result<StationClaims, ChargingError> {
        if self.mode == Mode::Paper {
            return paper::ask_station(&self.agent, connection, &self.catalogue);
        }
        let nonce = Nonce::random()?.as_decimal().to_owned();
        let demand = StationDemand { nonce: nonce.clone(), vct: STATION_VCT.to_owned() };
        let asked = serde_json::to_vec(&demand)
            .map_err(|error| ChargingError::unexpected("a request for the station's credential", error))?;
        let awaited = proving::ask_proof(&self.agent, connection, SD_JWT_REQUEST, asked)?;
        let shown = awaited.shown(&self.agent, connection, SD_JWT);
        let shown = shown.map_err(ChargingError::of_station_silence)?;
        let shown = String::from_utf8(shown)
            .map_err(|error| ChargingError::unexpected("the station's credential", error))?;
        let presented = PresentedSdJwt::parse(&shown).map_err(ChargingError::Station)?;
        let did = presented.claimed_issuer().to_owned();
        let (issuer, operator) = self.operator(&did)?;
        let verify = |issuer: &TrustedIssuer| self.verify(&presented, issuer, connection, &nonce);
        let verified = match verify(&issuer) {
            Ok(verified) => verified,
            // The operator may sign with another key since its key was looked up.
            Err(error) => match self.look_up_operator(&did)? {
                (newest, _) if newest != issuer => verify(&newest)?,
                _ => return Err(error),
            },
        };
        let claims = serde_json::Value::Object(verified.claims().clone());
        let claims: StationClaims = serde_json::from_value(claims)
            .map_err(|error| ChargingError::unexpected("the station's credential", error))?;
        if claims.operator != operator {
            return Err(ChargingError::unexpected("the station's operator", claims.operator));
        }
        Ok(claims)
    }

    /// Verifies what a station showed on a connection in answer to a nonce.
    fn verify(
        &self,
        presented: &PresentedSdJwt,
        issuer: &TrustedIssuer,
        connection: &Connection,
        nonce: &str,
    ) -> Result<VerifiedSdJwt, ChargingError> {
        let status = presented.claimed_status().map(|status| status.uri.clone());
        let lists: Vec<_> =
            status.map(|uri| self.status_list(&uri, issuer)).transpose()?.into_iter().collect();
        let audience = connection.channel().ours.to_multikey();
        let demand = Demand {
            vct: STATION_VCT,
            audience: &audience,
            nonce,
            fresh_for: STATION_PROOF_FOR,
            status_lists: &lists,
            without_status: WithoutStatus::Refused,
        };
        presented.verify(issuer, &demand, now()).map_err(ChargingError::of_station)
    }

    /// The key with which an operator's stations are vouched for, as the ledger said when it was looked up last.
    fn operator(&self, did: &str) -> Result<(TrustedIssuer, PartyId), ChargingError> {
        let known = self.operators.lock().unwrap_or_else(PoisonError::into_inner).issuers.get(did).cloned();
        known.map_or_else(|| self.look_up_operator(did), Ok)
    }

    /// As [`Wallet::operator`], as the ledger says now.
    fn look_up_operator(&self, did: &str) -> Result<(TrustedIssuer, PartyId), ChargingError> {
        let parsed: EroamDid =
            did.parse().map_err(|error| ChargingError::unexpected("the station's operator", error))?;
        let found = operator_of(&self.catalogue, parsed).map_err(|error| match error {
            ChargingError::Catalogue(error @ CatalogueError::None(_)) => ChargingError::ForeignStation(error),
            error => error,
        })?;
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        operators.issuers.insert(did.to_owned(), found.clone());
        Ok(found)
    }

    /// An operator's list of revoked stations.
    fn status_list(&self, uri: &str, issuer: &TrustedIssuer) -> Result<VerifiedStatusList, ChargingError> {
        {
            let operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((list, at)) = operators.lists.get(uri)
                && is_younger(*at, LIST_AGE)
            {
                return Ok(list.clone());
            }
        }
        let away = |source: Box<dyn std::error::Error + Send + Sync>| ChargingError::StationListAway {
            url: uri.to_owned(),
            source,
        };
        let sent = self.http.get(uri).call().map_err(|error| away(error.into()))?;
        let (status, text) = text(sent).map_err(|error| away(error.into()))?;
        if status != 200 {
            return Err(away(format!("the server answers with status {status}").into()));
        }
        let at = now();
        let oldest = at.checked_sub(LIST_ISSUED_WITHIN).unwrap_or(UnixMillis::EPOCH);
        let list = VerifiedStatusList::verify(&text, issuer, uri, oldest, at);
        let list = list.map_err(|error| ChargingError::of_station_list(uri, error))?;
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, _)) = operators.lists.get(uri) {
            list.not_before(known).map_err(|error| ChargingError::of_station_list(uri, error))?;
        }
        operators.lists.insert(uri.to_owned(), (list.clone(), at));
        Ok(list)
    }
}
