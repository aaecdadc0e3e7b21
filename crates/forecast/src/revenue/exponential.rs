//! Prices that are best for a utility need a demand that falls with the price. Here willingness to pay is exponential
//! with mean `1 / lambda` in each region, which is the reading of "ability to pay" under which (1)'s `1 / lambda` is
//! the mean of what customers would pay.
//!
//! ```text
//! subscribers         m e^(-l p)                  revenue   p m e^(-l p)
//! volume abroad       m e^(-l c) / l              revenue   (c - t_j) m e^(-l c) / l
//! transit received    t_i m_j e^(-l_j c_j) / l_j
//! surplus             m e^(-l p) / l  +  m e^(-l c) / l²     (half of NURU's square, on average)
//!
//! best:  p = 1 / l_i      c = t_j + 1 / l_i      Nash, two regions:  t_i = 1 / l_j
//! ```
//! With more than two regions a customer roams to each of the others with equal chance. Our model, not the paper's.

use serde::Serialize;

/// A region: customers and `lambda`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Market {
    /// `m`.
    pub customers: f64,
    /// `lambda`: one over the mean willingness to pay.
    pub lambda: f64,
}

/// What becomes of given transit prices when each utility asks the prices that are best for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Transit prices, `[region]`.
    pub transit: Vec<f64>,
    /// Revenue with transit, `[region]`.
    pub revenue: Vec<f64>,
    /// Surplus of all customers.
    pub consumer_surplus: f64,
}

/// The best subscription price.
#[must_use]
pub fn best_subscription(market: Market) -> f64 {
    1.0 / market.lambda
}

/// The best roaming price where the partner asks `transit`.
#[must_use]
pub fn best_roaming(market: Market, transit: f64) -> f64 {
    transit + 1.0 / market.lambda
}

/// The best transit price towards a single partner, whatever the partner asks.
#[must_use]
pub fn best_transit(partner: Market) -> f64 {
    1.0 / partner.lambda
}

/// Revenue from subscriptions at a price.
#[must_use]
pub fn subscription_revenue(market: Market, price: f64) -> f64 {
    price * market.customers * (-market.lambda * price).exp()
}

/// Revenue from own customers abroad at a price, less transit.
#[must_use]
pub fn roaming_revenue(market: Market, price: f64, transit: f64) -> f64 {
    (price - transit) * volume(market, price)
}

/// Revenue from a partner's customers at a transit price to which the partner answers with its best roaming price.
#[must_use]
pub fn transit_revenue(partner: Market, transit: f64) -> f64 {
    transit * volume(partner, best_roaming(partner, transit))
}

fn volume(market: Market, price: f64) -> f64 {
    market.customers * (-market.lambda * price).exp() / market.lambda
}

/// Revenues and surplus at given transit prices, `[region]`; `None` unless there is a price for each of at least two
/// regions.
#[must_use]
pub fn outcome(markets: &[Market], transit: &[f64]) -> Option<Outcome> {
    if markets.len() < 2 || markets.len() != transit.len() {
        return None;
    }
    let chance = 1.0 / (markets.len() - 1) as f64;
    let mut revenue = vec![0.0; markets.len()];
    let mut consumer_surplus = 0.0;
    for (i, market) in markets.iter().enumerate() {
        let subscription = best_subscription(*market);
        revenue[i] += subscription_revenue(*market, subscription);
        consumer_surplus += market.customers * (-market.lambda * subscription).exp() / market.lambda;
        for (j, asked) in transit.iter().enumerate().filter(|(j, _)| *j != i) {
            let price = best_roaming(*market, *asked);
            revenue[i] += chance * roaming_revenue(*market, price, *asked);
            revenue[j] += chance * transit_revenue(*market, *asked);
            consumer_surplus += chance * volume(*market, price) / market.lambda;
        }
    }
    Some(Outcome { transit: transit.to_vec(), revenue, consumer_surplus })
}

/// Transit prices at which nobody gains by asking another one, `[region]`, found numerically. What a region receives
/// does not depend on what the others ask, so that each price is a search of its own.
#[must_use]
pub fn nash_transit(markets: &[Market]) -> Vec<f64> {
    let price = |i: usize| {
        let partners = || markets.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, m)| *m);
        // Beyond the largest mean every partner's part falls.
        let limit = partners().map(best_transit).fold(0.0, f64::max);
        argmax(|t| partners().map(|m| transit_revenue(m, t)).sum(), limit)
    };
    (0..markets.len()).map(price).collect()
}

/// Where a function with one peak in `0..=limit` is greatest, by golden section, to a billionth of the limit or as far
/// as the function's last bits tell.
///
/// Source: Kiefer: Sequential minimax search for a maximum, 1953.
pub fn argmax(value: impl Fn(f64) -> f64, limit: f64) -> f64 {
    let golden = (5.0f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (0.0, limit);
    while high - low > 1e-9 * limit {
        let (left, right) = (high - golden * (high - low), low + golden * (high - low));
        if value(left) < value(right) {
            low = left;
        } else {
            high = right;
        }
    }
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKETS: [Market; 2] =
        [Market { customers: 1.0, lambda: 1.0 }, Market { customers: 2.0, lambda: 1.0 }];

    fn close(a: f64, b: f64, tolerance: f64) {
        assert!((a - b).abs() < tolerance, "{a} is not {b}");
    }

    #[test]
    fn closed_form_and_search_agree() {
        for lambda in [0.25, 0.7, 1.0, 3.0] {
            let market = Market { customers: 2.0, lambda };
            let limit = 20.0 / lambda;
            close(
                argmax(|p| subscription_revenue(market, p), limit),
                best_subscription(market),
                1e-6 * limit,
            );
            for transit in [0.0, 0.4, 2.0] {
                let found = argmax(|c| roaming_revenue(market, c, transit), limit + transit);
                close(found, best_roaming(market, transit), 1e-6 * limit);
            }
            let pair = [Market { customers: 1.0, lambda: 0.5 }, market];
            let found = nash_transit(&pair);
            close(found[0], best_transit(pair[1]), 1e-6);
            close(found[1], best_transit(pair[0]), 1e-6);
        }
    }

    #[test]
    fn zero_transit_is_best_for_customers() {
        let zero = outcome(&MARKETS, &[0.0, 0.0]).unwrap();
        let nash = outcome(&MARKETS, &nash_transit(&MARKETS)).unwrap();
        close(zero.consumer_surplus, 2.207, 0.000_5);
        close(nash.consumer_surplus, 1.510, 0.000_5);
        for a in 0..20 {
            for b in 0..20 {
                let prices = [f64::from(a) / 5.0, f64::from(b) / 5.0];
                let other = outcome(&MARKETS, &prices).unwrap();
                assert!(other.consumer_surplus <= zero.consumer_surplus, "{prices:?}");
            }
        }
    }

    #[test]
    fn zero_transit_is_not_best_for_the_utility_with_more_visitors_than_travellers() {
        let zero = outcome(&MARKETS, &[0.0, 0.0]).unwrap();
        let nash = outcome(&MARKETS, &[1.0, 1.0]).unwrap();
        assert!(nash.revenue[0] > zero.revenue[0]);
        assert!(nash.revenue[1] < zero.revenue[1]);
    }

    #[test]
    fn three_regions_share_their_travellers() {
        let third = Market { customers: 2.0, lambda: 2.0 };
        let markets = [MARKETS[0], MARKETS[1], third];
        let prices = nash_transit(&markets);
        // Between the best prices towards each partner alone.
        assert!(0.5 < prices[0] && prices[0] < 1.0, "{prices:?}");
        for i in 0..3 {
            let at = |t: f64| {
                let mut asked = prices.clone();
                asked[i] = t;
                outcome(&markets, &asked).unwrap().revenue[i]
            };
            assert!(at(prices[i]) >= at(prices[i] * 1.05) && at(prices[i]) >= at(prices[i] * 0.95));
        }
        assert_eq!(outcome(&markets, &prices[..2]), None);
    }
}
