//! The header of a single-file NIfTI, of either version: what of it decides the voxels and where they lie.

use std::io::{self, Read};

use anofpdm_common::store::slices::SourceHeader;
use nifti::{Endianness, NiftiType};

use super::VolumeError;
use super::affine::{Affine, Placement};

/// Voxels of the largest volume that is read: 645 voxels a side, 2 GiB as f64.
const MAX_VOXELS: u64 = 1 << 28;

/// Room for extensions between header and data.
const MAX_DATA_OFFSET: f64 = 1_048_576.0;

/// `sizeof_hdr` of each version, which is how they are told apart.
const NIFTI_1: u32 = 348;
const NIFTI_2: u32 = 540;

/// What a header says, checked.
#[derive(Debug)]
pub(super) struct Header {
    /// Voxels along each array axis.
    pub(super) shape: [u16; 3],
    /// Of a voxel: a real number.
    pub(super) kind: NiftiType,
    pub(super) endianness: Endianness,
    /// Bytes between the end of the header and the first voxel.
    pub(super) gap: u64,
    /// Slope and intercept; `None` where values count as they are stored.
    pub(super) scaling: Option<[f64; 2]>,
    /// `None` where the header says nothing about it.
    pub(super) affine: Option<Affine>,
    /// As it stands there.
    pub(super) source: SourceHeader,
}

impl Header {
    /// Reads the header of a file of at most `limit` bytes.
    ///
    /// # Errors
    /// [`VolumeError`]; a header that promises more than `limit` bytes is refused.
    pub(super) fn read(reader: &mut impl Read, limit: u64) -> Result<Self, VolumeError> {
        let mut start = [0; 4];
        reader
            .read_exact(&mut start)
            .map_err(VolumeError::Truncated)?;
        if start.starts_with(&super::GZIP_MAGIC) {
            return format("it is gzip-compressed: name it .nii.gz".to_owned());
        }
        let (length, endianness) = match (u32::from_le_bytes(start), u32::from_be_bytes(start)) {
            (length @ (NIFTI_1 | NIFTI_2), _) => (length, Endianness::Little),
            (_, length @ (NIFTI_1 | NIFTI_2)) => (length, Endianness::Big),
            _ => {
                return format("it does not begin with the header's length, 348 or 540".to_owned());
            }
        };
        let mut bytes = start.to_vec();
        bytes.resize(length as usize, 0);
        reader
            .read_exact(&mut bytes[4..])
            .map_err(VolumeError::Truncated)?;
        let fields = Fields {
            bytes: &bytes,
            endianness,
        };
        let raw = if length == NIFTI_1 {
            fields.version_1()?
        } else {
            fields.version_2()?
        };
        let kind = voxel_type(raw.datatype, raw.bitpix)?;
        let shape = shape(&raw.dim)?;
        let voxels = shape.iter().map(|side| u64::from(*side)).product::<u64>();
        if voxels > MAX_VOXELS {
            return format(format!(
                "its shape {shape:?} is above the limit of {MAX_VOXELS} voxels"
            ));
        }
        if voxels * kind.size_of() as u64 > limit {
            return Err(VolumeError::Truncated(io::ErrorKind::UnexpectedEof.into()));
        }
        // Four bytes behind the header say whether extensions follow: no data can begin before.
        let first = f64::from(length) + 4.0;
        if !(first..=MAX_DATA_OFFSET).contains(&raw.data_offset) {
            return format(format!("its data offset is {}", raw.data_offset));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let gap = raw.data_offset as u64 - u64::from(length);
        Ok(Self {
            shape,
            kind,
            endianness,
            gap,
            scaling: scaling(raw.slope, raw.intercept)?,
            affine: raw.placement.affine().map_err(VolumeError::Format)?,
            source: raw.placement.source(raw.xyzt_units),
        })
    }

    pub(super) fn data_bytes(&self) -> usize {
        let voxels = self.shape.iter().map(|side| usize::from(*side));
        voxels.product::<usize>() * self.kind.size_of()
    }
}

fn format<T>(reason: String) -> Result<T, VolumeError> {
    Err(VolumeError::Format(reason))
}

/// The sides of a volume of three axes; further ones may be there when they are 1.
fn shape(dim: &[i64; 8]) -> Result<[u16; 3], VolumeError> {
    let [axes, sides @ ..] = dim;
    let Some(sides) = usize::try_from(*axes)
        .ok()
        .filter(|axes| *axes > 0)
        .and_then(|axes| sides.get(..axes))
    else {
        return format(format!("its dim[0], the number of axes, is {axes}"));
    };
    let bad = (1..).zip(sides).find(|(_, side)| **side < 1);
    if let Some((axis, side)) = bad {
        return format(format!("its dim[{axis}], the length of an axis, is {side}"));
    }
    let &[x, y, z, ref rest @ ..] = sides else {
        return format(format!("it has {axes} axes, not 3"));
    };
    if rest.iter().any(|side| *side != 1) {
        return format(format!(
            "its shape is {sides:?}; only one volume a file is read"
        ));
    }
    let side = |side: i64| {
        u16::try_from(side)
            .map_err(|_| VolumeError::Format(format!("a side of {side} voxels is too long")))
    };
    Ok([side(x)?, side(y)?, side(z)?])
}

fn voxel_type(code: i16, bits: i16) -> Result<NiftiType, VolumeError> {
    use NiftiType::{Float32, Float64, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64};
    const READ: [NiftiType; 10] = [
        Uint8, Int8, Uint16, Int16, Uint32, Int32, Uint64, Int64, Float32, Float64,
    ];
    let Some(kind) = READ
        .into_iter()
        .find(|kind| i32::from(*kind as u16) == i32::from(code))
    else {
        let what = match code {
            1 => "one bit",
            32 | 1792 | 2048 => "a complex number",
            128 | 2304 => "a colour",
            1536 => "a float of 128 bits",
            _ => "no known type",
        };
        return format(format!(
            "a voxel is {what} (datatype {code}); save it as one number a voxel, up to 64 bits"
        ));
    };
    if usize::try_from(bits).ok() != Some(kind.size_of() * 8) {
        return format(format!("a voxel of type {kind:?} has {bits} bits"));
    }
    Ok(kind)
}

/// As nibabel has it: a slope that is 0 or no number means "as stored"; one that counts needs an intercept.
fn scaling(slope: f64, intercept: f64) -> Result<Option<[f64; 2]>, VolumeError> {
    if slope == 0.0 || !slope.is_finite() {
        return Ok(None);
    }
    if !intercept.is_finite() {
        return format(format!(
            "its scl_slope is {slope} and its scl_inter {intercept}: what its values are cannot be told; set scl_inter to 0 (nifti_tool -mod_hdr -mod_field scl_inter 0)"
        ));
    }
    Ok(Some([slope, intercept]))
}

/// The fields that are used, in the widest type of both versions.
struct Raw {
    dim: [i64; 8],
    datatype: i16,
    bitpix: i16,
    data_offset: f64,
    slope: f64,
    intercept: f64,
    xyzt_units: u8,
    placement: Placement,
}

/// A header's bytes and the order of its numbers'.
struct Fields<'a> {
    bytes: &'a [u8],
    endianness: Endianness,
}

impl Fields<'_> {
    /// `N` bytes at `at`, least significant first.
    fn number<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.bytes[at..at + N]);
        if self.endianness == Endianness::Big {
            bytes.reverse();
        }
        bytes
    }

    fn i16(&self, at: usize) -> i16 {
        i16::from_le_bytes(self.number(at))
    }

    fn i32(&self, at: usize) -> i32 {
        i32::from_le_bytes(self.number(at))
    }

    fn i64(&self, at: usize) -> i64 {
        i64::from_le_bytes(self.number(at))
    }

    fn f32(&self, at: usize) -> f64 {
        f64::from(f32::from_le_bytes(self.number(at)))
    }

    fn f64(&self, at: usize) -> f64 {
        f64::from_le_bytes(self.number(at))
    }

    fn singles<const N: usize>(&self, at: usize) -> [f64; N] {
        std::array::from_fn(|n| self.f32(at + 4 * n))
    }

    fn doubles<const N: usize>(&self, at: usize) -> [f64; N] {
        std::array::from_fn(|n| self.f64(at + 8 * n))
    }

    fn version_1(&self) -> Result<Raw, VolumeError> {
        match &self.bytes[344..348] {
            b"n+1\0" => {}
            b"ni1\0" => {
                return format(
                    "it is the header of a pair (.hdr, .img); save it as one .nii file".to_owned(),
                );
            }
            _ => return format("its magic is not that of NIfTI-1".to_owned()),
        }
        Ok(Raw {
            dim: std::array::from_fn(|n| i64::from(self.i16(40 + 2 * n))),
            datatype: self.i16(70),
            bitpix: self.i16(72),
            data_offset: self.f32(108),
            slope: self.f32(112),
            intercept: self.f32(116),
            xyzt_units: self.bytes[123],
            placement: Placement {
                qform_code: i32::from(self.i16(252)),
                sform_code: i32::from(self.i16(254)),
                quaternion: self.singles(256),
                origin: self.singles(268),
                rows: [280, 296, 312].map(|at| self.singles(at)),
                pixdim: self.singles(76),
                epsilon: f64::from(f32::EPSILON),
            },
        })
    }

    fn version_2(&self) -> Result<Raw, VolumeError> {
        match &self.bytes[4..8] {
            b"n+2\0" => {}
            b"ni2\0" => {
                return format(
                    "it is the header of a pair (.hdr, .img); save it as one .nii file".to_owned(),
                );
            }
            _ => return format("its magic is not that of NIfTI-2".to_owned()),
        }
        // A mark that changes when a file is copied as text.
        if &self.bytes[8..12] != b"\r\n\x1a\n" && self.bytes[8..12] != [0; 4] {
            return format("it was changed in transfer: line ends were converted".to_owned());
        }
        #[allow(clippy::cast_precision_loss)]
        let data_offset = self.i64(168) as f64;
        Ok(Raw {
            dim: std::array::from_fn(|n| self.i64(16 + 8 * n)),
            datatype: self.i16(12),
            bitpix: self.i16(14),
            data_offset,
            slope: self.f64(176),
            intercept: self.f64(184),
            xyzt_units: u8::try_from(self.i32(500)).unwrap_or(0),
            placement: Placement {
                qform_code: self.i32(344),
                sform_code: self.i32(348),
                quaternion: self.doubles(352),
                origin: self.doubles(376),
                rows: [400, 432, 464].map(|at| self.doubles(at)),
                pixdim: self.doubles(104),
                epsilon: f64::EPSILON,
            },
        })
    }
}
