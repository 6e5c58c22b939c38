//! A contact sheet of a store, to see at a glance whether it came out right.

use std::io;
use std::path::PathBuf;

use anofpdm_common::picture::Picture;
use anofpdm_common::store::durable::{self, DiskError};
use anofpdm_common::store::scaling::Scaling;
use anofpdm_common::store::slices::{SliceStore, StoreError, StoreWriter};

const MAX_SUBJECTS: usize = 8;
const SLICES_EACH: usize = 6;
const GAP: usize = 2;
const OUTLINE: [u8; 3] = [255, 64, 64];

#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("the contact sheet cannot be encoded: {0}")]
    Encode(#[from] io::Error),
}

/// Writes `preview.png` into the store: a row for each of the first subjects, slices evenly spread from feet to head,
/// the first modality, lesions outlined, forehead up.
pub fn write(store: &SliceStore) -> Result<PathBuf, PreviewError> {
    let manifest = store.manifest();
    let size = manifest.size;
    let subjects = &manifest.subjects[..manifest.subjects.len().min(MAX_SUBJECTS)];
    let side = |tiles: usize| tiles * (size + GAP);
    let mut sheet = Picture::from_fn(side(SLICES_EACH), side(subjects.len()), |_, _| [0; 3]);
    let (images, truth) = (store.images(), store.truth());
    let mut slice = Vec::new();
    for (row, record) in subjects.iter().enumerate() {
        let subject = images.subject(&record.id)?;
        for column in 0..SLICES_EACH.min(record.slices) {
            let n = (2 * column + 1) * record.slices / (2 * SLICES_EACH.min(record.slices));
            subject.read_slice(n, &mut slice)?;
            Scaling::Percentile.apply(&mut slice, subject.channels, size * size);
            let mask = truth.mask(&record.id, n)?;
            draw(
                &mut sheet,
                [row * (size + GAP), column * (size + GAP)],
                &slice,
                mask.as_deref(),
                size,
            );
        }
    }
    let path = StoreWriter::preview_path(store.root());
    durable::write(&path, &sheet.png()?)?;
    Ok(path)
}

/// Draws one slice, transposed: stored rows run to the left, pictures' rows run down.
fn draw(
    sheet: &mut Picture<3>,
    [top, left]: [usize; 2],
    slice: &[f32],
    mask: Option<&[u8]>,
    size: usize,
) {
    for (index, value) in slice.iter().take(size * size).enumerate() {
        let (x, y) = (index / size, index % size);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let grey = ((value.clamp(-1.0, 1.0) + 1.0) * 127.5) as u8;
        let colour = match mask {
            Some(mask) if on_outline(mask, x, y, size) => OUTLINE,
            _ => [grey; 3],
        };
        if let Some(pixel) = sheet.at(left + x, top + y) {
            *pixel = colour;
        }
    }
}

/// A lesion pixel with a neighbour that is none.
fn on_outline(mask: &[u8], x: usize, y: usize, size: usize) -> bool {
    let lesion = |x: usize, y: usize| x < size && y < size && mask[x * size + y] != 0;
    lesion(x, y)
        && !(lesion(x.wrapping_sub(1), y)
            && lesion(x + 1, y)
            && lesion(x, y.wrapping_sub(1))
            && lesion(x, y + 1))
}
