//! What the layers of a U-Net are conditioned on: time and label.

use anofpdm_common::network::{Arch, NetworkConfig};
use tch::Tensor;
use tch::nn::Path;

use super::embedding::{ClassEmbedding, ClassVector, LabelTable, Labels, TimeEmbedding};
use super::mode::Module;

#[derive(Debug)]
enum ClassConditioning {
    /// v2: a vector, and tokens made of it for every attention block.
    Tokens(ClassEmbedding),
    /// v1 with labels: a vector.
    Vector(LabelTable),
    /// v1 without labels: nothing, whatever labels a batch has.
    Unconditional,
}

/// What the layers of a network are conditioned on.
#[derive(Debug)]
pub struct Conditioning {
    /// Time and class, `[N, E]`.
    pub vector: Tensor,
    /// Class tokens of the attention blocks (v2).
    pub tokens: Option<ClassVector>,
}

/// Time and label to the conditioning of every layer.
#[derive(Debug)]
pub struct Conditioner {
    time: TimeEmbedding,
    class: ClassConditioning,
}

impl Conditioner {
    /// The embeddings of the U-Net of `config`, with fresh weights.
    pub fn new(vs: &Path<'_>, config: &NetworkConfig) -> Self {
        let (base, width) = (config.num_channels, config.embedding_width());
        let time = TimeEmbedding::new(vs, base, width);
        let class = match (config.arch, config.num_classes) {
            (Arch::V2, classes) => ClassConditioning::Tokens(ClassEmbedding::new(
                vs,
                classes.unwrap_or(0),
                base,
                width,
            )),
            (_, Some(classes)) => ClassConditioning::Vector(LabelTable::new(vs, classes, width)),
            (_, None) => ClassConditioning::Unconditional,
        };
        Self { time, class }
    }

    /// Times i64 `[N]` and the labels of the batch; both embeddings are shown to `observe`.
    pub fn forward(
        &self,
        t: &Tensor,
        labels: &Labels,
        observe: &mut dyn FnMut(Module, &Tensor),
    ) -> Conditioning {
        let time = self.time.forward(t);
        observe(Module::Time, &time);
        match &self.class {
            ClassConditioning::Tokens(embedding) => {
                let class = embedding.forward(labels);
                observe(Module::Class, &class.vector);
                Conditioning {
                    vector: time + &class.vector,
                    tokens: Some(class),
                }
            }
            ClassConditioning::Vector(table) => {
                let class = table.forward(labels);
                observe(Module::Class, &class);
                Conditioning {
                    vector: time + class,
                    tokens: None,
                }
            }
            ClassConditioning::Unconditional => Conditioning {
                vector: time,
                tokens: None,
            },
        }
    }
}
