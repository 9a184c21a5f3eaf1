//! The rows of a tensor, made by all workers. It knows no format and no file.

use std::io::{self, Write};
use std::sync::Mutex;

use tercet_kernels::Pool;

use super::ConvertError;
use crate::first_error::FirstError;

/// Bytes that are made before they are written.
const CHUNK_BYTES: usize = 16 << 20;
/// Rows that a worker takes at once are about so many bytes.
const PART_BYTES: usize = 128 << 10;

/// Writes `rows` rows of `row_bytes` bytes each. `new_state` is called once a worker and chunk, and `fill` writes the
/// bytes of a row, which are 0 before.
///
/// # Errors
/// The error of the first row that has one, or what the writer fails with.
pub(super) fn write<State>(
    pool: &Pool,
    out: &mut dyn Write,
    [rows, row_bytes]: [usize; 2],
    new_state: impl Fn() -> State + Sync,
    fill: impl Fn(&mut State, usize, &mut [u8]) -> Result<(), ConvertError> + Sync,
) -> io::Result<()> {
    let part_rows = part_rows(row_bytes);
    let chunk_rows = (CHUNK_BYTES / row_bytes.max(1)).max(1).next_multiple_of(part_rows).min(rows);
    let mut chunk = vec![0; chunk_rows * row_bytes];
    for first_row in (0..rows).step_by(chunk_rows.max(1)) {
        let chunk = &mut chunk[..chunk_rows.min(rows - first_row) * row_bytes];
        chunk.fill(0);
        let made =
            make(pool, chunk, row_bytes, &new_state, |state, row, bytes| fill(state, first_row + row, bytes));
        made.map_err(ConvertError::into_io)?;
        out.write_all(chunk)?;
    }
    Ok(())
}

/// Makes rows of `row_len` values; the last may be shorter. `new_state` is called once a worker.
///
/// # Errors
/// The error of the first row that has one.
pub(super) fn make<Value: Send, State>(
    pool: &Pool,
    values: &mut [Value],
    row_len: usize,
    new_state: impl Fn() -> State + Sync,
    fill: impl Fn(&mut State, usize, &mut [Value]) -> Result<(), ConvertError> + Sync,
) -> Result<(), ConvertError> {
    let part_rows = part_rows(row_len * size_of::<Value>());
    let parts: Vec<Mutex<&mut [Value]>> =
        values.chunks_mut((part_rows * row_len).max(1)).map(Mutex::new).collect();
    let bad_row = FirstError::default();
    pool.run(|worker| {
        let mut state = new_state();
        for part in (worker.index()..parts.len()).step_by(worker.threads()) {
            let mut values = parts[part].lock().expect("rows::make: each part has one worker");
            for (row, values) in (part * part_rows..).zip(values.chunks_mut(row_len)) {
                if let Err(error) = fill(&mut state, row, values) {
                    bad_row.keep(row, error);
                }
            }
        }
    });
    bad_row.into_inner().map_or(Ok(()), Err)
}

fn part_rows(row_bytes: usize) -> usize {
    (PART_BYTES / row_bytes.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use tercet_kernels::Isa;

    use super::*;

    fn mark(row: usize) -> u8 {
        (row % 251) as u8 + 1
    }

    #[test]
    fn rows_come_in_order_whoever_makes_them() {
        for (rows, row_bytes) in [(0, 8), (1, 8), (1000, 300), (7, PART_BYTES + 1), (3, CHUNK_BYTES / 2)] {
            for threads in [1, 3] {
                let pool = Pool::new(Isa::scalar(), threads);
                let mut bytes = Vec::new();
                write(
                    &pool,
                    &mut bytes,
                    [rows, row_bytes],
                    || (),
                    |(), row, bytes| {
                        bytes.fill(mark(row));
                        Ok(())
                    },
                )
                .unwrap();
                assert_eq!(bytes.len(), rows * row_bytes);
                for (row, bytes) in bytes.chunks(row_bytes).enumerate() {
                    assert!(bytes.iter().all(|byte| *byte == mark(row)), "row {row} of {rows}");
                }
            }
        }
    }

    #[test]
    fn the_last_row_may_be_shorter() {
        for len in [0, 1, 99, 100, 101, 3 * PART_BYTES + 7] {
            let mut values = vec![0usize; len];
            let fill = |(): &mut (), row: usize, values: &mut [usize]| {
                values.fill(row + 1);
                Ok(())
            };
            make(&Pool::new(Isa::scalar(), 3), &mut values, 100, || (), fill).unwrap();
            assert!(values.iter().enumerate().all(|(i, value)| *value == i / 100 + 1), "{len}");
        }
    }

    #[test]
    fn the_first_row_that_fails_is_named() {
        let pool = Pool::new(Isa::scalar(), 2);
        let fail = |(): &mut (), row: usize, _: &mut [u8]| match row {
            5.. => Err(ConvertError::NotFinite { model: String::new(), name: String::new(), index: row }),
            _ => Ok(()),
        };
        let error = write(&pool, &mut Vec::new(), [4000, 100], || (), fail).unwrap_err();
        let error = ConvertError::from_io("m".into(), error);
        assert!(matches!(error, ConvertError::NotFinite { index: 5, .. }), "{error}");
    }
}
