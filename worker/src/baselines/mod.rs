//! The baselines (Table 1): one file a method with its equations, one driver for all.

mod andi;
mod anoddpm;
mod cg_cdm;
mod classifier_guidance;
mod clip;
mod ddim_classifier;
mod ddim_clf_free;
mod ddim_encoding;
mod driver;
mod restored;
#[cfg(test)]
mod tests;

pub use driver::{Restoration, RestoredBatch};
pub use restored::{Difference, Restored};

use anofpdm_common::baseline::{Baseline, Clip, Sampler};
use anofpdm_common::role::NoiseFamily;
use anofpdm_common::semantics::BaselineForm;

use crate::diffusion::schedule::Schedule;
use crate::method_error::MethodError;
use crate::predictor::{Counted, LabelGuide, NoisePredictor};
use andi::Andi;
use anoddpm::AnoDdpm;
use cg_cdm::CgCdm;
use ddim_classifier::DdimClassifier;
use ddim_clf_free::DdimClfFree;
use driver::RestorationMethod;

#[derive(Debug, Clone, Copy)]
pub struct BaselineSetup<'a> {
    pub baseline: Baseline,
    /// As published, or as the public code of the paper has it.
    pub form: BaselineForm,
    pub sampler: Sampler,
    /// How `ddim-clf-free` keeps predicted x0 in range.
    pub clip: Clip,
    pub schedule: &'a Schedule,
}

impl<'a> BaselineSetup<'a> {
    /// The method on its networks: the one that predicts noise, and the classifier where it has one.
    pub fn build(
        self,
        predictor: &'a mut dyn NoisePredictor,
        guide: Option<&'a mut dyn LabelGuide>,
    ) -> Result<Restoration<'a>, MethodError> {
        let Self { form, schedule, .. } = self;
        let anoddpm = |family| AnoDdpm {
            form,
            family,
            sampler: self.sampler,
        };
        let needed = || MethodError::Invalid(format!("{} needs a classifier", self.baseline));
        let guide = guide.map(Counted::new).ok_or_else(needed);
        let method: Box<dyn RestorationMethod + 'a> = match self.baseline {
            Baseline::AnoddpmGaussian => Box::new(anoddpm(NoiseFamily::Gaussian)),
            Baseline::AnoddpmSimplex => Box::new(anoddpm(NoiseFamily::Simplex)),
            Baseline::DdimClassifier => Box::new(DdimClassifier {
                guide: guide?,
                form,
            }),
            Baseline::DdimClfFree => Box::new(DdimClfFree {
                form,
                clip: self.clip,
            }),
            Baseline::CgCdm => Box::new(CgCdm { guide: guide? }),
            Baseline::Andi => Box::new(Andi),
        };
        Ok(Restoration {
            method,
            predictor,
            schedule,
        })
    }
}
