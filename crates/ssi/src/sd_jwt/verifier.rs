//! What a verifier does: find out whom a presentation says it is by, and check everything.

use super::claim_path::ClaimPath;
use super::disclosure::Parts;
use super::error::SdJwtError;
use super::facts::{Facts, StatusReference, is_future};
use super::jwt::Jwt;
use super::key::{TrustedIssuer, VerifyingKey};
use super::limits::{JWT_BYTES_MAX, KEY_BINDING_BYTES_MAX, LEEWAY};
use super::status_list::VerifiedStatusList;
use super::unpack::unpack;
use super::{CREDENTIAL_TYPE, KEY_BINDING_TYPE, digest, seconds};
use eroam_domain::time::UnixMillis;
use serde_json::{Map, Value};
use std::fmt;
use std::time::Duration;

/// What to do with credentials that cannot be revoked, since their issuer gave them no status list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WithoutStatus {
    /// They are refused.
    Refused,
    /// They are good until they expire.
    Accepted,
}

/// What a verifier asks for.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// The type of credential.
    pub vct: &'a str,
    /// Who asks, as the holder was told.
    pub audience: &'a str,
    /// The question's number: never asked before, not to be guessed.
    pub nonce: &'a str,
    /// How long an answer is good.
    pub fresh_for: Duration,
    /// The status lists at hand.
    pub status_lists: &'a [VerifiedStatusList],
    /// What to do with credentials that name none.
    pub without_status: WithoutStatus,
}

/// A presentation that was read, and of which nothing is known to be true.
pub struct PresentedSdJwt<'a> {
    parts: Parts<'a>,
    jwt: Jwt<'a>,
    key_binding: Jwt<'a>,
    claimed: Facts,
}

impl<'a> PresentedSdJwt<'a> {
    /// Reads a presentation.
    ///
    /// # Errors
    /// [`SdJwtError`]: form, limits, headers, digests and the claims that every credential has.
    pub fn parse(text: &'a str) -> Result<Self, SdJwtError> {
        let parts = Parts::split(text)?;
        let jwt = Jwt::parse(parts.jwt, JWT_BYTES_MAX, CREDENTIAL_TYPE).map_err(SdJwtError::Issuer)?;
        let payload = jwt.unverified_payload().map_err(SdJwtError::Issuer)?;
        let claimed = Facts::read(&payload)?;
        let key_binding = parts.key_binding.ok_or(SdJwtError::Unbound)?;
        let key_binding = Jwt::parse(key_binding, KEY_BINDING_BYTES_MAX, KEY_BINDING_TYPE);
        Ok(Self { parts, jwt, key_binding: key_binding.map_err(SdJwtError::KeyBinding)?, claimed })
    }

    /// Who issued it, as it says: to look up the key.
    #[must_use]
    pub fn claimed_issuer(&self) -> &str {
        &self.claimed.issuer
    }

    /// Which of the issuer's keys, as it says.
    #[must_use]
    pub fn claimed_key_id(&self) -> Option<&str> {
        self.jwt.key_id()
    }

    /// Where its status is, as it says: to fetch the list.
    #[must_use]
    pub const fn claimed_status(&self) -> Option<&StatusReference> {
        self.claimed.status.as_ref()
    }

    /// Checks everything, in this order: the issuer's signature, digests and disclosures, issuer, times, type, the
    /// holder's signature, audience, nonce, its age, the hash, the status.
    ///
    /// # Errors
    /// [`SdJwtError`]: the first rule that is broken.
    pub fn verify(
        &self,
        issuer: &TrustedIssuer,
        demand: &Demand<'_>,
        now: UnixMillis,
    ) -> Result<VerifiedSdJwt, SdJwtError> {
        let payload = self.jwt.verify(issuer.key()).map_err(SdJwtError::Issuer)?;
        let claims = unpack(payload, &self.parts.disclosures)?.claims;
        let facts = Facts::read(&claims)?;
        facts.check(issuer, now)?;
        if facts.vct != demand.vct {
            return Err(SdJwtError::OtherType { expected: demand.vct.to_owned() });
        }
        self.check_binding(&facts.holder, demand, now)?;
        check_status(facts.status.as_ref(), issuer, demand, now)?;
        let Facts { issuer, vct, expires_at, holder, status, .. } = facts;
        let expires_at = expires_at.and_then(|at| at.checked_mul(1000)).and_then(|ms| i64::try_from(ms).ok());
        let expires_at = expires_at.and_then(UnixMillis::new);
        Ok(VerifiedSdJwt { issuer, vct, expires_at, holder, status, claims })
    }

    fn check_binding(
        &self,
        holder: &VerifyingKey,
        demand: &Demand<'_>,
        now: UnixMillis,
    ) -> Result<(), SdJwtError> {
        let binding = self.key_binding.verify(holder).map_err(SdJwtError::KeyBinding)?;
        let text =
            |name: &'static str| binding.get(name).and_then(Value::as_str).ok_or(SdJwtError::Claim { name });
        if text("aud")? != demand.audience {
            return Err(SdJwtError::Audience);
        }
        if text("nonce")? != demand.nonce {
            return Err(SdJwtError::Nonce);
        }
        let at = binding.get("iat").and_then(super::facts::instant_of);
        let at = at.ok_or(SdJwtError::Claim { name: "iat" })?;
        if is_future(at, now) {
            return Err(SdJwtError::BoundInFuture { at });
        }
        let good_until = at.saturating_add(demand.fresh_for.as_secs()).saturating_add(LEEWAY.as_secs());
        if good_until < seconds(now) {
            return Err(SdJwtError::BoundLongAgo { at });
        }
        if text("sd_hash")? == digest(self.parts.bound) { Ok(()) } else { Err(SdJwtError::SdHash) }
    }
}

impl fmt::Debug for PresentedSdJwt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresentedSdJwt").field("claimed_issuer", &self.claimed.issuer).finish_non_exhaustive()
    }
}

fn check_status(
    status: Option<&StatusReference>,
    issuer: &TrustedIssuer,
    demand: &Demand<'_>,
    now: UnixMillis,
) -> Result<(), SdJwtError> {
    let Some(StatusReference { uri, index }) = status else {
        return match demand.without_status {
            WithoutStatus::Accepted => Ok(()),
            WithoutStatus::Refused => Err(SdJwtError::WithoutStatus),
        };
    };
    let (uri, index) = (uri.clone(), *index);
    let lists = demand.status_lists.iter().filter(|list| list.uri() == uri && list.issuer() == issuer.name());
    let Some(list) = lists.max_by_key(|list| list.issued_at()) else {
        return Err(SdJwtError::StatusUnknown { uri });
    };
    if list.good_until() <= seconds(now) {
        return Err(SdJwtError::StatusStale { uri, until: list.good_until() });
    }
    match list.is_revoked(index) {
        None => Err(SdJwtError::StatusIndex { uri, index }),
        Some(true) => Err(SdJwtError::Revoked { uri }),
        Some(false) => Ok(()),
    }
}

/// A presentation that answers a [`Demand`]: every rule held. Only [`PresentedSdJwt::verify`] makes one.
#[derive(Clone)]
pub struct VerifiedSdJwt {
    issuer: String,
    vct: String,
    expires_at: Option<UnixMillis>,
    holder: VerifyingKey,
    status: Option<StatusReference>,
    claims: Map<String, Value>,
}

impl VerifiedSdJwt {
    /// Who issued it.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Its type.
    #[must_use]
    pub fn vct(&self) -> &str {
        &self.vct
    }

    /// Until when it is good; for ever, if its issuer did not say.
    #[must_use]
    pub const fn expires_at(&self) -> Option<UnixMillis> {
        self.expires_at
    }

    /// Whose it is.
    #[must_use]
    pub const fn holder(&self) -> &VerifyingKey {
        &self.holder
    }

    /// Where it was found not to be revoked.
    #[must_use]
    pub const fn status(&self) -> Option<&StatusReference> {
        self.status.as_ref()
    }

    /// What it says as far as it is disclosed.
    #[must_use]
    pub const fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// One of the claims, if it is disclosed. Positions in arrays count what is disclosed.
    #[must_use]
    pub fn claim(&self, path: &ClaimPath) -> Option<&Value> {
        super::holder::find(&self.claims, path)
    }
}

impl fmt::Debug for VerifiedSdJwt {
    /// Not what it says about whom.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("VerifiedSdJwt");
        shown.field("issuer", &self.issuer).field("vct", &self.vct).finish_non_exhaustive()
    }
}
