//! What an issuer does: hide claims behind digests and sign them.

use super::claim_path::{ClaimPath, Step};
use super::disclosure::Disclosure;
use super::error::IssueError;
use super::facts::{StatusReference, is_name};
use super::holder::check_received;
use super::key::{SigningKey, TrustedIssuer, VerifyingKey};
use super::limits::{DECOYS_MAX, SECONDS_MAX};
use super::{CREDENTIAL_TYPE, ELEMENT, OPEN_CLAIMS, SD, SD_ALG, SHA_256, jwt, seconds};
use crate::did::base64url;
use crate::didcomm::CryptoRngCore;
use eroam_domain::time::UnixMillis;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt;

/// A credential to sign.
#[derive(Clone)]
pub struct IssueSdJwt {
    /// Who issues it, as verifiers know the key.
    pub issuer: String,
    /// Which of the issuer's keys, if that has to be said.
    pub key_id: Option<String>,
    /// The type of credential.
    pub vct: String,
    /// When it is issued.
    pub issued_at: UnixMillis,
    /// From when on it is good; from when it is issued, if that is not said.
    pub not_before: Option<UnixMillis>,
    /// Until when it is good.
    pub expires_at: UnixMillis,
    /// The holder's key.
    pub holder: VerifyingKey,
    /// Where it says whether it is revoked.
    pub status: Option<StatusReference>,
    /// What it says.
    pub claims: Map<String, Value>,
    /// Which of that the holder can hold back: claims of objects, elements of arrays.
    pub disclosable: BTreeSet<ClaimPath>,
    /// How many digests of nothing each object with hidden claims gets, so that their number says less.
    pub decoys: u8,
}

impl IssueSdJwt {
    /// Signs: the text for the holder, with all disclosures.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn sign(&self, key: &SigningKey, rng: &mut impl CryptoRngCore) -> Result<String, IssueError> {
        let texts = [("issuer", &self.issuer), ("vct", &self.vct)];
        let texts = texts.into_iter().chain(self.key_id.as_ref().map(|key_id| ("key_id", key_id)));
        let texts = texts.chain(self.status.as_ref().map(|status| ("status", &status.uri)));
        for (name, text) in texts {
            if !is_name(text) {
                return Err(IssueError::Text { name });
            }
        }
        let (from, until) = (self.not_before.unwrap_or(self.issued_at), seconds(self.expires_at));
        if seconds(from) >= until || seconds(self.issued_at) >= until || until > SECONDS_MAX {
            return Err(IssueError::Times);
        }
        if self.decoys > DECOYS_MAX {
            return Err(IssueError::Decoys { found: self.decoys });
        }
        if let Some(name) = self.claims.keys().find(|name| OPEN_CLAIMS.contains(&name.as_str())) {
            return Err(IssueError::Reserved { name: name.clone() });
        }
        let mut hide = Hide {
            paths: self.disclosable.clone(),
            disclosures: Vec::new(),
            path: Vec::new(),
            decoys: self.decoys,
        };
        let mut payload = hide.object(self.claims.clone(), rng)?;
        if let Some(path) = hide.paths.pop_first() {
            return Err(IssueError::NoSuchClaim(path));
        }
        let mut set = |name: &str, value: Value| payload.insert(name.to_owned(), value);
        set("iss", self.issuer.as_str().into());
        set("vct", self.vct.as_str().into());
        set("iat", seconds(self.issued_at).into());
        if let Some(from) = self.not_before {
            set("nbf", seconds(from).into());
        }
        set("exp", until.into());
        set("cnf", json!({ "jwk": self.holder.to_jwk() }));
        if let Some(StatusReference { uri, index }) = &self.status {
            set("status", json!({ "status_list": { "uri": uri, "idx": index } }));
        }
        if !hide.disclosures.is_empty() {
            set(SD_ALG, SHA_256.into());
        }
        let mut text = jwt::sign(CREDENTIAL_TYPE, self.key_id.as_deref(), &Value::Object(payload), key);
        text.push('~');
        for disclosure in &hide.disclosures {
            text.push_str(&disclosure.text);
            text.push('~');
        }
        // The reader's limits are the issuer's too.
        let own = TrustedIssuer::new(self.issuer.as_str(), key.verifying_key());
        let own = own.ok_or(IssueError::Text { name: "issuer" })?;
        check_received(&text, &own, &self.holder, from.max(self.issued_at))
            .map_err(IssueError::Unreadable)?;
        Ok(text)
    }
}

impl fmt::Debug for IssueSdJwt {
    /// Not what it says about whom.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("IssueSdJwt");
        shown.field("issuer", &self.issuer).field("vct", &self.vct).finish_non_exhaustive()
    }
}

struct Hide {
    /// What is still to be found.
    paths: BTreeSet<ClaimPath>,
    disclosures: Vec<Disclosure>,
    path: Vec<Step>,
    decoys: u8,
}

impl Hide {
    /// From the inside outwards, so that a hidden object can have hidden claims.
    fn object(
        &mut self,
        object: Map<String, Value>,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Map<String, Value>, IssueError> {
        let (mut open, mut digests) = (Map::new(), Vec::new());
        for (name, value) in object {
            if matches!(name.as_str(), SD | SD_ALG | ELEMENT) {
                return Err(IssueError::Reserved { name });
            }
            let (value, hidden) = self.within(Step::Name(name.clone()), value, rng)?;
            if hidden {
                digests.push(self.disclose(Some(&name), value, rng));
            } else {
                open.insert(name, value);
            }
        }
        if !digests.is_empty() {
            for _ in 0..self.decoys {
                let mut decoy = [0; 32];
                rng.fill_bytes(&mut decoy);
                digests.push(base64url::encode(&decoy));
            }
            // Sorted, their order says nothing about that of the claims.
            digests.sort();
            open.insert(SD.to_owned(), digests.into());
        }
        Ok(open)
    }

    fn within(
        &mut self,
        step: Step,
        value: Value,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(Value, bool), IssueError> {
        self.path.push(step);
        let hidden = self.paths.remove(&ClaimPath(self.path.clone()));
        let value = match value {
            Value::Object(object) => Value::Object(self.object(object, rng)?),
            Value::Array(array) => {
                let mut open = Vec::new();
                for (index, element) in array.into_iter().enumerate() {
                    let (element, hidden) = self.within(Step::Index(index), element, rng)?;
                    open.push(if hidden {
                        json!({ ELEMENT: self.disclose(None, element, rng) })
                    } else {
                        element
                    });
                }
                Value::Array(open)
            }
            value => value,
        };
        self.path.pop();
        Ok((value, hidden))
    }

    fn disclose(&mut self, name: Option<&str>, value: Value, rng: &mut impl CryptoRngCore) -> String {
        let disclosure = Disclosure::hide(name, value, rng);
        let digest = disclosure.digest.clone();
        self.disclosures.push(disclosure);
        digest
    }
}
