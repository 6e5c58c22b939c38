//! GroupNorm and what follows it: scale, shift, SiLU.

use anofpdm_common::network::NORM_GROUPS;
use anofpdm_kernels::group_norm::{Affine, Normalisation, Source};
use anofpdm_kernels::{Number, bf16};
use tch::{Device, Kind, Tensor};

use super::comparison::{self, Compared, is_trusted, wave};
use super::layout::Format;
use crate::nn::norm::{EPS, GroupNorm};
use crate::shim::{ShimError, group_norm};
use crate::torch::memory::{self, Element};

/// What is multiplied and added after normalisation, one value a channel in the wide kind.
#[derive(Debug)]
pub(super) struct Modulation {
    pub(super) gain: Tensor,
    pub(super) offset: Tensor,
}

impl Modulation {
    pub(super) fn shallow_clone(&self) -> Self {
        Self {
            gain: self.gain.shallow_clone(),
            offset: self.offset.shallow_clone(),
        }
    }

    /// The part for some of the channels.
    pub(super) fn narrow(&self, first: i64, channels: i64) -> Self {
        Self {
            gain: self.gain.narrow(0, first, channels),
            offset: self.offset.narrow(0, first, channels),
        }
    }
}

/// How a map is normalised: in how many groups, what comes after.
#[derive(Debug, Clone, Copy)]
pub(super) struct Norm {
    pub(super) format: Format,
    /// In one pass of our own where it can be.
    pub(super) fused: bool,
    pub(super) groups: i64,
    pub(super) silu: bool,
    /// Kind of the result.
    pub(super) out: Kind,
}

impl Norm {
    /// All groups, no SiLU, result in the format's kind.
    pub(super) const fn new(format: Format, fused: bool) -> Self {
        Self {
            format,
            fused,
            groups: NORM_GROUPS,
            silu: false,
            out: format.kind,
        }
    }

    /// The parts of a map lie one after another in `parts`, joined along their channels; a part with fewer rows than
    /// `rows` serves the result several times over. Row r of the result takes the modulation
    /// `r / (rows / modulations)`.
    pub(super) fn forward(
        &self,
        parts: &[&Tensor],
        rows: i64,
        modulations: &[Modulation],
    ) -> Tensor {
        self.fused(parts, rows, modulations)
            .unwrap_or_else(|| self.plain(parts, rows, modulations))
    }

    fn fused(&self, parts: &[&Tensor], rows: i64, modulations: &[Modulation]) -> Option<Tensor> {
        if !self.fused || !self.format.channels_last {
            return None;
        }
        self.try_fused(parts, rows, modulations)
            .unwrap_or_else(|error| {
                tracing::error!(%error, "GroupNorm on the GPU: libtorch's own is taken");
                None
            })
    }

    /// By the kernels of our own, of maps in channels-last order; `None` where they do not serve these sizes and kinds.
    fn try_fused(
        &self,
        parts: &[&Tensor],
        rows: i64,
        modulations: &[Modulation],
    ) -> Result<Option<Tensor>, ShimError> {
        let views: Vec<Tensor> = parts
            .iter()
            .map(|part| part.permute([0, 2, 3, 1]))
            .collect();
        let on_cpu = views.iter().all(|view| view.device() == Device::Cpu);
        let out = match (self.format.kind, self.out) {
            _ if !on_cpu => self.try_on_gpu(views, rows, modulations)?,
            (Kind::Float, Kind::Float) => self.kernel::<f32, f32>(&views, rows, modulations),
            (Kind::Double, Kind::Double) => self.kernel::<f64, f64>(&views, rows, modulations),
            (Kind::BFloat16, Kind::BFloat16) => {
                self.kernel::<bf16, bf16>(&views, rows, modulations)
            }
            (Kind::BFloat16, Kind::Float) => self.kernel::<bf16, f32>(&views, rows, modulations),
            _ => None,
        };
        Ok(out.map(|out| out.permute([0, 3, 1, 2])))
    }

    /// Of maps in the order of `views`, as all that follow.
    fn try_on_gpu(
        &self,
        views: Vec<Tensor>,
        rows: i64,
        modulations: &[Modulation],
    ) -> Result<Option<Tensor>, ShimError> {
        // What libtorch computed in the plain order is laid out anew here, once.
        let parts: Vec<Tensor> = views.into_iter().map(|view| view.contiguous()).collect();
        let affines: Vec<(&Tensor, &Tensor)> = modulations
            .iter()
            .map(|modulation| (&modulation.gain, &modulation.offset))
            .collect();
        let norm = group_norm::GpuGroupNorm {
            parts: &parts,
            rows,
            groups: self.groups,
            eps: EPS,
            affines: &affines,
            silu: self.silu,
            out: self.out,
        };
        norm.run()
    }

    fn kernel<T, O>(
        &self,
        views: &[Tensor],
        rows: i64,
        modulations: &[Modulation],
    ) -> Option<Tensor>
    where
        T: Number<Wide: Element> + Element,
        O: Number<Wide = T::Wide> + Element,
    {
        let count = |value: i64| usize::try_from(value).ok();
        let (mut height, mut width) = (0, 0);
        let mut sources = Vec::with_capacity(views.len());
        for view in views {
            let [n, h, w, channels] = view.size()[..] else {
                return None;
            };
            (height, width) = (h, w);
            sources.push(Source {
                values: memory::values::<T>(view)?,
                rows: count(n)?,
                channels: count(channels)?,
            });
        }
        let affines = modulations
            .iter()
            .map(|modulation| {
                Some(Affine {
                    gain: memory::values(&modulation.gain)?,
                    offset: memory::values(&modulation.offset)?,
                })
            })
            .collect::<Option<Vec<_>>>()?;
        let normalisation = Normalisation {
            sources: &sources,
            rows: count(rows)?,
            pixels: count(height * width)?,
            groups: count(self.groups)?,
            eps: EPS,
            affines: &affines,
            silu: self.silu,
        };
        let channels: usize = sources.iter().map(|source| source.channels).sum();
        let size = [rows, height, width, i64::try_from(channels).ok()?];
        Some(memory::filled::<O>(&size, |out| normalisation.run(out)))
    }

    fn plain(&self, parts: &[&Tensor], rows: i64, modulations: &[Modulation]) -> Tensor {
        let joined = join(parts, rows);
        let branches = i64::try_from(modulations.len()).unwrap_or(1).max(1);
        let (given, share) = (joined.size()[0], rows / branches);
        let mut results: Vec<Tensor> = modulations
            .iter()
            .zip(0_i64..)
            .map(|(modulation, branch)| {
                let first = branch * share % given.max(1);
                self.one(&joined.narrow(0, first, share), modulation)
            })
            .collect();
        if results.len() == 1 {
            results.swap_remove(0)
        } else {
            Tensor::cat(&results, 0)
        }
    }

    fn one(&self, x: &Tensor, modulation: &Modulation) -> Tensor {
        // Only the CPU takes maps and factors of different kinds.
        let x = if x.device() == Device::Cpu {
            x.shallow_clone()
        } else {
            x.to_kind(self.format.wide)
        };
        let (gain, offset) = (Some(&modulation.gain), Some(&modulation.offset));
        let normed = x.group_norm(self.groups, gain, offset, EPS, true);
        let mut normed = normed.to_kind(self.out);
        if self.silu { normed.silu_() } else { normed }
    }
}

/// The parts joined along their channels, in as many rows as the longest of them.
pub(super) fn join(parts: &[&Tensor], rows: i64) -> Tensor {
    match parts {
        [one] => one.shallow_clone(),
        _ => {
            let whole: Vec<Tensor> = parts
                .iter()
                .map(|part| super::layout::repeat_rows(part, rows / part.size()[0].max(1)))
                .collect();
            Tensor::cat(&whole, 1)
        }
    }
}

/// The modulation of a GroupNorm by itself.
pub(super) fn own_modulation(norm: &GroupNorm, format: Format) -> Modulation {
    Modulation {
        gain: norm.weight.to_kind(format.wide).contiguous(),
        offset: norm.bias.to_kind(format.wide).contiguous(),
    }
}

/// Whether GroupNorm of channels-last maps is a pass of our own on `device`. On a GPU its kernels are compiled and
/// compared with libtorch's GroupNorm first.
pub(super) fn is_fused_on(device: Device) -> bool {
    match device {
        Device::Cpu => true,
        Device::Cuda(gpu) => is_trusted("GroupNorm", gpu, || comparisons(device)),
        _ => false,
    }
}

/// Our GroupNorm beside libtorch's in every pair of kinds and every way that engines on `device` use.
pub(super) fn comparisons(device: Device) -> Vec<Compared> {
    // Wider than a tile, more pixels than a chunk, a group with channels of both parts, one part for two labels.
    const JOINED: &[[i64; 4]] = &[[2, 144, 24, 24], [1, 48, 24, 24]];
    // More values than the threads of a GPU's last kernel take at once.
    const LARGE: &[[i64; 4]] = &[[1, 64, 132, 132]];
    let mut all = Vec::new();
    for (kind, tolerance) in comparison::KINDS {
        // The kernels of the CPU have no float16, and no engine there asks for it.
        if device == Device::Cpu && kind == Kind::Half {
            continue;
        }
        let mut outs = vec![(kind, tolerance)];
        if kind != Kind::Float {
            // The last norm of a network is followed by a float32 convolution.
            outs.push((Kind::Float, 1e-5));
        }
        for (out, tolerance) in outs {
            for silu in [true, false] {
                for sizes in [JOINED, LARGE] {
                    let norm = Norm {
                        groups: 16,
                        silu,
                        out,
                        ..Norm::new(Format::new(kind, true), true)
                    };
                    all.push(compare(norm, sizes, device, tolerance));
                }
            }
        }
    }
    all
}

fn compare(norm: Norm, sizes: &[[i64; 4]], device: Device, tolerance: f64) -> Compared {
    let channels: i64 = sizes.iter().map(|size| size[1]).sum();
    let affine = |step: f64| Modulation {
        gain: (wave(&[channels], step, device) + 1.0).to_kind(Kind::Float),
        offset: wave(&[channels], step / 2.0, device).to_kind(Kind::Float),
    };
    let (kind, rows) = (norm.format.kind, sizes.iter().map(|size| size[0]).max());
    let rows = rows.unwrap_or(1);
    let modulations: Vec<Modulation> = [0.7, 1.3].map(affine).into_iter().collect();
    let modulations = modulations
        .get(..usize::from(rows > 1) + 1)
        .unwrap_or_default();
    let maps: Vec<Tensor> = sizes
        .iter()
        .map(|size| norm.format.order(&wave(size, 1.7, device).to_kind(kind)))
        .collect();
    let parts: Vec<&Tensor> = maps.iter().collect();
    let what = format!(
        "GroupNorm, {kind:?} to {:?}{}, {sizes:?}",
        norm.out,
        if norm.silu { ", SiLU" } else { "" }
    );
    match norm.try_fused(&parts, rows, modulations) {
        Ok(Some(ours)) => {
            // Of wider maps: what libtorch rounds on the way is no part of the comparison.
            let (wide, format) = (norm.format.wide, norm.format);
            let widened: Vec<Tensor> = maps.iter().map(|map| map.to_kind(wide)).collect();
            let exact = Norm {
                format: Format::new(wide, format.channels_last),
                ..norm
            };
            let parts: Vec<&Tensor> = widened.iter().collect();
            let theirs = exact.plain(&parts, rows, modulations);
            Compared::new(what, &ours, &theirs, tolerance)
        }
        Ok(None) => Compared::failed(what, tolerance, "not served".to_owned()),
        Err(error) => Compared::failed(what, tolerance, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comparison_covers_what_engines_use_and_passes_on_the_cpu() {
        let all = comparisons(Device::Cpu);
        // float32, bfloat16, and bfloat16 to float32; SiLU and none; both sizes.
        assert_eq!(all.len(), 3 * 2 * 2);
        for one in &all {
            assert!(one.agrees(), "{one}");
            assert!(one.apart > 0.0 || one.what.contains("BFloat16"), "{one}");
        }
        assert!(
            all.iter()
                .any(|one| one.what.starts_with("GroupNorm, BFloat16 to Float,"))
        );
    }
}
