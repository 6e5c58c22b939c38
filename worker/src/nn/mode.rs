//! How a forward pass is meant, and which parts of it can be watched.

use super::dropout::Dropout;

#[derive(Debug, Clone, Copy)]
pub enum Mode<'a> {
    Eval,
    Train {
        /// In the residual blocks.
        dropout: &'a Dropout,
        /// What is kept for the backward pass.
        activations: Activations,
    },
}

impl<'a> Mode<'a> {
    pub(super) const fn dropout(self) -> Option<&'a Dropout> {
        match self {
            Self::Eval => None,
            Self::Train { dropout, .. } => Some(dropout),
        }
    }
}

/// What becomes of the intermediate values of a block until its backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activations {
    #[default]
    Kept,
    /// They are computed again: less memory, about a third more work.
    Recomputed,
}

/// A part of the network whose output can be watched, by its public name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    /// `time_embed`
    Time,
    /// `class_emb` of v2, `label_emb` of a v1 network with labels
    Class,
    /// `input_blocks.N`
    Input(usize),
    /// `middle_block`
    Middle,
    /// `output_blocks.N`
    Output(usize),
}
