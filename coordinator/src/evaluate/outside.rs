//! Rows of other programs: their masks of the same slices, counted by `anofpdm metrics --row`.

use std::path::PathBuf;

use anofpdm_common::ids::Digest;
use anofpdm_common::metrics::collected_runs::CollectedRuns;
use anofpdm_common::metrics::score_ranks::by_rank;
use anofpdm_common::metrics::setup::SliceStatistics;
use anofpdm_common::metrics::{Localization, RunDetail};

use super::measured::{Measured, Repeat, RowName, both_setups};
use super::rows::TestSlice;
use crate::report::slices::SliceName;
use crate::report::summary::Localized;
use crate::volume_masks::row::OutsideRow;

/// Share of slices whose truth may be empty in the row and not in the run, or the other way: what resizing does to small
/// lesions. Above it they are other truths.
const OTHER_TRUTH: f64 = 0.1;

/// A row and the file that it was read from.
#[derive(Debug, Clone)]
pub struct RowFile {
    pub path: PathBuf,
    pub row: OutsideRow,
}

#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    #[error(
        "{path}: it has no count of {missing} of the {slices} test slices of the run, the first of them subject {subject}, slice \
         {slice}; predict those subjects, and count with `anofpdm metrics --store` and the store of the run"
    )]
    Missing {
        path: PathBuf,
        missing: usize,
        slices: usize,
        subject: String,
        slice: i64,
    },
    #[error(
        "{path}: its truth is empty on {differ} of {slices} test slices where that of the run is not, or the other way; was it \
         counted against the same masks?"
    )]
    OtherTruth {
        path: PathBuf,
        differ: usize,
        slices: usize,
    },
    #[error("{path}: the table has a row called {name}; write the row with another --name")]
    NameTaken { path: PathBuf, name: String },
}

/// The rows of `files`, both set-ups of each, and what should be said of them. `names` and `slices` are the test slices
/// of the run, `taken` the names of its rows.
///
/// # Errors
/// When a file does not count the slices of the run, or against another truth.
pub(super) fn rows(
    files: &[RowFile],
    names: &[SliceName],
    slices: &[TestSlice],
    store: Digest,
    taken: &[&str],
) -> Result<(Vec<Measured>, Vec<String>), OutsideError> {
    let mut found = Vec::new();
    let mut notes = Vec::new();
    let mut used: Vec<&str> = taken.to_vec();
    for RowFile { path, row } in files {
        if used.contains(&row.name.as_str()) {
            return Err(OutsideError::NameTaken {
                path: path.clone(),
                name: row.name.clone(),
            });
        }
        used.push(&row.name);
        let statistics = statistics(path, row, names, slices)?;
        let other = row.store.is_some_and(|digest| digest != store);
        let runs = score_runs(row, names);
        let whose = match (other, &runs) {
            (false, Some(_)) => ", its maps on the slices of the store",
            (false, None) => "",
            (true, Some(_)) => ", with the slices of another store, so its maps do not count",
            (true, None) => ", with the slices of another store",
        };
        // Other slices have other pixels.
        found.extend(measured(row, statistics, runs.filter(|_| !other)));
        notes.push(format!(
            "{} was not computed by this run: its masks were counted by `anofpdm metrics` on the grid of their files{whose}",
            row.name
        ));
    }
    Ok((found, notes))
}

fn statistics(
    path: &std::path::Path,
    row: &OutsideRow,
    names: &[SliceName],
    slices: &[TestSlice],
) -> Result<Vec<SliceStatistics>, OutsideError> {
    let counted = row.slices();
    let count = |name: &SliceName| {
        let slice = u32::try_from(name.slice).ok()?;
        counted.get(&(name.subject.as_str(), slice)).copied()
    };
    let missing: Vec<&SliceName> = names.iter().filter(|name| count(name).is_none()).collect();
    if let Some(first) = missing.first() {
        return Err(OutsideError::Missing {
            path: path.to_path_buf(),
            missing: missing.len(),
            slices: names.len(),
            subject: first.subject.clone(),
            slice: first.slice,
        });
    }
    let each = names.iter().zip(slices);
    let statistics: Vec<SliceStatistics> = each
        .filter_map(|(name, slice)| {
            Some(SliceStatistics {
                patient: slice.patient,
                unhealthy: slice.unhealthy,
                // Its masks are all that it says.
                classified_unhealthy: true,
                overlap: count(name)?,
            })
        })
        .collect();
    let differ = statistics
        .iter()
        .filter(|slice| slice.unhealthy != (slice.overlap.truth > 0))
        .count();
    if differ as f64 > OTHER_TRUTH * statistics.len() as f64 {
        return Err(OutsideError::OtherTruth {
            path: path.to_path_buf(),
            differ,
            slices: statistics.len(),
        });
    }
    Ok(statistics)
}

/// Sorted scores of the test slices, by their ranks; `None` where the row has no map of one.
fn score_runs(row: &OutsideRow, names: &[SliceName]) -> Option<Vec<Vec<u32>>> {
    let scores = row.scores();
    let run = |name: &SliceName| {
        let slice = u32::try_from(name.slice).ok()?;
        Some(scores.get(&(name.subject.as_str(), slice))?.run())
    };
    let mut runs: Vec<Vec<u32>> = names.iter().map(run).collect::<Option<_>>()?;
    by_rank(&mut runs);
    Some(runs)
}

/// Both set-ups of a row; without `runs` what is of masks alone.
fn measured(
    row: &OutsideRow,
    slices: Vec<SliceStatistics>,
    runs: Option<Vec<Vec<u32>>>,
) -> Vec<Measured> {
    let name = RowName {
        method: row.name.clone(),
        guidance: None,
        seeds: Vec::new(),
        pixel_labels: row.pixel_labels,
        settings: None,
        detail: RunDetail::Exact,
    };
    let ranked = runs.is_some();
    let mut collected = CollectedRuns::default();
    for run in runs.unwrap_or_else(|| vec![Vec::new(); slices.len()]) {
        // These scores were in memory already, so there is room for them.
        collected.push(&run, usize::MAX);
    }
    let repeat = Repeat {
        localizations: vec![Localization::default(); slices.len()],
        slices,
        runs: collected,
        seeds: 1,
    };
    let mut rows = match both_setups(&name, &[repeat]) {
        Ok(counted) => counted.rows,
        Err(never) => match never {},
    };
    for Measured { row, .. } in &mut rows {
        // Masks are on the grid of their files: their distances are not those of other rows.
        row.localized = Localized::default();
        if !ranked {
            row.best_dice = None;
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use anofpdm_common::metrics::score_run::score_run;

    use super::*;
    use crate::volume_masks::evaluation::tests::volume;
    use crate::volume_masks::scores::SliceScores;

    fn names() -> Vec<SliceName> {
        [("a", 0), ("a", 1), ("b", 1)]
            .map(|(subject, slice)| SliceName {
                patient: subject.to_owned(),
                subject: subject.to_owned(),
                slice,
                unhealthy: false,
                brain_area: 5,
            })
            .to_vec()
    }

    fn slices(unhealthy: [bool; 3]) -> Vec<TestSlice> {
        let each = [0, 0, 1].into_iter().zip(unhealthy);
        each.map(|(patient, unhealthy)| TestSlice {
            patient,
            unhealthy,
            brain_area: 5,
        })
        .collect()
    }

    fn file(name: &str) -> RowFile {
        let volumes = vec![
            volume("a", "a", [[4, 4, 4], [2, 0, 0]]),
            volume("b", "b", [[1, 1, 1], [0, 3, 0]]),
        ];
        RowFile {
            path: PathBuf::from("row.json"),
            row: OutsideRow::new(name, None, volumes),
        }
    }

    #[test]
    fn the_slices_of_the_run_count_in_its_order_and_no_others() {
        let found = rows(
            &[file("nnU-Net")],
            &names(),
            &slices([true, false, true]),
            Digest::of(b"store"),
            &["anofpdm-ddim"],
        );
        let (found, notes) = found.unwrap();
        let [mixed, unhealthy] = &found[..] else {
            panic!("{} rows", found.len());
        };
        // 1, 0 and 0; the empty slice that is not one of the run is left out.
        let near = |row: &Measured, want: f64| (row.row.dice.mean.unwrap() - want).abs() < 1e-6;
        assert!(near(mixed, 1.0 / 3.0) && near(unhealthy, 0.5));
        assert_eq!((mixed.row.slices, unhealthy.row.patients), (3, 2));
        let row = &mixed.row;
        for of_maps in [&row.auprc, &row.auprc_batch, &row.auroc, &row.fpr95] {
            assert_eq!(of_maps.mean, None);
        }
        assert_eq!(row.best_dice, None);
        assert!(mixed.row.dice.ci95.is_some() && mixed.draws.dice.len() > 100);
        assert!(notes[0].contains("nnU-Net was not computed by this run"));
    }

    #[test]
    fn maps_of_the_same_store_are_ranked() {
        let mut with = file("nnU-Net");
        for (volume, score) in with.row.volumes.iter_mut().zip([0.5, 2.0]) {
            for slice in &mut volume.slices {
                let run = score_run(&[score, 0.1], &[1, 0], None).unwrap();
                slice.scores = Some(SliceScores::new(&run));
            }
        }
        let counted = |store: Option<Digest>| {
            let mut file = with.clone();
            file.row.store = store;
            let unhealthy = slices([true, false, true]);
            let run = Digest::of(b"store");
            rows(&[file], &names(), &unhealthy, run, &["anofpdm-ddim"]).unwrap()
        };
        let (found, notes) = counted(Some(Digest::of(b"store")));
        assert_eq!(found[0].row.auprc.mean, Some(1.0));
        assert_eq!(found[0].patients.auprc.len(), 2);
        assert!(notes[0].contains("its maps on the slices of the store"));
        let (found, notes) = counted(Some(Digest::of(b"other")));
        assert_eq!(found[0].row.auprc.mean, None);
        assert!(notes[0].contains("its maps do not count"), "{}", notes[0]);
    }

    #[test]
    fn rows_of_other_slices_other_truths_or_the_same_name_are_refused() {
        let refused = |files: &[RowFile], names: &[SliceName], unhealthy| {
            let store = Digest::of(b"store");
            let found = rows(files, names, &slices(unhealthy), store, &["anofpdm-ddim"]);
            found.err().unwrap().to_string()
        };
        let good = [true, false, true];
        let mut others = names();
        others[2].subject = "c".to_owned();
        let message = refused(&[file("x")], &others, good);
        assert!(message.contains("no count of 1 of the 3"), "{message}");
        assert!(message.contains("subject c, slice 1"), "{message}");
        let message = refused(&[file("x")], &names(), [false, false, true]);
        assert!(message.contains("empty on 1 of 3"), "{message}");
        let message = refused(&[file("anofpdm-ddim")], &names(), good);
        assert!(message.contains("a row called anofpdm-ddim"), "{message}");
        let message = refused(&[file("x"), file("x")], &names(), good);
        assert!(message.contains("a row called x"), "{message}");
    }
}
