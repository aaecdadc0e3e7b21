//! Bands from past errors, without an assumption about how they are distributed.
//!
//! Source: split-conformal prediction (Vovk, Gammerman, Shafer 2005; Lei et al. 2018): the band is as wide as the
//! `ceil((n + 1) * 0.9)`-th smallest of `n` errors on hours that the model had not learned when it predicted them. It
//! covers nine of ten hours as long as errors keep their distribution; the trailing weeks are taken, and the last of
//! them counted several times (Barber, Candès, Ramdas, Tibshirani 2023), because they do not keep it for ever.

/// Parts of ten that a band is to cover.
const COVERED_TENTHS: usize = 9;

/// Half the width of the band for absolute `errors`, in their unit; `None` below nine errors, when not even the
/// greatest of them is wide enough.
#[must_use]
pub fn width(mut errors: Vec<f64>) -> Option<f64> {
    let rank = ((errors.len() + 1) * COVERED_TENTHS).div_ceil(10);
    let index = rank.checked_sub(1).filter(|index| *index < errors.len())?;
    // A total order, so that the choice does not depend on how the errors were arranged.
    let (_, width, _) = errors.select_nth_unstable_by(index, f64::total_cmp);
    Some(*width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rank_counts_the_hour_to_come() {
        let errors = |n: u32| (1..=n).rev().map(f64::from).collect::<Vec<_>>();
        assert_eq!(width(errors(8)), None);
        assert_eq!(width(errors(9)), Some(9.0));
        assert_eq!(width(errors(99)), Some(90.0));
        assert_eq!(width(errors(100)), Some(91.0));
        assert_eq!(width(Vec::new()), None);
    }
}
