//! The envelope log, on both databases.

mod support;

use eroam_domain::codec::Digest;
use eroam_store::{EnvelopeLog, LogError, OpenError, OrgStore};
use support::{Place, records};

type Envelope = (u64, i64, Vec<u8>);

fn envelopes(range: std::ops::Range<u64>) -> Vec<Envelope> {
    range.map(|n| (n / 3, 1_600_000_000_000 + n as i64, vec![n as u8; n as usize % 300])).collect()
}

fn read(log: &mut EnvelopeLog) -> Result<Vec<Envelope>, LogError> {
    let mut found = Vec::new();
    log.each::<LogError>(&mut |height, time_ms, bytes| {
        found.push((height, time_ms, bytes));
        Ok(())
    })?;
    Ok(found)
}

/// What is found damaged after `sql` has changed a log of 1,000 envelopes.
fn damaged_by(place: &Place, sql: &str) -> (u64, String) {
    let mut log = place.open_log();
    log.append(&envelopes(0..1_000)).unwrap();
    drop(log);
    place.sql("ledger", sql);
    match read(&mut place.open_log()) {
        Err(LogError::Damaged { sequence, what, .. }) => (sequence, what),
        other => panic!("{other:?}"),
    }
}

on_both! {
    fn envelopes_come_back_in_order(place) {
        let mut log = place.open_log();
        assert!(log.is_empty());
        assert_eq!(read(&mut log).unwrap(), []);
        log.append(&envelopes(0..700)).unwrap();
        log.append(&[]).unwrap();
        log.append(&envelopes(700..1_025)).unwrap();
        assert_eq!(log.len(), 1_025);
        assert_eq!(read(&mut log).unwrap(), envelopes(0..1_025));
        drop(log);
        let mut log = place.open_log();
        assert_eq!(log.len(), 1_025);
        log.append(&envelopes(1_025..1_026)).unwrap();
        assert_eq!(read(&mut log).unwrap(), envelopes(0..1_026));
    }

    fn bytes_of_every_value_and_large_envelopes_are_kept(place) {
        let mut log = place.open_log();
        let all: Vec<u8> = (0..=255).collect();
        let large = all.repeat(8_192);
        let mut want = vec![(0, 0, Vec::new()), (i64::MAX as u64, i64::MIN, all)];
        want.extend((1..8).map(|n| (n, -1, large.clone())));
        log.append(&want).unwrap();
        drop(log);
        assert_eq!(read(&mut place.open_log()).unwrap(), want);
    }

    fn a_height_that_does_not_fit_appends_nothing(place) {
        let mut log = place.open_log();
        let refused = log.append(&[(0, 0, vec![1]), (u64::MAX, 0, vec![2])]);
        assert!(matches!(refused, Err(LogError::Height { height: u64::MAX })), "{refused:?}");
        log.append(&envelopes(0..3)).unwrap();
        assert_eq!(read(&mut log).unwrap(), envelopes(0..3));
    }

    fn a_reader_can_stop(place) {
        #[derive(Debug)]
        enum Stop { Log, Enough }
        impl From<LogError> for Stop {
            fn from(_: LogError) -> Self { Self::Log }
        }
        let mut log = place.open_log();
        log.append(&envelopes(0..10)).unwrap();
        let mut seen = 0;
        let stopped = log.each(&mut |_, _, _| {
            seen += 1;
            if seen == 4 { Err(Stop::Enough) } else { Ok(()) }
        });
        assert!(matches!(stopped, Err(Stop::Enough)), "{stopped:?}");
        assert_eq!(seen, 4);
    }

    fn a_changed_envelope_is_named(place) {
        let change = "UPDATE envelopes SET time_ms = time_ms + 1 WHERE seq = 613";
        assert_eq!(damaged_by(place, change), (613, "its digest does not fit".into()));
    }

    fn changed_bytes_are_named(place) {
        let change = "UPDATE envelopes SET bytes = (SELECT bytes FROM envelopes WHERE seq = 7) WHERE seq = 8";
        assert_eq!(damaged_by(place, change).0, 8);
    }

    fn a_missing_envelope_is_named(place) {
        assert_eq!(damaged_by(place, "DELETE FROM envelopes WHERE seq = 12"), (12, "it is missing".into()));
    }

    fn a_missing_beginning_is_named(place) {
        assert_eq!(damaged_by(place, "DELETE FROM envelopes WHERE seq < 12"), (0, "it is missing".into()));
    }

    fn a_missing_end_is_named(place) {
        let cut = "DELETE FROM envelopes WHERE seq >= 990";
        assert_eq!(damaged_by(place, cut), (990, "it and those after it are missing".into()));
    }

    fn an_added_envelope_is_named(place) {
        let add = "INSERT INTO envelopes SELECT 1000, height, time_ms, digest, bytes FROM envelopes WHERE seq = 5";
        assert_eq!(damaged_by(place, add).0, 1_000);
    }

    fn envelopes_before_the_damage_are_handed_out(place) {
        let mut log = place.open_log();
        log.append(&envelopes(0..20)).unwrap();
        drop(log);
        place.sql("ledger", "UPDATE envelopes SET height = 9 WHERE seq = 15");
        let mut seen = 0;
        let damaged = place.open_log().each::<LogError>(&mut |_, _, _| {
            seen += 1;
            Ok(())
        });
        assert!(damaged.is_err());
        assert_eq!(seen, 15);
    }

    fn a_log_and_stores_share_a_place(place) {
        let mut log = place.open_log();
        let _store = place.open();
        log.append(&envelopes(0..3)).unwrap();
        let second = EnvelopeLog::open(&place.url(), &records::network());
        assert!(matches!(second, Err(OpenError::InUse { .. })));
    }

    fn the_log_of_another_network_is_refused(place) {
        place.open_log();
        let refused = EnvelopeLog::open(&place.url(), &Digest::of(b"other network"));
        assert!(matches!(refused, Err(OpenError::OtherNetwork { .. })));
    }
}

#[test]
fn a_file_that_holds_a_log_is_no_store() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::at(directory.path().join("one.sqlite").to_str().unwrap());
    place.open_log();
    let refused = OrgStore::open(&place.url(), records::own(), &records::network()).err().unwrap();
    assert!(refused.to_string().contains("belongs to ledger, not to NO-LYS"), "{refused}");
}
