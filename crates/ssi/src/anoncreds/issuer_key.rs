//! The primary key of a credential definition, with a modulus of 2048 bits.
//!
//! The lengths of the scheme are made for such a modulus: Idemix's 2724 bits of v are 2048 + 80 + 256 + (256 + 80 + 3),
//! rounded up, and the 2128 bits that hide a request are 2048 + 80. The library looks for safe primes of 1025 bits instead. Their
//! modulus has 2050 bits, 33 words, for which OpenSSL has no fast multiplication: every proof costs twice as much
//! (`docs/decisions/0030-modulus-of-2048-bits.md`).
//!
//! What is made here is what `Issuer::new_credential_def` makes, with the library's arithmetic and its formats.
//!
//! Source: AnonCreds v1.0 specification, "Issuer Create and Publish CredDef Object"; Specification of the Identity Mixer
//! Cryptographic Library 2.3.0, Table 2.

use super::error::AnonCredsError;
use anoncreds_clsignatures as cl;
use cl::bn::BigNumber;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// Bits of each safe prime; the modulus has twice as many, a multiple of four words of 64 bits.
const PRIME_BITS: i32 = 1024;

/// A key, and the proof that whoever made it knows how its numbers come from one another.
pub(super) struct PrimaryKey {
    pub(super) public: cl::CredentialPrimaryPublicKey,
    /// The library's form of the secret, p' and q': to be wiped by whoever takes it.
    pub(super) secret: Value,
    pub(super) proof: cl::CredentialKeyCorrectnessProof,
}

impl PrimaryKey {
    /// Makes a key for attributes, the holder's secret among them, in their normal form.
    pub(super) fn new<'a>(attributes: impl Iterator<Item = &'a str>) -> Result<Self, AnonCredsError> {
        Self::made(attributes).map_err(AnonCredsError::library("an issuer's key"))
    }

    fn made<'a>(attributes: impl Iterator<Item = &'a str>) -> Result<Self, cl::Error> {
        let (p_safe, q_safe) = (safe_prime()?, safe_prime()?);
        let (p, q) = (p_safe.rshift1()?, q_safe.rshift1()?);
        let n = p_safe.mul(&q_safe)?;
        let s = generator(&p, &q, &n)?;
        let bases = Bases { order: p.mul(&q)?, n: &n, s: &s };
        let z = bases.power()?;
        let rctxt = bases.power()?;
        let mut r = Vec::new();
        for attribute in attributes {
            r.push((attribute, bases.power()?));
        }
        let proof = bases.proof(&z, &r)?;
        let of: Result<Map<String, Value>, cl::Error> =
            r.iter().map(|(name, base)| Ok(((*name).to_owned(), base.value.to_dec()?.into()))).collect();
        let public = json!({
            "n": n.to_dec()?, "s": s.to_dec()?, "r": of?, "rctxt": rctxt.value.to_dec()?, "z": z.value.to_dec()?,
        });
        let secret = json!({ "p": p.to_dec()?, "q": q.to_dec()? });
        Ok(Self { public: read(&public)?, secret, proof: read(&proof)? })
    }
}

/// A prime p of [`PRIME_BITS`] whose (p - 1) / 2 is prime, with its two highest bits set, so that a product of two has
/// twice as many bits. The library's two arithmetics count the bits of a safe prime differently.
fn safe_prime() -> Result<BigNumber, cl::Error> {
    let size = if cfg!(feature = "native") { PRIME_BITS - 1 } else { PRIME_BITS };
    loop {
        let prime = BigNumber::generate_safe_prime(size.unsigned_abs() as usize)?;
        if prime.num_bits()? == PRIME_BITS && prime.is_bit_set(PRIME_BITS - 2)? {
            return Ok(prime);
        }
    }
}

/// A quadratic residue that generates all of them.
fn generator(p: &BigNumber, q: &BigNumber, n: &BigNumber) -> Result<BigNumber, cl::Error> {
    loop {
        let s = BigNumber::random_qr(n)?;
        if s.generates_semiprime_subgroup(p, q, n)? {
            return Ok(s);
        }
    }
}

/// A number of the public key, and how it comes from S.
struct Base {
    exponent: BigNumber,
    value: BigNumber,
}

/// What the numbers of a key are powers of.
struct Bases<'a> {
    /// p'q'
    order: BigNumber,
    n: &'a BigNumber,
    s: &'a BigNumber,
}

impl Bases<'_> {
    /// S to a random exponent from 2 to p'q' - 1.
    fn power(&self) -> Result<Base, cl::Error> {
        let mut range = self.order.try_clone()?;
        range.sub_word(3)?;
        let mut exponent = range.rand_range()?;
        exponent.add_word(2)?;
        let value = self.s.mod_exp(&exponent, self.n)?;
        Ok(Base { exponent, value })
    }

    /// That the exponents of Z and of all R are known: c = H(Z, R.., S^z~, S^r~..), z^ = c z + z~, r^ = c r + r~. The numbers
    /// enter the hash in the order of `xr_cap`.
    fn proof(&self, z: &Base, r: &[(&str, Base)]) -> Result<Value, cl::Error> {
        let all: Vec<&Base> = std::iter::once(z).chain(r.iter().map(|(_, base)| base)).collect();
        let blinds: Vec<Base> = all.iter().map(|_| self.power()).collect::<Result<_, _>>()?;
        let mut hash = Sha256::new();
        for base in all.iter().copied().chain(&blinds) {
            hash.update(base.value.to_bytes()?);
        }
        let c = BigNumber::from_bytes(&hash.finalize())?;
        let answers = all.iter().zip(&blinds);
        let answers = answers.map(|(base, blind)| c.mul(&base.exponent)?.add(&blind.exponent)?.to_dec());
        let answers: Vec<String> = answers.collect::<Result<_, _>>()?;
        let (z_answer, r_answers) = answers.split_first().unwrap_or_else(|| unreachable!("Z is first"));
        let named: Vec<(&str, &String)> = r.iter().map(|(name, _)| *name).zip(r_answers).collect();
        Ok(json!({ "c": c.to_dec()?, "xz_cap": z_answer, "xr_cap": named }))
    }
}

/// The library's type of what its serialisation reads.
fn read<T: DeserializeOwned>(value: &Value) -> Result<T, cl::Error> {
    T::deserialize(value).map_err(|error| cl::Error::new(cl::ErrorKind::InvalidState, error.to_string()))
}
