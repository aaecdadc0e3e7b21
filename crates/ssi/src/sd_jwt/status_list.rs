//! Which credentials are revoked: one bit each, compressed and signed.
//!
//! An old list is as well signed as the newest, so whoever delivers lists could bring back a revoked credential for
//! as long as the old one runs. The verifier says from when on a list is new enough (`not_older_than`): the newest
//! that the ledger knows of.
//!
//! Source: draft-ietf-oauth-status-list, sections 4 and 5.

use super::error::StatusListError;
use super::facts::{instant_of, is_future, is_name, is_past};
use super::jwt::{self, Jwt};
use super::key::{SigningKey, TrustedIssuer, base64url_strict};
use super::limits::{SECONDS_MAX, STATUS_ENTRIES_MAX, STATUS_LIST_BYTES_MAX};
use super::{STATUS_LIST_TYPE, seconds};
use crate::did::base64url;
use eroam_domain::time::UnixMillis;
use flate2::{Compression, bufread::ZlibDecoder, write::ZlibEncoder};
use serde_json::{Value, json};
use std::fmt;
use std::io::{Read as _, Write as _};
use std::time::Duration;

/// One bit for each credential, set when it is revoked. Entries are made by eights.
#[derive(Clone, PartialEq, Eq)]
pub struct StatusList(Vec<u8>);

/// What is said about a list when it is signed.
#[derive(Clone, Debug)]
pub struct NewStatusList {
    /// Who issues it: who issues the credentials.
    pub issuer: String,
    /// Its name, as credentials have it.
    pub uri: String,
    /// When it is issued.
    pub issued_at: UnixMillis,
    /// Until when it is good at most.
    pub expires_at: UnixMillis,
    /// How long a verifier may keep it before it fetches it anew.
    pub ttl: Option<Duration>,
}

impl StatusList {
    /// A list with at least that many entries, none revoked.
    ///
    /// # Errors
    /// [`StatusListError::Size`].
    pub fn new(entries: u32) -> Result<Self, StatusListError> {
        let bytes = usize::try_from(entries.div_ceil(8)).ok();
        let bytes = bytes.filter(|_| (1..=STATUS_ENTRIES_MAX).contains(&entries));
        bytes.map(|bytes| Self(vec![0; bytes])).ok_or(StatusListError::Size { found: entries })
    }

    /// Says whether a credential is revoked.
    ///
    /// # Errors
    /// [`StatusListError::Index`].
    pub fn set(&mut self, index: u32, revoked: bool) -> Result<(), StatusListError> {
        let (byte, bit) = place(index);
        let byte = self.0.get_mut(byte).ok_or(StatusListError::Index { index })?;
        *byte = if revoked { *byte | bit } else { *byte & !bit };
        Ok(())
    }

    /// Whether a credential is revoked; `None` for an entry that is not in the list.
    #[must_use]
    pub fn is_revoked(&self, index: u32) -> Option<bool> {
        let (byte, bit) = place(index);
        self.0.get(byte).map(|byte| byte & bit != 0)
    }

    /// How many are revoked.
    #[must_use]
    pub fn revoked_count(&self) -> u32 {
        self.0.iter().map(|byte| byte.count_ones()).sum()
    }

    /// Signs the list.
    ///
    /// # Errors
    /// [`StatusListError::Claim`] for names and times that no verifier would take.
    pub fn sign(&self, new: &NewStatusList, key: &SigningKey) -> Result<String, StatusListError> {
        for (name, text) in [("iss", &new.issuer), ("sub", &new.uri)] {
            if !is_name(text) {
                return Err(StatusListError::Claim { name });
            }
        }
        let (from, until) = (seconds(new.issued_at), seconds(new.expires_at));
        if from >= until || until > SECONDS_MAX {
            return Err(StatusListError::Claim { name: "exp" });
        }
        let mut payload = json!({
            "iss": new.issuer,
            "sub": new.uri,
            "iat": from,
            "exp": until,
            "status_list": { "bits": 1, "lst": base64url::encode(&deflate(&self.0)?) },
        });
        if let (Some(ttl), Value::Object(payload)) = (new.ttl, &mut payload) {
            if ttl.as_secs() == 0 {
                return Err(StatusListError::Claim { name: "ttl" });
            }
            payload.insert("ttl".to_owned(), ttl.as_secs().into());
        }
        Ok(jwt::sign(STATUS_LIST_TYPE, None, &payload, key))
    }
}

impl fmt::Debug for StatusList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StatusList({} of {} bytes revoked)", self.revoked_count(), self.0.len())
    }
}

/// The first entry is the least significant bit of the first byte.
fn place(index: u32) -> (usize, u8) {
    (usize::try_from(index >> 3).unwrap_or(usize::MAX), 1_u8 << (index & 7))
}

fn deflate(bytes: &[u8]) -> Result<Vec<u8>, StatusListError> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).map_err(|_| StatusListError::Compression)
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, StatusListError> {
    let max = u64::from(STATUS_ENTRIES_MAX.div_ceil(8));
    let mut inflated = Vec::new();
    let mut reader = ZlibDecoder::new(bytes).take(max.saturating_add(1));
    reader.read_to_end(&mut inflated).map_err(|_| StatusListError::Compression)?;
    if reader.limit() == 0 {
        return Err(StatusListError::Inflated);
    }
    if inflated.is_empty() || !reader.into_inner().into_inner().is_empty() {
        return Err(StatusListError::Compression);
    }
    Ok(inflated)
}

/// A list whose issuer signed it and that is new enough. Only [`VerifiedStatusList::verify`] makes one.
#[derive(Clone)]
pub struct VerifiedStatusList {
    issuer: String,
    uri: String,
    issued_at: u64,
    good_until: u64,
    list: StatusList,
}

impl VerifiedStatusList {
    /// Checks a list that was fetched now as `uri`. The issuer of the credentials issues it.
    ///
    /// # Errors
    /// [`StatusListError`]: the first rule that is broken.
    pub fn verify(
        text: &str,
        issuer: &TrustedIssuer,
        uri: &str,
        not_older_than: UnixMillis,
        now: UnixMillis,
    ) -> Result<Self, StatusListError> {
        let jwt = Jwt::parse(text, STATUS_LIST_BYTES_MAX, STATUS_LIST_TYPE).map_err(StatusListError::Jwt)?;
        let payload = jwt.verify(issuer.key()).map_err(StatusListError::Jwt)?;
        // `iss` may be missing: the key is that issuer's.
        if payload.get("iss").is_some_and(|found| found != issuer.name()) {
            return Err(StatusListError::OtherIssuer { expected: issuer.name().to_owned() });
        }
        if payload.get("sub") != Some(&Value::from(uri)) {
            return Err(StatusListError::OtherList { expected: uri.to_owned() });
        }
        let instant = |name: &'static str| {
            let instant =
                payload.get(name).map(|value| instant_of(value).ok_or(StatusListError::Claim { name }));
            instant.transpose()
        };
        let at = instant("iat")?.ok_or(StatusListError::Claim { name: "iat" })?;
        if is_future(at, now) {
            return Err(StatusListError::IssuedInFuture { at });
        }
        let newest = seconds(not_older_than);
        if at < newest {
            return Err(StatusListError::Old { at, newest });
        }
        let (expires_at, ttl) = (instant("exp")?, instant("ttl")?);
        if let Some(at) = expires_at.filter(|at| is_past(*at, now)) {
            return Err(StatusListError::Expired { at });
        }
        if ttl == Some(0) {
            return Err(StatusListError::Claim { name: "ttl" });
        }
        let kept_until = ttl.map(|ttl| seconds(now).saturating_add(ttl));
        // Expired within the leeway: good for this moment and no longer.
        let until = expires_at.map(|at| at.max(seconds(now).saturating_add(1)));
        let good_until = until.into_iter().chain(kept_until).min();
        let good_until = good_until.ok_or(StatusListError::Claim { name: "exp" })?;
        let list = payload.get("status_list").and_then(Value::as_object);
        let list = list.ok_or(StatusListError::Claim { name: "status_list" })?;
        if list.get("bits") != Some(&Value::from(1)) {
            return Err(StatusListError::Bits);
        }
        let list = list.get("lst").and_then(Value::as_str).and_then(base64url_strict);
        let list = inflate(&list.ok_or(StatusListError::Claim { name: "lst" })?)?;
        let (issuer, uri) = (issuer.name().to_owned(), uri.to_owned());
        Ok(Self { issuer, uri, issued_at: at, good_until, list: StatusList(list) })
    }

    /// Who issued it.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Its name.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Whether a credential is revoked; `None` for an entry that is not in the list.
    #[must_use]
    pub fn is_revoked(&self, index: u32) -> Option<bool> {
        self.list.is_revoked(index)
    }

    /// Sees that it was not issued before another one of its name, which was fetched earlier.
    ///
    /// # Errors
    /// [`StatusListError::Old`].
    pub const fn not_before(&self, known: &Self) -> Result<(), StatusListError> {
        let (at, newest) = (self.issued_at, known.issued_at);
        if at < newest { Err(StatusListError::Old { at, newest }) } else { Ok(()) }
    }

    /// Seconds since 1970.
    pub(super) const fn issued_at(&self) -> u64 {
        self.issued_at
    }

    /// Seconds since 1970: then it is fetched anew.
    pub(super) const fn good_until(&self) -> u64 {
        self.good_until
    }
}

impl fmt::Debug for VerifiedStatusList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("VerifiedStatusList");
        shown.field("uri", &self.uri).field("issued_at", &self.issued_at).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Source: draft-ietf-oauth-status-list, section 4.1.
    #[test]
    fn the_specifications_example_is_read_bit_by_bit() {
        let list = StatusList(inflate(&base64url_strict("eNrbuRgAAhcBXQ").unwrap()).unwrap());
        assert_eq!(list.0, [0xb9, 0xa3]);
        let bits = [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1];
        for (index, bit) in bits.into_iter().enumerate() {
            assert_eq!(list.is_revoked(index.try_into().unwrap()), Some(bit == 1));
        }
        assert_eq!(list.is_revoked(16), None);
    }

    #[test]
    fn what_inflates_too_far_or_is_not_whole_is_refused() {
        let limit = usize::try_from(STATUS_ENTRIES_MAX / 8).unwrap();
        assert_eq!(inflate(&deflate(&vec![0; limit]).unwrap()).unwrap().len(), limit);
        let beyond = deflate(&vec![0; limit + 1]).unwrap();
        assert!(matches!(inflate(&beyond), Err(StatusListError::Inflated)));
        let bomb = deflate(&vec![0; 100 << 20]).unwrap();
        assert!(
            bomb.len() < STATUS_LIST_BYTES_MAX && matches!(inflate(&bomb), Err(StatusListError::Inflated))
        );
        let whole = deflate(&[0xb9; 100]).unwrap();
        let (mut longer, mut checksum) = (whole.clone(), whole.clone());
        longer.push(0);
        *checksum.last_mut().unwrap() ^= 1;
        for bytes in [&whole[..whole.len() - 1], &longer, &checksum, &whole[1..], b"", &deflate(b"").unwrap()]
        {
            assert!(matches!(inflate(bytes), Err(StatusListError::Compression)), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_deflated_is_inflated(bytes in proptest::collection::vec(any::<u8>(), 1..300)) {
            prop_assert_eq!(inflate(&deflate(&bytes).unwrap()).unwrap(), bytes);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = inflate(&bytes);
        }
    }
}
