//! What the fuzz target of `eroam-light` does with its bytes: it reads them as a file that proves something, and says
//! whether it does.

#[path = "target.rs"]
mod target;

use eroam_domain::codec::Digest;
use eroam_ledger::genesis::BlockTime;
use eroam_ledger::tx::PublicKey;
use eroam_light::certificate::Validators;
use eroam_light::document::Document;
use eroam_light::trust::{Trust, ValidatorHistory};
use target::Target;

/// Every target by its name, which is also that of its corpus.
pub(crate) const TARGETS: &[(&str, Target)] = &[("light_document", document)];

/// Blocks of an epoch of the corpus's network.
pub(crate) const EPOCH_BLOCKS: u32 = 10;
/// The keys of its validators.
pub(crate) const VALIDATORS: [&str; 4] = [
    "5baa5d5c0ea45ef7bcc9057ef96bc39e2891e41df464678a73eb216971436830",
    "d196ecfe0d2cf363a6924fe124181150085d0b66b643062b2cbc1cfe22bcc54e",
    "e0b816cd65538671cb9e2c55cfa5814a6b00f6b5b692d19be0e0a1504eec12a4",
    "0e55dded9dd0341128103b1429a2c4617fee60c6d0512b3868e6661a8571acc2",
];

/// Runs one target.
pub(crate) fn run(name: &str, bytes: &[u8]) -> bool {
    target::run(TARGETS, name, bytes)
}

/// Whoever signed for the corpus's network is believed for any: which network it is depends on its genesis.
fn trust(network: Digest) -> Option<Trust> {
    let keys: Option<Vec<PublicKey>> = VALIDATORS.iter().map(|key| key.parse().ok()).collect();
    let validators = Validators::new(keys?).ok()?;
    Trust::new(network, EPOCH_BLOCKS, ValidatorHistory::new(validators), BlockTime::Clock).ok()
}

fn document(bytes: &[u8]) -> bool {
    // That it is the one text of its proof is checked by the decoder itself.
    Document::decode(bytes).is_ok_and(|document| {
        let network = match &document {
            Document::Receipt(proof) => proof.finality.network,
            Document::State(proof) => proof.finality.network,
        };
        trust(network).is_some_and(|trust| document.verify(&trust).is_ok())
    })
}
