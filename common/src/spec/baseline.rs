//! `[score.baseline]`: the settings of the baselines, and what their tuning chooses from.

use serde::{Deserialize, Serialize};

use super::score::{alike, twice};
use super::{DIFFUSION_STEPS, Respacing, SpecError};
use crate::baseline::{Baseline, CG_CDM_DIFFUSION_STEPS, Clip, PublishedFor, Sampler, Setting};
use crate::plan::{MAX_SHARD_CELLS, MAX_THRESHOLDS};

/// `[score.baseline]` of a spec.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BaselineSpec {
    /// Whose published settings hold where no others are given; those for BraTS where absent.
    pub published: Option<PublishedFor>,
    /// Adds a row with the post-processing of the method's authors, where they published one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub native: bool,
    pub anoddpm_gaussian: Option<GridSpec>,
    pub anoddpm_simplex: Option<GridSpec>,
    pub ddim_classifier: Option<GridSpec>,
    pub ddim_clf_free: Option<GridSpec>,
    pub cg_cdm: Option<GridSpec>,
    pub andi: Option<GridSpec>,
}

/// `[score.baseline.METHOD]`: the grid that a baseline is tuned on with pixel labels. A list of one is a fixed value;
/// where all three are, nothing is tuned and no pixel label is read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridSpec {
    /// Noise scales S, in kept indices of the schedule.
    pub noise_scale: Option<Vec<u32>>,
    /// Guidance w (`ddim-clf-free`), scale of the classifier's gradient (`ddim-classifier`, `cg-cdm`).
    pub strength: Option<Vec<f64>>,
    /// Thresholds on the map, ascending; [`default_thresholds`] where absent.
    pub thresholds: Option<Vec<f64>>,
    /// How `anoddpm-*` walks back.
    pub sampler: Option<Sampler>,
    /// How `ddim-clf-free` keeps predicted x0 in range; fixed where absent.
    pub clip: Option<Clip>,
    /// Steps of the schedule that the networks of `cg-cdm` were trained on: 1000, or the 4000 it was published with.
    pub diffusion_steps: Option<u32>,
}

/// What a baseline is tuned on: every setting with every threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// Settings, noise scale by noise scale, in the order of the spec.
    pub settings: Vec<Setting>,
    /// Thresholds, ascending.
    pub thresholds: Vec<f32>,
    pub sampler: Sampler,
    /// How `ddim-clf-free` keeps predicted x0 in range.
    pub clip: Clip,
    /// Steps of the schedule that the networks were trained on.
    pub diffusion_steps: u32,
}

impl Grid {
    /// The only candidate, where there is one: then nothing is left to tune.
    pub fn only(&self) -> Option<(Setting, f32)> {
        match (&self.settings[..], &self.thresholds[..]) {
            ([setting], [threshold]) => Some((*setting, *threshold)),
            _ => None,
        }
    }
}

/// Most settings of a grid: all of them travel in one shard, so that they share their encode.
const MAX_SETTINGS: usize = MAX_SHARD_CELLS;

/// Thresholds of the paper's search, in hundredths: 0.01 to 0.69.
const PUBLISHED_THRESHOLDS: std::ops::RangeInclusive<u32> = 1..=69;

/// The thresholds of the paper's search.
#[allow(clippy::cast_possible_truncation)] // maps are float32, and so are the thresholds on them
pub fn published_thresholds() -> Vec<f32> {
    PUBLISHED_THRESHOLDS
        .map(|hundredths| (f64::from(hundredths) / 100.0) as f32)
        .collect()
}

/// Ten steps to a decade, in hundredths (the R10 series of preferred numbers).
const DECADE: [u32; 10] = [100, 125, 160, 200, 250, 315, 400, 500, 630, 800];

/// Decades that the thresholds of ANDi cover: from 1e-7 to below 1.
const ANDI_DECADES: u32 = 7;

/// What is tried where a spec names no thresholds: the paper's search; for ANDi, whose map is a squared difference of
/// posterior means and so has the scale of the schedule's betas, ten in each decade from 1e-7 to 0.8.
#[allow(clippy::cast_possible_truncation)]
pub fn default_thresholds(baseline: Baseline) -> Vec<f32> {
    match baseline {
        Baseline::Andi => (1..=ANDI_DECADES)
            .rev()
            .flat_map(|decade| {
                let unit = 100.0 * f64::from(10_u32.pow(decade));
                DECADE.map(|step| (f64::from(step) / unit) as f32)
            })
            .collect(),
        _ => published_thresholds(),
    }
}

impl BaselineSpec {
    fn of(&self, baseline: Baseline) -> Option<&GridSpec> {
        match baseline {
            Baseline::AnoddpmGaussian => self.anoddpm_gaussian.as_ref(),
            Baseline::AnoddpmSimplex => self.anoddpm_simplex.as_ref(),
            Baseline::DdimClassifier => self.ddim_classifier.as_ref(),
            Baseline::DdimClfFree => self.ddim_clf_free.as_ref(),
            Baseline::CgCdm => self.cg_cdm.as_ref(),
            Baseline::Andi => self.andi.as_ref(),
        }
    }

    /// What `baseline` is tuned on. A published S is one of the 1000-step schedule, and is carried over to a strided
    /// one by its share of the steps.
    #[allow(clippy::cast_possible_truncation)] // thresholds on float32 maps
    pub fn grid(&self, baseline: Baseline, respacing: Respacing) -> Grid {
        let published = baseline.published(self.published.unwrap_or(PublishedFor::Brats));
        let none = GridSpec::default();
        let given = self.of(baseline).unwrap_or(&none);
        let diffusion_steps = given.diffusion_steps.unwrap_or(DIFFUSION_STEPS);
        let noise_scales = match &given.noise_scale {
            Some(scales) => scales.clone(),
            None => {
                let kept = respacing.kept_of(diffusion_steps);
                vec![kept_scale(published.setting.noise_scale, kept)]
            }
        };
        let strengths = match &given.strength {
            Some(strengths) => strengths.clone(),
            None => vec![published.setting.strength],
        };
        let settings = noise_scales
            .iter()
            .flat_map(|&noise_scale| {
                strengths.iter().map(move |&strength| Setting {
                    noise_scale,
                    strength,
                })
            })
            .collect();
        let thresholds = match &given.thresholds {
            Some(thresholds) => thresholds.iter().map(|value| *value as f32).collect(),
            None => default_thresholds(baseline),
        };
        Grid {
            settings,
            thresholds,
            sampler: given.sampler.unwrap_or(published.sampler),
            clip: given.clip.unwrap_or(Clip::Fixed),
            diffusion_steps,
        }
    }

    pub(super) fn validate(&self, respacing: Respacing) -> Result<(), SpecError> {
        for baseline in Baseline::ALL {
            if let Some(grid) = self.of(baseline) {
                grid.validate(baseline, respacing).map_err(|error| {
                    SpecError::new(format!("[score.baseline.{baseline}]: {error}"))
                })?;
            }
        }
        Ok(())
    }
}

/// `noise_scale` of the 1000-step schedule in `kept` steps, at least one.
fn kept_scale(noise_scale: u32, kept: u32) -> u32 {
    let (full, kept) = (u64::from(DIFFUSION_STEPS), u64::from(kept));
    let scaled = (u64::from(noise_scale) * kept + full / 2) / full;
    u32::try_from(scaled.max(1)).unwrap_or(u32::MAX)
}

impl GridSpec {
    fn validate(&self, baseline: Baseline, respacing: Respacing) -> Result<(), SpecError> {
        let fail = |message: String| Err(SpecError::new(message));
        let diffusion_steps = self.diffusion_steps.unwrap_or(DIFFUSION_STEPS);
        if diffusion_steps != DIFFUSION_STEPS
            && (baseline != Baseline::CgCdm || diffusion_steps != CG_CDM_DIFFUSION_STEPS)
        {
            return fail(format!(
                "diffusion_steps is {diffusion_steps}: {DIFFUSION_STEPS}, or {CG_CDM_DIFFUSION_STEPS} for {}",
                Baseline::CgCdm
            ));
        }
        let kept = respacing.kept_of(diffusion_steps);
        if let Some(scales) = &self.noise_scale {
            not_empty("noise_scale", scales.len())?;
            twice("noise_scale", scales)?;
            if let Some(scale) = scales.iter().find(|scale| !(1..=kept).contains(*scale)) {
                return fail(format!(
                    "noise_scale holds {scale}: 1 to {kept} (respacing = {respacing} keeps {kept} steps)"
                ));
            }
        }
        if let Some(strengths) = &self.strength {
            if !baseline.has_strength() {
                return fail(format!("strength: {baseline} has none"));
            }
            not_empty("strength", strengths.len())?;
            alike("strength", strengths)?;
            if let Some(s) = strengths.iter().find(|s| !(0.0..=1e6).contains(*s)) {
                return fail(format!("strength holds {s}: numbers from 0 to 1000000"));
            }
        }
        if let Some(thresholds) = &self.thresholds {
            not_empty("thresholds", thresholds.len())?;
            #[allow(clippy::cast_possible_truncation)]
            let single: Vec<f32> = thresholds.iter().map(|value| *value as f32).collect();
            let usable = single.iter().all(|value| value.is_finite())
                && single.is_sorted_by(|a, b| a < b)
                && single.len() <= MAX_THRESHOLDS;
            if !usable {
                return fail(format!(
                    "thresholds: at most {MAX_THRESHOLDS} finite numbers in ascending order, apart in float32"
                ));
            }
        }
        let is_anoddpm = matches!(
            baseline,
            Baseline::AnoddpmGaussian | Baseline::AnoddpmSimplex
        );
        if self.sampler.is_some() && !is_anoddpm {
            return fail(format!("sampler: {baseline} has its own"));
        }
        if self.clip.is_some() && baseline != Baseline::DdimClfFree {
            return fail(format!("clip: {baseline} always clamps to [-1, 1]"));
        }
        let count = |list: Option<usize>| list.unwrap_or(1);
        let settings = count(self.noise_scale.as_ref().map(Vec::len))
            * count(self.strength.as_ref().map(Vec::len));
        if settings > MAX_SETTINGS {
            return fail(format!(
                "noise_scale x strength are {settings} settings; at most {MAX_SETTINGS}"
            ));
        }
        Ok(())
    }
}

fn not_empty(key: &str, count: usize) -> Result<(), SpecError> {
    if count == 0 {
        return Err(SpecError::new(format!(
            "{key} is empty: name at least one value, or leave it out for the published one"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::Sampler;

    #[test]
    fn published_settings_hold_where_none_are_given() {
        let spec: BaselineSpec = toml::from_str("published = \"atlas\"").unwrap();
        let full = spec.grid(Baseline::DdimClfFree, Respacing::None);
        assert_eq!(
            full.settings,
            [Setting {
                noise_scale: 300,
                strength: 1.3
            }]
        );
        assert_eq!(full.thresholds.len(), 69);
        assert_eq!(full.only(), None);
        // 100 of 1000 steps are 5 of 50, and never none.
        let strided = spec.grid(Baseline::AnoddpmGaussian, Respacing::Steps(50));
        assert_eq!(strided.settings[0].noise_scale, 5);
        assert_eq!(strided.sampler, Sampler::Ddim);
        let longer: BaselineSpec = toml::from_str("[cg-cdm]\ndiffusion_steps = 4000").unwrap();
        let original = longer.grid(Baseline::CgCdm, Respacing::None);
        assert_eq!(original.settings[0].noise_scale, 400);
        let andi = spec.grid(Baseline::Andi, Respacing::None).thresholds;
        assert_eq!((andi.len(), andi[0], andi[69]), (70, 1e-7, 0.8));
        assert!(andi.is_sorted_by(|a, b| a < b));
        let few = spec.grid(Baseline::CgCdm, Respacing::Steps(2));
        assert_eq!(few.settings[0].noise_scale, 1);
    }

    #[test]
    fn a_grid_goes_noise_scale_by_noise_scale() {
        let spec: BaselineSpec = toml::from_str(
            "[ddim-clf-free]\nnoise_scale = [20, 10]\nstrength = [1, 2]\nthresholds = [0.25]",
        )
        .unwrap();
        spec.validate(Respacing::Steps(20)).unwrap();
        let grid = spec.grid(Baseline::DdimClfFree, Respacing::Steps(20));
        let pairs: Vec<_> = grid
            .settings
            .iter()
            .map(|s| (s.noise_scale, s.strength))
            .collect();
        assert_eq!(pairs, [(20, 1.0), (20, 2.0), (10, 1.0), (10, 2.0)]);
        assert_eq!(grid.thresholds, [0.25]);
    }

    #[test]
    fn bad_grids_are_refused_by_name() {
        for (text, part) in [
            ("[ddim-clf-free]\nnoise_scale = [21]", "1 to 20"),
            ("[ddim-clf-free]\nnoise_scale = []", "noise_scale is empty"),
            ("[ddim-clf-free]\nstrength = [1, 1]", "twice"),
            ("[ddim-clf-free]\nstrength = [-1]", "strength holds -1"),
            ("[anoddpm-simplex]\nstrength = [1]", "has none"),
            ("[cg-cdm]\nsampler = \"ddim\"", "has its own"),
            ("[andi]\nclip = \"dynamic\"", "always clamps"),
            ("[andi]\ndiffusion_steps = 4000", "diffusion_steps is 4000"),
            ("[cg-cdm]\ndiffusion_steps = 2000", "1000, or 4000"),
            ("[andi]\nthresholds = [0.2, 0.1]", "ascending"),
        ] {
            let spec: BaselineSpec = toml::from_str(text).unwrap();
            let error = spec.validate(Respacing::Steps(20)).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
