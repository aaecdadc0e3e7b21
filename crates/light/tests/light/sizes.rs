//! How large a proof of state is: four validators, ten thousand keys with values of 300 bytes.
//!
//! ```text
//! the proof alone               at most 1 KiB and, of a missing key, the value of the neighbour that it shows
//! with header and certificate   at most 486 bytes more: three votes of four, and all that a header commits to
//! the file                      all of it in hexadecimal, with the value, the key and what the file says in words
//! ```
//! The proof grows with the logarithm of the state: one more step of 32 bytes for twice as many keys.

use crate::engine::{Network, apply, header_of, with_db};
use commonware_codec::Encode as _;
use eroam_domain::codec::{self, Digest};
use eroam_light::document::Document;
use eroam_light::state::{StateProof, stored_key};

const KEYS: u32 = 10_000;
/// Keys that a block writes.
const KEYS_A_BLOCK: u32 = 200;
const VALUE_BYTES: usize = 300;

/// What a proof of state may take beside values.
const PROOF_BYTES: usize = 1024;
/// Header and certificate of four validators.
const FINALITY_BYTES: usize = 486;
/// What the file adds to its bytes in hexadecimal: names of fields, the network, and the words.
const WORDS_BYTES: usize = 400;

fn key(n: u32) -> Vec<u8> {
    Digest::of_value("key", &n).0.to_vec()
}

fn value(n: u32) -> Vec<u8> {
    let blocks = (0u32..).flat_map(|block| Digest::of_value("value", &(n, block)).0);
    blocks.take(VALUE_BYTES).collect()
}

#[test]
fn a_proof_of_state_is_at_most_a_kibibyte_and_values() {
    let network = Network::new("sizes", 4);
    let proofs = with_db(|mut db| {
        let network = &network;
        async move {
            for first in (0..KEYS).step_by(KEYS_A_BLOCK as usize) {
                let entries = (first..first + KEYS_A_BLOCK).map(|n| (key(n), Some(value(n))));
                db = apply(db, entries.collect(), None).await;
            }
            let finality = network.prove(header_of(network, &db));
            let mut proofs = Vec::new();
            for n in (0..KEYS).step_by(13) {
                let proof = db.key_value_proof(stored_key(&key(n))).await.unwrap().encode().to_vec();
                let value = Some(value(n));
                proofs.push(StateProof { finality: finality.clone(), key: key(n), value, proof });
                let missing = key(KEYS + n);
                let proof = db.exclusion_proof(&stored_key(&missing)).await.unwrap().encode().to_vec();
                proofs.push(StateProof { finality: finality.clone(), key: missing, value: None, proof });
            }
            proofs
        }
    });
    let (mut present, mut absent) = (0, 0);
    for state in &proofs {
        state.verify(&network.trust).unwrap();
        // A proof of an entry is beside its value; one of absence holds that of the neighbour.
        let (own_value, shown_value) = match &state.value {
            Some(value) => (value.len(), 0),
            None => (0, VALUE_BYTES),
        };
        present += usize::from(state.value.is_some());
        absent += usize::from(state.value.is_none());
        let proof = state.proof.len();
        assert!(proof <= PROOF_BYTES + shown_value, "{proof} bytes of proof");
        let finality = codec::to_bytes(&state.finality.header).len() + state.finality.certificate.len();
        assert!(finality <= FINALITY_BYTES, "{finality} bytes of header and certificate");
        let file = Document::State(state.clone()).encode().len();
        let in_hexadecimal = 2 * (proof + finality + state.key.len() + own_value);
        assert!(file <= in_hexadecimal + WORDS_BYTES, "a file of {file} bytes for {in_hexadecimal}");
    }
    assert!(present > 700 && absent > 700, "{present} {absent}");
}
