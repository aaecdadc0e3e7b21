//! Validators that lost their directory: they copy the state of the others, follow without a voice, and vote again when
//! they cannot have voted before.

use super::cluster::{Cluster, Settings, Simulation, link, millis, seconds, seeds};
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
    Settings { envelopes: 40, thinking: 100, ..Settings::new(seed, 4) }
}

/// One validator stops and loses its directory, and the others go on.
async fn lose(cluster: &mut Cluster) {
    cluster.until_height(LOST, 3).await;
    cluster.crash(LOST);
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
fn it_votes_again_in_the_third_epoch_after() {
    for seed in seeds(2) {
        let settings = Settings { epoch_blocks: 8, envelopes: 80, ..settings(seed) };
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
            assert!(cluster.epoch() > first + 3, "too few epochs: {first} to {}", cluster.epoch());
            // In the first of them it led before it was lost, perhaps.
            assert_eq!(led(first + 1..first + 3), 0, "it has no voice");
            assert!(led(first + 3..u64::MAX) > 0, "it has a voice");
        });
    }
}

/// Answers with an old certificate when it is asked for the latest.
struct Dated;

impl Dishonest for Dated {
    fn latest(&self) -> Option<u64> {
        Some(2)
    }
}

/// With the answers of a liar and of an honest validator that was away, which are f + 1, it would copy a state of an epoch
/// long before the one that it voted in last, and vote there a second time.
#[test]
fn an_old_certificate_and_an_honest_latecomer_do_not_make_it_vote_twice() {
    const LIAR: usize = 1;
    const AWAY: usize = 2;
    const EPOCH: u64 = 8;
    for seed in seeds(3) {
        let settings = Settings {
            dishonest: Some((LIAR, Arc::new(Dated))),
            epoch_blocks: u32::try_from(EPOCH).unwrap(),
            envelopes: 60,
            ..settings(seed)
        };
        Simulation::new(settings).run(async |cluster| {
            cluster.until_height(AWAY, 3).await;
            cluster.crash(AWAY);
            cluster.until("epochs pass without it", |c| c.epoch() >= 6).await;
            let voted = cluster.epoch();
            cluster.crash(LOST);
            cluster.empty(LOST);
            // It reaches these two alone, and they do not reach each other.
            cluster.partition(&[&[LOST, LIAR], &[LOST, AWAY], &[0]]).await;
            cluster.start_one(AWAY).await;
            cluster.start_one(LOST).await;
            cluster.sleep(seconds(20)).await;
            assert!(!cluster.has_chosen(LOST), "two of three have answered");
            cluster.settle().await;
            let votes_from = cluster.votes_from(LOST);
            assert!(
                votes_from >= (voted + 1) * EPOCH,
                "it votes again from {votes_from}, and voted in {voted}"
            );
            assert!(votes_from <= (voted + 4) * EPOCH, "it is silent up to {votes_from} without need");
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

/// In the epoch that it joined in it has no block of the epoch before to begin at, but the certificate that it copied by.
#[test]
fn it_is_killed_at_any_time_around_the_end_of_the_epoch_that_it_joined_in() {
    for seed in seeds(2) {
        // Copying takes about as long as an epoch.
        let settings = Settings { epoch_blocks: 6, envelopes: 60, link: link(60, 20, 100), ..settings(seed) };
        Simulation::new(settings).run(async |cluster| {
            lose(cluster).await;
            for _ in 0..8 {
                cluster.start_one(LOST).await;
                let pause = cluster.draw(2500);
                cluster.sleep(millis(pause)).await;
                assert!(cluster.is_alive(LOST), "it has nowhere to begin");
                cluster.crash(LOST);
            }
            cluster.settle().await;
            check_joined(cluster);
            let begins = cluster.begins(LOST);
            assert!(cluster.has_certificate(LOST, begins).await, "the block that it copied by, {begins}");
        });
    }
}
