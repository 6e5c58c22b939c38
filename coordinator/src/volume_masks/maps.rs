//! The map of one case on the slices of a store: what AUPRC, AUROC and the like are counted from.
//!
//! A row's DICE is of masks on the grid of their files. Its map is brought to the pixels that the maps of a run are scored
//! on instead, as `preprocess` brought the images there, so that both rank the same pixels.

use anofpdm_common::metrics::score_run::{ScoreError, score_run};
use anofpdm_common::store::scaling::{Scaling, foreground};
use anofpdm_common::store::slices::{SliceStore, StoreError};

use super::scores::SliceScores;
use crate::ingest::canvas::Canvas;
use crate::ingest::volume::{Grid, Volume};

#[derive(Debug, thiserror::Error)]
pub enum MapError {
    #[error(
        "case {case}: its map has two values alone, {low} and {high}: that is a mask, and AUPRC would rank nothing; give the \
         folder of the maps that masks were made of"
    )]
    Mask { case: String, low: f64, high: f64 },
    #[error("case {case}, slice {slice} of its map: {source}")]
    Scores {
        case: String,
        slice: i32,
        source: ScoreError,
    },
    #[error(
        "case {case}: the store's slices are of a volume that lies elsewhere than the truth: give the truth that was \
         preprocessed, or the store that was made of it"
    )]
    OtherVolume { case: String },
    #[error("case {case}: {source}")]
    Store { case: String, source: StoreError },
}

/// Scores and truth of the foreground pixels of each slice that `store` has of a case, in its order. `map` and `truth` are
/// volumes of one grid; foreground is what the networks see as head under `slice-minmax`, the default scaling.
///
/// # Errors
/// When the map is a mask, has a negative value where the head is, or the store is of another volume.
pub(super) fn slice_scores(
    case: &str,
    map: &Volume,
    truth: &Volume,
    store: &SliceStore,
) -> Result<Vec<SliceScores>, MapError> {
    if let Some([low, high]) = two_values(&map.values) {
        return Err(MapError::Mask {
            case: case.to_owned(),
            low,
            high,
        });
    }
    let failed = |source| MapError::Store {
        case: case.to_owned(),
        source,
    };
    let other = || MapError::OtherVolume {
        case: case.to_owned(),
    };
    let subject = store.images().subject(case).map_err(failed)?;
    let source = subject.source();
    let stored = Grid {
        shape: source.shape,
        affine: &source.affine,
    };
    let of_stored = stored.found_in(&truth.grid()).ok_or_else(other)?;
    // Axes of the stored slices in the file that they came from, then in this one.
    let axes = source.axes.map(|map| {
        let mut found = of_stored[map.axis];
        found.flipped ^= map.flipped;
        found
    });
    let (map, truth) = (map.along(axes), truth.along(axes));
    let [rows, columns, depth] = truth.shape;
    let canvas = Canvas::of_stored([rows, columns], source, subject.size).ok_or_else(other)?;
    let (channels, pixels) = (subject.channels, subject.size * subject.size);
    let mut image = Vec::new();
    let mut found = Vec::with_capacity(subject.slice_index.len());
    for (position, slice) in subject.slice_index.iter().enumerate() {
        let z = usize::try_from(*slice).ok().filter(|z| *z < depth);
        let z = z.ok_or_else(other)?;
        subject.read_slice(position, &mut image).map_err(failed)?;
        Scaling::SliceMinmax.apply(&mut image, channels, pixels);
        let head: Vec<u8> = foreground(&image, channels, pixels)
            .into_iter()
            .map(u8::from)
            .collect();
        #[allow(clippy::cast_possible_truncation)]
        let scores: Vec<f32> = canvas
            .image(map.slice(z))
            .into_iter()
            // Resampling can undershoot zero by a rounding error.
            .map(|score| {
                if score < 0.0 && score > -ROUNDING {
                    0.0
                } else {
                    score as f32
                }
            })
            .collect();
        let labels = canvas.mask(truth.slice(z));
        let run = score_run(&scores, &labels, Some(&head)).map_err(|source| MapError::Scores {
            case: case.to_owned(),
            slice: *slice,
            source,
        })?;
        found.push(SliceScores::new(&run));
    }
    Ok(found)
}

/// Below this a negative value is one of rounding.
const ROUNDING: f64 = 1e-9;

/// The values where there are two and no third one.
fn two_values(values: &[f64]) -> Option<[f64; 2]> {
    let first = *values.first()?;
    let second = *values.iter().find(|value| **value != first)?;
    let third = values
        .iter()
        .any(|value| *value != first && *value != second);
    (!third).then(|| [first.min(second), first.max(second)])
}
