//! Studies: paper A's two figures, how good forecasts are, and what an operator learns of drivers, each as JSON, CSV, SVG
//! where there is something to draw, and a page that holds all of it.

pub mod chart;
pub mod decisions;
pub mod lightgbm;
pub mod linkage;
pub mod report;
pub mod revenue;
