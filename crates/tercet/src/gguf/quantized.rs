//! Blocks of numbers that are not ternary: those that embeddings and heads are stored in.
//!
//! ```text
//! Q8_0   32 values,  34 bytes   d f16, q[32] i8                      q d
//! Q4_0   32 values,  18 bytes   d f16, nibbles[16]                   (q - 8) d; value i < 16 low, i + 16 high
//! Q6_K  256 values, 210 bytes   low[128], high[64], s[16] i8, d f16  (q - 32) s d, a scale s for 16 values
//!        in each half: value 32 l + m has its low four bits in low[32 (l mod 2) + m], nibble l div 2,
//!        its high two in bits 2 l of high[m]
//! ```

use half::f16;

/// Values of a block of Q8_0 and Q4_0.
pub(super) const Q32_BLOCK: usize = 32;
pub(super) const Q8_0_BYTES: usize = 34;
pub(super) const Q4_0_BYTES: usize = 18;
pub(super) const Q6_K_BLOCK: usize = 256;
pub(super) const Q6_K_BYTES: usize = 210;

/// Values of Q6_K that share a scale.
const Q6_K_GROUP: usize = 16;

/// Where the parts of a block of Q6_K begin.
const Q6_K_HIGH: usize = 128;
const Q6_K_SCALES: usize = 192;
const Q6_K_SCALE: usize = 208;

/// The values of a block of Q8_0.
pub fn q8_0_block(block: &[u8; Q8_0_BYTES]) -> [f32; Q32_BLOCK] {
    let scale = scale_at(block, 0);
    std::array::from_fn(|i| f32::from(block[2 + i].cast_signed()) * scale)
}

/// The values of a block of Q4_0.
pub fn q4_0_block(block: &[u8; Q4_0_BYTES]) -> [f32; Q32_BLOCK] {
    let scale = scale_at(block, 0);
    std::array::from_fn(|i| {
        let nibble = block[2 + i % 16] >> (i / 16 * 4) & 15;
        (f32::from(nibble) - 8.0) * scale
    })
}

/// The values of a block of Q6_K.
pub fn q6_k_block(block: &[u8; Q6_K_BYTES]) -> [f32; Q6_K_BLOCK] {
    let scale = scale_at(block, Q6_K_SCALE);
    std::array::from_fn(|i| {
        let (half, l, m) = (i / 128, i % 128 / 32, i % 32);
        let low = block[half * 64 + l % 2 * 32 + m] >> (l / 2 * 4) & 15;
        let high = block[Q6_K_HIGH + half * 32 + m] >> (l * 2) & 3;
        let group_scale = f32::from(block[Q6_K_SCALES + i / 16].cast_signed());
        scale * group_scale * (f32::from(low | high << 4) - 32.0)
    })
}

/// The block of Q8_0 of these values, as ggml makes it: the greatest magnitude is 127 steps, and halves round away
/// from 0.
///
/// # Panics
/// If a value is not finite, or the scale is no f16.
pub fn to_q8_0_block(values: &[f32; Q32_BLOCK]) -> [u8; Q8_0_BYTES] {
    assert!(values.iter().all(|value| value.is_finite()), "to_q8_0_block: finite values");
    let scale = greatest_magnitude(values) / 127.0;
    let inv_scale = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let mut block = [0; Q8_0_BYTES];
    put_scale(&mut block, 0, scale);
    for (byte, value) in block[2..].iter_mut().zip(values) {
        *byte = ((value * inv_scale).round() as i8).cast_unsigned();
    }
    block
}

/// A block of Q6_K near these values.
///
/// Each group of 16 gets the scale that leaves the least sum of squared errors among a few: those that put the
/// greatest magnitude, with its sign, about 32 steps below 0. The groups' scales are then counted in the 127th part of the
/// greatest of them, and the values in theirs.
///
/// # Panics
/// If a value is not finite, or the scale is no f16.
pub fn to_q6_k_block(values: &[f32; Q6_K_BLOCK]) -> [u8; Q6_K_BYTES] {
    assert!(values.iter().all(|value| value.is_finite()), "to_q6_k_block: finite values");
    let (groups, _) = values.as_chunks::<Q6_K_GROUP>();
    let scales: Vec<f32> = groups.iter().map(|group| q6_k_group_scale(group)).collect();
    let greatest = scales.iter().copied().fold(0.0, |a: f32, b| if b.abs() > a.abs() { b } else { a });
    let mut block = [0; Q6_K_BYTES];
    // Scales count from -127: the greatest has the sign that -127 gives it.
    put_scale(&mut block, Q6_K_SCALE, -greatest / 127.0);
    let scale = scale_at(&block, Q6_K_SCALE);
    if scale == 0.0 {
        return q6_k_zeros();
    }
    for (g, (group, wanted)) in groups.iter().zip(&scales).enumerate() {
        let group_scale = (wanted / scale).round().clamp(-128.0, 127.0) as i8;
        block[Q6_K_SCALES + g] = group_scale.cast_unsigned();
        let step = scale * f32::from(group_scale);
        for (k, value) in group.iter().enumerate() {
            let q = if step == 0.0 { 0.0 } else { (value / step).round().clamp(-32.0, 31.0) };
            put_q6(&mut block, g * Q6_K_GROUP + k, (q + 32.0) as u8);
        }
    }
    block
}

/// The scale of a group that leaves the least error.
fn q6_k_group_scale(group: &[f32; Q6_K_GROUP]) -> f32 {
    /// The greatest magnitude is put at so many tenths of a step more or less than 32.
    const TENTHS: std::ops::RangeInclusive<i32> = -9..=9;
    let greatest = group.iter().copied().fold(0.0, |a: f32, b| if b.abs() > a.abs() { b } else { a });
    if greatest.abs() < f32::MIN_POSITIVE {
        return 0.0;
    }
    let candidate = |tenths: i32| {
        let inv_scale = -(32.0 + 0.1 * tenths as f32) / greatest;
        let codes = group.map(|value| (value * inv_scale).round().clamp(-32.0, 31.0));
        let products: f32 = group.iter().zip(&codes).map(|(value, code)| value * code).sum();
        let squares: f32 = codes.iter().map(|code| code * code).sum();
        let scale = products / squares;
        let errors = group.iter().zip(&codes).map(|(value, code)| (value - scale * code).powi(2));
        (errors.sum::<f32>(), scale)
    };
    TENTHS.map(candidate).min_by(|a, b| a.0.total_cmp(&b.0)).map_or(0.0, |(_, scale)| scale)
}

/// The block whose values are all 0.
fn q6_k_zeros() -> [u8; Q6_K_BYTES] {
    let mut block = [0; Q6_K_BYTES];
    (0..Q6_K_BLOCK).for_each(|i| put_q6(&mut block, i, 32));
    block
}

/// Sets the six bits of value `i`, which are 0 before.
fn put_q6(block: &mut [u8; Q6_K_BYTES], i: usize, q: u8) {
    let (half, l, m) = (i / 128, i % 128 / 32, i % 32);
    block[half * 64 + l % 2 * 32 + m] |= (q & 15) << (l / 2 * 4);
    block[Q6_K_HIGH + half * 32 + m] |= (q >> 4) << (l * 2);
}

fn greatest_magnitude(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |greatest, value| greatest.max(value.abs()))
}

fn put_scale(block: &mut [u8], at: usize, scale: f32) {
    let scale = f16::from_f32(scale);
    assert!(scale.is_finite(), "put_scale: a scale that f16 can hold");
    block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
}

fn scale_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn q8_0_is_half_a_step_away_at_most(values in proptest::array::uniform32(-4.0f32..4.0)) {
            let read = q8_0_block(&to_q8_0_block(&values));
            let greatest = greatest_magnitude(&values);
            for (read, value) in read.iter().zip(&values) {
                prop_assert!((read - value).abs() <= greatest * (0.5 / 127.0 + 1.0 / 2048.0) + 1e-7);
            }
        }

        #[test]
        fn q6_k_is_a_step_away_at_most(values in proptest::collection::vec(-4.0f32..4.0, Q6_K_BLOCK)) {
            let values: [f32; Q6_K_BLOCK] = values.try_into().unwrap();
            let read = q6_k_block(&to_q6_k_block(&values));
            for (read, values) in read.chunks(Q6_K_GROUP).zip(values.chunks(Q6_K_GROUP)) {
                let greatest = greatest_magnitude(values);
                for (read, value) in read.iter().zip(values) {
                    prop_assert!((read - value).abs() <= greatest / 24.0, "{read} for {value} of {greatest}");
                }
            }
        }
    }

    #[test]
    fn zeros_come_back_and_a_ramp_nearly() {
        let values: [f32; Q6_K_BLOCK] = std::array::from_fn(|i| (i % 64) as f32 / 16.0 - 2.0);
        assert_eq!(q6_k_block(&to_q6_k_block(&[0.0; Q6_K_BLOCK])), [0.0; Q6_K_BLOCK]);
        assert_eq!(q8_0_block(&to_q8_0_block(&[0.0; Q32_BLOCK])), [0.0; Q32_BLOCK]);
        let once = q6_k_block(&to_q6_k_block(&values));
        let errors = once.iter().zip(&values).map(|(a, b)| (a - b).powi(2)).sum::<f32>() / Q6_K_BLOCK as f32;
        assert!(errors.sqrt() < 0.02, "{errors}");
    }
}
