//! One NIfTI volume: read within limits, and seen along the axes of its data set.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use anofpdm_common::store::slices::AxisMap;
use flate2::bufread::MultiGzDecoder;
use nifti::volume::NiftiVolume;
use nifti::{InMemNiftiVolume, IntoNdArray, NiftiHeader, NiftiType};

/// Voxels of the largest volume that is read: 645 voxels a side, 2 GiB as f64.
const MAX_VOXELS: usize = 1 << 28;

/// Deflate cannot do better than 1032 : 1, so a header that promises more than this is lying.
const MAX_COMPRESSION: u64 = 1_100;

/// Room for extensions between header and data.
const MAX_DATA_OFFSET: f32 = 1_048_576.0;

const HEADER_BYTES: u64 = 348;

/// Why a volume cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The file cannot be opened.
    #[error("cannot be opened: {0}")]
    Open(io::Error),
    /// No bytes at all.
    #[error("is an empty file")]
    EmptyFile,
    /// Named `.gz` and is not gzip.
    #[error("is named .gz and is not gzip-compressed")]
    NotGzip,
    /// The gzip stream or the file ends too early, or its checksum is wrong.
    #[error("is truncated or damaged: {0}")]
    Truncated(io::Error),
    /// Not a single-file NIfTI-1 that this program reads.
    #[error("is not a usable NIfTI-1 file: {0}")]
    Format(String),
    /// A voxel is NaN or infinite.
    #[error("holds NaN or infinity")]
    NotFinite,
}

/// A volume as its file holds it.
#[derive(Debug)]
pub struct Volume {
    /// Voxels along each array axis.
    pub shape: [usize; 3],
    /// Voxel to world (right, anterior, superior; millimetres), upper three rows.
    pub affine: [[f64; 4]; 3],
    /// Values with slope and intercept applied, first axis fastest.
    pub values: Vec<f64>,
}

impl Volume {
    /// Reads a `.nii` or `.nii.gz` file.
    ///
    /// # Errors
    /// [`VolumeError`]; the memory taken is bounded by the file's length, whatever its header says.
    pub fn read(path: &Path) -> Result<Self, VolumeError> {
        let file = File::open(path).map_err(VolumeError::Open)?;
        let length = file.metadata().map_err(VolumeError::Open)?.len();
        if length == 0 {
            return Err(VolumeError::EmptyFile);
        }
        let mut reader = BufReader::new(file);
        if path.extension().is_some_and(|extension| extension == "gz") {
            let magic = io::BufRead::fill_buf(&mut reader).map_err(VolumeError::Open)?;
            if !magic.starts_with(&[0x1f, 0x8b]) {
                return Err(VolumeError::NotGzip);
            }
            Self::from_reader(
                MultiGzDecoder::new(reader),
                length.saturating_mul(MAX_COMPRESSION),
            )
        } else {
            Self::from_reader(reader, length)
        }
    }

    /// Reads a volume from an uncompressed stream of at most `limit` bytes.
    fn from_reader(mut reader: impl Read, limit: u64) -> Result<Self, VolumeError> {
        let mut header = NiftiHeader::from_reader(&mut reader).map_err(|e| match e {
            nifti::NiftiError::Io(e) => VolumeError::Truncated(e),
            e => VolumeError::Format(e.to_string()),
        })?;
        let shape = check_header(&header, limit)?;
        let affine = affine(&header)?;
        // As nibabel reads it: a slope that is no number means "as stored". (0 the crate treats so itself.)
        if !header.scl_slope.is_finite() {
            header.scl_slope = 0.0;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let gap = (header.vox_offset as u64).saturating_sub(HEADER_BYTES);
        let skipped = io::copy(&mut reader.by_ref().take(gap), &mut io::sink())
            .map_err(VolumeError::Truncated)?;
        if skipped < gap {
            return Err(VolumeError::Truncated(io::ErrorKind::UnexpectedEof.into()));
        }
        let volume = InMemNiftiVolume::from_reader(&mut reader, &header).map_err(|e| match e {
            nifti::NiftiError::Io(e) => VolumeError::Truncated(e),
            nifti::NiftiError::IncompatibleLength(..) => {
                VolumeError::Truncated(io::ErrorKind::UnexpectedEof.into())
            }
            e => VolumeError::Format(e.to_string()),
        })?;
        // The gzip checksum stands at the end: it is compared only when the stream is read out.
        io::copy(&mut reader.take(limit), &mut io::sink()).map_err(VolumeError::Truncated)?;

        debug_assert!(volume.dim().len() >= 3);
        let array = volume
            .into_ndarray::<f64>()
            .map_err(|e| VolumeError::Format(e.to_string()))?;
        // The crate builds the array in the file's own order, first axis fastest.
        let (values, _) = array.into_raw_vec_and_offset();
        if values.iter().any(|x| !x.is_finite()) {
            return Err(VolumeError::NotFinite);
        }
        Ok(Self {
            shape,
            affine,
            values,
        })
    }

    /// The volume seen along the axes of `orientation`.
    pub fn oriented(&self, orientation: Orientation) -> Oriented<'_> {
        let axes = orientation.axes(&self.affine);
        let strides = [1, self.shape[0], self.shape[0] * self.shape[1]];
        let start = axes
            .iter()
            .filter(|map| map.flipped)
            .map(|map| (self.shape[map.axis] - 1) * strides[map.axis])
            .sum();
        Oriented {
            values: &self.values,
            shape: axes.map(|map| self.shape[map.axis]),
            start,
            strides: axes.map(|map| strides[map.axis]),
            axes,
        }
    }
}

/// A volume seen with its axes permuted and flipped.
#[derive(Debug)]
pub struct Oriented<'a> {
    values: &'a [f64],
    /// Voxels along each oriented axis.
    pub shape: [usize; 3],
    start: usize,
    strides: [usize; 3],
    /// Where each oriented axis lies in the file.
    pub axes: [AxisMap; 3],
}

impl Oriented<'_> {
    /// Slice `z` across the third axis: [first axis, second axis], row-major.
    pub fn slice(&self, z: usize) -> impl Iterator<Item = f64> {
        let [rows, columns, _] = self.shape;
        let at = |from: usize, axis: usize, steps: usize| {
            let distance = self.strides[axis] * steps;
            if self.axes[axis].flipped {
                from - distance
            } else {
                from + distance
            }
        };
        let corner = at(self.start, 2, z);
        (0..rows).flat_map(move |row| {
            let left = at(corner, 0, row);
            (0..columns).map(move |column| self.values[at(left, 1, column)])
        })
    }
}

/// The directions that the axes of a data set's arrays run to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orientation {
    /// Left, posterior, superior: BraTS.
    Lps,
    /// Right, anterior, superior: the MNI grid of ATLAS.
    Ras,
}

impl Orientation {
    /// Which source axis, and in which sense, runs along each axis of this orientation.
    ///
    /// An identity affine (voxel 0 at the world's origin, axes of the array taken for those of the world) is what
    /// software writes that knows no orientation: the array is then taken as it is.
    fn axes(self, affine: &[[f64; 4]; 3]) -> [AxisMap; 3] {
        const IDENTITY: [[f64; 4]; 3] = [
            [1.0, 0.0, 0.0, 0.0],
            [0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0],
        ];
        if *affine == IDENTITY {
            return [0, 1, 2].map(|axis| AxisMap {
                axis,
                flipped: false,
            });
        }
        let sense = match self {
            Self::Lps => [-1.0, -1.0, 1.0],
            Self::Ras => [1.0, 1.0, 1.0],
        };
        let length = [0, 1, 2].map(|axis| {
            affine
                .iter()
                .map(|row| row[axis] * row[axis])
                .sum::<f64>()
                .sqrt()
        });
        let along = |world: usize, axis: usize| affine[world][axis] / length[axis];
        // Of the six assignments, the one whose axes lie closest to the world's.
        const ORDERS: [[usize; 3]; 6] = [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ];
        let closeness = |order: &[usize; 3]| {
            (0..3)
                .map(|world| along(world, order[world]).abs())
                .sum::<f64>()
        };
        let best = ORDERS
            .iter()
            .copied()
            .max_by(|a, b| closeness(a).total_cmp(&closeness(b)))
            .unwrap_or([0, 1, 2]);
        [0, 1, 2].map(|world| AxisMap {
            axis: best[world],
            flipped: along(world, best[world]) * sense[world] < 0.0,
        })
    }
}

/// The three sides of a volume that is safe to read.
fn check_header(header: &NiftiHeader, limit: u64) -> Result<[usize; 3], VolumeError> {
    let format = |reason: String| Err(VolumeError::Format(reason));
    if header.sizeof_hdr != 348 || &header.magic != b"n+1\0" {
        return format("the header is not that of a single-file NIfTI-1".to_owned());
    }
    let dim = header
        .dim()
        .map_err(|e| VolumeError::Format(e.to_string()))?;
    let &[x, y, z, ref rest @ ..] = dim else {
        return format(format!("it has {} axes, not 3", dim.len()));
    };
    if rest.iter().any(|side| *side != 1) {
        return format(format!(
            "its shape is {dim:?}; only one volume a file is read"
        ));
    }
    let kind = header
        .data_type()
        .map_err(|e| VolumeError::Format(e.to_string()))?;
    let real = matches!(
        kind,
        NiftiType::Uint8
            | NiftiType::Int8
            | NiftiType::Uint16
            | NiftiType::Int16
            | NiftiType::Uint32
            | NiftiType::Int32
            | NiftiType::Uint64
            | NiftiType::Int64
            | NiftiType::Float32
            | NiftiType::Float64
    );
    if !real || usize::try_from(header.bitpix).ok() != Some(kind.size_of() * 8) {
        return format(format!(
            "data type {kind:?} of {} bits is not read",
            header.bitpix
        ));
    }
    let shape = [x, y, z].map(usize::from);
    let voxels: usize = shape.iter().product();
    if voxels > MAX_VOXELS {
        return format(format!(
            "its shape {shape:?} is above the limit of {MAX_VOXELS} voxels"
        ));
    }
    if !(352.0..=MAX_DATA_OFFSET).contains(&header.vox_offset) {
        return format(format!("its data offset is {}", header.vox_offset));
    }
    if (voxels * kind.size_of()) as u64 > limit {
        return Err(VolumeError::Truncated(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(shape)
}

/// sform, else qform; the identity where neither is set. The crate's own functions panic on bad quaternions.
fn affine(header: &NiftiHeader) -> Result<[[f64; 4]; 3], VolumeError> {
    let affine = if header.sform_code > 0 {
        [header.srow_x, header.srow_y, header.srow_z].map(|row| row.map(f64::from))
    } else if header.qform_code > 0 {
        quaternion_affine(header)
    } else {
        return Ok([
            [1.0, 0.0, 0.0, 0.0],
            [0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0],
        ]);
    };
    let [a, b, c] = affine;
    let determinant = a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0])
        + a[2] * (b[0] * c[1] - b[1] * c[0]);
    let finite = affine.iter().flatten().all(|x| x.is_finite());
    if !finite || determinant.abs() < 1e-9 {
        return Err(VolumeError::Format(
            "its affine is not invertible".to_owned(),
        ));
    }
    Ok(affine)
}

/// The qform of the NIfTI-1 standard ("method 2").
fn quaternion_affine(header: &NiftiHeader) -> [[f64; 4]; 3] {
    let [b, c, d] = [header.quatern_b, header.quatern_c, header.quatern_d].map(f64::from);
    let a = (1.0 - (b * b + c * c + d * d)).max(0.0).sqrt();
    let rotation = [
        [
            a * a + b * b - c * c - d * d,
            2.0 * (b * c - a * d),
            2.0 * (b * d + a * c),
        ],
        [
            2.0 * (b * c + a * d),
            a * a + c * c - b * b - d * d,
            2.0 * (c * d - a * b),
        ],
        [
            2.0 * (b * d - a * c),
            2.0 * (c * d + a * b),
            a * a + d * d - b * b - c * c,
        ],
    ];
    let handedness = if header.pixdim[0] < 0.0 { -1.0 } else { 1.0 };
    let spacing = [header.pixdim[1], header.pixdim[2], header.pixdim[3]].map(f64::from);
    let scale = [spacing[0], spacing[1], handedness * spacing[2]];
    let origin = [header.quatern_x, header.quatern_y, header.quatern_z].map(f64::from);
    [0, 1, 2].map(|row| {
        let [x, y, z] = rotation[row];
        [x * scale[0], y * scale[1], z * scale[2], origin[row]]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LPS: [[f64; 4]; 3] = [
        [-1.0, 0.0, 0.0, 10.0],
        [0.0, -1.0, 0.0, 3.0],
        [0.0, 0.0, 1.0, 0.0],
    ];

    fn numbered(shape: [usize; 3], affine: [[f64; 4]; 3]) -> Volume {
        let count: u32 = shape.iter().product::<usize>().try_into().unwrap();
        Volume {
            shape,
            affine,
            values: (0..count).map(f64::from).collect(),
        }
    }

    #[test]
    fn a_slice_is_first_axis_by_second_axis() {
        let volume = numbered([2, 3, 2], LPS);
        let view = volume.oriented(Orientation::Lps);
        assert_eq!(
            view.slice(1).collect::<Vec<_>>(),
            [6.0, 8.0, 10.0, 7.0, 9.0, 11.0]
        );
    }

    #[test]
    fn flips_and_permutations_come_back() {
        // The source runs to S, R, A: axis 0 to the head, 1 to the right, 2 to the front.
        let affine = [
            [0.0, 2.0, 0.0, -1.0],
            [0.0, 0.0, 1.0, -1.0],
            [3.0, 0.0, 0.0, 0.0],
        ];
        let volume = numbered([2, 3, 4], affine);
        let view = volume.oriented(Orientation::Lps);
        assert_eq!(view.shape, [3, 4, 2]);
        let at = |s: usize, r: usize, a: usize| volume.values[s + 2 * (r + 3 * a)];
        let slice: Vec<f64> = view.slice(1).collect();
        // To the left is backwards along r, to the back is backwards along a.
        assert_eq!(slice[0], at(1, 2, 3));
        assert_eq!(slice[1], at(1, 2, 2));
        assert_eq!(slice[4], at(1, 1, 3));
        let ras = volume.oriented(Orientation::Ras);
        assert_eq!(ras.slice(0).next(), Some(at(0, 0, 0)));
    }

    #[test]
    fn an_oblique_scan_takes_the_nearest_axes() {
        let (cos, sin) = (0.8, 0.6);
        let affine = [
            [-cos, sin, 0.0, 0.0],
            [-sin, -cos, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0],
        ];
        let axes = Orientation::Lps.axes(&affine);
        assert_eq!(
            axes.map(|map| (map.axis, map.flipped)),
            [(0, false), (1, false), (2, false)]
        );
    }

    #[test]
    fn the_identity_says_nothing() {
        let affine = [
            [1.0, 0.0, 0.0, 0.0],
            [0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0],
        ];
        assert!(
            Orientation::Lps
                .axes(&affine)
                .iter()
                .all(|map| !map.flipped)
        );
    }

    #[test]
    fn qform_of_brats_is_lps() {
        let mut header = NiftiHeader {
            quatern_d: 1.0,
            quatern_y: 239.0,
            sform_code: 0,
            ..NiftiHeader::default()
        };
        header.pixdim = [1.0; 8];
        assert_eq!(
            affine(&header).unwrap(),
            [
                [-1.0, 0.0, 0.0, 0.0],
                [0.0, -1.0, 0.0, 239.0],
                [0.0, 0.0, 1.0, 0.0]
            ]
        );
    }

    #[test]
    fn hostile_headers_allocate_nothing() {
        let good = NiftiHeader {
            dim: [3, 240, 240, 155, 1, 1, 1, 1],
            datatype: 4,
            bitpix: 16,
            magic: *b"n+1\0",
            ..NiftiHeader::default()
        };
        let bytes = 240 * 240 * 155 * 2;
        assert_eq!(check_header(&good, bytes).unwrap(), [240, 240, 155]);
        assert!(matches!(
            check_header(&good, bytes - 1),
            Err(VolumeError::Truncated(_))
        ));
        for (change, what) in [
            (
                &(|h: &mut NiftiHeader| h.dim[1] = 65_535) as &dyn Fn(&mut NiftiHeader),
                "huge",
            ),
            (
                &|h| h.dim = [3, 65_535, 65_535, 65_535, 1, 1, 1, 1],
                "very huge",
            ),
            (&|h| h.dim[2] = 0, "flat"),
            (&|h| h.dim[0] = 2, "two axes"),
            (&|h| h.dim = [4, 240, 240, 155, 2, 1, 1, 1], "two volumes"),
            (&|h| h.bitpix = 8, "bits that are not the type's"),
            (&|h| h.datatype = 32, "complex"),
            (&|h| h.datatype = 999, "no type"),
            (&|h| h.vox_offset = f32::NAN, "offset"),
            (&|h| h.magic = *b"ni1\0", "pair"),
        ] {
            let mut header = good.clone();
            change(&mut header);
            assert!(check_header(&header, u64::MAX).is_err(), "{what}");
        }
        let mut trailing = good;
        trailing.dim = [4, 240, 240, 155, 1, 1, 1, 1];
        assert!(check_header(&trailing, bytes).is_ok());
    }
}
