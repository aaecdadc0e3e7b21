//! What a forecast costs: a year of hourly loads, all 24 horizons.
//!
//! ```text
//! forecast/fit a year          from nothing: rows of 8,760 hours, regressions, champions and bands of all horizons
//! forecast/fit a year, 1 h     the same for one horizon
//! forecast/learn an hour       one more hour of a model that is up to date
//! forecast/forecast a day      24 hours with bands, in whole kilowatts, with digests of model and data
//! forecast/read a year         the same year from CSV
//! ```
//! The loads are made up, so that the benchmark needs no file; nothing in the work depends on their values.

#[path = "../tests/forecast/synthetic.rs"]
mod synthetic;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use eroam_forecast::features::Horizon;
use eroam_forecast::forecaster::{Forecaster, forecast};
use eroam_forecast::learner::Learner;
use eroam_forecast::seasonal::SeasonalRule;
use eroam_forecast::series::read::{ReadOptions, read_series};
use std::hint::black_box;
use synthetic::{clock, series};

const YEAR: usize = 8_760;

fn forecasts(c: &mut Criterion) {
    let year = series(YEAR, 1);
    let learned = |horizons: Vec<Horizon>| {
        let mut learner = Learner::new(clock(), horizons);
        learner.learn(&year, year.end());
        learner
    };
    let mut group = c.benchmark_group("forecast");
    group.sample_size(10);
    group.bench_function("fit a year", |b| b.iter(|| learned(Horizon::all().collect())));
    group.bench_function("fit a year, 1 h", |b| b.iter(|| learned(Horizon::all().take(1).collect())));
    let model = learned(Horizon::all().collect());
    let mut longer = year.clone();
    longer.push(year.load()[0]).unwrap();
    group.bench_function("learn an hour", |b| {
        b.iter_batched_ref(|| model.clone(), |m| m.learn(&longer, longer.end()), BatchSize::LargeInput);
    });
    group.bench_function("forecast a day", |b| {
        b.iter(|| forecast(black_box(&model), &SeasonalRule, &year, year.end(), 24).unwrap());
    });
    let rows = (0..YEAR).filter_map(|n| Some((year.first().plus(n as i64)?, year.load()[n]?)));
    let text: String = rows.map(|(hour, load)| format!("{hour},{}\n", load.get())).collect();
    let text = format!("time,load_w\n{text}");
    let options = ReadOptions::new(clock());
    group.bench_function("read a year", |b| {
        b.iter(|| read_series(black_box(text.as_bytes()), &options).unwrap())
    });
    group.finish();
}

criterion_group!(benches, forecasts);
criterion_main!(benches);
