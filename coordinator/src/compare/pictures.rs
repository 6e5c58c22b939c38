//! Pictures of the slices that differ most: masks, and the maps that were kept, from the records of the runs; images and
//! truth from their stores. Where one of these is elsewhere the page does without, and says so.

use anofpdm_common::metrics::setup::Setup;

use super::Runs;
use super::compared::{ChangedSlice, Compared};
use super::opened::Opened;
use crate::evaluate::EvaluateError;
use crate::evaluate::exhibits::pictures::method_exhibit;
use crate::evaluate::exhibits::recorded_slices::{RecordedError, RecordedSlice, RecordedSlices};
use crate::report::exhibits::{MethodExhibit, Pictures, SliceExhibit, SlicePlace};
use crate::report::figures::Figure;
use crate::report::figures::changed::{ChangedPair, changed};
use crate::report::statistics::RowId;
use crate::report::summary::Row;

/// Slices that are shown: what a page has room for.
const MOST_SLICES: usize = 100;

const RULE: &str =
    "The slices whose DICE differs most between two runs, each run with its first noise seed.";

/// What a page shows of slices.
#[derive(Debug, Default)]
pub struct Pictured {
    pub figure: Option<Figure>,
    /// Methods are the rows of all runs; each slice is as the first run has it.
    pub pictures: Pictures,
    /// Of each method of the pictures the one to look at beside it.
    pub beside: Vec<Option<usize>>,
    /// What is not shown, and why.
    pub notes: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
enum PicturesError {
    #[error("its report does not lie in the folder of a run")]
    NoFolder,
    #[error(
        "its records are others than its report was made of: `anofpdm report RUN` writes it again"
    )]
    OtherRecords,
    #[error(transparent)]
    Recorded(#[from] RecordedError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
}

/// A run's pictures.
struct OfRun {
    modalities: Vec<String>,
    /// Rows of this run that are shown.
    rows: Vec<RowId>,
    /// One a shown slice, with an entry a row.
    slices: Vec<Option<SliceExhibit>>,
}

impl OfRun {
    fn read(
        run: &Opened,
        rows: Vec<RowId>,
        slices: &[&ChangedSlice],
    ) -> Result<Self, PicturesError> {
        let folder = run.folder.as_ref().ok_or(PicturesError::NoFolder)?;
        let recorded = RecordedSlices::open(folder)?;
        if recorded.fingerprint != run.summary.fingerprint {
            return Err(PicturesError::OtherRecords);
        }
        let names: Vec<(&str, i64)> = slices
            .iter()
            .map(|slice| (slice.subject.as_str(), slice.slice))
            .collect();
        let found = recorded.read(&names, &rows)?;
        let slices = slices.iter().zip(found);
        let slices = slices.map(|(slice, found)| Some(exhibit(run, slice, found?, &rows)));
        Ok(Self {
            modalities: recorded.modalities().to_vec(),
            slices: slices.collect(),
            rows,
        })
    }

    fn made(&self, slice: usize, row: &RowId) -> Option<(&SliceExhibit, &MethodExhibit)> {
        let slice = self.slices.get(slice)?.as_ref()?;
        let row = self.rows.iter().position(|one| one == row)?;
        Some((slice, slice.methods.get(row)?.as_ref()?))
    }
}

fn exhibit(
    run: &Opened,
    slice: &ChangedSlice,
    found: RecordedSlice,
    rows: &[RowId],
) -> SliceExhibit {
    let mut names = run.slices.names.iter();
    let place = names.position(|name| name.subject == slice.subject && name.slice == slice.slice);
    let methods = rows.iter().zip(found.rows).map(|(row, recorded)| {
        let recorded = recorded?;
        let mut cells = run.slices.cells.iter();
        let cell = cells
            .find(|cell| cell.row == *row && cell.seed.is_none_or(|seed| seed == recorded.seed))?;
        let outcome = cell.outcomes.get(place?)?;
        Some(method_exhibit(
            recorded.map.as_ref(),
            recorded.mask,
            outcome.called_unhealthy,
            outcome.overlap,
        ))
    });
    SliceExhibit {
        place: SlicePlace {
            patient: slice.patient.clone(),
            subject: slice.subject.clone(),
            slice: slice.slice,
            unhealthy: slice.truth > 0,
        },
        in_figures: false,
        width: found.side,
        height: found.side,
        methods: methods.collect(),
        images: found.images,
        truth: found.truth,
    }
}

/// The row of a changed slice in its first run, or its second.
fn row(slice: &ChangedSlice, which: usize) -> RowId {
    RowId {
        method: slice.method.clone(),
        guidance: slice.guidance[which],
    }
}

/// The rows of a run that another run has too.
fn rows_of(run: &Opened, compared: &Compared) -> Vec<RowId> {
    let rows = run.scored_rows().filter(|row| row.setup == Setup::Mixed);
    let shared = |row: &&Row| {
        compared
            .rows
            .iter()
            .any(|one| one.method == row.method && one.dice.iter().flatten().nth(1).is_some())
    };
    rows.filter(shared).map(Row::id).collect()
}

/// The pictures of the slices that `compared` names.
pub fn pictured(runs: &Runs, compared: &Compared) -> Pictured {
    let mut shown: Vec<&ChangedSlice> = Vec::new();
    for slice in &compared.changed {
        if !shown.iter().any(|one| same_slice(one, slice)) {
            shown.push(slice);
        }
    }
    let left_out = shown.len().saturating_sub(MOST_SLICES);
    shown.truncate(MOST_SLICES);
    if shown.is_empty() {
        return Pictured::default();
    }
    let mut notes = Vec::new();
    if left_out > 0 {
        notes.push(format!(
            "{left_out} of the slices are not shown: a page has room for {MOST_SLICES}"
        ));
    }
    let labels: Vec<&str> = compared.runs.iter().map(|run| run.label.as_str()).collect();
    let mut of_runs: Vec<Option<OfRun>> = Vec::new();
    for (run, label) in runs.0.iter().zip(&labels) {
        let of_run = OfRun::read(run, rows_of(run, compared), &shown);
        if let Err(error) = &of_run {
            notes.push(format!("no pictures of {label}: {error}"));
        }
        of_runs.push(of_run.ok());
    }
    let pairs: Vec<ChangedPair<'_>> = compared
        .changed
        .iter()
        .filter_map(|change| {
            let place = shown.iter().position(|one| same_slice(one, change))?;
            let of = |which: usize, label: &str| {
                let run = labels.iter().position(|one| *one == label)?;
                of_runs.get(run)?.as_ref()?.made(place, &row(change, which))
            };
            let (first, second) = (of(0, &change.first_run)?, of(1, &change.second_run)?);
            Some(ChangedPair {
                runs: [&change.first_run, &change.second_run],
                method: &change.method,
                slices: [first.0, second.0],
                made: [first.1, second.1],
            })
        })
        .collect();
    let modality = of_runs.iter().flatten().next();
    let modality = modality.and_then(|run| run.modalities.first());
    let figure = changed(&pairs, modality.map_or("image", String::as_str));
    let (pictures, beside) = together(&labels, &of_runs, shown.len(), &mut notes);
    Pictured {
        figure,
        pictures,
        beside,
        notes,
    }
}

fn same_slice(one: &ChangedSlice, other: &ChangedSlice) -> bool {
    one.subject == other.subject && one.slice == other.slice
}

/// The slices of all runs as those of one, whose methods are the rows of each; and which of these stand beside each other.
fn together(
    labels: &[&str],
    runs: &[Option<OfRun>],
    slices: usize,
    notes: &mut Vec<String>,
) -> (Pictures, Vec<Option<usize>>) {
    let there = || {
        labels
            .iter()
            .zip(runs)
            .filter_map(|(label, run)| Some((label, run.as_ref()?)))
    };
    let rows: Vec<(&str, &RowId)> = there()
        .flat_map(|(label, run)| run.rows.iter().map(move |row| (*label, row)))
        .collect();
    let beside = rows.iter().map(|(label, row)| {
        let other = |same: &dyn Fn(&RowId) -> bool| {
            let mut rows = rows.iter();
            rows.position(|(other, one)| other != label && same(one))
        };
        // A run that chose another strength has the method all the same.
        other(&|one| one == *row).or_else(|| other(&|one| one.method == row.method))
    });
    let beside = beside.collect();
    let mut merged = Vec::new();
    let mut others = Vec::new();
    for slice in 0..slices {
        let of_runs = there().map(|(label, run)| (label, run, run.slices[slice].as_ref()));
        let of_runs: Vec<_> = of_runs.collect();
        let Some(shown) = of_runs.iter().find_map(|(.., slice)| *slice) else {
            continue;
        };
        let mut methods = Vec::new();
        for (label, run, slice) in of_runs {
            // A mask of other pixels cannot lie on this image.
            let fits = slice.filter(|slice| {
                slice.width == shown.width
                    && slice.height == shown.height
                    && slice.truth == shown.truth
            });
            if slice.is_some() && fits.is_none() && !others.contains(label) {
                others.push(*label);
            }
            match fits {
                Some(slice) => methods.extend(slice.methods.iter().cloned()),
                None => methods.extend(run.rows.iter().map(|_| None)),
            }
        }
        merged.push(SliceExhibit {
            methods,
            ..shown.clone()
        });
    }
    for label in others {
        notes.push(format!(
            "{label} is not in the viewer where its slices have another truth, or another size, than those of the run shown"
        ));
    }
    let order = |slice: &SliceExhibit| {
        let place = &slice.place;
        (place.patient.clone(), place.subject.clone(), place.slice)
    };
    merged.sort_by_cached_key(order);
    let pictures = Pictures {
        rule: RULE.to_owned(),
        seed: 0,
        modalities: there()
            .next()
            .map_or_else(Vec::new, |(_, run)| run.modalities.clone()),
        methods: rows
            .iter()
            .map(|(label, row)| RowId {
                method: format!("{label}: {}", row.method),
                guidance: row.guidance,
            })
            .collect(),
        slices: merged,
    };
    (pictures, beside)
}
