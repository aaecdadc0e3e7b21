//! Proofs of a real state of the engine, beside the engine's own opinion of them.

use crate::engine::{Changes, Db, Network, apply, header_of, with_db};
use crate::flipped;
use bytes::Bytes;
use commonware_codec::{Decode as _, Encode as _};
use commonware_cryptography::{Sha256, sha256};
use commonware_storage::merkle::Unused;
use commonware_storage::mmr;
use commonware_storage::qmdb::any::ordered::variable::Operation;
use commonware_storage::qmdb::any::value::VariableEncoding;
use commonware_storage::qmdb::current::ordered::proof::constant;
use commonware_storage::qmdb::current::proof::RangeProof;
use commonware_storage::qmdb::current::proof::operation::Proof as OperationProof;
use commonware_utils::NZU64;
use eroam_domain::codec::Digest;
use eroam_light::state::{
    CHUNK_BYTES, Exclusion, Inclusion, KEY_BYTES_MAX, StateProof, StateProofError, VALUE_BYTES_MAX,
    stored_key,
};
use eroam_light::trust::FinalizedHeader;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::LazyLock;

type EngineInclusion = constant::KeyValueProof<mmr::Family, Vec<u8>, sha256::Digest, CHUNK_BYTES>;
type EngineExclusion =
    constant::ExclusionProof<mmr::Family, Vec<u8>, VariableEncoding<Bytes>, sha256::Digest, CHUNK_BYTES>;

/// A state at one block, with the proofs that the engine made of it.
struct Proven {
    header: FinalizedHeader,
    /// The number of operations in its log.
    operations: u64,
    /// Key, value, proof.
    present: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>,
    /// Key, proof.
    absent: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Pseudorandom bytes that follow from a name.
fn noise(name: &str, length: usize) -> Vec<u8> {
    let blocks = (0u32..).flat_map(|n| Digest::of_value(name, &n).0);
    blocks.take(length).collect()
}

/// Keys of different lengths, one of them empty and one as long as can be.
fn key(n: usize) -> Vec<u8> {
    match n {
        0 => Vec::new(),
        1 => noise("longest", KEY_BYTES_MAX - 8),
        _ => noise(&format!("key {n}"), 1 + n * 7 % 90),
    }
}

fn value(n: usize, version: usize) -> Vec<u8> {
    noise(&format!("value {n} {version}"), (n * 13 + version * 31) % 300)
}

async fn prove(
    db: &Db,
    network: &Network,
    entries: &BTreeMap<Vec<u8>, Vec<u8>>,
    missing: &[Vec<u8>],
) -> Proven {
    let mut proven = Proven {
        header: network.finalize(header_of(network, db)),
        operations: *db.bounds().end,
        present: Vec::new(),
        absent: Vec::new(),
    };
    for (key, value) in entries {
        let proof = db.key_value_proof(stored_key(key)).await.unwrap();
        proven.present.push((key.clone(), value.clone(), proof.encode().to_vec()));
    }
    for key in missing {
        let proof = db.exclusion_proof(&stored_key(key)).await.unwrap();
        proven.absent.push((key.clone(), proof.encode().to_vec()));
    }
    proven
}

/// A state with some history: keys written, overwritten and deleted, over several batches. It is looked at in the
/// middle of a chunk of the bit map and at its end.
static STATES: LazyLock<Vec<Proven>> = LazyLock::new(|| {
    let network = Network::new("states", 4);
    with_db(|mut db| async move {
        let mut entries = BTreeMap::new();
        let mut states = Vec::new();
        let never: Vec<Vec<u8>> = (0..20).map(|n| noise(&format!("never {n}"), 30)).collect();
        let batch = async |mut db: Db, changes: Changes, entries: &mut BTreeMap<_, _>| {
            for (key, value) in &changes {
                match value {
                    Some(value) => entries.insert(key.clone(), value.clone()),
                    None => entries.remove(key),
                };
            }
            db = apply(db, changes, None).await;
            db
        };
        db = batch(db, (0..5).map(|n| (key(n), Some(value(n, 0)))).collect(), &mut entries).await;
        states.push(prove(&db, &network, &entries, &never).await);
        for round in 0..6 {
            let written = (0..400).filter(|n| n % 6 == round || n % 7 == round);
            let mut changes: Changes = written.map(|n| (key(n), Some(value(n, round)))).collect();
            changes.extend((0..400).filter(|n| n % 11 == round).map(|n| (key(n), None)));
            db = batch(db, changes, &mut entries).await;
        }
        let deleted: Vec<Vec<u8>> = (0..400).map(key).filter(|key| !entries.contains_key(key)).collect();
        assert!(deleted.len() > 50 && entries.len() > 250, "{} {}", deleted.len(), entries.len());
        let missing = [never.clone(), deleted].concat();
        states.push(prove(&db, &network, &entries, &missing).await);
        for extra in 0.. {
            assert!(extra < 1_000, "no batch ends with a chunk");
            // One to four new keys, so that the log grows by odd and even steps, which together come to any length.
            let written = (0..=extra % 4).map(|n| (key(1_000 + extra * 4 + n), Some(value(extra, 9))));
            db = batch(db, written.collect(), &mut entries).await;
            if *db.bounds().end % 256 == 0 {
                break;
            }
        }
        states.push(prove(&db, &network, &entries, &missing).await);
        states
    })
});

fn key_cfg() -> (commonware_codec::RangeCfg<usize>, ()) {
    ((0..=KEY_BYTES_MAX).into(), ())
}

fn root(header: &FinalizedHeader) -> sha256::Digest {
    sha256::Digest(header.header().state.0)
}

/// The engine's opinion of a proof that a key has a value.
fn engine_includes(header: &FinalizedHeader, key: &[u8], value: &[u8], proof: &[u8]) -> bool {
    let proof = EngineInclusion::decode_cfg(proof.to_vec(), &(mmr::MAX_PROOF_DIGESTS_PER_ELEMENT, key_cfg()));
    let value = Bytes::copy_from_slice(value);
    proof.is_ok_and(|p| p.verify::<Sha256, VariableEncoding<Bytes>>(stored_key(key), value, &root(header)))
}

fn includes(header: &FinalizedHeader, key: &[u8], value: &[u8], proof: &[u8]) -> bool {
    Inclusion::decode(proof).is_ok_and(|proof| proof.verify(header, key, value).is_ok())
}

fn decode_exclusion(proof: &[u8]) -> Result<EngineExclusion, commonware_codec::Error> {
    let value_cfg = (0..=VALUE_BYTES_MAX).into();
    let config = (mmr::MAX_PROOF_DIGESTS_PER_ELEMENT, (key_cfg(), value_cfg), value_cfg);
    EngineExclusion::decode_cfg(proof.to_vec(), &config)
}

/// The engine's opinion of a proof that a key is missing.
fn engine_excludes(header: &FinalizedHeader, key: &[u8], proof: &[u8]) -> bool {
    decode_exclusion(proof).is_ok_and(|proof| proof.verify::<Sha256>(&stored_key(key), &root(header)))
}

fn excludes(header: &FinalizedHeader, key: &[u8], proof: &[u8]) -> bool {
    Exclusion::decode(proof).is_ok_and(|proof| proof.verify(header, key).is_ok())
}

#[test]
fn the_states_end_before_within_and_with_a_chunk() {
    let operations: Vec<u64> = STATES.iter().map(|state| state.operations).collect();
    assert!(operations[0] < 256, "{operations:?}");
    assert!(operations[1] > 1_024 && !operations[1].is_multiple_of(256), "{operations:?}");
    assert!(operations[2].is_multiple_of(256), "{operations:?}");
}

#[test]
fn every_entry_is_proved_and_no_other_value_of_it() {
    for state in &*STATES {
        for (key, value, proof) in &state.present {
            assert!(engine_includes(&state.header, key, value, proof));
            let proof = Inclusion::decode(proof).unwrap();
            assert_eq!(proof.verify(&state.header, key, value), Ok(()));
            let other = [value.as_slice(), b"x"].concat();
            assert!(matches!(
                proof.verify(&state.header, key, &other),
                Err(StateProofError::WrongRoot { .. })
            ));
            let other = [key.as_slice(), b"x"].concat();
            assert!(proof.verify(&state.header, &other, value).is_err());
        }
    }
}

#[test]
fn every_missing_key_is_proved_missing_and_no_key_that_is_there() {
    for state in &*STATES {
        for (key, proof) in &state.absent {
            assert!(engine_excludes(&state.header, key, proof));
            assert_eq!(Exclusion::decode(proof).unwrap().verify(&state.header, key), Ok(()));
        }
        for (_, proof) in state.absent.iter().take(5) {
            let proof = Exclusion::decode(proof).unwrap();
            for (key, ..) in &state.present {
                assert_eq!(proof.verify(&state.header, key), Err(StateProofError::NotEnclosed));
            }
        }
    }
}

#[test]
fn both_agree_about_every_key_and_every_proof_that_a_key_is_missing() {
    let state = &STATES[1];
    let mut enclosed = 0;
    for (_, proof) in state.absent.iter().step_by(3) {
        let light = Exclusion::decode(proof).unwrap();
        let engine = decode_exclusion(proof).unwrap();
        for (key, _) in &state.absent {
            let opinion = engine.verify::<Sha256>(&stored_key(key), &root(&state.header));
            assert_eq!(light.verify(&state.header, key).is_ok(), opinion);
            enclosed += usize::from(opinion);
        }
    }
    assert!(enclosed > state.absent.len() / 3, "{enclosed}");
}

#[test]
fn every_flipped_bit_of_a_proof_of_an_entry_is_refused_by_both() {
    for state in &*STATES {
        let longest = state.present.iter().max_by_key(|(.., proof)| proof.len()).unwrap();
        for (key, value, proof) in state.present.iter().step_by(90).take(4).chain([longest]) {
            for (bit, other) in flipped(proof) {
                assert!(!includes(&state.header, key, value, &other), "bit {bit}");
                assert!(!engine_includes(&state.header, key, value, &other), "engine, bit {bit}");
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_a_proof_of_a_missing_key_is_refused_by_both() {
    for state in &*STATES {
        for (key, proof) in state.absent.iter().step_by(11).take(4) {
            for (bit, other) in flipped(proof) {
                assert!(!excludes(&state.header, key, &other), "bit {bit}");
                assert!(!engine_excludes(&state.header, key, &other), "engine, bit {bit}");
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_a_value_or_key_is_refused() {
    let state = &STATES[1];
    for (key, value, proof) in state.present.iter().step_by(50) {
        let proof = Inclusion::decode(proof).unwrap();
        for (bit, other) in flipped(value) {
            assert!(proof.verify(&state.header, key, &other).is_err(), "bit {bit} of the value");
        }
        for (bit, other) in flipped(key) {
            assert!(proof.verify(&state.header, &other, value).is_err(), "bit {bit} of the key");
        }
    }
}

#[test]
fn a_proof_that_is_cut_off_or_followed_by_anything_is_refused() {
    let state = &STATES[1];
    let ((_, _, inclusion), (_, exclusion)) = (&state.present[7], &state.absent[7]);
    for end in 0..inclusion.len() {
        assert!(matches!(Inclusion::decode(&inclusion[..end]), Err(StateProofError::Malformed(_))));
    }
    for end in 0..exclusion.len() {
        assert!(matches!(Exclusion::decode(&exclusion[..end]), Err(StateProofError::Malformed(_))));
    }
    assert!(Inclusion::decode(&[inclusion, [0].as_slice()].concat()).is_err());
    assert!(Exclusion::decode(&[exclusion, [0].as_slice()].concat()).is_err());
}

#[test]
fn a_proof_of_another_block_is_refused() {
    let (one, other) = (&STATES[1], &STATES[2]);
    for (key, value, proof) in one.present.iter().step_by(20) {
        assert!(!includes(&other.header, key, value, proof));
    }
    for (key, proof) in one.absent.iter().step_by(5) {
        assert!(!excludes(&other.header, key, proof));
    }
}

#[test]
fn a_header_with_another_root_of_the_log_is_refused() {
    let network = Network::new("log", 1);
    let state = &STATES[1];
    let mut header = *state.header.header();
    header.operations = Digest::ZERO;
    let header = network.finalize(header);
    let (key, value, proof) = &state.present[3];
    assert!(engine_includes(&header, key, value, proof));
    assert!(matches!(
        Inclusion::decode(proof).unwrap().verify(&header, key, value),
        Err(StateProofError::WrongOperationsRoot { .. })
    ));
}

/// The engine gives `Commit` proofs of an empty state alone.
#[test]
fn an_empty_state_has_nothing_under_any_key() {
    let network = Network::new("empty", 1);
    let proofs = with_db(|mut db| async move {
        let mut proofs = Vec::new();
        for (changes, note) in [
            (None, None),
            (Some(Changes::new()), Some(b"note".as_slice())),
            (Some((0..300).map(|n| (key(n), Some(value(n, 0)))).collect()), None),
            (Some((0..300).map(|n| (key(n), None)).collect()), Some(&[])),
        ] {
            let is_filled = changes.as_ref().is_some_and(|c| c.values().any(Option::is_some));
            if let Some(changes) = changes {
                db = apply(db, changes, note).await;
            }
            if !is_filled {
                let proof = db.exclusion_proof(&stored_key(b"any")).await.unwrap();
                assert!(matches!(proof, EngineExclusion::Commit(..)));
                proofs.push((network.finalize(header_of(&network, &db)), proof.encode().to_vec()));
            }
        }
        proofs
    });
    assert_eq!(proofs.len(), 3);
    for (header, proof) in proofs {
        assert!(engine_excludes(&header, b"any", &proof) && excludes(&header, b"any", &proof));
        assert!(excludes(&header, b"another", &proof));
        for (bit, other) in flipped(&proof) {
            assert!(!excludes(&header, b"any", &other), "bit {bit}");
            assert!(!engine_excludes(&header, b"any", &other), "engine, bit {bit}");
        }
    }
}

/// The engine proves old operations, too, but together with the bit that says that they are old.
#[test]
fn an_operation_that_was_overwritten_is_refused() {
    let network = Network::new("stale", 1);
    let (key, old) = (key(7), value(7, 0));
    let (header, proofs) = with_db(|mut db| {
        let (network, key, old) = (&network, key.clone(), old.clone());
        async move {
            let others: Changes = (10..300).map(|n| (self::key(n), Some(value(n, 0)))).collect();
            db = apply(db, [(key.clone(), Some(old.clone()))].into(), None).await;
            db = apply(db, others, None).await;
            db = apply(db, [(key.clone(), Some(old.clone()))].into(), None).await;
            db = apply(db, [(key.clone(), Some(value(7, 1)))].into(), None).await;
            let mut proofs = Vec::new();
            for location in 0..*db.bounds().end {
                let (range_proof, operations, chunks) =
                    db.range_proof(mmr::Location::new(location), NZU64!(1)).await.unwrap();
                let Operation::Update(update) = operations[0].clone() else { continue };
                if update.key != stored_key(&key) || update.value != old {
                    continue;
                }
                let root = sha256::Digest(db.root().0);
                let location = mmr::Location::new(location);
                assert!(range_proof.verify::<Sha256, _, CHUNK_BYTES>(location, &operations, &chunks, &root));
                let proof = OperationProof { loc: location, chunk: chunks[0], range_proof };
                let true_bits = EngineInclusion { proof, next_key: update.next_key };
                let mut false_bits = true_bits.clone();
                false_bits.proof.chunk[usize::try_from(*location % 256 / 8).unwrap()] |= 1 << (*location % 8);
                proofs.push([true_bits, false_bits].map(|proof| proof.encode().to_vec()));
            }
            (network.finalize(header_of(network, &db)), proofs)
        }
    });
    // One stands in the first chunk, one in the last.
    assert!(proofs.len() >= 2, "{}", proofs.len());
    let mut errors = Vec::new();
    for [true_bits, false_bits] in proofs {
        assert!(!engine_includes(&header, &key, &old, &true_bits));
        assert!(!engine_includes(&header, &key, &old, &false_bits));
        let check = |proof: &[u8]| Inclusion::decode(proof).unwrap().verify(&header, &key, &old).unwrap_err();
        assert!(matches!(check(&true_bits), StateProofError::Inactive(_)));
        errors.push(check(&false_bits));
    }
    assert!(errors.iter().any(|e| matches!(e, StateProofError::WrongRoot { .. })), "{errors:?}");
    assert!(errors.iter().any(|e| matches!(e, StateProofError::WrongLastChunk(_))), "{errors:?}");
}

#[test]
fn keys_and_values_beyond_their_limits_are_refused() {
    let state = &STATES[1];
    let (key, value, proof) = &state.present[3];
    let proof = Inclusion::decode(proof).unwrap();
    let long_key = vec![0; KEY_BYTES_MAX - 8 + 1];
    let long_value = vec![0; VALUE_BYTES_MAX + 1];
    assert_eq!(
        proof.verify(&state.header, &long_key, value),
        Err(StateProofError::KeyTooLong(long_key.len()))
    );
    assert_eq!(
        proof.verify(&state.header, key, &long_value),
        Err(StateProofError::ValueTooLong(long_value.len()))
    );
    let exclusion = Exclusion::decode(&state.absent[0].1).unwrap();
    assert!(matches!(exclusion.verify(&state.header, &long_key), Err(StateProofError::KeyTooLong(_))));
    let long_proof = vec![0; eroam_light::state::PROOF_BYTES_MAX + 1];
    assert!(matches!(Inclusion::decode(&long_proof), Err(StateProofError::TooLarge(_))));
    assert!(matches!(Exclusion::decode(&long_proof), Err(StateProofError::TooLarge(_))));
}

#[test]
fn a_value_of_the_greatest_size_is_proved_and_so_is_the_absence_after_it() {
    let network = Network::new("great", 1);
    let big = noise("big", VALUE_BYTES_MAX);
    let (header, inclusion, exclusion) = with_db(|db| {
        let (network, big) = (&network, big.clone());
        async move {
            let db = apply(db, [(key(1), Some(big))].into(), None).await;
            let inclusion = db.key_value_proof(stored_key(&key(1))).await.unwrap().encode().to_vec();
            let exclusion = db.exclusion_proof(&stored_key(b"none")).await.unwrap().encode().to_vec();
            (network.finalize(header_of(network, &db)), inclusion, exclusion)
        }
    });
    assert!(includes(&header, &key(1), &big, &inclusion));
    assert!(excludes(&header, b"none", &exclusion));
    let finality = network.prove(*header.header());
    let proof = StateProof { finality, key: b"none".to_vec(), value: None, proof: exclusion };
    let document = eroam_light::document::Document::State(proof);
    assert_eq!(eroam_light::document::Document::decode(document.encode().as_bytes()), Ok(document));
}

#[test]
fn proofs_of_ten_thousand_keys_are_small() {
    let network = Network::new("size", 4);
    let entry = |n: usize| (noise(&format!("key {n}"), 20 + n % 40), noise(&format!("value {n}"), 300));
    let (inclusions, exclusions) = with_db(|mut db| async move {
        for block in 0..50 {
            let changes = (0..200).map(|n| entry(block * 200 + n)).map(|(key, value)| (key, Some(value)));
            db = apply(db, changes.collect(), None).await;
        }
        let header = network.finalize(header_of(&network, &db));
        let (mut inclusions, mut exclusions) = (Vec::new(), Vec::new());
        for n in (0..10_000).step_by(50) {
            let (key, value) = entry(n);
            let proof = db.key_value_proof(stored_key(&key)).await.unwrap().encode();
            assert!(includes(&header, &key, &value, &proof));
            inclusions.push(proof.len());
            let (key, _) = entry(20_000 + n);
            let proof = db.exclusion_proof(&stored_key(&key)).await.unwrap().encode();
            assert!(excludes(&header, &key, &proof));
            exclusions.push(proof.len());
        }
        println!("certificate {} bytes", network.certify(header.header()).len());
        (inclusions, exclusions)
    });
    for (name, sizes) in [("inclusion", inclusions), ("exclusion", exclusions)] {
        let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
        println!("{name} {least} to {most} bytes");
        assert!(*most <= 1_024, "{name}: {most} bytes");
    }
}

proptest! {
    /// Bytes that are no proof must be refused without a panic, and so must proofs with a piece replaced.
    #[test]
    fn altered_proofs_never_panic_and_both_agree(
        place: prop::sample::Index,
        at: prop::sample::Index,
        bytes in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let state = &STATES[2];
        let (key, value, proof) = place.get(&state.present);
        let mut other = proof.clone();
        let start = at.index(other.len());
        let end = (start + bytes.len()).min(other.len());
        other.splice(start..end, bytes.clone());
        prop_assert_eq!(
            includes(&state.header, key, value, &other),
            engine_includes(&state.header, key, value, &other)
        );
        let (key, proof) = place.get(&state.absent);
        let mut other = proof.clone();
        let start = at.index(other.len());
        let end = (start + bytes.len()).min(other.len());
        other.splice(start..end, bytes);
        prop_assert_eq!(excludes(&state.header, key, &other), engine_excludes(&state.header, key, &other));
    }

    /// Proofs from a log as long as can be, at its very ends, with any number of digests.
    #[test]
    fn proofs_of_the_strangest_logs_never_panic(
        leaves in prop_oneof![Just(1u64 << 62), Just((1 << 62) - 1), 1u64..2_000, any::<u64>().prop_map(|n| n >> 2)],
        location in prop_oneof![Just(0u64), Just(u64::MAX), any::<u64>()],
        inactive_peaks in prop_oneof![0usize..70, Just(usize::MAX)],
        last_chunk: bool,
    ) {
        let header = &STATES[0].header;
        let location = if location == u64::MAX { leaves - 1 } else { location % leaves };
        let digest = sha256::Digest([1; 32]);
        for digests in 0..=mmr::MAX_PROOF_DIGESTS_PER_ELEMENT {
            let path = mmr::Proof {
                leaves: mmr::Location::new(leaves),
                inactive_peaks,
                digests: vec![digest; digests],
            };
            let range_proof = RangeProof {
                proof: path,
                pending_chunk_digest: Unused,
                partial_chunk_digest: last_chunk.then_some(digest),
                ops_root: digest,
            };
            let chunk = [0xff; CHUNK_BYTES];
            let proof = OperationProof { loc: mmr::Location::new(location), chunk, range_proof };
            let bytes = EngineInclusion { proof, next_key: vec![] }.encode();
            prop_assert!(!includes(header, b"key", b"value", &bytes));
            prop_assert!(!engine_includes(header, b"key", b"value", &bytes));
        }
    }
}
