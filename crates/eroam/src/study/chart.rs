//! A line chart as SVG, without scripts and without anything from elsewhere: it opens in any browser, also in ten years.

use std::fmt::Write as _;

/// Width and height in pixels with a legend of one row, and the margins of the plot: left, right, top, bottom.
const SIZE: (f64, f64) = (860.0, 420.0);
const MARGINS: (f64, f64, f64, f64) = (64.0, 24.0, 48.0, 76.0);
/// The height of a row of the legend, and about the width of a letter in it, in pixels.
const LEGEND: (f64, f64) = (20.0, 7.2);
/// A curve of so few points shows where they are: between them nothing was measured.
const MARKED_MAX: usize = 12;
/// Colours that people who see no red or green tell apart (Okabe and Ito 2008).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
/// About how many lines a grid has in either direction.
const TICKS: f64 = 6.0;

/// A curve.
#[derive(Clone, Debug)]
pub struct Curve {
    /// As the legend calls it.
    pub name: String,
    /// `(x, y)` in the order in which they are joined. What is not finite is left out.
    pub points: Vec<(f64, f64)>,
    /// Whether it is drawn in dashes.
    pub dashed: bool,
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What stands above it.
    pub title: String,
    /// What the horizontal axis shows, with its unit.
    pub x: String,
    /// What the vertical axis shows, with its unit.
    pub y: String,
    /// The curves, in the order of the legend.
    pub curves: Vec<Curve>,
}

/// A stretch of an axis.
#[derive(Clone, Copy)]
struct Scale {
    from: f64,
    to: f64,
    step: f64,
}

impl Scale {
    /// Round numbers around all values.
    fn over(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values
            .filter(|v| v.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        if !(low.is_finite() && high.is_finite()) {
            return Self { from: 0.0, to: 1.0, step: 0.2 };
        }
        let span = if high > low { high - low } else { low.abs().max(1.0) };
        let magnitude = 10f64.powf((span / TICKS).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|n| n * magnitude)
            .find(|step| span / step <= TICKS)
            .unwrap_or(10.0 * magnitude);
        Self { from: (low / step).floor() * step, to: ((high / step).ceil() * step).max(low + step), step }
    }

    fn share(self, value: f64) -> f64 {
        (value - self.from) / (self.to - self.from)
    }

    fn ticks(self) -> impl Iterator<Item = f64> {
        let count = ((self.to - self.from) / self.step).round() as u32;
        (0..=count).map(move |n| self.from + f64::from(n) * self.step)
    }

    fn label(self, value: f64) -> String {
        let decimals = (-self.step.log10().floor()).max(0.0) as usize;
        let text = format!("{value:.decimals$}");
        if text.trim_start_matches('-').chars().all(|c| matches!(c, '0' | '.')) {
            text.trim_start_matches('-').to_owned()
        } else {
            text
        }
    }
}

/// Text for SVG and HTML.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

impl Chart {
    /// Columns and rows of the legend: as many columns as the longest name leaves room for.
    fn legend_grid(&self) -> (usize, usize) {
        let longest = self.curves.iter().map(|c| c.name.chars().count()).max().unwrap_or(0);
        let room = (SIZE.0 - MARGINS.0 - MARGINS.1) / (LEGEND.1 * longest as f64 + 48.0);
        let columns = (room as usize).clamp(1, self.curves.len().max(1));
        (columns, self.curves.len().div_ceil(columns).max(1))
    }

    /// The chart as an SVG document.
    #[must_use]
    pub fn svg(&self) -> String {
        let (left, right, top, bottom) = MARGINS;
        let (columns, rows) = self.legend_grid();
        let more = LEGEND.0 * rows.saturating_sub(1) as f64;
        let ((width, height), bottom) = ((SIZE.0, SIZE.1 + more), bottom + more);
        let points = || self.curves.iter().flat_map(|c| &c.points);
        let (across, up) = (Scale::over(points().map(|p| p.0)), Scale::over(points().map(|p| p.1)));
        let x = |value: f64| left + across.share(value) * (width - left - right);
        let y = |value: f64| height - bottom - up.share(value) * (height - top - bottom);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"#333\">\n\
             <title>{title}</title>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
             <text x=\"{left}\" y=\"26\" font-size=\"16\" font-weight=\"600\">{title}</text>\n",
            title = escape(&self.title)
        );
        // Writing to a string cannot fail.
        for tick in up.ticks() {
            let (at, label) = (y(tick), up.label(tick));
            let _ = writeln!(
                svg,
                "<line x1=\"{left}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#e3e3e3\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                width - right,
                left - 8.0,
                at + 4.0
            );
        }
        for tick in across.ticks() {
            let (at, label) = (x(tick), across.label(tick));
            let base = height - bottom;
            let _ = writeln!(
                svg,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{base}\" y2=\"{}\" stroke=\"#999\"/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
                base + 5.0,
                base + 20.0
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            (left + width - right) / 2.0,
            height - bottom + 40.0,
            escape(&self.x),
            (top + height - bottom) / 2.0,
            escape(&self.y)
        );
        let column = (width - left - right) / columns as f64;
        for (n, (curve, colour)) in self.curves.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let dash = if curve.dashed { " stroke-dasharray=\"6 4\"" } else { "" };
            let known = curve.points.iter().filter(|p| p.0.is_finite() && p.1.is_finite());
            let known: Vec<(f64, f64)> = known.map(|p| (x(p.0), y(p.1))).collect();
            let line: Vec<String> = known.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            if known.len() <= MARKED_MAX {
                for (x, y) in &known {
                    let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>");
                }
            }
            let at = left + column * (n % columns) as f64;
            let legend = height - 14.0 - LEGEND.0 * (rows - 1).saturating_sub(n / columns) as f64;
            let _ = writeln!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash} points=\"{}\"/>\
                 <line x1=\"{at:.1}\" x2=\"{:.1}\" y1=\"{legend}\" y2=\"{legend}\" stroke=\"{colour}\" \
                 stroke-width=\"3\"{dash}/><text x=\"{:.1}\" y=\"{}\">{}</text>",
                line.join(" "),
                at + 24.0,
                at + 30.0,
                legend + 4.0,
                escape(&curve.name)
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        let curve = Curve { name: "a < b".to_owned(), points, dashed: true };
        Chart { title: "T & T".to_owned(), x: "x".to_owned(), y: "y".to_owned(), curves: vec![curve] }
    }

    #[test]
    fn axes_are_round_and_hold_every_point() {
        for (low, high) in [(0.3, 97.9), (95.2, 99.1), (-2.8, 4.0), (5.0, 5.0), (0.001, 0.002)] {
            let scale = Scale::over([low, high].into_iter());
            assert!(scale.from <= low && high <= scale.to && scale.from < scale.to, "{low} {high}");
            assert!((2..=9).contains(&scale.ticks().count()), "{low} {high}");
        }
        assert_eq!(Scale { from: -0.2, to: 0.2, step: 0.1 }.label(-1e-17), "0.0");
    }

    #[test]
    fn a_legend_of_long_names_has_rows_and_few_points_are_marked() {
        let curve = |n: usize, points| Curve { name: "n".repeat(n), points, dashed: false };
        let few = vec![(0.0, 1.0), (1.0, 2.0)];
        let many: Vec<(f64, f64)> = (0..40).map(|n| (f64::from(n), f64::from(n))).collect();
        let of = |curves| Chart { title: "T".into(), x: "x".into(), y: "y".into(), curves };
        assert_eq!(of(vec![curve(8, few.clone()); 3]).legend_grid(), (3, 1));
        assert_eq!(of(vec![curve(44, few.clone()); 5]).legend_grid(), (2, 3));
        assert_eq!(of(vec![curve(400, few.clone()); 2]).legend_grid(), (1, 2));
        assert_eq!(of(Vec::new()).legend_grid(), (1, 1));
        let svg = of(vec![curve(3, few), curve(3, many)]).svg();
        assert_eq!(svg.matches("<circle").count(), 2);
    }

    #[test]
    fn text_is_escaped_and_what_is_not_finite_is_left_out() {
        let svg = chart(vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 3.0)]).svg();
        assert!(svg.contains("T &amp; T") && svg.contains("a &lt; b") && !svg.contains("NaN"), "{svg}");
        let line = svg.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        assert_eq!(line.split(' ').count(), 2);
        assert!(!chart(Vec::new()).svg().contains("NaN"));
    }
}
