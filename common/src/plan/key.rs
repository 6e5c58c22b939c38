//! The key of a record: a digest of everything that decides its bits.
//!
//! Same key, same bits. What is no part of the arithmetic stays out: how batches are cut into shards, which other
//! cells were computed beside, who did it.

use serde::Serialize;

use crate::anofpdm::{MaskRule, PUBLISHED_MEDIAN};
use crate::baseline::{Baseline, Clip, Sampler};
use crate::ids::Digest;
use crate::method::Encoding;
use crate::network::NetworkConfig;
use crate::semantics::Semantics;
use crate::spec::{Precision, Respacing};
use crate::store::scaling::Scaling;

use super::cell::{Cell, CellOutput, ForwardWalk, RestorationWalk, Trajectory};
use super::error::PlanError;
use super::exhibits::Wanted;
use super::forward::ForwardPlan;
use super::profile::NumericProfile;

/// Raised whenever the meaning or the bytes of a record change; part of every key.
pub const RECORD_SCHEMA: u32 = 2;

/// Names the arithmetic that makes a record; raised when a change of the inference engine may move bits.
pub const KERNEL: &str = "libtorch-engine-1";

/// Machine and number format: what moves the bits of a network's output beside its input.
#[derive(Serialize)]
struct ProfileKey<'a> {
    device: &'a str,
    precision: Precision,
    libtorch: &'a str,
    cpu_capability: &'a str,
    threads: u32,
}

impl<'a> ProfileKey<'a> {
    fn of(profile: &'a NumericProfile, precision: Precision) -> Self {
        Self {
            device: &profile.device,
            precision,
            libtorch: &profile.libtorch,
            cpu_capability: &profile.cpu_capability,
            threads: profile.threads,
        }
    }
}

#[derive(Serialize)]
struct ForwardKey<'a> {
    schema: u32,
    kernel: &'a str,
    semantics: Semantics,
    steps: u32,
    respacing: Respacing,
    component_area: u32,
    /// Of masks, where it is another than the published one.
    #[serde(skip_serializing_if = "Option::is_none")]
    mask_rule: Option<MaskRule>,
    profile: ProfileKey<'a>,
    data: Digest,
    scaling: Scaling,
    scored: &'a [u32],
    config: &'a NetworkConfig,
    weights: Digest,
    encoding: Encoding,
    seed: u64,
    guidance: u64,
    output: &'a CellOutput,
    /// What is kept of each slice, where it is kept to be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    exhibits: Option<ExhibitKey<'a>>,
    batch_slices: u32,
    slices: Vec<(&'a str, u32)>,
}

/// Of a batch.
#[derive(Serialize)]
struct ExhibitKey<'a> {
    steps: &'a [u32],
    wanted: Vec<Wanted>,
}

#[derive(Serialize)]
struct RestorationKey<'a> {
    schema: u32,
    kernel: &'a str,
    semantics: Semantics,
    respacing: Respacing,
    component_area: u32,
    /// Side of the median filter, where it is another than the published one.
    #[serde(skip_serializing_if = "Option::is_none")]
    median: Option<u32>,
    profile: ProfileKey<'a>,
    data: Digest,
    scaling: Scaling,
    scored: &'a [u32],
    baseline: Baseline,
    sampler: Sampler,
    clip: Clip,
    diffusion_steps: u32,
    networks: Vec<(&'a NetworkConfig, Digest)>,
    seed: Option<u64>,
    strength: u64,
    output: &'a CellOutput,
    /// What is kept of each slice, where it is kept to be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    exhibits: Option<ExhibitKey<'a>>,
    batch_slices: u32,
    slices: Vec<(&'a str, u32)>,
}

impl ForwardPlan {
    /// The key of the record that `cell` makes of `batch`: same key, same bits.
    pub fn record_key(&self, batch: usize, cell: usize) -> Result<Digest, PlanError> {
        let cell = self.cell(cell)?;
        let batch = self.batch(batch)?;
        let slices = batch
            .iter()
            .map(|slice| Ok((self.subject(*slice)?, slice.position)))
            .collect::<Result<Vec<_>, PlanError>>()?;
        let exhibits = matches!(
            cell.output,
            CellOutput::Exhibit { .. } | CellOutput::RestoredExhibit { .. }
        )
        .then(|| ExhibitKey {
            steps: &self.exhibits.step_indices,
            wanted: batch.iter().map(|slice| self.exhibits.of(*slice)).collect(),
        });
        match self.trajectory(cell)? {
            Trajectory::Forward(walk) => self.forward_key(walk, cell, slices, exhibits),
            Trajectory::Restoration(walk) => self.restoration_key(walk, cell, slices, exhibits),
        }
    }

    fn forward_key(
        &self,
        walk: &ForwardWalk,
        cell: &Cell,
        slices: Vec<(&str, u32)>,
        exhibits: Option<ExhibitKey<'_>>,
    ) -> Result<Digest, PlanError> {
        let network = self.network(walk.network)?;
        key_of(&ForwardKey {
            schema: RECORD_SCHEMA,
            kernel: KERNEL,
            semantics: self.semantics,
            steps: self.steps,
            respacing: self.respacing,
            component_area: self.component_area,
            mask_rule: (cell.output != CellOutput::Traces && !self.mask_rule.is_published())
                .then_some(self.mask_rule),
            profile: ProfileKey::of(&self.profile, self.precision),
            data: self.data.digest,
            scaling: self.data.scaling,
            scored: &self.data.scored,
            config: &network.config,
            weights: network.weights,
            encoding: walk.encoding,
            seed: walk.seed,
            guidance: cell.strength().bits(),
            output: &cell.output,
            exhibits,
            batch_slices: self.batch_slices,
            slices,
        })
    }

    fn restoration_key(
        &self,
        walk: &RestorationWalk,
        cell: &Cell,
        slices: Vec<(&str, u32)>,
        exhibits: Option<ExhibitKey<'_>>,
    ) -> Result<Digest, PlanError> {
        let networks = walk
            .networks
            .iter()
            .map(|network| {
                let network = self.network(*network)?;
                Ok((&network.config, network.weights))
            })
            .collect::<Result<Vec<_>, PlanError>>()?;
        key_of(&RestorationKey {
            schema: RECORD_SCHEMA,
            kernel: KERNEL,
            semantics: self.semantics,
            respacing: self.respacing,
            component_area: self.component_area,
            median: (self.mask_rule.median != PUBLISHED_MEDIAN).then_some(self.mask_rule.median),
            profile: ProfileKey::of(&self.profile, self.precision),
            data: self.data.digest,
            scaling: self.data.scaling,
            scored: &self.data.scored,
            baseline: walk.baseline,
            sampler: walk.sampler,
            clip: walk.clip,
            diffusion_steps: walk.diffusion_steps,
            networks,
            seed: walk.seed,
            strength: cell.strength().bits(),
            output: &cell.output,
            exhibits,
            batch_slices: self.batch_slices,
            slices,
        })
    }

    /// The key of every record of the plan: `[batch][cell]`.
    pub fn record_keys(&self) -> Result<Vec<Vec<Digest>>, PlanError> {
        (0..self.batches.len())
            .map(|batch| {
                (0..self.cells.len())
                    .map(|cell| self.record_key(batch, cell))
                    .collect()
            })
            .collect()
    }
}

pub(super) fn key_of<T: Serialize>(material: &T) -> Result<Digest, PlanError> {
    // JSON: field order and number format are fixed, and a key never depends on the wire codec.
    serde_json::to_vec(material)
        .map(|bytes| Digest::of(&bytes))
        .map_err(|error| PlanError::Json(error.to_string()))
}

#[cfg(test)]
mod tests;
