//! Readings of second meters from a CSV: one row for each record, by its operator and the operator's id of it.
//!
//! ```text
//! operator,record,kind,energy_wh
//! PT-GLP,S-2026-0001,attested,21480
//! PT-GLP,S-2026-0002,vehicle,17950
//! ```
//! `attested` is a calibrated meter beside the station's own, `vehicle` the vehicle's counter of what came into its battery.
//! A row that cannot be used is listed with its line and a remedy; the others count. Whoever signed the readings has been
//! checked by whoever made the file.

use eroam_domain::cdr::CdrId;
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::WattHours;
use eroam_gateway::anomalies::{RecordName, SecondMeter, SecondMeterKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::Read;

/// The columns, in any order.
const COLUMNS: [&str; 4] = ["operator", "record", "kind", "energy_wh"];
/// More rows than this in a file are surely a mistake.
pub const ROWS_MAX: usize = 100_000;
/// No session has more energy than this, in watt-hours: 10 MWh.
const ENERGY_WH_MAX: u64 = 10_000_000;

/// A reading, and where it stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterReading {
    /// The line of the file, from 1.
    pub line: u64,
    /// Which record.
    pub name: RecordName,
    /// What the meter counted.
    pub second: SecondMeter,
}

/// A row that is not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadRow {
    /// The line of the file, from 1.
    pub line: u64,
    /// What is wrong with it, with the remedy.
    pub reason: String,
}

/// A file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeterReadings {
    /// What can be used, in the order of the lines.
    pub readings: Vec<MeterReading>,
    /// What cannot.
    pub bad: Vec<BadRow>,
}

/// Why a file as a whole is not used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum MeterFileError {
    #[error("the first line has no column {0:?}: it is operator,record,kind,energy_wh in any order")]
    NoColumn(&'static str),
    #[error("there are more than {ROWS_MAX} rows: cut the file in parts")]
    TooLong,
    #[error("the file cannot be read")]
    Read(#[source] csv::Error),
}

/// Reads a file.
///
/// # Errors
/// [`MeterFileError`].
pub fn read(input: impl Read) -> Result<MeterReadings, MeterFileError> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(input);
    let header = reader.headers().map_err(MeterFileError::Read)?.clone();
    let place = |name: &'static str| {
        let found = header.iter().position(|column| column.eq_ignore_ascii_case(name));
        found.ok_or(MeterFileError::NoColumn(name))
    };
    let [operator, record, kind, energy] = COLUMNS;
    let places = [place(operator)?, place(record)?, place(kind)?, place(energy)?];
    let mut read = MeterReadings::default();
    let mut seen = BTreeSet::new();
    let mut row = csv::StringRecord::new();
    loop {
        let line = reader.position().line();
        match reader.read_record(&mut row) {
            Ok(false) => return Ok(read),
            Ok(true) => {}
            Err(error) if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) => {
                let reason = "it is not UTF-8: save the file as UTF-8".to_owned();
                read.bad.push(BadRow { line, reason });
                continue;
            }
            Err(error) => return Err(MeterFileError::Read(error)),
        }
        let line = row.position().map_or(line, csv::Position::line);
        if read.readings.len() + read.bad.len() >= ROWS_MAX {
            return Err(MeterFileError::TooLong);
        }
        let parsed = reading(&row, places).and_then(|(name, second)| {
            // Two readings that differ would make the result depend on their order.
            if !seen.insert((name.clone(), second.kind == SecondMeterKind::Attested)) {
                return Err(format!("{name} has a reading of this kind further up: leave one of them out"));
            }
            Ok(MeterReading { line, name, second })
        });
        match parsed {
            Ok(reading) => read.readings.push(reading),
            Err(reason) => read.bad.push(BadRow { line, reason }),
        }
    }
}

/// One row.
fn reading(row: &csv::StringRecord, places: [usize; 4]) -> Result<(RecordName, SecondMeter), String> {
    let [operator, record, kind, energy] = places.map(|place| row.get(place).unwrap_or_default());
    let operator: PartyId = operator.parse().map_err(|error| format!("{error}"))?;
    let cdr = CdrId::new(record).map_err(|error| format!("the record {record:?} is no id: {error}"))?;
    let kind = match kind {
        "attested" => SecondMeterKind::Attested,
        "vehicle" => SecondMeterKind::Vehicle,
        other => return Err(format!("the kind {other:?} is unknown: write attested or vehicle")),
    };
    let digits = (1..=18).contains(&energy.len()) && energy.bytes().all(|byte| byte.is_ascii_digit());
    let wh = energy.parse::<u64>().ok().filter(|_| digits).ok_or_else(|| {
        format!("the energy {energy:?} is no whole number of watt-hours: write 21480 for 21.48 kWh")
    })?;
    let energy = WattHours::from_wh(wh).filter(|_| wh <= ENERGY_WH_MAX);
    let energy =
        energy.ok_or_else(|| format!("{wh} Wh is more than any session has: look whether it is in Wh"))?;
    Ok((RecordName { operator, cdr }, SecondMeter { kind, energy }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_rows_count_and_bad_ones_are_listed_with_their_lines() {
        let text = "energy_wh, record ,operator,kind,note\n\
                    21480,S1,PT-GLP,attested,\n\
                    21480,S1,PT-GLP,vehicle,both kinds of one record\n\
                    21.48,S2,PT-GLP,attested,\n\
                    -5,S3,PT-GLP,attested,\n\
                    ,S3,PT-GLP,attested,\n\
                    10000001,S3,PT-GLP,attested,\n\
                    21480,S4,Portugal,attested,\n\
                    21480,,PT-GLP,attested,\n\
                    21480,S5,PT-GLP,meter,\n\
                    21480,S1,PT-GLP,attested,twice\n\
                    21480,S6\n\
                    0,S7,pt*glp,vehicle,\n";
        let MeterReadings { readings, bad } = read(text.as_bytes()).unwrap();
        let found: Vec<_> = readings.iter().map(|r| (r.line, r.name.cdr.as_str(), r.second.energy)).collect();
        let wh = |wh| WattHours::from_wh(wh).unwrap();
        assert_eq!(found, [(2, "S1", wh(21_480)), (3, "S1", wh(21_480)), (13, "S7", wh(0))]);
        let wanted = [
            (4, "21.48"),
            (5, "\"-5\""),
            (6, "\"\""),
            (7, "more than any session"),
            (8, "Portugal"),
            (9, "is no id"),
            (10, "write attested or vehicle"),
            (11, "further up"),
            (12, "no party"),
        ];
        assert_eq!(bad.len(), wanted.len(), "{bad:?}");
        for (row, (line, says)) in bad.iter().zip(wanted) {
            assert!(row.line == line && row.reason.contains(says), "{row:?} is not {line}: {says}");
        }
    }

    #[test]
    fn a_row_that_is_no_text_does_not_end_the_file() {
        let text = b"operator,record,kind,energy_wh\nPT-GLP,S\xff1,attested,1\nPT-GLP,S2,attested,2\n";
        let MeterReadings { readings, bad } = read(&text[..]).unwrap();
        assert_eq!((readings.len(), readings[0].name.cdr.as_str()), (1, "S2"));
        assert_eq!((bad.len(), bad[0].line), (1, 2));
    }

    #[test]
    fn a_file_without_a_column_is_refused_by_its_name() {
        for (text, column) in [
            ("", "operator"),
            ("operator,record,kind\n", "energy_wh"),
            ("operator;record;kind;energy_wh\n", "operator"),
        ] {
            let refused = read(text.as_bytes()).unwrap_err().to_string();
            assert!(refused.contains(&format!("{column:?}")), "{refused}");
        }
        let long = "operator,record,kind,energy_wh\n".to_owned() + &"x\n".repeat(ROWS_MAX + 1);
        assert!(matches!(read(long.as_bytes()), Err(MeterFileError::TooLong)));
    }
}
