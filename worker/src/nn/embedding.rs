//! Time and class embeddings: sinusoid, the two small perceptrons, the label table, the null label.

use tch::nn::{Init, Path};
use tch::{Device, Kind, Tensor};

use super::init::Affine;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClassLabel {
    /// Class 0, `h` of the paper.
    Healthy,
    /// Class 1.
    Unhealthy,
    /// No label: the class vector is zero (not a learned token).
    Null,
}

impl ClassLabel {
    /// Number of the class as in per-sample label tensors; -1 for null.
    pub const fn index(self) -> i64 {
        match self {
            Self::Healthy => 0,
            Self::Unhealthy => 1,
            Self::Null => -1,
        }
    }
}

#[derive(Debug)]
pub enum Labels {
    /// One label for all samples: class tokens are computed once.
    All(ClassLabel),
    /// i64 `[N]`, one class number per sample; -1 is null.
    PerSample(Tensor),
    /// For all samples, a class between the two: that many parts of the unhealthy row of the table,
    /// the rest of the healthy one.
    Between {
        /// 0 is healthy, 1 unhealthy.
        unhealthy: f64,
    },
}

/// Sinusoidal embedding `[cos | sin]` of integer times, f32 `[N, width]`.
///
/// `times` is i64 `[N]`, the network's own index 0..999, not rescaled; frequency k is
/// `exp(-ln(10000) k / (width / 2))`.
pub fn sinusoid(times: &Tensor, width: i64) -> Tensor {
    let half = width / 2;
    let options = (Kind::Float, times.device());
    #[allow(clippy::cast_precision_loss)] // widths are small
    let rate = -(10_000_f64.ln()) / half as f64;
    let frequencies = (Tensor::arange(half, options) * rate).exp();
    let angles = times.to_kind(Kind::Float).unsqueeze(1) * frequencies.unsqueeze(0);
    Tensor::cat(&[angles.cos(), angles.sin()], 1)
}

/// Linear, SiLU, Linear: `[N, in]` to `[N, E]`.
#[derive(Debug)]
struct Perceptron {
    first: Affine,
    second: Affine,
}

impl Perceptron {
    fn new(vs: &Path<'_>, inputs: i64, width: i64) -> Self {
        Self {
            first: Affine::uniform(&(vs / "0"), &[width, inputs]),
            second: Affine::uniform(&(vs / "2"), &[width, width]),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        self.second.linear(&self.first.linear(x).silu())
    }
}

/// `time_embed`: time to a vector of width E.
#[derive(Debug)]
pub struct TimeEmbedding {
    sinusoid_width: i64,
    perceptron: Perceptron,
}

impl TimeEmbedding {
    /// `sinusoid_width` is the base width of the network, `width` is E.
    pub fn new(vs: &Path<'_>, sinusoid_width: i64, width: i64) -> Self {
        Self {
            sinusoid_width,
            perceptron: Perceptron::new(&(vs / "time_embed"), sinusoid_width, width),
        }
    }

    /// i64 `[N]` to f32 `[N, E]`.
    pub fn forward(&self, times: &Tensor) -> Tensor {
        let waves = sinusoid(times, self.sinusoid_width);
        self.perceptron
            .forward(&waves.to_kind(self.perceptron.first.weight.kind()))
    }
}

/// The class vector c and the number of class tokens that stand for it in attention.
///
/// The public network feeds the outer product c c^T to every attention block as E extra tokens;
/// token j is `W (c c_j) + b`, so c alone says everything. For the null label all E tokens equal b:
/// one token whose logit is raised by ln E gives the same softmax.
#[derive(Debug)]
pub struct ClassVector {
    /// c, `[1, E]` when one label serves the whole batch, else `[N, E]`.
    pub vector: Tensor,
    /// Factors c_j of the tokens, `[1 or N, S]`: S is E, or 1 for the null label.
    pub factors: Tensor,
    /// Added to the logit of every token: 0, or ln E for the single token of the null label.
    pub log_weight: f64,
}

/// `label_emb` and `class_emb` of v2: label to the class vector.
#[derive(Debug)]
pub struct ClassEmbedding {
    table: LabelTable,
    perceptron: Perceptron,
    width: i64,
}

impl ClassEmbedding {
    /// `table_width` is the base width of the network, `width` is E.
    pub fn new(vs: &Path<'_>, classes: i64, table_width: i64, width: i64) -> Self {
        Self {
            table: LabelTable::new(vs, classes, table_width),
            perceptron: Perceptron::new(&(vs / "class_emb"), table_width, width),
            width,
        }
    }

    pub fn forward(&self, labels: &Labels) -> ClassVector {
        if let Labels::All(ClassLabel::Null) = labels {
            return self.null();
        }
        let vector = self.perceptron.forward(&self.table.rows(labels));
        let vector = self.table.without_null(vector, labels);
        ClassVector {
            factors: vector.shallow_clone(),
            vector,
            log_weight: 0.0,
        }
    }

    fn null(&self) -> ClassVector {
        let options = self.table.options();
        #[allow(clippy::cast_precision_loss)] // E is small
        let log_weight = (self.width as f64).ln();
        ClassVector {
            vector: Tensor::zeros([1, self.width], options),
            factors: Tensor::zeros([1, 1], options),
            log_weight,
        }
    }
}

/// `label_emb`: one row a label. In v1 it is the class vector itself, E wide, added to the time
/// vector.
#[derive(Debug)]
pub struct LabelTable {
    weight: Tensor,
}

impl LabelTable {
    /// Rows are standard normal at first.
    pub fn new(vs: &Path<'_>, classes: i64, width: i64) -> Self {
        let normal = Init::Randn {
            mean: 0.0,
            stdev: 1.0,
        };
        Self {
            weight: (vs / "label_emb").var("weight", &[classes, width], normal),
        }
    }

    /// The rows of a batch, zero for the null label: `[1, width]` where one label serves all, else
    /// `[N, width]`.
    pub fn forward(&self, labels: &Labels) -> Tensor {
        self.without_null(self.rows(labels), labels)
    }

    /// The rows of a batch; that of label 0 for the null label.
    fn rows(&self, labels: &Labels) -> Tensor {
        match labels {
            // A view: an index would be made by the host, and a GPU be waited for to take it.
            Labels::All(label) => self.weight.narrow(0, label.index().max(0), 1),
            Labels::PerSample(classes) => self.weight.index_select(0, &classes.clamp_min(0)),
            Labels::Between { unhealthy } => {
                let row = |label: ClassLabel| self.weight.narrow(0, label.index(), 1);
                row(ClassLabel::Healthy) * (1.0 - unhealthy)
                    + row(ClassLabel::Unhealthy) * *unhealthy
            }
        }
    }

    /// Zeroes what belongs to the null label.
    fn without_null(&self, vectors: Tensor, labels: &Labels) -> Tensor {
        match labels {
            Labels::All(ClassLabel::Null) => vectors.zeros_like(),
            Labels::All(_) | Labels::Between { .. } => vectors,
            Labels::PerSample(classes) => {
                vectors * classes.ge(0).to_kind(self.weight.kind()).unsqueeze(1)
            }
        }
    }

    fn options(&self) -> (Kind, Device) {
        (self.weight.kind(), self.weight.device())
    }
}

#[cfg(test)]
mod tests {
    use tch::nn::VarStore;

    use super::*;

    #[test]
    fn a_label_between_two_classes_mixes_their_rows() {
        let vs = VarStore::new(Device::Cpu);
        let table = LabelTable::new(&vs.root(), 2, 8);
        let row = |labels: Labels| table.forward(&labels);
        let healthy = row(Labels::All(ClassLabel::Healthy));
        let unhealthy = row(Labels::All(ClassLabel::Unhealthy));
        assert_ne!(healthy, unhealthy);
        assert_eq!(row(Labels::Between { unhealthy: 0.0 }), healthy);
        assert_eq!(row(Labels::Between { unhealthy: 1.0 }), unhealthy);
        let mixed = row(Labels::Between { unhealthy: 0.95 });
        let want = &healthy * 0.05 + &unhealthy * 0.95;
        assert!((mixed - want).abs().max().double_value(&[]) < 1e-6);
    }
}
