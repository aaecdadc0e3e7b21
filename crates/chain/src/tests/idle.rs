//! A network that has nothing to do, and one that has done much.

use super::cluster::{Settings, Simulation, seconds, seeds};
use crate::epochs::Timing;
use std::time::Duration;

/// How many blocks a network makes in `time` that nobody submits anything to.
fn blocks_of_nothing(seed: u64, validators: usize, heartbeat: Duration, time: Duration) -> u64 {
    let usual = Settings::new(seed, validators);
    let timing = Timing { heartbeat, ..usual.timing };
    let settings = Settings { envelopes: 0, timing, ..usual };
    Simulation::new(settings).run(async |cluster| {
        // The first blocks show that the validators are there.
        cluster.until_height(0, 1).await;
        cluster.sleep(seconds(2)).await;
        let before = cluster.height_max();
        cluster.sleep(time).await;
        cluster.height_max() - before
    })
}

#[test]
fn an_idle_network_makes_a_block_a_minute() {
    for seed in seeds(1) {
        let blocks = blocks_of_nothing(seed, 4, Timing::SEVERAL.heartbeat, seconds(600));
        assert!((9..=10).contains(&blocks), "{blocks} blocks in ten minutes");
    }
}

/// What holds empty blocks back is the heartbeat: with one that is always due there are several a second.
#[test]
fn without_the_hold_an_idle_network_makes_one_empty_block_after_another() {
    let blocks = blocks_of_nothing(0, 4, Duration::ZERO, seconds(5));
    assert!(blocks > 50, "{blocks} blocks in five seconds");
}

/// The engine prunes its archives of what lies far behind; these keep everything.
#[test]
fn the_first_of_many_blocks_can_be_read_after_a_restart() {
    let settings =
        Settings { envelopes: 190, items_max: vec![1], together: 10, thinking: 0, ..Settings::new(0, 1) };
    Simulation::new(settings).run(async |cluster| {
        cluster.until("everything is acknowledged", |c| c.is_done()).await;
        let height = cluster.height_max();
        assert!(height >= 1_500, "{height}");
        let first = cluster.archived(0, 1).await.expect("block 1 is there");
        assert_eq!(first.header().height, 1);
        cluster.crash(0);
        cluster.start_one(0).await;
        cluster.until_height(0, height).await;
        let again = cluster.archived(0, 1).await.expect("block 1 is still there");
        assert_eq!(again.header(), first.header());
        assert_eq!(again.body(), first.body());
        cluster.settle().await;
    });
}
