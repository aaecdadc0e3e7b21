//! A logistic regression that says of a pair whether both sessions were one driver's, and how often it is right.
//!
//! Each half of the pairs is judged by what was learned from the other half, so every pair counts once and none is judged
//! by what was learned from itself. Either half has to hold as many pairs of one driver as of two: otherwise whoever learns
//! nothing but which of them are more would be wrong about the other half, and less than one half would look like an
//! answer.
//!
//! Nothing here is random: the same pairs give the same answer.

use serde::Serialize;

/// What can be seen of a pair, and what is true.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// As many as every other example has.
    pub features: Vec<f32>,
    /// Whether both sessions were one driver's.
    pub same: bool,
}

/// How often a distinguisher was right.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    /// Pairs that were judged.
    pub pairs: u64,
    /// The share of them that was judged right.
    pub accuracy: f64,
    /// Where the true accuracy is with a probability of 95 % (Wilson's interval).
    pub ci95: [f64; 2],
}

/// Rounds of descent; more change nothing in what is found.
const ROUNDS: i32 = 300;
/// The length of a step.
const RATE: f64 = 0.03;
/// What large weights cost.
const DECAY: f64 = 1e-3;
/// A feature that is so many deviations away counts as no farther.
const FARTHEST: f64 = 8.0;
/// A feature that varies by less says nothing.
const DEVIATION_MIN: f64 = 1e-9;
/// A feature is used if its correlation with the answer, among what is learned from, is so many times what chance makes
/// of it: among a thousand that say nothing, a dozen are, and few pairs are enough to learn from.
const CORRELATION_MIN: f64 = 2.5;
/// Two-sided, 95 %.
const Z_95: f64 = 1.959_963_984_540_054;

impl Accuracy {
    /// Of so many pairs, so many right ones.
    #[must_use]
    pub fn of(right: u64, pairs: u64) -> Self {
        let (accuracy, low, high) = wilson(right, pairs, Z_95);
        Self { pairs, accuracy, ci95: [low, high] }
    }

    /// Whether guessing is in the interval.
    #[must_use]
    pub fn is_within_noise(&self) -> bool {
        let [low, high] = self.ci95;
        (low..=high).contains(&0.5)
    }

    /// By how many standard deviations of guessing it is above one half.
    #[must_use]
    pub fn deviations_above_half(&self) -> f64 {
        let pairs = count(self.pairs);
        if pairs > 0.0 { (self.accuracy - 0.5) * 2.0 * pairs.sqrt() } else { 0.0 }
    }
}

/// Counts here are far below 2^53.
fn count(number: u64) -> f64 {
    number as f64
}

fn wilson(right: u64, of: u64, z: f64) -> (f64, f64, f64) {
    let n = count(of);
    if of == 0 {
        return (0.5, 0.0, 1.0);
    }
    let share = count(right) / n;
    let scale = 1.0 + z * z / n;
    let middle = (share + z * z / (2.0 * n)) / scale;
    let half = z / scale * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    (share, (middle - half).max(0.0), (middle + half).min(1.0))
}

/// What was learned: a weight for each feature, in deviations from its mean.
#[derive(Clone, Debug)]
pub struct Learned {
    mean: Vec<f64>,
    /// One over the deviation; zero for a feature that says nothing.
    scale: Vec<f64>,
    weights: Vec<f64>,
    bias: f64,
}

impl Learned {
    /// Learns from examples.
    #[must_use]
    pub fn from(examples: &[&Example]) -> Self {
        let width = examples.first().map_or(0, |example| example.features.len());
        let n = count(u64::try_from(examples.len().max(1)).unwrap_or(1));
        let mut mean = vec![0.0; width];
        for example in examples {
            mean.iter_mut().zip(&example.features).for_each(|(m, x)| *m += f64::from(*x) / n);
        }
        let mut variance = vec![0.0; width];
        for example in examples {
            let centred = example.features.iter().zip(&mean).map(|(x, m)| f64::from(*x) - m);
            variance.iter_mut().zip(centred).for_each(|(v, x)| *v += x * x / n);
        }
        let scale = variance.iter().map(|v| v.sqrt());
        let scale = scale.map(|d| if d > DEVIATION_MIN { 1.0 / d } else { 0.0 }).collect();
        let mut learned = Self { mean, scale, weights: vec![0.0; width], bias: 0.0 };
        let mut rows: Vec<Vec<f64>> = examples.iter().map(|e| learned.standardised(&e.features)).collect();
        let mut correlation = vec![0.0; width];
        for (row, example) in rows.iter().zip(examples) {
            let answer = if example.same { 1.0 } else { -1.0 };
            correlation.iter_mut().zip(row).for_each(|(r, x)| *r += answer * x / n);
        }
        let says = |r: &f64| r.abs() * n.sqrt() > CORRELATION_MIN;
        let unsaying = |value: &mut f64, r: &f64| {
            if !says(r) {
                *value = 0.0
            }
        };
        learned.scale.iter_mut().zip(&correlation).for_each(|(scale, r)| unsaying(scale, r));
        for row in &mut rows {
            row.iter_mut().zip(&correlation).for_each(|(x, r)| unsaying(x, r));
        }
        learned.descend(&rows, examples, n);
        learned
    }

    /// Adam, over all examples at once.
    fn descend(&mut self, rows: &[Vec<f64>], examples: &[&Example], n: f64) {
        let width = self.weights.len();
        let (mut first, mut second) = (vec![0.0; width + 1], vec![0.0; width + 1]);
        for round in 1..=ROUNDS {
            let mut gradient = vec![0.0; width + 1];
            for (row, example) in rows.iter().zip(examples) {
                let wrong = logistic(self.score(row)) - if example.same { 1.0 } else { 0.0 };
                gradient.iter_mut().zip(row.iter().chain(&[1.0])).for_each(|(g, x)| *g += wrong * x / n);
            }
            gradient.iter_mut().zip(&self.weights).for_each(|(g, w)| *g += DECAY * w);
            let (fades, fades_slowly) = (1.0 - 0.9_f64.powi(round), 1.0 - 0.999_f64.powi(round));
            let weights = self.weights.iter_mut().chain(std::iter::once(&mut self.bias));
            for ((weight, g), (m, v)) in weights.zip(gradient).zip(first.iter_mut().zip(&mut second)) {
                *m = 0.9 * *m + 0.1 * g;
                *v = 0.999 * *v + 0.001 * g * g;
                *weight -= RATE * (*m / fades) / ((*v / fades_slowly).sqrt() + 1e-8);
            }
        }
    }

    fn standardised(&self, features: &[f32]) -> Vec<f64> {
        let centred = features.iter().zip(&self.mean).map(|(x, m)| f64::from(*x) - m);
        centred.zip(&self.scale).map(|(x, scale)| (x * scale).clamp(-FARTHEST, FARTHEST)).collect()
    }

    fn score(&self, row: &[f64]) -> f64 {
        self.bias + row.iter().zip(&self.weights).map(|(x, w)| x * w).sum::<f64>()
    }

    /// Whether a pair looks like one driver's.
    #[must_use]
    pub fn judges_same(&self, features: &[f32]) -> bool {
        self.score(&self.standardised(features)) > 0.0
    }

    /// The features by what they weigh, the heaviest first.
    #[must_use]
    pub fn heaviest(&self) -> Vec<(usize, f64)> {
        let mut all: Vec<(usize, f64)> = self.weights.iter().copied().enumerate().collect();
        all.sort_by(|(_, one), (_, other)| other.abs().total_cmp(&one.abs()));
        all
    }
}

fn logistic(score: f64) -> f64 {
    1.0 / (1.0 + (-score).exp())
}

/// Judges each half of the examples by what was learned from the other; also what was learned from the first half.
/// Which half an example belongs to says its place: two after two.
#[must_use]
pub fn judge(examples: &[Example]) -> (Accuracy, Learned) {
    let half = |wanted: usize| -> Vec<&Example> {
        let places = examples.iter().enumerate().filter(|(place, _)| (place / 2) % 2 == wanted);
        places.map(|(_, example)| example).collect()
    };
    let (one, other) = (half(0), half(1));
    let (of_one, of_other) = (Learned::from(&one), Learned::from(&other));
    let right = |learned: &Learned, judged: &[&Example]| {
        judged.iter().filter(|example| learned.judges_same(&example.features) == example.same).count()
    };
    let right = right(&of_one, &other) + right(&of_other, &one);
    let total = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    (Accuracy::of(total(right), total(examples.len())), of_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64: numbers in 0..1.
    fn noise(seed: u64) -> impl FnMut() -> f32 {
        let mut state = seed;
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 40) as f32 / 16_777_216.0
        }
    }

    fn examples(pairs: usize, mut feature: impl FnMut(bool) -> Vec<f32>) -> Vec<Example> {
        let of = |same| Example { features: feature(same), same };
        (0..pairs).map(|place| place % 2 == 1).map(of).collect()
    }

    #[test]
    fn noise_is_judged_by_guessing() {
        let mut next = noise(1);
        let examples = examples(2_000, |_| (0..20).map(|_| next()).collect());
        let (accuracy, _) = judge(&examples);
        assert_eq!(accuracy.pairs, 2_000);
        assert!(accuracy.is_within_noise(), "{accuracy:?}");
    }

    #[test]
    fn one_telling_feature_among_many_is_found() {
        let mut next = noise(2);
        let examples = examples(600, |same| {
            let mut features: Vec<f32> = (0..50).map(|_| next()).collect();
            features[17] = if same { 1.0 } else { 0.0 };
            features
        });
        let (accuracy, learned) = judge(&examples);
        assert_eq!(accuracy.accuracy, 1.0, "{accuracy:?}");
        assert_eq!(learned.heaviest()[0].0, 17);
    }

    #[test]
    fn a_rare_link_is_found_as_often_as_it_is_there() {
        // One pair in ten of one driver shows it; of two drivers, none does.
        let mut next = noise(3);
        let examples = examples(10_000, |same| {
            let shown = same && next() < 0.1;
            vec![next(), if shown { 1.0 } else { 0.0 }]
        });
        let (accuracy, _) = judge(&examples);
        assert!((accuracy.accuracy - 0.55).abs() < 0.02 && !accuracy.is_within_noise(), "{accuracy:?}");
    }

    #[test]
    fn features_that_never_vary_say_nothing() {
        let (accuracy, learned) = judge(&examples(40, |_| vec![1.0, 1.0]));
        assert_eq!(accuracy.accuracy, 0.5);
        assert!(learned.heaviest().iter().all(|(_, weight)| *weight == 0.0));
    }

    #[test]
    fn the_interval_is_wilsons() {
        // Known values: 5 of 10 and 5000 of 10000.
        let Accuracy { accuracy, ci95: [low, high], .. } = Accuracy::of(5, 10);
        assert_eq!(accuracy, 0.5);
        assert!((low - 0.2366).abs() < 5e-5 && (high - 0.7634).abs() < 5e-5);
        let [low, high] = Accuracy::of(5_000, 10_000).ci95;
        assert!((low - 0.4902).abs() < 5e-5 && (high - 0.5098).abs() < 5e-5);
        assert!(Accuracy::of(5_097, 10_000).is_within_noise());
        assert!(!Accuracy::of(5_103, 10_000).is_within_noise());
        assert_eq!(Accuracy::of(600, 1_000).deviations_above_half().round(), 6.0);
        assert_eq!(Accuracy::of(0, 0).ci95, [0.0, 1.0]);
    }
}
