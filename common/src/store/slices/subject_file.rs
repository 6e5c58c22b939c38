//! One subject's file: `subjects/ID.safetensors`.
//!
//! | tensor | shape | dtype | meaning |
//! |---|---|---|---|
//! | `image` | [N, C, H, W] | f32 | divided by the volume's 99th percentile, resized; not yet scaled to [-1, 1] |
//! | `label` | [N] | u8 | 1 where the slice shows a lesion |
//! | `mask` | [N, H, W] | u8 | 1 on lesion pixels; absent where nobody drew masks |
//! | `slice_index` | [N] | i32 | place of the slice along the source's head axis |
//!
//! H is the first axis of the oriented volume and W the second, as the reference stores them. The metadata key
//! `source` holds a [`SourceGrid`] as JSON.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::{SourceHeader, StoreError, Watch, verification};
use crate::ids::Digest;
use crate::store::tensor_header::{HeaderError, TensorHeader};

/// Metadata key under which the [`SourceGrid`] stands.
pub(super) const SOURCE_KEY: &str = "source";

/// A header is a few hundred bytes; anything near this is not one.
const MAX_HEADER: u64 = 1 << 20;

/// One axis of the oriented volume: which axis of the source file it is, and whether it runs backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AxisMap {
    /// Axis of the source array, 0 to 2.
    pub axis: usize,
    /// True where index 0 of the oriented volume is the last of the source.
    pub flipped: bool,
}

/// Where stored slices came from: enough to put a map back on the subject's own grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceGrid {
    pub shape: [usize; 3],
    /// Voxel to world (right, anterior, superior; millimetres), upper three rows.
    pub affine: [[f64; 4]; 3],
    /// How the oriented volume's axes lie in the source array.
    pub axes: [AxisMap; 3],
    /// Rows and columns of an oriented slice after padding, before resizing.
    pub canvas: [usize; 2],
    /// Rows and columns of padding before the first row and column.
    pub padding: [usize; 2],
    /// What the source's header says beyond the affine; `None` where it says no more, or where an earlier version wrote
    /// the store, which did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<SourceHeader>,
}

impl SourceGrid {
    /// [`SourceGrid::header`], or the one that says what the affine does.
    pub fn header(&self) -> SourceHeader {
        self.header
            .unwrap_or_else(|| SourceHeader::plain(&self.affine))
    }
}

/// Where one tensor lies in the file.
#[derive(Debug, Clone, Copy)]
struct Extent {
    offset: u64,
    bytes: usize,
}

impl Extent {
    /// Part `n` of `parts` equal ones; the caller knows that `n < parts`.
    fn part(self, n: usize, parts: usize) -> Self {
        let bytes = self.bytes / parts;
        Self {
            offset: self.offset + (n * bytes) as u64,
            bytes,
        }
    }
}

/// What a manifest says of a subject's file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    pub(super) slices: usize,
    pub(super) lesion_slices: usize,
    pub(super) digest: Digest,
    pub(super) channels: usize,
    pub(super) size: usize,
}

/// An open subject file that is as the manifest says: its bytes, its counts, its labels.
#[derive(Debug)]
pub(super) struct SubjectFile {
    path: PathBuf,
    file: File,
    image: Extent,
    label: Extent,
    mask: Option<Extent>,
    slice_index: Extent,
    pub(super) source: SourceGrid,
}

impl SubjectFile {
    /// Opens and checks a file. Nothing is allocated that the file is not long enough for.
    pub(super) fn open(
        path: PathBuf,
        expected: &Expected,
        watch: &Watch<'_>,
    ) -> Result<Self, StoreError> {
        // Before it is opened: the opening of a pipe would wait for somebody to write into it.
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(StoreError::damaged(path, "it is not a file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::damaged(path, "the file is missing"));
            }
            Err(error) => return Err(StoreError::read(&path)(error)),
        }
        let file = File::open(&path).map_err(StoreError::read(&path))?;
        Self::of(file, path, expected, watch)
    }

    /// The subject in `file`, which was opened at `path`.
    pub(super) fn of(
        file: File,
        path: PathBuf,
        expected: &Expected,
        watch: &Watch<'_>,
    ) -> Result<Self, StoreError> {
        verification::verify(&file, &path, &expected.digest, watch)?;
        let found = Self::parse(path, file, expected)?;
        let lesion_slices = found.labels()?.iter().filter(|label| **label == 1).count();
        if lesion_slices != expected.lesion_slices {
            return Err(StoreError::damaged(
                found.path,
                format!(
                    "the manifest says {} slices with lesion, and the file has {lesion_slices}",
                    expected.lesion_slices
                ),
            ));
        }
        Ok(found)
    }

    /// Checks the header of a file against the manifest and the file's length.
    pub(super) fn parse(
        path: PathBuf,
        file: File,
        expected: &Expected,
    ) -> Result<Self, StoreError> {
        let Expected {
            slices,
            channels,
            size,
            ..
        } = *expected;
        let length = file.metadata().map_err(StoreError::read(&path))?.len();
        let TensorHeader {
            metadata,
            data_start,
        } = read_header(&path, &file, length)?;

        if let Some([found, ..]) = metadata.info("image").map(|info| &info.shape[..])
            && *found != slices
        {
            return Err(StoreError::damaged(
                &path,
                format!("the manifest says {slices} slices, and the file has {found}"),
            ));
        }
        let locate = |name: &str, dtype: Dtype, shape: &[usize]| {
            let Some(info) = metadata.info(name) else {
                return Ok(None);
            };
            if info.dtype != dtype || info.shape != shape {
                return Err(StoreError::damaged(
                    &path,
                    format!(
                        "tensor '{name}' is {:?} {:?}, and the manifest asks for {dtype:?} {shape:?}",
                        info.dtype, info.shape
                    ),
                ));
            }
            extent(info.data_offsets, data_start, length)
                .filter(|extent| Some(extent.bytes) == byte_length(dtype, shape))
                .map(Some)
                .ok_or_else(|| StoreError::damaged(&path, format!("tensor '{name}' is truncated")))
        };
        let require = |name: &str, found: Option<Extent>| {
            found.ok_or_else(|| StoreError::damaged(&path, format!("tensor '{name}' is missing")))
        };

        let image = require(
            "image",
            locate("image", Dtype::F32, &[slices, channels, size, size])?,
        )?;
        let label = require("label", locate("label", Dtype::U8, &[slices])?)?;
        let mask = locate("mask", Dtype::U8, &[slices, size, size])?;
        let slice_index = require("slice_index", locate("slice_index", Dtype::I32, &[slices])?)?;
        let source = metadata
            .metadata()
            .as_ref()
            .and_then(|map| map.get(SOURCE_KEY))
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| StoreError::damaged(&path, "its metadata has no source grid"))?;
        Ok(Self {
            path,
            file,
            image,
            label,
            mask,
            slice_index,
            source,
        })
    }

    pub(super) fn labels(&self) -> Result<Vec<u8>, StoreError> {
        let labels = self.read(self.label)?;
        if labels.iter().any(|label| *label > 1) {
            return Err(StoreError::damaged(
                &self.path,
                "a label is neither 0 nor 1",
            ));
        }
        Ok(labels)
    }

    pub(super) fn slice_index(&self) -> Result<Vec<i32>, StoreError> {
        let bytes = self.read(self.slice_index)?;
        Ok(bytes
            .as_chunks()
            .0
            .iter()
            .map(|chunk| i32::from_le_bytes(*chunk))
            .collect())
    }

    /// Mask of slice `n` of `slices`, [H, W], if there are masks.
    pub(super) fn read_mask(&self, n: usize, slices: usize) -> Result<Option<Vec<u8>>, StoreError> {
        self.mask
            .map(|masks| self.read(masks.part(n, slices)))
            .transpose()
    }

    /// Slice `n` of `slices` into `out` (replaced): [C, H, W].
    pub(super) fn read_image(
        &self,
        n: usize,
        slices: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), StoreError> {
        let raw = self.read(self.image.part(n, slices))?;
        out.clear();
        out.extend(
            raw.as_chunks()
                .0
                .iter()
                .map(|chunk| f32::from_le_bytes(*chunk)),
        );
        Ok(())
    }

    fn read(&self, extent: Extent) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; extent.bytes];
        self.file
            .read_exact_at(&mut bytes, extent.offset)
            .map_err(StoreError::read(&self.path))?;
        Ok(bytes)
    }
}

/// Start of the data and the parsed header.
fn read_header(path: &Path, file: &File, length: u64) -> Result<TensorHeader, StoreError> {
    let limit = MAX_HEADER.min(length.saturating_sub(8));
    TensorHeader::read(file, limit).map_err(|error| match error {
        HeaderError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            StoreError::damaged(path, "too short for a safetensors file")
        }
        HeaderError::Io(error) => StoreError::read(path)(error),
        HeaderError::TooLong { .. } => {
            StoreError::damaged(path, "the length of its header is impossible")
        }
        HeaderError::Parse(error) => {
            StoreError::damaged(path, format!("its header does not parse: {error}"))
        }
    })
}

fn extent((start, end): (usize, usize), data_start: u64, length: u64) -> Option<Extent> {
    let bytes = end.checked_sub(start)?;
    let offset = data_start.checked_add(start as u64)?;
    let past = data_start.checked_add(end as u64)?;
    (past <= length).then_some(Extent { offset, bytes })
}

fn byte_length(dtype: Dtype, shape: &[usize]) -> Option<usize> {
    let width = dtype.bitsize() / 8;
    shape
        .iter()
        .try_fold(width, |bytes, side| bytes.checked_mul(*side))
}
