//! Whether stored tensors are those of a network.

use super::{NetworkConfig, TensorShapes};

/// Why stored tensors are not those of a network; `by` says who describes it, a spec or a configuration.
#[derive(Debug, thiserror::Error)]
pub enum Misfit {
    #[error("tensor {name} is {found:?}, the {by} asks for {expected:?}: {cause}")]
    Shape {
        name: String,
        found: Vec<usize>,
        by: &'static str,
        expected: Vec<usize>,
        cause: String,
    },
    #[error(
        "another architecture than the {by} asks for: {missing} of its {expected} tensors are absent and {extra} unknown ones are there (first: {first})"
    )]
    Names {
        by: &'static str,
        missing: usize,
        expected: usize,
        extra: usize,
        first: String,
    },
}

impl NetworkConfig {
    /// Checks that `stored` are the tensors of this network in their shapes, and no others.
    pub fn fit(&self, stored: &TensorShapes, by: &'static str) -> Result<(), Box<Misfit>> {
        let wanted = self.tensors();
        // Shapes first: a wrong channel count is a clearer message than a count of names.
        for (name, expected) in &wanted {
            if let Some(found) = stored.get(name).filter(|found| *found != expected) {
                return Err(Box::new(Misfit::Shape {
                    name: name.clone(),
                    found: found.clone(),
                    by,
                    expected: expected.clone(),
                    cause: self.why_other_shape(name, found),
                }));
            }
        }
        let missing: Vec<&String> = wanted.keys().filter(|k| !stored.contains_key(*k)).collect();
        let extra: Vec<&String> = stored.keys().filter(|k| !wanted.contains_key(*k)).collect();
        match missing.first().or(extra.first()) {
            None => Ok(()),
            Some(first) => Err(Box::new(Misfit::Names {
                by,
                missing: missing.len(),
                expected: wanted.len(),
                extra: extra.len(),
                first: (*first).clone(),
            })),
        }
    }

    /// The likely reason why the tensor `name` of a file has another shape, `found`, than this network.
    pub(super) fn why_other_shape(&self, name: &str, found: &[usize]) -> String {
        let side = |index: usize| {
            let side = found.get(index).copied().unwrap_or(0);
            i64::try_from(side).unwrap_or(i64::MAX)
        };
        match name {
            "input_blocks.0.0.weight" if side(0) == self.num_channels => format!(
                "this checkpoint has {} input channels, the configuration says {}",
                side(1),
                self.in_channels
            ),
            "out.2.weight" | "out.2.bias" => format!(
                "this checkpoint has {} output channels, the configuration says {}",
                side(0),
                self.output_channels()
            ),
            "out.2.positional_embedding" => format!(
                "a classifier is bound to its image size, and the configuration says {}",
                self.image_size
            ),
            "label_emb.weight" if side(0) != self.num_classes.unwrap_or(0) => format!(
                "this checkpoint has {} classes, the configuration says {}",
                side(0),
                self.num_classes.unwrap_or(0)
            ),
            // Half as wide, or twice. Only of the first block, whose other widths are as they should be, or the stem, which
            // comes before it, would be named: in a deeper one it may as well be another `channel_mult`.
            _ if name.starts_with("input_blocks.1.0.emb_layers.1.")
                && self.told_otherwise(name, side(0)) =>
            {
                let (trained, said) = (!self.use_scale_shift_norm, self.use_scale_shift_norm);
                format!(
                    "this checkpoint was trained with use_scale_shift_norm {trained}, the configuration says {said} (in a \
                     spec: scale_shift_norm)"
                )
            }
            _ => "another architecture (num_channels, channel_mult, num_res_blocks or attention differ)"
                .to_owned(),
        }
    }

    /// Whether a tensor that tells a block of time and label has the outputs that it would have with the other
    /// `use_scale_shift_norm`.
    fn told_otherwise(&self, name: &str, outputs: i64) -> bool {
        let other = Self {
            use_scale_shift_norm: !self.use_scale_shift_norm,
            ..self.clone()
        };
        let shapes = other.tensors();
        let expected = shapes.get(name).and_then(|shape| shape.first());
        expected.is_some_and(|expected| i64::try_from(*expected) == Ok(outputs))
    }
}
