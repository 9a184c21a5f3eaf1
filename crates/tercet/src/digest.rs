//! Digests as text, and that of logits: one line that says whether two machines compute the same bits.

use sha2::{Digest, Sha256};

/// Hashes logits, little-endian f32, position after position.
#[derive(Default)]
pub struct LogitsDigest(Sha256);

impl LogitsDigest {
    /// Adds the logits of the next positions.
    pub fn update(&mut self, logits: &[f32]) {
        let mut bytes = [0; 4096];
        for logits in logits.chunks(bytes.len() / size_of::<f32>()) {
            let bytes = &mut bytes[..size_of_val(logits)];
            for (bytes, logit) in bytes.as_chunks_mut().0.iter_mut().zip(logits) {
                *bytes = logit.to_le_bytes();
            }
            self.0.update(&*bytes);
        }
    }

    /// The digest in lower-case hexadecimal.
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_two_digits() {
        assert_eq!(hex(&[0, 10, 255]), "000aff");
    }

    #[test]
    fn it_hashes_little_endian_bytes_however_they_come() {
        let logits: Vec<f32> = (0..3000).map(|i| i as f32).collect();
        let bytes: Vec<u8> = logits.iter().flat_map(|x| x.to_le_bytes()).collect();
        let want = hex(&Sha256::digest(&bytes));
        for chunk in [1, 7, 1024, 3000] {
            let mut digest = LogitsDigest::default();
            logits.chunks(chunk).for_each(|logits| digest.update(logits));
            assert_eq!(digest.finish(), want);
        }
    }
}
