//! Files that are wrong in one way each, and what is said about them.

use super::columns::{ColumnChoice, LoadUnit};
use super::finding::{Lines, SeriesFault};
use super::read::{ReadError, ReadOptions, Reading, read_series};
use super::*;
use crate::exogenous::{ExogenousKind, ExogenousQuantity, Timing};

/// A load of some hours from 2016-06-01T00:00Z on, in megawatts, that repeats daily with a small slope.
fn usual(n: usize) -> f64 {
    1_000.0 + 10.0 * (n % 24) as f64 + n as f64 / 100.0
}

fn stamp(n: usize) -> String {
    let start = UtcHour::new(406_872).unwrap();
    start.plus(n as i64).unwrap().to_string()[..19].replace('T', " ")
}

/// A file of `hours` rows in which `change` may replace or drop the row of an hour.
fn file(hours: usize, change: impl Fn(usize, String) -> Option<String>) -> String {
    let rows = (0..hours).filter_map(|n| change(n, format!("{},{:.1}", stamp(n), usual(n))));
    format!("time,load_mw\n{}\n", rows.collect::<Vec<_>>().join("\n"))
}

fn options(clock: &str) -> ReadOptions {
    ReadOptions::new(clock.parse().unwrap())
}

fn read(text: &str) -> Reading {
    read_series(text.as_bytes(), &options("UTC")).unwrap()
}

fn faults(reading: &Reading) -> Vec<(Lines, SeriesFault)> {
    reading.findings.iter().map(|f| (f.lines, f.fault.clone())).collect()
}

#[test]
fn a_good_file_has_no_findings() {
    let reading = read(&file(100, |_, row| Some(row)));
    assert_eq!(faults(&reading), []);
    assert_eq!((reading.rows, reading.read, reading.holes), (100, 100, 0));
    assert_eq!(reading.series.first().get(), 406_872);
    assert_eq!(reading.series.load()[25], Some(Watts::new(1_010_200_000)));
}

/// The hours whose row is replaced, the load that is written instead, and the fault with its hours without a load.
type BadValue = (std::ops::Range<usize>, &'static str, SeriesFault);

#[test]
fn values_that_cannot_be_are_listed_with_their_lines_and_dropped() {
    let found = |text: &str| text.to_owned();
    let cases: Vec<BadValue> = vec![
        (40..41, "n/a", SeriesFault::NotANumber { found: found("n/a") }),
        (40..41, "1e3", SeriesFault::NotANumber { found: found("1e3") }),
        (40..41, "inf", SeriesFault::NotANumber { found: found("inf") }),
        (40..41, "", SeriesFault::Empty),
        (40..41, "-3.5", SeriesFault::Negative { found: found("-3.5") }),
        (40..50, "0", SeriesFault::Zeros { hours: 10 }),
        (40..70, "1031.4", SeriesFault::Stuck { hours: 30 }),
        (40..50, "1100000", SeriesFault::ThousandTimes { hours: 10, found: 1_100_000_000 }),
        (40..50, "1.1", SeriesFault::Thousandth { hours: 10, found: 1_100 }),
        (40..42, "20000", SeriesFault::Absurd { hours: 2, found: 20_000_000, usual: 0 }),
        (40..42, "30", SeriesFault::Absurd { hours: 2, found: 30_000, usual: 0 }),
        (40..41, "99999999999999", SeriesFault::Absurd { hours: 1, found: 1_000_000_000_000_000, usual: 0 }),
    ];
    for (hours, written, expected) in cases {
        let text = file(200, |n, row| {
            Some(if hours.contains(&n) { format!("{},{written}", stamp(n)) } else { row })
        });
        let reading = read(&text);
        let lines = Lines { first: hours.start as u64 + 2, last: hours.end as u64 + 1 };
        let mut found = faults(&reading);
        // The gap that is left is a finding of its own.
        found.retain(|(_, f)| !matches!(f, SeriesFault::Hole { .. } | SeriesFault::Interpolated { .. }));
        if let SeriesFault::Absurd { usual, .. } = &mut found[0].1 {
            assert!((1_100_000..1_150_000).contains(usual), "the median is {usual}");
            *usual = 0;
        }
        assert_eq!(found, [(lines, expected)], "{written}");
        let dropped = hours.len() as u64;
        assert_eq!(reading.read, 200 - dropped, "{written}");
        let left = if dropped <= 3 { 0 } else { dropped };
        assert_eq!(reading.holes, left, "{written}");
    }
}

#[test]
fn short_gaps_are_interpolated_and_long_ones_stay_empty() {
    let gap =
        |hours: std::ops::Range<usize>| read(&file(2_000, |n, row| (!hours.contains(&n)).then_some(row)));
    let from = |n: i64| UtcHour::new(406_872 + n).unwrap();
    let short = gap(100..103);
    let lines = Lines { first: 101, last: 102 };
    assert_eq!(faults(&short), [(lines, SeriesFault::Interpolated { from: from(100), hours: 3 })]);
    assert_eq!(short.interpolated, [from(100), from(101), from(102)]);
    // Between 1030.99, written as 1031.0, and 1071.0.
    assert_eq!(short.series.load()[101], Some(Watts::new(1_051_000_000)));

    let long = gap(100..104);
    assert_eq!(faults(&long), [(lines, SeriesFault::Hole { from: from(100), hours: 4 })]);
    assert_eq!((long.holes, long.series.load()[101]), (4, None));
    assert!(long.interpolated.is_empty());

    let month = gap(500..1_220);
    assert_eq!(faults(&month)[0].1, SeriesFault::MissingMonth { from: from(500), hours: 720 });
    assert!(
        month.findings[0].to_string().contains("stay empty (remedy: ask the source"),
        "{}",
        month.findings[0]
    );
}

#[test]
fn rows_that_cannot_be_placed_are_listed_and_the_rest_is_used() {
    let text = file(50, |n, row| {
        Some(match n {
            5 => format!("{row}\n{row}"),
            9 => format!("{row}\n{},7", stamp(9)),
            14 => "yesterday,1000".to_owned(),
            19 => "2016-06-01 19:30:00,1000".to_owned(),
            24 => stamp(24),
            29 => format!("{}\n{row}", file(31, |n, r| (n == 30).then_some(r)).lines().nth(1).unwrap()),
            30 => return None,
            _ => row,
        })
    });
    let reading = read(&text);
    let hour = |n: i64| UtcHour::new(406_872 + n).unwrap();
    let filled = |n: i64| SeriesFault::Interpolated { from: hour(n), hours: 1 };
    let expected = [
        (8, SeriesFault::Repeated { hour: hour(5) }),
        (13, SeriesFault::Contradiction { hour: hour(9) }),
        (18, SeriesFault::UnreadableTime { found: "yesterday".to_owned() }),
        (23, SeriesFault::NotOnTheHour { found: "2016-06-01 19:30:00".to_owned() }),
        (28, SeriesFault::ShortRow { found: 1, expected: 2 }),
        (34, SeriesFault::OutOfOrder { hour: hour(29) }),
    ];
    let mut found = faults(&reading);
    let gaps: Vec<_> = found.extract_if(.., |(_, f)| matches!(f, SeriesFault::Interpolated { .. })).collect();
    assert_eq!(found, expected.map(|(line, fault)| (Lines::one(line), fault)));
    assert_eq!(gaps.into_iter().map(|g| g.1).collect::<Vec<_>>(), [9, 14, 19, 24].map(filled));
    assert_eq!(reading.read, 46);
}

/// A year of local times of `zone`, as a clock on the wall writes them.
fn year_of(zone: &str) -> String {
    let clock: crate::clock::LoadClock = zone.parse().unwrap();
    let rows = (0..8_760).map(|n| {
        let hour = UtcHour::new(403_224 + n).unwrap();
        let offset = i64::from(clock.offset_s(hour.start().get())) / 3_600;
        let local = hour.plus(offset).unwrap().to_string()[..19].to_owned();
        format!("{local},{:.1}", usual(n as usize))
    });
    format!("timestamp,MW\n{}\n", rows.collect::<Vec<_>>().join("\n"))
}

#[test]
fn a_repeated_hour_in_autumn_and_a_missing_one_in_spring_are_no_faults_in_their_zone() {
    for zone in ["America/New_York", "Europe/Berlin", "Australia/Sydney", "UTC", "-05:00"] {
        let reading = read_series(year_of(zone).as_bytes(), &options(zone)).unwrap();
        assert_eq!(faults(&reading), [], "{zone}");
        assert_eq!((reading.read, reading.holes), (8_760, 0), "{zone}");
        for n in [0, 1_000, 8_759] {
            let watts = (usual(n) * 10.0).round() as u64 * 100_000;
            assert_eq!(reading.series.load()[n], Some(Watts::new(watts)), "{zone} {n}");
        }
    }
}

#[test]
fn a_clock_that_is_not_the_files_is_found_by_its_signature() {
    for (written, said) in [("America/New_York", "UTC"), ("Europe/Berlin", "America/New_York")] {
        let reading = read_series(year_of(written).as_bytes(), &options(said)).unwrap();
        assert!(reading.doubts_the_clock(), "{written} read as {said}");
        let text: String = reading.findings.iter().map(|f| format!("{f}\n")).collect();
        assert!(text.contains(&format!("fit {written}")), "{text}");
    }
    for said in ["America/New_York", "Europe/Berlin"] {
        let reading = read_series(year_of("UTC").as_bytes(), &options(said)).unwrap();
        assert!(reading.doubts_the_clock(), "UTC read as {said}");
        let expected = SeriesFault::ClockWithoutDaylightSaving {
            clock: said.to_owned(),
            forward: 1,
            present: 1,
            back: 1,
            once: 1,
        };
        assert_eq!(reading.findings[0].fault, expected);
    }
}

#[test]
fn times_with_offsets_need_no_clock() {
    let text = "ts;Last (kW)\n2016-10-30T02:00+02:00;1.000,5\n2016-10-30T02:00:00+02:00;1000,5\n\
                2016-10-30T02:00+01:00;1001\n2016-10-30T02:00Z;1002\n";
    let reading = read_series(text.as_bytes(), &options("Europe/Berlin")).unwrap();
    // Thousands separators are ambiguous, so the first row is no number, and the second contradicts it.
    assert_eq!(reading.findings.len(), 2, "{:?}", reading.findings);
    assert_eq!(reading.series.load(), [Some(Watts::new(1_001_000)), Some(Watts::new(1_002_000))]);
}

#[test]
fn columns_are_found_by_header_or_by_choice() {
    let choose = |time, load, unit| ReadOptions { time, load, unit, ..options("UTC") };
    let index = ColumnChoice::Index;
    let named = |name: &str| ColumnChoice::Named(name.to_owned());
    let detect = || ColumnChoice::Detect;
    let row = "2016-06-01 00:00,7,1000";
    let with = |header: &str| format!("{header}{row}\n");
    let cases = [
        (with("Timestamp,zone,Load MW\n"), choose(detect(), detect(), None), 1_000_000_000),
        (with("from,A,B\n"), choose(index(0), named("b"), Some(LoadUnit::Kilowatt)), 1_000_000),
        (with(""), choose(detect(), index(2), Some(LoadUnit::Watt)), 1_000),
        (
            "\u{feff}date\tdemand_kw\n01.06.2016 00:00\t5\n".to_owned(),
            choose(detect(), detect(), None),
            5_000,
        ),
    ];
    for (text, options, watts) in cases {
        let reading = read_series(text.as_bytes(), &options).unwrap();
        assert_eq!(reading.series.load(), [Some(Watts::new(watts))], "{text}");
    }
}

#[test]
fn what_cannot_be_read_at_all_is_an_error_and_never_a_guess() {
    let fails = |text: &[u8], options: &ReadOptions| read_series(text, options).unwrap_err().to_string();
    let utc = options("UTC");
    let indexed = ReadOptions { load: ColumnChoice::Index(9), ..utc.clone() };
    let half_hours: String =
        (0..20).map(|n| format!("2016-06-01 {:02}:{:02},5\n", n / 4, n % 4 * 15)).collect();
    let zeros = file(30, |n, _| Some(format!("{},0", stamp(n))));
    let far = "time,mw\n1980-01-01 00:00,5\n2016-01-01 00:00,5\n9000-01-01 00:00,5\n";
    let cases: Vec<(&[u8], &ReadOptions, &str)> = vec![
        (b"", &utc, "empty"),
        (b"time,mw\n", &utc, "there are no rows"),
        (b"time,mw\n\xff\xfe", &utc, "not UTF-8"),
        (b"when,mw\n2016-06-01 00:00,5\n", &utc, "no column for `time` among: when, mw"),
        (b"time,a,b\n2016-06-01 00:00,5,6\n", &utc, "no column for `load`"),
        (b"time,load\n2016-06-01 00:00,5\n", &utc, "the unit of `load` is unknown"),
        (b"time,mw\n2016-06-01 00:00,5\n", &indexed, "no column for `number 9`"),
        (b"time,mw\n06/01/2016 00:00,5\n", &utc, "line 2: `06/01/2016 00:00` is no date and time"),
        (zeros.as_bytes(), &utc, "lines 2 to 31: 30 hours of a load of zero"),
        (far.as_bytes(), &utc, "a date is wrong"),
    ];
    for (text, options, message) in cases {
        let found = fails(text, options);
        assert!(found.contains(message), "{found} is not about {message}");
    }
    let quarters = format!("time,mw\n{half_hours}");
    let error = read_series(quarters.as_bytes(), &utc).unwrap_err();
    assert!(matches!(error, ReadError::NotHourly { off: 15, rows: 20 }), "{error}");
}

#[test]
fn the_weather_is_read_where_it_is_asked_for() {
    let kind = ExogenousKind { quantity: ExogenousQuantity::Temperature, timing: Timing::Observed };
    let text = "time,mw,temp_c\n2016-06-01 00:00,5,20.5\n2016-06-01 01:00,6,\n2016-06-01 02:00,7,hot\n";
    let options = ReadOptions { exogenous: vec![(ColumnChoice::Detect, kind)], ..options("UTC") };
    let reading = read_series(text.as_bytes(), &options).unwrap();
    let temperature = &reading.series.exogenous()[0];
    let at = |n| temperature.at(reading.series.first().plus(n).unwrap());
    assert_eq!((at(0), at(1), at(2)), (Some(20.5), None, None));
    let fault =
        SeriesFault::ExogenousNotANumber { column: "temperature".to_owned(), found: "hot".to_owned() };
    assert_eq!(faults(&reading), [(Lines::one(4), fault)]);
}

#[test]
fn a_past_shows_nothing_later() {
    let series = LoadSeries::new(UtcHour::new(1_000).unwrap(), vec![Some(Watts::new(1_000)); 10]).unwrap();
    let at = |n| UtcHour::new(n).unwrap();
    let past = series.before(at(1_005));
    assert_eq!((past.kw(at(1_004)), past.kw(at(1_005)), past.kw(at(999))), (Some(1.0), None, None));
    assert_eq!((past.mean_kw(at(1_005), 3, 3), past.mean_kw(at(1_006), 3, 3)), (Some(1.0), None));
    assert_eq!(
        (series.last_known(at(1_005)), series.last_known(at(9_999))),
        (Some(at(1_004)), Some(at(1_009)))
    );
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let _ = read_series(&bytes[..], &options("America/New_York"));
    }

    #[test]
    fn arbitrary_fields_never_panic(fields in proptest::collection::vec("[-0-9T:., Z+]{0,20}", 0..40)) {
        let text: String = fields.chunks(2).map(|pair| pair.join(",") + "\n").collect();
        let _ = read_series(format!("time,mw\n{text}").as_bytes(), &options("America/New_York"));
    }
}
