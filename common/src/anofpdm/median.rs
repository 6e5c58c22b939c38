//! The median filter of a map (Appendix F): that of 5 x 5 pixels, which was published, on the processor's vectors; other
//! sides pixel by pixel.

use std::array::from_fn;

use pulp::{Arch, Simd, WithSimd};

/// Side of the published window.
const WINDOW: usize = 5;
/// Most `f32` lanes of a vector on any machine.
const MAX_LANES: usize = 16;

/// Median of the window of `side` x `side` pixels around each pixel of a `height` x `width` map; 1 filters nothing.
///
/// The border is mirrored without repeating the edge (index -1 is 1, -2 is 2); where the map is smaller than that, the
/// mirror image is mirrored again, so every size has an answer. A NaN spreads to all windows it is in.
///
/// # Panics
/// When `map` does not hold `height * width` values, or `side` is even.
pub fn median(map: &[f32], height: usize, width: usize, side: u32) -> Vec<f32> {
    assert_eq!(
        map.len(),
        height * width,
        "a map of another size than stated. This is a bug."
    );
    assert!(side % 2 == 1, "a window without a middle. This is a bug.");
    if map.is_empty() {
        return Vec::new();
    }
    let side = side as usize;
    let mut filtered = vec![0.0; map.len()];
    let padded = Padded::new(map, height, width, side / 2);
    if side == WINDOW {
        Arch::new().dispatch(Pass {
            padded: &padded,
            filtered: &mut filtered,
            width,
        });
    } else {
        one_by_one(&padded, &mut filtered, width, side);
    }
    spread_nan(map, &mut filtered, (height, width), side);
    filtered
}

/// The median of every window, each found by itself.
fn one_by_one(padded: &Padded, filtered: &mut [f32], width: usize, side: usize) {
    let mut window = Vec::with_capacity(side * side);
    for (y, row) in filtered.chunks_exact_mut(width).enumerate() {
        for (x, value) in row.iter_mut().enumerate() {
            window.clear();
            for below in 0..side {
                window.extend_from_slice(&padded.row(y + below)[x..x + side]);
            }
            let middle = window.len() / 2;
            *value = *window.select_nth_unstable_by(middle, f32::total_cmp).1;
        }
    }
}

/// The mirrored map, its rows long enough to read whole vectors everywhere.
struct Padded {
    values: Vec<f32>,
    stride: usize,
}

impl Padded {
    /// With `padding` pixels more on every side.
    fn new(map: &[f32], height: usize, width: usize, padding: usize) -> Self {
        let stride = (width + 2 * padding).next_multiple_of(MAX_LANES) + MAX_LANES;
        let mut values = vec![0.0; stride * (height + 2 * padding)];
        for (y, row) in values.chunks_exact_mut(stride).enumerate() {
            let source = &map[mirrored(y, height, padding) * width..][..width];
            for (value, pixel) in row[padding..].iter_mut().zip(source) {
                *value = ordered(*pixel);
            }
            for x in (0..padding).chain(padding + width..2 * padding + width) {
                row[x] = ordered(source[mirrored(x, width, padding)]);
            }
        }
        Self { values, stride }
    }

    fn row(&self, y: usize) -> &[f32] {
        &self.values[y * self.stride..][..self.stride]
    }
}

/// NaN has no place in an order: `spread_nan` puts it where it belongs. Zero has one sign only, so that no two equal
/// values have different bits.
fn ordered(pixel: f32) -> f32 {
    if pixel.is_nan() { 0.0 } else { pixel + 0.0 }
}

/// Index into a side of `length` pixels for coordinate `position` of one with `padding` pixels before it.
const fn mirrored(position: usize, length: usize, padding: usize) -> usize {
    if length == 1 {
        return 0;
    }
    let period = 2 * (length - 1);
    // Periods are added first so that the coordinate left of the border stays positive.
    let folded = (position + padding * period - padding) % period;
    if folded < length {
        folded
    } else {
        period - folded
    }
}

/// The filter over all rows, as many pixels at once as the processor's vectors have lanes.
struct Pass<'a> {
    padded: &'a Padded,
    filtered: &'a mut [f32],
    width: usize,
}

impl WithSimd for Pass<'_> {
    type Output = ();

    // What is not inlined into this function, as closures may not be, is compiled without the processor's vectors.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let stride = self.padded.stride;
        // The columns of all windows of a row, sorted; rank after rank, each as wide as the padded map.
        let mut columns = vec![0.0; WINDOW * stride];
        for (y, out) in self.filtered.chunks_exact_mut(self.width).enumerate() {
            let rows = from_fn(|below| S::as_simd_f32s(self.padded.row(y + below)).0);
            sort_columns(simd, rows, &mut columns);
            medians_of_row(simd, &columns, out);
        }
    }
}

/// Sorts the five values above each other; the order is the same for all windows that hold the column.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // an iterator may not be inlined
fn sort_columns<S: Simd>(simd: S, rows: [&[S::f32s]; WINDOW], columns: &mut [f32]) {
    let vectors = rows[0].len();
    let (columns, _) = S::as_mut_simd_f32s(columns);
    for x in 0..vectors {
        let column = sorted(simd, at::<S>(&rows, x));
        for rank in 0..WINDOW {
            columns[rank * vectors + x] = column[rank];
        }
    }
}

/// The median of every window of a row.
///
/// Once its columns and then its rows are sorted, (i + 1) (j + 1) values of a window are at most as large as that in
/// row i and column j, and (5 - i) (5 - j) at least as large: where either is more than 13 it is not the 13th. Six
/// places are too low for it, six too high, and the median is the middle one of the other 13.
#[inline(always)]
fn medians_of_row<S: Simd>(simd: S, columns: &[f32], out: &mut [f32]) {
    let stride = columns.len() / WINDOW;
    let ranks: [[&[S::f32s]; WINDOW]; WINDOW] = from_fn(|rank| {
        from_fn(|right| S::as_simd_f32s(&columns[rank * stride + right..][..stride - MAX_LANES]).0)
    });
    for (x, out) in out.chunks_mut(S::F32_LANES).enumerate() {
        let [_, _, _, a, b] = sorted(simd, at::<S>(&ranks[0], x));
        let [_, _, c, d, e] = sorted(simd, at::<S>(&ranks[1], x));
        let [_, f, g, h, _] = sorted(simd, at::<S>(&ranks[2], x));
        let [i, j, k, _, _] = sorted(simd, at::<S>(&ranks[3], x));
        let [l, m, _, _, _] = sorted(simd, at::<S>(&ranks[4], x));
        let median = middle(simd, [a, b, c, d, e, f, g, h, i, j, k, l, m]);
        simd.partial_store_f32s(out, median);
    }
}

/// The vectors at one place of five rows.
#[inline(always)]
fn at<S: Simd>(rows: &[&[S::f32s]; WINDOW], x: usize) -> [S::f32s; WINDOW] {
    let [a, b, c, d, e] = rows;
    [a[x], b[x], c[x], d[x], e[x]]
}

/// Five values in order, lane by lane.
#[inline(always)]
fn sorted<S: Simd>(simd: S, [a, b, c, d, e]: [S::f32s; 5]) -> [S::f32s; 5] {
    let (a, b) = exchange(simd, a, b);
    let (d, e) = exchange(simd, d, e);
    let (c, e) = exchange(simd, c, e);
    let (c, d) = exchange(simd, c, d);
    let (b, e) = exchange(simd, b, e);
    let (a, d) = exchange(simd, a, d);
    let (a, c) = exchange(simd, a, c);
    let (b, d) = exchange(simd, b, d);
    let (b, c) = exchange(simd, b, c);
    [a, b, c, d, e]
}

/// The middle one of 13, lane by lane. Neither the smallest nor the largest of any eight is it, so both are dropped and
/// the next value is taken in, until three are left.
#[inline(always)]
fn middle<S: Simd>(simd: S, values: [S::f32s; 13]) -> S::f32s {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m] = values;
    let eight = [a, b, c, d, e, f, g, h];
    let [_, a, b, c, d, e, f, _] = extremes(simd, eight);
    let [_, a, b, c, d, e, _] = extremes(simd, [a, b, c, d, e, f, i]);
    let [_, a, b, c, d, _] = extremes(simd, [a, b, c, d, e, j]);
    let [_, a, b, c, _] = extremes(simd, [a, b, c, d, k]);
    let [_, a, b, _] = extremes(simd, [a, b, c, l]);
    let [_, median, _] = extremes(simd, [a, b, m]);
    median
}

/// The smallest value of every lane first, the largest last.
#[inline(always)]
fn extremes<S: Simd, const N: usize>(simd: S, mut values: [S::f32s; N]) -> [S::f32s; N] {
    // Pairs first: then the smallest is in the front half and the largest in the back half.
    for index in 0..N / 2 {
        (values[index], values[N - 1 - index]) =
            exchange(simd, values[index], values[N - 1 - index]);
    }
    for index in 1..N.div_ceil(2) {
        (values[0], values[index]) = exchange(simd, values[0], values[index]);
    }
    for index in N / 2..N - 1 {
        (values[index], values[N - 1]) = exchange(simd, values[index], values[N - 1]);
    }
    values
}

/// The smaller and the larger of two values, lane by lane.
#[inline(always)]
fn exchange<S: Simd>(simd: S, a: S::f32s, b: S::f32s) -> (S::f32s, S::f32s) {
    (simd.min_f32s(a, b), simd.max_f32s(a, b))
}

/// Overwrites with NaN each filtered pixel whose (mirrored) window holds one.
fn spread_nan(map: &[f32], filtered: &mut [f32], (height, width): (usize, usize), side: usize) {
    if !map.iter().any(|value| value.is_nan()) {
        return;
    }
    for (y, row) in filtered.chunks_exact_mut(width).enumerate() {
        for (x, value) in row.iter_mut().enumerate() {
            let holds_nan = (0..side * side).any(|index| {
                let source_y = mirrored(y + index / side, height, side / 2);
                let source_x = mirrored(x + index % side, width, side / 2);
                map[source_y * width + source_x].is_nan()
            });
            if holds_nan {
                *value = f32::NAN;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(map: &[f32], height: usize, width: usize, side: isize) -> Vec<f32> {
        let fold = |position: isize, length: usize| -> usize {
            let mut position = position;
            let last = length.cast_signed() - 1;
            while position < 0 || position > last {
                position = if last == 0 { 0 } else { position.abs() };
                if position > last {
                    position = 2 * last - position;
                }
            }
            position as usize
        };
        let mut filtered = Vec::new();
        for y in 0..height.cast_signed() {
            for x in 0..width.cast_signed() {
                let mut window: Vec<f32> = (0..side * side)
                    .map(|i| {
                        let source_y = fold(y + i / side - side / 2, height);
                        map[source_y * width + fold(x + i % side - side / 2, width)]
                    })
                    .collect();
                window.sort_by(f32::total_cmp);
                filtered.push(window[window.len() / 2]);
            }
        }
        filtered
    }

    #[test]
    fn nan_reaches_its_windows_and_no_further() {
        let mut map = vec![1.0; 9 * 9];
        map[4 * 9 + 4] = f32::NAN;
        for side in [1, 3, 5, 7] {
            let filtered = median(&map, 9, 9, side);
            let reach = side as usize / 2;
            for (index, value) in filtered.iter().enumerate() {
                let near = (index / 9).abs_diff(4) <= reach && (index % 9).abs_diff(4) <= reach;
                assert_eq!(value.is_nan(), near, "side {side}, pixel {index}");
            }
        }
    }

    #[test]
    fn an_empty_map_stays_empty() {
        assert!(median(&[], 0, 7, 5).is_empty());
    }

    /// scipy 1.17.1, `scipy.ndimage.median_filter(map, size=side, mode="mirror")`.
    #[test]
    fn agrees_with_scipy() {
        let map: Vec<f32> = (0..35)
            .map(|pixel| (pixel * 37 + 11) % 64)
            .map(|value| value as f32)
            .collect();
        let expected: [(u32, [u8; 35]); 4] = [
            (
                3,
                [
                    48, 24, 51, 34, 34, 34, 7, //
                    48, 24, 48, 31, 31, 34, 10, //
                    51, 27, 30, 30, 13, 37, 13, //
                    54, 30, 30, 30, 13, 40, 16, //
                    57, 30, 30, 30, 13, 40, 16, //
                ],
            ),
            (
                5,
                [
                    27, 48, 31, 31, 31, 31, 34, //
                    27, 48, 31, 31, 31, 31, 34, //
                    30, 33, 31, 31, 31, 16, 34, //
                    30, 30, 30, 30, 30, 16, 37, //
                    30, 30, 30, 30, 30, 13, 37, //
                ],
            ),
            (
                7,
                [
                    27, 30, 30, 30, 30, 30, 34, //
                    27, 33, 31, 31, 31, 31, 34, //
                    30, 33, 31, 31, 31, 31, 34, //
                    27, 31, 30, 30, 30, 30, 31, //
                    27, 33, 30, 30, 30, 30, 34, //
                ],
            ),
            (
                9,
                [
                    33, 30, 33, 31, 31, 33, 30, //
                    33, 30, 31, 30, 30, 33, 30, //
                    33, 27, 31, 30, 30, 33, 27, //
                    34, 30, 33, 31, 31, 34, 30, //
                    33, 30, 31, 31, 31, 33, 30, //
                ],
            ),
        ];
        for (side, expected) in expected {
            let filtered = median(&map, 5, 7, side);
            assert_eq!(filtered, expected.map(f32::from), "side {side}");
        }
        assert_eq!(median(&map, 5, 7, 1), map);
    }

    proptest! {
        #[test]
        fn agrees_with_sorting_each_window(
            (height, width, map) in (1_usize..40, 1_usize..40).prop_flat_map(|(h, w)| {
                (Just(h), Just(w), prop::collection::vec(-8_i8..8, h * w))
            }),
        ) {
            let map: Vec<f32> = map.into_iter().map(|v| f32::from(v) / -3.0).collect();
            let filtered = median(&map, height, width, 5);
            prop_assert_eq!(&filtered, &naive(&map, height, width, 5));
            // A processor without vectors gives the same bits.
            let mut one_by_one = vec![0.0; map.len()];
            let padded = Padded::new(&map, height, width, WINDOW / 2);
            pulp::Scalar.vectorize(Pass { padded: &padded, filtered: &mut one_by_one, width });
            let bits = |map: &[f32]| map.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&filtered), bits(&one_by_one));
            for side in [1_u32, 3, 7, 15] {
                let filtered = median(&map, height, width, side);
                prop_assert_eq!(&filtered, &naive(&map, height, width, isize::try_from(side).unwrap()));
            }
        }
    }
}
