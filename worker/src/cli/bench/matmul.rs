//! The rate of a large matrix product: what the device can be brought to do.

use std::time::Instant;

use tch::{Device, Kind, Tensor};

use crate::cli::clock::{median, wait_for};

/// Largest side of the matrices on the CPU: far beyond its caches.
const CPU_SIDE: i64 = 2048;
/// Largest side on a GPU: enough tiles for all of its processors.
const GPU_SIDE: i64 = 8192;
/// Side that is begun with.
const FIRST_SIDE: i64 = 256;
/// A product that takes this long is large enough: where a format has no instructions of its own, it is a small one.
const LONG_ENOUGH: f64 = 0.1;
const REPEATS: usize = 7;

/// Floating-point operations a second of a square product in `kind`: the median of repeats after a warm-up.
pub(super) fn rate(device: Device, kind: Kind) -> f64 {
    let largest = match device {
        Device::Cpu => CPU_SIDE,
        _ => GPU_SIDE,
    };
    let mut side = FIRST_SIDE;
    let mut factors = random(side, device, kind);
    while side < largest && seconds(&factors, device) < LONG_ENOUGH {
        side *= 2;
        factors = random(side, device, kind);
    }
    let mut taken: Vec<f64> = (0..=REPEATS).map(|_| seconds(&factors, device)).collect();
    taken.remove(0);
    #[allow(clippy::cast_precision_loss)] // a few thousand
    let operations = 2.0 * (side as f64).powi(3);
    operations / median(&mut taken)
}

fn random(side: i64, device: Device, kind: Kind) -> (Tensor, Tensor) {
    let matrix = || Tensor::randn([side, side], (Kind::Float, device)).to_kind(kind);
    (matrix(), matrix())
}

fn seconds((a, b): &(Tensor, Tensor), device: Device) -> f64 {
    let start = Instant::now();
    let product = a.matmul(b);
    wait_for(device);
    let taken = start.elapsed().as_secs_f64();
    drop(product);
    taken
}
