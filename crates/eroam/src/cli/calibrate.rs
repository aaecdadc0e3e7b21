//! `eroam station calibrate`: a current sensor is compared with a reference, and the correction that the station uses is
//! written, with what it is worth.
//!
//! Source: paper B, section 5.1.

use super::print_line;
use anyhow::{Context as _, bail};
use clap::{ArgGroup, Args};
use eroam::clock::now;
use eroam_station::calibration::samples::{self, SAMPLES_BYTES_MAX};
use eroam_station::calibration::{Calibration, Pair, REFERENCE_MAX_A, Report, measure};
use serde::Serialize;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Below this part of the range a correction says nothing about the rest of it.
const RANGE_WANTED: f64 = 0.8;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source").required(true))]
pub(super) struct CalibrateArgs {
    /// Measurements: CSV with the columns time, reference_a and reading_a, from 0 to 30 A, best over 24 hours
    #[arg(long, value_name = "FILE", group = "source")]
    samples: Option<PathBuf>,
    /// Measure the simulated bench, as it would be measured in a day
    #[arg(long, group = "source")]
    simulated: bool,
    /// Measure this station's transformer behind its ADS1115: amperes of the wire for one of the resistor, and the
    /// resistor in ohms. For each line on standard input with what the reference shows, in amperes, it is read once
    #[cfg(all(feature = "gpio", target_os = "linux"))]
    #[arg(long, value_name = "RATIO:OHMS", group = "source", value_parser = transformer)]
    transformer: Option<eroam_station::gpio::current::Transformer>,
    /// The noise of the simulated bench follows from it
    #[arg(long, default_value_t = super::SEED, conflicts_with = "samples")]
    seed: u64,
    /// Tell errors and drift from these measurements instead of from those that the correction is made of
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Write the correction here
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write what was measured here, as --samples and --check read it
    #[arg(long, value_name = "FILE", conflicts_with = "samples")]
    record: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Calibrated {
    /// The correction.
    calibration: Calibration,
    /// The lowest and the highest current of the reference, in amperes.
    range_a: (f64, f64),
    /// Without correction.
    uncorrected: Report,
    /// With it.
    corrected: Report,
}

pub(super) fn run(args: &CalibrateArgs) -> anyhow::Result<ExitCode> {
    let pairs = measured(args)?;
    let calibration = Calibration::fit(&pairs)?;
    let checked = args.check.as_deref().map(read_samples).transpose()?.unwrap_or_else(|| pairs.clone());
    if checked.is_empty() {
        bail!("there is nothing in the file to check with");
    }
    let references = || pairs.iter().map(|pair| pair.reference_a);
    let range_a = (references().fold(REFERENCE_MAX_A, f64::min), references().fold(0.0, f64::max));
    let (uncorrected, corrected) = (Calibration::NONE.report(&checked), calibration.report(&checked));
    let result = Calibrated { calibration, range_a, uncorrected, corrected };
    if result.range_a.1 - result.range_a.0 < RANGE_WANTED * REFERENCE_MAX_A {
        let (from, to) = result.range_a;
        eprintln!("only {from} to {to} A were measured: what lies beyond is a guess, measure from 0 to 30 A");
    }
    write(args.record.as_deref(), || Ok(samples::write(&pairs)))?;
    write(args.out.as_deref(), || Ok(format!("{}\n", calibration.to_json()?)))?;
    print_line(&if args.json { serde_json::to_string(&result)? } else { text(&result) })?;
    Ok(ExitCode::SUCCESS)
}

fn measured(args: &CalibrateArgs) -> anyhow::Result<Vec<Pair>> {
    #[cfg(all(feature = "gpio", target_os = "linux"))]
    if let Some(transformer) = args.transformer {
        return read_sensor(transformer);
    }
    match &args.samples {
        Some(file) => read_samples(file),
        None => Ok(measure::at_the_bench(args.seed, now(), |bench| bench)?),
    }
}

fn read_samples(file: &Path) -> anyhow::Result<Vec<Pair>> {
    let name = file.display();
    let limit = u64::try_from(SAMPLES_BYTES_MAX)?;
    let mut text = String::new();
    let opened = std::fs::File::open(file).with_context(|| format!("{name} cannot be opened"))?;
    // One byte more, so that what is too long is told from what is cut.
    opened
        .take(limit + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("{name} cannot be read as text"))?;
    samples::read(&text).with_context(|| format!("{name} holds no measurements that can be used"))
}

/// Writes a file, if it is wanted.
fn write(file: Option<&Path>, text: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    std::fs::write(file, text()?).with_context(|| format!("{} cannot be written", file.display()))
}

fn text(result: &Calibrated) -> String {
    let Calibrated { calibration, range_a: (from, to), uncorrected, corrected } = result;
    let offset_ma = calibration.offset_a * 1_000.0;
    let mut text = format!(
        "reference = {:.5} x reading {offset_ma:+.1} mA, from {} measurements between {from} and {to} A\n",
        calibration.gain, corrected.pairs
    );
    for (name, report) in [("uncorrected", uncorrected), ("corrected", corrected)] {
        let Report { mean_error_a, greatest_error_a, mean_relative_error, drift_a_per_day, .. } = report;
        let relative =
            mean_relative_error.map_or_else(String::new, |error| format!(" ({:.2} %)", error * 100.0));
        let drift = drift_a_per_day.map_or_else(
            || "no drift can be told from less than an hour".to_owned(),
            |drift| format!("drift {:+.1} mA in 24 h", drift * 1_000.0),
        );
        text.push_str(&format!(
            "{name:<12} mean error {:.1} mA{relative}, at most {:.1} mA, {drift}\n",
            mean_error_a * 1_000.0,
            greatest_error_a * 1_000.0
        ));
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(all(feature = "gpio", target_os = "linux"))]
fn transformer(text: &str) -> Result<eroam_station::gpio::current::Transformer, String> {
    let positive = |text: &str| text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    let parts = text.split_once(':').and_then(|(ratio, ohms)| Some((positive(ratio)?, positive(ohms)?)));
    let (ratio, burden_ohms) = parts.ok_or("a transformer is written RATIO:OHMS, such as 2000:22")?;
    Ok(eroam_station::gpio::current::Transformer { ratio, burden_ohms })
}

/// Reads the sensor once for each line with what the reference shows.
#[cfg(all(feature = "gpio", target_os = "linux"))]
fn read_sensor(transformer: eroam_station::gpio::current::Transformer) -> anyhow::Result<Vec<Pair>> {
    let mut sensor = eroam_station::gpio::current::TransformerSensor::new(transformer, Calibration::NONE)?;
    let mut pairs = Vec::new();
    for (number, line) in (1_usize..).zip(std::io::stdin().lines()) {
        let line = line?;
        let reference_a = line.trim().parse::<f64>().ok();
        let reference_a = reference_a.filter(|amperes| (0.0..=REFERENCE_MAX_A).contains(amperes));
        let reference_a = reference_a
            .with_context(|| format!("line {number}: {line:?} is no number of amperes between 0 and 30"))?;
        let pair = measure::pair(&mut sensor, reference_a, now())?;
        eprintln!("{reference_a} A of the reference, {:.3} A of the sensor", pair.reading_a);
        pairs.push(pair);
    }
    Ok(pairs)
}
