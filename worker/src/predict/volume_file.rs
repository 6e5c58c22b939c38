//! Volumes as NIfTI files on the grid of their source, with the geometry of its header.

use std::fs;
use std::path::Path;

use anofpdm_common::store::durable::{self, DiskError};
use anofpdm_common::store::slices::SourceGrid;
use ndarray::{Array3, ShapeBuilder};
use nifti::writer::WriterOptions;
use nifti::{DataElement, NiftiHeader};

use super::PredictError;

/// Writes `values`, first axis fastest, whole or not at all; gzip-compressed where the name ends with `.gz`.
///
/// # Errors
/// When the values are not those of the grid, or the disk refuses.
pub fn write<T: DataElement + Voxel>(
    path: &Path,
    source: &SourceGrid,
    values: Vec<T>,
) -> Result<(), PredictError> {
    let [x, y, z] = source.shape;
    let failed = |reason: String| PredictError::Volume {
        path: path.to_path_buf(),
        reason,
    };
    let array = Array3::from_shape_vec((x, y, z).f(), values)
        .map_err(|error| failed(format!("{error}. This is a bug.")))?;
    let header = header(source);
    // The crate chooses gzip by the name's end, so the temporary name ends alike.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!("partial-{}-{name}", std::process::id()));
    let options = WriterOptions::new(&temporary).reference_header(&header);
    let written = T::write(&options, &array)
        .map_err(|error| failed(error.to_string()))
        .and_then(|()| {
            let synced = fs::File::open(&temporary).and_then(|file| file.sync_all());
            synced.map_err(|error| DiskError::new("sync", path, error))?;
            Ok(durable::rename(&temporary, path)?)
        });
    if written.is_err() {
        // The error at hand says more than a failed clean-up would.
        drop(fs::remove_file(&temporary));
    }
    written
}

/// A voxel of the files that are written.
pub trait Voxel: Sized {
    /// Writes an array of them.
    fn write(options: &WriterOptions<'_>, array: &Array3<Self>) -> nifti::Result<()>;
}

macro_rules! voxel {
    ($type:ty) => {
        impl Voxel for $type {
            fn write(options: &WriterOptions<'_>, array: &Array3<Self>) -> nifti::Result<()> {
                options.write_nifti(array)
            }
        }
    };
}
voxel!(f32);
voxel!(u8);

/// Affine, codes, spacing and units of the source.
#[allow(clippy::cast_possible_truncation)] // headers of NIfTI-1 hold single precision
fn header(source: &SourceGrid) -> NiftiHeader {
    let found = source.header();
    let single = |row: [f64; 4]| row.map(|x| x as f32);
    let [x, y, z] = source.affine.map(single);
    let [handedness, sides @ ..] = single(found.pixdim);
    let mut header = NiftiHeader {
        qform_code: found.qform_code,
        sform_code: found.sform_code,
        xyzt_units: found.xyzt_units,
        srow_x: x,
        srow_y: y,
        srow_z: z,
        ..NiftiHeader::default()
    };
    header.pixdim[0] = handedness;
    header.pixdim[1..4].copy_from_slice(&sides);
    let [b, c, d] = found.quaternion.map(|x| x as f32);
    (header.quatern_b, header.quatern_c, header.quatern_d) = (b, c, d);
    let [x, y, z] = found.offset.map(|x| x as f32);
    (header.quatern_x, header.quatern_y, header.quatern_z) = (x, y, z);
    header
}

#[cfg(test)]
mod tests {
    use anofpdm_common::store::slices::{AxisMap, SourceHeader};
    use nifti::{NiftiObject, NiftiVolume, ReaderOptions};

    use super::*;

    #[test]
    fn geometry_and_voxels_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let source = SourceGrid {
            shape: [2, 3, 4],
            affine: [
                [-0.9, 0.0, 0.0, 5.0],
                [0.0, -2.0, 0.0, 6.0],
                [0.0, 0.0, 3.0, 7.0],
            ],
            axes: [0, 1, 2].map(|axis| AxisMap {
                axis,
                flipped: false,
            }),
            canvas: [2, 3],
            padding: [0, 0],
            header: Some(SourceHeader {
                sform_code: 4,
                qform_code: 2,
                pixdim: [-1.0, 0.9, 2.0, 3.0],
                xyzt_units: 10,
                quaternion: [0.0, 0.5, 0.25],
                offset: [1.0, 2.0, 3.0],
            }),
        };
        let path = folder.path().join("a.b_mask.nii.gz");
        write(&path, &source, (0..24_u8).collect()).unwrap();
        let read = ReaderOptions::new().read_file(&path).unwrap();
        let header = read.header();
        assert_eq!((header.sform_code, header.qform_code), (4, 2));
        assert_eq!((header.xyzt_units, header.datatype), (10, 2));
        assert_eq!(header.pixdim[..4], [-1.0, 0.9, 2.0, 3.0]);
        assert_eq!(header.srow_x, [-0.9, 0.0, 0.0, 5.0]);
        assert_eq!((header.quatern_c, header.quatern_z), (0.5, 3.0));
        assert_eq!(read.volume().dim(), [2, 3, 4]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let wrong = write(&path, &source, vec![0.0_f32; 23]).unwrap_err();
        assert!(wrong.to_string().contains("a.b_mask"), "{wrong}");
    }
}
