//! Python's `random.Random`, draw for draw.
//!
//! lm-evaluation-harness chooses its few-shot examples with it, so the same choice needs the same
//! numbers. The generator is MT19937; what is Python's own is how a seed becomes a state and how
//! draws become numbers, places and samples (CPython 3.9 to 3.13, `Lib/random.py`). It knows
//! indices, not what is chosen.

use std::collections::HashSet;

use rand_mt::Mt;

/// A generator as `random.Random(seed)` makes it.
#[derive(Debug, Clone)]
pub struct PythonRandom {
    generator: Mt,
}

impl PythonRandom {
    /// `random.Random(seed)` for an integer that is not negative.
    pub fn new(seed: u64) -> Self {
        let low = seed as u32;
        let high = (seed >> 32) as u32;
        let key = if high == 0 { vec![low] } else { vec![low, high] };
        Self { generator: Mt::new_with_key(key) }
    }

    /// `random()`: a number in [0, 1) with 53 random bits.
    pub fn random(&mut self) -> f64 {
        let high = f64::from(self.generator.next_u32() >> 5);
        let low = f64::from(self.generator.next_u32() >> 6);
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    /// `getrandbits(bits)`.
    ///
    /// # Panics
    /// Unless `bits` is from 1 to 64.
    pub fn getrandbits(&mut self, bits: u32) -> u64 {
        assert!((1..=64).contains(&bits), "getrandbits: 1 to 64 bits");
        if bits <= 32 {
            return u64::from(self.generator.next_u32() >> (32 - bits));
        }
        let low = u64::from(self.generator.next_u32());
        let high = u64::from(self.generator.next_u32() >> (64 - bits));
        high << 32 | low
    }

    /// `_randbelow(n)`: a number in `0..n`, by rejection.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn randbelow(&mut self, n: usize) -> usize {
        assert!(n > 0, "randbelow: n is at least 1");
        let bits = usize::BITS - n.leading_zeros();
        loop {
            let drawn = self.getrandbits(bits) as usize;
            if drawn < n {
                return drawn;
            }
        }
    }

    /// `shuffle(values)`.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, self.randbelow(last + 1));
        }
    }

    /// `sample(range(n), k)`: `k` different numbers in `0..n`.
    ///
    /// A sample that is small beside its population is drawn with a set of what is taken, any other
    /// from a pool; the two give different numbers, so the limit between them is Python's.
    ///
    /// # Panics
    /// If `k` is greater than `n`.
    pub fn sample(&mut self, n: usize, k: usize) -> Vec<usize> {
        assert!(k <= n, "sample: no more than there are");
        if n <= set_size(k) {
            let mut pool: Vec<usize> = (0..n).collect();
            return (0..k)
                .map(|taken| {
                    let place = self.randbelow(n - taken);
                    let chosen = pool[place];
                    pool[place] = pool[n - taken - 1];
                    chosen
                })
                .collect();
        }
        let mut seen = HashSet::with_capacity(k);
        (0..k)
            .map(|_| {
                loop {
                    let chosen = self.randbelow(n);
                    if seen.insert(chosen) {
                        return chosen;
                    }
                }
            })
            .collect()
    }
}

/// The greatest population for which Python's `sample` of `k` uses a pool.
///
/// `21`, and for more than five `21 + 4 ** ceil(log(3k, 4))`. A multiple of three is no power of
/// four, so the least power above it is what the rounded logarithm gives.
fn set_size(k: usize) -> usize {
    let mut size = 21;
    if k > 5 {
        let mut power = 1_usize;
        while power < k.saturating_mul(3) {
            power = power.saturating_mul(4);
        }
        size += power;
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    // All values are printed by CPython 3.11.7.

    #[test]
    fn numbers_are_those_of_cpython() {
        let cases: [(u64, [f64; 3], [u64; 5]); 4] = [
            (
                0,
                [0.8444218515250481, 0.7579544029403025, 0.420571580830845],
                [0, 123, 2195908194, 2087043557, 14458531974522955699],
            ),
            (
                42,
                [0.6394267984578837, 0.025010755222666936, 0.27502931836911926],
                [0, 17, 3163119785, 4735180711, 16457808150190122675],
            ),
            (
                1234,
                [0.9664535356921388, 0.4407325991753527, 0.007491470058587191],
                [1, 120, 4034129617, 7761016253, 12388159654460451796],
            ),
            (
                (1 << 40) + 7,
                [0.6137037779936511, 0.8149162973309487, 0.9450115087592873],
                [1, 90, 2044078442, 5372336006, 2338138790806636401],
            ),
        ];
        for (seed, numbers, bits) in cases {
            let mut random = PythonRandom::new(seed);
            assert_eq!(numbers.map(|_| random.random()), numbers, "seed {seed}");
            assert_eq!([1, 7, 32, 33, 64].map(|k| random.getrandbits(k)), bits, "seed {seed}");
        }
    }

    #[test]
    fn a_shuffle_is_that_of_cpython() {
        let mut values: Vec<usize> = (0..12).collect();
        PythonRandom::new(42).shuffle(&mut values);
        assert_eq!(values, [7, 5, 2, 8, 9, 6, 11, 3, 4, 0, 1, 10]);
    }

    #[test]
    fn samples_are_those_of_cpython_by_both_methods() {
        let check = |seed, n, k, wanted: &[usize], after: f64| {
            let mut random = PythonRandom::new(seed);
            assert_eq!(random.sample(n, k), wanted, "seed {seed}: {k} of {n}");
            assert_eq!(random.random(), after, "seed {seed}: {k} of {n}");
        };
        check(1234, 10, 3, &[7, 1, 0], 0.09064360641670188);
        check(1234, 21, 5, &[14, 3, 0, 2, 1], 0.6715634814879851);
        check(1234, 22, 5, &[14, 3, 0, 2, 18], 0.034926166173543605);
        check(7, 1000, 5, &[331, 970, 154, 404, 666], 0.04828642362681235);
        check(7, 85, 6, &[41, 19, 50, 6, 9, 68], 0.09413004193968255);
        check(7, 86, 6, &[41, 19, 50, 83, 6, 9], 0.8212742919913083);
        let weighted: usize =
            PythonRandom::new(5).sample(300, 64).iter().enumerate().map(|(place, value)| place * value).sum();
        assert_eq!(weighted, 266448);
    }

    #[test]
    fn nothing_can_be_drawn_from_everything() {
        assert_eq!(PythonRandom::new(0).sample(0, 0), [0; 0]);
        let mut all = PythonRandom::new(0).sample(50, 50);
        all.sort_unstable();
        assert_eq!(all, (0..50).collect::<Vec<_>>());
    }
}
