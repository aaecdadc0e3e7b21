//! What it costs a station or a wallet to believe something: four validators, ten thousand keys of 300 bytes.
//!
//! ```text
//! verify/certificate              three votes on a header
//! verify/inclusion                a proof that a key has a value, against a header that is known to be final
//! verify/exclusion                a proof that a key has none
//! verify/state, with certificate  both together: all that a state proof takes
//! verify/file                     the same from the text of a file
//! ```

#[path = "../tests/light/engine.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod engine;

use commonware_codec::Encode as _;
use criterion::{Criterion, criterion_group, criterion_main};
use engine::{Network, apply, header_of, with_db};
use eroam_domain::codec::Digest;
use eroam_light::document::Document;
use eroam_light::state::{Exclusion, Inclusion, StateProof, stored_key};
use std::hint::black_box;

fn entry(n: u32) -> (Vec<u8>, Vec<u8>) {
    let bytes = |name, blocks| (0u32..blocks).flat_map(|b| Digest::of_value(name, &(n, b)).0).collect();
    let mut value: Vec<u8> = bytes("value", 10);
    value.truncate(300);
    (bytes("key", 1), value)
}

fn verify(c: &mut Criterion) {
    let network = Network::new("bench", 4);
    let (finality, inclusion, exclusion) = with_db(|mut db| {
        let network = &network;
        async move {
            for block in 0..50 {
                let changes = (0..200).map(|n| entry(block * 200 + n)).map(|(key, value)| (key, Some(value)));
                db = apply(db, changes.collect(), None).await;
            }
            let inclusion = db.key_value_proof(stored_key(&entry(4_321).0)).await.unwrap().encode().to_vec();
            let exclusion = db.exclusion_proof(&stored_key(b"none")).await.unwrap().encode().to_vec();
            (network.prove(header_of(network, &db)), inclusion, exclusion)
        }
    });
    let (key, value) = entry(4_321);
    let header = finality.verify(&network.trust).unwrap();
    let proof = StateProof {
        finality: finality.clone(),
        key: key.clone(),
        value: Some(value.clone()),
        proof: inclusion.clone(),
    };
    let text = Document::State(proof.clone()).encode();
    let mut group = c.benchmark_group("verify");
    group.bench_function("certificate", |b| b.iter(|| black_box(&finality).verify(&network.trust).unwrap()));
    group.bench_function("inclusion", |b| {
        b.iter(|| Inclusion::decode(black_box(&inclusion)).unwrap().verify(&header, &key, &value).unwrap());
    });
    group.bench_function("exclusion", |b| {
        b.iter(|| Exclusion::decode(black_box(&exclusion)).unwrap().verify(&header, b"none").unwrap());
    });
    group.bench_function("state, with certificate", |b| {
        b.iter(|| black_box(&proof).verify(&network.trust).unwrap());
    });
    group.bench_function("file", |b| {
        b.iter(|| Document::decode(black_box(text.as_bytes())).unwrap().verify(&network.trust).unwrap());
    });
    group.finish();
}

criterion_group!(benches, verify);
criterion_main!(benches);
