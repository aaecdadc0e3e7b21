//! Crashes and restarts: what was acknowledged stays, in the same place.

use super::cluster::{Settings, Simulation, link, millis, seconds, seeds};
use commonware_runtime::deterministic::{FaultConfig, PartialWriteMode, WriteConfig};
use commonware_utils::Probability;

/// Of what was not synchronized when the machine crashes, the disk holds some.
fn careless_disk(mode: PartialWriteMode) -> FaultConfig {
    let never = Probability::new(0, 1).unwrap();
    let half = Probability::new(1, 2).unwrap();
    FaultConfig {
        write_rate: Some(WriteConfig { failure_rate: never, retention_rate: half, mode }),
        ..FaultConfig::default()
    }
}

#[test]
fn validators_crash_one_by_one() {
    for seed in seeds(3) {
        let settings = Settings { envelopes: 16, link: link(20, 10, 97), ..Settings::new(seed, 4) };
        Simulation::new(settings).run(async |cluster| {
            while !cluster.is_done() {
                let pause = cluster.draw(2000);
                cluster.sleep(millis(pause)).await;
                let index = usize::try_from(cluster.draw(4)).unwrap();
                cluster.crash(index);
                let pause = cluster.draw(3000);
                cluster.sleep(millis(pause)).await;
                cluster.start_one(index).await;
            }
            cluster.settle().await;
        });
    }
}

#[test]
fn all_four_crash_at_once_again_and_again() {
    for seed in seeds(2) {
        let modes = [PartialWriteMode::Prefix, PartialWriteMode::Subset];
        let mode = modes[usize::try_from(seed).unwrap() % 2];
        let settings = Settings { envelopes: 16, disk: careless_disk(mode), ..Settings::new(seed, 4) };
        let mut simulation = Simulation::new(settings);
        while !simulation.run(async |cluster| {
            // After a crash the interrupted view can take until its timeout: only some runs may be shorter.
            let longest = if cluster.draw(2) == 0 { 1000 } else { 8000 };
            let pause = cluster.draw(longest);
            cluster.sleep(millis(pause)).await;
            cluster.is_done()
        }) {}
        simulation.run(async |cluster| cluster.settle().await);
    }
}

#[test]
fn a_validator_on_its_own_crashes_again_and_again() {
    for seed in seeds(2) {
        let modes = [PartialWriteMode::Prefix, PartialWriteMode::Subset];
        let mode = modes[usize::try_from(seed).unwrap() % 2];
        let settings = Settings {
            envelopes: 20,
            epoch_blocks: 7,
            thinking: 50,
            disk: careless_disk(mode),
            ..Settings::new(seed, 1)
        };
        let mut simulation = Simulation::new(settings);
        while !simulation.run(async |cluster| {
            // After a crash the interrupted view can take until its timeout.
            let longest = if cluster.draw(2) == 0 { 300 } else { 2500 };
            let pause = cluster.draw(longest);
            cluster.sleep(millis(pause)).await;
            cluster.is_done()
        }) {}
        simulation.run(async |cluster| cluster.settle().await);
    }
}

/// A validator that is gone is leader again and again, and each time passed over.
#[test]
fn while_a_leader_is_gone_no_answer_takes_more_than_three_seconds() {
    for seed in seeds(2) {
        let settings = Settings { envelopes: 20, ..Settings::new(seed, 4) };
        Simulation::new(settings).run(async |cluster| {
            cluster.until_height(0, 3).await;
            let gone = usize::try_from(seed).unwrap() % 4;
            // What was answered before took as long as the network needs to begin.
            cluster.longest_wait();
            cluster.crash(gone);
            cluster.until("everything is acknowledged", |c| c.is_done()).await;
            let longest = cluster.longest_wait().unwrap();
            assert!(longest > seconds(1), "it was never its turn: {longest:?}");
            assert!(longest <= seconds(3), "{longest:?}");
            cluster.settle().await;
        });
    }
}
