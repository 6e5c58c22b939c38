//! One subject's volumes: anatomy and lesions seen through each modality, and written.

use std::fs;
use std::path::Path;

use anofpdm_common::random::{Domain, Stream};
use anofpdm_common::store::durable;
use ndarray::{Array3, ShapeBuilder};
use nifti::NiftiHeader;
use nifti::writer::WriterOptions;

use super::anatomy::Anatomy;
use super::contrast::Modality;
use super::lesion::Lesions;
use super::smooth::Field;
use super::{Kind, PhantomError, PhantomRequest};

/// Noise in parts of the brightest tissue.
const NOISE: f64 = 0.025;
/// Largest departure of the coil's sensitivity from even.
const BIAS: f64 = 0.12;
/// Departure of a tissue's brightness from place to place.
const TEXTURE: f64 = 0.07;
/// A field of view of 240 mm, as BraTS has.
const FIELD_OF_VIEW: f64 = 240.0;

/// Streams of a subject, by what they are for; modalities follow.
const ANATOMY: u64 = 0;
const LESIONS: u64 = 1;
const FIRST_MODALITY: u64 = 2;

/// Voxels along each axis.
pub(super) fn shape(grid: usize) -> [usize; 3] {
    [grid, grid, grid * 155 / 240]
}

/// One subject, not yet drawn.
pub(super) struct Subject<'a> {
    request: &'a PhantomRequest,
    index: usize,
    anatomy: Anatomy,
    lesions: Lesions,
}

impl<'a> Subject<'a> {
    pub(super) fn new(request: &'a PhantomRequest, index: usize) -> Self {
        let stream = |part| stream(request.seed, index, part);
        Self {
            request,
            index,
            anatomy: Anatomy::new(&mut stream(ANATOMY)),
            lesions: Lesions::new(&mut stream(LESIONS)),
        }
    }

    pub(super) fn id(&self) -> String {
        match self.request.kind {
            Kind::Brats => format!("Phantom_{:05}", self.index + 1),
            Kind::Atlas => format!("sub-phantom{:05}", self.index + 1),
        }
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.lesions.is_empty()
    }

    /// Writes the subject's folder. The mask comes last: where it stands, the subject is complete.
    pub(super) fn write(&self, out: &Path) -> Result<(), PhantomError> {
        let id = self.id();
        let folder = out.join(&id);
        let (modalities, mask_name) = match self.request.kind {
            Kind::Brats => (
                &[Modality::Flair, Modality::T1, Modality::T1ce, Modality::T2][..],
                "seg",
            ),
            Kind::Atlas => (&[Modality::T1][..], "mask"),
        };
        let mask_path = folder.join(format!("{id}_{mask_name}.nii.gz"));
        if mask_path.is_file() {
            return Ok(());
        }
        durable::create_dir(&folder)?;
        let voxels = self.voxels();
        for (number, modality) in modalities.iter().enumerate() {
            let name = match self.request.kind {
                Kind::Brats => modality.name(),
                Kind::Atlas => "T1w",
            };
            let values = self.draw(*modality, FIRST_MODALITY + number as u64, &voxels);
            let values = self.array(values);
            self.save(&folder.join(format!("{id}_{name}.nii.gz")), |writer| {
                writer.write_nifti(&values)
            })?;
        }
        let mask: Vec<u8> = voxels
            .iter()
            .map(|voxel| voxel.as_ref().map_or(0, |voxel| voxel.mask))
            .collect();
        let mask = self.array(mask);
        self.save(&mask_path, |writer| writer.write_nifti(&mask))
    }

    /// What each voxel holds, first axis fastest; `None` outside the head.
    fn voxels(&self) -> Vec<Option<Voxel>> {
        self.points()
            .map(|point| {
                let depth = self.anatomy.depth(point);
                (depth > 0.0).then(|| {
                    let tissue = self.anatomy.tissue(point, depth);
                    let lesion = self.lesions.share(point, depth);
                    #[allow(clippy::cast_possible_truncation)]
                    let part = |share: f64| share as f32;
                    Voxel {
                        fluid: part(tissue.fluid),
                        white: part(tissue.white),
                        grey: part(tissue.grey),
                        lesion: part(lesion.lesion),
                        core: part(lesion.core),
                        mask: u8::from(lesion.lesion > 0.5),
                    }
                })
            })
            .collect()
    }

    /// Centres of the voxels in the order of the file, as places in the head (left, back, head).
    fn points(&self) -> impl Iterator<Item = [f64; 3]> {
        let sides = shape(self.request.grid);
        #[allow(clippy::cast_precision_loss)]
        let centre = move |index: usize, side: usize| (2 * index + 1) as f64 / side as f64 - 1.0;
        let sense = match self.request.kind {
            Kind::Brats => 1.0,
            Kind::Atlas => -1.0,
        };
        let [width, depth, height] = sides;
        (0..height).flat_map(move |z| {
            (0..depth).flat_map(move |y| {
                (0..width).map(move |x| {
                    [
                        sense * centre(x, width),
                        sense * centre(y, depth),
                        centre(z, height),
                    ]
                })
            })
        })
    }

    /// The modality's values, as a scanner stores them.
    fn draw(&self, modality: Modality, part: u64, voxels: &[Option<Voxel>]) -> Vec<i16> {
        let mut stream = stream(self.request.seed, self.index, part);
        let bias = Field::new(&mut stream, 2);
        let texture = Field::new(&mut stream, 12);
        let gain = 400.0 + 600.0 * stream.uniform();
        let brightness = modality.brightness();
        let mut spare = None;
        voxels
            .iter()
            .zip(self.points())
            .map(|(voxel, point)| {
                let Some(voxel) = voxel else {
                    return 0;
                };
                let noise = spare.take().unwrap_or_else(|| {
                    let (first, second) = stream.gaussian_pair();
                    spare = Some(second);
                    first
                });
                let [fluid, white, grey, lesion, core] = [
                    voxel.fluid,
                    voxel.white,
                    voxel.grey,
                    voxel.lesion,
                    voxel.core,
                ]
                .map(f64::from);
                let healthy =
                    fluid * brightness.fluid + white * brightness.white + grey * brightness.grey;
                let diseased = brightness.lesion + core * (brightness.core - brightness.lesion);
                let ideal = healthy + lesion * (diseased - healthy);
                let uneven = (1.0 + TEXTURE * texture.at(point)) * (1.0 + BIAS * bias.at(point));
                #[allow(clippy::cast_possible_truncation)]
                let value = (gain * (ideal * uneven + NOISE * noise)).round() as i16;
                // 0 is the mark of what was stripped.
                value.max(1)
            })
            .collect()
    }

    /// Writes a file whole or not at all.
    fn save(
        &self,
        path: &Path,
        write: impl FnOnce(&WriterOptions<'_>) -> nifti::Result<()>,
    ) -> Result<(), PhantomError> {
        // The crate chooses gzip by the name's end, so the temporary name ends alike.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!("partial-{name}"));
        let header = self.header();
        write(&WriterOptions::new(&temporary).reference_header(&header)).map_err(|source| {
            PhantomError::Volume {
                path: path.to_path_buf(),
                source,
            }
        })?;
        fs::File::open(&temporary)
            .and_then(|file| file.sync_all())
            .map_err(|e| durable::DiskError::new("sync", &temporary, e))?;
        Ok(durable::rename(&temporary, path)?)
    }

    /// `values`, one a voxel in the order of [`Subject::points`], as an array.
    fn array<T>(&self, values: Vec<T>) -> Array3<T> {
        let [width, depth, height] = shape(self.request.grid);
        Array3::from_shape_vec((width, depth, height).f(), values)
            .expect("one value a voxel. This is a bug.")
    }

    /// Spacing and orientation: as BraTS has them, or on the MNI grid as ATLAS.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    fn header(&self) -> NiftiHeader {
        let sides = shape(self.request.grid);
        let spacing = (FIELD_OF_VIEW / self.request.grid as f64) as f32;
        let extent = sides.map(|side| (side - 1) as f32 * spacing);
        let mut header = NiftiHeader {
            xyzt_units: 2,
            ..NiftiHeader::default()
        };
        header.pixdim = [1.0, spacing, spacing, spacing, 1.0, 1.0, 1.0, 1.0];
        match self.request.kind {
            Kind::Brats => {
                header.srow_x = [-spacing, 0.0, 0.0, 0.0];
                header.srow_y = [0.0, -spacing, 0.0, extent[1]];
                header.srow_z = [0.0, 0.0, spacing, 0.0];
                // Half a turn about the head axis, as a quaternion.
                header.quatern_d = 1.0;
                header.quatern_y = extent[1];
            }
            Kind::Atlas => {
                let origin = extent.map(|length| -length / 2.0);
                header.srow_x = [spacing, 0.0, 0.0, origin[0]];
                header.srow_y = [0.0, spacing, 0.0, origin[1]];
                header.srow_z = [0.0, 0.0, spacing, origin[2]];
                [header.quatern_x, header.quatern_y, header.quatern_z] = origin;
                header.sform_code = 4;
                header.qform_code = 4;
            }
        }
        header
    }
}

/// Shares of one voxel within the head.
struct Voxel {
    fluid: f32,
    white: f32,
    grey: f32,
    lesion: f32,
    core: f32,
    mask: u8,
}

fn stream(seed: u64, subject: usize, part: u64) -> Stream {
    Stream::new(seed, Domain::Phantom, subject as u64, part)
}
