//! Tensors in host memory: their numbers, and the way to a GPU without waiting for it.

use tch::kind::Element;
use tch::{Device, Tensor};

/// The numbers of a tensor of any device and kind, in row-major order.
pub fn numbers<T: Element>(tensor: &Tensor) -> Vec<T> {
    let flat = tensor.to_device(Device::Cpu).to_kind(T::KIND).contiguous();
    let mut values = vec![T::ZERO; flat.numel()];
    flat.copy_data(&mut values, flat.numel());
    values
}

/// A host tensor in memory that a GPU copies from while the host goes on; as it is where `device` is none.
pub fn pinned(tensor: Tensor, device: Device) -> Tensor {
    if !device.is_cuda() {
        return tensor;
    }
    tensor.f_pin_memory(device).unwrap_or_else(|error| {
        // The copy then takes longer, and is waited for.
        tracing::debug!(%error, "no pinned memory");
        tensor
    })
}

/// A host tensor on `device`. From [`pinned`] memory the copy is only asked for, and what is asked for next comes after
/// it.
pub fn sent(tensor: &Tensor, device: Device) -> Tensor {
    if device.is_cuda() {
        tensor.to_device_(device, tensor.kind(), true, false)
    } else {
        tensor.to_device(device)
    }
}
