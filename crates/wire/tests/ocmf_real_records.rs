//! The signed records of the development data: real meters' from the reference verifier's tests, genuine and forged (the
//! file's name says which), and one of each curve.

use eroam_domain::quantity::WattHours;
use eroam_wire::ocmf::{MeterPublicKey, MeteredSession, Record, VerifyError};
use serde_json::Value;
use std::collections::BTreeMap;

/// The text of the first element `name` in `xml`, and what follows it.
fn element<'x>(xml: &'x str, name: &str) -> Option<(&'x str, &'x str)> {
    let (_, rest) = xml.split_once(&format!("<{name}"))?;
    let (_, rest) = rest.split_once('>')?;
    rest.split_once(&format!("</{name}>"))
}

/// The records of a container with their keys.
fn records(xml: &str) -> Vec<(String, String)> {
    let mut rest = xml;
    let mut found = Vec::new();
    while let Some((value, after)) = element(rest, "value") {
        rest = after;
        let Some((record, _)) = element(value, "signedData") else { continue };
        let key = element(value, "publicKey").map_or("", |(key, _)| key);
        if record.trim_start().starts_with("OCMF|") {
            found.push((record.trim().to_owned(), key.to_owned()));
        }
    }
    found
}

fn verify(record: &str, key: &str) -> Result<(), VerifyError> {
    let key: MeterPublicKey = key.parse().unwrap_or_else(|e| panic!("{e}: {key}"));
    Record::parse(record).unwrap_or_else(|e| panic!("{e}: {record}")).verify(&key).map(|_| ())
}

/// Every container that holds OCMF, by name, with its records and keys.
fn containers() -> Option<BTreeMap<String, Vec<(String, String)>>> {
    let folder = eroam_testkit::data::at("ocmf")?.join("safe_xml");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let containers = files.filter_map(|file| {
        let records = records(&std::fs::read_to_string(&file).unwrap());
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        (!records.is_empty()).then_some((name, records))
    });
    Some(containers.collect())
}

#[test]
fn genuine_records_are_verified_and_a_wrong_key_is_found() {
    let Some(containers) = containers() else { return };
    let mut genuine = 0;
    for (name, records) in &containers {
        let refused: Vec<(usize, VerifyError)> =
            records.iter().enumerate().filter_map(|(i, (r, k))| Some((i, verify(r, k).err()?))).collect();
        if name.contains("fail") {
            assert_eq!(refused, [(1, VerifyError::OtherAlgorithm { curve: "secp256r1" })], "{name}");
        } else {
            assert_eq!(refused, [], "{name}");
            genuine += records.len();
        }
    }
    assert_eq!((containers.len(), genuine), (9, 131), "{:?}", containers.keys());
}

#[test]
fn one_digit_of_a_reading_spoils_every_genuine_record() {
    let Some(containers) = containers() else { return };
    for (name, records) in containers.iter().filter(|(name, _)| !name.contains("fail")) {
        for (record, key) in records {
            let at = record.find("\"RV\"").unwrap();
            let digit = at + 4 + record[at + 4..].find(|c: char| c.is_ascii_digit()).unwrap();
            let other = if &record[digit..=digit] == "9" { "8" } else { "9" };
            let changed = format!("{}{other}{}", &record[..digit], &record[digit + 1..]);
            assert_eq!(verify(&changed, key), Err(VerifyError::Forged), "{name}: {changed}");
        }
    }
}

/// Records of one file are one session, or each of them is.
fn session(records: &[(String, String)]) -> Result<MeteredSession, String> {
    let key = records[0].1.parse().unwrap();
    let lines: Vec<String> = records.iter().map(|(record, _)| record.replace('\n', " ")).collect();
    MeteredSession::read(&lines.join("\n"), &key).map_err(|e| e.to_string())
}

#[test]
fn sessions_of_real_meters_are_billed() {
    let Some(containers) = containers() else { return };
    for (name, milli_wh) in [
        ("OCMF_Test_Data_00.xml", 0),
        ("VW_OCMF_load.xml", 1_101_000),
        ("brainpoolP256r1.xml", 0),
        ("ocmf_sec.xml", 0),
        ("test_ocmf_ebee_01.xml", 0),
        ("test_ocmf_keba_kcp30.xml", 100),
    ] {
        assert_eq!(
            session(&containers[name]).unwrap().energy(),
            WattHours::from_milli_wh(milli_wh),
            "{name}"
        );
    }
    let one_by_one = |name: &str| -> Vec<Result<MeteredSession, String>> {
        containers[name].iter().map(|record| session(std::slice::from_ref(record))).collect()
    };
    for name in ["measurements.xml", "keba_test.xml"] {
        for (index, one) in one_by_one(name).into_iter().enumerate() {
            assert!(one.is_ok(), "{name}, {index}: {one:?}");
        }
    }
}

#[test]
fn records_of_each_curve_are_verified_or_named_as_beyond_us() {
    let Some(root) = eroam_testkit::data::at("ocmf") else { return };
    let text = std::fs::read_to_string(root.join("ocmf_crate_curves.json")).unwrap();
    let vectors: Value = serde_json::from_str(&text).unwrap();
    let mut outcomes = BTreeMap::new();
    let mut bare = 0;
    for vector in vectors["vectors"].as_array().unwrap() {
        let text = |name: &str| vector[name].as_str().unwrap();
        let mut key = text("key_spki_hex").to_owned();
        if key.len() == 128 {
            // A point alone says nothing about its curve, so it is no key here; whoever knows the curve can add it.
            assert!(key.parse::<MeterPublicKey>().is_err());
            key.insert_str(0, "3059301306072A8648CE3D020106082A8648CE3D03010703420004");
            bare += 1;
        }
        let outcome = verify(text("record"), &key);
        let changed = text("record").replace("129.500", "129.501");
        let wanted = outcome.clone().and(Err(VerifyError::Forged));
        assert_eq!(verify(&changed, &key), wanted, "{}", text("curve"));
        outcomes.entry(text("curve").to_owned()).or_insert(Ok(())).clone_from(&outcome);
    }
    assert_eq!(bare, 1);
    let beyond: Vec<&str> =
        outcomes.iter().filter(|(_, o)| o.is_err()).map(|(curve, _)| curve.as_str()).collect();
    assert_eq!(beyond, ["secp192k1", "secp192r1"]);
    assert!(
        outcomes
            .values()
            .flat_map(|o| o.as_ref().err())
            .all(|e| matches!(e, VerifyError::Unsupported { .. }))
    );
    assert_eq!(outcomes.len(), 7);
}
