//! The numbers of a tensor in host memory.

use tch::kind::Element;
use tch::{Device, Tensor};

/// The numbers of a tensor of any device and kind, in row-major order.
pub fn numbers<T: Element>(tensor: &Tensor) -> Vec<T> {
    let flat = tensor.to_device(Device::Cpu).to_kind(T::KIND).contiguous();
    let mut values = vec![T::ZERO; flat.numel()];
    flat.copy_data(&mut values, flat.numel());
    values
}
