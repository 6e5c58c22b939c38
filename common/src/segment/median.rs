//! The 5x5 median filter of a map (Appendix F).

/// Side of the window.
const WINDOW: usize = 5;
/// Pixels added on every side.
const PADDING: usize = WINDOW / 2;
/// Values in a window.
const AREA: usize = WINDOW * WINDOW;
/// Values kept while selecting: with 25 values, the median is never among the extremes of any 14.
const KEPT: usize = AREA / 2 + 2;
/// Neighbouring pixels filtered at once, one per vector lane.
const LANES: usize = 16;

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
    for (y, row) in filtered.chunks_exact_mut(width).enumerate() {
        for (chunk, out) in row.chunks_mut(LANES).enumerate() {
            let medians = padded.medians(y, chunk * LANES);
            out.copy_from_slice(&medians[..out.len()]);
        }
    }
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
        let stride = width.next_multiple_of(LANES) + 2 * PADDING;
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

    /// Medians of the `LANES` windows whose left-most pixel is (`y`, `x`).
    fn medians(&self, y: usize, x: usize) -> Lanes {
        let mut window = [[0.0; LANES]; AREA];
        for (index, lanes) in window.iter_mut().enumerate() {
            let start = (y + index / WINDOW) * self.stride + x + index % WINDOW;
            lanes.copy_from_slice(&self.values[start..start + LANES]);
        }
        median_of_window(&mut window)
    }
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

/// Forgetful selection: among the 14 values in hand neither the smallest nor the largest can be the median of
/// all 25, so both are dropped and the next value is taken in, until three are left.
fn median_of_window(window: &mut [Lanes; AREA]) -> Lanes {
    let mut first = 0;
    let mut kept = KEPT;
    let mut next = KEPT;
    loop {
        order_extremes(&mut window[first..first + kept]);
        if kept == 3 {
            return window[first + 1];
        }
        // The smallest lies first and is left behind; the largest lies last and is overwritten.
        window[first + kept - 1] = window[next];
        first += 1;
        kept -= 1;
        next += 1;
    }
}

/// Brings the smallest value of every lane to the front and the largest to the back.
fn order_extremes(values: &mut [Lanes]) {
    let count = values.len();
    // Pairs first: then the smallest is in the front half and the largest in the back half.
    for index in 0..count / 2 {
        exchange(values, index, count - 1 - index);
    }
    let half = count.div_ceil(2);
    for index in 1..half {
        exchange(values, 0, index);
    }
    for index in count / 2..count - 1 {
        exchange(values, index, count - 1);
    }
}

/// Puts the smaller of two values at `low` and the larger at `high`, lane by lane.
#[inline]
fn exchange(values: &mut [Lanes], low: usize, high: usize) {
    let (a, b) = (values[low], values[high]);
    values[low] = std::array::from_fn(|lane| if b[lane] < a[lane] { b[lane] } else { a[lane] });
    values[high] = std::array::from_fn(|lane| if b[lane] < a[lane] { a[lane] } else { b[lane] });
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
