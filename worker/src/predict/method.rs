//! Map and mask of slices, from the networks of a run.
//!
//! The arithmetic is that of a run's records: the same pass, the same segmentation, batches of the same size. A slice of
//! the run gives the mask that its record was counted from.

use std::ops::ControlFlow;

use anofpdm_common::anofpdm::{ImageLabel, drop_small, mask_at, mse_ratio};
use anofpdm_common::baseline::Setting;
use anofpdm_common::method::MapKind;
use anofpdm_common::plan::{
    CellOutput, ForwardPlan, ForwardWalk, Postprocessing, RestorationWalk, SliceRef, Trajectory,
};
use anofpdm_common::spec::DIFFUSION_STEPS;
use anofpdm_common::store::slices::{SliceStore, SubjectImages};
use tch::{Device, Tensor};

use super::PredictError;
use super::finished_run::{ChosenMethod, FinishedRun};
use super::result::{ModalityResult, SliceResult};
use crate::anofpdm::classification::batch_cosines;
use crate::anofpdm::segmentation::{batch_levels, median_batch, segment_batch};
use crate::anofpdm::{ForwardPass, StrengthResult};
use crate::backend::{Backend, OpenNetwork};
use crate::baselines::{BaselineSetup, Restored};
use crate::diffusion::noise::NoiseSource;
use crate::diffusion::schedule::Schedule;
use crate::host::numbers;
use crate::predictor::{LabelGuide, NoisePredictor};
use crate::worker_loop::batch_reader::{BatchReader, SliceBatch};

/// One slice, computed.
#[derive(Debug, Clone)]
pub struct PredictedSlice {
    /// Filtered map, `[H x W]`.
    pub map: Vec<f32>,
    /// 0 or 1, `[H x W]`, small components dropped, whatever the slice is called.
    pub mask: Vec<u8>,
    pub result: SliceResult,
}

/// A method of a run with its networks on a device.
pub struct LoadedMethod<'a> {
    run: &'a FinishedRun,
    chosen: &'a ChosenMethod,
    seed: u64,
    device: Device,
    schedule: Schedule,
    noise: Box<dyn NoisePredictor>,
    label: Option<Box<dyn LabelGuide>>,
}

impl std::fmt::Debug for LoadedMethod<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadedMethod").finish_non_exhaustive()
    }
}

impl<'a> LoadedMethod<'a> {
    /// Opens the networks of `chosen`. `seed` is that of the noise.
    ///
    /// # Errors
    /// When weights are not there or do not fit, or the device does not compute in the run's number format.
    pub fn load(
        run: &'a FinishedRun,
        chosen: &'a ChosenMethod,
        seed: u64,
        backend: &mut dyn Backend,
    ) -> Result<Self, PredictError> {
        let plan = &run.plan;
        let (steps, networks) = match &chosen.trajectory {
            Trajectory::Forward(walk) => (DIFFUSION_STEPS, vec![walk.network]),
            Trajectory::Restoration(walk) => (walk.diffusion_steps, walk.networks.clone()),
        };
        let schedule = Schedule::linear(steps as usize, &plan.respacing.into())?;
        let kind = backend.set_precision(plan.precision)?;
        let (mut noise, mut label) = (None, None);
        for network in networks {
            let network = plan.network(network)?;
            let weights = run.artifacts.verify(&network.weights)?;
            match backend.open(network, &weights, kind)? {
                OpenNetwork::Noise(opened) => noise = Some(opened),
                OpenNetwork::Label(opened) => label = Some(opened),
            }
        }
        let noise =
            noise.ok_or_else(|| PredictError::Fit("no network predicts noise".to_owned()))?;
        Ok(Self {
            run,
            chosen,
            seed,
            device: backend.device(),
            schedule,
            noise,
            label,
        })
    }

    /// All slices of a subject, in the order of its file. `progress` is told how many are done.
    ///
    /// # Errors
    /// When slices cannot be read, or the method fails on them.
    pub fn subject(
        &mut self,
        store: &SliceStore,
        subject: &SubjectImages,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<PredictedSlice>, PredictError> {
        let plan = of_subject(&self.run.plan, &subject.id);
        let reader = BatchReader::new(store);
        let mut done = Vec::with_capacity(subject.slices());
        let all: Vec<SliceRef> = (0..u32::try_from(subject.slices()).unwrap_or(u32::MAX))
            .map(|position| SliceRef {
                subject: 0,
                position,
            })
            .collect();
        for slices in all.chunks((plan.batch_slices as usize).max(1)) {
            let batch = reader.read(&plan, slices, false)?;
            done.extend(self.batch(&batch)?);
            progress(done.len());
        }
        for (slice, place) in done.iter_mut().zip(&subject.slice_index) {
            slice.result.slice = *place;
        }
        Ok(done)
    }

    fn batch(&mut self, batch: &SliceBatch) -> Result<Vec<PredictedSlice>, PredictError> {
        let chosen = self.chosen;
        match (&chosen.trajectory, &chosen.cell.output) {
            (
                Trajectory::Forward(walk),
                CellOutput::Mask {
                    map,
                    max_divergence,
                    ..
                },
            ) => self.forward(batch, *walk, *map, max_divergence),
            (
                Trajectory::Restoration(walk),
                CellOutput::Restored {
                    postprocessing: Postprocessing::Common { threshold },
                    ..
                },
            ) => self.restoration(batch, walk, *threshold),
            _ => Err(PredictError::Fit(
                "the method has no mask of its own".to_owned(),
            )),
        }
    }

    fn noise_of(&self, batch: &SliceBatch) -> NoiseSource {
        NoiseSource::Counter {
            seed: self.seed,
            slices: batch.identities.clone(),
        }
    }

    fn scored(&self) -> Vec<i64> {
        let scored = self.run.plan.data.scored.iter();
        scored.map(|channel| i64::from(*channel)).collect()
    }

    fn forward(
        &mut self,
        batch: &SliceBatch,
        walk: ForwardWalk,
        kind: MapKind,
        max_divergence: &[f32],
    ) -> Result<Vec<PredictedSlice>, PredictError> {
        let plan = &self.run.plan;
        let switches = plan.semantics.switches();
        let modalities = self.scored();
        let pass = ForwardPass {
            schedule: &self.schedule,
            switches,
            encoding: walk.encoding,
            steps: plan.steps as usize,
            guidance: &[self.chosen.cell.guidance],
            modalities: &modalities,
            maps: &[kind],
            end_step_ratios: &[],
            keep: &[],
            lesion: None,
        };
        let noise = self.noise_of(batch);
        let pass = pass
            .run(
                self.noise.as_mut(),
                &batch.x0(self.device),
                &noise,
                &mut |_| ControlFlow::Continue(()),
            )?
            .on_host();
        let missing = || PredictError::Fit("the pass has no such map. This is a bug.".to_owned());
        let strength = pass.guidance.first().ok_or_else(missing)?;
        let map = strength.maps.get(&kind).ok_or_else(missing)?;
        let slices = i64::try_from(batch.slices).unwrap_or(i64::MAX);
        let real = |tensor: &Tensor| tensor.narrow(0, 0, slices);
        let levels = batch_levels(&real(&strength.peak), max_divergence, switches.level_index);
        let segmented = segment_batch(&real(&map.defined()), &levels, plan.mask_rule);
        let cosines = batch_cosines(&strength.mse_h, &pass.mse_null);
        let ratios = ratios(strength, &pass.mse_null);
        let t_e = numbers::<i64>(&strength.t_e);
        let peaks = numbers::<f32>(&strength.peak);
        let undefined = numbers::<bool>(&strength.undefined);
        let m = modalities.len();
        let rule = self.chosen.label_rule;
        let each = segmented.into_iter().enumerate();
        Ok(each
            .map(|(n, mut slice)| {
                let modalities: Vec<ModalityResult> = (n * m..(n + 1) * m)
                    .map(|i| ModalityResult {
                        t_e: t_e[i],
                        divergence: peaks[i],
                        level: levels[i].level,
                        defined: !undefined[i],
                    })
                    .collect();
                if modalities.iter().any(|modality| !modality.defined) {
                    slice.clear();
                }
                let mask = without_small(slice.mask, batch.size, plan.component_area);
                let label = rule.map(|rule| rule.label(cosines[n], ratios[n]));
                PredictedSlice {
                    result: SliceResult {
                        slice: 0,
                        unhealthy: label == Some(ImageLabel::Unhealthy),
                        cosine: Some(cosines[n]),
                        mse_ratio: Some(ratios[n]),
                        threshold: slice.q_star,
                        modalities,
                        mask_pixels: count(&mask),
                    },
                    map: slice.aam_median,
                    mask,
                }
            })
            .collect())
    }

    fn restoration(
        &mut self,
        batch: &SliceBatch,
        walk: &RestorationWalk,
        threshold: f32,
    ) -> Result<Vec<PredictedSlice>, PredictError> {
        let plan = &self.run.plan;
        let (scored, area) = (self.scored(), plan.component_area);
        let setting: Setting = self
            .chosen
            .cell
            .setting()
            .ok_or_else(|| PredictError::Fit("a baseline without a setting".to_owned()))?;
        let setup = BaselineSetup {
            baseline: walk.baseline,
            form: plan.semantics.switches().baselines,
            sampler: walk.sampler,
            clip: walk.clip,
            schedule: &self.schedule,
        };
        let noise = self.noise_of(batch);
        let x0 = batch.x0(self.device);
        let guide = self
            .label
            .as_mut()
            .map(|guide| guide.as_mut() as &mut dyn LabelGuide);
        let mut method = setup.build(self.noise.as_mut(), guide)?;
        let done = method.restore(&x0, &noise, &[setting], &mut || ControlFlow::Continue(()))?;
        let restored = done.restored.into_iter().next().map(Restored::on_host);
        let restored = restored
            .ok_or_else(|| PredictError::Fit("nothing was restored. This is a bug.".to_owned()))?;
        let x0 = x0.to_device(Device::Cpu);
        let maps = median_batch(&restored.map(&x0, &scored), plan.mask_rule.median);
        Ok(maps
            .into_iter()
            .take(batch.slices)
            .map(|map| {
                let mask = without_small(mask_at(&map, threshold), batch.size, area);
                let mask_pixels = count(&mask);
                PredictedSlice {
                    result: SliceResult {
                        slice: 0,
                        unhealthy: mask_pixels > 0,
                        cosine: None,
                        mse_ratio: None,
                        threshold,
                        modalities: Vec::new(),
                        mask_pixels,
                    },
                    map,
                    mask,
                }
            })
            .collect())
    }
}

/// The plan as a batch of one other subject is read by it.
fn of_subject(plan: &ForwardPlan, subject: &str) -> ForwardPlan {
    let mut plan = ForwardPlan {
        batches: Vec::new(),
        ..plan.clone()
    };
    plan.data.subjects = vec![subject.to_owned()];
    plan
}

/// Sum of MSE^h over sum of MSE^null of each slice.
fn ratios(strength: &StrengthResult, mse_null: &Tensor) -> Vec<f32> {
    let length: i64 = mse_null.size().iter().skip(1).product();
    let length = usize::try_from(length).unwrap_or(0).max(1);
    let (h, null) = (numbers::<f32>(&strength.mse_h), numbers::<f32>(mse_null));
    h.chunks(length)
        .zip(null.chunks(length))
        .map(|(h, null)| mse_ratio(h, null))
        .collect()
}

fn without_small(mut mask: Vec<u8>, size: usize, area: u32) -> Vec<u8> {
    drop_small(&mut mask, size, size, area);
    mask
}

fn count(mask: &[u8]) -> u32 {
    let set = mask.iter().filter(|pixel| **pixel != 0).count();
    u32::try_from(set).unwrap_or(u32::MAX)
}
