//! Studies: paper A's two figures, and how good forecasts are, each as JSON, CSV, SVG and a page that holds all of it.

pub mod chart;
pub mod decisions;
pub mod report;
pub mod revenue;
