//! Validators that lost their directory: they copy the state of the others, follow without a voice, and vote again when
//! they cannot have voted before.

use super::cluster::{Cluster, Settings, Simulation, link, millis, seeds};
use crate::application::Dishonest;
use bytes::Bytes;
use commonware_runtime::deterministic::{FaultConfig, PartialWriteMode, WriteConfig};
use commonware_utils::Probability;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The validator that loses its directory.
const LOST: usize = 3;

/// So many blocks are final before it is back.
const BLOCKS_BEFORE: u64 = 24;

fn settings(seed: u64) -> Settings {
    Settings { envelopes: 30, thinking: 100, ..Settings::new(seed, 4) }
}

/// One validator stops and loses its directory, and the others go on.
async fn lose(cluster: &mut Cluster) {
    cluster.until_height(LOST, 3).await;
    cluster.crash(LOST);
    // What it was at ends first.
    cluster.sleep(millis(100)).await;
    cluster.empty(LOST);
    cluster.until("the others have gone on", |c| c.height(0) >= BLOCKS_BEFORE).await;
    assert!(!cluster.is_done(), "nothing is left to follow");
}

/// What must hold of a validator that is back, beside what [`Cluster::settle`] compares.
fn check_joined(cluster: &Cluster) {
    let begins = cluster.begins(LOST);
    assert!(begins > BLOCKS_BEFORE / 2, "it holds the chain from block {begins} on");
    let executed = cluster.executed(LOST);
    assert!(executed.iter().all(|height| *height > begins), "{begins}: {executed:?}");
    assert!(!executed.is_empty(), "it executes what follows");
}

#[test]
fn a_validator_without_a_directory_copies_the_state_and_follows() {
    for seed in seeds(2) {
        Simulation::new(settings(seed)).run(async |cluster| {
            lose(cluster).await;
            cluster.start_one(LOST).await;
            cluster.settle().await;
            check_joined(cluster);
            // The epoch is long: it has no voice yet.
            let begins = cluster.begins(LOST);
            let of_lost = |height: u64, leader| height >= begins && leader == cluster.leader(LOST);
            let blocks = cluster.blocks(0);
            assert!(!blocks.iter().any(|b| of_lost(b.header().height, b.header().leader)));
        });
    }
}

#[test]
fn it_votes_again_in_the_epoch_after_next() {
    for seed in seeds(2) {
        let settings = Settings { epoch_blocks: 10, envelopes: 60, ..settings(seed) };
        Simulation::new(settings).run(async |cluster| {
            lose(cluster).await;
            cluster.start_one(LOST).await;
            cluster.settle().await;
            check_joined(cluster);
            let first = cluster.block_epoch(cluster.begins(LOST));
            let led = |epochs: std::ops::Range<u64>| {
                let blocks = cluster.blocks(0).into_iter().filter(|b| epochs.contains(&b.header().epoch));
                blocks.filter(|b| b.header().leader == cluster.leader(LOST)).count()
            };
            assert!(cluster.epoch() > first + 2, "too few epochs: {first} to {}", cluster.epoch());
            // In the first of them it led before it was lost, perhaps.
            assert_eq!(led(first + 1..first + 2), 0, "it has no voice");
            assert!(led(first + 2..u64::MAX) > 0, "it has a voice");
        });
    }
}

/// Changes a bit of every answer.
struct Forger(AtomicU64);

impl Dishonest for Forger {
    fn answer(&self, honest: Bytes) -> Bytes {
        let told = self.0.fetch_add(1, Ordering::Relaxed);
        let mut forged = honest.to_vec();
        let at = usize::try_from(told * 97).unwrap() % forged.len();
        forged[at] ^= 1;
        Bytes::from(forged)
    }
}

#[test]
fn forged_answers_are_refused() {
    let mut told = 0;
    for seed in seeds(6) {
        let forger = Arc::new(Forger(AtomicU64::new(seed)));
        let settings = Settings { dishonest: Some((0, Arc::clone(&forger) as _)), ..settings(seed) };
        Simulation::new(settings).run(async |cluster| {
            lose(cluster).await;
            cluster.start_one(LOST).await;
            cluster.settle().await;
            check_joined(cluster);
        });
        told += forger.0.load(Ordering::Relaxed) - seed;
    }
    assert!(told > 0, "nobody asked the forger");
}

#[test]
fn a_copy_that_is_interrupted_is_taken_up_again() {
    let mut interrupted = 0;
    for seed in seeds(4) {
        // Slow enough that most interruptions find it in the middle.
        let settings = Settings { link: link(60, 20, 100), ..settings(seed) };
        Simulation::new(settings).run(async |cluster| {
            lose(cluster).await;
            for _ in 0..4 {
                cluster.start_one(LOST).await;
                let pause = cluster.draw(900);
                cluster.sleep(millis(pause)).await;
                interrupted += u32::from(cluster.is_copying(LOST));
                cluster.crash(LOST);
            }
            cluster.settle().await;
            check_joined(cluster);
        });
    }
    assert!(interrupted > 4, "{interrupted} interruptions found it copying");
}

#[test]
fn the_machine_crashes_while_the_state_is_copied() {
    for seed in seeds(4) {
        let never = Probability::new(0, 1).unwrap();
        let half = Probability::new(1, 2).unwrap();
        let modes = [PartialWriteMode::Prefix, PartialWriteMode::Subset];
        let mode = modes[usize::try_from(seed).unwrap() % 2];
        let write = WriteConfig { failure_rate: never, retention_rate: half, mode };
        let disk = FaultConfig { write_rate: Some(write), ..FaultConfig::default() };
        let mut simulation = Simulation::new(Settings { disk, link: link(40, 20, 100), ..settings(seed) });
        simulation.run(async |cluster| {
            lose(cluster).await;
            cluster.start_one(LOST).await;
            let pause = cluster.draw(600);
            cluster.sleep(millis(pause)).await;
        });
        for _ in 0..2 {
            simulation.run(async |cluster| {
                let pause = cluster.draw(4000);
                cluster.sleep(millis(pause)).await;
            });
        }
        simulation.run(async |cluster| {
            cluster.settle().await;
            assert!(cluster.begins(LOST) > BLOCKS_BEFORE / 2);
        });
    }
}
