//! Loads that are made up: a daily and a weekly wave with noise that lingers, as weather makes it.

use eroam_domain::quantity::Watts;
use eroam_forecast::clock::LoadClock;
use eroam_forecast::efficiency::SplitMix64;
use eroam_forecast::hour::UtcHour;
use eroam_forecast::series::LoadSeries;

/// 2016-01-04T05:00Z: a Monday's midnight in New York.
pub(crate) fn first() -> UtcHour {
    UtcHour::new(403_301).unwrap()
}

pub(crate) fn clock() -> LoadClock {
    "America/New_York".parse().unwrap()
}

/// Kilowatts of `hours` hours.
pub(crate) fn loads_kw(hours: usize, seed: u64) -> Vec<f64> {
    let mut random = SplitMix64::new(seed);
    let mut uniform = || random.next_u64() as f64 / u64::MAX as f64 - 0.5;
    let mut weather = 0.0;
    let load = |n: usize| {
        weather = 0.95 * weather + 0.05 * uniform();
        let day = (n % 24) as f64 / 24.0;
        let weekend = if n / 24 % 7 >= 5 { 0.85 } else { 1.0 };
        // A smooth hump in the afternoon, a trough at night.
        let wave = 1.0 + 1.2 * day * (1.0 - day);
        1_000_000.0 * weekend * wave * (1.0 + weather) * (1.0 + 0.01 * uniform())
    };
    (0..hours).map(load).collect()
}

pub(crate) fn series_of(loads_kw: &[f64]) -> LoadSeries {
    let watts = loads_kw.iter().map(|kw| kw.is_finite().then(|| Watts::new((kw * 1_000.0) as u64)));
    LoadSeries::new(first(), watts.collect()).unwrap()
}

pub(crate) fn series(hours: usize, seed: u64) -> LoadSeries {
    series_of(&loads_kw(hours, seed))
}
