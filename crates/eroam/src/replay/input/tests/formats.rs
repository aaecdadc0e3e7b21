//! What each format's rows become.

use super::super::{Format, SourceRef};
use super::*;

fn source(line: u64, item: Option<u64>, format: Format) -> SourceRef {
    SourceRef { file: "sample".into(), line, item, format }
}

#[test]
fn acn_item_becomes_a_session() {
    let expected = InputSession {
        source: source(1, Some(1), Format::Acn),
        id: Some("s1".into()),
        user: Some("915".into()),
        station: "2-39-81-4550".into(),
        port: 1,
        start_ms: ms("2021-05-01T20:42:47Z"),
        charging_end_ms: ms("2021-05-01T21:00:00Z"),
        end_ms: ms("2021-05-01T21:32:12Z"),
        energy_milli_wh: 30_936_000,
        offset_start_s: -7 * 3600,
        offset_change: None,
    };
    assert_eq!(only_session(format!("[{ACN_ITEM}]")), expected);
}

#[test]
fn trondheim_row_becomes_a_session() {
    let expected = InputSession {
        source: source(2, None, Format::Trondheim),
        id: Some("1".into()),
        user: Some("AdO3-4".into()),
        station: "AdO3".into(),
        port: 1,
        start_ms: ms("2018-12-21T09:20:00Z"),
        charging_end_ms: ms("2018-12-21T09:23:00Z"),
        end_ms: ms("2018-12-21T09:23:00Z"),
        energy_milli_wh: 300_000,
        offset_start_s: 3600,
        offset_change: None,
    };
    assert_eq!(only_session(table(TRONDHEIM_HEADER, &[TRONDHEIM_ROW])), expected);
}

#[test]
fn workplace_row_becomes_a_session_of_this_century_in_utc() {
    let expected = InputSession {
        source: source(2, None, Format::Workplace),
        id: Some("7093670".into()),
        user: Some("30828105".into()),
        station: "632920".into(),
        port: 1,
        start_ms: ms("2014-11-18T15:01:17Z"),
        charging_end_ms: ms("2014-11-18T18:26:04Z"),
        end_ms: ms("2014-11-18T18:26:04Z"),
        energy_milli_wh: 5_610_000,
        offset_start_s: 0,
        offset_change: None,
    };
    assert_eq!(only_session(table(WORKPLACE_HEADER, &[WORKPLACE_ROW])), expected);
    let modern = WORKPLACE_ROW.replace("0014-", "2014-");
    assert_eq!(only_session(table(WORKPLACE_HEADER, &[&modern])), expected);
}

#[test]
fn boulder_row_becomes_a_session_without_user() {
    let expected = InputSession {
        source: source(2, None, Format::Boulder),
        id: Some("1".into()),
        user: None,
        station: "JUNCTION ST1".into(),
        port: 1,
        start_ms: ms("2018-01-02T00:49:00Z"),
        charging_end_ms: ms("2018-01-02T01:51:44Z"),
        end_ms: ms("2018-01-02T02:52:00Z"),
        energy_milli_wh: 6_504_000,
        offset_start_s: -7 * 3600,
        offset_change: None,
    };
    assert_eq!(only_session(table(BOULDER_HEADER, &[BOULDER_ROW])), expected);
    let suffixed = BOULDER_ROW.replace(":00,MST", ":00+00,MST");
    assert_eq!(only_session(table(BOULDER_HEADER, &[&suffixed])), expected);
}

#[test]
fn cdr_becomes_a_session() {
    let expected = InputSession {
        source: source(1, Some(1), Format::OcpiCdr),
        id: Some("12345".into()),
        user: Some("DE8ACC12E46L89".into()),
        station: "BE*BEC*E041503003".into(),
        port: 1,
        start_ms: ms("2024-12-05T17:39:09Z"),
        charging_end_ms: ms("2024-12-05T19:37:32Z"),
        end_ms: ms("2024-12-05T19:37:32Z"),
        energy_milli_wh: 15_342_000,
        offset_start_s: 0,
        offset_change: None,
    };
    assert_eq!(only_session(CDR), expected);
}

#[test]
fn cdr_falls_back_to_uids_and_keeps_the_offset_of_its_timestamps() {
    let cdr = CDR
        .replace(r#""DE8ACC12E46L89""#, "null")
        .replace("BE*BEC*E041503003", "#NA")
        .replace("17:39:09Z", "17:39:09+01:00")
        .replace("19:37:32Z", "19:37:32");
    let session = only_session(cdr);
    assert_eq!(session.user.as_deref(), Some("012345678"));
    assert_eq!(session.station, "3256");
    assert_eq!((session.start_ms, session.offset_start_s), (ms("2024-12-05T16:39:09Z"), 3600));
    assert_eq!(session.end_ms, ms("2024-12-05T19:37:32Z"));
}

#[test]
fn json_is_read_in_every_accepted_document() {
    let second = CDR.replace("12345\"", "2\"");
    let pretty = CDR.replace(", ", ",\n");
    for (document, places) in [
        (format!("[{CDR},\n{second}]"), vec![(1, Some(1)), (2, Some(2))]),
        (format!("[\n{pretty},\n{second}\n]\n"), vec![(2, Some(1)), (10, Some(2))]),
        (
            format!(r#"{{"status_code": 1000, "data": [{CDR}, {second}], "timestamp": "x"}}"#),
            vec![(1, Some(1)), (1, Some(2))],
        ),
        (format!("{{\"data\" :\n{CDR}, \"status_code\": 1000}}"), vec![(2, Some(1))]),
        (format!(r#"{{"_meta": {{"data": [1]}}, "_items": [{CDR}]}}"#), vec![(1, Some(1))]),
        (format!("{{\"data\": [{CDR}]}}\n{{\"data\": [{second}]}}"), vec![(1, Some(1)), (2, Some(2))]),
        (format!("{CDR}\n\n{second}"), vec![(1, None), (3, None)]),
        (format!("\u{feff}  {pretty}\n{second}"), vec![(1, Some(1)), (9, Some(2))]),
    ] {
        let report = read(&document);
        assert_eq!(report.rejected, [], "{document}");
        let found: Vec<_> = report.sessions.iter().map(|s| (s.source.line, s.source.item)).collect();
        assert_eq!(found, places, "{document}");
    }
}

#[test]
fn charging_end_is_kept_inside_the_plugged_time() {
    for (done, expected) in [
        ("null", "2021-05-01T21:32:12Z"),
        (r#""Sat, 01 May 2021 21:32:20 GMT""#, "2021-05-01T21:32:12Z"),
        (r#""Sat, 01 May 2021 20:42:46 GMT""#, "2021-05-01T21:32:12Z"),
        // No time for its energy to flow: it says nothing.
        (r#""Sat, 01 May 2021 20:42:47 GMT""#, "2021-05-01T21:32:12Z"),
    ] {
        let item = ACN_ITEM.replace(r#""Sat, 01 May 2021 21:00:00 GMT""#, done);
        assert_eq!(only_session(format!("[{item}]")).charging_end_ms, ms(expected), "{done}");
    }
}

#[test]
fn seconds_within_one_minute_come_from_the_duration() {
    for (duration, energy, expected) in [
        ("0,007777778", "0,01", "2018-12-21T09:20:28Z"),
        ("0,007777778", "0", "2018-12-21T09:20:28Z"),
        ("5", "0", "2018-12-21T09:20:00Z"),
        ("NA", "0", "2018-12-21T09:20:00Z"),
    ] {
        let row = format!("1;G;U;21.12.2018 10:20;21.12.2018 10:20;{energy};{duration}");
        assert_eq!(only_session(table(TRONDHEIM_HEADER, &[&row])).end_ms, ms(expected), "{duration}");
    }
}

#[test]
fn clock_changes_inside_a_session_are_told() {
    for (start, end, start_utc, end_utc, offset, change) in [
        // Spring: 02:00 becomes 03:00 on 31 March 2019.
        (
            "30.03.2019 20:00",
            "31.03.2019 08:00",
            "2019-03-30T19:00:00Z",
            "2019-03-31T06:00:00Z",
            3600,
            Some(("2019-03-31T01:00:00Z", 7200)),
        ),
        // Autumn: 03:00 becomes 02:00 on 27 October 2019.
        (
            "26.10.2019 20:00",
            "27.10.2019 08:00",
            "2019-10-26T18:00:00Z",
            "2019-10-27T07:00:00Z",
            7200,
            Some(("2019-10-27T01:00:00Z", 3600)),
        ),
        // An end shown twice is the earlier one, before the change,
        ("26.10.2019 20:00", "27.10.2019 02:30", "2019-10-26T18:00:00Z", "2019-10-27T00:30:00Z", 7200, None),
        // unless that is before the start.
        (
            "27.10.2019 02:30",
            "27.10.2019 02:10",
            "2019-10-27T00:30:00Z",
            "2019-10-27T01:10:00Z",
            7200,
            Some(("2019-10-27T01:00:00Z", 3600)),
        ),
        // A change at either end of a session is not inside it.
        ("31.03.2019 03:00", "31.03.2019 08:00", "2019-03-31T01:00:00Z", "2019-03-31T06:00:00Z", 7200, None),
        ("30.03.2019 20:00", "31.03.2019 03:00", "2019-03-30T19:00:00Z", "2019-03-31T01:00:00Z", 3600, None),
    ] {
        let row = format!("1;G;U;{start};{end};1;NA");
        let session = only_session(table(TRONDHEIM_HEADER, &[&row]));
        assert_eq!((session.start_ms, session.end_ms), (ms(start_utc), ms(end_utc)), "{start} {end}");
        assert_eq!(session.offset_start_s, offset, "{start} {end}");
        assert_eq!(session.offset_change, change.map(|(at, offset)| (ms(at), offset)), "{start} {end}");
    }
}

#[test]
fn boulder_digits_are_utc_whatever_the_label() {
    let row = "ST,2018/11/03 20:27:00,MDT,2018/11/05 19:52:00,MST,47:24:54,3:00:38,10.792,1";
    let session = only_session(table(BOULDER_HEADER, &[row]));
    assert_eq!(session.end_ms - session.start_ms, (47 * 60 + 25) * 60_000);
    assert_eq!(session.offset_start_s, -6 * 3600);
    assert_eq!(session.offset_change, Some((ms("2018-11-04T08:00:00Z"), -7 * 3600)));
}

#[test]
fn table_dialects_are_tolerated() {
    let plain = only_session(table(WORKPLACE_HEADER, &[WORKPLACE_ROW]));
    let quoted = WORKPLACE_ROW.replace("632920", "\"632920\"");
    for text in [
        format!("\u{feff}{WORKPLACE_HEADER}\r\n{WORKPLACE_ROW}\r\n"),
        format!("{WORKPLACE_HEADER}\n{WORKPLACE_ROW}"),
        format!("{WORKPLACE_HEADER}\n{quoted}\n\n"),
        format!("{WORKPLACE_HEADER}\n{WORKPLACE_ROW}\n").replace(',', "\t"),
    ] {
        assert_eq!(only_session(&text), plain, "{text}");
        assert_eq!(only_session(gzip(&text)), plain, "{text}");
    }
}

#[test]
fn quoted_separators_belong_to_the_field() {
    let row = BOULDER_ROW.replace("JUNCTION ST1", r#""JUNCTION, ""ST1""""#);
    assert_eq!(only_session(table(BOULDER_HEADER, &[&row])).station, r#"JUNCTION, "ST1""#);
}

#[test]
fn header_without_rows_is_a_file_of_no_sessions() {
    let report = read(table(BOULDER_HEADER, &[]));
    assert_eq!((report.rows_read, report.sessions.len(), report.rejected.len()), (0, 0, 0));
    assert!(report.error.is_none());
}
