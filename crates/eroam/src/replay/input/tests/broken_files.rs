//! Files that are cut short, damaged or of another kind.

use super::super::{MAX_REJECTED, read_file};
use super::*;

/// Enough rows, all different, to fill several of the decoder's buffers.
fn many_trondheim_rows() -> String {
    let rows: Vec<String> =
        (0..5000).map(|id| format!("{id};G;U;21.12.2018 10:20;21.12.2018 10:23;0,3;0,05")).collect();
    table(TRONDHEIM_HEADER, &rows.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn truncated_gzip_gives_the_rows_before_the_cut() {
    let text = many_trondheim_rows();
    let packed = gzip(&text);
    for kept in [packed.len() / 2, packed.len() - 9] {
        let report = read(&packed[..kept]);
        let complete = report.sessions.len();
        assert!(complete > 1000, "{complete}");
        let cut = report.rejected.last().unwrap();
        assert_eq!(report.rejected.len(), 1);
        assert_eq!((cut.line, cut.field.as_str()), (complete as u64 + 2, "row"));
        assert!(cut.reason.contains("cut off"), "{cut:?}");
        assert!(
            matches!(&report.error, Some(ReadError::GzipTruncated { line, .. }) if *line == cut.line),
            "{report:?}"
        );
        assert_eq!(report.rows_read, complete as u64);
    }
}

#[test]
fn gzip_cut_before_the_first_row_is_an_error() {
    let packed = gzip(&many_trondheim_rows());
    for kept in [2, 10, 40] {
        assert!(matches!(refused(&packed[..kept]), ReadError::GzipTruncated { line: 1, .. }), "{kept}");
    }
}

#[test]
fn damaged_gzip_is_told() {
    let mut packed = gzip(&table(TRONDHEIM_HEADER, &[TRONDHEIM_ROW]));
    let checksum = packed.len() - 8;
    packed[checksum] ^= 1;
    let report = read(&packed);
    assert_eq!(report.sessions.len(), 1);
    assert!(matches!(report.error, Some(ReadError::GzipDamaged { .. })), "{:?}", report.error);
}

#[test]
fn json_cut_in_the_middle_gives_the_items_before_the_cut() {
    let second = CDR.replace("12345\"", "2\"");
    for (text, line) in [
        (format!("[{CDR},\n{}", &second[..100]), 2),
        (format!("[{CDR},\n"), 2),
        (format!("[{CDR}"), 1),
        (format!("{{\"data\": [{CDR},\n{}", &second[..20]), 2),
        (format!("{{\"data\": [{CDR}], \"sta"), 1),
    ] {
        let report = read(&text);
        assert_eq!((report.sessions.len(), report.rows_read), (1, 1), "{text}");
        let [cut] = report.rejected.as_slice() else { panic!("{text}: {:?}", report.rejected) };
        assert_eq!((cut.line, cut.field.as_str()), (line, "row"), "{text}");
        assert!(matches!(report.error, Some(ReadError::JsonCut { .. })), "{text}");
    }
    assert!(matches!(refused(&CDR[..50]), ReadError::JsonCut { line: 1, .. }));
}

#[test]
fn gzipped_json_cut_in_the_middle_gives_the_items_before_the_cut() {
    let items: Vec<String> = (0..500).map(|id| ACN_ITEM.replace("s1", &id.to_string())).collect();
    let packed = gzip(&format!("[{}]", items.join(",\n")));
    let report = read(&packed[..packed.len() / 2]);
    assert!(report.sessions.len() > 100);
    assert!(matches!(report.error, Some(ReadError::GzipTruncated { .. })));
    assert_eq!(report.rejected.last().unwrap().line, report.sessions.len() as u64 + 1);
}

#[test]
fn file_without_a_good_row_still_reports() {
    let report = read(table(TRONDHEIM_HEADER, &["a;b", "c"]));
    assert_eq!((report.rows_read, report.sessions.len(), report.rejected.len()), (2, 0, 2));
}

#[test]
fn empty_files_are_named_so() {
    for text in ["", "\n \r\n", "\u{feff}", "[]", r#"{"data": []}"#] {
        assert!(matches!(refused(text), ReadError::Empty { .. }), "{text}");
    }
    assert!(matches!(refused(gzip("")), ReadError::Empty { .. }));
}

#[test]
fn missing_columns_are_named() {
    let header = TRONDHEIM_HEADER.replace("Start_plugin;", "").replace("El_kWh", "kWh");
    let error = refused(table(&header, &[]));
    assert_eq!(
        error.to_string(),
        "sample: looks like Trondheim CSV but lacks the columns Start_plugin, El_kWh; export it again with these columns"
    );
}

#[test]
fn daily_totals_are_named_so() {
    let header = "\u{feff}Day,Started Sessions,Completed Sessions,Microsessions,Energy delivered (kWh)";
    let error = refused(table(header, &["2020-01-01,0,0,0,0"]));
    assert!(matches!(error, ReadError::DailyTotals { .. }));
    assert!(error.to_string().contains("one row per day"), "{error}");
}

#[test]
fn unknown_formats_are_refused_with_the_accepted_ones() {
    for text in ["id,name,price\n1,2,3\n", "hello", "%PDF-1.7", r#"{"name": "x"}"#, "[1, 2, 3]", "{", "[}"] {
        let error = refused(text);
        match error {
            ReadError::UnknownFormat { .. } => assert!(error.to_string().contains("Boulder CSV"), "{error}"),
            other => assert!(matches!(other, ReadError::JsonCut { .. }), "{text}: {other}"),
        }
    }
}

#[test]
fn headers_that_are_no_utf8_are_refused() {
    assert!(matches!(refused(b"\xff\xfes\0e\0"), ReadError::NotUtf8 { line: 1, byte: 0, .. }));
    assert!(matches!(refused(b"\n\nabc\xe5;d\n"), ReadError::NotUtf8 { line: 3, byte: 5, .. }));
}

#[test]
fn reading_stops_at_the_limit_of_rejected_rows() {
    let text = table(TRONDHEIM_HEADER, &vec!["x"; MAX_REJECTED + 5]);
    let report = read(text);
    assert_eq!(report.rejected.len(), MAX_REJECTED);
    assert!(matches!(report.error, Some(ReadError::TooManyRejected { .. })));
}

#[test]
fn paths_that_cannot_be_read_are_named_without_directories() {
    let folder = tempfile::tempdir().unwrap();
    let error = read_file(&folder.path().join("absent.csv")).unwrap_err();
    assert!(error.to_string().starts_with("absent.csv: cannot be opened"), "{error}");
    assert!(read_file(folder.path()).is_err());
}
