use super::*;
use eroam_domain::ids::EvseId;
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::time::{LocalClock, UnixMillis, UtcOffset};
use proptest::prelude::*;

/// 2026-11-21T11:00:00Z.
const START: i64 = 1_795_258_800_000;

fn key(byte: u8) -> MeterKey {
    MeterKey::from_bytes(&[byte; 32]).unwrap()
}

fn meter() -> MeterDescription {
    MeterDescription {
        vendor: "eroam".to_owned(),
        model: "simulated".to_owned(),
        serial: "SIM-0001".to_owned(),
        firmware: "1".to_owned(),
        certified: false,
        kind: CurrentKind::Ac,
    }
}

fn writer() -> RecordWriter {
    writer_of("SIM-0001")
}

fn writer_of(serial: &str) -> RecordWriter {
    let evse: EvseId = "PT*GLP*E0007*1".parse().unwrap();
    RecordWriter::new(key(7), MeterDescription { serial: serial.to_owned(), ..meter() }, evse).unwrap()
}

fn clock() -> LocalClock {
    LocalClock::fixed(UtcOffset::new(3_600).unwrap())
}

fn reading(minute: i64, mark: Mark, milli_wh: u64) -> SignedReading {
    SignedReading {
        at: UnixMillis::new(START + minute * 60_000).unwrap(),
        clock: ClockState::Synchronised,
        mark,
        register: WattHours::from_milli_wh(milli_wh),
    }
}

fn line(page: u64, reading: SignedReading) -> String {
    writer().sign(page, &clock(), &[reading]).unwrap()
}

/// Pages 5 to 8: an hour, of which the second quarter is a pause.
fn lines() -> Vec<String> {
    vec![
        line(5, reading(0, Mark::Begin, 1_000_000)),
        line(6, reading(15, Mark::Suspended, 2_500_000)),
        line(7, reading(30, Mark::Charging, 2_500_000)),
        line(8, reading(60, Mark::EndedLocally, 5_500_125)),
    ]
}

fn read(lines: &[String]) -> Result<MeteredSession, String> {
    MeteredSession::read(&lines.join("\n"), &key(7).public()).map_err(|e| e.to_string())
}

/// Written once and accepted by another implementation, the crate `ocmf` 0.1.0, by its strictest rules.
const GOLDEN: &str = include_str!("golden.ocmf");

#[test]
fn a_record_keeps_its_bytes() {
    assert_eq!(line(5, reading(0, Mark::Begin, 1_000_000)), GOLDEN.trim_end());
    let spki = "3059301306072A8648CE3D020106082A8648CE3D03010703420004";
    assert!(key(7).public().to_string().starts_with(spki));
    assert_eq!(key(7).public().to_string().parse(), Ok(key(7).public()));
}

#[test]
fn a_record_says_that_its_meter_is_not_certified_and_nothing_about_a_driver() {
    assert!(GOLDEN.contains(r#""MM":"simulated (not certified)""#));
    assert!(GOLDEN.contains(r#""IS":false,"IL":"NONE","IF":[],"IT":"NONE","ID":"""#));
    assert!(!Record::parse(GOLDEN).unwrap().names_somebody());
    let evse: EvseId = "PT*GLP*E0007*1".parse().unwrap();
    let certified = RecordWriter::new(key(7), MeterDescription { certified: true, ..meter() }, evse).unwrap();
    let text = certified.sign(1, &clock(), &[reading(0, Mark::Begin, 0)]).unwrap();
    assert!(text.contains(r#""MM":"simulated""#));
}

#[test]
fn what_is_written_is_read() {
    let record = Record::parse(GOLDEN).unwrap();
    assert_eq!((record.page(), record.meter()), (Some(5), Some("SIM-0001")));
    let wanted = Reading {
        at: UnixMillis::new(START),
        clock: ClockState::Synchronised,
        mark: Some(Mark::Begin),
        register: Some("01-00:B0.08.00*FF".to_owned()),
        is_import: Some(true),
        energy: WattHours::from_wh(1_000),
        is_meter_ok: true,
        has_error: false,
    };
    assert_eq!(record.readings(), [wanted]);
}

#[test]
fn a_session_is_the_difference_of_its_ends() {
    let session = read(&lines()).unwrap();
    assert_eq!(session.energy(), WattHours::from_milli_wh(4_500_125));
    assert_eq!(
        (session.meter(), session.pages(), session.end_mark()),
        ("SIM-0001", (5, 8), Mark::EndedLocally)
    );
    assert_eq!(session.clock(), ClockState::Synchronised);
    let quarter = DurationMs::from_secs(900).unwrap();
    let spans: Vec<(u64, bool, DurationMs)> =
        session.spans().iter().map(|s| (s.energy.milli_wh(), s.is_charging, s.duration)).collect();
    let half = DurationMs::from_secs(1_800).unwrap();
    assert_eq!(spans, [(1_500_000, true, quarter), (0, false, quarter), (3_000_125, true, half)]);
}

#[test]
fn readings_of_one_instant_lose_no_energy() {
    let lines = [
        line(1, reading(0, Mark::Begin, 0)),
        line(2, reading(0, Mark::Suspended, 10)),
        line(3, reading(5, Mark::Charging, 10)),
        line(4, reading(5, Mark::End, 30)),
    ];
    let session = read(&lines).unwrap();
    assert_eq!(session.energy(), WattHours::from_milli_wh(30));
    let spans: Vec<(u64, bool)> =
        session.spans().iter().map(|s| (s.energy.milli_wh(), s.is_charging)).collect();
    assert_eq!(spans, [(30, false)]);
}

#[test]
fn sessions_that_are_not_billed() {
    let ok = lines();
    let with = |index: usize, line: String| {
        let mut lines = ok.clone();
        lines[index] = line;
        lines
    };
    let foreign = writer_of("SIM-0002").sign(7, &clock(), &[reading(30, Mark::Charging, 2_500_000)]).unwrap();
    let swapped = vec![ok[0].clone(), ok[2].clone(), ok[1].clone(), ok[3].clone()];
    for (lines, wanted) in [
        (vec![], "there is no record"),
        (vec![ok[0].clone(), "OCMF|{}".to_owned()], "record 1 cannot be read"),
        (with(1, ok[1].replace("2500.000", "2500.001")), "record 1 is not verified"),
        (with(2, foreign), "record 2 comes from the meter SIM-0002, the first from SIM-0001"),
        (vec![ok[0].clone(), ok[2].clone(), ok[3].clone()], "record 1 does not carry the page"),
        (swapped, "record 1 does not carry the page"),
        (vec![ok[0].clone(), ok[0].clone(), ok[1].clone()], "record 1 does not carry the page"),
        (with(1, line(6, reading(-1, Mark::Charging, 2_500_000))), "record 1 has a reading that is older"),
        (with(1, line(6, reading(15, Mark::Charging, 999_999))), "counted backwards in record 1"),
        (with(3, line(8, reading(60, Mark::End, 2_499_999))), "counted backwards in record 3"),
        (with(1, line(6, reading(15, Mark::Exception, 2_500_000))), "record 1 has a reading that is marked"),
        (ok[1..].to_vec(), "must be the only one that begins"),
        (with(2, line(7, reading(30, Mark::Begin, 2_500_000))), "must be the only one that begins"),
        (ok[..3].to_vec(), "must be the only one that ends"),
        (with(2, line(7, reading(30, Mark::End, 2_500_000))), "must be the only one that ends"),
    ] {
        let error = read(&lines).unwrap_err();
        assert!(error.contains(wanted), "{error} instead of {wanted}");
    }
    let many = vec!["OCMF|{}|{}".to_owned(); RECORDS_MAX + 1];
    assert!(read(&many).unwrap_err().contains("at most"));
}

/// A record with any payload, signed by our key.
fn signed(payload: &str) -> VerifiedRecord {
    let signature: String = key(7).sign(payload.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    let text = format!(r#"OCMF|{payload}|{{"SD":"{signature}"}}"#);
    Record::parse(&text).unwrap().verify(&key(7).public()).unwrap()
}

const TM: &str = "2026-11-21T12:00:00,000+0100 S";

fn one(readings: &str) -> Result<MeteredSession, String> {
    let payload = format!(r#"{{"PG":"T1","MS":"1","RD":[{readings}]}}"#);
    MeteredSession::from_records(&[signed(&payload)]).map_err(|e| e.to_string())
}

#[test]
fn what_a_meter_says_against_itself_counts() {
    let begin = format!(r#"{{"TM":"{TM}","TX":"B","RV":1,"RI":"1-b:1.8.0","RU":"kWh","EF":"","ST":"G"}}"#);
    assert_eq!(one(&format!(r#"{begin},{{"TX":"E","RV":2.5}}"#)).unwrap().energy().whole_wh(), 1_500);
    for (end, wanted) in [
        (r#"{"TX":"E","RV":2,"ST":"F"}"#, "a meter that was not well"),
        (r#"{"TX":"E","RV":2,"ST":["G"]}"#, "a meter that was not well"),
        (r#"{"TX":"E","RV":2,"EF":"E"}"#, "marked as not to be billed"),
        (r#"{"TX":"E","RV":2,"EF":"t"}"#, "marked as not to be billed"),
        (r#"{"TX":"E","RV":2,"EF":{}}"#, "marked as not to be billed"),
        (r#"{"TX":"E","RV":2,"TM":"2026-11-31T12:00:00,000+0100 S"}"#, "without a time"),
        (r#"{"TX":"E","RV":2,"RU":"mOhm"}"#, "no register of energy"),
        (r#"{"TX":"E","RV":2,"RI":"1-0:2.8.0"}"#, "no register of energy"),
        (r#"{"TX":"E","RV":"two"}"#, "no register of energy"),
        (r#"{"TX":"E","RV":-2}"#, "no register of energy"),
        (r#"{"TX":"Q","RV":2}"#, "must be the only one that ends"),
        (r#"{"TX":"C","RV":2},{"TX":"B","RV":2},{"TX":"E","RV":3}"#, "must be the only one that begins"),
        (r#"{"TX":"E","RV":2},{"TX":"C","RV":2},{"TX":"E","RV":3}"#, "must be the only one that ends"),
    ] {
        let error = one(&format!("{begin},{end}")).unwrap_err();
        assert!(error.contains(wanted), "{end}: {error} instead of {wanted}");
    }
    let second = begin.replace("1-b:1.8.0", "1-b:1.8.1");
    let ends = r#"{"TX":"E","RV":2,"RI":"1-b:1.8.0"},{"TX":"E","RV":3,"RI":"1-b:1.8.1"}"#;
    assert!(one(&format!("{begin},{second},{ends}")).unwrap_err().contains("which to bill is unknown"));
    let fiscal = signed(&format!(r#"{{"PG":"F1","MS":"1","RD":[{begin}]}}"#));
    assert!(matches!(MeteredSession::from_records(&[fiscal]), Err(SessionFault::Page { index: 0 })));
    let nameless = signed(&format!(r#"{{"PG":"T1","MS":" ","RD":[{begin}]}}"#));
    assert!(matches!(MeteredSession::from_records(&[nameless]), Err(SessionFault::NoMeter { index: 0 })));
}

#[test]
fn real_spellings_are_understood() {
    for (register, canonical, is_import) in [
        ("1-b:1.8.0", Some("01-0B:01.08.00"), Some(true)),
        ("01-00:01.08.00.FF", Some("01-00:01.08.00*FF"), Some(true)),
        ("1-0:1.8.0*255", None, None),
        ("1-0:2.8.0", Some("01-00:02.08.00"), Some(false)),
        ("01-00:00.08.06.FF", Some("01-00:00.08.06*FF"), None),
        ("1.8.0", None, None),
        ("1-0:1.8", None, None),
        ("1-0:1.8.\u{e4}", None, None),
    ] {
        let found = obis::ObisCode::parse(register);
        assert_eq!(found.as_ref().map(|o| o.canonical.as_str()), canonical, "{register}");
        assert_eq!(found.and_then(|o| o.is_import), is_import, "{register}");
    }
    let quoted = format!(
        r#"{{"TM":"{TM}","TX":"B","RV":"       9.038","RI":"1-b:1.8.0","RU":"kWh","ST":"G"}},{{"TX":"R","RV":"00009.5"}}"#
    );
    assert_eq!(one(&quoted).unwrap().energy(), WattHours::from_milli_wh(462_000));
}

#[test]
fn instants_with_any_offset() {
    let at = |text: &str| {
        let record = signed(&format!(r#"{{"RD":[{{"TM":"{text}"}}]}}"#));
        record.record().readings().first().map(|r| (r.at.map(|at| at.to_string()), r.clock)).unwrap()
    };
    for (text, wanted, clock) in [
        ("2026-11-21T12:00:00,000+0100 S", Some("2026-11-21T11:00:00Z"), ClockState::Synchronised),
        ("2026-11-21T12:00:00,250-0330 R", Some("2026-11-21T15:30:00.250Z"), ClockState::Relative),
        ("2026-11-21T12:00:00+00:00 I", Some("2026-11-21T12:00:00Z"), ClockState::Informative),
        ("2026-11-21T12:00:00,000+0000", Some("2026-11-21T12:00:00Z"), ClockState::Unknown),
        ("1970-01-01T00:30:00,000+0100 U", None, ClockState::Unknown),
        ("2026-11-21T24:00:00,000+0000 S", None, ClockState::Synchronised),
        ("2026-11-21T12:00:00,000+1900 S", None, ClockState::Synchronised),
        ("2026-11-21 12:00", None, ClockState::Unknown),
        ("", None, ClockState::Unknown),
    ] {
        assert_eq!(at(text), (wanted.map(str::to_owned), clock), "{text}");
    }
    let west = LocalClock::fixed(UtcOffset::new(-12_600).unwrap());
    let text = writer().sign(1, &west, &[reading(0, Mark::Begin, 0)]).unwrap();
    assert!(text.contains(r#""TM":"2026-11-21T07:30:00,000-0330 S""#), "{text}");
}

#[test]
fn texts_that_are_no_records() {
    let long = format!("OCMF|{}|{{}}", "x".repeat(RECORD_BYTES_MAX));
    let many = format!(r#"OCMF|{{"RD":[{}{{}}]}}|{{}}"#, "{},".repeat(256));
    let deep = format!("OCMF|{}|{{}}", "[".repeat(20_000));
    for (text, wanted) in [
        ("", "this is no OCMF record"),
        ("OCMF", "this is no OCMF record"),
        ("ocmf|{}|{}", "this is no OCMF record"),
        ("OCMF|{}", "this is no OCMF record"),
        ("OCMF|{}x|{}", "this is no OCMF record"),
        ("OCMF||{}", "the payload of the record"),
        ("OCMF|[]|{}", "the payload of the record"),
        (r#"OCMF|{"PG":"T1","PG":"T2"}|{}"#, "the payload of the record"),
        ("OCMF|{}|", "the signature of the record"),
        ("OCMF|{}|{}|{}", "the signature of the record"),
        (&long, "bytes"),
        (&many, "257 readings"),
        (&deep, "the payload of the record"),
    ] {
        let error = Record::parse(text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error} instead of {wanted}");
    }
    assert!(Record::parse(r#"OCMF|{"TT":"a|b"}|{"SD":"00"}"#).is_ok(), "a separator inside a text");
}

#[test]
fn signatures_that_prove_nothing() {
    let record = line(5, reading(0, Mark::Begin, 0));
    let (front, _) = record.rsplit_once('|').unwrap();
    for (signature, wanted) in [
        (r#"{}"#, VerifyError::NoSignature),
        (r#"{"SD":""}"#, VerifyError::NoSignature),
        (r#"{"SD":"30"}"#, VerifyError::NoSignature),
        (r#"{"SD":"xy"}"#, VerifyError::NoSignature),
        (r#"{"SD":"00","SE":"rot13"}"#, VerifyError::NoSignature),
        (r#"{"SD":"00","SA":"ECDSA-secp256k1-SHA256"}"#, VerifyError::OtherAlgorithm { curve: "secp256r1" }),
        (r#"{"SD":"00","SA":"none"}"#, VerifyError::OtherAlgorithm { curve: "secp256r1" }),
        (r#"{"SD":"00","SA":{}}"#, VerifyError::OtherAlgorithm { curve: "secp256r1" }),
    ] {
        let found = Record::parse(&format!("{front}|{signature}")).unwrap().verify(&key(7).public());
        assert_eq!(found.unwrap_err(), wanted, "{signature}");
    }
    let other = Record::parse(&record).unwrap().verify(&key(8).public());
    assert_eq!(other.unwrap_err(), VerifyError::Forged);
    let mut off_curve = key(7).public();
    off_curve.point[40] ^= 1;
    assert_eq!(
        Record::parse(&record).unwrap().verify(&off_curve).unwrap_err(),
        VerifyError::NoKey { curve: "secp256r1" }
    );
}

#[test]
fn keys_that_are_none() {
    for text in ["", "00", "MFkw", "04", &"AA".repeat(2_000), &key(7).public().to_string()[2..]] {
        assert_eq!(text.parse::<MeterPublicKey>(), Err(MeterKeyError::NotAPublicKey), "{text}");
    }
    assert_eq!(MeterKey::from_bytes(&[0; 32]).unwrap_err(), MeterKeyError::NotAScalar);
    assert_eq!(MeterKey::from_bytes(&[255; 32]).unwrap_err(), MeterKeyError::NotAScalar);
    assert_eq!(format!("{:?}", key(7)), "MeterKey(..)");
}

#[test]
fn descriptions_that_no_record_can_hold() {
    let evse: EvseId = "PT*GLP*E0007*1".parse().unwrap();
    for bad in ["", "a|b", "a\nb", &"x".repeat(65)] {
        let meter = MeterDescription { serial: bad.to_owned(), ..meter() };
        assert_eq!(
            RecordWriter::new(key(7), meter, evse.clone()).unwrap_err(),
            WriteError::Text { field: "serial" }
        );
    }
    assert_eq!(writer().sign(1, &clock(), &[]).unwrap_err(), WriteError::NoReading);
}

proptest! {
    #[test]
    fn no_bit_of_a_record_can_be_changed(bit in 0usize..8 * GOLDEN.trim_ascii_end().len()) {
        let mut bytes = GOLDEN.trim_end().as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let genuine = Record::parse(GOLDEN.trim_end()).unwrap();
        // What is not even text is not a record.
        if let Ok(text) = std::str::from_utf8(&bytes)
            && let Ok(record) = Record::parse(text)
            && let Ok(verified) = record.verify(&key(7).public())
        {
            // The signature's own spelling can vary, `aF` for `AF`; what it stands under cannot.
            let payload = |text: &str| text.rsplit_once('|').map(|(payload, _)| payload.to_owned());
            prop_assert_eq!(payload(verified.record().text()), payload(genuine.text()));
            prop_assert_eq!(verified.record().readings(), genuine.readings());
        }
    }

    #[test]
    fn what_is_signed_is_billed(
        page in 0u64..1 << 40,
        steps in prop::collection::vec((0i64..120, 0u64..50_000_000), 1..20),
    ) {
        let (mut minute, mut register) = (0, 7);
        let mut lines = vec![line(page, reading(0, Mark::Begin, register))];
        for (index, (minutes, energy)) in steps.iter().enumerate() {
            (minute, register) = (minute + minutes, register + energy);
            let mark = if index + 1 == steps.len() { Mark::End } else { Mark::Charging };
            lines.push(line(page + 1 + index as u64, reading(minute, mark, register)));
        }
        let session = read(&lines).unwrap();
        prop_assert_eq!(session.energy().milli_wh(), register - 7);
        let spans = session.spans();
        prop_assert_eq!(spans.iter().map(|s| s.duration.millis()).sum::<u64>(), minute as u64 * 60_000);
        if !spans.is_empty() {
            prop_assert_eq!(spans.iter().map(|s| s.energy.milli_wh()).sum::<u64>(), register - 7);
        }
    }

    #[test]
    fn arbitrary_text_is_never_a_panic(text in any::<String>(), payload in any::<String>(), end in any::<String>()) {
        let _ = Record::parse(&text);
        let _ = Record::parse(&format!("OCMF|{payload}|{end}"));
        let _ = Record::parse(&format!(r#"OCMF|{{"RD":[{{"TM":{text:?},"RV":{payload:?},"RI":{end:?}}}]}}|{{}}"#));
        let _ = text.parse::<MeterPublicKey>();
        let _ = MeteredSession::read(&text, &key(7).public());
    }
}
