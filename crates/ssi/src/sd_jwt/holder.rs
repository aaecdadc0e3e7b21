//! What a holder does: check what an issuer sends, keep it, show as much of it as is asked for.

use super::claim_path::ClaimPath;
use super::disclosure::{Disclosure, Parts};
use super::error::{PresentError, SdJwtError};
use super::facts::{Facts, StatusReference};
use super::jwt::{self, Jwt};
use super::key::{SigningKey, TrustedIssuer, VerifyingKey};
use super::limits::{AUDIENCE_BYTES_MAX, JWT_BYTES_MAX, NONCE_BYTES_MAX};
use super::unpack::{Unpacked, unpack};
use super::{CREDENTIAL_TYPE, KEY_BINDING_TYPE, digest, seconds};
use eroam_domain::time::UnixMillis;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt;

/// A credential with the key that it was made for.
pub struct HeldSdJwt {
    /// As the issuer sent it.
    text: String,
    jwt: String,
    disclosures: Vec<Disclosure>,
    unpacked: Unpacked,
    facts: Facts,
    key: SigningKey,
}

impl HeldSdJwt {
    /// Takes what an issuer sent: it is by that issuer, good now, and for this key.
    ///
    /// # Errors
    /// [`SdJwtError`].
    pub fn receive(
        text: &str,
        issuer: &TrustedIssuer,
        key: SigningKey,
        now: UnixMillis,
    ) -> Result<Self, SdJwtError> {
        check_received(text, issuer, &key.verifying_key(), now)?;
        Self::restore(text, key)
    }

    /// Takes what [`HeldSdJwt::receive`] took before, from the holder's own encrypted file: the issuer's signature
    /// and the time are not looked at again.
    ///
    /// # Errors
    /// [`SdJwtError`].
    pub fn restore(text: &str, key: SigningKey) -> Result<Self, SdJwtError> {
        let parts = Parts::split(text)?;
        if parts.key_binding.is_some() {
            return Err(SdJwtError::Bound);
        }
        let jwt = Jwt::parse(parts.jwt, JWT_BYTES_MAX, CREDENTIAL_TYPE).map_err(SdJwtError::Issuer)?;
        let payload = jwt.unverified_payload().map_err(SdJwtError::Issuer)?;
        let unpacked = unpack(payload, &parts.disclosures)?;
        let facts = Facts::read(&unpacked.claims)?;
        if facts.holder != key.verifying_key() {
            return Err(SdJwtError::OtherHolder);
        }
        let (text, jwt) = (text.to_owned(), parts.jwt.to_owned());
        Ok(Self { text, jwt, disclosures: parts.disclosures, unpacked, facts, key })
    }

    /// As the issuer sent it, for the holder's encrypted file: it says everything.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The key that it was made for.
    #[must_use]
    pub const fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Who issued it.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.facts.issuer
    }

    /// Its type.
    #[must_use]
    pub fn vct(&self) -> &str {
        &self.facts.vct
    }

    /// When it ends, to the second; `None` if it never does.
    #[must_use]
    pub fn expires_at(&self) -> Option<UnixMillis> {
        // A second that is beyond what a time holds is as good as none.
        let seconds = i64::try_from(self.facts.expires_at?).ok()?;
        UnixMillis::new(seconds.checked_mul(1_000)?)
    }

    /// Where it says whether it is revoked.
    #[must_use]
    pub const fn status(&self) -> Option<&StatusReference> {
        self.facts.status.as_ref()
    }

    /// Everything that it says.
    #[must_use]
    pub const fn claims(&self) -> &Map<String, Value> {
        &self.unpacked.claims
    }

    /// What can be held back.
    pub fn disclosable(&self) -> impl Iterator<Item = &ClaimPath> {
        self.unpacked.places.iter()
    }

    /// Shows the open claims and `disclose`, with what leads to those; whatever is hidden within a claim has to be
    /// named itself. Answers `nonce` of `audience`.
    ///
    /// # Errors
    /// [`PresentError`].
    pub fn present(
        &self,
        disclose: &BTreeSet<ClaimPath>,
        audience: &str,
        nonce: &str,
        now: UnixMillis,
    ) -> Result<String, PresentError> {
        if audience.is_empty() || audience.len() > AUDIENCE_BYTES_MAX {
            return Err(PresentError::Audience);
        }
        if nonce.is_empty() || nonce.len() > NONCE_BYTES_MAX {
            return Err(PresentError::Nonce);
        }
        if let Some(path) = disclose.iter().find(|path| find(&self.unpacked.claims, path).is_none()) {
            return Err(PresentError::NoSuchClaim(path.clone()));
        }
        let mut text = format!("{}~", self.jwt);
        for (disclosure, place) in self.disclosures.iter().zip(&self.unpacked.places) {
            if disclose.iter().any(|path| path.0.starts_with(&place.0)) {
                text.push_str(&disclosure.text);
                text.push('~');
            }
        }
        let binding =
            json!({ "aud": audience, "nonce": nonce, "iat": seconds(now), "sd_hash": digest(&text) });
        text.push_str(&jwt::sign(KEY_BINDING_TYPE, None, &binding, &self.key));
        Ok(text)
    }
}

impl fmt::Debug for HeldSdJwt {
    /// Not what it says about whom.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("HeldSdJwt");
        shown.field("issuer", &self.facts.issuer).field("vct", &self.facts.vct).finish_non_exhaustive()
    }
}

/// Checks what an issuer sends.
pub(super) fn check_received(
    text: &str,
    issuer: &TrustedIssuer,
    holder: &VerifyingKey,
    now: UnixMillis,
) -> Result<(), SdJwtError> {
    let parts = Parts::split(text)?;
    if parts.key_binding.is_some() {
        return Err(SdJwtError::Bound);
    }
    let jwt = Jwt::parse(parts.jwt, JWT_BYTES_MAX, CREDENTIAL_TYPE).map_err(SdJwtError::Issuer)?;
    let payload = jwt.verify(issuer.key()).map_err(SdJwtError::Issuer)?;
    let facts = Facts::read(&unpack(payload, &parts.disclosures)?.claims)?;
    facts.check(issuer, now)?;
    if facts.holder == *holder { Ok(()) } else { Err(SdJwtError::OtherHolder) }
}

/// The claim at a place.
pub(super) fn find<'a>(claims: &'a Map<String, Value>, path: &ClaimPath) -> Option<&'a Value> {
    use super::claim_path::Step;
    let (first, rest) = path.0.split_first()?;
    let Step::Name(name) = first else { return None };
    rest.iter().try_fold(claims.get(name)?, |value, step| match step {
        Step::Name(name) => value.as_object()?.get(name),
        Step::Index(index) => value.as_array()?.get(*index),
    })
}
