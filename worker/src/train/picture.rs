//! Pictures of what the averaged weights make of noise, so that a person sees the network learn.
//!
//! `samples/step-00001000.png`: four samples side by side, from the same noise in every picture; a row
//! for each modality, first those of label 0, then, where the network has labels, those of label 1.

use std::fs;
use std::path::{Path, PathBuf};

use anofpdm_common::picture::Picture;
use anofpdm_common::role::Role;
use anofpdm_common::spec::DIFFUSION_STEPS;
use anofpdm_common::store::durable::{self, DiskError};
use tch::{Kind, Tensor};

use super::error::TrainError;
use super::learner::Learner;
use super::noise::{NoiseKey, fill};
use super::request::TrainRequest;
use crate::diffusion::reverse::ddim_down;
use crate::diffusion::schedule::{Respacing, Schedule};
use crate::diffusion::step::predict_x0;

/// Folder of the pictures beside the checkpoints.
pub const PICTURES_FOLDER: &str = "samples";
/// Samples side by side.
const COLUMNS: usize = 4;
/// Evaluations of the network for a picture.
const STEPS: usize = 25;
/// Pictures kept: the last ones.
const KEPT: usize = 100;
/// Stands for the step in the noise of pictures: no training has so many.
const NOISE_STEP: u64 = u64::MAX - 1;

/// Draws the picture of `step`; none for a classifier, which makes no images.
pub(super) fn draw(request: &TrainRequest<'_>, learner: &Learner) -> Result<(), TrainError> {
    let Some(samples) = samples(request, learner)? else {
        return Ok(());
    };
    let folder = request.checkpoints.join(PICTURES_FOLDER);
    durable::create_dir(&folder).map_err(TrainError::Picture)?;
    let path = folder.join(format!("step-{:08}.png", learner.step));
    let grid = grid(&samples, request.data.shape());
    let bytes = grid.png().map_err(TrainError::Png)?;
    durable::write(&path, &bytes).map_err(TrainError::Picture)?;
    remove_old(&folder).map_err(TrainError::Picture)
}

/// Values in [-1, 1] of all samples, label by label, `[C, H, W]` each.
fn samples(request: &TrainRequest<'_>, learner: &Learner) -> Result<Option<Vec<f32>>, TrainError> {
    let schedule = Schedule::linear(DIFFUSION_STEPS as usize, &Respacing::Sections(vec![STEPS]))?;
    let labels: &[i64] = match request.role {
        Role::Guided | Role::Conditional => &[0, 1],
        _ => &[0],
    };
    let shape = request.data.shape();
    let values: usize = shape.iter().product();
    let noise: Vec<f32> = (0..COLUMNS)
        .flat_map(|position| {
            let mut noise = vec![0.0; values];
            let place = NoiseKey {
                seed: request.train.seed,
                step: NOISE_STEP,
                position,
                time: schedule.network_time(schedule.len().saturating_sub(1)),
            };
            fill(request.role.noise(), place, shape, &mut noise);
            noise
        })
        .collect();
    let [channels, height, width] = shape.map(|size| size.cast_signed() as i64);
    let columns = COLUMNS.cast_signed() as i64;
    let mut all = Vec::new();
    for label in labels {
        let options = (Kind::Int64, tch::Device::Cpu);
        let label = Tensor::full([columns], *label, options);
        let mut x = Tensor::from_slice(&noise).view([columns, channels, height, width]);
        for index in (0..schedule.len()).rev() {
            let times = Tensor::full([columns], schedule.network_time(index), options);
            let Some(epsilon) = learner.average_noise(&x, &times, &label)? else {
                return Ok(None);
            };
            let x0 = predict_x0(&schedule, index, &x, &epsilon, true);
            x = ddim_down(&schedule, index, &x, &x0);
        }
        let mut drawn = vec![0_f32; COLUMNS * values];
        let count = drawn.len();
        x.contiguous().copy_data(&mut drawn, count);
        all.append(&mut drawn);
    }
    Ok(Some(all))
}

/// Lays samples out: a column for each of four, a row for each modality of each label.
fn grid(samples: &[f32], [channels, height, width]: [usize; 3]) -> Picture<1> {
    let plane = (height * width).max(1);
    let rows = samples.len() / (plane * COLUMNS);
    Picture::from_fn(COLUMNS * width, rows * height, |x, y| {
        let (row, column) = (y / height, x / width);
        let (label, channel) = (row / channels, row % channels);
        let image = (label * COLUMNS + column) * channels + channel;
        let pixel = image * plane + (y % height) * width + x % width;
        let value = samples.get(pixel).copied().unwrap_or(0.0);
        // NaN becomes black.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let grey = ((value.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8;
        [grey]
    })
}

fn remove_old(folder: &Path) -> Result<(), DiskError> {
    let failed = |error| DiskError::new("read", folder, error);
    let mut pictures: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "png") {
            pictures.push(path);
        }
    }
    // Their names sort by step.
    pictures.sort_unstable();
    let surplus = pictures.len().saturating_sub(KEPT);
    for path in pictures.iter().take(surplus) {
        fs::remove_file(path).map_err(|error| DiskError::new("remove", path, error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_where_they_are_said_to() {
        // Two labels, four samples, two modalities of one pixel: values by sample.
        let samples: Vec<f32> = (0..16_u8)
            .map(|value| f32::from(value) / 7.5 - 1.0)
            .collect();
        let mut grid = grid(&samples, [2, 1, 1]);
        assert_eq!((grid.width, grid.height), (4, 4));
        let mut at = |x, y| grid.at(x, y).unwrap()[0];
        // Label 0, sample 1: values 2 and 3; label 1, sample 3: values 14 and 15.
        assert_eq!([at(1, 0), at(1, 1)], [34, 51]);
        assert_eq!([at(3, 2), at(3, 3)], [238, 255]);
    }
}
