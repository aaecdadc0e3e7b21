//! Why a credential, a presentation or a status list is not taken. None of these texts repeats a claim's value, a
//! salt or a key.

use super::claim_path::ClaimPath;
use super::limits::{
    AUDIENCE_BYTES_MAX, DECOYS_MAX, DISCLOSURE_BYTES_MAX, DISCLOSURES_MAX, NONCE_BYTES_MAX, SD_JWT_BYTES_MAX,
    STATUS_ENTRIES_MAX,
};
use crate::json::{DEPTH_MAX, JsonError};

/// Why something is not a P-256 key that is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A JWK is an object.
    #[error("not an object")]
    NotObject,
    /// Not `kty: EC` and `crv: P-256`.
    #[error("not a key of P-256")]
    Curve,
    /// `alg` is there and is not `ES256`, or `use` is there and is not `sig`.
    #[error("not a key for ES256 signatures")]
    Purpose,
    /// The secret half is where only the public half may be.
    #[error("the secret half is in it")]
    Secret,
    /// A coordinate is not 32 bytes in base64url.
    #[error("a coordinate is not 32 bytes in base64url")]
    Coordinate,
    /// The coordinates are no point of the curve.
    #[error("no point of the curve")]
    OffCurve,
    /// The secret bytes are no scalar: zero or too large.
    #[error("not a secret scalar")]
    Scalar,
}

/// Why a text is not a JWT that is taken.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    /// More bytes than are read.
    #[error("{found} bytes, at most {max} are read")]
    TooLarge {
        /// How many there are.
        found: usize,
        /// How many are read.
        max: usize,
    },
    /// Not three parts.
    #[error("not header, payload and signature")]
    Parts,
    /// A part is not base64url without padding.
    #[error("the {part} is not base64url")]
    Base64 {
        /// Which part.
        part: &'static str,
    },
    /// A part is not JSON that is read.
    #[error("the {part} is not JSON that is read")]
    Json {
        /// Which part.
        part: &'static str,
        /// Why.
        #[source]
        source: JsonError,
    },
    /// A part is JSON but no object.
    #[error("the {part} is not an object")]
    NotObject {
        /// Which part.
        part: &'static str,
    },
    /// Not ES256; `none` above all.
    #[error("alg is not ES256")]
    Algorithm,
    /// The header demands an extension; none is known.
    #[error("the header has crit")]
    Critical,
    /// Another kind of JWT.
    #[error("typ is not {expected}")]
    Type {
        /// Which kind is taken.
        expected: &'static str,
    },
    /// The signature is not 64 bytes of two proper numbers.
    #[error("not an ES256 signature")]
    SignatureForm,
    /// The signature is not by that key over that text.
    #[error("the signature does not hold")]
    Signature,
}

/// Why a credential or a presentation is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SdJwtError {
    /// More bytes than are read.
    #[error("{found} bytes, at most {SD_JWT_BYTES_MAX} are read")]
    TooLarge {
        /// How many there are.
        found: usize,
    },
    /// There is no `~`.
    #[error("not an SD-JWT: there is no ~")]
    Form,
    /// More disclosures than are read.
    #[error("{found} disclosures, at most {DISCLOSURES_MAX} are read")]
    TooManyDisclosures {
        /// How many there are.
        found: usize,
    },
    /// The issuer's part.
    #[error("the issuer's part")]
    Issuer(#[source] JwtError),
    /// The key binding.
    #[error("the key binding")]
    KeyBinding(#[source] JwtError),
    /// A disclosure has more bytes than are read.
    #[error("disclosure {index}: more than {DISCLOSURE_BYTES_MAX} bytes")]
    DisclosureTooLarge {
        /// Which, from 0.
        index: usize,
    },
    /// A disclosure is not base64url.
    #[error("disclosure {index}: not base64url")]
    DisclosureBase64 {
        /// Which, from 0.
        index: usize,
    },
    /// A disclosure is not JSON that is read.
    #[error("disclosure {index}: not JSON that is read")]
    DisclosureJson {
        /// Which, from 0.
        index: usize,
        /// Why.
        #[source]
        source: JsonError,
    },
    /// A disclosure is not an array of salt, name (for a claim of an object) and value.
    #[error("disclosure {index}: not salt, name and value")]
    DisclosureForm {
        /// Which, from 0.
        index: usize,
    },
    /// A disclosure names a claim that must be open, or that is none.
    #[error("disclosure {index}: its claim cannot be disclosed selectively")]
    DisclosureName {
        /// Which, from 0.
        index: usize,
    },
    /// A disclosure is there twice.
    #[error("disclosure {index}: it was there before")]
    DisclosureTwice {
        /// Which, from 0.
        index: usize,
    },
    /// A disclosure whose digest is nowhere.
    #[error("disclosure {index}: no digest refers to it")]
    DisclosureUnreferenced {
        /// Which, from 0.
        index: usize,
    },
    /// A claim's disclosure where an array's element belongs, or the other way round.
    #[error("disclosure {index}: an element where a claim belongs, or a claim where an element belongs")]
    DisclosurePlace {
        /// Which, from 0.
        index: usize,
    },
    /// A disclosure gives an object a claim that it has.
    #[error("disclosure {index}: the object has that claim")]
    ClaimTwice {
        /// Which, from 0.
        index: usize,
    },
    /// `_sd_alg` is there and is not `sha-256`.
    #[error("_sd_alg is not sha-256")]
    DigestAlgorithm,
    /// `_sd`, `...` or `_sd_alg` where they do not belong, or not with digests of SHA-256.
    #[error("digests where they do not belong or of another form")]
    DigestForm,
    /// A digest at two places.
    #[error("a digest is there twice")]
    DigestTwice,
    /// Disclosures nested in one another too deep.
    #[error("nested deeper than {DEPTH_MAX}")]
    TooDeep,
    /// A claim that every credential has is missing or of another form.
    #[error("{name}: missing or not of its form")]
    Claim {
        /// Which.
        name: &'static str,
    },
    /// The holder's key in the credential.
    #[error("the holder's key")]
    HolderKey(#[source] KeyError),
    /// Another issuer than the one whose key it is.
    #[error("issued by another than {expected:?}")]
    OtherIssuer {
        /// Whose key was given.
        expected: String,
    },
    /// Another type of credential than demanded.
    #[error("a credential of another type than {expected:?}")]
    OtherType {
        /// Which was demanded.
        expected: String,
    },
    /// Issued after now.
    #[error("issued at {at} s, which is to come")]
    IssuedInFuture {
        /// When, in seconds since 1970.
        at: u64,
    },
    /// Not valid yet.
    #[error("not valid before {from} s")]
    NotYetValid {
        /// From when on, in seconds since 1970.
        from: u64,
    },
    /// Not valid any more.
    #[error("expired at {at} s")]
    Expired {
        /// When, in seconds since 1970.
        at: u64,
    },
    /// Who received it does not have the key that it names.
    #[error("made for another key")]
    OtherHolder,
    /// Nobody shows that the key it names is theirs.
    #[error("without key binding")]
    Unbound,
    /// An issuer sent a presentation.
    #[error("with key binding, where an issuer sends none")]
    Bound,
    /// The key binding is for somebody else.
    #[error("presented to another audience")]
    Audience,
    /// The key binding answers another question.
    #[error("presented for another nonce")]
    Nonce,
    /// The key binding is of the future.
    #[error("presented at {at} s, which is to come")]
    BoundInFuture {
        /// When, in seconds since 1970.
        at: u64,
    },
    /// The key binding is old.
    #[error("presented at {at} s, which is too long ago")]
    BoundLongAgo {
        /// When, in seconds since 1970.
        at: u64,
    },
    /// The key binding is over other disclosures.
    #[error("the key binding is over another text")]
    SdHash,
    /// The credential cannot be revoked and that was demanded.
    #[error("it names no status list")]
    WithoutStatus,
    /// Nobody gave the list that the credential names, by the issuer that it names.
    #[error("its status list {uri:?} is not at hand")]
    StatusUnknown {
        /// Which list.
        uri: String,
    },
    /// The list at hand is to be fetched anew.
    #[error("the status list {uri:?} was good until {until} s")]
    StatusStale {
        /// Which list.
        uri: String,
        /// Until when, in seconds since 1970.
        until: u64,
    },
    /// The list does not have that many entries.
    #[error("entry {index} is not in the status list {uri:?}")]
    StatusIndex {
        /// Which list.
        uri: String,
        /// Which entry.
        index: u32,
    },
    /// The list says that it is revoked.
    #[error("revoked in {uri:?}")]
    Revoked {
        /// Which list.
        uri: String,
    },
}

/// Why a credential is not issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// A text is empty or too long.
    #[error("{name}: empty or too long")]
    Text {
        /// Which.
        name: &'static str,
    },
    /// A claim that the issuer sets by other means, or a name with a meaning for digests.
    #[error("{name:?} is not for claims")]
    Reserved {
        /// Which name.
        name: String,
    },
    /// What shall be disclosable is not there.
    #[error("there is no claim {0}")]
    NoSuchClaim(ClaimPath),
    /// It ends before it begins, or the instants are not those of a credential.
    #[error("it is not valid at any time")]
    Times,
    /// More decoys than are made.
    #[error("{found} decoys for an object, at most {DECOYS_MAX}")]
    Decoys {
        /// How many were wanted.
        found: u8,
    },
    /// The reader's limits would refuse it.
    #[error("nobody would read it")]
    Unreadable(#[source] SdJwtError),
}

/// Why claims are not presented.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PresentError {
    /// What shall be shown is not in the credential.
    #[error("there is no claim {0}")]
    NoSuchClaim(ClaimPath),
    /// The audience is empty or too long.
    #[error("the audience is empty or longer than {AUDIENCE_BYTES_MAX} bytes")]
    Audience,
    /// The nonce is empty or too long.
    #[error("the nonce is empty or longer than {NONCE_BYTES_MAX} bytes")]
    Nonce,
}

/// Why a status list is not made or not taken.
#[derive(Debug, thiserror::Error)]
pub enum StatusListError {
    /// The signed text.
    #[error("the status list")]
    Jwt(#[source] JwtError),
    /// No entries or too many.
    #[error("{found} entries, from 1 to {STATUS_ENTRIES_MAX} are possible")]
    Size {
        /// How many were wanted.
        found: u32,
    },
    /// An entry that is not in the list.
    #[error("entry {index} is not in the list")]
    Index {
        /// Which.
        index: u32,
    },
    /// A claim is missing or of another form.
    #[error("{name}: missing or not of its form")]
    Claim {
        /// Which.
        name: &'static str,
    },
    /// Another list than the one that was asked for.
    #[error("another list than {expected:?}")]
    OtherList {
        /// Which was asked for.
        expected: String,
    },
    /// Another issuer than the one whose key it is.
    #[error("issued by another than {expected:?}")]
    OtherIssuer {
        /// Whose key was given.
        expected: String,
    },
    /// Entries of more than one bit.
    #[error("not one bit for an entry")]
    Bits,
    /// Not zlib, or with something after it.
    #[error("not zlib")]
    Compression,
    /// Inflated, it is larger than a list can be.
    #[error("more than {STATUS_ENTRIES_MAX} entries")]
    Inflated,
    /// Issued after now.
    #[error("issued at {at} s, which is to come")]
    IssuedInFuture {
        /// When, in seconds since 1970.
        at: u64,
    },
    /// Not valid any more.
    #[error("expired at {at} s")]
    Expired {
        /// When, in seconds since 1970.
        at: u64,
    },
    /// There is a newer list.
    #[error("issued at {at} s, a list of {newest} s or later is needed")]
    Old {
        /// When, in seconds since 1970.
        at: u64,
        /// The newest that the caller knows of, in seconds since 1970.
        newest: u64,
    },
}
