//! What may reach the cryptographic library.
//!
//! `anoncreds-clsignatures` reads its own JSON, but trusts it: a NUL in a number, a group element that is not hex, or
//! a correctness proof without the member that it is looked up by make it panic; `12x` is taken for 12; a negative
//! number is taken where the protocol has none, although a proof is sound only within the protocol's ranges. So every part of a message is checked
//! against the table of its members first, and only what the table names is passed on: members by which older
//! formats are recognised (`rms`, `m1`) are dropped, the unlinked proof of non-revocation is refused.
//!
//! Numbers are decimal strings in their one canonical form and below the bound that the protocol's ranges give
//! (constants of the library: 592 bits and a few for blinded attributes, 456 for `e`, 3060 for `v`, and so on). Points
//! are written as pairs of a counter (how far from reduced the coordinate may be, in multiples of the field's prime)
//! and the coordinate in hex; the library itself checks that they lie on the curve.
//!
//! Source: `anoncreds-clsignatures` 0.3.2, `constants.rs` and `types.rs`.

use super::error::AnonCredsError;
use super::limits::{ATTRIBUTES_MAX, CREDENTIALS_MAX, NAME_BYTES_MAX};
use num_bigint::BigUint;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// A part of a message as the library understands it.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// A decimal string below 2^bits, without sign.
    Number(u64),
    /// An encoded attribute: below 2^256, or a negative i32.
    Encoded,
    /// Coordinates of a point or a pairing, this many.
    Coordinates(usize),
    /// A number modulo the order of the groups, 64 hex digits.
    Scalar,
    /// A u32.
    Index,
    /// An i32.
    Small,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A short string.
    Text,
    /// Bytes as numbers, at most this many.
    Bytes(usize),
    /// An array.
    List(&'static Shape, usize),
    /// Arrays of two: a name and a value.
    Pairs(&'static Shape),
    /// An object with names of attributes as keys.
    Map(&'static Shape),
    /// An object with these members; others are dropped.
    Object(&'static [(&'static str, Shape)]),
    /// `null` or this; a missing member is `null`.
    Optional(&'static Shape),
    /// What makes a proof of non-revocation an old, unlinked one.
    Legacy,
}

use Shape::{
    Bytes, Coordinates, Encoded, Index, Legacy, List, Map as MapOf, Number, Object, Optional, Pairs, Scalar,
    Small, Text, Word,
};

const G1: Shape = Coordinates(3);
const G2: Shape = Coordinates(6);
/// A number modulo the issuer's modulus: two primes of 1025 bits.
const MODULAR: Shape = Number(2056);
/// A hash.
const HASH: Shape = Number(256);

/// The issuer's key for signatures.
pub(super) const PRIMARY_KEY: Shape =
    Object(&[("n", MODULAR), ("s", MODULAR), ("r", MapOf(&MODULAR)), ("rctxt", MODULAR), ("z", MODULAR)]);
/// The issuer's key for revocation.
pub(super) const REVOCATION_KEY: Shape = Object(&[
    ("g", G1),
    ("g_dash", G2),
    ("h", G1),
    ("h0", G1),
    ("h1", G1),
    ("h2", G1),
    ("htilde", G1),
    ("h_cap", G2),
    ("u", G2),
    ("pk", G1),
    ("y", G2),
]);
/// The proof that the issuer's key is well formed. Its answers are hash * secret + random, both of a modulus' size.
pub(super) const KEY_CORRECTNESS: Shape =
    Object(&[("c", HASH), ("xz_cap", Number(2320)), ("xr_cap", Pairs(&Number(2320)))]);
/// The registry's key.
pub(super) const ACCUMULATOR_KEY: Shape = Object(&[("z", Coordinates(12))]);
/// The registry's value.
pub(super) const ACCUMULATOR: Shape = Object(&[("accum", G2)]);
/// The holder's share.
pub(super) const BLINDED_SECRETS: Shape = Object(&[
    ("u", MODULAR),
    ("ur", Optional(&G1)),
    ("hidden_attributes", List(&Text, 2)),
    ("committed_attributes", MapOf(&MODULAR)),
]);
/// The proof about the holder's share.
pub(super) const BLINDED_SECRETS_PROOF: Shape = Object(&[
    ("c", HASH),
    ("v_dash_cap", Number(2386)),
    ("m_caps", MapOf(&Number(594))),
    ("r_caps", MapOf(&Number(594))),
]);
/// What the holder must remember to take the blinding off.
pub(super) const BLINDING: Shape = Object(&[("v_prime", Number(2128)), ("vr_prime", Optional(&Scalar))]);
/// A signature on a credential, as issued or with the blinding taken off.
pub(super) const SIGNATURE: Shape = Object(&[
    ("p_credential", Object(&[("m_2", HASH), ("a", MODULAR), ("e", Number(597)), ("v", Number(2725))])),
    (
        "r_credential",
        Optional(&Object(&[
            ("sigma", G1),
            ("c", Scalar),
            ("vr_prime_prime", Scalar),
            ("witness_signature", Object(&[("sigma_i", G2), ("u_i", G2), ("g_i", G1)])),
            ("g_i", G1),
            ("i", Index),
            ("m2", Scalar),
        ])),
    ),
]);
/// The issuer's proof about its signature.
pub(super) const SIGNATURE_PROOF: Shape = Object(&[("se", MODULAR), ("c", HASH)]);
/// What a holder needs to show that an index is in the accumulator.
pub(super) const WITNESS: Shape = Object(&[("omega", G2)]);
/// The issuer's secret for signatures.
pub(super) const PRIVATE_KEY: Shape = Object(&[
    ("p_key", Object(&[("p", Number(1028)), ("q", Number(1028))])),
    ("r_key", Optional(&Object(&[("x", Scalar), ("sk", Scalar)]))),
]);
/// The issuer's secret for a registry.
pub(super) const REGISTRY_PRIVATE_KEY: Shape = Object(&[("gamma", Scalar)]);

/// The commitments of a proof of non-revocation.
pub(super) const NON_REVOCATION_COMMITMENTS: Shape =
    Object(&[("e", G1), ("d", G1), ("a", G1), ("g", G1), ("w", G2), ("s", G2), ("u", G2)]);
const NON_REVOCATION_ANSWERS: Shape = Object(&[
    ("m2", Legacy),
    ("rho", Scalar),
    ("r", Scalar),
    ("r_prime", Scalar),
    ("r_prime_prime", Scalar),
    ("r_prime_prime_prime", Scalar),
    ("o", Scalar),
    ("o_prime", Scalar),
    ("m", Scalar),
    ("m_prime", Scalar),
    ("t", Scalar),
    ("t_prime", Scalar),
    ("s", Scalar),
    ("c", Scalar),
]);
const EQUALITY: Shape = Object(&[
    ("revealed_attrs", MapOf(&Encoded)),
    ("a_prime", MODULAR),
    ("e", Number(457)),
    ("v", Number(3061)),
    ("m", MapOf(&Number(593))),
    ("m2", Number(2433)),
]);
const INEQUALITY: Shape = Object(&[
    ("u", MapOf(&Number(593))),
    ("r", MapOf(&Number(2385))),
    ("mj", Number(593)),
    ("alpha", Number(2788)),
    ("t", MapOf(&MODULAR)),
    (
        "predicate",
        Object(&[("attr_name", Text), ("p_type", Word(&["GE", "GT", "LE", "LT"])), ("value", Small)]),
    ),
]);
/// A proof over several credentials.
pub(super) const PROOF: Shape = Object(&[
    (
        "proofs",
        List(
            &Object(&[
                ("primary_proof", Object(&[("eq_proof", EQUALITY), ("ge_proofs", List(&INEQUALITY, 32))])),
                (
                    "non_revoc_proof",
                    Optional(&Object(&[
                        ("x_list", NON_REVOCATION_ANSWERS),
                        ("c_list", NON_REVOCATION_COMMITMENTS),
                    ])),
                ),
            ]),
            CREDENTIALS_MAX,
        ),
    ),
    ("aggregated_proof", Object(&[("c_hash", HASH), ("c_list", List(&Bytes(264), 256))])),
]);

/// How far from reduced a coordinate may be written; the library itself stays far below.
const EXCESS_MAX: u32 = 1 << 16;
/// Hex digits of a coordinate: 64, and two more for one that is not reduced.
const COORDINATE_DIGITS: std::ops::RangeInclusive<usize> = 64..=66;

/// The prime of the curve's field (BN254, Nogami's parameter).
static FIELD: LazyLock<BigUint> = LazyLock::new(|| {
    hex("2523648240000001BA344D80000000086121000000000013A700000000000013").unwrap_or_default()
});
/// The order of the curve's groups.
static ORDER: LazyLock<BigUint> = LazyLock::new(|| {
    hex("2523648240000001BA344D8000000007FF9F800000000010A10000000000000D").unwrap_or_default()
});

fn hex(digits: &str) -> Option<BigUint> {
    digits
        .bytes()
        .all(|b| b.is_ascii_hexdigit())
        .then(|| BigUint::parse_bytes(digits.as_bytes(), 16))
        .flatten()
}

/// A decimal number in its one form: digits, no leading zero.
pub(super) fn is_canonical(digits: &str) -> bool {
    digits == "0"
        || (!digits.is_empty() && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether a canonical number lies below 2^bits.
fn is_below(digits: &str, bits: u64) -> bool {
    // Digits are counted first: parsing is quadratic, and 2^n has at most n * 0.30103 + 1 of them.
    let digits_max =
        usize::try_from(bits.saturating_mul(30_103) / 100_000).unwrap_or(usize::MAX).saturating_add(1);
    digits.len() < digits_max
        || (digits.len() == digits_max
            && BigUint::parse_bytes(digits.as_bytes(), 10).is_some_and(|number| number.bits() <= bits))
}

/// Whether a string is an encoded attribute: an unsigned number of 256 bits or a negative i32.
pub(super) fn is_encoded(text: &str) -> bool {
    match text.strip_prefix('-') {
        Some(digits) => digits != "0" && is_canonical(digits) && text.parse::<i32>().is_ok(),
        None => is_canonical(text) && is_below(text, 256),
    }
}

/// Whether a string is a decimal number in its one form below 2^bits.
pub(super) fn is_number(text: &str, bits: u64) -> bool {
    is_canonical(text) && is_below(text, bits)
}

#[allow(clippy::arithmetic_side_effects, reason = "numbers of any size do not overflow")]
fn is_coordinates(text: &str, count: usize) -> bool {
    let mut parts = text.split(' ');
    let pairs = std::iter::from_fn(|| parts.next().map(|excess| (excess, parts.next().unwrap_or_default())));
    let mut found = 0_usize;
    for (excess, digits) in pairs {
        found = found.saturating_add(1);
        let excess =
            Some(excess).filter(|excess| is_canonical(excess)).and_then(|excess| excess.parse::<u32>().ok());
        let Some(excess) = excess.filter(|excess| (1..=EXCESS_MAX).contains(excess)) else { return false };
        if found > count || !COORDINATE_DIGITS.contains(&digits.len()) {
            return false;
        }
        let Some(coordinate) = hex(digits) else { return false };
        if coordinate >= FIELD.clone() * excess {
            return false;
        }
    }
    found == count
}

impl Shape {
    /// Takes a value if it has this shape, with the members of this shape and no others.
    pub(super) fn admit(&self, value: Value) -> Result<Value, AnonCredsError> {
        let refuse = |rule: &'static str| Err(AnonCredsError::field("", rule));
        match (self, value) {
            (Number(bits), Value::String(text)) => match is_number(&text, *bits) {
                true => Ok(Value::String(text)),
                false => refuse("not a number in canonical decimal form within its range"),
            },
            (Encoded, Value::String(text)) => match is_encoded(&text) {
                true => Ok(Value::String(text)),
                false => refuse("not an encoded attribute in canonical decimal form"),
            },
            (Coordinates(count), Value::String(text)) => match is_coordinates(&text, *count) {
                true => Ok(Value::String(text)),
                false => refuse("not the coordinates of a point"),
            },
            (Scalar, Value::String(text)) => {
                match text.len() == 64 && hex(&text).is_some_and(|scalar| scalar < *ORDER) {
                    true => Ok(Value::String(text)),
                    false => refuse("not a number modulo the order of the group"),
                }
            }
            (Index, Value::Number(number)) if number.as_u64().is_some_and(|n| u32::try_from(n).is_ok()) => {
                Ok(Value::Number(number))
            }
            (Small, Value::Number(number)) if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => {
                Ok(Value::Number(number))
            }
            (Word(words), Value::String(text)) if words.contains(&text.as_str()) => Ok(Value::String(text)),
            (Text, Value::String(text)) if text.len() <= NAME_BYTES_MAX => Ok(Value::String(text)),
            (Bytes(max), Value::Array(bytes)) => {
                let are_bytes = bytes.iter().all(|byte| byte.as_u64().is_some_and(|byte| byte < 256));
                if bytes.len() <= *max && are_bytes {
                    Ok(Value::Array(bytes))
                } else {
                    refuse("not short bytes")
                }
            }
            (List(of, max), Value::Array(items)) => {
                if items.len() > *max {
                    return refuse("too many");
                }
                items.into_iter().map(|item| of.admit(item)).collect::<Result<Vec<_>, _>>().map(Value::Array)
            }
            (Pairs(of), Value::Array(items)) => {
                if items.len() > ATTRIBUTES_MAX.saturating_add(1) {
                    return refuse("too many");
                }
                items.into_iter().map(|item| pair(of, item)).collect::<Result<Vec<_>, _>>().map(Value::Array)
            }
            (MapOf(of), Value::Object(map)) => {
                let long = map.keys().any(|name| name.len() > NAME_BYTES_MAX);
                if long || map.len() > ATTRIBUTES_MAX.saturating_add(1) {
                    return refuse("too many or too long names");
                }
                let admit = |(name, value): (String, Value)| match of.admit(value) {
                    Ok(value) => Ok((name, value)),
                    Err(error) => Err(error.within(&name)),
                };
                map.into_iter().map(admit).collect::<Result<Map<_, _>, _>>().map(Value::Object)
            }
            (Object(members), Value::Object(mut map)) => {
                let mut known = Map::new();
                for (name, shape) in *members {
                    let value = map.remove(*name).unwrap_or(Value::Null);
                    let value = shape.admit(value).map_err(|error| error.within(name))?;
                    // What is absent stays absent: the library writes no `null` for it.
                    if !matches!(shape, Legacy) {
                        known.insert((*name).to_owned(), value);
                    }
                }
                Ok(Value::Object(known))
            }
            (Optional(_) | Legacy, Value::Null) => Ok(Value::Null),
            (Optional(of), value) => of.admit(value),
            (Legacy, _) => Err(AnonCredsError::LegacyRevocation { field: String::new() }),
            _ => refuse("missing or of another type"),
        }
    }
}

fn pair(of: &Shape, item: Value) -> Result<Value, AnonCredsError> {
    let refuse = || AnonCredsError::field("", "not a pair of a name and a value");
    let Value::Array(pair) = item else { return Err(refuse()) };
    let [name, value] = <[Value; 2]>::try_from(pair).map_err(|_| refuse())?;
    Ok(Value::Array(vec![Text.admit(name)?, of.admit(value)?]))
}

/// A part of a message in both forms: as JSON that was checked, and as the library's type.
#[derive(Clone)]
pub(super) struct Part<T> {
    /// What is written again.
    pub(super) value: Value,
    /// What is computed with.
    pub(super) parsed: T,
}

impl<T: DeserializeOwned + Serialize> Part<T> {
    /// Reads what came from outside.
    pub(super) fn read(shape: &Shape, value: Value, name: &str) -> Result<Self, AnonCredsError> {
        let value = shape.admit(value).map_err(|error| error.within(name))?;
        // The library's message could repeat the value: only that it refuses is told.
        let parsed = T::deserialize(&value)
            .map_err(|_| AnonCredsError::field(name, "not on the curve, or no such value"))?;
        Ok(Self { value, parsed })
    }

    /// Takes what the library made.
    pub(super) fn made(parsed: T, name: &str) -> Result<Self, AnonCredsError> {
        let value = serde_json::to_value(&parsed).map_err(|_| AnonCredsError::field(name, "not written"))?;
        Ok(Self { value, parsed })
    }
}
