//! Two models on the same documents: the difference of each metric, and whether chance explains it.
//!
//! Documents are paired, so what is hard for both does not count as noise.
//!
//! ```text
//! right or wrong   McNemar's exact test: of the documents that one alone has right, is it a fair coin
//!                  who? p = min(1, 2 · P(Binomial(b + c, ½) ≤ min(b, c)))
//! numbers          paired t-test: the mean of the differences over its standard error, n - 1 degrees
//! ```

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, StudentsT};

use super::TaskResult;
use super::summary::of_group;
use crate::tasks::{Group, Metric, Value};

/// How a difference was tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// McNemar's, exact, of right and wrong answers.
    McNemar {
        /// Documents that only the first has right.
        only_first: usize,
        /// Documents that only the second has right.
        only_second: usize,
    },
    /// Student's, of the differences of log-likelihoods.
    PairedT,
}

/// The difference of one metric between two models.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The task or group.
    pub name: String,
    /// The metric, and how the responses were read.
    pub metric: String,
    /// `none` where responses are taken as they are.
    pub filter: String,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// Documents.
    pub examples: usize,
    /// The first model's value.
    pub first: f64,
    /// The second model's value.
    pub second: f64,
    /// Standard error of the difference, where it is one of means.
    pub stderr: Option<f64>,
    /// Which test there was, unless nothing can be tested.
    pub test: Option<Test>,
    /// The probability of a difference as great as this by chance alone.
    pub p_value: Option<f64>,
}

impl Difference {
    /// `second - first`.
    pub fn difference(&self) -> f64 {
        self.second - self.first
    }
}

/// Compares two models task by task, then by group.
///
/// # Panics
/// If the tasks, or the number of their documents, are not the same.
pub fn compare(first: &[TaskResult], second: &[TaskResult], groups: &[Group]) -> Vec<Difference> {
    assert_eq!(first.len(), second.len(), "compare: both have the same tasks");
    let mut differences = Vec::new();
    for (a, b) in first.iter().zip(second) {
        assert_eq!(a.examples.len(), b.examples.len(), "compare: both have the same documents");
        for (metric, other) in a.metrics.iter().zip(&b.metrics) {
            let pairs = pairs(&[a], &[b], metric);
            differences.push(difference(&a.task.name, metric, other, &pairs));
        }
    }
    for group in groups {
        let of = |results: &[TaskResult]| of_group(group, results);
        let is_in = |result: &&TaskResult| group.tasks.contains(&result.task.name);
        let (a, b): (Vec<_>, Vec<_>) =
            (first.iter().filter(is_in).collect(), second.iter().filter(is_in).collect());
        for (metric, other) in of(first).iter().zip(&of(second)) {
            // A mean of tasks is none of documents, so no document's answer tests it.
            let pairs = if group.weight_by_size { pairs(&a, &b, metric) } else { Vec::new() };
            differences.push(difference(&group.name, metric, other, &pairs));
        }
    }
    differences
}

/// The two models' values of a metric, document after document.
fn pairs(first: &[&TaskResult], second: &[&TaskResult], metric: &Metric) -> Vec<[f64; 2]> {
    let values = |results: &[&TaskResult]| -> Vec<f64> {
        let measures = results.iter().flat_map(|result| &result.measures);
        let filtered =
            measures.flat_map(|measures| &measures.filtered).filter(|read| read.filter == metric.filter);
        let values = filtered.flat_map(|read| &read.values).filter(|(name, _)| *name == metric.name);
        let numbers = values.map(|(_, value)| match *value {
            Value::Number(number) => number,
            // What is divided by is the same for both.
            Value::Weighted { log_likelihood, .. } => log_likelihood,
        });
        numbers.collect()
    };
    values(first).into_iter().zip(values(second)).map(|(a, b)| [a, b]).collect()
}

fn difference(name: &str, metric: &Metric, other: &Metric, pairs: &[[f64; 2]]) -> Difference {
    let is_truth = |value: f64| value == 0.0 || value == 1.0;
    let are_truths = pairs.iter().flatten().all(|value| is_truth(*value));
    let (stderr, t_test) = paired_t(pairs);
    let (test, p_value) = if pairs.is_empty() {
        (None, None)
    } else if are_truths {
        let only =
            |right: usize| pairs.iter().filter(|pair| pair[right] == 1.0 && pair[1 - right] == 0.0).count();
        let (only_first, only_second) = (only(0), only(1));
        (Some(Test::McNemar { only_first, only_second }), Some(mcnemar(only_first, only_second)))
    } else {
        (t_test.map(|_| Test::PairedT), t_test)
    };
    Difference {
        name: name.to_owned(),
        metric: metric.name.clone(),
        filter: metric.filter.clone(),
        higher_is_better: metric.higher_is_better,
        examples: metric.examples,
        first: metric.value,
        second: other.value,
        // An error of means is none of a perplexity.
        stderr: stderr.filter(|_| are_truths && !pairs.is_empty()),
        test,
        p_value,
    }
}

/// The two-sided p-value of McNemar's exact test.
fn mcnemar(only_first: usize, only_second: usize) -> f64 {
    let trials = (only_first + only_second) as u64;
    if trials == 0 {
        return 1.0;
    }
    let coin = Binomial::new(0.5, trials).expect("mcnemar: a half is a probability");
    (2.0 * coin.cdf(only_first.min(only_second) as u64)).min(1.0)
}

/// The standard error of the mean difference and the two-sided p-value of its t-test.
fn paired_t(pairs: &[[f64; 2]]) -> (Option<f64>, Option<f64>) {
    let count = pairs.len() as f64;
    if pairs.len() < 2 {
        return (None, None);
    }
    let differences: Vec<f64> = pairs.iter().map(|[a, b]| b - a).collect();
    let mean = differences.iter().sum::<f64>() / count;
    let squares: f64 = differences.iter().map(|difference| (difference - mean).powi(2)).sum();
    let stderr = (squares / (count - 1.0) / count).sqrt();
    if stderr == 0.0 {
        // All documents differ alike: by nothing, or beyond doubt.
        return (Some(0.0), Some(if mean == 0.0 { 1.0 } else { 0.0 }));
    }
    let student = StudentsT::new(0.0, 1.0, count - 1.0).expect("paired_t: at least one degree of freedom");
    let p_value = 2.0 * student.cdf(-(mean / stderr).abs());
    (Some(stderr), Some(p_value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, want: f64) {
        assert!((found - want).abs() < 1e-9, "found {found}, expected {want}");
    }

    #[test]
    fn mcnemar_is_an_exact_test() {
        close(mcnemar(0, 0), 1.0);
        close(mcnemar(5, 5), 1.0);
        // 2 · (1 + 10 + 45) / 1024
        close(mcnemar(8, 2), 0.109_375);
        close(mcnemar(2, 8), 0.109_375);
        close(mcnemar(0, 6), 0.031_25);
    }

    #[test]
    fn the_t_test_is_of_pairs() {
        // scipy.stats.ttest_rel([1, 2, 3, 4], [1.5, 2.25, 3.75, 4.1])
        let (stderr, p_value) = paired_t(&[[1.0, 1.5], [2.0, 2.25], [3.0, 3.75], [4.0, 4.1]]);
        close(stderr.unwrap(), 0.142_886_901_662_352_06);
        close(p_value.unwrap(), 0.067_885_743_678_081_98);
        assert_eq!(paired_t(&[[1.0, 2.0]]), (None, None));
        assert_eq!(paired_t(&[[1.0, 2.0], [2.0, 3.0]]), (Some(0.0), Some(0.0)));
        assert_eq!(paired_t(&[[1.0, 1.0], [2.0, 2.0]]), (Some(0.0), Some(1.0)));
    }
}
