//! From the measures of all examples to the metrics of a task, and from those to a group's.
//!
//! It knows numbers only. Sums are taken in the order of the examples, as the harness does.

use super::catalog::Group;
use super::description::MetricName;
use super::measures::{Measures, Value};
use super::task::Task;

/// A metric of a task or a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Such as `acc_norm`.
    pub name: String,
    /// How the responses were read; `none` where as they are.
    pub filter: String,
    /// Its value.
    pub value: f64,
    /// Its standard error, if there are at least two examples.
    pub stderr: Option<f64>,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// How many examples it is of.
    pub examples: usize,
}

/// The metrics of a task, in the order of the harness.
///
/// Accuracies and exact matches are means `m = Σ x / n`, with `stderr = s / √n`, where `s` is the
/// standard deviation of the sample (divisor `n - 1`).
///
/// `perplexity = exp(-m)` of log-likelihoods. The harness draws 100,000 samples for its standard
/// error; here it is `perplexity · s / √n`, what the delta method gives and those tend to.
///
/// `word_perplexity` and `byte_perplexity` are `exp(-r)` with `r = Σ l / Σ w`, and `bits_per_byte`
/// is `-r / ln 2`. The harness gives no standard error for them. Here the delta method for a ratio
/// gives `σ = √(n/(n-1) · Σ (l - r w)²) / Σ w`, documents being the sample, and
/// the errors are `exp(-r) · σ` and `σ / ln 2`.
///
/// # Panics
/// If there are no measures, or they are of another task.
pub fn aggregate(task: &Task, measures: &[Measures]) -> Vec<Metric> {
    assert!(!measures.is_empty(), "aggregate: at least one example");
    let filters = &measures[0].filtered;
    let metrics = filters.iter().enumerate().flat_map(|(filter, read)| {
        task.metrics.iter().enumerate().map(move |(place, metric)| {
            let values: Vec<Value> =
                measures.iter().map(|measures| measures.filtered[filter].values[place].1).collect();
            let (value, stderr) = aggregated(*metric, &values);
            Metric {
                name: metric.name().to_owned(),
                filter: read.filter.clone(),
                value,
                stderr,
                higher_is_better: metric.higher_is_better(),
                examples: values.len(),
            }
        })
    });
    metrics.collect()
}

/// The metrics of a group, from those of its tasks, in the order of [`Group::tasks`].
///
/// With weights by size `m = Σ nᵢ mᵢ / Σ nᵢ`, and the standard error is pooled:
/// `√( Σ (nᵢ - 1) nᵢ eᵢ² / (Σ nᵢ - k) / Σ nᵢ )` for `k` tasks with errors `eᵢ`. Without, it is the
/// mean of the tasks with `√(Σ eᵢ²) / k`. Tasks without a metric do not count for it.
pub fn aggregate_group(group: &Group, tasks: &[&[Metric]]) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for name in &group.metrics {
        let mut filters: Vec<&String> = Vec::new();
        for metric in tasks.iter().flat_map(|task| task.iter()).filter(|metric| metric.name == *name) {
            if !filters.contains(&&metric.filter) {
                filters.push(&metric.filter);
            }
        }
        for filter in filters {
            let is_this = |metric: &&Metric| metric.name == *name && metric.filter == *filter;
            let parts: Vec<&Metric> = tasks.iter().filter_map(|task| task.iter().find(is_this)).collect();
            metrics.push(grouped(group, &parts));
        }
    }
    metrics
}

fn grouped(group: &Group, parts: &[&Metric]) -> Metric {
    let count = parts.len() as f64;
    let examples: usize = parts.iter().map(|part| part.examples).sum();
    let total = examples as f64;
    let stderrs: Option<Vec<f64>> = parts.iter().map(|part| part.stderr).collect();
    let (value, stderr) = if group.weight_by_size {
        let value = parts.iter().map(|part| part.value * part.examples as f64).sum::<f64>() / total;
        let pooled = |stderrs: Vec<f64>| {
            let sizes = parts.iter().map(|part| part.examples as f64);
            let sum: f64 =
                stderrs.iter().zip(sizes).map(|(error, size)| (size - 1.0) * error * error * size).sum();
            (sum / (total - count) / total).sqrt()
        };
        (value, stderrs.map(pooled))
    } else {
        let value = parts.iter().map(|part| part.value).sum::<f64>() / count;
        let spread =
            |stderrs: Vec<f64>| stderrs.iter().map(|error| error * error).sum::<f64>().sqrt() / count;
        (value, stderrs.map(spread))
    };
    let first = parts[0];
    Metric {
        name: first.name.clone(),
        filter: first.filter.clone(),
        value,
        stderr: stderr.filter(|error| error.is_finite()),
        higher_is_better: first.higher_is_better,
        examples,
    }
}

fn aggregated(metric: MetricName, values: &[Value]) -> (f64, Option<f64>) {
    let numbers: Vec<f64> = values
        .iter()
        .filter_map(|value| match value {
            Value::Number(number) => Some(*number),
            Value::Weighted { .. } => None,
        })
        .collect();
    match metric {
        MetricName::Acc | MetricName::AccNorm | MetricName::AccBytes | MetricName::ExactMatch => {
            (mean(&numbers), mean_stderr(&numbers))
        }
        MetricName::Perplexity => {
            let perplexity = (-mean(&numbers)).exp();
            (perplexity, mean_stderr(&numbers).map(|error| error * perplexity))
        }
        MetricName::WordPerplexity | MetricName::BytePerplexity => {
            let (ratio, error) = weighted(values);
            let perplexity = (-ratio).exp();
            (perplexity, error.map(|error| error * perplexity))
        }
        MetricName::BitsPerByte => {
            let (ratio, error) = weighted(values);
            let ln_2 = std::f64::consts::LN_2;
            (-ratio / ln_2, error.map(|error| error / ln_2))
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn mean_stderr(values: &[f64]) -> Option<f64> {
    let count = values.len() as f64;
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt() / count.sqrt())
}

/// `Σ l / Σ w` and its standard error.
fn weighted(values: &[Value]) -> (f64, Option<f64>) {
    let pairs: Vec<(f64, f64)> = values
        .iter()
        .filter_map(|value| match value {
            Value::Weighted { log_likelihood, weight } => Some((*log_likelihood, *weight as f64)),
            Value::Number(_) => None,
        })
        .collect();
    let total: f64 = pairs.iter().map(|(_, weight)| weight).sum();
    let ratio = pairs.iter().map(|(value, _)| value).sum::<f64>() / total;
    let count = pairs.len() as f64;
    let squares: f64 = pairs.iter().map(|(value, weight)| (value - ratio * weight).powi(2)).sum();
    let error = (pairs.len() > 1).then(|| (count / (count - 1.0) * squares).sqrt() / total);
    (ratio, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, wanted: f64) {
        assert!((found - wanted).abs() < 1e-12, "{found} is not {wanted}");
    }

    #[test]
    fn means_and_their_errors_are_the_harnesss() {
        let values = [1.0, 0.0, 0.0, 1.0, 1.0].map(Value::Number);
        let (value, stderr) = aggregated(MetricName::Acc, &values);
        near(value, 0.6);
        near(stderr.expect("of five"), 0.244948974278317_83);
        assert_eq!(aggregated(MetricName::Acc, &values[..1]), (1.0, None));
    }

    #[test]
    fn a_perplexity_is_of_the_mean() {
        let (value, stderr) = aggregated(MetricName::Perplexity, &[-1.0, -3.0].map(Value::Number));
        near(value, 2_f64.exp());
        near(stderr.expect("of two"), 2_f64.exp());
    }

    #[test]
    fn a_ratio_weighs_its_documents() {
        let weighted = |log_likelihood, weight| Value::Weighted { log_likelihood, weight };
        let values = [weighted(-4.0, 2), weighted(-6.0, 8)];
        let (value, stderr) = aggregated(MetricName::WordPerplexity, &values);
        near(value, 1_f64.exp());
        // l - r w is -2 and 2: √(2 · 8) / 10.
        near(stderr.expect("of two"), 1_f64.exp() * 0.4);
        let (bits, stderr) = aggregated(MetricName::BitsPerByte, &values);
        near(bits, 1.0 / std::f64::consts::LN_2);
        near(stderr.expect("of two"), 0.4 / std::f64::consts::LN_2);
    }

    #[test]
    fn a_group_weighs_by_size_or_by_task() {
        let metric = |value, stderr, examples| Metric {
            name: "acc".to_owned(),
            filter: "none".to_owned(),
            value,
            stderr,
            higher_is_better: true,
            examples,
        };
        let mut group = Group {
            name: "g".to_owned(),
            alias: "g".to_owned(),
            version: String::new(),
            members: Vec::new(),
            tasks: Vec::new(),
            metrics: vec!["acc".to_owned(), "acc_norm".to_owned()],
            weight_by_size: true,
        };
        let (one, two) = ([metric(0.5, Some(0.1), 10)], [metric(0.8, Some(0.05), 30)]);
        let found = aggregate_group(&group, &[&one, &two]);
        assert_eq!(found.len(), 1);
        near(found[0].value, 0.725);
        // pooled_sample_stderr([0.1, 0.05], [10, 30]) of the harness.
        near(found[0].stderr.expect("of both"), 0.04497806482930845);
        group.weight_by_size = false;
        let found = aggregate_group(&group, &[&one, &two]);
        near(found[0].value, 0.65);
        near(found[0].stderr.expect("of both"), 0.0125_f64.sqrt() / 2.0);
        assert_eq!(found[0].examples, 40);
        let single = [metric(1.0, None, 1)];
        assert_eq!(aggregate_group(&group, &[&one, &single])[0].stderr, None);
    }
}
