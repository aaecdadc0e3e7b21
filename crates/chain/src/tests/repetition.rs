//! The same seed gives the same run, and the same submissions the same state.

use super::cluster::{Settings, Simulation, link};
use commonware_cryptography::sha256;
use eroam_domain::codec::Digest;

fn run(settings: Settings) -> (String, Vec<sha256::Digest>, Digest) {
    let mut simulation = Simulation::new(settings);
    let (blocks, state) = simulation.run(async |cluster| {
        let state = cluster.settle().await;
        (cluster.digests(0), state)
    });
    (simulation.audit(), blocks, state)
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let settings = |seed| Settings { epoch_blocks: 5, link: link(30, 20, 95), ..Settings::new(seed, 4) };
    let (audit, blocks, state) = run(settings(1));
    assert_eq!(run(settings(1)), (audit.clone(), blocks, state));
    let (other, _, same) = run(settings(2));
    assert_ne!(other, audit);
    assert_eq!(same, state);
}

#[test]
fn the_state_does_not_depend_on_the_sizes_of_blocks() {
    let state = |items_max: &[usize]| {
        run(Settings { items_max: items_max.to_vec(), envelopes: 10, together: 5, ..Settings::new(7, 4) }).2
    };
    let expected = state(&[4096]);
    assert_eq!(state(&[1]), expected);
    assert_eq!(state(&[7]), expected);
    assert_eq!(state(&[1, 7, 4096, 2]), expected);
}
