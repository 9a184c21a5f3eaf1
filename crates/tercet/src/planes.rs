//! Ternary codes four a byte, as transformers stores them: in planes of rows, not of neighbouring ones.
//!
//! ```text
//! row r is in byte row r mod R, bits 2 (r div R)        R = ceil(rows / 4)
//! ```
//!
//! Rows that a matrix has not count as weight 0 (transformers, `integrations/bitnet.py`). It knows no scale.

/// Planes of a byte.
pub const PLANES: usize = 4;

/// Rows of bytes of a matrix of so many rows.
pub fn byte_rows(rows: usize) -> usize {
    rows.div_ceil(PLANES)
}

/// Adds the codes of a plane to a row of bytes, whose bits of the plane are 0 before.
pub fn put(codes: &[u8], plane: usize, bytes: &mut [u8]) {
    for (byte, code) in bytes.iter_mut().zip(codes) {
        *byte |= code << (2 * plane);
    }
}

/// Reads the codes of a plane of a row of bytes; a code of 3, which no weight has, is given as it is.
pub fn get(bytes: &[u8], plane: usize, codes: &mut [u8]) {
    for (code, byte) in codes.iter_mut().zip(bytes) {
        *code = byte >> (2 * plane) & 3;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_has_the_bytes_of_transformers() {
        // Codes (7 i + i div 5) mod 3 of an 8 × 4 matrix, packed by transformers.
        let code = |i: usize| ((7 * i + i / 5) % 3) as u8;
        let [rows, cols] = [8, 4];
        let mut bytes = vec![vec![0; cols]; byte_rows(rows)];
        for row in 0..rows {
            let codes: Vec<u8> = (0..cols).map(|col| code(row * cols + col)).collect();
            put(&codes, row / byte_rows(rows), &mut bytes[row % byte_rows(rows)]);
        }
        assert_eq!(bytes, [[80, 37, 66, 148], [9, 80, 37, 66]]);
        let mut codes = [0; 4];
        get(&bytes[1], 3, &mut codes);
        assert_eq!(codes, [code(28), code(29), code(30), code(31)]);
    }
}
