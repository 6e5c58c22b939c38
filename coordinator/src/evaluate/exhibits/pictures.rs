//! Maps, masks and images of the slices that are shown (Figures 3, 4 and 6, the viewer).

use std::collections::{BTreeMap, BTreeSet};

use anofpdm_common::metrics::Overlap;
use anofpdm_common::plan::{Cell, CellOutput, SliceRef};
use anofpdm_common::record::{KeptMap, MapScale};

use super::Sources;
use super::images::{Images, Shown};
use super::masks::masks as masks_of;
use super::records::{KeptCell, seed_of};
use super::sequences::steps;
use crate::evaluate::EvaluateError;
use crate::evaluate::rows::row_of;
use crate::plan::exhibits::RULE;
use crate::report::exhibits::{
    Mask, MethodExhibit, Pictures, SHOWN_RANGE, SliceExhibit, SlicePlace, StepMap, StepMaps,
};
use crate::report::slices::SlicesOfCell;

/// Most slices that are shown: what a page has room for.
const MOST: usize = 400;

impl Sources<'_> {
    fn place(&self, slice: SliceRef) -> (Option<usize>, SlicePlace) {
        let place = self.test.iter().position(|one| *one == slice);
        let name = place.and_then(|place| self.table.slices.get(place));
        let named = name.map_or_else(SlicePlace::default, |name| SlicePlace {
            patient: name.patient.clone(),
            subject: name.subject.clone(),
            slice: name.slice,
            unhealthy: name.unhealthy,
        });
        (place, named)
    }

    /// Whether it is one of the few that stand in figures.
    fn in_figures(&self, slice: SliceRef) -> bool {
        self.scored
            .plan
            .exhibits
            .steps
            .binary_search(&slice)
            .is_ok()
    }

    /// The cell whose masks are made of the map that an exhibit shows.
    fn mask_cell(&self, exhibit: &Cell) -> Option<usize> {
        let cells = &self.scored.plan.cells;
        let wanted = row_of(self.scored, exhibit)?;
        cells.iter().position(|cell| {
            let masks = matches!(
                cell.output,
                CellOutput::Mask { .. } | CellOutput::Restored { .. }
            );
            let same = cell.trajectory == exhibit.trajectory;
            let row = || row_of(self.scored, cell);
            masks && same && row().as_ref() == Some(&wanted)
        })
    }
}

/// What one method made of one slice, as pages show it; the mask and its overlap as if the slice were unhealthy.
pub(crate) fn method_exhibit(
    map: Option<&KeptMap>,
    mask: Mask,
    called_unhealthy: bool,
    overlap: Overlap,
) -> MethodExhibit {
    let (levels, low) = map.map_or((Vec::new(), 0.0), coarse);
    MethodExhibit {
        map: levels,
        low,
        high: map.map_or(0.0, |map| map.high),
        logarithmic: map.is_some_and(|map| map.scale == MapScale::Logarithmic),
        mask,
        called_unhealthy,
        dice: overlap.dice(),
    }
}

/// Levels of 8 bits of those of 16; of a logarithmic scale down to a thousandth of the highest value, below which there is
/// nothing to see.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn coarse(map: &KeptMap) -> (Vec<u8>, f32) {
    let lowest = map.high / SHOWN_RANGE;
    if map.scale != MapScale::Logarithmic || map.low >= lowest {
        return (
            map.levels.iter().map(|level| (level >> 8) as u8).collect(),
            map.low,
        );
    }
    let decades = f64::from(map.high / map.low).ln() / f64::from(SHOWN_RANGE).ln();
    let shown = |level: &u16| {
        let below = (1.0 - f64::from(*level) / f64::from(u16::MAX)) * decades;
        (255.0 * (1.0 - below)).round().max(0.0) as u8
    };
    (map.levels.iter().map(shown).collect(), lowest)
}

/// Slices that are shown, patient by patient, from the feet to the head.
pub(super) struct ShownSlices {
    /// With their places among the test slices.
    slices: Vec<(SlicePlace, SliceRef, Option<usize>)>,
    left_out: usize,
}

impl ShownSlices {
    pub(super) fn slices(&self) -> BTreeSet<SliceRef> {
        self.slices.iter().map(|(_, slice, _)| *slice).collect()
    }
}

/// Those that the plan names, up to a number; those of the figures are never among what is left out.
pub(super) fn shown(sources: &Sources<'_>) -> ShownSlices {
    let exhibits = &sources.scored.plan.exhibits;
    let named = exhibits.maps.iter().map(|slice| {
        let (place, name) = sources.place(*slice);
        (name, *slice, place)
    });
    let mut slices: Vec<(SlicePlace, SliceRef, Option<usize>)> = named.collect();
    let order = |place: &SlicePlace| (place.patient.clone(), place.subject.clone(), place.slice);
    slices.sort_by_cached_key(|(place, ..)| order(place));
    let all = slices.len();
    let mut room = MOST.saturating_sub(exhibits.steps.len());
    slices.retain(|(_, slice, _)| {
        sources.in_figures(*slice) || {
            let fits = room > 0;
            room = room.saturating_sub(1);
            fits
        }
    });
    ShownSlices {
        left_out: all - slices.len(),
        slices,
    }
}

/// What is to be seen of these slices.
pub(super) fn pictures(
    sources: &Sources<'_>,
    kept: Vec<KeptCell>,
    shown: &ShownSlices,
) -> Result<Pictures, EvaluateError> {
    let plan = &sources.scored.plan;
    let manifest = sources.dataset.store().manifest();
    let side = manifest.size;
    let kept: Vec<KeptCell> = kept
        .into_iter()
        .filter(|cell| cell.exhibits.values().any(|exhibit| exhibit.map.is_some()))
        .collect();
    if kept.is_empty() {
        return Ok(Pictures::default());
    }
    let wanted = shown.slices();
    let mut masks = Vec::new();
    for cell in &kept {
        let of_cell = plan.cells.get(cell.cell);
        let of_cell = of_cell.and_then(|cell| sources.mask_cell(cell));
        masks.push(match of_cell {
            Some(number) => masks_of(
                sources.scored,
                sources.artifacts,
                number,
                &wanted,
                side * side,
            )?,
            None => BTreeMap::new(),
        });
    }
    let in_table: Vec<Option<&SlicesOfCell>> = kept
        .iter()
        .map(|cell| {
            let of_row = |one: &&SlicesOfCell| {
                one.method == cell.row.method && one.guidance == cell.row.guidance
            };
            sources.table.cells.iter().find(of_row)
        })
        .collect();
    let mut images = Images::new(sources.dataset);
    let mut slices = Vec::new();
    for (place, slice, number) in &shown.slices {
        let Shown { images, truth } = images.read(*slice)?;
        let methods = kept.iter().enumerate().map(|(method, cell)| {
            let map = cell.exhibits.get(slice)?.map.as_ref()?;
            let of_table = in_table[method]?.cell.slices.get((*number)?)?;
            let mask = masks[method].get(slice).cloned().unwrap_or_default();
            let called = of_table.called_unhealthy;
            Some(method_exhibit(Some(map), mask, called, of_table.overlap))
        });
        slices.push(SliceExhibit {
            place: place.clone(),
            in_figures: sources.in_figures(*slice),
            width: side,
            height: side,
            images,
            truth,
            methods: methods.collect(),
        });
    }
    let seed = kept.first().and_then(|cell| plan.cells.get(cell.cell));
    let left_out = match shown.left_out {
        0 => String::new(),
        more => format!(" Of these, {more} are left out for their number."),
    };
    Ok(Pictures {
        rule: format!("{RULE}{left_out}"),
        seed: seed.map_or(0, |cell| seed_of(sources.scored, cell)),
        modalities: manifest.modalities.clone(),
        methods: kept.into_iter().map(|cell| cell.row).collect(),
        slices,
    })
}

/// Figure 3: the maps of single steps, of the slices that the plan names.
pub(super) fn step_maps(
    sources: &Sources<'_>,
    kept: &[KeptCell],
) -> Result<Vec<StepMaps>, EvaluateError> {
    let times = steps(sources);
    let side = sources.dataset.store().manifest().size;
    let channel = sources.dataset.raw_channel();
    let mut images = Images::new(sources.dataset);
    let mut found = Vec::new();
    for cell in kept {
        for (slice, exhibit) in &cell.exhibits {
            if exhibit.steps.is_empty() {
                continue;
            }
            let (number, place) = sources.place(*slice);
            // The last end step of the modalities is marked where its map was kept.
            let of_row = |one: &&SlicesOfCell| {
                one.method == cell.row.method && one.guidance == cell.row.guidance
            };
            let of_table = sources.table.cells.iter().find(of_row);
            let of_table = of_table.zip(number);
            let of_table = of_table.and_then(|(cell, number)| cell.cell.slices.get(number));
            let ends: Vec<u32> = of_table
                .map(|slice| slice.modalities.iter().map(|one| one.end_step).collect())
                .unwrap_or_default();
            let Shown {
                images: shown,
                truth,
            } = images.read(*slice)?;
            found.push(StepMaps {
                place,
                row: cell.row.clone(),
                seed: cell.seed,
                width: side,
                height: side,
                image: shown.into_iter().nth(channel).unwrap_or_default(),
                truth,
                steps: exhibit
                    .steps
                    .iter()
                    .map(|step| StepMap {
                        t: times
                            .get(step.step as usize)
                            .copied()
                            .unwrap_or(step.step + 1),
                        end_step: ends.contains(&step.step),
                        anomaly: values(&step.squared_error),
                        gradient: values(&step.gradient),
                    })
                    .collect(),
            });
        }
    }
    Ok(found)
}

#[allow(clippy::cast_possible_truncation)]
fn values(map: &KeptMap) -> Vec<f32> {
    map.levels
        .iter()
        .map(|level| map.value(*level) as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_become_coarse() {
        let (levels, low) = coarse(&KeptMap::new(&[1e-6, 1e-3, 0.032, 1.0]));
        assert_eq!((&levels[..], low), (&[0, 0, 128, 255][..], 1e-3));
        let narrow = KeptMap::new(&[0.5, 1.0]);
        assert_eq!(coarse(&narrow), (vec![0, 255], narrow.low));
    }
}
