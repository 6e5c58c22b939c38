//! Classifier guidance (Wolleb et al., 2022): decoded with the gradient of log p(healthy | x).

use std::ops::ControlFlow;

use anofpdm_common::baseline::Setting;
use anofpdm_common::role::NoiseFamily;
use anofpdm_common::semantics::BaselineForm;
use tch::Tensor;

use super::anofpdm::ForwardError;
use super::ddim_encoding::{Clip, Encoding};
use super::guided_step::{Guidance, guided_down};
use super::input::check_batch;
use super::predictor::{Counted, LabelGuide, NoisePredictor};
use super::restoration::{
    Difference, Restoration, Restored, RestoredBatch, Steps, check, finished, scale,
};
use crate::diffusion::noise::NoiseSource;
use crate::diffusion::schedule::Schedule;
use crate::diffusion::step::q_sample;
use crate::nn::ClassLabel;

/// The method on its networks.
pub(super) struct DdimClassifier<'a> {
    /// Conditioned on the label, or not.
    pub(super) predictor: &'a mut dyn NoisePredictor,
    /// The classifier of noised slices.
    pub(super) guide: &'a mut dyn LabelGuide,
    /// Noise schedule.
    pub(super) schedule: &'a Schedule,
    /// Published: a deterministic encode, and a network that is told "healthy" on both ways. Port:
    /// random noise at index S - 1, and a network that is told nothing (SCIENCE 9).
    pub(super) form: BaselineForm,
}

impl DdimClassifier<'_> {
    /// What the network is told.
    const fn label(form: BaselineForm) -> ClassLabel {
        match form {
            BaselineForm::Published => ClassLabel::Healthy,
            BaselineForm::Port => ClassLabel::Null,
        }
    }
}

impl Restoration for DdimClassifier<'_> {
    /// S evaluations of each network a setting; published, one encode of the largest S beside. The
    /// strength is the scale s of the gradient. Port: noise of index 0 makes every latent; published
    /// draws none.
    fn restore(
        &mut self,
        x0: &Tensor,
        noise: &NoiseSource,
        settings: &[Setting],
        progress: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<RestoredBatch, ForwardError> {
        let (schedule, form) = (self.schedule, self.form);
        check(schedule, x0, noise, settings, |_| match form {
            BaselineForm::Published => 0,
            BaselineForm::Port => 1,
        })?;
        let shape = check_batch(x0)?;
        let label = Self::label(form);
        let mut predictor = Counted::new(self.predictor);
        let mut guide = Counted::new(self.guide);
        let mut steps = Steps::new(progress);
        let restored = tch::no_grad(|| {
            let latents = match form {
                BaselineForm::Published => Encoding {
                    schedule,
                    form,
                    label,
                    clip: Clip::Fixed,
                }
                .latents(x0, settings, &mut predictor, &mut steps)?,
                BaselineForm::Port => {
                    let noised = settings.iter().map(|setting| {
                        let index = scale(setting) - 1;
                        let time = schedule.network_time(index);
                        let gaussian = NoiseFamily::Gaussian;
                        let noise = noise.draw(gaussian, 0, time, shape, x0.device());
                        q_sample(schedule, index, x0, &noise)
                    });
                    noised.collect()
                }
            };
            let decoded = settings.iter().zip(latents).map(|(setting, latent)| {
                let mut x = latent.shallow_clone();
                for index in (0..scale(setting)).rev() {
                    let epsilon = predictor.predict(&x, schedule.network_time(index), label);
                    let to = Guidance {
                        label: ClassLabel::Healthy,
                        scale: setting.strength,
                    };
                    x = guided_down(schedule, index, &x, &epsilon, &mut guide, to);
                    steps.tick()?;
                }
                finished(Restored {
                    setting: *setting,
                    latent,
                    target: x,
                    difference: Difference::Squared,
                })
            });
            decoded.collect::<Result<Vec<_>, _>>()
        })?;
        Ok(RestoredBatch {
            restored,
            evaluations: predictor.evaluations(),
            classifier_evaluations: guide.evaluations(),
        })
    }
}
