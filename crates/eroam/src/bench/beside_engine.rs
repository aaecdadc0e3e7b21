//! What the rules leave of the engine's speed: the ledger and the bare engine measured in turns, in one run.
//!
//! A machine that others use too is now faster and now slower. The two are therefore measured in pairs, one right after
//! the other, each time in the other order, and what is reported is the pair whose ratio is the median.

use super::network::{BenchError, NetworkMeasured, ledger};
use serde::Serialize;

/// How many pairs are measured: odd, so that one of them is the median.
const PAIRS: usize = 3;

/// The ledger beside the bare engine.
#[derive(Clone, Debug, Serialize)]
pub struct BesideEngine {
    /// The ledger's own measurement in the median pair. `rss_mib` is the most that the process ever had, so it counts
    /// the bare engine's runs as well.
    #[serde(flatten)]
    pub ledger: NetworkMeasured,
    /// What the bare engine did in the same pair, in records per second at full load: the same signatures checked, the
    /// same keys written.
    pub engine_cdrs_per_s: f64,
    /// The ledger's rate divided by the engine's, in the same pair.
    pub ratio_to_engine: f64,
    /// The ratios of all pairs, in the order in which they were measured.
    pub ratios_to_engine: Vec<f64>,
}

/// One measurement of each, next to one another in time.
#[derive(Clone, Copy)]
struct Pair {
    ledger: NetworkMeasured,
    engine: NetworkMeasured,
}

impl Pair {
    fn ratio(&self) -> f64 {
        self.ledger.cdrs_per_s / self.engine.cdrs_per_s
    }
}

/// Has `records` records recorded by a network of `validators`, and by the bare engine, in turns.
///
/// # Errors
/// [`BenchError`].
pub fn beside_engine(validators: usize, records: u64) -> Result<BesideEngine, BenchError> {
    let measure = |engine_only| ledger(validators, records, engine_only);
    let first = in_turn(0, measure)?;
    let rest = (1..PAIRS).map(|number| in_turn(number, measure));
    Ok(median(first, rest.collect::<Result<_, _>>()?))
}

/// The pair of this number: whoever went first in the one before goes second.
fn in_turn<E>(number: usize, measure: impl Fn(bool) -> Result<NetworkMeasured, E>) -> Result<Pair, E> {
    if number.is_multiple_of(2) {
        let ledger = measure(false)?;
        Ok(Pair { ledger, engine: measure(true)? })
    } else {
        let engine = measure(true)?;
        Ok(Pair { ledger: measure(false)?, engine })
    }
}

/// The pair in the middle, by its ratio.
fn median(first: Pair, rest: Vec<Pair>) -> BesideEngine {
    let mut pairs: Vec<Pair> = std::iter::once(first).chain(rest).collect();
    let ratios_to_engine = pairs.iter().map(Pair::ratio).collect();
    pairs.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
    let Pair { ledger, engine } = pairs.get(pairs.len() / 2).copied().unwrap_or(first);
    let ratio_to_engine = Pair { ledger, engine }.ratio();
    BesideEngine { ledger, engine_cdrs_per_s: engine.cdrs_per_s, ratio_to_engine, ratios_to_engine }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::convert::Infallible;

    fn measured(engine_only: bool, cdrs_per_s: f64) -> NetworkMeasured {
        NetworkMeasured {
            validators: 4,
            engine_only,
            records: 1,
            cdrs_per_s,
            txs_per_s: 0.0,
            p50_ms: 0.0,
            p95_ms: 0.0,
            full_load_p50_ms: 0.0,
            full_load_p95_ms: 0.0,
            cpu_us_per_cdr_node: 0.0,
            rss_mib: 0.0,
            bytes_per_cdr: 0.0,
            blocks: 0,
        }
    }

    #[test]
    fn the_median_pair_is_reported_with_both_of_its_rates() {
        let pair = |ledger, engine| Pair { ledger: measured(false, ledger), engine: measured(true, engine) };
        // The machine was twice as fast in the second pair.
        let beside = median(pair(70.0, 100.0), vec![pair(160.0, 200.0), pair(90.0, 100.0)]);
        assert_eq!((beside.ledger.cdrs_per_s, beside.engine_cdrs_per_s), (160.0, 200.0));
        assert_eq!(beside.ratio_to_engine, 0.8);
        assert_eq!(beside.ratios_to_engine, [0.7, 0.8, 0.9]);
    }

    #[test]
    fn the_two_take_turns_at_going_first() {
        let order = RefCell::new(Vec::new());
        for number in 0..PAIRS {
            let measure = |engine_only| {
                order.borrow_mut().push(engine_only);
                Ok::<_, Infallible>(measured(engine_only, 1.0))
            };
            let pair = in_turn(number, measure).unwrap_or_else(|never| match never {});
            assert!(pair.engine.engine_only && !pair.ledger.engine_only);
        }
        assert_eq!(order.into_inner(), [false, true, true, false, false, true]);
    }
}
