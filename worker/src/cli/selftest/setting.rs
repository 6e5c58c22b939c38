//! Where checks run, and what they compute on: small and large networks, slices with a lesion.

use std::path::{Path, PathBuf};

use anofpdm_common::network::{Arch, Heads, NetworkConfig};
use anofpdm_common::random::{Domain, Stream};
use anofpdm_common::spec::Precision;
use anofpdm_common::store::slices::SliceAxis;
use anyhow::Result;
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use crate::diffusion::noise::fill_gaussians;
use crate::engine::{Engine, Optimizations, precision};
use crate::nn::UNet;
use crate::torch::DeviceSpec;
use crate::train::{DataError, TrainingData};

/// What all checks share.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) device: Device,
    /// As it was asked for: what ranks and other programs are told.
    pub(super) name: DeviceSpec,
    pub(super) quick: bool,
    pub(super) threads: u32,
    folder: Folder,
}

impl Setting {
    pub(super) fn new(
        device: Device,
        name: DeviceSpec,
        quick: bool,
        threads: u32,
    ) -> std::io::Result<Self> {
        Ok(Self {
            device,
            name,
            quick,
            threads,
            folder: Folder::new()?,
        })
    }

    /// For tests.
    #[cfg(test)]
    pub(super) fn quick_cpu() -> std::io::Result<Self> {
        Self::new(Device::Cpu, DeviceSpec::Cpu, true, 1)
    }

    /// A new folder of the name `name` below the run's own.
    pub(super) fn folder(&self, name: &str) -> std::io::Result<PathBuf> {
        let folder = self.folder.0.join(name);
        std::fs::create_dir(&folder)?;
        Ok(folder)
    }

    /// The number formats of the device, float32 first.
    pub(super) fn precisions(&self) -> &'static [Precision] {
        if self.device.is_cuda() {
            &[
                Precision::Fp32,
                Precision::Tf32,
                Precision::Fp16,
                Precision::Bf16,
            ]
        } else {
            &[Precision::Fp32, Precision::Bf16]
        }
    }

    /// The engine of `config` with the weights of `seed`, as scoring uses it in `format`.
    pub(super) fn engine(
        &self,
        config: &NetworkConfig,
        seed: u64,
        format: Precision,
    ) -> Result<Engine> {
        let kind = precision::set(format, self.device)?;
        let network = random_network(config, seed, self.device);
        Ok(Engine::new(network, kind, Optimizations::on(self.device)))
    }
}

/// A folder that goes with its owner.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_nanos());
        let own = format!("anofpdm-selftest-{}-{number}-{now}", std::process::id());
        let folder = std::env::temp_dir().join(own);
        std::fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %Path::display(&self.0), %error, "a temporary folder is left");
        }
    }
}

/// A network of the paper's family that takes next to no time.
pub(super) fn small_network() -> NetworkConfig {
    NetworkConfig {
        image_size: 32,
        num_channels: 32,
        num_res_blocks: 1,
        channel_mult: vec![1, 2],
        attention_downsample_rates: vec![2],
        heads: Heads::Count(2),
        ..paper_network()
    }
}

/// The network of the paper.
pub(super) fn paper_network() -> NetworkConfig {
    NetworkConfig {
        arch: Arch::V2,
        image_size: 128,
        in_channels: 4,
        out_channels: None,
        num_channels: 128,
        num_res_blocks: 2,
        channel_mult: vec![1, 1, 2, 3, 4],
        attention_downsample_rates: vec![4, 8, 16],
        heads: Heads::Count(4),
        num_classes: Some(2),
        resblock_updown: false,
        use_scale_shift_norm: true,
    }
}

/// A network whose weights are all random, of the size that fresh ones have; these end their blocks in zeros. Drawn from a
/// generator of our own: the same on every machine.
pub(super) fn random_network(config: &NetworkConfig, seed: u64, device: Device) -> UNet {
    let mut vs = VarStore::new(Device::Cpu);
    let network = UNet::new(&vs.root(), config);
    let mut variables: Vec<_> = vs.variables().into_iter().collect();
    variables.sort_by(|a, b| a.0.cmp(&b.0));
    tch::no_grad(|| {
        for ((name, mut variable), number) in variables.into_iter().zip(0_u64..) {
            let size = variable.size();
            let mut values = vec![0.0; variable.numel()];
            let stream = Stream::new(seed, Domain::ScoringNoise, number, 0);
            fill_gaussians(stream, &mut values);
            let values = Tensor::from_slice(&values).view(size.as_slice());
            let inputs: i64 = size.iter().skip(1).product();
            #[allow(clippy::cast_precision_loss)] // thousands
            let drawn = match size.len() {
                1 if name.ends_with("weight") => values * 0.02 + 1.0,
                1 => values * 0.02,
                _ => values * (3.0 * inputs as f64).powf(-0.5),
            };
            variable.copy_(&drawn);
        }
    });
    vs.set_device(device);
    vs.freeze();
    network
}

/// Slices of a disc of tissue; odd ones have a bright square in it, their lesion.
#[derive(Debug, Clone)]
pub(super) struct LesionSlices {
    pub(super) slices: usize,
    pub(super) channels: usize,
    pub(super) size: usize,
}

impl LesionSlices {
    pub(super) fn of(config: &NetworkConfig, slices: usize) -> Self {
        let side = |side: i64| usize::try_from(side).unwrap_or(0);
        Self {
            slices,
            channels: side(config.in_channels),
            size: side(config.image_size),
        }
    }

    /// Row and column of a pixel, each from -1 to 1.
    #[allow(clippy::cast_precision_loss)] // sizes of a slice
    fn place(&self, pixel: usize) -> [f32; 2] {
        let middle = (self.size as f32 - 1.0) / 2.0;
        let along = |at: usize| (at as f32 - middle) / middle.max(1.0);
        let size = self.size.max(1);
        [along(pixel / size % size), along(pixel % size)]
    }

    pub(super) fn has_lesion(&self, index: usize, pixel: usize) -> bool {
        let [row, column] = self.place(pixel);
        index % 2 == 1 && (row - 0.2).abs() < 0.25 && (column + 0.1).abs() < 0.25
    }

    pub(super) fn is_tissue(&self, pixel: usize) -> bool {
        let [row, column] = self.place(pixel);
        row.hypot(column) < 0.8
    }

    /// Pixels of a channel.
    pub(super) fn pixels(&self) -> usize {
        self.size * self.size
    }

    /// All slices, f32 `[N, C, H, W]`.
    pub(super) fn tensor(&self, device: Device) -> Result<Tensor> {
        let length = self.channels * self.pixels();
        let mut all = vec![0_f32; self.slices * length];
        for (index, image) in all.chunks_mut(length.max(1)).enumerate() {
            self.fill(index, image)?;
        }
        let [slices, channels, size] =
            [self.slices, self.channels, self.size].map(|side| i64::try_from(side).unwrap_or(0));
        let all = Tensor::from_slice(&all).view([slices, channels, size, size]);
        Ok(all.to_kind(Kind::Float).to_device(device))
    }
}

impl TrainingData for LesionSlices {
    fn len(&self) -> usize {
        self.slices
    }

    fn shape(&self) -> [usize; 3] {
        [self.channels, self.size, self.size]
    }

    fn fill(&self, index: usize, image: &mut [f32]) -> Result<(), DataError> {
        for (number, value) in image.iter_mut().enumerate() {
            let pixel = number % self.pixels().max(1);
            // Tissue is a little different everywhere.
            #[allow(clippy::cast_precision_loss)] // below 31
            let texture = ((pixel * 7 + index * 5) % 31) as f32 / 100.0;
            *value = match (self.has_lesion(index, pixel), self.is_tissue(pixel)) {
                (true, _) => 0.9,
                (false, true) => texture - 0.2,
                (false, false) => -1.0,
            };
        }
        Ok(())
    }

    fn label(&self, index: usize) -> u8 {
        u8::from(index % 2 == 1)
    }

    fn name(&self, index: usize) -> String {
        format!("disc {index}")
    }

    fn left_right(&self, _: usize) -> Result<SliceAxis, DataError> {
        Ok(SliceAxis::Columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_there_and_goes() {
        let setting = Setting::quick_cpu().unwrap();
        let folder = setting.folder("one").unwrap();
        std::fs::write(folder.join("file"), "text").unwrap();
        assert!(setting.folder("one").is_err());
        drop(setting);
        assert!(!folder.exists());
    }

    #[test]
    fn networks_are_valid_and_slices_have_lesions() {
        for config in [small_network(), paper_network()] {
            config.validate().unwrap();
        }
        let slices = LesionSlices::of(&small_network(), 2);
        let pixels = |index| {
            let all = 0..slices.pixels();
            all.filter(|pixel| slices.has_lesion(index, *pixel)).count()
        };
        let (healthy, ill) = (pixels(0), pixels(1));
        assert_eq!(healthy, 0);
        assert!((40..100).contains(&ill), "{ill}");
        let values = slices.tensor(Device::Cpu).unwrap();
        assert_eq!(values.size(), [2, 4, 32, 32]);
        assert!(values.abs().max().double_value(&[]) <= 1.0);
    }
}
