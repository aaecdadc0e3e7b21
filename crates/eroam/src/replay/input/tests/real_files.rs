//! The real files, against figures computed from them by an independent program (Python's csv, json, decimal and
//! zoneinfo; ports as the highest overlap per station).

use std::collections::BTreeSet;

use super::super::{Format, infer_ports, read_file};
use super::*;

#[derive(Debug, PartialEq)]
struct Figures {
    format: Format,
    rows_read: u64,
    accepted: usize,
    rejected: Vec<(u64, String)>,
    energy_milli_wh: u64,
    plugged_s: i64,
    charging_s: i64,
    start_s_sum: i64,
    across_clock_change: usize,
    users: usize,
    without_user: usize,
    stations: usize,
    ports: u32,
}

fn figures(mut report: FileReport) -> Figures {
    assert!(report.error.is_none(), "{:?}", report.error);
    let ports = infer_ports(&mut report.sessions).unwrap();
    let sessions = &report.sessions;
    Figures {
        format: report.format,
        rows_read: report.rows_read,
        accepted: sessions.len(),
        rejected: report.rejected.iter().map(|row| (row.line, row.field.clone())).collect(),
        energy_milli_wh: sessions.iter().map(|s| s.energy_milli_wh).sum(),
        plugged_s: sessions.iter().map(|s| s.end_ms - s.start_ms).sum::<i64>() / 1000,
        charging_s: sessions.iter().map(|s| s.charging_end_ms - s.start_ms).sum::<i64>() / 1000,
        start_s_sum: sessions.iter().map(|s| s.start_ms / 1000).sum(),
        across_clock_change: sessions.iter().filter(|s| s.offset_change.is_some()).count(),
        users: sessions.iter().filter_map(|s| s.user.as_ref()).collect::<BTreeSet<_>>().len(),
        without_user: sessions.iter().filter(|s| s.user.is_none()).count(),
        stations: ports.len(),
        ports: ports.values().map(|count| u32::from(*count)).sum(),
    }
}

#[test]
fn acn() {
    let Some(path) = eroam_testkit::data::at("sessions/acn_site0002_2021_first70.json") else { return };
    let expected = Figures {
        format: Format::Acn,
        rows_read: 1479,
        accepted: 1479,
        rejected: vec![],
        energy_milli_wh: 18_286_467_579,
        plugged_s: 16_090_959,
        charging_s: 8_098_524,
        start_s_sum: 2_403_150_790_309,
        across_clock_change: 0,
        users: 178,
        without_user: 144,
        stations: 37,
        ports: 37,
    };
    assert_eq!(figures(read_file(&path).unwrap()), expected);
}

#[test]
fn trondheim() {
    let Some(path) = eroam_testkit::data::at("sessions/trondheim_residential_first70.csv") else { return };
    let expected = Figures {
        format: Format::Trondheim,
        rows_read: 4814,
        accepted: 4814,
        rejected: vec![],
        energy_milli_wh: 62_187_110_000,
        plugged_s: 190_869_238,
        charging_s: 190_869_238,
        start_s_sum: 7_540_356_803_280,
        across_clock_change: 23,
        users: 84,
        without_user: 0,
        stations: 20,
        ports: 51,
    };
    assert_eq!(figures(read_file(&path).unwrap()), expected);
}

#[test]
fn workplace() {
    let Some(path) = eroam_testkit::data::at("sessions/workplace_dataverse_first70.csv") else { return };
    let expected = Figures {
        format: Format::Workplace,
        rows_read: 2376,
        accepted: 2376,
        rejected: vec![],
        energy_milli_wh: 13_926_120_000,
        plugged_s: 24_192_308,
        charging_s: 24_192_308,
        start_s_sum: 3_407_399_183_247,
        across_clock_change: 0,
        users: 69,
        without_user: 0,
        stations: 86,
        ports: 87,
    };
    assert_eq!(figures(read_file(&path).unwrap()), expected);
}

#[test]
fn boulder() {
    let Some(path) = eroam_testkit::data::at("sessions/ev_boulder_2018_2021.csv.gz") else { return };
    let expected = Figures {
        format: Format::Boulder,
        rows_read: 23_597,
        accepted: 23_596,
        rejected: vec![(22_796, "End_Date___Time".into())],
        energy_milli_wh: 183_323_583_000,
        plugged_s: 313_128_859,
        charging_s: 140_191_079,
        start_s_sum: 36_859_817_281_860,
        across_clock_change: 13,
        users: 0,
        without_user: 23_596,
        stations: 27,
        ports: 55,
    };
    assert_eq!(figures(read_file(&path).unwrap()), expected);
}

#[test]
fn santa_barbara_holds_no_sessions() {
    let Some(path) = eroam_testkit::data::at("sessions/sb_county_daily_2020_2024.csv") else { return };
    assert!(matches!(read_file(&path), Err(ReadError::DailyTotals { .. })));
}
