//! Arbitrary bytes never panic, and what is read always adds up.

use proptest::prelude::*;

use super::super::infer_ports;
use super::*;

fn samples() -> Vec<Vec<u8>> {
    let second = CDR.replace("12345\"", "2\"");
    let texts = [
        format!("[{ACN_ITEM}, {ACN_ITEM}]"),
        format!(r#"{{"status_code": 1000, "data": [{CDR}, {second}]}}"#),
        format!("{CDR}\n{second}\n"),
        table(TRONDHEIM_HEADER, &[TRONDHEIM_ROW, TRONDHEIM_ROW]),
        table(WORKPLACE_HEADER, &[WORKPLACE_ROW]),
        table(BOULDER_HEADER, &[BOULDER_ROW]),
    ];
    let mut samples: Vec<Vec<u8>> = texts.iter().map(|text| gzip(text)).collect();
    samples.extend(texts.into_iter().map(String::into_bytes));
    samples
}

fn arb_damaged_sample() -> impl Strategy<Value = Vec<u8>> {
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (prop::sample::select(samples()), damage, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(mut bytes, damage, end, cut)| {
            for (index, byte) in damage {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            if cut {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes
        },
    )
}

/// Bytes that mean something to the readers, in any order.
fn arb_json_like() -> impl Strategy<Value = Vec<u8>> {
    let tokens =
        ["{", "}", "[", "]", ",", ":", "\"", "\\", "\n", "\"data\":", "\"_items\":", "1", "null", CDR];
    prop::collection::vec(prop::sample::select(tokens.to_vec()), 0..40)
        .prop_map(|tokens| format!("[{}", tokens.concat()).into_bytes())
}

fn check(bytes: &[u8]) {
    let Ok(mut report) = read_bytes("sample", bytes) else { return };
    let cuts = report.rejected.iter().filter(|row| row.reason.contains("cut off")).count();
    assert!(cuts <= 1);
    assert_eq!(report.rows_read as usize + cuts, report.sessions.len() + report.rejected.len());
    for session in &report.sessions {
        assert!(session.start_ms <= session.charging_end_ms && session.charging_end_ms <= session.end_ms);
        assert!(!session.station.is_empty());
    }
    infer_ports(&mut report.sessions).unwrap();
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes);
    }

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        check(text.as_bytes());
    }

    #[test]
    fn any_damage(bytes in arb_damaged_sample()) {
        check(&bytes);
    }

    #[test]
    fn any_brackets(bytes in arb_json_like()) {
        check(&bytes);
    }
}
