//! Revenue of utilities that roam: paper A's equations as printed, and its figure 5.
//!
//! ```text
//! (1)  R_i = DCR + RCR + TCR - TCC
//!      DCR = m_i p_i / (l_i th_i)             domestic charging
//!      RCR = m_i c_i / (l_i th_i)             own customers abroad
//!      TCR = sum over j of m_j t_i / (l_j th_j)   what partners pay for their customers here
//!      TCC = sum over j of m_i t_j / (l_i th_i)   what is paid for own customers there
//! ```
//! What the paper leaves open, and what is chosen here: it says "proportional to" and the factor is 1; it draws a
//! curve for the proposed system but has no equation for it, so `phi` is ours: the share of a transit price that a
//! third party takes from either side, which the proposed system does without. "No roaming increases with l" cannot be
//! read off (1), which has l in the denominator; it is true against 1/l. And (1) is linear in p and c, so that no price
//! is best; [`exponential`] has the demand model that is needed for one.
//!
//! Amounts, abilities to pay and numbers of customers are dimensionless, as in the paper.

pub mod exponential;

use serde::Serialize;

/// One region and its utility, in the paper's letters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Region {
    /// `m`: potential customers.
    pub customers: f64,
    /// `lambda`: the paper's "ability to pay"; it stands in the denominator, so more of it is less revenue.
    pub lambda: f64,
    /// `theta`: the least willingness to pay.
    pub theta: f64,
    /// `p`: price of the subscription.
    pub subscription: f64,
    /// `c`: price of roaming, by volume.
    pub roaming: f64,
    /// `t`: transit price that partners pay.
    pub transit: f64,
}

/// The four parts of equation (1).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Revenue {
    /// DCR.
    pub domestic: f64,
    /// RCR.
    pub roaming: f64,
    /// TCR, less what the third party takes of it.
    pub transit_received: f64,
    /// TCC, with what the third party puts on it.
    pub transit_paid: f64,
}

impl Revenue {
    /// R.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.domestic + self.roaming + self.transit_received - self.transit_paid
    }
}

/// Equation (1) for the region at `index`, with every other one as a partner and a third party's share `phi` on both
/// sides of each transit; `None` if there is no such region. One region alone has no roaming: only DCR is left.
#[must_use]
pub fn revenue(regions: &[Region], index: usize, phi: f64) -> Option<Revenue> {
    let own = regions.get(index)?;
    let volume = |r: &Region| r.customers / (r.lambda * r.theta);
    let partners = || regions.iter().enumerate().filter(|(j, _)| *j != index).map(|(_, r)| r);
    let roams = if regions.len() > 1 { 1.0 } else { 0.0 };
    Some(Revenue {
        domestic: volume(own) * own.subscription,
        roaming: volume(own) * own.roaming * roams,
        transit_received: partners().map(|r| volume(r) * own.transit).sum::<f64>() * (1.0 - phi),
        transit_paid: partners().map(|r| volume(own) * r.transit).sum::<f64>() * (1.0 + phi),
    })
}

/// Equation (2) at one customer's willingness to pay `theta`, with factors of 1: NUDU `theta - p`, and NURU
/// `(theta - c)²`. A customer who would lose does not buy.
#[must_use]
pub fn consumer_surplus(region: &Region, theta: f64) -> f64 {
    let domestic = (theta - region.subscription).max(0.0);
    let roaming = (theta - region.roaming).max(0.0);
    domestic + roaming * roaming
}

/// A point of figure 5.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// `lambda` of the first region.
    pub lambda: f64,
    /// Revenue of the first region without roaming.
    pub none: f64,
    /// With roaming through a third party.
    pub traditional: f64,
    /// With roaming without one.
    pub proposed: f64,
}

/// The parameters of figure 5: those that the paper states (`m1 = 1`, `m2 = 2`, `l2 = 1`), and those that it does not
/// (`th = 1`, `p1 = 1`, `c1 = 0.5`, `t = 2`).
#[must_use]
pub fn figure_5_regions(lambda: f64) -> [Region; 2] {
    let own = Region { customers: 1.0, lambda, theta: 1.0, subscription: 1.0, roaming: 0.5, transit: 2.0 };
    [own, Region { customers: 2.0, lambda: 1.0, ..own }]
}

/// The third party's share in figure 5, which the paper does not state.
pub const FIGURE_5_PHI: f64 = 0.1;

/// The three curves of figure 5 over `lambda` of the first of `regions`.
#[must_use]
pub fn curves(regions: &[Region], phi: f64, lambdas: &[f64]) -> Vec<Point> {
    let point = |lambda: &f64| {
        let mut regions = regions.to_vec();
        let own = regions.first_mut()?;
        own.lambda = *lambda;
        let alone = [*own];
        Some(Point {
            lambda: *lambda,
            none: revenue(&alone, 0, phi)?.total(),
            traditional: revenue(&regions, 0, phi)?.total(),
            proposed: revenue(&regions, 0, 0.0)?.total(),
        })
    };
    lambdas.iter().filter_map(point).collect()
}

/// Whether the curve of a third party's roaming is inverted, as the paper's text has it: it rises with `lambda`
/// exactly when own customers cost more in transit than they pay.
#[must_use]
pub fn is_inverted(regions: &[Region], phi: f64) -> Option<bool> {
    let (own, partners) = regions.split_first()?;
    let transit: f64 = partners.iter().map(|r| r.transit * (1.0 + phi)).sum();
    Some(transit > own.subscription + own.roaming)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figure_5_has_the_values_of_the_equations() {
        let expected = [(0.25, 4.0, 0.8, 2.0), (1.0, 1.0, 2.9, 3.5), (3.0, 0.333, 3.367, 3.833)];
        let points = curves(&figure_5_regions(1.0), FIGURE_5_PHI, &expected.map(|e| e.0));
        for (point, (lambda, none, traditional, proposed)) in points.iter().zip(expected) {
            let found = [point.none, point.traditional, point.proposed];
            for (found, expected) in found.iter().zip([none, traditional, proposed]) {
                assert!((found - expected).abs() < 0.000_5, "at {lambda}: {found} is not {expected}");
            }
        }
        assert_eq!(points.len(), 3);
    }

    #[test]
    fn the_curve_is_inverted_when_transit_costs_more_than_customers_pay() {
        let lambdas = [0.25, 0.5, 1.0, 2.0, 3.0];
        for transit in [0.5, 1.0, 1.3, 1.4, 2.0] {
            let mut regions = figure_5_regions(1.0);
            regions[1].transit = transit;
            let rises = curves(&regions, 0.1, &lambdas).is_sorted_by(|a, b| a.traditional < b.traditional);
            assert_eq!(is_inverted(&regions, 0.1), Some(rises), "{transit}");
        }
    }

    #[test]
    fn without_roaming_revenue_falls_with_lambda_and_rises_with_its_inverse() {
        let points = curves(&figure_5_regions(1.0), 0.1, &[0.25, 0.5, 1.0, 2.0]);
        assert!(points.is_sorted_by(|a, b| a.none > b.none));
    }

    #[test]
    fn transit_without_a_third_party_adds_up_to_nothing() {
        let mut regions = figure_5_regions(0.7).to_vec();
        regions.push(Region { customers: 3.0, lambda: 2.0, transit: 0.3, ..regions[0] });
        let net = |phi| {
            let each = (0..3).filter_map(|i| revenue(&regions, i, phi));
            each.map(|r| r.transit_received - r.transit_paid).sum::<f64>()
        };
        assert!(net(0.0).abs() < 1e-12);
        assert!(net(0.1) < -0.1, "the third party takes its share from somebody");
        assert_eq!(revenue(&regions, 3, 0.0), None);
    }

    #[test]
    fn who_would_lose_does_not_buy() {
        let region = figure_5_regions(1.0)[0];
        assert_eq!(consumer_surplus(&region, 0.2), 0.0);
        assert_eq!(consumer_surplus(&region, 2.0), 1.0 + 2.25);
    }
}
