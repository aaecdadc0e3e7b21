//! Puts disclosed claims where their digests are.
//!
//! Source: RFC 9901, section 7.1, step 3.

use super::claim_path::{ClaimPath, Step};
use super::disclosure::Disclosure;
use super::error::SdJwtError;
use super::{ELEMENT, OPEN_CLAIMS, SD, SD_ALG, SHA_256};
use crate::json::DEPTH_MAX;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What a credential says as far as it is disclosed.
pub(super) struct Unpacked {
    /// Without digests.
    pub(super) claims: Map<String, Value>,
    /// The place of each disclosure, in the order in which the disclosures are given.
    pub(super) places: Vec<ClaimPath>,
}

/// Puts all disclosures into a payload.
pub(super) fn unpack(
    mut payload: Map<String, Value>,
    disclosures: &[Disclosure],
) -> Result<Unpacked, SdJwtError> {
    if payload.remove(SD_ALG).is_some_and(|algorithm| algorithm != SHA_256) {
        return Err(SdJwtError::DigestAlgorithm);
    }
    let mut walk = Walk {
        waiting: BTreeMap::new(),
        seen: BTreeSet::new(),
        places: vec![None; disclosures.len()],
        path: Vec::new(),
    };
    for (index, disclosure) in disclosures.iter().enumerate() {
        if walk.waiting.insert(&disclosure.digest, (index, disclosure)).is_some() {
            return Err(SdJwtError::DisclosureTwice { index });
        }
    }
    let claims = walk.object(payload, DEPTH_MAX)?;
    let places = walk.places.into_iter().enumerate();
    let places = places.map(|(index, place)| place.ok_or(SdJwtError::DisclosureUnreferenced { index }));
    Ok(Unpacked { claims, places: places.collect::<Result<_, _>>()? })
}

struct Walk<'a> {
    /// Disclosures by their digest, until their place is found.
    waiting: BTreeMap<&'a str, (usize, &'a Disclosure)>,
    seen: BTreeSet<String>,
    places: Vec<Option<ClaimPath>>,
    path: Vec<Step>,
}

impl<'a> Walk<'a> {
    fn object(
        &mut self,
        mut object: Map<String, Value>,
        depth_left: usize,
    ) -> Result<Map<String, Value>, SdJwtError> {
        let at_top = self.path.is_empty();
        let digests = match object.remove(SD) {
            None => Vec::new(),
            Some(Value::Array(digests)) => digests,
            Some(_) => return Err(SdJwtError::DigestForm),
        };
        if object.contains_key(ELEMENT) || object.contains_key(SD_ALG) {
            return Err(SdJwtError::DigestForm);
        }
        let mut open = Map::new();
        for (name, value) in object {
            let value = self.within(Step::Name(name.clone()), value, depth_left)?;
            open.insert(name, value);
        }
        for digest in digests {
            let Some((index, disclosure)) = self.take(digest)? else { continue };
            let name = disclosure.name.as_deref().ok_or(SdJwtError::DisclosurePlace { index })?;
            if matches!(name, SD | ELEMENT | SD_ALG) || at_top && OPEN_CLAIMS.contains(&name) {
                return Err(SdJwtError::DisclosureName { index });
            }
            if open.contains_key(name) {
                return Err(SdJwtError::ClaimTwice { index });
            }
            let value = self.disclosed(index, Step::Name(name.to_owned()), disclosure, depth_left)?;
            open.insert(name.to_owned(), value);
        }
        Ok(open)
    }

    fn array(&mut self, array: Vec<Value>, depth_left: usize) -> Result<Vec<Value>, SdJwtError> {
        let mut open = Vec::new();
        for element in array {
            let step = Step::Index(open.len());
            match element {
                Value::Object(mut object) if object.contains_key(ELEMENT) => {
                    let digest = object.remove(ELEMENT).filter(|_| object.is_empty());
                    let digest = digest.ok_or(SdJwtError::DigestForm)?;
                    let Some((index, disclosure)) = self.take(digest)? else { continue };
                    if disclosure.name.is_some() {
                        return Err(SdJwtError::DisclosurePlace { index });
                    }
                    open.push(self.disclosed(index, step, disclosure, depth_left)?);
                }
                element => open.push(self.within(step, element, depth_left)?),
            }
        }
        Ok(open)
    }

    /// Notes a digest; the disclosure that it refers to, if that is shown.
    fn take(&mut self, digest: Value) -> Result<Option<(usize, &'a Disclosure)>, SdJwtError> {
        let Value::String(digest) = digest else { return Err(SdJwtError::DigestForm) };
        // 32 bytes in base64url; decoys too, or they would be known as such.
        if super::key::base64url_strict(&digest).is_none_or(|bytes| bytes.len() != 32) {
            return Err(SdJwtError::DigestForm);
        }
        let found = self.waiting.remove(digest.as_str());
        if self.seen.insert(digest) { Ok(found) } else { Err(SdJwtError::DigestTwice) }
    }

    fn disclosed(
        &mut self,
        index: usize,
        step: Step,
        disclosure: &Disclosure,
        depth_left: usize,
    ) -> Result<Value, SdJwtError> {
        let mut place = self.path.clone();
        place.push(step.clone());
        if let Some(slot) = self.places.get_mut(index) {
            *slot = Some(ClaimPath(place));
        }
        self.within(step, disclosure.value.clone(), depth_left)
    }

    fn within(&mut self, step: Step, value: Value, depth_left: usize) -> Result<Value, SdJwtError> {
        let depth_left = depth_left.checked_sub(1).ok_or(SdJwtError::TooDeep)?;
        self.path.push(step);
        let value = match value {
            Value::Object(object) => Value::Object(self.object(object, depth_left)?),
            Value::Array(array) => Value::Array(self.array(array, depth_left)?),
            value => value,
        };
        self.path.pop();
        Ok(value)
    }
}
