//! Changes of the epoch under loss and crashes.

use super::cluster::{Settings, Simulation, link, millis, seeds};
use crate::epochs::Timing;

const EPOCH_BLOCKS: u32 = 4;

fn short_epochs(seed: u64) -> Settings {
    Settings { epoch_blocks: EPOCH_BLOCKS, envelopes: 12, ..Settings::new(seed, 4) }
}

/// The last height of the epoch that the block after `height` belongs to.
fn boundary_after(height: u64) -> u64 {
    let blocks = u64::from(EPOCH_BLOCKS);
    // The first epoch has the genesis block.
    (height + 1) / blocks * blocks + blocks - 1
}

#[test]
fn epochs_change_over_lossy_links() {
    for seed in seeds(2) {
        let settings = Settings { link: link(40, 30, 90), ..short_epochs(seed) };
        Simulation::new(settings).run(async |cluster| {
            cluster.settle().await;
            assert!(cluster.epoch() >= 3);
        });
    }
}

#[test]
fn a_validator_crashes_when_an_epoch_ends() {
    for seed in seeds(2) {
        Simulation::new(short_epochs(seed)).run(async |cluster| {
            let index = usize::try_from(seed).unwrap() % 4;
            for _ in 0..3 {
                let boundary = boundary_after(cluster.height_max());
                cluster.until_exactly(boundary).await;
                let late = cluster.draw(40);
                cluster.sleep(millis(late)).await;
                cluster.crash(index);
                let pause = cluster.draw(1500);
                cluster.sleep(millis(pause)).await;
                cluster.start_one(index).await;
                if cluster.is_done() {
                    break;
                }
            }
            cluster.settle().await;
        });
    }
}

#[test]
fn all_crash_when_an_epoch_ends() {
    for seed in seeds(2) {
        let mut simulation = Simulation::new(short_epochs(seed));
        for _ in 0..4 {
            simulation.run(async |cluster| {
                let known = cluster.archived_max();
                // Everybody has caught up with what was final before.
                cluster.until("the archives are read", |c| c.height_max() >= known).await;
                if cluster.is_done() {
                    return;
                }
                let boundary = boundary_after(cluster.height_max());
                cluster.until_exactly(boundary).await;
                let late = cluster.draw(30);
                cluster.sleep(millis(late)).await;
            });
        }
        simulation.run(async |cluster| cluster.settle().await);
    }
}

#[test]
fn a_validator_that_was_away_for_several_epochs_returns() {
    for seed in seeds(2) {
        Simulation::new(Settings { envelopes: 24, ..short_epochs(seed) }).run(async |cluster| {
            cluster.until_height(0, 5).await;
            let away = usize::try_from(seed).unwrap() % 4;
            cluster.crash(away);
            cluster.until("five epochs have passed", |c| c.epoch() >= 6 || c.is_done()).await;
            cluster.start_one(away).await;
            cluster.settle().await;
        });
    }
}

#[test]
fn the_first_blocks_of_an_epoch_come_without_a_timeout() {
    for seed in seeds(2) {
        Simulation::new(Settings { thinking: 0, ..short_epochs(seed) }).run(async |cluster| {
            cluster.settle().await;
            for index in cluster.all() {
                let gaps = cluster.gaps(index);
                assert!(gaps.values().all(|gap| *gap < Timing::SEVERAL.hold / 2), "{gaps:?}");
            }
        });
    }
}
