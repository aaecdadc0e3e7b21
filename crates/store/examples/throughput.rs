//! How many records a second: `cargo run --release -p eroam-store --example throughput [place] [sessions] [batch]`.
//!
//! The default place is a temporary directory; `postgres://user@host/database` measures PostgreSQL. It does what a
//! replay does with the store: every session is looked up in vain, put open, and put settled in a later batch; its
//! charge is reported, then billed; each batch is committed.

#[path = "../tests/support/records.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests")]
mod records;

use eroam_domain::ids::ContractId;
use eroam_gateway::billing::Charge;
use eroam_gateway::ports::Store;
use eroam_store::{OrgStore, StoreUrl};
use std::time::Instant;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let url: StoreUrl = match arguments.next() {
        Some(place) => place.parse().expect("a store's place"),
        None => StoreUrl::directory(temporary.path()),
    };
    let sessions: u32 = arguments.next().map_or(100_000, |n| n.parse().expect("a number of sessions"));
    let batch: usize = arguments.next().map_or(2_000, |n| n.parse().expect("a batch size"));
    let open = || OrgStore::open(&url, records::own(), &records::network()).expect("a store");

    let size = serde_json_size(&records::recorded(1));
    println!("{url}: {sessions} sessions of {size} bytes, in batches of {batch}");
    let numbers: Vec<u32> = (0..sessions).collect();

    let mut store = open();
    let measure = |what: &str, rows: u32, work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        let seconds = start.elapsed().as_secs_f64();
        println!("{what:<44} {seconds:7.2} s {:10.0} /s", f64::from(rows) / seconds);
    };
    measure("settled sessions, put and committed", sessions, &mut || {
        for batch in numbers.chunks(batch) {
            for n in batch {
                store.put_session(&records::recorded(*n)).expect("put");
            }
            store.commit().expect("commit");
        }
    });
    drop(store);
    let mut store = open();
    measure("settled sessions, read one by one", 10_000, &mut || {
        for n in 0..10_000 {
            let session = store.session(&records::session_id(n % sessions)).expect("read");
            assert!(session.is_some());
        }
    });
    measure("unknown sessions", sessions, &mut || {
        for n in &numbers {
            assert!(store.session(&records::session_id(sessions + n)).expect("read").is_none());
        }
    });
    measure("sessions, looked up, opened, settled", sessions, &mut || {
        let mut open: &[u32] = &[];
        for batch in numbers.chunks(batch) {
            for n in batch {
                let n = sessions + n;
                assert!(store.session(&records::session_id(n)).expect("read").is_none());
                store.put_session(&records::charging(n)).expect("put");
            }
            for n in open {
                assert!(store.session(&records::session_id(sessions + n)).expect("read").is_some());
                store.put_session(&records::recorded(sessions + n)).expect("put");
            }
            open = batch;
            store.commit().expect("commit");
        }
    });
    measure("charges, reported, then billed", sessions, &mut || {
        for batch in numbers.chunks(batch) {
            for n in batch {
                let cdr = records::cdr_id(*n);
                assert!(store.charge(records::own(), &cdr).expect("read").is_none());
                let report = Charge::Reported(Box::new(records::report(*n)));
                store.put_charge(records::own(), &cdr, &report).expect("put");
            }
            store.commit().expect("commit");
            for n in batch {
                let cdr = records::cdr_id(*n);
                assert!(store.charge(records::own(), &cdr).expect("read").is_some());
                let contract: ContractId = records::contract(n % 5_000);
                let line = records::bill_line(contract, "2020-09", records::at(i64::from(*n)), cdr.clone());
                store.put_charge(records::own(), &cdr, &Charge::Billed(Box::new(line))).expect("put");
            }
            store.commit().expect("commit");
        }
    });
    measure("bill lines, in order", sessions, &mut || {
        let mut lines = 0;
        store
            .each_bill_line(&mut |_| {
                lines += 1;
                Ok(())
            })
            .expect("bill lines");
        assert_eq!(lines, sessions);
    });
    measure("counts", 1, &mut || println!("{:?}", store.session_counts().expect("counts").total));
    drop(store);
    measure("opening", 1, &mut || drop(open()));
}

fn serde_json_size<T: serde::Serialize>(value: &T) -> usize {
    serde_json::to_string(value).map_or(0, |text| text.len())
}
