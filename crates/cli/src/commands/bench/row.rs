//! A row of results: one test, how fast it was, and what fraction of its ceiling that is.

use serde::{Deserialize, Serialize};

use super::measure::Measurement;
use super::test::Need;
use crate::ceilings::{Measured, Rates};

/// A ceiling below this share of the best that the machine has shown makes a row noisy.
const NOISY_BELOW: f64 = 0.95;

/// What bounds a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Bound {
    /// Bytes a second read from memory.
    Bandwidth,
    /// Operations a second of int8 dot products.
    Int8,
    /// Operations a second in f32: of dense models.
    F32,
}

impl Bound {
    /// What takes longer at its ceiling, with the amount of it a token.
    pub(super) fn of(need: &Need, ceilings: &Rates) -> (Bound, f64) {
        let arithmetic = match need.int8_ops > 0.0 {
            true => (Bound::Int8, need.int8_ops),
            false => (Bound::F32, need.float_ops),
        };
        let bandwidth = (Bound::Bandwidth, need.bytes);
        let seconds = |(bound, amount): (Bound, f64)| amount / bound.ceiling(ceilings);
        if seconds(arithmetic) > seconds(bandwidth) { arithmetic } else { bandwidth }
    }

    pub(super) fn ceiling(self, rates: &Rates) -> f64 {
        match self {
            Bound::Bandwidth => rates.read_bytes_per_s,
            Bound::Int8 => rates.int8_ops_per_s,
            Bound::F32 => rates.f32_ops_per_s,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Bound::Bandwidth => "bandwidth",
            Bound::Int8 => "int8",
            Bound::F32 => "f32",
        }
    }
}

/// What all rows of a run have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Setting {
    /// The preset's name; null for the files of a model.
    pub(super) preset: Option<String>,
    /// What was measured, for people.
    pub(super) model: String,
    pub(super) weights: String,
    pub(super) head: String,
    pub(super) kv: String,
    pub(super) threads: usize,
    pub(super) isa: String,
    pub(super) cpu: String,
    pub(super) version: String,
    /// Bytes of weights that lie in memory.
    pub(super) size_bytes: u64,
    /// Parameters of the model, norms included.
    pub(super) params: u64,
    /// Seconds from opening the model, or making it, until it could run.
    pub(super) load_s: f64,
}

/// One test's results. Rates are a second, amounts a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    #[serde(flatten)]
    pub(super) setting: Setting,
    pub(super) test: String,
    pub(super) parallel: usize,
    /// The median of the samples.
    pub(super) tokens_per_s: f64,
    /// The samples' standard deviation; none of one sample.
    pub(super) stddev: Option<f64>,
    pub(super) samples: Vec<f64>,
    pub(super) bytes_per_token: f64,
    /// Operations with ternary weights, or with dense ones in a dense model; two to a weight.
    pub(super) ops_per_token: f64,
    /// Operations in f32: attention and head, and the linears of a dense model.
    pub(super) float_ops_per_token: f64,
    pub(super) bound: Bound,
    /// The median of the ceilings beside the samples.
    pub(super) ceiling: f64,
    /// The median of the samples' fractions of the ceilings beside them.
    pub(super) fraction: f64,
    pub(super) noisy: bool,
    pub(super) rss_bytes: Option<u64>,
    /// Shares of a prompt's time.
    pub(super) gemm_share: Option<f64>,
    pub(super) attention_share: Option<f64>,
    pub(super) rest_share: Option<f64>,
}

impl Row {
    /// `before` and `after` are the ceilings of the run: the better one tells what bounds a token. Each
    /// sample is compared with the ceiling beside it; the least of all tells whether something disturbed
    /// the run.
    pub(super) fn new(
        setting: Setting,
        test: String,
        parallel: usize,
        need: &Need,
        measurement: Measurement,
        [before, after]: [&Measured; 2],
    ) -> Self {
        let ceilings = before.now.max(after.now);
        let (bound, amount) = Bound::of(need, &ceilings);
        let beside: Vec<f64> = measurement.ceilings.iter().map(|rates| bound.ceiling(rates)).collect();
        let fractions: Vec<f64> = measurement
            .samples
            .iter()
            .zip(&beside)
            .map(|(sample, ceiling)| sample * amount / ceiling)
            .collect();
        let best = beside.iter().copied().fold(bound.ceiling(&after.best), f64::max);
        let ends = [before, after].map(|measured| bound.ceiling(&measured.now));
        let worst = beside.iter().chain(&ends).copied().fold(f64::INFINITY, f64::min);
        let tokens_per_s = median(&measurement.samples);
        let times = measurement.work_times.filter(|times| !times.all.is_zero());
        let [gemm_share, attention_share] = [
            times.map(|times| times.products.div_duration_f64(times.all)),
            times.map(|times| times.attention.div_duration_f64(times.all)),
        ];
        Row {
            setting,
            test,
            parallel,
            tokens_per_s,
            stddev: stddev(&measurement.samples),
            samples: measurement.samples,
            bytes_per_token: need.bytes,
            ops_per_token: if need.int8_ops > 0.0 { need.int8_ops } else { need.float_ops },
            float_ops_per_token: need.float_ops,
            bound,
            ceiling: median(&beside),
            fraction: median(&fractions),
            noisy: worst < NOISY_BELOW * best,
            rss_bytes: measurement.rss_bytes,
            gemm_share,
            attention_share,
            rest_share: gemm_share.zip(attention_share).map(|(gemm, attention)| 1.0 - gemm - attention),
        }
    }
}

pub(super) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        len if len.is_multiple_of(2) => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// Of a sample, with `n - 1`; nothing where there is only one, whose spread is not known.
pub(super) fn stddev(samples: &[f64]) -> Option<f64> {
    if samples.len() < 2 {
        return None;
    }
    let mean = samples.iter().sum::<f64>() / samples.len() as f64;
    let squares: f64 = samples.iter().map(|sample| (sample - mean) * (sample - mean)).sum();
    Some((squares / (samples.len() - 1) as f64).sqrt())
}

/// A number with its spread, where that is known, to so many decimals.
pub(super) fn with_spread(value: f64, spread: Option<f64>, decimals: usize) -> String {
    let spread = spread.map(|spread| format!(" ± {spread:.decimals$}")).unwrap_or_default();
    format!("{value:.decimals$}{spread}")
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use tercet::model::WorkTimes;

    use super::*;

    pub(crate) fn setting() -> Setting {
        Setting {
            preset: Some("2b4t".to_owned()),
            model: "preset 2b4t".to_owned(),
            weights: "1.6bit".to_owned(),
            head: "bf16".to_owned(),
            kv: "f16".to_owned(),
            threads: 2,
            isa: "avx2".to_owned(),
            cpu: "a, \"CPU\"".to_owned(),
            version: "1".to_owned(),
            size_bytes: 1 << 30,
            params: 2_400_000_000,
            load_s: 1.5,
        }
    }

    fn rates(read_bytes_per_s: f64) -> Rates {
        Rates { read_bytes_per_s, int8_ops_per_s: 2e12, bf16_ops_per_s: None, f32_ops_per_s: 5e11 }
    }

    /// A row of a decode test with these samples, in a run that could read so fast before and after.
    pub(crate) fn row(samples: &[f64], bandwidth: [f64; 2]) -> Row {
        let need = Need { bytes: 1e9, int8_ops: 4e9, float_ops: 1e9 };
        let times = WorkTimes {
            products: Duration::from_millis(60),
            attention: Duration::from_millis(30),
            all: Duration::from_millis(100),
        };
        let measurement = Measurement {
            samples: samples.to_vec(),
            ceilings: vec![rates(bandwidth[0]).max(rates(bandwidth[1])); samples.len()],
            work_times: Some(times),
            rss_bytes: Some(1 << 30),
            joules: None,
        };
        let [before, after] = bandwidth.map(|now| Measured { now: rates(now), best: rates(50e9) });
        Row::new(setting(), "tg128".to_owned(), 1, &need, measurement, [&before, &after])
    }

    #[test]
    fn a_row_has_the_fraction_of_what_bounds_it() {
        let found = row(&[30.0, 40.0, 20.0], [50e9, 49e9]);
        assert_eq!((found.tokens_per_s, found.stddev), (30.0, Some(10.0)));
        assert_eq!((found.bound, found.ceiling, found.fraction), (Bound::Bandwidth, 50e9, 0.6));
        assert!(!found.noisy);
        assert_eq!((found.gemm_share, found.attention_share), (Some(0.6), Some(0.3)));
        assert!((found.rest_share.unwrap() - 0.1).abs() < 1e-9);
        assert!(row(&[30.0], [50e9, 47e9]).noisy, "something disturbed the end of the run");
    }

    #[test]
    fn what_takes_longest_at_its_ceiling_bounds() {
        let bound =
            |bytes, int8_ops, float_ops| Bound::of(&Need { bytes, int8_ops, float_ops }, &rates(50e9)).0;
        assert_eq!(bound(1e9, 4e9, 1e9), Bound::Bandwidth);
        assert_eq!(bound(1e7, 4e9, 1e9), Bound::Int8);
        assert_eq!(bound(1e7, 0.0, 1e9), Bound::F32);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!([median(&[1.0, 4.0, 2.0, 9.0]), median(&[5.0]), median(&[])], [3.0, 5.0, 0.0]);
    }

    #[test]
    fn one_sample_has_no_spread() {
        assert_eq!((stddev(&[5.0]), stddev(&[])), (None, None));
        assert_eq!(with_spread(5.0, stddev(&[5.0]), 2), "5.00");
        assert_eq!(with_spread(5.0, Some(0.5), 1), "5.0 ± 0.5");
        let json = serde_json::to_value(row(&[5.0], [50e9; 2])).unwrap();
        assert!(json["stddev"].is_null(), "{json}");
    }
}
