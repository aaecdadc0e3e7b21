//! What was committed survives the death of the process, on both databases.

mod support;

use eroam_gateway::ports::Store;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use support::Place;
use support::records::{self, session_id};

const PLACE: &str = "EROAM_STORE_TEST_PLACE";

/// Not a test of its own: the process that is killed. It commits, leaves some changes uncommitted, says so and waits.
#[test]
fn writer() {
    let Ok(place) = std::env::var(PLACE) else { return };
    let place = Place::at(&place);
    let mut store = place.open();
    for n in 0..300 {
        store.put_session(&records::recorded(n)).unwrap();
    }
    store.commit().unwrap();
    for n in 300..600 {
        store.put_session(&records::recorded(n)).unwrap();
    }
    // Written, but not committed.
    assert_eq!(store.session_counts().unwrap().total, 600);
    println!("\nready");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().lock().read_line(&mut String::new());
    panic!("the writer should have been killed");
}

on_both! {
    fn a_killed_process_leaves_what_it_committed_and_nothing_else(place) {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--nocapture"])
            .env(PLACE, place.text())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(writer.stdout.take().unwrap());
        assert!(output.lines().any(|line| line.unwrap() == "ready"));
        // Another process holds the lock.
        assert!(place.try_open().err().unwrap().to_string().contains("in use by another process"));
        writer.kill().unwrap();
        writer.wait().unwrap();

        let mut store = place.open();
        assert_eq!(store.session_counts().unwrap().total, 300);
        assert_eq!(store.session(&session_id(299)).unwrap(), Some(records::recorded(299)));
        assert_eq!(store.session(&session_id(300)).unwrap(), None);
    }
}
