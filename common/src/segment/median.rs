//! The 5x5 median filter of a map (Appendix F).

use pulp::Arch;

/// Side of the window.
const WINDOW: usize = 5;
/// Pixels added on every side.
const PADDING: usize = WINDOW / 2;
/// Values in a window.
const AREA: usize = WINDOW * WINDOW;
/// Neighbouring pixels filtered at once, one per vector lane.
const LANES: usize = 8;

type Lanes = [f32; LANES];

/// Median of the 5x5 window around each pixel of a `height` x `width` map.
///
/// The border is mirrored without repeating the edge (index -1 is 1, -2 is 2); where a side is shorter than 3,
/// the mirror image is mirrored again, so every size has an answer. A NaN spreads to all windows it is in.
///
/// # Panics
/// When `map` does not hold `height * width` values.
pub fn median_5x5(map: &[f32], height: usize, width: usize) -> Vec<f32> {
    assert_eq!(
        map.len(),
        height * width,
        "a map of another size than stated. This is a bug."
    );
    if map.is_empty() {
        return Vec::new();
    }
    let padded = Padded::new(map, height, width);
    let mut filtered = vec![0.0; map.len()];
    // With the vector instructions this machine has; comparisons give the same bits with any.
    Arch::new().dispatch(|| padded.filter(&mut filtered, width));
    spread_nan(map, &mut filtered, height, width);
    filtered
}

/// The mirrored map, its rows long enough to read whole vectors everywhere.
struct Padded {
    values: Vec<f32>,
    stride: usize,
}

impl Padded {
    fn new(map: &[f32], height: usize, width: usize) -> Self {
        let stride = width.next_multiple_of(LANES) + LANES;
        let mut values = vec![0.0; stride * (height + 2 * PADDING)];
        for (y, row) in values.chunks_exact_mut(stride).enumerate() {
            let source = mirrored(y, height) * width;
            for (x, value) in row[..width + 2 * PADDING].iter_mut().enumerate() {
                let pixel = map[source + mirrored(x, width)];
                // NaN has no place in an order; `spread_nan` puts it where it belongs.
                *value = if pixel.is_nan() { 0.0 } else { pixel };
            }
        }
        Self { values, stride }
    }

    /// The medians of all windows, row by row. Each column of five is sorted once and serves the five windows it is in.
    #[inline(always)]
    fn filter(&self, filtered: &mut [f32], width: usize) {
        let mut columns: [Vec<f32>; WINDOW] = std::array::from_fn(|_| vec![0.0; self.stride]);
        for (y, out) in filtered.chunks_exact_mut(width).enumerate() {
            for x in (0..self.stride).step_by(LANES) {
                let mut column: [Lanes; WINDOW] =
                    std::array::from_fn(|row| lanes(&self.values[(y + row) * self.stride + x..]));
                sort(&mut column);
                for (sorted, rank) in columns.iter_mut().zip(&column) {
                    sorted[x..x + LANES].copy_from_slice(rank);
                }
            }
            for (chunk, out) in out.chunks_mut(LANES).enumerate() {
                let x = chunk * LANES;
                let ranks: [[Lanes; WINDOW]; WINDOW] = std::array::from_fn(|rank| {
                    std::array::from_fn(|shift| lanes(&columns[rank][x + shift..]))
                });
                out.copy_from_slice(&median_of_sorted(ranks)[..out.len()]);
            }
        }
    }
}

/// The first lanes of `values`, of which there are enough.
#[inline(always)]
fn lanes(values: &[f32]) -> Lanes {
    std::array::from_fn(|lane| values[lane])
}

/// Median of 25 values, `ranks[i][j]` being the i-th smallest of column j.
///
/// Once the rows of equal rank are sorted too, (i, j) has (i + 1)(j + 1) values at or below it and (5 - i)(5 - j) at or
/// above, itself included. Where either is more than 13 it cannot be the median: 13 values remain, six having been ruled out on each side, and
/// the median of all is theirs.
#[inline(always)]
fn median_of_sorted(mut ranks: [[Lanes; WINDOW]; WINDOW]) -> Lanes {
    for row in &mut ranks {
        sort(row);
    }
    let [a, b, c, d, e] = ranks;
    let mut left = [
        a[3], a[4], b[2], b[3], b[4], c[1], c[2], c[3], d[0], d[1], d[2], e[0], e[1],
    ];
    median_of_13(&mut left)
}

/// Forgetful selection: of 8 of the 13 values neither the smallest nor the largest can be the median, so both are
/// dropped and the next value is taken in, until three are left.
#[inline(always)]
fn median_of_13(values: &mut [Lanes; 13]) -> Lanes {
    order_extremes::<8>(values, 0);
    values[7] = values[8];
    order_extremes::<7>(values, 1);
    values[7] = values[9];
    order_extremes::<6>(values, 2);
    values[7] = values[10];
    order_extremes::<5>(values, 3);
    values[7] = values[11];
    order_extremes::<4>(values, 4);
    values[7] = values[12];
    order_extremes::<3>(values, 5);
    values[6]
}

/// Brings the smallest of `COUNT` values from `first` on to the front, and the largest to the back.
#[inline(always)]
fn order_extremes<const COUNT: usize>(values: &mut [Lanes; 13], first: usize) {
    let last = first + COUNT - 1;
    // Pairs first: then the smallest is in the front half and the largest in the back half.
    for index in 0..COUNT / 2 {
        exchange(values, first + index, last - index);
    }
    let half = COUNT.div_ceil(2);
    for index in 1..half {
        exchange(values, first, first + index);
    }
    for index in COUNT / 2..COUNT - 1 {
        exchange(values, first + index, last);
    }
}

/// Sorts five values, lane by lane: the network of nine exchanges.
#[inline(always)]
fn sort(values: &mut [Lanes; WINDOW]) {
    const PAIRS: [(usize, usize); 9] = [
        (0, 3),
        (1, 4),
        (0, 2),
        (1, 3),
        (0, 1),
        (2, 4),
        (1, 2),
        (3, 4),
        (2, 3),
    ];
    for (low, high) in PAIRS {
        exchange(values, low, high);
    }
}

/// Puts the smaller of two values at `low` and the larger at `high`, lane by lane.
#[inline(always)]
fn exchange<const COUNT: usize>(values: &mut [Lanes; COUNT], low: usize, high: usize) {
    let (a, b) = (values[low], values[high]);
    values[low] = std::array::from_fn(|lane| if b[lane] < a[lane] { b[lane] } else { a[lane] });
    values[high] = std::array::from_fn(|lane| if b[lane] < a[lane] { a[lane] } else { b[lane] });
}

/// Index into a side of `length` pixels for padded coordinate `position`.
const fn mirrored(position: usize, length: usize) -> usize {
    if length == 1 {
        return 0;
    }
    let period = 2 * (length - 1);
    // Two periods are added first so that the coordinate left of the border stays positive.
    let folded = (position + 2 * period - PADDING) % period;
    if folded < length {
        folded
    } else {
        period - folded
    }
}

/// Overwrites with NaN each filtered pixel whose (mirrored) window holds one.
fn spread_nan(map: &[f32], filtered: &mut [f32], height: usize, width: usize) {
    if !map.iter().any(|value| value.is_nan()) {
        return;
    }
    for (y, row) in filtered.chunks_exact_mut(width).enumerate() {
        for (x, value) in row.iter_mut().enumerate() {
            let holds_nan = (0..AREA).any(|index| {
                let source_y = mirrored(y + index / WINDOW, height);
                let source_x = mirrored(x + index % WINDOW, width);
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

    fn naive(map: &[f32], height: usize, width: usize) -> Vec<f32> {
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
                let mut window: Vec<f32> = (0..25)
                    .map(|i| map[fold(y + i / 5 - 2, height) * width + fold(x + i % 5 - 2, width)])
                    .collect();
                window.sort_by(f32::total_cmp);
                filtered.push(window[12]);
            }
        }
        filtered
    }

    #[test]
    fn nan_reaches_its_windows_and_no_further() {
        let mut map = vec![1.0; 9 * 9];
        map[4 * 9 + 4] = f32::NAN;
        let filtered = median_5x5(&map, 9, 9);
        for (index, value) in filtered.iter().enumerate() {
            let near = (index / 9).abs_diff(4) <= 2 && (index % 9).abs_diff(4) <= 2;
            assert_eq!(value.is_nan(), near, "pixel {index}");
        }
    }

    #[test]
    fn an_empty_map_stays_empty() {
        assert!(median_5x5(&[], 0, 7).is_empty());
    }

    proptest! {
        #[test]
        fn agrees_with_sorting_each_window(
            (height, width, map) in (1_usize..40, 1_usize..40).prop_flat_map(|(h, w)| {
                (Just(h), Just(w), prop::collection::vec(-8_i8..8, h * w))
            }),
        ) {
            let map: Vec<f32> = map.into_iter().map(|v| f32::from(v) / 3.0).collect();
            prop_assert_eq!(median_5x5(&map, height, width), naive(&map, height, width));
        }
    }
}
