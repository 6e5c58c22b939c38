//! One NIfTI volume: read within limits, as nibabel reads it or not at all.

mod affine;
mod gzip;
mod header;
mod orientation;
#[cfg(test)]
pub(crate) mod tests;

use std::fs::{self, File, FileType};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use anofpdm_common::store::slices::SourceHeader;
use nifti::{InMemNiftiVolume, IntoNdArray};

pub use affine::{Affine, Grid, IDENTITY, Numbers};
use gzip::Members;
use header::Header;
pub use orientation::{Orientation, Oriented};

/// Deflate cannot do better than 1032 : 1, so a header that promises more than this is lying.
const MAX_COMPRESSION: u64 = 1_100;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("cannot be opened: {0}")]
    Open(io::Error),
    #[error("is {0}, not a file")]
    NoFile(&'static str),
    #[error("is an empty file")]
    EmptyFile,
    #[error("is named .gz and is not gzip-compressed; name a plain NIfTI file .nii")]
    NotGzip,
    #[error("is truncated or damaged: {0}")]
    Truncated(io::Error),
    #[error("is not a usable NIfTI file: {0}")]
    Format(String),
    #[error(
        "holds NaN or infinity in {count} of {voxels} voxels; save it with 0 there: \
         numpy.nan_to_num(data, nan=0, posinf=0, neginf=0)"
    )]
    NotFinite { count: usize, voxels: usize },
}

/// A volume as its file holds it.
#[derive(Debug)]
pub struct Volume {
    /// Voxels along each array axis.
    pub shape: [usize; 3],
    /// Where they lie; [`IDENTITY`] where the file does not say.
    pub affine: Affine,
    /// What its header says of its geometry beside that.
    pub header: SourceHeader,
    /// Slope and intercept of the header, where values are scaled.
    pub scaling: Option<[f64; 2]>,
    /// Values with slope and intercept applied, first axis fastest.
    pub values: Vec<f64>,
}

impl Volume {
    /// Reads a `.nii` or `.nii.gz` file, of NIfTI-1 or NIfTI-2.
    ///
    /// # Errors
    /// [`VolumeError`]; the memory taken is bounded by the file's length, whatever its header says.
    pub fn read(path: &Path) -> Result<Self, VolumeError> {
        let (mut reader, limit) = open(path)?;
        let header = Header::read(&mut reader, limit)?;
        let skipped = io::copy(&mut reader.by_ref().take(header.gap), &mut io::sink())
            .map_err(VolumeError::Truncated)?;
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(header.data_bytes())
            .map_err(|e| VolumeError::Open(io::Error::new(io::ErrorKind::OutOfMemory, e)))?;
        reader
            .by_ref()
            .take(header.data_bytes() as u64)
            .read_to_end(&mut bytes)
            .map_err(VolumeError::Truncated)?;
        if skipped < header.gap || bytes.len() < header.data_bytes() {
            return Err(VolumeError::Truncated(io::ErrorKind::UnexpectedEof.into()));
        }
        // The gzip checksum stands at the end: it is compared only when the stream is read out.
        io::copy(&mut reader.take(limit), &mut io::sink()).map_err(VolumeError::Truncated)?;

        let values = scaled(&header, bytes)?;
        let count = values.iter().filter(|x| !x.is_finite()).count();
        if count > 0 {
            return Err(VolumeError::NotFinite {
                count,
                voxels: values.len(),
            });
        }
        Ok(Self {
            shape: header.shape.map(usize::from),
            affine: header.affine.unwrap_or(IDENTITY),
            header: header.source,
            scaling: header.scaling,
            values,
        })
    }

    /// The affine that the header of a file states, `None` where it states none; no voxel is read.
    ///
    /// # Errors
    /// As [`Volume::read`], as far as the header tells.
    pub fn stated_affine(path: &Path) -> Result<Option<Affine>, VolumeError> {
        let (mut reader, limit) = open(path)?;
        Ok(Header::read(&mut reader, limit)?.affine)
    }

    /// Where the voxels lie.
    pub fn grid(&self) -> Grid<'_> {
        Grid {
            shape: self.shape,
            affine: &self.affine,
        }
    }
}

/// The uncompressed bytes of a file and a bound on their number.
fn open(path: &Path) -> Result<(Box<dyn Read>, u64), VolumeError> {
    // Before it is opened: opening a FIFO would wait for somebody who writes.
    let metadata = fs::metadata(path).map_err(VolumeError::Open)?;
    if let Some(what) = other_than_a_file(metadata.file_type()) {
        return Err(VolumeError::NoFile(what));
    }
    let length = metadata.len();
    if length == 0 {
        return Err(VolumeError::EmptyFile);
    }
    let mut reader = BufReader::new(File::open(path).map_err(VolumeError::Open)?);
    let compressed = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    if !compressed {
        return Ok((Box::new(reader), length));
    }
    let magic = reader.fill_buf().map_err(VolumeError::Open)?;
    if !magic.starts_with(&GZIP_MAGIC) {
        return Err(VolumeError::NotGzip);
    }
    let limit = length.saturating_mul(MAX_COMPRESSION);
    Ok((Box::new(Members::new(reader)), limit))
}

fn other_than_a_file(kind: FileType) -> Option<&'static str> {
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("a folder")
    } else if kind.is_fifo() {
        Some("a named pipe")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}

/// The values that `bytes` stand for, first axis fastest.
fn scaled(header: &Header, bytes: Vec<u8>) -> Result<Vec<f64>, VolumeError> {
    let unusable = |e: nifti::NiftiError| VolumeError::Format(e.to_string());
    let [x, y, z] = header.shape;
    let dim = [3, x, y, z, 1, 1, 1, 1];
    // Unscaled: the crate knows slopes of single precision only.
    let (slope, intercept) = (0.0, 0.0);
    let array = InMemNiftiVolume::from_raw_fields(
        dim,
        header.kind,
        slope,
        intercept,
        bytes,
        header.endianness,
    )
    .and_then(IntoNdArray::into_ndarray::<f64>)
    .map_err(unusable)?;
    // The crate builds the array in the file's own order, first axis fastest.
    let (mut values, _) = array.into_raw_vec_and_offset();
    if let Some([slope, intercept]) = header.scaling {
        for value in &mut values {
            *value = *value * slope + intercept;
        }
    }
    Ok(values)
}
