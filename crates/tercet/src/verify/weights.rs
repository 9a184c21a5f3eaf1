//! Comparing weights, tensor by tensor: codes and scales of ternary linears, and all other numbers.

use std::sync::{Mutex, PoisonError};

use tercet_kernels::Pool;

use super::{Check, OnDisk, Outcome};
use crate::checkpoint::{Dtype, TensorRef};
use crate::config::{Config, ExpectedTensor, Linears, TensorKind, module_name};
use crate::convert::pairs;
use crate::first_error::FirstError;
use crate::gguf::TensorType;
use crate::model::{LoadError, TernaryRows};

/// Compares every weight of two models of one shape: `b` may differ by the rounding of the types it is stored in.
///
/// Gives the comparisons of codes, of scales and of floats.
///
/// # Errors
/// [`LoadError`] if a tensor of either model cannot be read.
///
/// # Panics
/// If the shapes differ.
pub fn compare(pool: &Pool, a: &OnDisk, b: &OnDisk) -> Result<Vec<Check>, LoadError> {
    let mut comparison = Comparison {
        pool,
        a,
        b,
        codes: Tally::default(),
        scales: Tally::default(),
        floats: Tally::default(),
    };
    let mut dense_to_ternary = 0;
    for (from, to) in pairs(&a.config, &b.config) {
        let is_linear = from.kind == TensorKind::Linear;
        match (is_linear, is_ternary(&a.config), is_ternary(&b.config)) {
            (true, true, true) => comparison.ternary(&from, &to)?,
            (true, true, false) => comparison.dequantized(&from, &to)?,
            (true, false, true) => dense_to_ternary += 1,
            _ => comparison.floats(&from, &to),
        }
        a.checkpoint.give_back();
        b.checkpoint.give_back();
    }
    let Comparison { codes, scales, floats, .. } = comparison;
    let mut codes = codes.check("codes", None);
    if dense_to_ternary > 0 {
        codes.outcome = Outcome::Differs;
        codes.detail = format!("{dense_to_ternary} linears are dense in the first and ternary in the second");
    }
    let floats = floats.check("floats", Some("the greatest number of its tensor"));
    Ok(vec![codes, scales.check("scales", Some("the scale")), floats])
}

fn is_ternary(config: &Config) -> bool {
    config.linears != Linears::Dense
}

struct Comparison<'a> {
    pool: &'a Pool,
    a: &'a OnDisk,
    b: &'a OnDisk,
    codes: Tally,
    scales: Tally,
    floats: Tally,
}

impl Comparison<'_> {
    /// Compares codes and scales.
    fn ternary(&mut self, from: &ExpectedTensor, to: &ExpectedTensor) -> Result<(), LoadError> {
        let a = rows(self.pool, self.a, &from.name)?;
        let b = rows(self.pool, self.b, &to.name)?;
        let (total, bad_row) = (Mutex::new((Tally::default(), 0)), FirstError::default());
        let [count, cols] = a.shape();
        self.pool.run(|worker| {
            let (mut own, mut other) = (vec![0; cols], vec![0; cols]);
            let (mut a, mut b) = (a.reader(), b.reader());
            let (mut tally, mut nonzero) = (Tally::default(), 0);
            for row in (worker.index()..count).step_by(worker.threads()) {
                if let Err(error) = a.read(row, &mut own).and_then(|()| b.read(row, &mut other)) {
                    bad_row.keep(row, error);
                    continue;
                }
                let differing = own.iter().zip(&other).filter(|(a, b)| a != b).count() as u64;
                nonzero += own.iter().filter(|code| **code != 1).count();
                tally.add(&Tally { compared: cols as u64, differing, ..Tally::default() });
            }
            let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
            total.0.add(&tally);
            total.1 += nonzero;
        });
        if let Some(error) = bad_row.into_inner() {
            return Err(error);
        }
        let (mut codes, nonzero) = total.into_inner().unwrap_or_else(PoisonError::into_inner);
        codes.beyond = codes.differing;
        self.codes.add(&codes.of_tensor(&from.name));
        // Where all weights are 0 the scale is no part of the function.
        if nonzero > 0 {
            let (own, other) = (f64::from(a.scale()), f64::from(b.scale()));
            let scales = Tally::of(own, other, own, scale_rounding(self.b, &to.name));
            self.scales.add(&scales.of_tensor(&from.name));
        }
        a.give_back();
        b.give_back();
        Ok(())
    }

    /// Compares scales times codes with the floats of a dense model.
    fn dequantized(&mut self, from: &ExpectedTensor, to: &ExpectedTensor) -> Result<(), LoadError> {
        let a = rows(self.pool, self.a, &from.name)?;
        let b = tensor(self.b, &to.name);
        let (total, bad_row) = (Mutex::new(Tally::default()), FirstError::default());
        let [count, cols] = a.shape();
        let scale = f64::from(a.scale());
        self.pool.run(|worker| {
            let (mut codes, mut values, mut reader) = (vec![0; cols], vec![0.0; cols], a.reader());
            let mut tally = Tally::default();
            for row in (worker.index()..count).step_by(worker.threads()) {
                if let Err(error) = reader.read(row, &mut codes) {
                    bad_row.keep(row, error);
                    continue;
                }
                b.read_f32(row * cols, &mut values);
                for (code, value) in codes.iter().zip(&values) {
                    let own = scale * (f64::from(*code) - 1.0);
                    tally.add(&Tally::of(own, f64::from(*value), scale, Rounding::of(b.dtype)));
                }
            }
            total.lock().unwrap_or_else(PoisonError::into_inner).add(&tally);
        });
        if let Some(error) = bad_row.into_inner() {
            return Err(error);
        }
        self.add_floats(total, &from.name);
        Ok(())
    }

    /// Compares floats.
    fn floats(&mut self, from: &ExpectedTensor, to: &ExpectedTensor) {
        let (a, b) = (tensor(self.a, &from.name), tensor(self.b, &to.name));
        let rounding = Rounding::of(b.dtype);
        let cols = a.shape.last().copied().unwrap_or(1);
        let count = a.shape.iter().product::<usize>() / cols.max(1);
        let total = Mutex::new(Tally::default());
        self.pool.run(|worker| {
            let (mut own, mut other) = (vec![0.0; cols], vec![0.0; cols]);
            let mut tally = Tally::default();
            for row in (worker.index()..count).step_by(worker.threads()) {
                a.read_f32(row * cols, &mut own);
                b.read_f32(row * cols, &mut other);
                for (own, other) in own.chunks(rounding.block).zip(other.chunks(rounding.block)) {
                    let greatest = own.iter().fold(0.0f32, |greatest, value| greatest.max(value.abs()));
                    for (own, other) in own.iter().zip(other) {
                        let magnitude = if rounding.block == 1 { own.abs() } else { greatest };
                        tally.add(&Tally::of(
                            f64::from(*own),
                            f64::from(*other),
                            f64::from(magnitude),
                            rounding,
                        ));
                    }
                }
            }
            total.lock().unwrap_or_else(PoisonError::into_inner).add(&tally);
        });
        self.add_floats(total, &from.name);
    }

    fn add_floats(&mut self, total: Mutex<Tally>, name: &str) {
        let floats = total.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.floats.add(&floats.of_tensor(name));
    }
}

fn rows<'a>(pool: &Pool, model: &'a OnDisk, weight: &str) -> Result<TernaryRows<'a>, LoadError> {
    TernaryRows::open(pool, &model.checkpoint, &model.config, module_name(weight))
}

/// A tensor that `Config::read` has found.
fn tensor<'a>(model: &'a OnDisk, name: &str) -> TensorRef<'a> {
    model.checkpoint.get(name).expect("Config::read has checked that the tensor is there")
}

/// How far a number may be from what it was made from.
#[derive(Clone, Copy)]
struct Rounding {
    /// Relative to the number, or to the greatest of its block.
    relative: f64,
    /// For numbers near 0.
    absolute: f64,
    /// Numbers that share a scale.
    block: usize,
}

impl Rounding {
    const NONE: Rounding = Rounding { relative: 0.0, absolute: 0.0, block: 1 };
    /// Half a step of the last of 11 bits; below 2^-14 the steps are all alike.
    const F16: Rounding = Rounding { relative: 1.0 / 2048.0, absolute: 1.0 / (1u64 << 25) as f64, block: 1 };
    /// Half a step of the last of 8 bits.
    const BF16: Rounding = Rounding { relative: 1.0 / 256.0, absolute: f32::MIN_POSITIVE as f64, block: 1 };
    /// Half of 127 steps, and the scale is an f16.
    const Q8_0: Rounding = Rounding { relative: 1.0 / 254.0 + 1.0 / 1024.0, absolute: 1e-7, block: 32 };
    /// Two of 32 steps: the scale with the least squared error cuts the greatest numbers off.
    const Q6_K: Rounding = Rounding { relative: 1.0 / 16.0, absolute: 1e-6, block: 256 };

    fn of(dtype: Dtype) -> Rounding {
        match dtype {
            Dtype::F16 => Rounding::F16,
            Dtype::BF16 => Rounding::BF16,
            Dtype::Block(TensorType::Q8_0) => Rounding::Q8_0,
            Dtype::Block(TensorType::Q6K) => Rounding::Q6_K,
            _ => Rounding::NONE,
        }
    }
}

/// The rounding of the scale of a ternary linear.
fn scale_rounding(model: &OnDisk, weight: &str) -> Rounding {
    let dtype = match model.config.linears {
        Linears::Packed { .. } => tensor(model, &format!("{weight}_scale")).dtype,
        Linears::Blocks => match tensor(model, weight).dtype {
            Dtype::Block(TensorType::Tq1_0 | TensorType::Tq2_0) => Dtype::F16,
            dtype => dtype,
        },
        // Their scale is a mean, which is rounded once to f32.
        Linears::Masters | Linears::Dense => Dtype::F32,
    };
    Rounding::of(dtype)
}

/// What was found in some numbers.
#[derive(Clone, Default)]
struct Tally {
    compared: u64,
    differing: u64,
    /// How many differ by more than their rounding.
    beyond: u64,
    /// Of numbers of one tensor as it is, of several tensors relative to the greatest number of its own.
    largest_difference: f64,
    /// The greatest magnitude in a tensor of the first model.
    greatest: f64,
    /// The tensor of which the most is wrong.
    worst: Option<(u64, String)>,
}

impl Tally {
    /// Of two numbers that are about as great as `magnitude`.
    fn of(own: f64, other: f64, magnitude: f64, rounding: Rounding) -> Self {
        let difference = (own - other).abs();
        // Written so that NaN is beyond.
        let is_within = difference <= rounding.relative * magnitude + rounding.absolute;
        let is_same = own.to_bits() == other.to_bits() || own == other;
        Tally {
            compared: 1,
            differing: u64::from(!is_same),
            beyond: u64::from(!is_within),
            largest_difference: difference,
            greatest: own.abs(),
            worst: None,
        }
    }

    /// That of a whole tensor, whose largest difference is relative from here on: a number near 0 may be rounded by
    /// much of itself, and by next to nothing of what its tensor is.
    fn of_tensor(mut self, name: &str) -> Self {
        self.worst = (self.beyond > 0).then(|| (self.beyond, name.to_owned()));
        if self.largest_difference > 0.0 {
            // What comes of zeros alone differs by all that it is.
            self.largest_difference /=
                if self.greatest > 0.0 { self.greatest } else { self.largest_difference };
        }
        self
    }

    fn add(&mut self, other: &Tally) {
        self.compared += other.compared;
        self.differing += other.differing;
        self.beyond += other.beyond;
        self.largest_difference = self.largest_difference.max(other.largest_difference);
        self.greatest = self.greatest.max(other.greatest);
        if other.worst > self.worst {
            self.worst.clone_from(&other.worst);
        }
    }

    /// The comparison in words; `whole` says what the largest difference is relative to, where there is one.
    fn check(self, name: &'static str, whole: Option<&str>) -> Check {
        let Tally { compared, differing, beyond, largest_difference, worst, .. } = self;
        let most = whole.map(|whole| format!("{} of {whole}", percent(largest_difference)));
        let (outcome, detail) = match (compared, differing, worst) {
            (0, ..) => (Outcome::Skipped, "there are none".to_owned()),
            (_, 0, _) => (Outcome::Equal, format!("{compared}, the same to the last bit")),
            (_, _, Some((count, tensor))) => {
                let detail = match most {
                    Some(most) => format!(
                        "{beyond} of {compared} differ by more than the second's rounding, {count} of them in \
                         `{tensor}`; the largest difference is {most}"
                    ),
                    None => format!("{beyond} of {compared} differ, {count} of them in `{tensor}`"),
                };
                (Outcome::Differs, detail)
            }
            _ => {
                let most = most.unwrap_or_default();
                (Outcome::Rounded, format!("{differing} of {compared} were rounded, by {most} at most"))
            }
        };
        Check { name, outcome, compared, differing, largest_difference, detail }
    }
}

/// A fraction in percent, with two digits that count.
pub(super) fn percent(fraction: f64) -> String {
    let percent = 100.0 * fraction;
    let above_one = percent.log10().floor();
    let decimals = if above_one.is_finite() { (1.0 - above_one).clamp(0.0, 12.0) as usize } else { 0 };
    format!("{percent:.decimals$} %")
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;
    use crate::gguf::quantized;

    /// Whether one number may have become the other where it is stored in this type.
    fn is_within(own: f32, other: f32, dtype: Dtype) -> bool {
        let tally = Tally::of(f64::from(own), f64::from(other), f64::from(own.abs()), Rounding::of(dtype));
        tally.beyond == 0
    }

    #[test]
    fn a_number_may_be_rounded_to_the_nearest_and_no_farther() {
        for i in 0..4096 {
            let own = 1.0 + i as f32 / 4096.0;
            assert!(is_within(own, f16::from_f32(own).to_f32(), Dtype::F16), "{own}");
            assert!(is_within(own, bf16::from_f32(own).to_f32(), Dtype::BF16), "{own}");
            // A step and a half away, whatever the place between two steps.
            assert!(!is_within(own, own + 1.5 / 512.0, Dtype::F16), "{own}");
            assert!(!is_within(own, own + 1.5 / 64.0, Dtype::BF16), "{own}");
            assert!(!is_within(own, f32::from_bits(own.to_bits() + 1), Dtype::F32), "{own}");
        }
        assert!(is_within(1e-7, f16::from_f32(1e-7).to_f32(), Dtype::F16));
        assert!(!is_within(1.0, f32::NAN, Dtype::BF16));
    }

    /// Levels end at 31, so of two opposite numbers one is cut off, which costs less than coarser steps for all others.
    #[test]
    fn the_greatest_number_of_a_block_may_be_cut_off() {
        let values: [f32; 256] = std::array::from_fn(|i| match i % 16 {
            0 => 32.3,
            1 => -32.3,
            i if i % 2 == 0 => 15.0,
            _ => 14.0,
        });
        let stored = quantized::q6_k_block(&quantized::to_q6_k_block(&values));
        let differences = values.iter().zip(&stored).map(|(own, other)| (own - other).abs());
        assert!(differences.fold(0.0, f32::max) > 32.3 / 32.0);
        let is_within = |own: f32, other: f32| {
            Tally::of(f64::from(own), f64::from(other), 32.3, Rounding::Q6_K).beyond == 0
        };
        assert!(values.iter().zip(&stored).all(|(own, other)| is_within(*own, *other)));
        assert!(!is_within(-32.3, -29.0), "three levels away");
    }

    #[test]
    fn fractions_are_said_in_percent() {
        for (fraction, want) in [
            (1.0, "100 %"),
            (0.125, "12 %"),
            (1.0 / 254.0, "0.39 %"),
            (1.0 / 2048.0, "0.049 %"),
            (1.2e-7, "0.000012 %"),
            (0.0, "0 %"),
            (f64::INFINITY, "inf %"),
        ] {
            assert_eq!(percent(fraction), want);
        }
    }

    #[test]
    fn what_a_difference_is_relative_to_is_said() {
        let said = |numbers: &[(f64, f64)], dtype| {
            let mut tensor = Tally::default();
            for (own, other) in numbers {
                tensor.add(&Tally::of(*own, *other, own.abs(), Rounding::of(dtype)));
            }
            let mut all = Tally::default();
            all.add(&tensor.of_tensor("a"));
            all.check("floats", Some("the greatest number of its tensor")).detail
        };
        // The first is a tenth of the least number of f16, and all of it is lost.
        let near_zero = said(&[(6e-9, 0.0), (-2.0, -2.0 - 1.0 / 1024.0)], Dtype::F16);
        assert_eq!(near_zero, "2 of 2 were rounded, by 0.049 % of the greatest number of its tensor at most");
        let other = said(&[(1e-5, 0.4), (0.8, -0.8)], Dtype::F32);
        assert!(
            other.ends_with("the largest difference is 200 % of the greatest number of its tensor"),
            "{other}"
        );
        assert_eq!(Tally::of(0.0, 3.0, 0.0, Rounding::NONE).of_tensor("a").largest_difference, 1.0);
    }

    #[test]
    fn codes_that_differ_are_counted_and_no_more() {
        let codes = Tally { compared: 10, differing: 4, beyond: 4, ..Tally::default() }.of_tensor("a");
        assert_eq!(codes.check("codes", None).detail, "4 of 10 differ, 4 of them in `a`");
    }

    #[test]
    fn the_tensor_of_which_the_most_is_wrong_is_named() {
        let mut all = Tally::default();
        for (name, beyond) in [("a", 1), ("b", 3), ("c", 2)] {
            let one = Tally { compared: 10, differing: beyond, beyond, ..Tally::default() };
            all.add(&one.of_tensor(name));
        }
        let check = all.check("floats", Some("the number"));
        assert_eq!((check.outcome, check.compared, check.differing), (Outcome::Differs, 30, 6));
        assert!(
            check.detail.contains("6 of 30") && check.detail.contains("3 of them in `b`"),
            "{}",
            check.detail
        );
        let rounded = Tally { compared: 10, differing: 4, ..Tally::default() };
        assert_eq!(rounded.check("floats", Some("the number")).outcome, Outcome::Rounded);
        assert_eq!(Tally::default().check("floats", None).outcome, Outcome::Skipped);
    }
}
