//! Blocks of numbers that are not ternary: those that embeddings and heads are stored in.
//!
//! ```text
//! Q8_0   32 values,  34 bytes   d f16, q[32] i8                      q d
//! Q4_0   32 values,  18 bytes   d f16, nibbles[16]                   (q - 8) d; value i < 16 low, i + 16 high
//! Q6_K  256 values, 210 bytes   low[128], high[64], s[16] i8, d f16  (q - 32) s d, a scale s for 16 values
//!        in each half: value 32 l + m has its low four bits in low[32 (l mod 2) + m], nibble l div 2,
//!        its high two in bits 2 l of high[m]
//! ```
//!
//! Q8_0 is made as llama.cpp makes it. For Q6_K there are as many ways as programs: here each group takes the scale of
//! least squared error, and values that a block holds are kept as they are.

use half::f16;

/// Values of a block of Q8_0 and Q4_0.
pub(super) const Q32_BLOCK: usize = 32;
pub(super) const Q8_0_BYTES: usize = 34;
pub(super) const Q4_0_BYTES: usize = 18;
pub(super) const Q6_K_BLOCK: usize = 256;
pub(super) const Q6_K_BYTES: usize = 210;

/// Values of a group of Q6_K, which have one scale, and groups of a block.
const Q6_K_GROUP: usize = 16;
const Q6_K_GROUPS: usize = Q6_K_BLOCK / Q6_K_GROUP;
/// The greatest magnitude of a level of Q6_K, and of a group's scale; both only with the sign minus.
const LEVELS: i16 = 32;
const GROUP_SCALES: i16 = 128;

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

/// The block of Q8_0 nearest to these values: `d = max |x| / 127`, and `q` is `x / d`, rounded half away from 0.
///
/// # Panics
/// If a value is not finite, or too great for the scale.
pub fn to_q8_0_block(values: &[f32; Q32_BLOCK]) -> [u8; Q8_0_BYTES] {
    assert!(values.iter().all(|value| value.is_finite()), "to_q8_0_block: values are finite");
    let scale = absmax(values) / 127.0;
    let stored = f16::from_f32(scale);
    assert!(stored.is_finite(), "to_q8_0_block: the scale is one that f16 has");
    // As in llama.cpp, the quotient is by the scale before it is rounded to f16.
    let inv_scale = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let mut block = [0; Q8_0_BYTES];
    block[..2].copy_from_slice(&stored.to_le_bytes());
    for (byte, value) in block[2..].iter_mut().zip(values) {
        *byte = ((value * inv_scale).round() as i8).cast_unsigned();
    }
    block
}

/// A block of Q6_K near to these values, and with these values if there is one.
///
/// `d` is such that the greatest magnitude of the block can be 31 steps of a group whose scale is 127. A group's scale
/// is, of those with which its greatest magnitude is some 28 to 34 steps, the one of least squared error.
///
/// # Panics
/// If a value is not finite, or too great for the scale.
pub fn to_q6_k_block(values: &[f32; Q6_K_BLOCK]) -> [u8; Q6_K_BYTES] {
    assert!(values.iter().all(|value| value.is_finite()), "to_q6_k_block: values are finite");
    if let Some(block) = exact_q6_k_block(values) {
        return block;
    }
    let stored = f16::from_f32(absmax(values) / (31.0 * 127.0));
    assert!(stored.is_finite(), "to_q6_k_block: the scale is one that f16 has");
    let scale = stored.to_f32();
    let mut group_scales = [0; Q6_K_GROUPS];
    if scale != 0.0 {
        for (group_scale, group) in group_scales.iter_mut().zip(values.as_chunks().0) {
            *group_scale = nearest_group_scale(group, scale);
        }
    }
    q6_k_of(values, stored, &group_scales)
}

/// The scale of a group that leaves the least squared error, as a multiple of the block's.
fn nearest_group_scale(group: &[f32; Q6_K_GROUP], scale: f32) -> i8 {
    let greatest = absmax(group) / scale;
    let [least, most] = [(greatest / 34.0).floor().min(127.0), (greatest / 28.0).ceil().min(128.0)];
    // Levels reach from -32 to 31, so that the sign of the scale counts.
    let candidates = (least as i16..=most as i16).flat_map(|magnitude| [magnitude, -magnitude]);
    let candidates = candidates.filter_map(|candidate| i8::try_from(candidate).ok());
    let squared_error = |group_scale: i8| -> f32 {
        let step = scale * f32::from(group_scale);
        group
            .iter()
            .map(|value| value - step * f32::from(level(*value, step)))
            .map(|error| error * error)
            .sum()
    };
    let errors = candidates.map(|candidate| (squared_error(candidate), candidate));
    errors.min_by(|(a, _), (b, _)| a.total_cmp(b)).map_or(0, |(_, best)| best)
}

/// The block of Q6_K that has exactly these values, if there is one.
///
/// Values of a group that are whole multiples of a step tell it but for a factor `j`, since all levels can have one in
/// common; then the step is `j` times the product of two scales.
fn exact_q6_k_block(values: &[f32; Q6_K_BLOCK]) -> Option<[u8; Q6_K_BYTES]> {
    let mut groups = [Multiples::default(); Q6_K_GROUPS];
    for (multiples, group) in groups.iter_mut().zip(values.as_chunks().0) {
        *multiples = Multiples::of(group)?;
    }
    let widest = groups.iter().map(|group| group.step).fold(0.0, f32::max);
    (1..=LEVELS * GROUP_SCALES).find_map(|parts| {
        let magnitude = f16::from_f32(widest / f32::from(parts));
        let is_part = near(magnitude.to_f32() * f32::from(parts), widest);
        let scales = [magnitude, -magnitude].into_iter().filter(|scale| is_part && scale.is_finite());
        scales.into_iter().find_map(|scale| {
            let mut group_scales = [0; Q6_K_GROUPS];
            for (group_scale, group) in group_scales.iter_mut().zip(&groups) {
                *group_scale = group.scale(scale.to_f32())?;
            }
            let block = q6_k_of(values, scale, &group_scales);
            (q6_k_block(&block) == *values).then_some(block)
        })
    })
}

/// Values that are whole multiples of a step.
#[derive(Clone, Copy, Default)]
struct Multiples {
    /// The widest such step.
    step: f32,
    /// The least and the greatest multiple.
    ends: [i16; 2],
}

impl Multiples {
    /// Of a group; nothing if it has values between the multiples of every step.
    fn of(group: &[f32; Q6_K_GROUP]) -> Option<Self> {
        let greatest = absmax(group);
        if greatest == 0.0 {
            return Some(Self::default());
        }
        (1..=LEVELS).find_map(|count| {
            let step = greatest / f32::from(count);
            let mut ends = [0, 0];
            for value in group {
                let multiple = (value / step).round();
                if !near(multiple * step, *value) {
                    return None;
                }
                ends = [ends[0].min(multiple as i16), ends[1].max(multiple as i16)];
            }
            Some(Self { step, ends })
        })
    }

    /// A scale of the group that gives these values in a block with the scale `d`.
    fn scale(&self, d: f32) -> Option<i8> {
        if self.step == 0.0 {
            return Some(0);
        }
        let product = (self.step / d).round();
        if !near(product * d, self.step) {
            return None;
        }
        let product = product as i32;
        (1..=LEVELS).filter(|j| product % i32::from(*j) == 0).find_map(|j| {
            let [least, greatest] = self.ends.map(|end| end * j);
            let scale = i8::try_from(product / i32::from(j)).ok();
            let flipped = i8::try_from(-product / i32::from(j)).ok();
            let fits = |least: i16, greatest: i16| least >= -LEVELS && greatest < LEVELS;
            scale.filter(|_| fits(least, greatest)).or(flipped.filter(|_| fits(-greatest, -least)))
        })
    }
}

/// Whether two numbers differ by no more than the roundings of f32.
fn near(a: f32, b: f32) -> bool {
    (a - b).abs() <= 4.0 * f32::EPSILON * b.abs()
}

/// The block of Q6_K of these scales, its levels those nearest to the values.
fn q6_k_of(values: &[f32; Q6_K_BLOCK], scale: f16, group_scales: &[i8; Q6_K_GROUPS]) -> [u8; Q6_K_BYTES] {
    let mut block = [0; Q6_K_BYTES];
    for (i, value) in values.iter().enumerate() {
        let step = scale.to_f32() * f32::from(group_scales[i / Q6_K_GROUP]);
        let level = (i16::from(level(*value, step)) + LEVELS) as u8;
        let (half, l, m) = (i / 128, i % 128 / 32, i % 32);
        block[half * 64 + l % 2 * 32 + m] |= (level & 15) << (l / 2 * 4);
        block[Q6_K_HIGH + half * 32 + m] |= level >> 4 << (l * 2);
    }
    for (byte, group_scale) in block[Q6_K_SCALES..].iter_mut().zip(group_scales) {
        *byte = group_scale.cast_unsigned();
    }
    block[Q6_K_SCALE..].copy_from_slice(&scale.to_le_bytes());
    block
}

/// The level of Q6_K, -32 to 31, that is nearest to a value.
fn level(value: f32, step: f32) -> i8 {
    if step == 0.0 { 0 } else { (value / step).round().clamp(-32.0, 31.0) as i8 }
}

fn absmax(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |greatest, value| greatest.max(value.abs()))
}

fn scale_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}
