//! Networks of one and of four validators, with real sockets and files.

mod support;

use eroam_ledger::state::state_digest;
use support::{Cluster, accepted, members, submit};

#[test]
fn a_validator_on_its_own_includes_what_is_submitted_and_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(dir.path(), 1, 1000);
    let a = members()[0];
    let digest = {
        let nodes = cluster.start();
        for sequence in 0..5 {
            accepted(&submit(&nodes[0], vec![cluster.deposit(a, 0, sequence)]));
        }
        let (_, entries) = nodes[0].client().entries().unwrap();
        state_digest(entries.iter().map(|(k, v)| (k.as_slice(), v.as_slice())))
    };
    let nodes = cluster.start();
    let (header, entries) = nodes[0].client().entries().unwrap();
    assert!(header.height >= 6);
    assert_eq!(state_digest(entries.iter().map(|(k, v)| (k.as_slice(), v.as_slice()))), digest);
    accepted(&submit(&nodes[0], vec![cluster.deposit(a, 0, 5)]));
}

#[test]
fn four_validators_agree_over_several_epochs() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(dir.path(), 4, 5);
    let nodes = cluster.start();
    for sequence in 0..12 {
        let envelopes = members().into_iter().map(|m| cluster.deposit(m, 0, sequence)).collect();
        accepted(&submit(&nodes[sequence as usize % 4], envelopes));
    }
    assert!(nodes[0].client().latest().epoch >= 2);
}
