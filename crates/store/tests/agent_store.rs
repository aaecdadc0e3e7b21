//! An agent's records: what was written is there again, and nobody else's file is taken for one.

use eroam_store::{AgentStore, AgentStoreError, RecordChange};

fn put(key: &str, body: &[u8]) -> RecordChange {
    RecordChange { kind: "customer", key: key.to_owned(), body: Some(body.to_vec()) }
}

fn removed(key: &str) -> RecordChange {
    RecordChange { kind: "customer", key: key.to_owned(), body: None }
}

#[test]
fn what_was_written_is_there_again_in_the_order_of_its_keys() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sqlite");
    let mut store = AgentStore::open(&path).unwrap();
    store.write(vec![put("2", b"Ben"), put("1", b"Ana"), put("3", b"Eva")]).unwrap();
    store.write(vec![put("2", b"Bea"), removed("3"), removed("4")]).unwrap();
    drop(store);
    let mut store = AgentStore::open(&path).unwrap();
    let expected = [("1", b"Ana"), ("2", b"Bea")].map(|(key, body)| (key.to_owned(), body.to_vec()));
    assert_eq!(store.each("customer").unwrap(), expected);
    assert_eq!(store.get("customer", "2").unwrap(), Some(b"Bea".to_vec()));
    assert_eq!((store.get("customer", "3").unwrap(), store.get("station", "1").unwrap()), (None, None));
}

#[test]
fn records_are_one_process_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sqlite");
    let first = AgentStore::open(&path).unwrap();
    assert!(matches!(AgentStore::open(&path), Err(AgentStoreError::InUse { .. })));
    drop(first);
    AgentStore::open(&path).unwrap();
}

#[test]
fn what_is_no_agents_records_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes");
    let text = "not a database at all, but long enough to be one: ".repeat(40);
    std::fs::write(&path, &text).unwrap();
    assert!(matches!(AgentStore::open(&path), Err(AgentStoreError::Foreign { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[cfg(unix)]
#[test]
fn the_file_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sqlite");
    drop(AgentStore::open(&path).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}
