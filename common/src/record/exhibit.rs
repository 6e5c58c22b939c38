//! What is kept of the few slices that are to be looked at: maps and sequences, for figures and for the eye. No number of
//! the table is made of it, and it is outside the fingerprint.

use serde::{Deserialize, Serialize};

use super::FigureTraces;
use crate::plan::MAX_EXHIBIT_STEPS;
use crate::wire::list;

/// Most pixels of a map that is kept.
const MAX_PIXELS: usize = 1 << 20;

/// One slice under one method at one strength.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Exhibit {
    /// The map that the mask is made of, filtered as the method filters it.
    pub map: Option<KeptMap>,
    /// Sequences over the steps (Figure 2).
    pub sequences: Option<Box<FigureTraces>>,
    /// Maps of single steps (Figure 3).
    #[serde(deserialize_with = "list::<_, _, MAX_EXHIBIT_STEPS>")]
    pub steps: Vec<StepMaps>,
}

/// What one step contributes, mean over the scored modalities (Figure 3).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepMaps {
    /// Index of the step.
    pub step: u32,
    /// S_t (Eq. 19).
    pub squared_error: KeptMap,
    /// Square of the gradient of log p(h | x_t) (Eq. 13).
    pub gradient: KeptMap,
}

/// How levels stand for values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MapScale {
    /// Equal ratios; level 0 is `low` and everything below it.
    Logarithmic,
    /// Equal differences.
    Linear,
}

/// A map in 65,536 levels from its lowest to its highest value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptMap {
    pub scale: MapScale,
    pub low: f32,
    pub high: f32,
    /// One a pixel, row by row.
    #[serde(deserialize_with = "list::<_, _, MAX_PIXELS>")]
    pub levels: Vec<u16>,
}

/// Values below this share of the highest are level 0 of a logarithmic scale.
const SMALLEST_SHARE: f32 = 1e-6;

impl KeptMap {
    /// Of a map in which every value counts as it is: on a logarithmic scale where none is negative. NaN is 0.
    pub fn new(values: &[f32]) -> Self {
        let known = |value: &f32| if value.is_finite() { *value } else { 0.0 };
        let highest = values.iter().map(known).fold(f32::MIN, f32::max);
        let lowest = values.iter().map(known).fold(f32::MAX, f32::min);
        if values.is_empty() || highest <= lowest || lowest < 0.0 {
            return Self::scaled(values, MapScale::Linear, lowest.min(highest), highest);
        }
        let positive = values.iter().map(known).filter(|value| *value > 0.0);
        let smallest = positive.fold(highest, f32::min);
        let low = smallest.max(highest * SMALLEST_SHARE);
        if low >= highest {
            return Self::scaled(values, MapScale::Linear, lowest, highest);
        }
        Self::scaled(values, MapScale::Logarithmic, low, highest)
    }

    fn scaled(values: &[f32], scale: MapScale, low: f32, high: f32) -> Self {
        let (low, high) = if values.is_empty() {
            (0.0, 0.0)
        } else {
            (low, high)
        };
        // Of this program rather than of the machine: workers of several machines keep the same bits.
        let place = |value: f32| match scale {
            MapScale::Linear => f64::from(value),
            MapScale::Logarithmic => libm::log(f64::from(value.max(low))),
        };
        let (first, last) = (place(low), place(high));
        let levels = values.iter().map(|value| {
            let value = if value.is_finite() { *value } else { 0.0 };
            let share = (place(value) - first) / (last - first);
            // NaN of a map of one value is level 0, as are values below the lowest.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let level = (share.clamp(0.0, 1.0) * f64::from(u16::MAX)).round() as u16;
            level
        });
        Self {
            scale,
            low,
            high,
            levels: levels.collect(),
        }
    }

    /// The value of a level.
    pub fn value(&self, level: u16) -> f64 {
        let share = f64::from(level) / f64::from(u16::MAX);
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        match self.scale {
            MapScale::Linear => low + share * (high - low),
            MapScale::Logarithmic => low * (high / low).powf(share),
        }
    }

    pub(super) fn check(&self, pixels: usize) -> Result<(), String> {
        let ordered = self.low.is_finite() && self.high.is_finite() && self.low <= self.high;
        let sound = match self.scale {
            MapScale::Linear => ordered,
            MapScale::Logarithmic => ordered && self.low > 0.0,
        };
        if !sound || self.levels.len() != pixels {
            return Err(format!(
                "a map of {} pixels from {} to {}",
                self.levels.len(),
                self.low,
                self.high
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(values: &[f32]) -> Vec<f64> {
        let map = KeptMap::new(values);
        map.check(values.len()).unwrap();
        map.levels.iter().map(|level| map.value(*level)).collect()
    }

    #[test]
    fn values_come_back_but_for_a_share_of_them() {
        let values = [0.0, 1e-4, 0.003, 0.5, 2.0, 1e-9];
        let map = KeptMap::new(&values);
        assert_eq!(map.scale, MapScale::Logarithmic);
        // The lowest level is two millionths: what is smaller is not told from it.
        assert_eq!((map.low, map.high), (2e-6, 2.0));
        for (value, back) in values.iter().zip(back(&values)).skip(1).take(4) {
            let ratio = back / f64::from(*value);
            assert!((ratio - 1.0).abs() < 2e-4, "{value} {back}");
        }
    }

    #[test]
    fn signed_and_flat_maps_are_linear() {
        let values = [-1.0, 0.0, 3.0];
        assert_eq!(KeptMap::new(&values).scale, MapScale::Linear);
        for (value, back) in values.iter().zip(back(&values)) {
            assert!((f64::from(*value) - back).abs() < 1e-4, "{value} {back}");
        }
        assert_eq!(back(&[0.5; 3]), [0.5; 3]);
        assert_eq!(back(&[0.0; 3]), [0.0; 3]);
        assert_eq!(back(&[]), [0.0; 0]);
        assert_eq!(back(&[f32::NAN, 0.0]), [0.0; 2]);
        assert_eq!(back(&[0.0, 0.25]), [0.0, 0.25]);
    }
}
