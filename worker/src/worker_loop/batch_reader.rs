//! The slices of a batch, from the store to a tensor.
//!
//! Reading is plain memory and may run ahead on another thread; tensors are made on the device's own.

use anofpdm_common::plan::{ForwardPlan, PlanError, SliceRef};
use anofpdm_common::store::scaling::foreground;
use anofpdm_common::store::slices::{ImageReader, SliceStore, StoreError, TruthReader};
use tch::{Device, Tensor};

/// Why a batch cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SliceError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("subject {subject} has no slice {position}: plan and store do not belong together")]
    Missing { subject: String, position: u32 },
    #[error(
        "subject {subject}, slice {slice_index} of its volume, holds NaN or infinity: mend its volumes and preprocess them again"
    )]
    NotFinite { subject: String, slice_index: i32 },
    #[error("subject {0} has no mask: it cannot be scored")]
    NoMask(String),
    #[error("an empty batch")]
    Empty,
}

/// What a score is computed against.
#[derive(Debug, Clone)]
pub(crate) struct TrueSlice {
    /// Lesion, 0 or 1, `[H x W]`.
    pub(super) mask: Vec<u8>,
    /// Where the head is (mean over all channels above -0.95), 0 or 1, `[H x W]`.
    pub(super) foreground: Vec<u8>,
}

/// One batch in host memory.
#[derive(Debug)]
pub(crate) struct SliceBatch {
    /// `[batch_slices, C, H, W]` in [-1, 1]; the last slice repeated as padding.
    values: Vec<f32>,
    channels: usize,
    /// Side of a slice, pixels.
    pub(crate) size: usize,
    /// Identity of each slice for the noise, padding included.
    pub(crate) identities: Vec<u64>,
    pub(crate) slices: usize,
    /// Pixel truth of the real slices; empty unless asked for.
    pub(super) truth: Vec<TrueSlice>,
}

impl SliceBatch {
    /// f32 `[batch_slices, C, H, W]` on `device`.
    pub(crate) fn x0(&self, device: Device) -> Tensor {
        Tensor::from_slice(&self.values)
            .reshape([
                dim(self.identities.len()),
                dim(self.channels),
                dim(self.size),
                dim(self.size),
            ])
            .to_device(device)
    }

    /// The lesion masks as f32 `[batch_slices, 1, H, W]` on `device`; padding without lesion.
    pub(super) fn lesion(&self, device: Device) -> Tensor {
        let mut values: Vec<f32> = self
            .truth
            .iter()
            .flat_map(|slice| slice.mask.iter().map(|pixel| f32::from(*pixel)))
            .collect();
        values.resize(self.identities.len() * self.size * self.size, 0.0);
        Tensor::from_slice(&values)
            .reshape([-1, 1, dim(self.size), dim(self.size)])
            .to_device(device)
    }
}

fn dim(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Reads batches of one store.
#[derive(Debug)]
pub(crate) struct BatchReader {
    images: ImageReader,
    truth: TruthReader,
    channels: usize,
    size: usize,
}

impl BatchReader {
    /// A reader of `store`.
    pub(crate) fn new(store: &SliceStore) -> Self {
        let manifest = store.manifest();
        Self {
            images: store.images(),
            truth: store.truth(),
            channels: manifest.modalities.len(),
            size: manifest.size,
        }
    }

    /// Loads `slices`, padded to the plan's geometry. `with_truth` reads the masks too: calibration never
    /// asks for them.
    pub(crate) fn read(
        &self,
        plan: &ForwardPlan,
        slices: &[SliceRef],
        with_truth: bool,
    ) -> Result<SliceBatch, SliceError> {
        let pixels = self.size * self.size;
        let geometry = plan.batch_slices as usize;
        let mut values: Vec<f32> = Vec::with_capacity(geometry * self.channels * pixels);
        let mut identities = Vec::with_capacity(geometry);
        let mut truth = Vec::new();
        let mut image = Vec::new();
        for slice in slices {
            let id = plan.subject(*slice)?;
            let position = slice.position as usize;
            let missing = || SliceError::Missing {
                subject: id.to_owned(),
                position: slice.position,
            };
            let subject = self.images.subject(id)?;
            let slice_index = *subject.slice_index.get(position).ok_or_else(missing)?;
            subject.read_slice(position, &mut image)?;
            if image.iter().any(|x| !x.is_finite()) {
                return Err(SliceError::NotFinite {
                    subject: id.to_owned(),
                    slice_index,
                });
            }
            plan.data.scaling.apply(&mut image, self.channels, pixels);
            identities.push(identity(id, slice_index));
            if with_truth {
                let mask = self
                    .truth
                    .mask(id, position)?
                    .ok_or_else(|| SliceError::NoMask(id.to_owned()))?;
                truth.push(TrueSlice {
                    mask,
                    foreground: foreground(&image, self.channels, pixels)
                        .into_iter()
                        .map(u8::from)
                        .collect(),
                });
            }
            values.extend_from_slice(&image);
        }
        let last_identity = *identities.last().ok_or(SliceError::Empty)?;
        identities.resize(geometry.max(slices.len()), last_identity);
        let last_start = values.len() - self.channels * pixels;
        while values.len() < geometry * self.channels * pixels {
            values.extend_from_within(last_start..last_start + self.channels * pixels);
        }
        Ok(SliceBatch {
            values,
            channels: self.channels,
            size: self.size,
            identities,
            slices: slices.len(),
            truth,
        })
    }
}

/// Identity of a slice for its noise: the same in every batch, run and store order.
fn identity(subject: &str, slice_index: i32) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(subject.as_bytes());
    hasher.update(&slice_index.to_le_bytes());
    let hash = hasher.finalize();
    hash.as_bytes()
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
