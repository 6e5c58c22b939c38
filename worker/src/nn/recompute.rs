//! Activation checkpointing: residual and attention blocks whose intermediate values are not kept for the backward pass but
//! computed again there (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016).
//!
//! Only what goes into a block is kept. The second computation has the dropout masks of the first, and so the same values.

use tch::Tensor;

use super::attention::Attention;
use super::dropout::Dropout;
use super::embedding::ClassVector;
use super::mode::{Activations, Mode};
use super::resblock::ResBlock;
use crate::shim::ShimError;
use crate::shim::recompute::recomputed;

/// The output of a residual block; its input is `parts`, `[N, C_i, H, W]`, one channel after the other.
///
/// # Panics
/// As every operation of a network does where libtorch fails.
pub(super) fn residual(
    block: &ResBlock,
    parts: &[&Tensor],
    embedding: &Tensor,
    mode: Mode<'_>,
) -> Tensor {
    let Mode::Train {
        dropout,
        activations: Activations::Recomputed,
    } = mode
    else {
        return block.forward(&joined(parts), embedding, mode.dropout());
    };
    let masks = fork(dropout);
    let output = tch::no_grad(|| block.forward(&joined(parts), embedding, Some(dropout)));
    let handle = block.shared();
    let layer = move |inputs: &[Tensor]| {
        let (embedding, parts) = inputs.split_last().expect("an embedding: a bug");
        let parts: Vec<&Tensor> = parts.iter().collect();
        handle.forward(&joined(&parts), embedding, Some(&fork(&masks)))
    };
    let mut inputs = parts.to_vec();
    inputs.push(embedding);
    libtorch(recomputed(
        &output,
        &inputs,
        &block.parameters(),
        Box::new(layer),
    ))
}

/// The output of an attention block for `x` `[N, C, H, W]`.
///
/// # Panics
/// As [`residual`].
pub(super) fn attention(
    block: &Attention,
    x: &Tensor,
    class: Option<&ClassVector>,
    mode: Mode<'_>,
) -> Tensor {
    let Mode::Train {
        activations: Activations::Recomputed,
        ..
    } = mode
    else {
        return block.forward(x, class);
    };
    let output = tch::no_grad(|| block.forward(x, class));
    let mut inputs = vec![x];
    inputs.extend(
        class
            .iter()
            .flat_map(|class| [&class.vector, &class.factors]),
    );
    let (handle, log_weight) = (block.shared(), class.map(|class| class.log_weight));
    let layer = move |inputs: &[Tensor]| {
        let class = log_weight.map(|log_weight| ClassVector {
            vector: inputs[1].shallow_clone(),
            factors: inputs[2].shallow_clone(),
            log_weight,
        });
        handle.forward(&inputs[0], class.as_ref())
    };
    let parameters = block.parameters(class.is_some());
    libtorch(recomputed(&output, &inputs, &parameters, Box::new(layer)))
}

fn joined(parts: &[&Tensor]) -> Tensor {
    match parts {
        [whole] => whole.shallow_clone(),
        parts => Tensor::cat(parts, 1),
    }
}

fn fork(dropout: &Dropout) -> Dropout {
    libtorch(dropout.fork())
}

/// Networks have no errors of their own: what libtorch refuses is a panic there, as in every function of `tch`.
fn libtorch<T>(done: Result<T, ShimError>) -> T {
    done.unwrap_or_else(|error| panic!("{error}"))
}
