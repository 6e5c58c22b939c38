//! Maps, masks and images of the slices that are shown (Figures 3, 4 and 6, the viewer).

use std::collections::{BTreeMap, BTreeSet};

use anofpdm_common::plan::{Cell, CellOutput, SliceRef};
use anofpdm_common::record::{KeptMap, MapScale, Record};
use anofpdm_common::store::slices::SubjectImages;

use super::Sources;
use super::records::{KeptCell, seed_of};
use super::sequences::steps;
use crate::evaluate::EvaluateError;
use crate::evaluate::rows::row_of;
use crate::plan::exhibits::RULE;
use crate::report::exhibits::{
    Mask, MethodExhibit, Pictures, SliceExhibit, SlicePlace, StepMap, StepMaps,
};
use crate::report::slices::SlicesOfCell;
use crate::stored_record;

/// Most slices that are shown: what a page has room for.
const MOST: usize = 400;

/// A slice as it is shown, without what methods made of it.
struct Shown {
    images: Vec<Vec<u8>>,
    truth: Mask,
}

/// Opens each subject once.
struct Images<'a> {
    sources: &'a Sources<'a>,
    open: BTreeMap<u32, SubjectImages>,
    values: Vec<f32>,
}

impl<'a> Images<'a> {
    const fn new(sources: &'a Sources<'a>) -> Self {
        Self {
            sources,
            open: BTreeMap::new(),
            values: Vec::new(),
        }
    }

    fn read(&mut self, slice: SliceRef) -> Result<Shown, EvaluateError> {
        let dataset = self.sources.dataset;
        let id = dataset.subject(slice);
        let subject = match self.open.entry(slice.subject) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                new.insert(dataset.store().images().subject(id)?)
            }
        };
        let position = slice.position as usize;
        subject.read_slice(position, &mut self.values)?;
        let pixels = subject.size * subject.size;
        dataset
            .scaling()
            .apply(&mut self.values, subject.channels, pixels);
        let images = self.values.chunks(pixels.max(1));
        let truth = dataset.store().truth().mask(id, position)?;
        let truth = truth.unwrap_or_default();
        Ok(Shown {
            images: images.map(grey).collect(),
            truth: Mask::of(truth.iter().map(|pixel| *pixel != 0)),
        })
    }
}

/// -1 is black, 1 is white.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn grey(scaled: &[f32]) -> Vec<u8> {
    let level = |value: &f32| (127.5 * (value.clamp(-1.0, 1.0) + 1.0)).round() as u8;
    scaled.iter().map(level).collect()
}

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

    /// The masks of a cell on these slices.
    fn masks(
        &self,
        cell: usize,
        shown: &BTreeSet<SliceRef>,
        pixels: usize,
    ) -> Result<BTreeMap<SliceRef, Mask>, EvaluateError> {
        let mut found = BTreeMap::new();
        let batches = self.scored.plan.batches.iter().zip(&self.scored.records);
        for (batch, records) in batches {
            if !batch.iter().any(|slice| shown.contains(slice)) {
                continue;
            }
            let digest = records[cell].1;
            let masks: Vec<_> = match stored_record::read(self.artifacts, digest)? {
                Record::Masks(scores) => scores.into_iter().map(|score| score.mask).collect(),
                Record::RatedMasks(scores) => {
                    let scores = scores.into_iter();
                    scores.map(|rated| rated.score.mask).collect()
                }
                Record::Restored(scores) => scores.into_iter().map(|score| score.mask).collect(),
                _ => return Err(EvaluateError::Kind(digest)),
            };
            for (slice, mask) in batch.iter().zip(masks) {
                if shown.contains(slice)
                    && let Ok(mask) = mask.mask(pixels)
                {
                    found.insert(*slice, Mask::of(mask.iter().map(|pixel| *pixel != 0)));
                }
            }
        }
        Ok(found)
    }
}

/// Levels of 8 bits of those of 16.
fn coarse(map: &KeptMap) -> Vec<u8> {
    #[allow(clippy::cast_possible_truncation)]
    map.levels.iter().map(|level| (level >> 8) as u8).collect()
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
            Some(number) => sources.masks(number, &wanted, side * side)?,
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
    let mut images = Images::new(sources);
    let mut slices = Vec::new();
    for (place, slice, number) in &shown.slices {
        let Shown { images, truth } = images.read(*slice)?;
        let methods = kept.iter().enumerate().map(|(method, cell)| {
            let map = cell.exhibits.get(slice)?.map.as_ref()?;
            let of_table = in_table[method]?.cell.slices.get((*number)?)?;
            Some(MethodExhibit {
                map: coarse(map),
                low: map.low,
                high: map.high,
                logarithmic: map.scale == MapScale::Logarithmic,
                mask: masks[method].get(slice).cloned().unwrap_or_default(),
                called_unhealthy: of_table.called_unhealthy,
                dice: of_table.overlap.dice(),
            })
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
    let mut images = Images::new(sources);
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
    fn scaled_intensities_become_grey() {
        assert_eq!(
            grey(&[-1.0, 0.0, 1.0, 7.0, f32::NAN]),
            [0, 128, 255, 255, 0]
        );
        let map = KeptMap::new(&[0.0, 0.5, 1.0]);
        assert_eq!(coarse(&map)[2], 255);
    }
}
