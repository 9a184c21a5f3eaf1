//! A straight line through points by least squares, with its 95 % intervals. It knows no models.
//!
//! ```text
//! y = a + b (x - x̄)        s² = Σ residual² / (n - 2)        t: Student's, 97.5 %, n - 2 degrees of freedom
//! b ± t · s / sqrt(Σ (x - x̄)²)                    the slope
//! y(x) ± t · s · sqrt(1/n + (x - x̄)² / Σ (x - x̄)²)  the line at x
//! ```

use anyhow::{Context, Result};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Both ends of an interval of 95 % are a value plus and minus its half width.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    pub(super) value: f64,
    pub(super) half_width: f64,
}

impl Estimate {
    /// Whether 0 lies outside of the interval.
    pub(super) fn excludes_zero(&self) -> bool {
        self.value.abs() > self.half_width
    }
}

#[derive(Clone, Debug)]
pub(super) struct Line {
    mean_x: f64,
    mean_y: f64,
    /// Σ (x - x̄)².
    spread_x: f64,
    points: f64,
    /// t · s.
    deviation: f64,
    pub(super) slope: Estimate,
}

impl Line {
    /// The line through points (x, y); nothing with fewer than three, or all at one x.
    pub(super) fn through(points: &[(f64, f64)]) -> Result<Option<Line>> {
        let n = points.len() as f64;
        let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / n;
        let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / n;
        let spread_x: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        if points.len() < 3 || spread_x <= 0.0 {
            return Ok(None);
        }
        let slope = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / spread_x;
        let residuals: f64 = points.iter().map(|(x, y)| (y - mean_y - slope * (x - mean_x)).powi(2)).sum();
        let student = StudentsT::new(0.0, 1.0, n - 2.0).context("Student's distribution")?;
        let deviation = student.inverse_cdf(0.975) * (residuals / (n - 2.0)).sqrt();
        let slope = Estimate { value: slope, half_width: deviation / spread_x.sqrt() };
        Ok(Some(Line { mean_x, mean_y, spread_x, points: n, deviation, slope }))
    }

    /// The line at `x`.
    pub(super) fn at(&self, x: f64) -> Estimate {
        let x = x - self.mean_x;
        let half_width = self.deviation * (1.0 / self.points + x * x / self.spread_x).sqrt();
        Estimate { value: self.mean_y + self.slope.value * x, half_width }
    }
}

/// Mean and its standard error, `s / sqrt(n)`; the error is NaN for one value.
pub(super) fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-6 * want.abs().max(1.0), "{got}, expected {want}");
    }

    #[test]
    fn the_line_and_its_intervals_are_those_of_the_textbook() {
        // Worked in rational numbers elsewhere: x̄ = 2.5, ȳ = 3.4375, Σ (x - x̄)² = 5, slope 0.945,
        // Σ residual² = 0.03175; t = 0.95 · sqrt(2 / 0.0975) = 4.302653 for 2 degrees of freedom.
        let points = [(1.0, 2.1), (2.0, 2.9), (3.0, 3.8), (4.0, 4.95)];
        let line = Line::through(&points).unwrap().unwrap();
        assert_close(line.slope.value, 0.945);
        assert_close(line.slope.half_width, 0.242_442);
        assert_close(line.at(2.5).value, 3.4375);
        assert_close(line.at(2.5).half_width, 0.271_059);
        assert_close(line.at(4.0).value, 4.855);
        assert_close(line.at(4.0).half_width, 0.453_568);
        assert!(line.slope.excludes_zero());
        assert!(!Estimate { value: -0.3, half_width: 0.31 }.excludes_zero());
    }

    #[test]
    fn too_few_points_have_no_line() {
        assert!(Line::through(&[(1.0, 2.0), (2.0, 3.0)]).unwrap().is_none());
        assert!(Line::through(&[(1.0, 2.0); 5]).unwrap().is_none());
        assert!(Line::through(&[]).unwrap().is_none());
    }

    #[test]
    fn a_mean_has_a_standard_error() {
        let (value, error) = mean(&[1.0, 2.0, 6.0]);
        assert_close(value, 3.0);
        assert_close(error, (7.0f64 / 3.0).sqrt());
        assert!(mean(&[1.0]).1.is_nan());
    }
}
