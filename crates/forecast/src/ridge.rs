//! Ridge regression that learns row by row: the normal equations are kept, not the rows.
//!
//! Minimises `sum (y - x'b)² + penalties |b|²`. A row has common columns, which hold at any hour, and cell columns,
//! whose coefficients differ with the local hour of the day. A row has cells of one hour only, so the matrix of the
//! normal equations is an arrow:
//!
//! ```text
//! | P0          C0 |    P_h  [cell][cell]       of hour h
//! |    P1       C1 |    C_h  [cell][common]
//! |       ...   .. |    A    [common][common]
//! | C0' C1' ..  A  |
//! ```
//! Eliminating the 24 small blocks leaves one system of the common columns, so that a solve takes about a millisecond
//! where a dense one of the same columns takes hundreds.
//!
//! Sums run in a fixed order on one thread, in additions, multiplications, divisions and square roots alone, which
//! IEEE 754 defines to the last bit: the same rows give the same bits on every machine. Rust never contracts a
//! multiplication and an addition into one rounding unless told to.

use crate::hour::DAY;

/// Hours of the day, each with cells of its own.
pub(crate) const BLOCKS: usize = DAY as usize;

/// What a model of one target knows of the world at one hour.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The local hour of the day, 0 to 23: which cells the row belongs to.
    pub hour_of_day: usize,
    /// The common columns, `[common]`, dimensionless.
    pub common: Vec<f64>,
    /// The columns of the hour of the day, `[cell]`, dimensionless. Mostly zeros.
    pub cells: Vec<f64>,
}

/// The normal equations so far.
#[derive(Clone, Debug)]
pub struct NormalEquations {
    columns: usize,
    cells: usize,
    rows: u64,
    /// `[common][common]`, lower triangle.
    common: Vec<f64>,
    /// `[common]`: columns times target.
    common_target: Vec<f64>,
    /// `[hour][cell][cell]`, lower triangle.
    blocks: Vec<f64>,
    /// `[hour][cell][common]`.
    cross: Vec<f64>,
    /// `[hour][cell]`: cells times target.
    block_target: Vec<f64>,
}

/// The matrix has no Cholesky factor: a column is not a number, or the penalty is not positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the normal equations have no solution: a column is not finite or a penalty not positive")]
pub struct NotPositive;

/// A solution of the normal equations.
#[derive(Clone, Debug, PartialEq)]
pub struct Coefficients {
    /// `[common]`.
    pub common: Vec<f64>,
    /// `[hour][cell]`, flat.
    pub cells: Vec<f64>,
}

impl NormalEquations {
    /// No rows yet, for rows of `columns` common columns and `cells` cells an hour.
    #[must_use]
    pub fn new(columns: usize, cells: usize) -> Self {
        Self {
            columns,
            cells,
            rows: 0,
            common: vec![0.0; columns * columns],
            common_target: vec![0.0; columns],
            blocks: vec![0.0; BLOCKS * cells * cells],
            cross: vec![0.0; BLOCKS * cells * columns],
            block_target: vec![0.0; BLOCKS * cells],
        }
    }

    /// How many common columns its rows have.
    #[must_use]
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// How many rows it has learned from.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Learns one row with its target.
    pub fn learn(&mut self, row: &Row, target: f64) {
        let (d, b) = (self.columns, self.cells);
        for (i, x) in row.common.iter().enumerate() {
            add_scaled(&mut self.common[i * d..i * d + i + 1], *x, &row.common[..=i]);
        }
        add_scaled(&mut self.common_target, target, &row.common);
        let first = row.hour_of_day * b;
        for (i, x) in row.cells.iter().enumerate().filter(|(_, x)| **x != 0.0) {
            let at = first + i;
            add_scaled(&mut self.blocks[at * b..at * b + i + 1], *x, &row.cells[..=i]);
            add_scaled(&mut self.cross[at * d..(at + 1) * d], *x, &row.common);
            self.block_target[at] += x * target;
        }
        self.rows += 1;
    }

    /// Solves for each penalty of the common columns, in their order, under one penalty of the cells. The blocks are
    /// eliminated once for all of them, which is nearly all of the work.
    ///
    /// # Errors
    /// [`NotPositive`].
    pub fn solve(&self, cells_penalty: f64, penalties: &[f64]) -> Result<Vec<Coefficients>, NotPositive> {
        let (d, b) = (self.columns, self.cells);
        let mut schur = self.common.clone();
        let mut schur_target = self.common_target.clone();
        let mut factors = self.blocks.clone();
        let mut cross = self.cross.clone();
        let mut target = self.block_target.clone();
        for hour in 0..BLOCKS {
            let factor = &mut factors[hour * b * b..(hour + 1) * b * b];
            let z = &mut cross[hour * b * d..(hour + 1) * b * d];
            let z_target = &mut target[hour * b..(hour + 1) * b];
            add_to_diagonal(factor, b, cells_penalty);
            cholesky(factor, b)?;
            forward(factor, b, z, d);
            forward(factor, b, z_target, 1);
            for j in 0..d {
                let negated: Vec<f64> = z.chunks_exact(d).map(|row| -row[j]).collect();
                add_combination(&mut schur[j * d..j * d + j + 1], &negated, z, d);
            }
            let negated: Vec<f64> = z_target.iter().map(|x| -x).collect();
            add_combination(&mut schur_target, &negated, z, d);
        }
        let solve_one = |penalty: &f64| {
            let mut matrix = schur.clone();
            add_to_diagonal(&mut matrix, d, *penalty);
            cholesky(&mut matrix, d)?;
            let mut common = schur_target.clone();
            forward(&matrix, d, &mut common, 1);
            backward(&matrix, d, &mut common);
            let mut cells = target.clone();
            for hour in 0..BLOCKS {
                let z = &cross[hour * b * d..(hour + 1) * b * d];
                let solution = &mut cells[hour * b..(hour + 1) * b];
                for (value, row) in solution.iter_mut().zip(z.chunks_exact(d)) {
                    *value -= dot(row, &common);
                }
                backward(&factors[hour * b * b..(hour + 1) * b * b], b, solution);
            }
            let finite = common.iter().chain(&cells).all(|x| x.is_finite());
            finite.then_some(Coefficients { common, cells }).ok_or(NotPositive)
        };
        penalties.iter().map(solve_one).collect()
    }
}

impl Coefficients {
    /// The target that they predict for a row of the same shape.
    #[must_use]
    pub fn predict(&self, row: &Row) -> f64 {
        let b = row.cells.len();
        dot(&self.common, &row.common) + dot(&self.cells[row.hour_of_day * b..], &row.cells)
    }
}

/// `a[i] += factor * b[i]`. Elements are independent, so however the compiler groups them the bits are the same.
fn add_scaled(a: &mut [f64], factor: f64, b: &[f64]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += factor * b;
    }
}

/// `a[i] += factors[0] * rows[0][i] + factors[1] * rows[1][i] + ...`, one after the other in that order; four at a time,
/// so that `a` is read and written a quarter as often. `rows` is `[factor][width]`, and `a` no longer than `width`.
fn add_combination(a: &mut [f64], factors: &[f64], rows: &[f64], width: usize) {
    let n = a.len();
    let mut factors = factors.chunks_exact(4);
    let mut rows = rows.chunks_exact(width);
    for four in factors.by_ref() {
        let ([f, g, h, k], Some(p), Some(q), Some(r), Some(s)) =
            ([four[0], four[1], four[2], four[3]], rows.next(), rows.next(), rows.next(), rows.next())
        else {
            return;
        };
        let (p, q, r, s) = (&p[..n], &q[..n], &r[..n], &s[..n]);
        for i in 0..n {
            a[i] = a[i] + f * p[i] + g * q[i] + h * r[i] + k * s[i];
        }
    }
    for (factor, row) in factors.remainder().iter().zip(rows) {
        add_scaled(a, *factor, &row[..n]);
    }
}

/// The sum of products, from the first to the last.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b)
}

fn add_to_diagonal(matrix: &mut [f64], n: usize, value: f64) {
    for i in 0..n {
        matrix[i * n + i] += value;
    }
}

/// The lower Cholesky factor in place of the lower triangle of `matrix`, `[n][n]`, row by row.
fn cholesky(matrix: &mut [f64], n: usize) -> Result<(), NotPositive> {
    for i in 0..n {
        let (above, row) = matrix.split_at_mut(i * n);
        let row = &mut row[..=i];
        for j in 0..i {
            let other = &above[j * n..j * n + j + 1];
            row[j] = (row[j] - dot(&row[..j], other)) / other[j];
        }
        let pivot = row[i] - dot(&row[..i], &row[..i]);
        // Also refuses what is not a number.
        if !(pivot > 0.0 && pivot.is_finite()) {
            return Err(NotPositive);
        }
        row[i] = pivot.sqrt();
    }
    Ok(())
}

/// Solves `L z = z` in place for the `width` columns of `z`, `[n][width]`.
fn forward(factor: &[f64], n: usize, z: &mut [f64], width: usize) {
    for i in 0..n {
        let (above, row) = z.split_at_mut(i * width);
        let row = &mut row[..width];
        let negated: Vec<f64> = factor[i * n..i * n + i].iter().map(|x| -x).collect();
        add_combination(row, &negated, above, width);
        for value in row {
            *value /= factor[i * n + i];
        }
    }
}

/// Solves `L' x = x` in place.
fn backward(factor: &[f64], n: usize, x: &mut [f64]) {
    for i in (0..n).rev() {
        x[i] /= factor[i * n + i];
        let value = x[i];
        add_scaled(&mut x[..i], -value, &factor[i * n..i * n + i]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COLUMNS: usize = 3;
    const CELLS: usize = 2;

    fn arb_row() -> impl Strategy<Value = (Row, f64)> {
        let column = -2.0..2.0f64;
        let cells = prop::collection::vec(prop_oneof![Just(0.0), column.clone()], CELLS);
        (0..BLOCKS, prop::collection::vec(column.clone(), COLUMNS), cells, column)
            .prop_map(|(hour_of_day, common, cells, target)| (Row { hour_of_day, common, cells }, target))
    }

    /// The gradient of what is minimised, at a solution, `[common, then hour x cell]`.
    fn gradient(rows: &[(Row, f64)], found: &Coefficients, common: f64, cells: f64) -> Vec<f64> {
        let mut gradient: Vec<f64> = found.common.iter().map(|x| x * common).collect();
        gradient.extend(found.cells.iter().map(|x| x * cells));
        for (row, target) in rows {
            let residual = found.predict(row) - target;
            for (i, x) in row.common.iter().enumerate() {
                gradient[i] += residual * x;
            }
            for (i, x) in row.cells.iter().enumerate() {
                gradient[COLUMNS + row.hour_of_day * CELLS + i] += residual * x;
            }
        }
        gradient
    }

    proptest! {
        #[test]
        fn a_solution_is_where_the_gradient_vanishes(
            rows in prop::collection::vec(arb_row(), 0..120), common in 0.01..10.0f64, cells in 0.01..10.0f64,
        ) {
            let mut equations = NormalEquations::new(COLUMNS, CELLS);
            for (row, target) in &rows {
                equations.learn(row, *target);
            }
            let found = equations.solve(cells, &[common, common * 2.0]).unwrap();
            for (solution, penalty) in found.iter().zip([common, common * 2.0]) {
                for slope in gradient(&rows, solution, penalty, cells) {
                    prop_assert!(slope.abs() < 1e-8, "{slope}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_number_is_refused_and_not_learned_silently() {
        let mut equations = NormalEquations::new(COLUMNS, CELLS);
        let row = Row { hour_of_day: 3, common: vec![1.0, f64::NAN, 0.0], cells: vec![1.0, 0.0] };
        equations.learn(&row, 1.0);
        assert_eq!(equations.solve(1.0, &[1.0]), Err(NotPositive));
        assert_eq!(NormalEquations::new(COLUMNS, CELLS).solve(0.0, &[1.0]), Err(NotPositive));
    }
}
