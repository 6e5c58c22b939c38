//! Backward pass, optimiser and average: one call for all tensors of a network.

use std::ffi::c_char;

use tch::Tensor;
use torch_sys::C_tensor;

use super::{ShimError, check, pointers};

unsafe extern "C" {
    fn anofpdm_backward(loss: *const C_tensor) -> *mut c_char;
    fn anofpdm_drop_gradients(parameters: *const *const C_tensor, count: usize) -> *mut c_char;
    fn anofpdm_fused_adamw(
        parameters: *const *const C_tensor,
        gradients: *const *const C_tensor,
        first: *const *const C_tensor,
        second: *const *const C_tensor,
        count: usize,
        step: i64,
        learning_rate: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        eps: f64,
    ) -> *mut c_char;
    fn anofpdm_lerp_all(
        averages: *const *const C_tensor,
        weights: *const *const C_tensor,
        count: usize,
        weight: f64,
    ) -> *mut c_char;
    fn anofpdm_unscale(
        gradients: *const *const C_tensor,
        count: usize,
        scale: f64,
        finite: *mut bool,
    ) -> *mut c_char;
}

/// Backward from `loss`, a scalar: adds to the gradients of what it was computed from.
pub fn backward(loss: &Tensor) -> Result<(), ShimError> {
    // SAFETY: the tensor is alive.
    unsafe { check(anofpdm_backward(loss.as_ptr())) }
}

/// Leaves the parameters without gradients.
pub fn drop_gradients(parameters: &[&Tensor]) -> Result<(), ShimError> {
    let list = pointers(parameters);
    // SAFETY: the tensors are alive, `count` is their number.
    unsafe { check(anofpdm_drop_gradients(list.as_ptr(), list.len())) }
}

/// The tensors of one AdamW update, in one order.
#[derive(Debug, Clone, Copy)]
pub struct AdamWTensors<'a> {
    /// Updated in place.
    pub parameters: &'a [&'a Tensor],
    /// Their gradients, all defined.
    pub gradients: &'a [&'a Tensor],
    /// First moments, updated in place.
    pub first: &'a [&'a Tensor],
    /// Second moments, updated in place.
    pub second: &'a [&'a Tensor],
}

/// The numbers of one AdamW update.
#[derive(Debug, Clone, Copy)]
pub struct AdamWNumbers {
    /// This update's number, from 1.
    pub step: i64,
    pub learning_rate: f64,
    /// Decay of the first moments.
    pub beta1: f64,
    /// Decay of the second moments.
    pub beta2: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Added to the denominator.
    pub eps: f64,
}

/// One update of AdamW in one kernel (`_fused_adamw_`).
///
/// # Errors
/// When the lists differ in length, or libtorch refuses the tensors.
pub fn fused_adamw(tensors: AdamWTensors<'_>, numbers: AdamWNumbers) -> Result<(), ShimError> {
    let count = tensors.parameters.len();
    let lists = [
        tensors.parameters,
        tensors.gradients,
        tensors.first,
        tensors.second,
    ]
    .map(pointers);
    if lists.iter().any(|list| list.len() != count) {
        return Err(ShimError(
            "AdamW: lists of different lengths: a bug".to_owned(),
        ));
    }
    let [parameters, gradients, first, second] = &lists;
    // SAFETY: all tensors are alive and each list has `count` of them.
    unsafe {
        check(anofpdm_fused_adamw(
            parameters.as_ptr(),
            gradients.as_ptr(),
            first.as_ptr(),
            second.as_ptr(),
            count,
            numbers.step,
            numbers.learning_rate,
            numbers.beta1,
            numbers.beta2,
            numbers.weight_decay,
            numbers.eps,
        ))
    }
}

/// `average += weight (value - average)` for every pair.
pub fn lerp_all(averages: &[&Tensor], values: &[&Tensor], weight: f64) -> Result<(), ShimError> {
    if averages.len() != values.len() {
        return Err(ShimError(
            "average: lists of different lengths: a bug".to_owned(),
        ));
    }
    let (to, from) = (pointers(averages), pointers(values));
    // SAFETY: all tensors are alive and both lists have the same length.
    unsafe {
        check(anofpdm_lerp_all(
            to.as_ptr(),
            from.as_ptr(),
            to.len(),
            weight,
        ))
    }
}

/// Divides the gradients by `scale` in place; whether all of them are finite.
pub fn unscale(gradients: &[&Tensor], scale: f64) -> Result<bool, ShimError> {
    let list = pointers(gradients);
    let mut finite = false;
    // SAFETY: the tensors are alive, `count` is their number, `finite` is live.
    unsafe {
        check(anofpdm_unscale(
            list.as_ptr(),
            list.len(),
            scale,
            &raw mut finite,
        ))
    }?;
    Ok(finite)
}
