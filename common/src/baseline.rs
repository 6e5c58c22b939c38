//! The baselines of the paper's tables: methods that make a healthy version of a slice and look at the difference.
//!
//! Each has its networks, its settings and a count of what a slice costs. Which form of a method is computed
//! is decided by [`crate::semantics::BaselineForm`]: the one its authors published, or the public port.

use serde::{Deserialize, Serialize};

use crate::role::Role;
use crate::semantics::BaselineForm;
use crate::strength::Strength;

/// A method that thresholds the difference between a slice and its restoration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[derive(strum::Display, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Baseline {
    /// AnoDDPM with Gaussian noise: noised to S, brought back by a network of healthy slices.
    AnoddpmGaussian,
    /// The same with simplex noise, forward and back.
    AnoddpmSimplex,
    /// Classifier guidance (Wolleb): DDIM decoding with the gradient of log p(healthy | x).
    DdimClassifier,
    /// Classifier-free guidance (Sanchez; DDIB): DDIM encoding with the null label, guided decoding.
    DdimClfFree,
    /// CG-CDM (Hu): two guided chains side by side, one with the label moved a little (a finite difference).
    CgCdm,
    /// ANDi: geometric mean over the noise levels of the squared noise error of a network of healthy slices.
    Andi,
}

impl Baseline {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 6] = [
        Self::AnoddpmGaussian,
        Self::AnoddpmSimplex,
        Self::DdimClassifier,
        Self::DdimClfFree,
        Self::CgCdm,
        Self::Andi,
    ];

    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    /// The networks the method needs: the one that predicts noise, then the classifier where there is one.
    ///
    /// ANDi scores how badly noise is predicted, so its network must not know lesions: it takes the one of
    /// healthy slices, not the null prediction of `guided`, which has been trained on all.
    pub const fn networks(self) -> &'static [Role] {
        match self {
            Self::AnoddpmGaussian | Self::Andi => &[Role::HealthyGaussian],
            Self::AnoddpmSimplex => &[Role::HealthySimplex],
            Self::DdimClassifier | Self::CgCdm => &[Role::Conditional, Role::Classifier],
            Self::DdimClfFree => &[Role::Guided],
        }
    }

    /// Whether the method has a strength: guidance w (`ddim-clf-free`) or the scale of the classifier's
    /// gradient.
    pub const fn has_strength(self) -> bool {
        matches!(self, Self::DdimClassifier | Self::DdimClfFree | Self::CgCdm)
    }

    /// Whether noise is drawn. Where none is, one computation serves every noise seed.
    pub const fn draws_noise(self, form: BaselineForm) -> bool {
        !matches!(
            (self, form),
            (Self::DdimClfFree, _) | (Self::DdimClassifier, BaselineForm::Published)
        )
    }

    /// Whether all settings start from one deterministic encode: a shorter one is the beginning of a longer one.
    pub const fn shares_encode(self, form: BaselineForm) -> bool {
        !self.draws_noise(form)
    }

    /// The post-processing of the method's authors, where they published one.
    pub const fn native_rule(self) -> Option<NativeRule> {
        match self {
            Self::AnoddpmGaussian | Self::AnoddpmSimplex => Some(NativeRule::Fixed),
            Self::DdimClassifier | Self::CgCdm => Some(NativeRule::Otsu),
            Self::DdimClfFree | Self::Andi => None,
        }
    }
}

/// Steps of the schedule that CG-CDM was published with.
pub const CG_CDM_DIFFUSION_STEPS: u32 = 4_000;

/// Chain steps of CG-CDM: two chains of this many, or of S where S is smaller.
pub const CG_CDM_STEPS: u32 = 10;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passes {
    /// Evaluations of the network that predicts noise.
    pub network: u64,
    /// Evaluations of the classifier, each with its gradient.
    pub classifier: u64,
}

impl Passes {
    /// All evaluations: a classifier is a network too, and its pass with the gradient counts as one.
    pub const fn total(self) -> u64 {
        self.network + self.classifier
    }
}

impl std::ops::AddAssign for Passes {
    fn add_assign(&mut self, more: Self) {
        self.network += more.network;
        self.classifier += more.classifier;
    }
}

impl Baseline {
    /// First index ANDi looks at: 3/8 of S, which is 75 of the published 200.
    pub const fn andi_first(noise_scale: u32) -> u32 {
        (noise_scale as u64 * 3 / 8) as u32
    }

    /// What restoring a slice at all of `settings` takes, an encode they share counted once.
    pub fn passes(self, form: BaselineForm, settings: &[Setting]) -> Passes {
        let mut passes = Passes::default();
        if self.shares_encode(form) {
            let longest = settings.iter().map(|setting| setting.noise_scale).max();
            passes.network += u64::from(longest.unwrap_or(0));
        }
        for setting in settings {
            passes += self.decode_passes(setting.noise_scale);
        }
        passes
    }

    /// Steps that a worker counts while it restores a batch at all of `settings`: both predictions of a step, and both
    /// chains, are one.
    pub fn steps(self, form: BaselineForm, settings: &[Setting]) -> u64 {
        let there = match self.shares_encode(form) {
            true => settings.iter().map(|setting| setting.noise_scale).max(),
            false => None,
        };
        let back = settings.iter().map(|setting| {
            let network = self.decode_passes(setting.noise_scale).network;
            match self {
                Self::DdimClfFree | Self::CgCdm => network / 2,
                Self::AnoddpmGaussian
                | Self::AnoddpmSimplex
                | Self::DdimClassifier
                | Self::Andi => network,
            }
        });
        u64::from(there.unwrap_or(0)) + back.sum::<u64>()
    }

    /// What the way back from S takes for one setting.
    fn decode_passes(self, noise_scale: u32) -> Passes {
        let steps = u64::from(noise_scale);
        let (network, classifier) = match self {
            Self::AnoddpmGaussian | Self::AnoddpmSimplex => (steps, 0),
            Self::DdimClassifier => (steps, steps),
            Self::DdimClfFree => (2 * steps, 0),
            Self::CgCdm => {
                let chains = 2 * u64::from(noise_scale.min(CG_CDM_STEPS));
                (chains, chains)
            }
            Self::Andi => (steps - u64::from(Self::andi_first(noise_scale)), 0),
        };
        Passes {
            network,
            classifier,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampler {
    /// Ancestral: fresh noise of the same family at every step.
    Ancestral,
    Ddim,
}

/// How `ddim-clf-free` keeps predicted x0 in range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clip {
    /// Clamped to [-1, 1].
    Fixed,
    /// Clamped to a quantile of its size in the slice and channel, and divided by it, as the method's authors offer;
    /// the paper's comparison does without.
    Dynamic,
}

/// The data sets the paper publishes settings of the baselines for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PublishedFor {
    Brats,
    Atlas,
}

/// A setting as published, in steps of the 1000-step schedule, and the sampler of AnoDDPM.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PublishedSetting {
    /// S and strength.
    pub setting: Setting,
    /// Sampler; ancestral where it does not matter.
    pub sampler: Sampler,
}

impl Baseline {
    /// The setting that the paper used for this method on `data` (docs/science.md, "The baselines"). CG-CDM and ANDi are not in its code:
    /// theirs are those of their authors, t = 400 of 4000 and t = 75 to 199 of 1000, for both.
    pub const fn published(self, data: PublishedFor) -> PublishedSetting {
        use PublishedFor::{Atlas, Brats};
        let (noise_scale, strength) = match (self, data) {
            (Self::AnoddpmGaussian, Brats) => (300, 0.0),
            (Self::AnoddpmGaussian, Atlas) => (100, 0.0),
            (Self::AnoddpmSimplex | Self::Andi, _) => (200, 0.0),
            (Self::DdimClassifier, Brats) => (200, 1000.0),
            (Self::DdimClassifier, Atlas) => (200, 500.0),
            (Self::DdimClfFree, Brats) => (450, 1.1),
            (Self::DdimClfFree, Atlas) => (300, 1.3),
            (Self::CgCdm, _) => (100, 10.0),
        };
        PublishedSetting {
            setting: Setting {
                noise_scale,
                strength,
            },
            sampler: match (self, data) {
                (Self::AnoddpmGaussian, Atlas) => Sampler::Ddim,
                _ => Sampler::Ancestral,
            },
        }
    }
}

/// How the authors of a baseline make a mask of its map. No pixel label is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NativeRule {
    /// The squared difference is thresholded at [`NATIVE_THRESHOLD`].
    Fixed,
    /// Otsu's threshold, slice by slice.
    Otsu,
}

/// Threshold of [`NativeRule::Fixed`].
pub const NATIVE_THRESHOLD: f32 = 0.5;

/// What the tuning of a baseline chooses from, beside the threshold.
///
/// Settings name cells: they are equal where their strengths are equal to the bit.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Setting {
    /// Noise scale S: how many kept indices of the schedule a slice is pushed up.
    pub noise_scale: u32,
    /// Guidance w, or scale of the classifier's gradient; 0 for a method without.
    pub strength: f64,
}

impl PartialEq for Setting {
    fn eq(&self, other: &Self) -> bool {
        (self.noise_scale, Strength(self.strength)) == (other.noise_scale, Strength(other.strength))
    }
}

impl Eq for Setting {}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(of: &[(u32, f64)]) -> Vec<Setting> {
        of.iter()
            .map(|&(noise_scale, strength)| Setting {
                noise_scale,
                strength,
            })
            .collect()
    }

    #[test]
    fn published_settings_cost_what_the_methods_say() {
        let cost = |baseline: Baseline, form| {
            let published = baseline.published(PublishedFor::Brats).setting;
            let passes = baseline.passes(form, &[published]);
            (passes.network, passes.classifier)
        };
        let port = BaselineForm::Port;
        assert_eq!(cost(Baseline::DdimClfFree, port), (1_350, 0));
        assert_eq!(cost(Baseline::DdimClassifier, port), (200, 200));
        assert_eq!(cost(Baseline::AnoddpmSimplex, port), (200, 0));
        assert_eq!(cost(Baseline::AnoddpmGaussian, port), (300, 0));
        assert_eq!(cost(Baseline::CgCdm, port), (20, 20));
        assert_eq!(cost(Baseline::Andi, port), (125, 0));
        // The published form encodes first.
        let published = BaselineForm::Published;
        assert_eq!(cost(Baseline::DdimClassifier, published), (400, 200));

        // What a worker counts meanwhile: a step is one, whatever is predicted at it.
        let steps = |baseline: Baseline, form| {
            let setting = baseline.published(PublishedFor::Brats).setting;
            baseline.steps(form, &[setting])
        };
        assert_eq!(steps(Baseline::DdimClfFree, port), 450 + 450);
        assert_eq!(steps(Baseline::DdimClassifier, port), 200);
        assert_eq!(steps(Baseline::DdimClassifier, published), 200 + 200);
        assert_eq!(steps(Baseline::CgCdm, port), 10);
        assert_eq!(steps(Baseline::Andi, port), 125);
    }

    #[test]
    fn one_encode_serves_every_strength_and_every_shorter_length() {
        let grid = settings(&[(30, 1.0), (30, 2.0), (20, 1.0), (20, 2.0)]);
        let form = BaselineForm::Port;
        let shared = Baseline::DdimClfFree.passes(form, &grid);
        assert_eq!(shared.network, 30 + 2 * (30 + 30 + 20 + 20));
        let alone: u64 = grid
            .iter()
            .map(|setting| Baseline::DdimClfFree.passes(form, &[*setting]).total())
            .sum();
        assert_eq!(alone, 3 * (30 + 30 + 20 + 20));
        // Nothing is shared where every setting starts from noise of its own level.
        let alone = Baseline::AnoddpmSimplex.passes(form, &grid).total();
        assert_eq!(alone, 100);
    }
}
