//! A disk that is full: the node stops and says so; with room again, everything that was acknowledged is there.

mod support;

use eroam_ledger::port::{LedgerError, LedgerPort as _};
use eroam_ledger::tx::SignedEnvelope;
use std::fs;
use std::path::Path;
use std::process::Command;
use support::{Cluster, accepted, again, history, members, noon, refusal, says, submit, whole};

const TEST: &str = "a_full_disk_stops_a_node_and_loses_nothing";
/// So many envelopes are submitted together.
const TOGETHER: u64 = 50;

/// Mounts a disk of so many bytes, for this process and those that it starts. It is gone with them.
fn mount(path: &Path, bytes: u64) {
    fs::create_dir_all(path).unwrap();
    let size = format!("size={bytes}");
    let status =
        Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).status().unwrap();
    assert!(status.success(), "{status}");
}

/// Fills a disk of `megabytes` with envelopes, then makes room again.
fn fill(root: &Path, megabytes: u64) {
    let disk = root.join(megabytes.to_string());
    mount(&disk, megabytes << 20);
    let cluster = Cluster::new(&disk, 1, 1000);
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let a = members()[0];
    let mut acknowledged: Vec<SignedEnvelope> = Vec::new();
    let node = cluster.start_one(0).unwrap();
    let mut client = node.client().clone();
    let error = loop {
        let next = acknowledged.len() as u64;
        let batch: Vec<_> = (next..next + TOGETHER).map(|n| cluster.deposit(a, 0, n)).collect();
        match client.submit(noon(), batch.clone()) {
            Ok(receipts) => {
                accepted(&receipts);
                acknowledged.extend(batch);
            }
            Err(error) => break error,
        }
        assert!(acknowledged.len() < 100_000, "the disk is never full");
    };
    assert!(matches!(error, LedgerError::Stopped(_)), "{error}");
    let text = whole(&error);
    again::say(&format!("{megabytes} MB, {} acknowledged: {text}", acknowledged.len()));
    says(&text, &[cluster.directory(0).to_str().unwrap(), "No space left on device", "make room", "start"]);
    drop(node);
    // Still full: it does not start, or runs until it has to write.
    match cluster.start_one(0) {
        Ok(node) => {
            let batch = (0..TOGETHER).map(|n| cluster.deposit(a, 1, n)).collect();
            let error = node.client().clone().submit(noon(), batch).unwrap_err();
            says(&whole(&error), &["No space left on device"]);
        }
        refused => says(&refusal(refused), &["No space left on device"]),
    }
    fs::remove_file(ballast).unwrap();
    let node = cluster.start_one(0).unwrap();
    let all = history(node.client());
    for envelope in &acknowledged {
        let times = all.iter().filter(|(digest, _)| *digest == envelope.digest()).count();
        assert_eq!(times, 1, "sequence {}", envelope.envelope().sequence);
    }
    accepted(&submit(&node, acknowledged));
    let next = all.len() as u64;
    accepted(&submit(&node, vec![cluster.deposit(a, 0, next)]));
    again::say("goes on");
}

#[test]
fn a_full_disk_stops_a_node_and_loses_nothing() {
    if let Some(root) = again::role() {
        // Where it is full differs, so that different files are the first that cannot grow.
        for megabytes in [3, 5] {
            fill(root.as_ref(), megabytes);
        }
        again::say("all went on");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    // A mount namespace of its own; that of a user who is not root needs one of users, too.
    let output = again::command(TEST, root, &["unshare", "--mount", "--map-root-user"]).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}\n{err}");
    assert!(output.status.success() && out.contains("all went on"), "{}", output.status);
    assert!(!err.contains("panicked"), "a panic was printed");
}
