//! Confidence intervals by resampling whole weeks: hours of a week err together, weeks hardly.

/// How often the weeks are drawn anew.
const RESAMPLES: usize = 2_000;
/// Fixed, so that an interval is the same on every run.
const SEED: u64 = 0x6566_6669_6369_656e;

/// A generator of random-looking numbers, the same on every machine. Not for secrets.
///
/// Source: Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, and 0 for a limit of 0. The bias of less than `limit / 2^64` does not matter here.
    pub fn below(&mut self, limit: u64) -> u64 {
        // The upper half of a product of two 64-bit numbers has 64 bits.
        ((u128::from(self.next_u64()) * u128::from(limit)) >> 64) as u64
    }
}

/// Where the ratio `sum of the first / sum of the second` lies in 95 of 100 resamplings of `blocks` with replacement,
/// lower end first; both zero without blocks.
#[must_use]
pub fn ci95(blocks: &[(f64, f64)]) -> (f64, f64) {
    let mut random = SplitMix64::new(SEED);
    let mut ratio = || {
        let drawn = (0..blocks.len()).map(|_| blocks[random.below(blocks.len() as u64) as usize]);
        let (above, below) = drawn.fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
        if below > 0.0 { above / below } else { 0.0 }
    };
    let mut ratios: Vec<f64> = (0..RESAMPLES).map(|_| ratio()).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    // The 2.5 % at each end are cut off.
    (ratios[RESAMPLES / 40], ratios[RESAMPLES - 1 - RESAMPLES / 40])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        let mut random = SplitMix64::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn an_interval_holds_the_ratio_and_narrows_with_the_number_of_blocks() {
        let blocks = |n: u32| (0..n).map(|i| (f64::from(i % 7), 10.0)).collect::<Vec<_>>();
        let (few, many) = (ci95(&blocks(14)), ci95(&blocks(700)));
        assert!(few.0 < 0.3 && 0.3 < few.1 && many.0 < 0.3 && 0.3 < many.1, "{few:?} {many:?}");
        assert!(many.1 - many.0 < (few.1 - few.0) / 4.0);
        assert_eq!(ci95(&[]), (0.0, 0.0));
    }
}
