//! From stored values (divided by the volume's 99th percentile) to network input in [-1, 1].

use serde::{Deserialize, Serialize};

/// How a stored slice becomes a network input in [-1, 1].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scaling {
    /// Each slice and modality by its own range, `2 (x - min) / (max - min + 1e-5) - 1`, as the reference loader does.
    SliceMinmax,
    /// `2 min(x, 1) - 1`, as the paper says.
    Percentile,
}

/// Keeps the reference's scaling of an empty slice finite.
const RANGE_FLOOR: f32 = 1e-5;

/// A pixel belongs to the head where the mean of its scaled modalities exceeds this.
const BACKGROUND: f32 = -0.95;

impl Scaling {
    /// Scales one slice `[channels, pixels]` in place.
    ///
    /// # Panics
    /// When `slice` does not hold `channels * pixels` values.
    pub fn apply(self, slice: &mut [f32], channels: usize, pixels: usize) {
        assert_eq!(
            slice.len(),
            channels * pixels,
            "slice of another size. This is a bug."
        );
        match self {
            Self::SliceMinmax => slice.chunks_exact_mut(pixels).for_each(minmax),
            Self::Percentile => slice.iter_mut().for_each(|x| *x = 2.0 * x.min(1.0) - 1.0),
        }
    }
}

fn minmax(channel: &mut [f32]) {
    let low = channel.iter().copied().fold(f32::INFINITY, f32::min);
    let high = channel.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let range = high - low + RANGE_FLOOR;
    for x in channel {
        *x = (*x - low) / range * 2.0 - 1.0;
    }
}

/// Which pixels of a scaled slice `[channels, pixels]` are head: mean over all input channels > -0.95.
///
/// # Panics
/// When `scaled` does not hold `channels * pixels` values.
pub fn foreground(scaled: &[f32], channels: usize, pixels: usize) -> Vec<bool> {
    assert_eq!(
        scaled.len(),
        channels * pixels,
        "slice of another size. This is a bug."
    );
    #[allow(clippy::cast_precision_loss)]
    let count = channels as f32;
    (0..pixels)
        .map(|pixel| {
            let sum: f32 = scaled.iter().skip(pixel).step_by(pixels).sum();
            sum / count > BACKGROUND
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minmax_is_per_channel_and_an_empty_channel_becomes_minus_one() {
        let mut slice = vec![0.0, 1.0, 2.0, 0.0, 0.0, 0.0];
        Scaling::SliceMinmax.apply(&mut slice, 2, 3);
        assert!((slice[1] - 0.0).abs() < 1e-5 && (slice[2] - 1.0).abs() < 2e-5);
        assert_eq!(slice[0], -1.0);
        assert_eq!(slice[3..], [-1.0; 3]);
    }

    #[test]
    fn percentile_clips_above_one() {
        let mut slice = vec![0.0, 0.5, 1.0, 7.0];
        Scaling::Percentile.apply(&mut slice, 1, 4);
        assert_eq!(slice, [-1.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn foreground_is_the_mean_over_channels() {
        // -0.92 is just inside, -0.96 just outside.
        let scaled = [-1.0, -1.0, -0.84, -0.92];
        assert_eq!(foreground(&scaled, 2, 2), [true, false]);
    }

    #[test]
    fn names_are_those_of_the_spec() {
        assert_eq!(
            serde_json::to_string(&Scaling::SliceMinmax).unwrap(),
            "\"slice-minmax\""
        );
        assert_eq!(
            serde_json::to_string(&Scaling::Percentile).unwrap(),
            "\"percentile\""
        );
    }
}
