//! The corpus of this crate's fuzz target. Its first seeds are proofs of the engine's.

#[path = "../../../../fuzz/targets/light.rs"]
mod targets;

use crate::engine::{EPOCH_BLOCKS, Network};
use crate::receipts::{receipts, state_proofs};
use eroam_light::document::Document;
use eroam_testkit::corpus;
use targets::{TARGETS, VALIDATORS, run};

fn network() -> Network {
    Network::new("corpus", 4)
}

#[test]
fn the_target_believes_the_validators_of_the_corpus() {
    let validators = network().genesis.consensus.validators;
    assert_eq!(validators.iter().map(|validator| validator.key.to_string()).collect::<Vec<_>>(), VALIDATORS);
    assert_eq!(targets::EPOCH_BLOCKS, EPOCH_BLOCKS);
}

#[test]
fn every_seed_is_accepted_or_refused_as_its_name_says() {
    if corpus::is_to_be_written() {
        let network = network();
        let receipts = receipts(&network).into_iter().map(Document::Receipt);
        let proofs = receipts.chain(state_proofs(&network).map(Document::State));
        let proper: Vec<_> = proofs.map(|proof| ("light_document", proof.encode().into_bytes())).collect();
        corpus::write(&proper, &[]);
    }
    corpus::replay("light", &TARGETS.iter().map(|(name, _)| *name).collect(), run);
}
