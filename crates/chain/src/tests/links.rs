//! Lossy and slow links, and partitions.

use super::cluster::{Settings, Simulation, link, seconds, seeds};

#[test]
fn validators_agree_over_lossy_and_slow_links() {
    for seed in seeds(2) {
        let settings = Settings { link: link(60, 40, 90), ..Settings::new(seed, 4) };
        Simulation::new(settings).run(async |cluster| {
            cluster.settle().await;
        });
    }
}

#[test]
fn halves_stand_still_and_go_on_when_they_meet() {
    for seed in seeds(2) {
        let settings = Settings { envelopes: 12, ..Settings::new(seed, 4) };
        Simulation::new(settings).run(async |cluster| {
            cluster.until_height(0, 3).await;
            cluster.partition(&[&[0, 1], &[2, 3]]).await;
            // What was under way may still arrive.
            cluster.sleep(seconds(1)).await;
            let before = cluster.heights();
            cluster.sleep(seconds(30)).await;
            assert_eq!(cluster.heights(), before);
            assert!(!cluster.is_done());
            cluster.settle().await;
        });
    }
}

#[test]
fn three_go_on_without_the_fourth_which_catches_up() {
    for seed in seeds(2) {
        let settings = Settings { envelopes: 20, ..Settings::new(seed, 4) };
        Simulation::new(settings).run(async |cluster| {
            cluster.until_height(0, 3).await;
            let away = usize::try_from(seed).unwrap() % 4;
            let present: Vec<usize> = cluster.all().into_iter().filter(|index| *index != away).collect();
            cluster.partition(&[&present, &[away]]).await;
            cluster.sleep(seconds(1)).await;
            let stale = cluster.height(away);
            cluster.until_height(present[0], stale + 10).await;
            assert_eq!(cluster.height(away), stale);
            cluster.settle().await;
        });
    }
}
