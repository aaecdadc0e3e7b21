//! One row of a table per rejection: the sample, the field named and how the reason begins.

use super::super::MAX_ROW_BYTES;
use super::*;

/// Of two rows or items, on lines 2 and 3, only the first is bad.
fn assert_rejected(text: &str, field: &str, reason: &str) {
    let report = read(text);
    let sample: String = text.chars().take(600).collect();
    assert_eq!((report.sessions.len(), report.rows_read), (1, 2), "{sample}: {:?}", report.rejected);
    let [rejected] = report.rejected.as_slice() else { panic!("{sample}: {:?}", report.rejected) };
    assert_eq!((rejected.field.as_str(), rejected.line), (field, 2), "{sample}: {rejected:?}");
    assert!(rejected.reason.contains(reason), "{sample}: {rejected:?}");
    assert!(!rejected.remedy.is_empty() && rejected.file == "sample", "{rejected:?}");
}

fn assert_table_rejects(header: &str, good: &str, cases: &[(&str, &str, &str, &str)]) {
    for (from, to, field, reason) in cases {
        assert!(good.contains(from), "{from}");
        assert_rejected(&table(header, &[&good.replacen(from, to, 1), good]), field, reason);
    }
}

fn assert_json_rejects(good: &str, cases: &[(&str, &str, &str, &str)]) {
    for (from, to, field, reason) in cases {
        assert!(good.contains(from), "{from}");
        assert_rejected(&format!("[\n{},{good}]", good.replacen(from, to, 1)), field, reason);
    }
}

#[test]
fn trondheim_rows() {
    let long_name = "x".repeat(256);
    assert_table_rejects(
        TRONDHEIM_HEADER,
        TRONDHEIM_ROW,
        &[
            ("AdO3;", ";", "Garage_ID", "is missing"),
            ("AdO3;", "NA;", "Garage_ID", "is missing"),
            ("AdO3;", &format!("{long_name};"), "Garage_ID", "longer than 255 bytes"),
            ("AdO3-4", &long_name, "User_ID", "longer than 255 bytes"),
            ("1;", &format!("{long_name};"), "session_ID", "longer than 255 bytes"),
            ("21.12.2018 10:20", "2018-12-21 10:20", "Start_plugin", "`2018-12-21 10:20` is not a date"),
            ("21.12.2018 10:20", "31.02.2018 10:20", "Start_plugin", "is not a date"),
            ("21.12.2018 10:20", "NA", "Start_plugin", "is missing"),
            ("21.12.2018 10:20", "21.12.0018 10:20", "Start_plugin", "year 18 is outside 2000 to 2099"),
            ("21.12.2018 10:20", "31.03.2019 02:30", "Start_plugin", "does not exist in Europe/Oslo"),
            ("21.12.2018 10:23", "21.12.2018 10:19", "End_plugout", "is before the start"),
            ("21.12.2018 10:23", "20.02.2019 10:20", "End_plugout", "lasts 1464 hours"),
            ("21.12.2018 10:23", "21.12.2018 10:20", "El_kWh", "start and end are the same instant"),
            ("0,3", "-0,3", "El_kWh", "-0,3 kWh is negative"),
            ("0,3", "0.3", "El_kWh", "`0.3` is not a decimal number"),
            ("0,3", "NaN", "El_kWh", "`NaN` is not a decimal number"),
            ("0,3", "1000,000001", "El_kWh", "more than 1000 kWh"),
            ("0,3", "99999999999999999999", "El_kWh", "more than 1000 kWh"),
            ("0,3", "51", "El_kWh", "mean power 1020 kW"),
            ("0,3", "NA", "El_kWh", "is missing"),
            ("0,05", "3 min", "Duration_hours", "is not a duration"),
            ("0,05", "0,05;x", "row", "has 8 fields where the header has 7"),
            (";0,05", "", "row", "has 6 fields where the header has 7"),
            ("AdO3-4", "\"AdO3-4", "row", "quoted field is not closed"),
        ],
    );
}

#[test]
fn workplace_rows() {
    assert_table_rejects(
        WORKPLACE_HEADER,
        WORKPLACE_ROW,
        &[
            ("0014-11-18 15", "0014-13-18 15", "created", "is not a date"),
            ("0014-11-18 18", "14-11-18T18", "ended", "is not a date"),
            ("5.61", "\"5,61\"", "kwhTotal", "is not a decimal number"),
            ("632920", "", "stationId", "is missing"),
        ],
    );
}

#[test]
fn boulder_rows() {
    assert_table_rejects(
        BOULDER_HEADER,
        BOULDER_ROW,
        &[
            ("MST", "PST", "Start_Time_Zone", "`PST` is not a known time zone"),
            ("02:52:00,MST", "02:52:00,", "End_Time_Zone", "is missing"),
            ("2018/01/02 02:52:00", "1970/01/01 00:00:00", "End_Date___Time", "is before the start"),
            ("1:02:44", "1:62:44", "Charging_Time__hh_mm_ss_", "is not a duration of the form h:mm:ss"),
            ("2:03:02", "-2:03:02", "Total_Duration__hh_mm_ss_", "is not a duration"),
        ],
    );
}

#[test]
fn acn_items() {
    assert_json_rejects(
        ACN_ITEM,
        &[
            ("Sat, 01 May 2021 20", "Sun, 01 May 2021 20", "connectionTime", "is not a date"),
            (r#""Sat, 01 May 2021 21:32:12 GMT""#, "null", "disconnectTime", "is missing"),
            (r#""Sat, 01 May 2021 21:00:00 GMT""#, r#""soon""#, "doneChargingTime", "`soon` is not a date"),
            ("America/Los_Angeles", "PST", "timezone", "`PST` is not a known time zone"),
            (r#""2-39-81-4550""#, r#""  ""#, "stationID", "is missing"),
            (r#""2-39-81-4550""#, "[1]", "stationID", "is not a text or number"),
            ("30.936", "true", "kWhDelivered", "is not a text or number"),
            ("30.936", "-1e-2", "kWhDelivered", "is negative"),
            ("30.936", r#""NaN""#, "kWhDelivered", "is not a decimal number"),
            ("30.936", "NaN", "row", "is not valid JSON"),
            ("30.936", "1, \"kWhDelivered\": 2", "row", "duplicate field"),
            (ACN_ITEM, "null", "row", "is not a JSON object"),
            (ACN_ITEM, "[[1], 2]", "row", "is not a JSON object"),
            (ACN_ITEM, "{\"name\": \"x\"}", "row", "none of the fields of a session"),
        ],
    );
}

#[test]
fn cdrs() {
    assert_json_rejects(
        CDR,
        &[
            ("2024-12-05T17:39:09Z", "2024-12-05", "start_date_time", "is not a date"),
            ("2024-12-05T19:37:32Z", "2024-12-05T16:37:32Z", "end_date_time", "is before the start"),
            (r#""BE*BEC*E041503003""#, r##""#NA", "evse_uid": null"##, "row", "duplicate field"),
            (
                r#""evse_uid": "3256", "evse_id": "BE*BEC*E041503003""#,
                "",
                "cdr_location.evse_id",
                "is missing",
            ),
            (r#""total_energy": 15.342"#, r#""kwh": 15.342"#, "total_energy", "is missing"),
            (r#""id": "12345""#, r#""id": "12345", "credit": true"#, "credit", "credits an earlier record"),
        ],
    );
}

#[test]
fn duplicates_name_the_first_row_and_need_the_same_id() {
    let other_id = TRONDHEIM_ROW.replacen('1', "2", 1);
    let report = read(table(TRONDHEIM_HEADER, &[TRONDHEIM_ROW, &other_id, TRONDHEIM_ROW]));
    assert_eq!(report.sessions.len(), 2);
    let [rejected] = report.rejected.as_slice() else { panic!("{:?}", report.rejected) };
    assert_eq!((rejected.line, rejected.reason.as_str()), (4, "is a duplicate of line 2"));

    let report = read(format!("[{ACN_ITEM},\n{ACN_ITEM}]"));
    let [rejected] = report.rejected.as_slice() else { panic!("{:?}", report.rejected) };
    assert_eq!((rejected.line, rejected.item), (2, Some(2)));
    assert_eq!(rejected.reason, "is a duplicate of item 1, line 1");
}

#[test]
fn wrong_encoding_costs_its_row_only_and_names_line_and_byte() {
    let latin1 = |text: &str| text.chars().map(|c| c as u8).collect::<Vec<u8>>();
    let text = latin1(&table(TRONDHEIM_HEADER, &["1;Bl\u{e5};U;x", TRONDHEIM_ROW]));
    let report = read(&text);
    assert_eq!(report.sessions.len(), 1);
    let [rejected] = report.rejected.as_slice() else { panic!("{:?}", report.rejected) };
    let byte = text.iter().position(|byte| *byte == 0xe5).unwrap();
    assert_eq!((rejected.line, rejected.field.as_str()), (2, "row"));
    assert_eq!(rejected.reason, format!("is not UTF-8 text (byte {byte} of the file)"));

    let text = latin1(&format!("[{ACN_ITEM},\n{},\n{CDR}]", ACN_ITEM.replace("4550", "\u{e5}")));
    let report = read(&text);
    let byte = text.iter().position(|byte| *byte == 0xe5).unwrap();
    assert_eq!(report.rejected[0].reason, format!("is not UTF-8 text (byte {byte} of the file)"));
    assert_eq!((report.sessions.len(), report.rejected.len()), (1, 2));
}

#[test]
fn a_broken_json_line_costs_its_line_only() {
    let second = CDR.replace("12345\"", "2\"");
    let report = read(format!("{CDR}\n{{\"id\": 7\n{second}\n"));
    assert_eq!(report.sessions.len(), 2);
    let [rejected] = report.rejected.as_slice() else { panic!("{:?}", report.rejected) };
    assert_eq!((rejected.line, rejected.item), (2, None));
    assert!(rejected.reason.starts_with("is not valid JSON"), "{rejected:?}");
}

#[test]
fn overlong_rows_are_skipped() {
    let filler = "x".repeat(MAX_ROW_BYTES + 1);
    let reason = "is longer than 8388608 bytes";
    assert_rejected(&table(TRONDHEIM_HEADER, &[&filler, TRONDHEIM_ROW]), "row", reason);
    assert_rejected(&format!("[\n{},{ACN_ITEM}]", ACN_ITEM.replace("s1", &filler)), "row", reason);
}
