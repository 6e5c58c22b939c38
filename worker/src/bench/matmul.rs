//! The rate of a large matrix product: what the device can be brought to do.

use std::time::Instant;

use tch::{Device, Kind, Tensor};

use crate::clock::{median, wait_for};

/// Side of the matrices on the CPU: far beyond its caches, a second or less.
const CPU_SIDE: i64 = 2048;
/// Side on a GPU: enough tiles for all of its processors.
const GPU_SIDE: i64 = 8192;
const REPEATS: usize = 7;

/// Floating-point operations a second of a square product in `kind`: the median of repeats after a warm-up.
pub(super) fn rate(device: Device, kind: Kind) -> f64 {
    let side = match device {
        Device::Cpu => CPU_SIDE,
        _ => GPU_SIDE,
    };
    let matrix = || Tensor::randn([side, side], (Kind::Float, device)).to_kind(kind);
    let (a, b) = (matrix(), matrix());
    let mut seconds = Vec::with_capacity(REPEATS);
    for repeat in 0..=REPEATS {
        let start = Instant::now();
        let product = a.matmul(&b);
        wait_for(device);
        let taken = start.elapsed().as_secs_f64();
        drop(product);
        if repeat > 0 {
            seconds.push(taken);
        }
    }
    #[allow(clippy::cast_precision_loss)] // a few thousand
    let operations = 2.0 * (side as f64).powi(3);
    operations / median(&mut seconds)
}
