//! The records of one cell over all batches, read when asked for.

use anofpdm_common::anofpdm::mse_ratio as ratio_of;
use anofpdm_common::ids::Digest;
use anofpdm_common::metrics::collected_runs::CollectedRuns;
use anofpdm_common::metrics::overlap::Overlap;
use anofpdm_common::metrics::score_run::RunSource;
use anofpdm_common::metrics::{Localization, MaskRuns, PackedRun};
use anofpdm_common::record::{ModalityDecision, Record, SliceScore};
use anofpdm_common::store::artifacts::ArtifactStore;
use rayon::prelude::*;

use super::truth::TruthMasks;
use super::{EvaluateError, Finished};
use crate::stored_record;

/// What any scoring cell says about one slice.
#[derive(Debug)]
pub(super) struct Scored {
    pub(super) overlap: Overlap,
    /// Cosine of the MSE sequences; `None` for a baseline, whose mask alone says whether a slice is unhealthy.
    pub(super) cosine: Option<f32>,
    /// Ratio of the MSE sequences, where the record carries it.
    pub(super) mse_ratio: Option<f32>,
    /// Threshold Q*; `None` for a baseline.
    pub(super) q_star: Option<f32>,
    /// What was decided for each modality; nothing for a baseline.
    pub(super) modalities: Vec<ModalityDecision>,
    pub(super) run: PackedRun,
    pub(super) mask: MaskRuns,
}

/// One slice as its record has it, and what follows from that.
struct LocatedSlice {
    number: usize,
    scored: Scored,
    located: Localization,
    /// Sorted keys.
    run: Vec<u32>,
}

/// One cell of a finished scoring plan; slices are numbered through the batches.
pub(super) struct CellRecords<'a> {
    pub(super) artifacts: &'a ArtifactStore,
    /// First slice and record of each batch.
    batches: Vec<(usize, usize, Digest)>,
}

/// Batches read at a time: some for each processor, so that none waits for the longest.
fn beside() -> usize {
    (4 * rayon::current_num_threads()).min(MOST_BESIDE)
}

const MOST_BESIDE: usize = 16;

impl<'a> CellRecords<'a> {
    pub(super) fn new(finished: &Finished, cell: usize, artifacts: &'a ArtifactStore) -> Self {
        let mut first = 0;
        let batches = finished
            .plan
            .batches
            .iter()
            .zip(&finished.records)
            .map(|(batch, cells)| {
                let entry = (first, batch.len(), cells[cell].1);
                first += batch.len();
                entry
            })
            .collect();
        Self { artifacts, batches }
    }

    /// Hands every slice to `visit`, in order, with where its mask lies and its scores; a few batches in memory at a time,
    /// and as many read meanwhile.
    pub(super) fn for_each(
        &self,
        truth: &TruthMasks,
        mut visit: impl FnMut(usize, &Scored, Localization, &[u32]) + Send,
    ) -> Result<(), EvaluateError> {
        let mut chunks = self.batches.chunks(beside());
        let next = |chunks: &mut std::slice::Chunks<'_, _>| {
            chunks.next().map(|batches| self.locate(batches, truth))
        };
        let mut there = next(&mut chunks).transpose()?;
        while let Some(located) = there {
            let (ahead, ()) = rayon::join(
                || next(&mut chunks),
                || {
                    for slice in located.iter().flatten() {
                        visit(slice.number, &slice.scored, slice.located, &slice.run);
                    }
                },
            );
            there = ahead.transpose()?;
        }
        Ok(())
    }

    /// What the records of some batches say, with what is worked out of each slice by itself.
    fn locate(
        &self,
        batches: &[(usize, usize, Digest)],
        truth: &TruthMasks,
    ) -> Result<Vec<Vec<LocatedSlice>>, EvaluateError> {
        batches
            .par_iter()
            .map(|&(first, _, record)| {
                let scores = self.read(record)?.into_iter().zip(first..);
                let located = scores.map(|(scored, number)| {
                    let located = truth.localize(number, &scored.mask);
                    Ok(LocatedSlice {
                        number,
                        located: located.ok_or(EvaluateError::Mask(record))?,
                        run: scored.run.unpack(),
                        scored,
                    })
                });
                located.collect()
            })
            .collect()
    }

    /// The first slice of each batch and what its record says, read beside each other.
    fn read_all(
        &self,
        batches: &[(usize, usize, Digest)],
    ) -> Result<Vec<(usize, Vec<Scored>)>, EvaluateError> {
        batches
            .par_iter()
            .map(|&(first, _, record)| Ok((first, self.read(record)?)))
            .collect()
    }

    fn read(&self, record: Digest) -> Result<Vec<Scored>, EvaluateError> {
        match stored_record::read(self.artifacts, record)? {
            Record::Masks(scores) => Ok(scores
                .into_iter()
                .map(|score| masked(score, None))
                .collect()),
            Record::RatedMasks(scores) => Ok(scores
                .into_iter()
                .map(|rated| masked(rated.score, Some(rated.mse_ratio)))
                .collect()),
            Record::Restored(scores) => Ok(scores
                .into_iter()
                .map(|score| Scored {
                    overlap: score.overlap,
                    cosine: None,
                    mse_ratio: None,
                    q_star: None,
                    modalities: Vec::new(),
                    run: score.run,
                    mask: score.mask,
                })
                .collect()),
            Record::Traces(_)
            | Record::Overlaps(_)
            | Record::Candidates(_)
            | Record::Exhibits(_) => Err(EvaluateError::Kind(record)),
        }
    }
}

/// A slice of AnoFPDM. The ratio is in the record where the spec decides by it, or follows from the traces in it.
fn masked(score: SliceScore, mse_ratio: Option<f32>) -> Scored {
    let traces = score.figures.as_ref().and_then(|f| f.traces.as_ref());
    let traced = || traces.map(|t| ratio_of(&t.trace.mse_h, &t.trace.mse_null));
    Scored {
        overlap: score.overlap,
        cosine: Some(score.cosine),
        mse_ratio: mse_ratio.or_else(traced),
        q_star: Some(score.q_star),
        modalities: score.modalities,
        run: score.run,
        mask: score.mask,
    }
}

impl RunSource for CellRecords<'_> {
    type Error = EvaluateError;

    fn visit_runs(
        &self,
        slices: &[usize],
        visit: &mut dyn FnMut(usize, &[u32]),
    ) -> Result<(), Self::Error> {
        let mut wanted = slices;
        let mut asked = Vec::new();
        for &(first, count, record) in &self.batches {
            let here = wanted.partition_point(|slice| *slice < first + count);
            let (of_batch, rest) = wanted.split_at(here);
            wanted = rest;
            if !of_batch.is_empty() {
                asked.push(((first, count, record), of_batch));
            }
        }
        for asked in asked.chunks(beside()) {
            let batches: Vec<_> = asked.iter().map(|(batch, _)| *batch).collect();
            let read = self.read_all(&batches)?;
            let mut run = Vec::new();
            for ((batch, slices), (first, scores)) in asked.iter().zip(read) {
                for slice in *slices {
                    let score = scores.get(slice - first);
                    let score = score.ok_or(EvaluateError::Kind(batch.2))?;
                    run.clear();
                    score.run.unpack_into(&mut run);
                    visit(*slice, &run);
                }
            }
        }
        Ok(())
    }
}

/// The runs of one cell: as they were read for the statistics of its slices, or where they do not fit, its records.
pub(super) enum CellRuns<'a> {
    Collected(CollectedRuns),
    Stored(&'a CellRecords<'a>),
}

impl RunSource for CellRuns<'_> {
    type Error = EvaluateError;

    fn in_memory(&self) -> bool {
        matches!(self, Self::Collected(_))
    }

    fn visit_runs(
        &self,
        slices: &[usize],
        visit: &mut dyn FnMut(usize, &[u32]),
    ) -> Result<(), Self::Error> {
        match self {
            Self::Collected(runs) => match runs.visit_runs(slices, visit) {
                Ok(()) => Ok(()),
                Err(never) => match never {},
            },
            Self::Stored(records) => records.visit_runs(slices, visit),
        }
    }
}
