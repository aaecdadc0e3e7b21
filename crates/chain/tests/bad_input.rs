//! What a node is given and must not take: directories, ports, keys, envelopes. Each refusal says what to do.

mod support;

use eroam_chain::machine::Rules;
use eroam_chain::mempool::PoolLimits;
use eroam_chain::node::Node;
use eroam_domain::cdr::AgreementRef;
use eroam_domain::codec::{Digest, ShortText};
use eroam_ledger::genesis::BlockTime;
use eroam_ledger::membership::MembershipTx;
use eroam_ledger::port::{LedgerError, LedgerPort as _};
use eroam_ledger::query::next_sequence;
use eroam_ledger::reject::RejectCode;
use eroam_ledger::settlement::{CreditReservation, SettlementTx};
use eroam_ledger::tx::{
    BATCH_MAX, DecodeError, ENVELOPE_BYTES_MAX, Envelope, LANES_MAX, SignedEnvelope, Tx, VERSION,
};
use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::{
    Cluster, NOON, QUICK, accepted, again, at, deposit, digest_of_state, history, key_of, members, noon,
    party, refusal, says, submit, turned_away, until, whole,
};
use tempfile::TempDir;

/// A validator on its own with a directory that it has used once.
fn used() -> (TempDir, Cluster) {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(dir.path(), 1, 1000);
    drop(cluster.start());
    (dir, cluster)
}

/// A running validator on its own.
fn running() -> (TempDir, Cluster, Node) {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(dir.path(), 1, 1000);
    let node = cluster.start_one(0).unwrap();
    (dir, cluster, node)
}

// Directories.

#[test]
fn reading_a_directory_that_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nothing");
    let refused = refusal(Node::read(&path, Arc::new(Rules)).and_then(|node| node.ready()));
    says(&refused, &[path.to_str().unwrap(), "holds no ledger", "name the directory"]);
    assert!(!path.exists(), "nothing is made by reading");
}

#[test]
fn a_directory_of_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(dir.path(), 1, 1000);
    let path = cluster.directory(0);
    fs::create_dir(&path).unwrap();
    fs::write(path.join("photograph"), [1, 2, 3]).unwrap();
    says(&refusal(cluster.start_one(0)), &[path.to_str().unwrap(), "not empty", "name an empty directory"]);
    let kept: Vec<_> = fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(kept.contains(&"photograph".into()) && !path.join("format").exists(), "{kept:?}");
}

#[test]
fn a_file_where_the_directory_should_be() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(dir.path(), 1, 1000);
    fs::write(cluster.directory(0), "text").unwrap();
    let refused = refusal(cluster.start_one(0));
    says(
        &refused,
        &[cluster.directory(0).to_str().unwrap(), "cannot create the directory", "name a directory where"],
    );
}

#[test]
fn a_directory_of_another_network() {
    let (_dir, mut cluster) = used();
    let own = cluster.genesis.network().to_string();
    cluster.genesis.name = ShortText::new("another").unwrap();
    let other = cluster.genesis.network().to_string();
    let refused = refusal(cluster.start_one(0));
    says(&refused, &[cluster.directory(0).to_str().unwrap(), &own, &other, "name its own directory"]);
}

#[test]
fn a_genesis_that_differs_in_one_parameter() {
    let (_dir, mut cluster) = used();
    cluster.genesis.parameters.treasurers_required = 2;
    says(&refusal(cluster.start_one(0)), &["belongs to network"]);
    // Nothing was changed by the attempt.
    cluster.genesis.parameters.treasurers_required = 1;
    drop(cluster.start_one(0).unwrap());
}

#[test]
fn a_genesis_file_that_somebody_edited() {
    let (_dir, cluster) = used();
    let file = cluster.directory(0).join("genesis.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, &text[..text.len() / 2]).unwrap();
    let refused = refusal(cluster.start_one(0));
    says(&refused, &[file.to_str().unwrap(), "the genesis is refused", "put back the file", "line"]);
    fs::write(&file, text.replace("\"epoch_blocks\": 1000", "\"epoch_blocks\": 1001")).unwrap();
    says(&refusal(cluster.start_one(0)), &["belongs to network"]);
}

#[test]
fn an_older_a_newer_and_an_unreadable_format() {
    let (_dir, cluster) = used();
    let file = cluster.directory(0).join("format");
    for other in ["eroam-chain 1\n", "eroam-chain 3\n", ""] {
        fs::write(&file, other).unwrap();
        let refused = refusal(cluster.start_one(0));
        says(&refused, &[cluster.directory(0).to_str().unwrap(), &format!("{other:?}"), "eroam-chain 2"]);
        says(&refused, &["use the program that wrote it"]);
    }
    fs::write(&file, [0xff, 0xfe]).unwrap();
    says(&refusal(cluster.start_one(0)), &[file.to_str().unwrap(), "cannot read the file"]);
}

#[test]
fn a_directory_that_another_process_uses() {
    if let Some(root) = again::role() {
        let cluster = Cluster::new(root.as_ref(), 1, 1000);
        let _node = cluster.start_one(0).unwrap();
        again::say("runs");
        // Until it is killed.
        loop {
            std::thread::park();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(dir.path(), 1, 1000);
    let root = dir.path().to_str().unwrap();
    let (mut other, mut lines) = again::start("a_directory_that_another_process_uses", root);
    assert_eq!(lines.hear().as_deref(), Some("runs"));
    let refused = refusal(cluster.start_one(0));
    says(&refused, &[cluster.directory(0).to_str().unwrap(), "in use by another process", "stop that one"]);
    let refused = refusal(Node::read(&cluster.directory(0), Arc::new(Rules)).and_then(|node| node.ready()));
    says(&refused, &["in use by another process"]);
    other.kill();
    drop(cluster.start_one(0).unwrap());
}

// Keys and ports.

#[test]
fn the_key_of_no_validator() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(dir.path(), 1, 1000);
    let mut config = cluster.config(0);
    config.key = key_of("PT-AAA");
    let refused = refusal(Node::start(&cluster.directory(0), config).and_then(|node| node.ready()));
    says(&refused, &["no validator's", "whose public half the genesis names"]);
}

#[test]
fn a_port_that_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(dir.path(), 1, 1000);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let start = || {
        let mut config = cluster.config(0);
        config.listen = address;
        Node::start(&cluster.directory(0), config).and_then(|node| node.ready())
    };
    says(&refusal(start()), &[&address.to_string(), "choose another port, or stop the program that uses it"]);
    drop(other);
    // The refusal left nothing behind, and a node that stops gives its port back.
    for _ in 0..3 {
        let node = start().unwrap();
        TcpListener::bind(address).unwrap_err();
        node.stop();
        drop(TcpListener::bind(address).unwrap());
    }
}

// Envelopes that are none of the network's.

#[test]
fn envelopes_that_are_not_their_members() {
    let (_dir, cluster, node) = running();
    let a = members()[0];
    let key = key_of("PT-AAA");
    let tx = || deposit(a, "1");
    let change = |change: &dyn Fn(&mut Envelope)| {
        let mut claim = cluster.claim(a, 0, 0, tx());
        change(&mut claim);
        claim.sign(&key)
    };
    for (refused, code) in [
        (change(&|e| e.version = VERSION + 1), RejectCode::WrongVersion),
        (change(&|e| e.network = Digest::of(b"another")), RejectCode::WrongNetwork),
        (change(&|e| e.member = party("PT-ZZZ")), RejectCode::UnknownMember),
        (change(&|e| e.key = 1), RejectCode::UnknownKey),
        (change(&|e| e.key = u32::MAX), RejectCode::UnknownKey),
        (change(&|e| e.lane = LANES_MAX), RejectCode::UnknownLane),
        (change(&|e| e.member = members()[1]), RejectCode::BadSignature),
        (cluster.claim(a, 0, 0, tx()).sign(&key_of("a thief")), RejectCode::BadSignature),
        (change(&|e| e.expires_at = at(0)), RejectCode::Expired),
    ] {
        turned_away(&submit(&node, vec![refused]), code);
    }
    // One bad envelope does not keep the others of its submission.
    let receipts = submit(
        &node,
        vec![
            cluster.deposit(a, 0, 0),
            cluster.claim(a, 0, 1, tx()).sign(&key_of("a thief")),
            cluster.deposit(a, 0, 1),
        ],
    );
    accepted(&receipts[..1]);
    turned_away(&receipts[1..2], RejectCode::BadSignature);
    accepted(&receipts[2..]);
    assert_eq!(node.client().pool().envelopes, 0, "what was refused does not wait");
}

#[test]
fn a_flipped_bit_of_a_signed_envelope() {
    let (_dir, cluster, node) = running();
    let bytes = cluster.deposit(members()[0], 0, 0).bytes().to_vec();
    for index in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[index] ^= 1 << (index % 8);
        // Often it is no envelope any more.
        if let Ok(envelope) = SignedEnvelope::decode(flipped) {
            let receipt = &submit(&node, vec![envelope])[0];
            assert_eq!(receipt.height, None, "byte {index}: {receipt:?}");
        }
    }
    accepted(&submit(&node, vec![cluster.deposit(members()[0], 0, 0)]));
}

// Keys that were replaced.

#[test]
fn an_envelope_signed_with_a_rotated_key() {
    let (_dir, cluster, mut node) = running();
    let a = members()[0];
    let (old, new) = (key_of("PT-AAA"), key_of("PT-AAA, second"));
    let first = cluster.deposit(a, 0, 0);
    let before = submit(&node, vec![first.clone()]);
    accepted(&before);
    let rotation = Tx::Membership(MembershipTx::rotate(cluster.genesis.network(), a, &new));
    accepted(&submit(&node, vec![cluster.envelope(a, 1, 0, rotation)]));
    for again in 0..2 {
        turned_away(&submit(&node, vec![cluster.deposit(a, 0, 1)]), RejectCode::RotatedKey);
        // The old key under the new one's number.
        let mut claim = cluster.claim(a, 0, 1, deposit(a, "stolen"));
        claim.key = 1;
        turned_away(&submit(&node, vec![claim.sign(&old)]), RejectCode::BadSignature);
        // What the old key had signed in its time stays included.
        assert_eq!(submit(&node, vec![first.clone()]), before);
        if again == 0 {
            node.stop();
            node = cluster.start_one(0).unwrap();
        }
    }
    let mut claim = cluster.claim(a, 0, 1, deposit(a, "own"));
    claim.key = 1;
    accepted(&submit(&node, vec![claim.sign(&new)]));
}

// Sequences.

#[test]
fn an_envelope_replayed_at_once_and_after_restarts() {
    let (_dir, cluster, mut node) = running();
    let envelopes: Vec<_> = (0..3).map(|n| cluster.deposit(members()[0], 0, n)).collect();
    let receipts = submit(&node, envelopes.clone());
    accepted(&receipts);
    let digest = digest_of_state(node.client());
    for round in 0..4 {
        assert_eq!(submit(&node, envelopes.clone()), receipts, "round {round}");
        assert_eq!(digest_of_state(node.client()), digest, "round {round}");
        node.stop();
        if round == 1 {
            // The read model, by which it is found, is made again.
            fs::remove_file(cluster.directory(0).join("index.redb")).unwrap();
        }
        node = cluster.start_one(0).unwrap();
    }
    assert_eq!(history(node.client()).len(), envelopes.len());
}

#[test]
fn another_envelope_with_a_used_sequence() {
    let (_dir, cluster, mut node) = running();
    let a = members()[0];
    accepted(&submit(&node, vec![cluster.deposit(a, 0, 0)]));
    let other = cluster.envelope(a, 0, 0, deposit(a, "other"));
    turned_away(&submit(&node, vec![other.clone()]), RejectCode::SequenceUsed);
    node.stop();
    node = cluster.start_one(0).unwrap();
    turned_away(&submit(&node, vec![other]), RejectCode::SequenceUsed);
    accepted(&submit(&node, vec![cluster.deposit(a, 0, 1)]));
}

#[test]
fn sequences_of_the_near_and_of_the_far_future() {
    let (_dir, cluster, node) = running();
    let a = members()[0];
    for sequence in [4096, 1 << 40, u64::MAX] {
        turned_away(&submit(&node, vec![cluster.deposit(a, 0, sequence)]), RejectCode::SequenceGap);
    }
    // A gap that can close is waited for, in whatever order they come.
    let mut client = node.client().clone();
    let (late, early) = ([1, 2, 3].map(|n| cluster.deposit(a, 0, n)), cluster.deposit(a, 0, 0));
    let waiting = std::thread::spawn(move || client.submit(noon(), late.to_vec()).unwrap());
    until("the later ones wait", || node.client().pool().envelopes == 3);
    accepted(&submit(&node, vec![early]));
    let receipts = waiting.join().unwrap();
    accepted(&receipts);
}

// Time.

#[test]
fn an_envelope_that_expires_before_its_block() {
    let (_dir, cluster, node) = running();
    let a = members()[0];
    let mut claim = cluster.claim(a, 0, 0, deposit(a, "1"));
    claim.expires_at = at(NOON + 1);
    let short = claim.sign(&key_of("PT-AAA"));
    // Its block is dated by its submitter: it has expired there, and its sequence is used.
    let receipts = node.client().clone().submit(at(NOON + 1), vec![short.clone()]).unwrap();
    assert!(receipts[0].height.is_some(), "{receipts:?}");
    assert_eq!(receipts[0].items[0].outcome.rejection(), Some(RejectCode::Expired));
    assert_eq!(node.client().clone().submit(at(NOON), vec![short]).unwrap(), receipts);
    assert_eq!(node.client().time(), at(NOON + 1), "time does not move back");
    accepted(&submit(&node, vec![cluster.deposit(a, 0, 1)]));
}

#[test]
fn a_submitter_cannot_date_the_blocks_of_a_network_that_goes_by_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(dir.path(), 1, 1000);
    cluster.genesis.consensus.time = BlockTime::Clock;
    let node = cluster.start_one(0).unwrap();
    let century = at(NOON + 100 * 366 * 86_400_000);
    accepted(&node.client().clone().submit(century, vec![cluster.deposit(members()[0], 0, 0)]).unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let time = u128::try_from(node.client().time().get()).unwrap();
    assert!(time <= now && now - time < 60_000, "{time} is not {now}");
}

// Sizes.

fn reservations(count: usize) -> Tx {
    let reservation = CreditReservation {
        agreement: AgreementRef { id: Digest::ZERO, version: 1 },
        session: Digest::ZERO,
        amount: 1,
        reserved_at: noon(),
        expires_at: noon(),
    };
    Tx::Settlement(SettlementTx::ReserveCredit(vec![reservation; count]))
}

#[test]
fn an_envelope_that_is_too_large() {
    let (_dir, cluster, node) = running();
    let a = members()[0];
    let large = cluster.envelope(a, 0, 0, reservations(25_000));
    let size = large.bytes().len();
    assert!(size > ENVELOPE_BYTES_MAX);
    let refused = SignedEnvelope::decode(large.bytes().to_vec()).unwrap_err();
    assert_eq!(refused, DecodeError::TooLarge(size));
    says(&refused.to_string(), &[&size.to_string(), "send fewer items"]);
    // Whoever signs in the node's own process can hand it over all the same.
    turned_away(&submit(&node, vec![large]), RejectCode::LimitReached);
    accepted(&submit(&node, vec![cluster.deposit(a, 0, 0)]));
}

#[test]
fn a_batch_with_more_outcomes_than_a_block_could_hold() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(dir.path(), 1, 1000);
    cluster.genesis.consensus.block_bytes_max = eroam_ledger::genesis::BLOCK_BYTES_MIN;
    let node = cluster.start_one(0).unwrap();
    let a = members()[0];
    let many = cluster.envelope(a, 0, 0, reservations(22_000));
    assert!(many.bytes().len() <= ENVELOPE_BYTES_MAX);
    let receipts = submit(&node, vec![many, cluster.deposit(a, 0, 1)]);
    assert!(receipts[0].height.is_some(), "it does not block its lane");
    assert_eq!(receipts[0].items[0].outcome.rejection(), Some(RejectCode::BatchSize));
    accepted(&receipts[1..]);
    let full = cluster.envelope(a, 0, 2, reservations(BATCH_MAX));
    assert_eq!(submit(&node, vec![full])[0].items.len(), BATCH_MAX);
}

// Too much at once.

#[test]
fn a_full_mempool_makes_its_member_wait_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(dir.path(), 1, 1000);
    let [a, b] = [members()[0], members()[1]];
    let size = cluster.deposit(a, 0, 10).bytes().len();
    cluster.items_max = 1;
    cluster.pool = PoolLimits { bytes_max: size * 20, member_bytes_max: size * 10 };
    let node = cluster.start_one(0).unwrap();
    let mut client = node.client().clone();
    let flood: Vec<_> = (0..120).map(|n| cluster.deposit(a, 0, n)).collect();
    let flooding = std::thread::spawn(move || client.submit(noon(), flood).unwrap());
    until("the mempool has as much of one member as it takes", || node.client().pool().bytes > size * 8);
    assert!(node.client().pool().bytes <= size * 10);
    let before = node.client().latest().height;
    let receipts = submit(&node, vec![cluster.deposit(b, 0, 0)]);
    accepted(&receipts);
    let waited = receipts[0].height.unwrap() - before;
    assert!(waited <= 20, "it waited for {waited} blocks");
    let receipts = flooding.join().unwrap();
    accepted(&receipts);
    assert!(receipts[119].height.unwrap() > before + 20, "the flood goes on meanwhile");
    assert_eq!(history(node.client()).len(), 121);
}

#[test]
fn a_mempool_that_several_members_fill() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(dir.path(), 1, 1000);
    let size = cluster.deposit(members()[0], 0, 10).bytes().len();
    cluster.items_max = 2;
    cluster.pool = PoolLimits { bytes_max: size * 15, member_bytes_max: size * 10 };
    let node = cluster.start_one(0).unwrap();
    let floods: Vec<_> = members()
        .into_iter()
        .map(|member| {
            let (mut client, pool) = (node.client().clone(), node.client().clone());
            let flood: Vec<_> = (0..40).map(|n| cluster.deposit(member, 0, n)).collect();
            std::thread::spawn(move || {
                let receipts = client.submit(noon(), flood).unwrap();
                (receipts, pool.pool().bytes)
            })
        })
        .collect();
    for flood in floods {
        let (receipts, bytes) = flood.join().unwrap();
        accepted(&receipts);
        assert!(bytes <= size * 15);
    }
    assert_eq!(history(node.client()).len(), 160);
}

// Too few validators.

#[test]
fn two_of_four_validators_are_down() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(dir.path(), 4, 1000);
    cluster.timing = QUICK;
    cluster.timing.decided_within = Duration::from_secs(1);
    let mut nodes = cluster.start();
    let a = members()[0];
    accepted(&submit(&nodes[0], vec![cluster.deposit(a, 0, 0)]));
    nodes.truncate(2);
    let envelopes: Vec<_> = (1..4).map(|n| cluster.deposit(a, 0, n)).collect();
    let began = Instant::now();
    let error = nodes[0].client().clone().submit(noon(), envelopes.clone()).unwrap_err();
    assert!(matches!(error, LedgerError::Undecided(1)), "{error}");
    says(
        &whole(&error),
        &["did not decide within 1 seconds", "too few validators answer", "submit the same envelopes again"],
    );
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(nodes[0].client().pool().envelopes, 3, "nothing is forgotten");
    nodes.extend(cluster.start_some(&[2, 3]));
    for node in &nodes {
        until("they are included without being submitted again", || {
            next_sequence(node.client(), a, 0).unwrap() == 4
        });
    }
    // Who asks again gets the receipts, wherever.
    for node in [&nodes[0], &nodes[3]] {
        accepted(&submit(node, envelopes.clone()));
    }
    let all = history(nodes[1].client());
    for envelope in &envelopes {
        assert_eq!(all.iter().filter(|(digest, _)| *digest == envelope.digest()).count(), 1);
    }
}

// Stopping.

#[test]
fn a_node_that_stops_tells_those_who_wait() {
    let (_dir, cluster, node) = running();
    let mut client = node.client().clone();
    let late = cluster.deposit(members()[0], 0, 1);
    let waiting = std::thread::spawn(move || client.submit(noon(), vec![late]));
    until("it waits", || node.client().pool().envelopes == 1);
    let client = node.client().clone();
    node.stop();
    let error = waiting.join().unwrap().unwrap_err();
    assert!(matches!(error, LedgerError::Stopped(_)), "{error}");
    // Nothing hangs that is asked of a node that has stopped.
    assert!(matches!(client.entries(), Err(LedgerError::Stopped(_))));
    assert!(matches!(client.prove(b"key"), Err(LedgerError::Stopped(_))));
    let error = client.clone().submit(noon(), vec![cluster.deposit(members()[0], 0, 0)]).unwrap_err();
    says(&whole(&error), &["has stopped"]);
    assert!(!client.wait_for_height(1 << 40, Duration::from_secs(30)));
}

#[test]
fn a_node_that_waits_for_others_can_be_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(dir.path(), 4, 1000);
    for _ in 0..2 {
        let began = Instant::now();
        drop(Node::start(&cluster.directory(0), cluster.config(0)).unwrap());
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        drop(TcpListener::bind(cluster.addresses[0]).unwrap());
    }
}

#[test]
fn a_stopped_node_leaves_no_thread() {
    const TEST: &str = "a_stopped_node_leaves_no_thread";
    if again::role().is_none() {
        // Other tests of this process have threads of their own.
        let (_alone, mut lines) = again::start(TEST, "alone");
        assert_eq!(lines.hear().as_deref(), Some("none left"));
        return;
    }
    let threads = || fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    for _ in 0..3 {
        let (_dir, cluster, node) = running();
        accepted(&submit(&node, vec![cluster.deposit(members()[0], 0, 0)]));
        assert!(threads() > before);
        node.stop();
        until("its threads are gone", || threads() == before);
    }
    again::say("none left");
}
