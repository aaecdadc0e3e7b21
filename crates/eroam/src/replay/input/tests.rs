//! Tests over whole files: small samples of each format, every rejection, broken files, arbitrary bytes, and the real
//! files where they are present.

mod arbitrary;
mod broken_files;
mod formats;
mod real_files;
mod rejections;

use super::{FileReport, InputSession, ReadError, read_bytes};

const ACN_ITEM: &str = r#"{"connectionTime": "Sat, 01 May 2021 20:42:47 GMT", "disconnectTime": "Sat, 01 May 2021 21:32:12 GMT", "doneChargingTime": "Sat, 01 May 2021 21:00:00 GMT", "kWhDelivered": 30.936, "sessionID": "s1", "stationID": "2-39-81-4550", "timezone": "America/Los_Angeles", "userID": "915"}"#;
const TRONDHEIM_HEADER: &str = "session_ID;Garage_ID;User_ID;Start_plugin;End_plugout;El_kWh;Duration_hours";
const TRONDHEIM_ROW: &str = "1;AdO3;AdO3-4;21.12.2018 10:20;21.12.2018 10:23;0,3;0,05";
const WORKPLACE_HEADER: &str = "sessionId,kwhTotal,created,ended,userId,stationId";
const WORKPLACE_ROW: &str = "7093670,5.61,0014-11-18 15:01:17,0014-11-18 18:26:04,30828105,632920";
const BOULDER_HEADER: &str = "Station_Name,Start_Date___Time,Start_Time_Zone,End_Date___Time,End_Time_Zone,Total_Duration__hh_mm_ss_,Charging_Time__hh_mm_ss_,Energy__kWh_,ObjectId";
const BOULDER_ROW: &str =
    "JUNCTION ST1,2018/01/02 00:49:00,MST,2018/01/02 02:52:00,MST,2:03:02,1:02:44,6.504,1";
const CDR: &str = r#"{"id": "12345", "start_date_time": "2024-12-05T17:39:09Z", "end_date_time": "2024-12-05T19:37:32Z", "cdr_token": {"uid": "012345678", "contract_id": "DE8ACC12E46L89"}, "cdr_location": {"evse_uid": "3256", "evse_id": "BE*BEC*E041503003"}, "total_energy": 15.342}"#;

fn table(header: &str, rows: &[&str]) -> String {
    [header].iter().chain(rows).map(|line| format!("{line}\n")).collect()
}

fn read(text: impl AsRef<[u8]>) -> FileReport {
    read_bytes("sample", text.as_ref()).unwrap()
}

fn refused(text: impl AsRef<[u8]>) -> ReadError {
    read_bytes("sample", text.as_ref()).unwrap_err()
}

fn only_session(text: impl AsRef<[u8]>) -> InputSession {
    let mut report = read(text);
    assert_eq!(report.rejected, [], "a good row was rejected");
    assert_eq!(report.sessions.len(), 1);
    report.sessions.remove(0)
}

/// The unix milliseconds of an RFC 3339 timestamp.
fn ms(timestamp: &str) -> i64 {
    timestamp.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

fn gzip(text: &str) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}
