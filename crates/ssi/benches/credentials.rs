//! What a credential costs: ours, and beside it the library alone.
//!
//! ```text
//! cargo bench -p eroam-ssi --bench credentials
//! ```

#[path = "../tests/anoncreds_world/mod.rs"]
mod anoncreds_world;

use anoncreds_clsignatures as cl;
use anoncreds_world::*;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use eroam_ssi::anoncreds::*;
use serde_json::Value;
use std::hint::black_box;

/// Zones and tariff shown, not revoked, and 0 to 2 comparisons.
fn request(world: &World, predicates: usize) -> ProofRequest {
    let request = ProofRequest::builder("charge", "1.0")
        .group("zones", ["allowed_zones", "tariff"], world.of_driver())
        .non_revoked(world.interval());
    let asked = [("valid", "expiry", 20_261_122), ("limit", "limit_day", 50)];
    let asked = asked.iter().take(predicates);
    asked
        .fold(request, |request, (referent, name, bound)| {
            request.predicate(referent, name, Comparison::AtLeast, *bound, world.of_driver())
        })
        .build()
        .unwrap()
}

/// The same for the library alone, with everything parsed before.
struct Bare {
    key: cl::CredentialPublicKey,
    open: cl::CredentialSchema,
    blinded: cl::NonCredentialSchema,
    signature: cl::CredentialSignature,
    values: cl::CredentialValues,
    registry_key: cl::RevocationKeyPublic,
    registry: cl::RevocationRegistry,
    witness: cl::Witness,
}

impl Bare {
    fn new(world: &World, witness: &WitnessState) -> Self {
        let value = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let definition = value(&world.driver.definition.to_json());
        let credential = value(&world.licence.export_secret());
        let (mut open, mut blinded) =
            (cl::CredentialSchemaBuilder::new().unwrap(), cl::NonCredentialSchemaBuilder::new().unwrap());
        let mut values = cl::CredentialValuesBuilder::new().unwrap();
        for (name, value) in credential["values"].as_object().unwrap() {
            open.add_attr(&normalise(name)).unwrap();
            values.add_dec_known(&normalise(name), value["encoded"].as_str().unwrap()).unwrap();
        }
        blinded.add_attr("master_secret").unwrap();
        values.add_dec_hidden("master_secret", &world.link_secret.export_secret()).unwrap();
        let parsed = |value: &Value| serde_json::from_value(value.clone()).unwrap();
        let state = value(&witness.to_json().unwrap());
        Self {
            key: cl::CredentialPublicKey::build_from_parts(
                &serde_json::from_value(definition["value"]["primary"].clone()).unwrap(),
                Some(&parsed(&definition["value"]["revocation"])),
            )
            .unwrap(),
            open: open.finalize().unwrap(),
            blinded: blinded.finalize().unwrap(),
            signature: serde_json::from_value(credential["signature"].clone()).unwrap(),
            values: values.finalize().unwrap(),
            registry_key: serde_json::from_value(
                value(&world.registry.definition.to_json())["value"]["publicKeys"]["accumKey"].clone(),
            )
            .unwrap(),
            registry: serde_json::from_value(state["rev_reg"].clone()).unwrap(),
            witness: serde_json::from_value(state["witness"].clone()).unwrap(),
        }
    }

    fn asked(&self, predicates: usize) -> cl::SubProofRequest {
        let mut asked = cl::SubProofRequestBuilder::new().unwrap();
        asked.add_revealed_attr("allowed_zones").unwrap();
        asked.add_revealed_attr("tariff").unwrap();
        for (name, bound) in [("expiry", 20_261_122), ("limit_day", 50)].iter().take(predicates) {
            asked.add_predicate(name, "GE", *bound).unwrap();
        }
        asked.finalize().unwrap()
    }

    fn prepare(&self, predicates: usize) -> cl::ProofBuilder {
        let mut builder = cl::Prover::new_proof_builder().unwrap();
        builder.add_common_attribute("master_secret").unwrap();
        let (asked, registry, witness) = (self.asked(predicates), Some(&self.registry), Some(&self.witness));
        let (open, blinded, key) = (&self.open, &self.blinded, &self.key);
        builder
            .add_sub_proof_request(
                &asked,
                open,
                blinded,
                &self.signature,
                &self.values,
                key,
                registry,
                witness,
            )
            .unwrap();
        builder
    }

    fn verify(&self, predicates: usize, proof: &cl::Proof, nonce: &cl::Nonce) {
        let mut verifier = cl::Verifier::new_proof_verifier().unwrap();
        verifier.add_common_attribute("master_secret").unwrap();
        let (asked, key, registry) = (self.asked(predicates), &self.registry_key, &self.registry);
        verifier
            .add_sub_proof_request(&asked, &self.open, &self.blinded, &self.key, Some(key), Some(registry))
            .unwrap();
        assert!(verifier.verify(proof, nonce).unwrap());
    }
}

fn credentials(c: &mut Criterion) {
    let world = World::new();
    let witness = world.registry.witness(INDEX);
    let (objects, policy) = (world.objects(), world.registry.fresh());
    let bare = Bare::new(&world, &witness);

    let mut group = c.benchmark_group("issue");
    group.sample_size(20);
    let values = driver_values();
    group.bench_function("offer, request, issue, accept, all JSON", |b| {
        b.iter(|| hold(&world.driver, &values, Some((&world.registry, 5)), &world.link_secret));
    });
    group.finish();

    for predicates in 0..=2 {
        let request = request(&world, predicates);
        let prepare = || {
            let held = [(&world.licence, Some(&witness))];
            let selection = Selection::choose(&request, held, &objects).unwrap();
            prepared::prepare(&request, &selection, &world.link_secret, &objects).unwrap()
        };
        let json = prepare().finalize(request.nonce()).unwrap().to_json();
        let mut group = c.benchmark_group(format!("{predicates} predicates, not revoked"));
        group.sample_size(20);
        group.bench_function("prepare", |b| b.iter(prepare));
        group.bench_function("prepare, bare", |b| b.iter(|| bare.prepare(predicates)));
        group.bench_function("finalize and write", |b| {
            let finalize = |prepared: Prepared| prepared.finalize(request.nonce()).unwrap().to_json();
            b.iter_batched(prepare, finalize, BatchSize::SmallInput);
        });
        group.bench_function("read", |b| b.iter(|| Presentation::from_json(black_box(&json)).unwrap()));
        group.bench_function("read and verify", |b| {
            b.iter(|| {
                let presentation = Presentation::from_json(black_box(&json)).unwrap();
                verifier::verify(&presentation, &request, &objects, &policy).unwrap()
            });
        });
        group.bench_function("read and verify, two on two threads", |b| {
            let verify = || {
                let presentation = Presentation::from_json(black_box(&json)).unwrap();
                verifier::verify(&presentation, &request, &objects, &policy).unwrap()
            };
            b.iter(|| {
                std::thread::scope(|scope| {
                    scope.spawn(verify);
                    verify()
                })
            });
        });
        let nonce = cl::new_nonce().unwrap();
        let proof = bare.prepare(predicates).finalize(&nonce).unwrap();
        let text = serde_json::to_vec(&proof).unwrap();
        group.bench_function("read and verify, bare", |b| {
            b.iter(|| bare.verify(predicates, &serde_json::from_slice(black_box(&text)).unwrap(), &nonce));
        });
        group.finish();
    }

    let mut group = c.benchmark_group("refuse");
    let request = request(&world, 2);
    let held = [(&world.licence, Some(&witness))];
    let selection = Selection::choose(&request, held, &objects).unwrap();
    let prepared = prepared::prepare(&request, &selection, &world.link_secret, &objects).unwrap();
    let json = String::from_utf8(prepared.answer(&request).unwrap().to_json()).unwrap();
    let late = json.replacen("\"identifiers\"", "\"identifiers\":[],\"x\"", 1);
    let wrong = json.replacen("\"e\":\"", "\"e\":\"-", 1);
    let deep = "[".repeat(limits::PRESENTATION_BYTES_MAX);
    let wide = format!("[{}0]", "0,".repeat(limits::PRESENTATION_VALUES_MAX - 2));
    let rows = [("no identifiers", late), ("a signed number", wrong), ("deep", deep), ("wide", wide)];
    for (name, text) in &rows {
        group.bench_function(*name, |b| {
            b.iter(|| {
                let read = Presentation::from_json(black_box(text.as_bytes()));
                assert!(
                    read.is_err() || verifier::verify(&read.unwrap(), &request, &objects, &policy).is_err()
                );
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group("registry of 10,000");
    group.sample_size(10);
    let mut large = world.driver.registry(10_000);
    let tails = large.tails();
    println!("tails: {} bytes; list: {} bytes", large.tails.len(), large.list.to_json().len());
    let first = large.witness(INDEX);
    let revoked: Vec<u32> = (100..200).collect();
    let delta = large.change(&world.driver, &[], &revoked);
    println!("delta of 100: {} bytes", delta.to_json().len());
    group.bench_function("witness over 100 revocations", |b| {
        b.iter_batched(
            || first.clone(),
            |mut state| state.apply(&delta, &large.definition, &tails).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("witness from the list", |b| b.iter(|| large.witness(INDEX)));
    let json = large.list.to_json();
    group.bench_function("read the list", |b| b.iter(|| StatusList::from_json(black_box(&json)).unwrap()));
    group.bench_function("open the tails", |b| b.iter(|| large.tails()));
    group.bench_function("create with tails", |b| b.iter(|| world.driver.registry(10_000)));
    group.finish();
}

criterion_group!(benches, credentials);
criterion_main!(benches);
