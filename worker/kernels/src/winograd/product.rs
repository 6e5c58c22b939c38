//! The matrix products of transformed tiles and weights, with sums in registers.

use pulp::Simd;

use super::PANEL;

/// `c = a b` with `a` `[rows, k]`, `b` in panels `[columns / 32, k, 32]`, `c` `[rows, columns]`.
#[inline(always)]
pub(super) fn multiply<S: Simd>(
    simd: S,
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    k: usize,
    columns: usize,
) {
    match S::F32_LANES {
        16 => panels::<S, 8, 2>(simd, a, b, c, k, columns),
        8 => panels::<S, 6, 2>(simd, a, b, c, k, columns),
        4 => panels::<S, 3, 4>(simd, a, b, c, k, columns),
        _ => panels::<S, 1, PANEL>(simd, a, b, c, k, columns),
    }
}

/// `ROWS` rows by `VECTORS` vectors of a panel at a time, whose sums stay in registers: with a factor and the vectors of
/// `b` these fill the 32 of AVX-512 and the 16 of AVX2.
#[inline(always)]
fn panels<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    k: usize,
    columns: usize,
) {
    for (panel, b) in b.chunks_exact(k * PANEL).enumerate() {
        let (b, _) = S::as_simd_f32s(b);
        let (a, c) = blocks::<S, ROWS, VECTORS>(simd, a, b, c, k, columns, panel);
        // One row at a time would wait for each of its sums.
        let (a, c) = blocks::<S, 4, VECTORS>(simd, a, b, c, k, columns, panel);
        let (a, c) = blocks::<S, 2, VECTORS>(simd, a, b, c, k, columns, panel);
        blocks::<S, 1, VECTORS>(simd, a, b, c, k, columns, panel);
    }
}

/// As many blocks of `ROWS` rows as there are; returns what is left.
#[inline(always)]
fn blocks<'a, 'c, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    a: &'a [f32],
    b: &[S::f32s],
    c: &'c mut [f32],
    k: usize,
    columns: usize,
    panel: usize,
) -> (&'a [f32], &'c mut [f32]) {
    let mut a_blocks = a.chunks_exact(ROWS * k);
    let mut c_blocks = c.chunks_exact_mut(ROWS * columns);
    for (a, c) in (&mut a_blocks).zip(&mut c_blocks) {
        tile::<S, ROWS, VECTORS>(simd, a, b, c, k, columns, panel);
    }
    (a_blocks.remainder(), c_blocks.into_remainder())
}

#[inline(always)]
fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    a: &[f32],
    b: &[S::f32s],
    c: &mut [f32],
    k: usize,
    columns: usize,
    panel: usize,
) {
    let mut rows: [&[f32]; ROWS] = [&[]; ROWS];
    for row in 0..ROWS {
        rows[row] = &a[row * k..(row + 1) * k];
    }
    let zero = simd.splat_f32s(0.0);
    let across = PANEL / S::F32_LANES;
    for part in (0..across).step_by(VECTORS) {
        let mut sums = [[zero; VECTORS]; ROWS];
        for i in 0..k {
            let mut b_here = [zero; VECTORS];
            b_here.copy_from_slice(&b[i * across + part..][..VECTORS]);
            for row in 0..ROWS {
                let factor = simd.splat_f32s(rows[row][i]);
                for vector in 0..VECTORS {
                    sums[row][vector] =
                        simd.mul_add_f32s(factor, b_here[vector], sums[row][vector]);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            let at = row * columns + panel * PANEL + part * S::F32_LANES;
            let (out, _) = S::as_mut_simd_f32s(&mut c[at..at + VECTORS * S::F32_LANES]);
            out.copy_from_slice(sums);
        }
    }
}
