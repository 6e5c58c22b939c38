//! Sequences over the steps (Figure 2).

use anofpdm_common::method::MapKind;
use anofpdm_common::plan::{CellOutput, SliceRef};
use anofpdm_common::record::{FigureTraces, Record};

use super::Sources;
use super::records::{KeptCell, seed_of};
use crate::evaluate::EvaluateError;
use crate::evaluate::rows::row_of;
use crate::report::exhibits::{SliceSequences, Traces};
use crate::report::statistics::RowId;
use crate::stored_record;

/// Most slices of either kind whose sequences are read from the records of the table.
const MOST: usize = 200;

/// From the exhibits of the aggregated maps.
pub(super) fn kept(sources: &Sources<'_>, cells: &[KeptCell]) -> Vec<Traces> {
    let mut found = Vec::new();
    for cell in cells {
        let slices: Vec<SliceSequences> = cell
            .exhibits
            .iter()
            .filter_map(|(slice, exhibit)| {
                let traces = exhibit.sequences.as_deref()?;
                Some(of_slice(sources, *slice, traces))
            })
            .collect();
        if !slices.is_empty() {
            found.push(traces(sources, cell.row.clone(), cell.seed, slices));
        }
    }
    found
}

/// From the records of the first cell of each row that has them (`[score.figures] traces`).
pub(super) fn of_figures(sources: &Sources<'_>) -> Result<Vec<Traces>, EvaluateError> {
    let plan = &sources.scored.plan;
    let mut found: Vec<Traces> = Vec::new();
    for (number, cell) in plan.cells.iter().enumerate() {
        let CellOutput::Mask {
            map: MapKind::Aam,
            figures,
            ..
        } = &cell.output
        else {
            continue;
        };
        let Some(row) = row_of(sources.scored, cell) else {
            continue;
        };
        if !figures.traces || found.iter().any(|one| one.row == row) {
            continue;
        }
        let mut slices: Vec<SliceSequences> = Vec::new();
        let count = |slices: &[SliceSequences], unhealthy: bool| {
            let of_kind = slices.iter().filter(|slice| slice.unhealthy == unhealthy);
            of_kind.count()
        };
        for (batch, records) in plan.batches.iter().zip(&sources.scored.records) {
            if [false, true]
                .iter()
                .all(|kind| count(&slices, *kind) >= MOST)
            {
                break;
            }
            let digest = records[number].1;
            let scores = match stored_record::read(sources.artifacts, digest)? {
                Record::Masks(scores) => scores,
                Record::RatedMasks(scores) => scores.into_iter().map(|rated| rated.score).collect(),
                _ => return Err(EvaluateError::Kind(digest)),
            };
            for (slice, score) in batch.iter().zip(scores) {
                let traces = score.figures.as_deref().and_then(|f| f.traces.as_ref());
                let Some(traces) = traces else { continue };
                let sequences = of_slice(sources, *slice, traces);
                if count(&slices, sequences.unhealthy) < MOST {
                    slices.push(sequences);
                }
            }
        }
        if !slices.is_empty() {
            let seed = seed_of(sources.scored, cell);
            found.push(traces(sources, row, seed, slices));
        }
    }
    Ok(found)
}

fn traces(sources: &Sources<'_>, row: RowId, seed: u64, slices: Vec<SliceSequences>) -> Traces {
    Traces {
        row,
        seed,
        validation: false,
        steps: steps(sources),
        modalities: sources.table.modalities.clone(),
        slices,
    }
}

/// t of the full schedule of each forward step.
pub(super) fn steps(sources: &Sources<'_>) -> Vec<u32> {
    let plan = &sources.scored.plan;
    let kept = plan.respacing.indices().into_iter();
    kept.take(plan.steps as usize)
        .map(|index| index + 1)
        .collect()
}

fn of_slice(sources: &Sources<'_>, slice: SliceRef, traces: &FigureTraces) -> SliceSequences {
    let modalities = sources.table.modalities.len().max(1);
    let place = sources.test.iter().position(|one| *one == slice);
    let name = place.and_then(|place| sources.table.slices.get(place));
    let sequence = &traces.trace;
    SliceSequences {
        unhealthy: name.is_some_and(|name| name.unhealthy),
        end_steps: (0..modalities)
            .filter_map(|modality| largest(&sequence.divergence, modality, modalities))
            .collect(),
        divergence: sequence.divergence.clone(),
        mse_h: sequence.mse_h.clone(),
        mse_null: sequence.mse_null.clone(),
        inside: traces.inside.clone(),
        outside: traces.outside.clone(),
    }
}

/// The first step at which the divergence of a modality is largest (Eq. 21).
fn largest(divergence: &[f32], modality: usize, modalities: usize) -> Option<u32> {
    let of_modality = divergence.iter().skip(modality).step_by(modalities);
    let (step, _) = of_modality
        .enumerate()
        .reduce(|best, next| if *next.1 > *best.1 { next } else { best })?;
    u32::try_from(step).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_step_is_the_first_of_the_largest() {
        let two = [0.1, 5.0, 0.3, 1.0, 0.3, 2.0];
        assert_eq!(largest(&two, 0, 2), Some(1));
        assert_eq!(largest(&two, 1, 2), Some(0));
        assert_eq!(largest(&[], 0, 1), None);
    }
}
