//! What figures and the slice viewer show beyond `summary.json`: plain sequences, numbers and pixels, whatever records
//! they came from.
//!
//! Everything may be absent: the report then says which setting would make it.

use super::statistics::RowId;

/// From the brightest to the darkest of a logarithmic scale.
pub const SHOWN_RANGE: f32 = 1_000.0;

/// Nothing of this is in `summary.json`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exhibits {
    /// Figure 2, one entry an encoding.
    pub traces: Vec<Traces>,
    /// Figure 5a and 5b, one entry a method.
    pub strengths: Vec<StrengthSweep>,
    /// Figure 5c.
    pub end_steps: Vec<EndStepSweep>,
    /// Figure 5d.
    pub thresholds: Vec<ThresholdSweep>,
    /// Precision and recall of pooled pixels, one entry a row.
    pub pixel_curves: Vec<PixelCurve>,
    /// Figure 3, one entry a slice.
    pub step_maps: Vec<StepMaps>,
    /// Figures 4 and 6, and the viewer.
    pub pictures: Pictures,
}

/// The sequences of one cell over the forward steps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traces {
    pub row: RowId,
    pub seed: u64,
    /// Whether these are slices of the validation split: then there is no `inside` and no `outside`.
    pub validation: bool,
    /// t of the full schedule, counted from 1, of each forward step.
    pub steps: Vec<u32>,
    /// Scored modalities.
    pub modalities: Vec<String>,
    pub slices: Vec<SliceSequences>,
}

/// Each sequence is `[steps x modalities]`, modality fastest.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SliceSequences {
    pub unhealthy: bool,
    /// M_t (Eq. 12).
    pub divergence: Vec<f32>,
    pub mse_h: Vec<f32>,
    pub mse_null: Vec<f32>,
    /// Mean of S_t over the lesion: NaN on a slice without one, empty where it was not kept.
    pub inside: Vec<f32>,
    /// Mean of S_t outside the lesion; empty where it was not kept.
    pub outside: Vec<f32>,
    /// t_e of each modality, as an index into `steps`.
    pub end_steps: Vec<u32>,
}

/// A mean with its 95 % interval over patients.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Estimate {
    pub mean: f64,
    pub ci95: Option<[f64; 2]>,
}

/// DICE in both set-ups.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BothSetups {
    pub mixed: Option<Estimate>,
    pub unhealthy: Option<Estimate>,
}

/// What the guidance strength does to a method, one noise seed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StrengthSweep {
    pub method: String,
    pub seed: u64,
    /// Ascending.
    pub points: Vec<StrengthPoint>,
    /// Chosen by Algorithm 2.
    pub selected: Option<f64>,
    /// Mixed DICE of empty masks.
    pub all_empty: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StrengthPoint {
    pub guidance: f64,
    /// Of calling slices healthy or unhealthy, at the threshold of calibration.
    pub validation_accuracy: Option<f64>,
    pub test_accuracy: Option<f64>,
    pub dice: BothSetups,
}

/// DICE with the end step at multiples of t_e, one noise seed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EndStepSweep {
    pub row: RowId,
    pub seed: u64,
    /// Ascending.
    pub points: Vec<EndStepPoint>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct EndStepPoint {
    pub ratio: f64,
    pub dice: BothSetups,
    /// Share of slices and modalities whose end step would lie beyond the last forward step, and so is cut off.
    pub cut_off: f64,
}

/// DICE with one threshold for all slices, one noise seed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ThresholdSweep {
    pub row: RowId,
    pub seed: u64,
    /// Ascending.
    pub points: Vec<ThresholdPoint>,
    /// With the threshold Q* of each slice.
    pub dynamic: BothSetups,
    /// 10 %, 50 % and 90 % quantile of Q* over slices.
    pub q_star: Option<[f64; 3]>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ThresholdPoint {
    pub threshold: f64,
    pub dice: BothSetups,
}

/// What thresholds make of all pooled foreground pixels of the mixed set-up's maps, one noise seed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PixelCurve {
    pub row: RowId,
    pub seed: Option<u64>,
    /// From the highest threshold to the lowest.
    pub points: Vec<PixelPoint>,
    /// Of the masks that were scored.
    pub at_work: Option<PixelPoint>,
    /// Share of anomalous pixels: precision of chance.
    pub prevalence: f64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PixelPoint {
    /// Share of the lesion's pixels found.
    pub recall: f64,
    /// Share of the pixels found that are lesion.
    pub precision: f64,
}

/// Which slice something is of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SlicePlace {
    pub patient: String,
    pub subject: String,
    /// Place in the volume along its head axis.
    pub slice: i64,
    pub unhealthy: bool,
}

/// The maps of one slice at several steps, each `[height x width]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepMaps {
    pub place: SlicePlace,
    pub row: RowId,
    pub seed: u64,
    pub width: usize,
    pub height: usize,
    /// Raw intensities of one modality, black to white.
    pub image: Vec<u8>,
    pub truth: Mask,
    /// By step.
    pub steps: Vec<StepMap>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepMap {
    /// t of the full schedule, counted from 1.
    pub t: u32,
    /// Whether it is the end step t_e.
    pub end_step: bool,
    /// S_t (Eq. 19), mean over the scored modalities.
    pub anomaly: Vec<f32>,
    /// Squared gradient of log p(h | x_t), mean over the scored modalities; empty where it was not kept.
    pub gradient: Vec<f32>,
}

/// Slices with what methods made of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pictures {
    /// How the slices were chosen, in a sentence: printed beside them.
    pub rule: String,
    /// Noise seed of the maps.
    pub seed: u64,
    /// Names of the images of a slice.
    pub modalities: Vec<String>,
    /// In the order of the table: entry n of each slice is of row n.
    pub methods: Vec<RowId>,
    /// Patient by patient, from the feet to the head.
    pub slices: Vec<SliceExhibit>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct SliceExhibit {
    pub place: SlicePlace,
    /// Whether it is one of the few that stand in Figures 4 and 6.
    pub in_figures: bool,
    pub width: usize,
    pub height: usize,
    /// One image a modality, `[height x width]`, black to white.
    pub images: Vec<Vec<u8>>,
    pub truth: Mask,
    /// One entry a method; `None` where it has nothing of this slice.
    pub methods: Vec<Option<MethodExhibit>>,
}

/// What one method made of one slice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MethodExhibit {
    /// Filtered map, `[height x width]`: 0 is `low`, 255 is `high`, equal ratios or equal differences between them.
    pub map: Vec<u8>,
    pub low: f32,
    pub high: f32,
    pub logarithmic: bool,
    /// As if the slice were unhealthy.
    pub mask: Mask,
    pub called_unhealthy: bool,
    /// DICE of the mask, as if the slice were unhealthy.
    pub dice: f64,
}

/// Pixels of a slice as lengths of runs, row by row: so many that are not set, so many that are, and so on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mask {
    pub runs: Vec<u32>,
}

impl Mask {
    pub fn of(pixels: impl IntoIterator<Item = bool>) -> Self {
        let (mut runs, mut set, mut length) = (Vec::new(), false, 0_u32);
        for pixel in pixels {
            if pixel != set {
                runs.push(std::mem::take(&mut length));
                set = pixel;
            }
            length = length.saturating_add(1);
        }
        runs.push(length);
        Self { runs }
    }

    /// Pixel by pixel; pixels beyond the last run are not set, runs beyond the last pixel are left out.
    pub fn pixels(&self, count: usize) -> Vec<bool> {
        let mut pixels = Vec::with_capacity(count);
        for (number, run) in self.runs.iter().enumerate() {
            let room = count - pixels.len();
            let length = room.min(*run as usize);
            pixels.resize(pixels.len() + length, number % 2 == 1);
        }
        pixels.resize(count, false);
        pixels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_come_back_and_wrong_runs_stay_inside() {
        for pixels in [
            vec![],
            vec![true],
            vec![false, false, true, true, false],
            vec![true, false, true],
        ] {
            let mask = Mask::of(pixels.iter().copied());
            assert_eq!(mask.pixels(pixels.len()), pixels);
        }
        let wrong = Mask {
            runs: vec![1, u32::MAX, 7],
        };
        assert_eq!(wrong.pixels(3), [false, true, true]);
        assert_eq!(Mask::default().pixels(2), [false, false]);
    }
}
