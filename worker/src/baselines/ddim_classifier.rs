//! Classifier guidance (Wolleb et al., 2022): decoded with the gradient of log p(healthy | x).

use anofpdm_common::baseline::{Clip, Setting};
use anofpdm_common::semantics::BaselineForm;
use tch::Tensor;

use super::classifier_guidance::{ClassifierGuidance, guided_down};
use super::ddim_encoding::DdimEncoder;
use super::driver::{RestorationMethod, Walk, scale};
use super::restored::Difference;
use crate::diffusion::step::q_sample;
use crate::method_error::MethodError;
use crate::nn::ClassLabel;
use crate::predictor::{Counted, LabelGuide};

/// S evaluations of each network a setting; published, one encode of the largest S beside. The strength is the scale s of
/// the gradient. Port: noise of index 0 makes every latent; published draws none.
pub(super) struct DdimClassifier<'a> {
    pub(super) guide: Counted<'a, dyn LabelGuide + 'a>,
    /// Published: a deterministic encode, and a network that is told "healthy" on both ways. Port:
    /// random noise at index S - 1, and a network that is told nothing.
    pub(super) form: BaselineForm,
}

impl DdimClassifier<'_> {
    /// What the network is told.
    const fn label(&self) -> ClassLabel {
        match self.form {
            BaselineForm::Published => ClassLabel::Healthy,
            BaselineForm::Port => ClassLabel::Null,
        }
    }
}

impl RestorationMethod for DdimClassifier<'_> {
    fn noise_needed(&self, _: usize) -> usize {
        match self.form {
            BaselineForm::Published => 0,
            BaselineForm::Port => 1,
        }
    }

    fn latents(
        &mut self,
        walk: &mut Walk<'_>,
        settings: &[Setting],
    ) -> Result<Vec<Tensor>, MethodError> {
        match self.form {
            BaselineForm::Published => DdimEncoder {
                form: self.form,
                label: self.label(),
                clip: Clip::Fixed,
            }
            .latents(walk, settings),
            BaselineForm::Port => {
                let noise = walk.gaussian(0);
                let latents = settings.iter().map(|setting| {
                    q_sample(walk.schedule, scale(setting) - 1, walk.x0, &noise) // Eq. 2
                });
                Ok(latents.collect())
            }
        }
    }

    fn restore(
        &mut self,
        walk: &mut Walk<'_>,
        setting: &Setting,
        latent: &Tensor,
    ) -> Result<(Tensor, Difference), MethodError> {
        let to_healthy = ClassifierGuidance {
            label: ClassLabel::Healthy,
            scale: setting.strength,
        };
        let label = self.label();
        let mut x = latent.shallow_clone();
        for index in (0..scale(setting)).rev() {
            let epsilon = walk.predict(index, &x, label);
            let guide = &mut self.guide;
            x = guided_down(walk.schedule, index, &x, &epsilon, guide, to_healthy);
            walk.step_done()?;
        }
        Ok((x, Difference::Squared))
    }

    fn classifier_evaluations(&self) -> u64 {
        self.guide.evaluations()
    }
}
