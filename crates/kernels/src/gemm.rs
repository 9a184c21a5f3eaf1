//! Products of f32 matrices by the `gemm` crate, on one thread.
//!
//! The one file that knows that crate. Its order of additions depends on the shapes and on the
//! machine, so nothing of a forward pass that is published as bits may use it; the same shapes
//! give the same bits on one machine, so a pass that cuts its work into fixed blocks does not
//! depend on the number of threads.
#![expect(unsafe_code, reason = "the `gemm` crate takes pointers and strides")]

use gemm::Parallelism;

/// A matrix that is read: `rows` × `cols` elements of a slice, at strides.
#[derive(Clone, Copy)]
pub(crate) struct MatrixRef<'a> {
    values: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> MatrixRef<'a> {
    /// The rows that begin every `row_stride` elements from the first element on.
    pub(crate) fn new(values: &'a [f32], [rows, cols]: [usize; 2], row_stride: usize) -> Self {
        assert!(fits(values.len(), [rows, cols], row_stride), "MatrixRef: the matrix lies in the slice");
        MatrixRef { values, rows, cols, row_stride, col_stride: 1 }
    }

    /// The same elements with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        MatrixRef {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

/// A matrix that is written.
pub(crate) struct MatrixMut<'a> {
    values: &'a mut [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// The rows that begin every `row_stride` elements from the first element on.
    pub(crate) fn new(values: &'a mut [f32], [rows, cols]: [usize; 2], row_stride: usize) -> Self {
        assert!(fits(values.len(), [rows, cols], row_stride), "MatrixMut: the matrix lies in the slice");
        MatrixMut { values, rows, cols, row_stride }
    }
}

fn fits(len: usize, [rows, cols]: [usize; 2], row_stride: usize) -> bool {
    let last = rows.checked_sub(1).and_then(|last| last.checked_mul(row_stride)?.checked_add(cols));
    cols <= row_stride && (rows == 0 || last.is_some_and(|end| end <= len))
}

/// What becomes of the elements that a product is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// They are replaced.
    Replace,
    /// The product is added to them.
    Add,
}

/// `out = a · b · scale`, or `out += a · b · scale`.
///
/// # Panics
/// If the shapes do not fit.
pub(crate) fn multiply(
    a: MatrixRef<'_>,
    b: MatrixRef<'_>,
    scale: f32,
    destination: Destination,
    out: MatrixMut<'_>,
) {
    assert!(a.cols == b.rows, "multiply: a has a column a row of b");
    assert!(out.rows == a.rows && out.cols == b.cols, "multiply: out has the shape of the product");
    let is_added = destination == Destination::Add;
    // SAFETY: every element (row, col) of the three matrices lies in its slice: `fits` has checked
    // the last one at construction, strides are not negative, and a transposed matrix has the same
    // elements. `out` is borrowed exclusively, so it overlaps neither `a` nor `b`.
    unsafe {
        gemm::gemm(
            out.rows,
            out.cols,
            a.cols,
            out.values.as_mut_ptr(),
            1,
            out.row_stride as isize,
            is_added,
            a.values.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            f32::from(u8::from(is_added)),
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_the_definition() {
        let numbers = |len: usize, seed: usize| -> Vec<f32> {
            (0..len).map(|i| ((i * 7 + seed * 13) % 11) as f32 - 5.0).collect()
        };
        for [m, n, k] in [[1, 1, 1], [3, 5, 2], [17, 9, 33], [64, 70, 5], [2, 3, 0]] {
            let (a, b) = (numbers(k * m, 1), numbers(k * (n + 3), 2));
            let mut out = numbers(m * (n + 2), 3);
            let before = out.clone();
            // `a` is stored transposed, `b` and `out` lie in wider rows.
            let view = MatrixMut::new(&mut out, [m, n], n + 2);
            let a_view = MatrixRef::new(&a, [k, m], m).transposed();
            multiply(a_view, MatrixRef::new(&b, [k, n], n + 3), 2.0, Destination::Add, view);
            for row in 0..m {
                for col in 0..n + 2 {
                    let product: f32 = (0..k).map(|i| a[i * m + row] * b[i * (n + 3) + col]).sum();
                    let added = if col < n { 2.0 * product } else { 0.0 };
                    let at = row * (n + 2) + col;
                    assert_eq!(out[at], before[at] + added, "{m} {n} {k}: ({row}, {col})");
                }
            }
        }
    }

    #[test]
    fn what_is_replaced_is_not_read() {
        let mut out = [f32::NAN; 4];
        let unit = [1.0, 0.0, 0.0, 1.0];
        let unit = MatrixRef::new(&unit, [2, 2], 2);
        multiply(unit, unit, 3.0, Destination::Replace, MatrixMut::new(&mut out, [2, 2], 2));
        assert_eq!(out, [3.0, 0.0, 0.0, 3.0]);
    }

    #[test]
    #[should_panic(expected = "lies in the slice")]
    fn a_matrix_past_the_end_is_refused() {
        MatrixRef::new(&[0.0; 7], [2, 4], 4);
    }
}
