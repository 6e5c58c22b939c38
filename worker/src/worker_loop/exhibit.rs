//! What is kept of the slices of a batch that are to be looked at.

use anofpdm_common::anofpdm::segment;
use anofpdm_common::method::MapKind;
use anofpdm_common::plan::Wanted;
use anofpdm_common::record::{Exhibit, KeptMap, Record, StepMaps};
use tch::{Kind, Tensor};

use crate::anofpdm::maps::SingleMaps;
use crate::anofpdm::{ForwardResult, KeptStep, StrengthResult};
use crate::diffusion::schedule::Schedule;
use crate::host::numbers;

use super::score::{Scoring, ScoringError, Traces};

/// A batch of which some slices are to be looked at.
pub(super) struct ExhibitedBatch<'a> {
    /// What is kept of each slice, padding left out.
    pub(super) wanted: &'a [Wanted],
    pub(super) schedule: &'a Schedule,
    /// The batch, f32 `[N, C, H, W]` in host memory.
    pub(super) x0: &'a Tensor,
    /// Channels that maps are made of.
    pub(super) modalities: &'a [i64],
}

impl ExhibitedBatch<'_> {
    /// The record of one map: of each wanted slice what is wanted of it, nothing of the others.
    pub(super) fn record(
        &self,
        scoring: &Scoring<'_>,
        pass: &ForwardResult,
        strength: &StrengthResult,
        traces: &Traces,
        kind: MapKind,
    ) -> Result<Record, ScoringError> {
        let maps = strength.maps.get(&kind);
        let maps = maps.ok_or(ScoringError::Missing("such map"))?.defined();
        let guidance = pass
            .guidance
            .iter()
            .position(|result| result.guidance.to_bits() == strength.guidance.to_bits())
            .ok_or(ScoringError::Missing("such guidance strength"))?;
        let exhibits = self.wanted.iter().enumerate().map(|(slice, wanted)| {
            let wanted = wanted.of_map(kind);
            if !wanted.any() {
                return Ok(None);
            }
            let truth = scoring.truth.get(slice);
            let truth = truth.ok_or(ScoringError::Missing("pixel truth"))?;
            let steps = match wanted.steps {
                true => pass
                    .kept
                    .iter()
                    .map(|kept| self.step_maps(kept, guidance, strength.guidance, slice))
                    .collect::<Result<_, _>>()?,
                false => Vec::new(),
            };
            Ok(Some(Box::new(Exhibit {
                map: wanted.map.then(|| filtered_map(scoring, &maps, slice)),
                sequences: wanted
                    .sequences
                    .then(|| Box::new(traces.figure(slice, truth))),
                steps,
            })))
        });
        exhibits.collect::<Result<_, _>>().map(Record::Exhibits)
    }

    /// Means over the scored modalities of what one step contributes (Figure 3).
    fn step_maps(
        &self,
        kept: &KeptStep,
        guidance: usize,
        w: f64,
        slice: usize,
    ) -> Result<StepMaps, ScoringError> {
        let hgp = kept.hgp.get(guidance);
        let hgp = hgp.ok_or(ScoringError::Missing("prediction of such strength"))?;
        let one = |tensor: &Tensor| tensor.narrow(0, place(slice), 1);
        let x0 = one(self.x0).index_select(1, &Tensor::from_slice(self.modalities));
        let b_t = self.schedule.gradient_factor(kept.index);
        let single = SingleMaps::new(&one(hgp), &one(&kept.ugp), &x0, b_t, w);
        let mean = |map: &Tensor| {
            let mean = map.mean_dim(&[0_i64, 1][..], false, Kind::Float);
            KeptMap::new(&numbers::<f32>(&mean))
        };
        Ok(StepMaps {
            step: u32::try_from(kept.index).unwrap_or(u32::MAX),
            squared_error: mean(&single.squared_error),
            gradient: mean(&single.squared_gradient()),
        })
    }
}

/// H of one slice of `maps` (f32 `[N, m, H, W]`), filtered: what its mask is made of.
fn filtered_map(scoring: &Scoring<'_>, maps: &Tensor, slice: usize) -> KeptMap {
    let size = (scoring.size, scoring.size);
    let of_slice = numbers::<f32>(&maps.get(place(slice)));
    let planes: Vec<&[f32]> = of_slice
        .chunks((scoring.size * scoring.size).max(1))
        .collect();
    // Levels only decide the mask.
    let levels = vec![0.0; planes.len()];
    KeptMap::new(&segment(&planes, &levels, size, scoring.mask_rule).aam_median)
}

fn place(slice: usize) -> i64 {
    i64::try_from(slice).unwrap_or(i64::MAX)
}
