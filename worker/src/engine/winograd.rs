//! 3x3 convolutions of channels-last float32 maps on the CPU by Winograd's algorithm ([`anofpdm_kernels::winograd`]).

use anofpdm_kernels::winograd::{Map, PANEL, Winograd};
use tch::{Device, Kind, Tensor};

use crate::torch::memory;

/// Of weights `[out, in, 3, 3]` and a bias `[out]`, float32 on the CPU; `None` where the widths do not fit. The
/// weights are transformed in float64.
pub(super) fn transformed(weight: &Tensor, bias: Option<&Tensor>) -> Option<Winograd> {
    let [outputs, inputs, 3, 3] = weight.size()[..] else {
        return None;
    };
    let panel = i64::try_from(PANEL).ok()?;
    let fits = weight.device() == Device::Cpu
        && weight.kind() == Kind::Float
        && outputs % panel == 0
        && inputs % panel == 0;
    if !fits {
        return None;
    }
    let g = Tensor::from_slice(&[
        1.0, 0.0, 0.0, //
        0.5, 0.5, 0.5, //
        0.5, -0.5, 0.5, //
        0.0, 0.0, 1.0_f64,
    ])
    .view([4, 3]);
    let transformed = g.matmul(&weight.to_kind(Kind::Double)).matmul(&g.tr());
    let packed = transformed
        .to_kind(Kind::Float)
        .view([outputs / panel, panel, inputs, 16])
        .permute([3, 0, 2, 1])
        .contiguous();
    let [inputs, outputs] = [
        usize::try_from(inputs).ok()?,
        usize::try_from(outputs).ok()?,
    ];
    let bias = match bias {
        Some(bias) => memory::values::<f32>(&bias.contiguous())?.to_vec(),
        None => vec![0.0; outputs],
    };
    let weights = memory::values::<f32>(&packed)?.to_vec();
    Winograd::new(inputs, outputs, weights, bias)
}

/// `[N, in, H, W]` to `[N, out, H, W]`; `None` where the map does not fit: not channels-last, or of odd size.
pub(super) fn forward(winograd: &Winograd, x: &Tensor) -> Option<Tensor> {
    let view = x.permute([0, 2, 3, 1]);
    let [rows, height, width, channels] = view.size()[..] else {
        return None;
    };
    let count = |value: i64| usize::try_from(value).ok();
    if count(channels)? != winograd.inputs() || height % 2 != 0 || width % 2 != 0 {
        return None;
    }
    let map = Map {
        values: memory::values::<f32>(&view)?,
        height: count(height)?,
        width: count(width)?,
        channels: winograd.inputs(),
    };
    let size = [rows, height, width, i64::try_from(winograd.outputs()).ok()?];
    let out = memory::filled::<f32>(&size, |out| winograd.run(&map, out));
    Some(out.permute([0, 3, 1, 2]))
}

#[cfg(test)]
mod tests;
