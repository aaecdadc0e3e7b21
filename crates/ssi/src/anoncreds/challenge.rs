//! Whether a proof's challenge was computed over the commitments that the proof uses.
//!
//! A proof carries its commitments twice: as values with which the equations are checked, and as a list of bytes
//! over which the challenge is hashed. A challenge binds a prover only if the two are the same, which the library leaves
//! to its caller. Here the list must be what the values give: for each credential the seven points of its proof of
//! non-revocation, then A', then the five commitments of each comparison.
//!
//! Source: Bernhard, Pereira, Warinschi: How not to prove yourself (2012), on the weak Fiat-Shamir transformation.

use super::presentation::Presentation;
use anoncreds_clsignatures as cl;
use num_bigint::BigUint;
use serde::Deserialize;
use serde_json::Value;

/// The commitments of one comparison, in their order.
const COMPARISON: [&str; 5] = ["0", "1", "2", "3", "DELTA"];

/// Whether the hashed commitments are the used ones.
pub(super) fn is_over_commitments(presentation: &Presentation) -> bool {
    let proof = &presentation.proof.value;
    let hashed = proof.pointer("/aggregated_proof/c_list").and_then(Value::as_array);
    let used = commitments(proof);
    hashed.zip(used).is_some_and(|(hashed, used)| {
        hashed.len() == used.len() && hashed.iter().zip(&used).all(|(hashed, used)| is_same(hashed, used))
    })
}

fn is_same(hashed: &Value, used: &[u8]) -> bool {
    hashed.as_array().is_some_and(|hashed| {
        hashed.len() == used.len()
            && hashed.iter().zip(used).all(|(hashed, used)| hashed.as_u64() == Some(u64::from(*used)))
    })
}

fn commitments(proof: &Value) -> Option<Vec<Vec<u8>>> {
    let mut list = Vec::new();
    for proof in proof.get("proofs")?.as_array()? {
        if let Some(points) = proof.pointer("/non_revoc_proof/c_list") {
            list.extend(cl::NonRevocProofCList::deserialize(points).ok()?.as_list().ok()?);
        }
        let primary = proof.get("primary_proof")?;
        list.push(number(primary.pointer("/eq_proof/a_prime")?)?);
        for comparison in primary.get("ge_proofs")?.as_array()? {
            for name in COMPARISON {
                list.push(number(comparison.get("t")?.get(name)?)?);
            }
        }
    }
    Some(list)
}

/// Big endian, without leading zeros.
fn number(value: &Value) -> Option<Vec<u8>> {
    let number = BigUint::parse_bytes(value.as_str()?.as_bytes(), 10)?;
    Some(if number == BigUint::ZERO { Vec::new() } else { number.to_bytes_be() })
}
