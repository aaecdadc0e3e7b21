//! `eroam study revenue`: paper A's equations (1) and (2), its figure 5, and what prices would be best.

use super::chart::{Chart, Curve};
use super::report::Report;
use eroam_forecast::revenue::exponential::{Market, Outcome, nash_transit, outcome};
use eroam_forecast::revenue::{FIGURE_5_PHI, Point, Region, curves, figure_5_regions, is_inverted};
use serde::Serialize;

/// The beginning of its files' names.
pub const NAME: &str = "revenue";

/// Where figure 5 is drawn: from a quarter to three.
const LAMBDAS: (u32, u32, f64) = (25, 300, 100.0);

/// The study's results.
#[derive(Clone, Debug, Serialize)]
pub struct RevenueStudy {
    /// The regions of figure 5, the first of them at `lambda` 1.
    pub regions: Vec<Region>,
    /// The third party's share of a transit price.
    pub phi: f64,
    /// Whether the curve of traditional roaming rises with `lambda`.
    pub traditional_is_inverted: Option<bool>,
    /// The three curves.
    pub curves: Vec<Point>,
    /// Best prices with zero transit, exponential willingness to pay.
    pub zero_transit: Option<Outcome>,
    /// Best prices at the Nash equilibrium of transit prices.
    pub nash: Option<Outcome>,
    /// The same for three regions.
    pub three_regions: [Option<Outcome>; 2],
}

/// Makes the study.
#[must_use]
pub fn revenue_study() -> RevenueStudy {
    let regions = figure_5_regions(1.0).to_vec();
    let (from, to, scale) = LAMBDAS;
    let lambdas: Vec<f64> = (from..=to).step_by(5).map(|n| f64::from(n) / scale).collect();
    let two = [Market { customers: 1.0, lambda: 1.0 }, Market { customers: 2.0, lambda: 1.0 }];
    let three = [two[0], two[1], Market { customers: 2.0, lambda: 2.0 }];
    RevenueStudy {
        phi: FIGURE_5_PHI,
        traditional_is_inverted: is_inverted(&regions, FIGURE_5_PHI),
        curves: curves(&regions, FIGURE_5_PHI, &lambdas),
        regions,
        zero_transit: outcome(&two, &[0.0; 2]),
        nash: outcome(&two, &nash_transit(&two)),
        three_regions: [outcome(&three, &[0.0; 3]), outcome(&three, &nash_transit(&three))],
    }
}

/// Its report.
#[must_use]
pub fn report(study: &RevenueStudy) -> Report {
    let curve = |name: &str, dashed, of: fn(&Point) -> f64| Curve {
        name: name.to_owned(),
        points: study.curves.iter().map(|p| (p.lambda, of(p))).collect(),
        dashed,
    };
    let over = |x: fn(&Point) -> f64, label: &str| {
        let mut all = [
            curve("no roaming", false, |p| p.none),
            curve("traditional (third party)", false, |p| p.traditional),
            curve("proposed (no third party)", true, |p| p.proposed),
        ];
        for curve in &mut all {
            for (point, at) in curve.points.iter_mut().zip(&study.curves) {
                point.0 = x(at);
            }
        }
        let title = format!("Revenue of region 1 by {label}, equation (1) as printed");
        Chart {
            title,
            x: label.to_owned(),
            y: "revenue, in units of the price".to_owned(),
            curves: all.to_vec(),
        }
    };
    let surplus = |outcome: &Option<Outcome>| {
        outcome.as_ref().map_or_else(|| "none".to_owned(), |o| format!("{:.3}", o.consumer_surplus))
    };
    let revenues = |outcome: &Option<Outcome>| {
        let each = outcome.iter().flat_map(|o| &o.revenue).map(|r| format!("{r:.3}"));
        each.collect::<Vec<_>>().join(" / ")
    };
    let [three_zero, three_nash] = &study.three_regions;
    let summary = [
        ("consumer surplus, zero transit", surplus(&study.zero_transit)),
        ("consumer surplus, Nash transit prices", surplus(&study.nash)),
        ("revenues, zero transit", revenues(&study.zero_transit)),
        ("revenues, Nash transit prices", revenues(&study.nash)),
        ("three regions: consumer surplus, zero transit", surplus(three_zero)),
        ("three regions: consumer surplus, Nash transit prices", surplus(three_nash)),
    ];
    let row = |p: &Point| [p.lambda, p.none, p.traditional, p.proposed].map(|v| format!("{v:.4}")).to_vec();
    Report {
        name: NAME,
        title: "Revenue with and without roaming (paper A, figure 5)".to_owned(),
        notes: vec![
            "Equations (1) and (2) as printed. The paper says \"proportional to\"; the factors here are 1. It states \
             m1 = 1, m2 = 2, lambda2 = 1; theta = 1, p1 = 1, c1 = 0.5, t = 2 are chosen here."
                .to_owned(),
            "Prices, revenues and surplus have no currency: they are in whatever unit p is in, per customer where m counts \
             customers. Of region i, m is how many customers it has, lambda the rate at which fewer of them pay a higher \
             price, p what a charge costs them, c what they pay on top for roaming, t what the region asks of the others \
             for a visitor (transit), and phi a third party's fee on it, which the proposed system does not have."
                .to_owned(),
            format!(
                "The paper has no equation for its \"proposed\" curve. Here a third party takes {:.0} % of each transit \
                 price from either side in the traditional system, and nothing in the proposed one.",
                study.phi * 100.0
            ),
            "\"Without roaming revenue increases with ability to pay\" is true against 1/lambda only, because lambda is \
             in the denominator. Both axes are drawn."
                .to_owned(),
            "Equation (1) is linear in p and c, so no price is best in it. With willingness to pay that is exponential \
             with mean 1/lambda (our model): p = 1/lambda, c = t + 1/lambda, Nash t = 1/lambda of the partner. Zero \
             transit maximises consumer surplus, but a region with more visitors than travellers earns more at Nash."
                .to_owned(),
        ],
        summary: summary.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        table: (["lambda1", "none", "traditional", "proposed"].map(str::to_owned).to_vec(), study.curves.iter().map(row).collect()),
        charts: vec![("", over(|p| p.lambda, "lambda1")), ("-inverse", over(|p| 1.0 / p.lambda, "1 / lambda1"))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_study_has_the_surpluses_of_the_model() {
        let study = revenue_study();
        let surplus = |o: &Option<Outcome>| o.as_ref().unwrap().consumer_surplus;
        assert!((surplus(&study.zero_transit) - 2.207).abs() < 0.000_5);
        assert!((surplus(&study.nash) - 1.510).abs() < 0.000_5);
        assert!(surplus(&study.three_regions[0]) > surplus(&study.three_regions[1]));
        assert_eq!(study.traditional_is_inverted, Some(true));
        let report = report(&study);
        assert_eq!(report.table.1.len(), study.curves.len());
        assert_eq!(report.table.1[0], ["0.2500", "4.0000", "0.8000", "2.0000"]);
    }
}
