//! The tensors of a network, by their public names: what a checkpoint of it holds.

use std::collections::BTreeMap;

use super::{Arch, NetworkConfig};

pub type TensorShapes = BTreeMap<String, Vec<usize>>;

impl NetworkConfig {
    /// Names and shapes of all tensors of a network that can be built ([`validate`](Self::validate)). A checkpoint of
    /// it holds these and no others.
    pub fn tensors(&self) -> TensorShapes {
        let mut table = Table {
            embedding: self.embedding_width(),
            class_tokens: self.arch == Arch::V2,
            resblock_updown: self.resblock_updown,
            conditioning: if self.use_scale_shift_norm { 2 } else { 1 },
            shapes: TensorShapes::new(),
        };
        table.conditioning(self);
        let levels = self.level_channels();
        let mut width = levels.first().copied().unwrap_or(self.num_channels);
        table.conv3("input_blocks.0.0", self.in_channels, width);
        let mut skips = vec![width];
        for (level, &channels) in levels.iter().enumerate() {
            for _ in 0..self.num_res_blocks {
                let entry = format!("input_blocks.{}", skips.len());
                table.block(&format!("{entry}.0"), width, channels);
                width = channels;
                if self.attends(level) {
                    table.attention(&format!("{entry}.1"), width);
                }
                skips.push(width);
            }
            if level + 1 < levels.len() {
                table.resample(&format!("input_blocks.{}.0", skips.len()), "op", width);
                skips.push(width);
            }
        }
        table.block("middle_block.0", width, width);
        table.attention("middle_block.1", width);
        table.block("middle_block.2", width, width);
        if self.arch == Arch::Classifier {
            let side = self.image_size >> (levels.len() - 1);
            table.norm("out.0", width);
            table.pool("out.2", width, side, self.output_channels());
            return table.shapes;
        }
        let mut number = 0;
        for (level, &channels) in levels.iter().enumerate().rev() {
            for index in 0..=self.num_res_blocks {
                let entry = format!("output_blocks.{number}");
                let skip = skips.pop().unwrap_or(0);
                table.block(&format!("{entry}.0"), width + skip, channels);
                width = channels;
                if self.attends(level) {
                    table.attention(&format!("{entry}.1"), width);
                }
                if level > 0 && index == self.num_res_blocks {
                    let place = 1 + usize::from(self.attends(level));
                    table.resample(&format!("{entry}.{place}"), "conv", width);
                }
                number += 1;
            }
        }
        table.norm("out.0", width);
        table.conv3("out.2", width, self.output_channels());
        table.shapes
    }
}

struct Table {
    embedding: i64,
    class_tokens: bool,
    resblock_updown: bool,
    /// Values a channel that a block is told: a scale and a shift, or what is added.
    conditioning: i64,
    shapes: TensorShapes,
}

impl Table {
    fn tensor(&mut self, name: String, shape: &[i64]) {
        let shape = shape.iter().map(|side| usize::try_from(*side).unwrap_or(0));
        self.shapes.insert(name, shape.collect());
    }

    /// A weight, whose first side is the outputs, and their biases.
    fn affine(&mut self, name: &str, weight: &[i64]) {
        self.tensor(format!("{name}.weight"), weight);
        self.tensor(format!("{name}.bias"), &weight[..1]);
    }

    fn conv3(&mut self, name: &str, from: i64, to: i64) {
        self.affine(name, &[to, from, 3, 3]);
    }

    fn norm(&mut self, name: &str, channels: i64) {
        self.affine(name, &[channels]);
    }

    fn perceptron(&mut self, name: &str, from: i64) {
        let to = self.embedding;
        self.affine(&format!("{name}.0"), &[to, from]);
        self.affine(&format!("{name}.2"), &[to, to]);
    }

    fn conditioning(&mut self, config: &NetworkConfig) {
        let base = config.num_channels;
        self.perceptron("time_embed", base);
        let table = match (config.arch, config.num_classes) {
            (Arch::V2, classes) => {
                self.perceptron("class_emb", base);
                Some([classes.unwrap_or(0), base])
            }
            (Arch::V1, Some(classes)) => Some([classes, self.embedding]),
            (Arch::V1 | Arch::Classifier, _) => None,
        };
        if let Some(shape) = table {
            self.tensor("label_emb.weight".to_owned(), &shape);
        }
    }

    fn block(&mut self, name: &str, from: i64, to: i64) {
        self.norm(&format!("{name}.in_layers.0"), from);
        self.conv3(&format!("{name}.in_layers.2"), from, to);
        let told = self.conditioning * to;
        self.affine(&format!("{name}.emb_layers.1"), &[told, self.embedding]);
        self.norm(&format!("{name}.out_layers.0"), to);
        self.conv3(&format!("{name}.out_layers.3"), to, to);
        if from != to {
            self.affine(&format!("{name}.skip_connection"), &[to, from, 1, 1]);
        }
    }

    fn resample(&mut self, name: &str, conv: &str, channels: i64) {
        if self.resblock_updown {
            self.block(name, channels, channels);
        } else {
            self.conv3(&format!("{name}.{conv}"), channels, channels);
        }
    }

    fn attention(&mut self, name: &str, channels: i64) {
        self.norm(&format!("{name}.norm"), channels);
        self.affine(&format!("{name}.qkv"), &[3 * channels, channels, 1]);
        if self.class_tokens {
            let width = self.embedding;
            self.affine(&format!("{name}.encoder_kv"), &[2 * channels, width, 1]);
        }
        self.affine(&format!("{name}.proj_out"), &[channels, channels, 1]);
    }

    fn pool(&mut self, name: &str, channels: i64, side: i64, logits: i64) {
        let positions = side * side + 1;
        self.tensor(
            format!("{name}.positional_embedding"),
            &[channels, positions],
        );
        self.affine(&format!("{name}.qkv_proj"), &[3 * channels, channels, 1]);
        self.affine(&format!("{name}.c_proj"), &[logits, channels, 1]);
    }
}
