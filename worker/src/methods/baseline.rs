//! The baselines by name.

use anofpdm_common::baseline::{Baseline, Sampler};
use anofpdm_common::role::NoiseFamily;
use anofpdm_common::semantics::BaselineForm;

use super::andi::Andi;
use super::anoddpm::AnoDdpm;
use super::anofpdm::ForwardError;
use super::cg_cdm::CgCdm;
use super::ddim_classifier::DdimClassifier;
use super::ddim_clf_free::DdimClfFree;
use super::ddim_encoding::Clip;
use super::predictor::{LabelGuide, NoisePredictor};
use super::restoration::Restoration;
use crate::diffusion::schedule::Schedule;

/// How a baseline is computed.
#[derive(Debug, Clone, Copy)]
pub struct BaselineSetup<'a> {
    /// The method.
    pub baseline: Baseline,
    /// As published, or as the public code of the paper has it.
    pub form: BaselineForm,
    /// How AnoDDPM walks back.
    pub sampler: Sampler,
    /// How `ddim-clf-free` keeps predicted x0 in range.
    pub clip: Clip,
    /// Noise schedule.
    pub schedule: &'a Schedule,
}

impl<'a> BaselineSetup<'a> {
    /// The method on its networks: the one that predicts noise, and the classifier where it has one.
    ///
    /// # Errors
    /// When the method needs a classifier and none is there.
    pub fn build(
        self,
        predictor: &'a mut dyn NoisePredictor,
        guide: Option<&'a mut dyn LabelGuide>,
    ) -> Result<Box<dyn Restoration + 'a>, ForwardError> {
        let Self {
            form,
            sampler,
            clip,
            schedule,
            ..
        } = self;
        let anoddpm = |family, predictor| AnoDdpm {
            predictor,
            schedule,
            form,
            family,
            sampler,
        };
        let needed = || ForwardError::Invalid(format!("{} needs a classifier", self.baseline));
        Ok(match self.baseline {
            Baseline::AnoddpmGaussian => Box::new(anoddpm(NoiseFamily::Gaussian, predictor)),
            Baseline::AnoddpmSimplex => Box::new(anoddpm(NoiseFamily::Simplex, predictor)),
            Baseline::DdimClassifier => Box::new(DdimClassifier {
                predictor,
                guide: guide.ok_or_else(needed)?,
                schedule,
                form,
            }),
            Baseline::DdimClfFree => Box::new(DdimClfFree {
                predictor,
                schedule,
                form,
                clip,
            }),
            Baseline::CgCdm => Box::new(CgCdm {
                predictor,
                guide: guide.ok_or_else(needed)?,
                schedule,
            }),
            Baseline::Andi => Box::new(Andi {
                predictor,
                schedule,
            }),
        })
    }
}
