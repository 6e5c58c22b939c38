//! Layers whose intermediate values are computed again in the backward pass.

use std::any::Any;
use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use tch::Tensor;
use torch_sys::C_tensor;

use super::{ShimError, check, pointers, tell};

/// A layer as a function of its inputs. It is called on a thread of libtorch when the tensors lie on a GPU, by one at a time.
pub type Layer = Box<dyn Fn(&[Tensor]) -> Tensor + Send>;

#[repr(C)]
struct LayerCalls {
    context: *mut c_void,
    compute: unsafe extern "C" fn(
        *mut c_void,
        *const *mut C_tensor,
        usize,
        *mut c_char,
        usize,
    ) -> *mut C_tensor,
    release: unsafe extern "C" fn(*mut c_void),
}

unsafe extern "C" {
    fn anofpdm_recomputed(
        output: *const C_tensor,
        inputs: *const *const C_tensor,
        input_count: usize,
        parameters: *const *const C_tensor,
        parameter_count: usize,
        calls: LayerCalls,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
}

/// `output`, which was computed of `inputs` and `parameters` without a graph, as a part of the graph: its backward pass calls
/// `layer` with tensors that stand for the inputs and differentiates what that returns. `layer` must return the same values
/// again, and use the same `parameters`.
///
/// # Errors
/// When libtorch refuses. A layer that fails in the backward pass is an error of that pass, in its words.
pub fn recomputed(
    output: &Tensor,
    inputs: &[&Tensor],
    parameters: &[&Tensor],
    layer: Layer,
) -> Result<Tensor, ShimError> {
    let calls = LayerCalls {
        context: Box::into_raw(Box::new(layer)).cast(),
        compute,
        release,
    };
    let (inputs, parameters) = (pointers(inputs), pointers(parameters));
    let mut pointer = std::ptr::null_mut();
    // SAFETY: all tensors are alive and the counts are theirs; the callbacks match the context, which C++ releases exactly
    // once; `pointer` is live.
    unsafe {
        check(anofpdm_recomputed(
            output.as_ptr(),
            inputs.as_ptr(),
            inputs.len(),
            parameters.as_ptr(),
            parameters.len(),
            calls,
            &raw mut pointer,
        ))
    }?;
    // SAFETY: a new tensor of the shim that has no other owner.
    Ok(unsafe { Tensor::from_ptr(pointer) })
}

/// # Safety
/// As C++ calls it: `count` tensors, room for an error.
unsafe extern "C" fn compute(
    context: *mut c_void,
    inputs: *const *mut C_tensor,
    count: usize,
    error: *mut c_char,
    capacity: usize,
) -> *mut C_tensor {
    // SAFETY: the context is the box of `recomputed`, alive until `release`, and used by one thread at a time.
    let layer = unsafe { &*context.cast::<Layer>() };
    let output = catch_unwind(AssertUnwindSafe(|| {
        let inputs: Vec<Tensor> = (0..count)
            // SAFETY: as above; each becomes a tensor of its own that shares the values.
            .map(|place| unsafe { Tensor::clone_from_ptr(*inputs.add(place)) })
            .collect();
        layer(&inputs)
    }));
    match output {
        Ok(mut output) => {
            let pointer = output.as_mut_ptr();
            // C++ frees it.
            std::mem::forget(output);
            pointer
        }
        Err(payload) => {
            // SAFETY: room as above.
            unsafe { tell(words(payload.as_ref()), error, capacity) };
            // What a panic carries may panic when it is dropped, which must not pass into C++.
            drop(catch_unwind(AssertUnwindSafe(|| drop(payload))));
            std::ptr::null_mut()
        }
    }
}

fn words(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
}

/// # Safety
/// C++ calls it once, after the last call of the other.
unsafe extern "C" fn release(context: *mut c_void) {
    // SAFETY: the box of `recomputed`, which is not used any more.
    let layer = unsafe { Box::from_raw(context.cast::<Layer>()) };
    // A destructor of Rust may panic, which must not pass into C++.
    drop(catch_unwind(AssertUnwindSafe(|| drop(layer))));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tch::{Device, Kind};

    use super::*;
    use crate::shim::training::backward;

    fn leaf(values: &[f64]) -> Tensor {
        Tensor::from_slice(values).set_requires_grad(true)
    }

    /// sin(x w) and how often its layer was computed and released.
    fn sine(x: &Tensor, weight: &Tensor, calls: &Arc<[AtomicUsize; 2]>) -> Tensor {
        struct Released(Arc<[AtomicUsize; 2]>);
        impl Drop for Released {
            fn drop(&mut self) {
                self.0[1].fetch_add(1, Ordering::Relaxed);
            }
        }
        let (handle, counted) = (weight.shallow_clone(), Released(Arc::clone(calls)));
        let output = tch::no_grad(|| (x * weight).sin());
        let layer = Box::new(move |inputs: &[Tensor]| {
            counted.0[0].fetch_add(1, Ordering::Relaxed);
            (&inputs[0] * &handle).sin()
        });
        recomputed(&output, &[x], &[weight], layer).unwrap()
    }

    #[test]
    fn gradients_are_those_of_the_layer_and_it_is_computed_once_more() {
        let (x, weight) = (leaf(&[0.3, -1.2]), leaf(&[2.0, 0.7]));
        let calls = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let output = sine(&(&x * 3.0), &weight, &calls);
        assert!(output.requires_grad());
        assert_eq!(calls[0].load(Ordering::Relaxed), 0);
        backward(&(&output * &output).sum(Kind::Double)).unwrap();
        assert_eq!(
            calls
                .as_ref()
                .each_ref()
                .map(|count| count.load(Ordering::Relaxed)),
            [1, 1]
        );
        let found = [x.grad(), weight.grad()];
        let (x, weight) = (leaf(&[0.3, -1.2]), leaf(&[2.0, 0.7]));
        let output = (&x * 3.0 * &weight).sin();
        backward(&(&output * &output).sum(Kind::Double)).unwrap();
        for (found, expected) in found.iter().zip([x.grad(), weight.grad()]) {
            assert!((found - expected).abs().max().double_value(&[]) < 1e-15);
        }
    }

    #[test]
    fn without_gradients_there_is_no_graph() {
        let calls = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let (x, weight) = (leaf(&[0.3]), leaf(&[2.0]));
        let output = tch::no_grad(|| sine(&x, &weight, &calls));
        assert!(!output.requires_grad());
        let constant = Tensor::zeros([1], (Kind::Double, Device::Cpu));
        assert!(!sine(&constant, &constant, &calls).requires_grad());
        assert_eq!(calls[1].load(Ordering::Relaxed), 2);
        // A graph that is dropped without a backward pass drops its layer too.
        drop(sine(&x, &weight, &calls));
        assert_eq!(calls[1].load(Ordering::Relaxed), 3);
    }

    #[test]
    fn an_input_that_needs_no_gradient_gets_none() {
        let calls = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let x = Tensor::from_slice(&[0.5]);
        let weight = leaf(&[2.0]);
        backward(&sine(&x, &weight, &calls).sum(Kind::Double)).unwrap();
        assert_eq!(weight.grad().double_value(&[0]), 1.0_f64.cos() * 0.5);
        assert!(!x.grad().defined());
    }

    #[test]
    fn a_layer_that_fails_is_an_error_in_its_words() {
        let x = leaf(&[0.5]);
        let output = tch::no_grad(|| x.sin());
        let layer = Box::new(|_: &[Tensor]| panic!("CUDA out of memory"));
        let output = recomputed(&output, &[&x], &[], layer).unwrap();
        let error = backward(&output.sum(Kind::Double)).unwrap_err();
        assert!(error.0.contains("CUDA out of memory"), "{error}");
    }

    #[test]
    fn an_input_that_was_changed_since_is_noticed() {
        let x = leaf(&[0.5]);
        let doubled = &x * 2.0;
        let output = tch::no_grad(|| doubled.sin());
        let layer = Box::new(|inputs: &[Tensor]| inputs[0].sin());
        let output = recomputed(&output, &[&doubled], &[], layer).unwrap();
        tch::no_grad(|| drop(doubled.shallow_clone().fill_(1.0)));
        let error = backward(&output.sum(Kind::Double)).unwrap_err();
        assert!(error.0.contains("inplace"), "{error}");
    }
}
