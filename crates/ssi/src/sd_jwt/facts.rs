//! What every credential says: who issued it to whom, and when it is good.

use super::error::SdJwtError;
use super::key::{TrustedIssuer, VerifyingKey};
use super::limits::{LEEWAY, SECONDS_MAX, STATUS_ENTRIES_MAX, URI_BYTES_MAX};
use eroam_domain::time::UnixMillis;
use serde_json::{Map, Value};

/// Where it says whether a credential is revoked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatusReference {
    /// The list's name.
    pub uri: String,
    /// The entry, from 0.
    pub index: u32,
}

/// What every credential says, of the right form.
pub(super) struct Facts {
    pub(super) issuer: String,
    pub(super) vct: String,
    pub(super) issued_at: Option<u64>,
    pub(super) not_before: Option<u64>,
    pub(super) expires_at: Option<u64>,
    pub(super) holder: VerifyingKey,
    pub(super) status: Option<StatusReference>,
}

impl Facts {
    pub(super) fn read(claims: &Map<String, Value>) -> Result<Self, SdJwtError> {
        let text = |name: &'static str| {
            let text = claims.get(name).and_then(Value::as_str).filter(|text| is_name(text));
            text.map(str::to_owned).ok_or(SdJwtError::Claim { name })
        };
        let (issuer, vct) = (text("iss")?, text("vct")?);
        let instant = |name: &'static str| {
            let instant = claims.get(name).map(|value| instant_of(value).ok_or(SdJwtError::Claim { name }));
            instant.transpose()
        };
        let (issued_at, not_before, expires_at) = (instant("iat")?, instant("nbf")?, instant("exp")?);
        // Other ways to name a key (kid, jku) would make the reader fetch one.
        let cnf = claims.get("cnf").and_then(Value::as_object).filter(|cnf| cnf.len() == 1);
        let jwk = cnf.and_then(|cnf| cnf.get("jwk")).ok_or(SdJwtError::Claim { name: "cnf" })?;
        let holder = VerifyingKey::from_jwk(jwk).map_err(SdJwtError::HolderKey)?;
        let status = claims.get("status").map(status).transpose()?;
        Ok(Self { issuer, vct, issued_at, not_before, expires_at, holder, status })
    }

    /// Whether it is by that issuer and good at that time.
    pub(super) fn check(&self, issuer: &TrustedIssuer, now: UnixMillis) -> Result<(), SdJwtError> {
        if self.issuer != issuer.name() {
            return Err(SdJwtError::OtherIssuer { expected: issuer.name().to_owned() });
        }
        if let Some(at) = self.issued_at.filter(|at| is_future(*at, now)) {
            return Err(SdJwtError::IssuedInFuture { at });
        }
        if let Some(from) = self.not_before.filter(|from| is_future(*from, now)) {
            return Err(SdJwtError::NotYetValid { from });
        }
        if let Some(at) = self.expires_at.filter(|at| is_past(*at, now)) {
            return Err(SdJwtError::Expired { at });
        }
        Ok(())
    }
}

/// A way to say the status that is not known says nothing, so the credential is not taken.
fn status(status: &Value) -> Result<StatusReference, SdJwtError> {
    let list =
        status.as_object().filter(|status| status.len() == 1).and_then(|status| status.get("status_list"));
    let uri = list.and_then(|list| list.get("uri")?.as_str()).filter(|uri| is_name(uri));
    let index = list.and_then(|list| u32::try_from(list.get("idx")?.as_u64()?).ok());
    match (uri, index.filter(|index| *index < STATUS_ENTRIES_MAX)) {
        (Some(uri), Some(index)) => Ok(StatusReference { uri: uri.to_owned(), index }),
        _ => Err(SdJwtError::Claim { name: "status" }),
    }
}

pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= URI_BYTES_MAX
}

pub(super) fn instant_of(value: &Value) -> Option<u64> {
    value.as_u64().filter(|seconds| *seconds <= SECONDS_MAX)
}

/// Later than now, however the clocks differ.
pub(super) fn is_future(at: u64, now: UnixMillis) -> bool {
    at > super::seconds(now).saturating_add(LEEWAY.as_secs())
}

/// Over, however the clocks differ.
pub(super) fn is_past(at: u64, now: UnixMillis) -> bool {
    at.saturating_add(LEEWAY.as_secs()) <= super::seconds(now)
}
