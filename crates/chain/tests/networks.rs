//! Networks of one and of four validators, with real sockets and files.

mod support;

use eroam_chain::machine::Rules;
use eroam_chain::node::{CatchUp, Node, NodeConfig, StartError};
use eroam_domain::codec::Digest;
use eroam_ledger::state::state_digest;
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use support::{Cluster, accepted, members, says, submit};

fn digest(node: &Node) -> Digest {
    let (_, entries) = node.client().entries().unwrap();
    state_digest(entries.iter().map(|(k, v)| (k.as_slice(), v.as_slice())))
}

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

#[test]
fn a_validator_whose_directory_is_gone_copies_the_state_and_says_what_it_has_not() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(dir.path(), 4, 1000);
    let mut nodes = cluster.start();
    nodes.pop().unwrap().stop();
    fs::remove_dir_all(cluster.directory(3)).unwrap();
    let a = members()[0];
    for sequence in 0..8 {
        accepted(&submit(&nodes[0], vec![cluster.deposit(a, 0, sequence)]));
    }
    let config = || NodeConfig { catch_up: CatchUp::State, ..cluster.config(3) };
    let joined = Node::start(&cluster.directory(3), config()).unwrap().ready().unwrap();
    let receipts = submit(&joined, vec![cluster.deposit(a, 0, 8)]);
    accepted(&receipts);
    let height = receipts[0].height.unwrap();
    assert!(nodes[0].client().wait_for_height(height, Duration::from_secs(60)));
    assert_eq!(digest(&joined), digest(&nodes[0]));
    let from = joined.client().holds_from();
    assert!(from > 8, "{from}");
    assert!(joined.client().block(from - 1).unwrap().is_none());
    assert_eq!(joined.client().block(from).unwrap(), nodes[0].client().block(from).unwrap());
    assert!(joined.client().prove(b"no such key").unwrap().1.is_none());
    // An envelope that was included before is refused as such; where it stands is not known here.
    let before = submit(&joined, vec![cluster.deposit(a, 0, 0)]);
    assert_eq!(before[0].height, None);
    let known = submit(&joined, vec![cluster.deposit(a, 0, 8)]);
    assert_eq!(known, receipts);
    assert_eq!(joined.client().read_model().begins_at().unwrap(), from);
    joined.stop();
    // It is as it was when it is opened again, with the others or only to be read.
    let read = Node::read(&cluster.directory(3), Arc::new(Rules)).unwrap().ready().unwrap();
    assert_eq!(read.client().holds_from(), from);
    assert_eq!(digest(&read), digest(&nodes[0]));
    read.stop();
    let again = Node::start(&cluster.directory(3), config()).unwrap().ready().unwrap();
    accepted(&submit(&again, vec![cluster.deposit(a, 0, 9)]));
    assert_eq!(again.client().holds_from(), from);
}

#[test]
fn a_copy_that_was_interrupted_is_not_read_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(dir.path(), 4, 1000);
    let config = || NodeConfig { catch_up: CatchUp::State, ..cluster.config(3) };
    // Nobody is there to copy from.
    let starting = Node::start(&cluster.directory(3), config()).unwrap();
    drop(starting);
    let read = Node::read(&cluster.directory(3), Arc::new(Rules)).unwrap().ready();
    let Err(refused) = read else { panic!("a part of a state is no state") };
    assert!(matches!(refused, StartError::Unfinished), "{refused}");
    let nodes = cluster.start_some(&[0, 1, 2]);
    // What it was told first, it remembers: it neither begins the network nor votes.
    let joined = cluster.start_one(3).unwrap();
    assert!(joined.client().holds_from() > 0);
    assert_eq!(digest(&joined), digest(&nodes[0]));
}

/// Nothing is decided without the votes of all, and one of them must not vote.
#[test]
fn a_validator_of_two_or_three_does_not_copy() {
    for validators in [2, 3] {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster::new(dir.path(), validators, 1000);
        let config = NodeConfig { catch_up: CatchUp::State, ..cluster.config(0) };
        let Err(refused) = Node::start(&cluster.directory(0), config) else {
            panic!("the network stands still")
        };
        assert!(matches!(refused, StartError::TooFewToCopy { .. }), "{refused}");
        says(&refused.to_string(), &[&format!("with {validators} validators"), "put back the directory"]);
        assert!(
            !cluster.directory(0).exists(),
            "a directory would count as one of a validator that never voted"
        );
    }
}

#[test]
fn a_validator_on_its_own_has_nobody_to_copy_from() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(dir.path(), 1, 1000);
    let config = NodeConfig { catch_up: CatchUp::State, ..cluster.config(0) };
    let Err(refused) = Node::start(&cluster.directory(0), config) else { panic!("nobody is there") };
    assert!(matches!(refused, StartError::NobodyToCopyFrom), "{refused}");
}
