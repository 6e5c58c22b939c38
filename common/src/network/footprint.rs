//! What a network takes, counted from its architecture alone.

use super::{Arch, NetworkConfig};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    pub parameters: i64,
    /// Values of one slice under one label kept at once in a forward pass: all skips, and the widest step of the decoder
    /// with its intermediate results.
    pub activations: i64,
    /// Multiplications with an addition in one evaluation (one slice through the network once), as the public code
    /// computes it: class tokens whole, doubled maps whole. Norms and activations are not counted.
    pub multiply_adds: i64,
}

impl Footprint {
    /// Bytes of weights and maps of a batch of `slices` in float32, scoring: what a plan tells of one network. Weights are
    /// kept in the order of the engine and as the factors of Winograd's algorithm, and a slice is seen under two labels
    /// (docs/benchmarks.md, "Memory of a worker").
    pub const fn scoring_bytes(&self, slices: i64) -> i64 {
        4 * (self.parameters * 12 / 5 + 2 * slices * self.activations)
    }
}

/// Results that a residual block holds at once beside its input: normed, convolved, shifted, output.
const BLOCK_RESULTS: i64 = 4;

impl NetworkConfig {
    /// Counts weights, activations and arithmetic, layer by layer.
    pub fn footprint(&self) -> Footprint {
        let mut count = Counter {
            embedding: self.embedding_width(),
            class_tokens: self.arch == Arch::V2,
            resblock_updown: self.resblock_updown,
            conditioning: if self.use_scale_shift_norm { 2 } else { 1 },
            parameters: 0,
            widest: 0,
            multiply_adds: 0,
        };
        count.conditioning(self);
        let levels = self.level_channels();
        let side = |level: usize| self.image_size >> level;
        // The first convolution is as wide as the first level.
        let mut width = levels.first().copied().unwrap_or(self.num_channels);
        count.conv3(self.in_channels, width, side(0));
        let mut skips = vec![(width, side(0))];
        for (level, &channels) in levels.iter().enumerate() {
            for _ in 0..self.num_res_blocks {
                count.block(width, channels, side(level));
                width = channels;
                if self.attends(level) {
                    count.attention(width, side(level));
                }
                skips.push((width, side(level)));
            }
            if level + 1 < levels.len() {
                count.resample(width, side(level + 1));
                skips.push((width, side(level + 1)));
            }
        }
        let deepest = side(levels.len() - 1);
        count.block(width, width, deepest);
        count.attention(width, deepest);
        count.block(width, width, deepest);
        if self.arch == Arch::Classifier {
            count.pool(width, deepest, self.output_channels());
            // Nothing is kept for a decoder.
            return count.footprint(0);
        }
        let kept = skips.iter().map(|(c, side)| c * side * side).sum();
        for (level, &channels) in levels.iter().enumerate().rev() {
            for _ in 0..=self.num_res_blocks {
                let (skip, _) = skips.pop().unwrap_or((0, 0));
                count.block(width + skip, channels, side(level));
                width = channels;
                if self.attends(level) {
                    count.attention(width, side(level));
                }
            }
            if level > 0 {
                count.resample(width, side(level - 1));
            }
        }
        count.norm(width);
        count.conv3(width, self.output_channels(), side(0));
        count.footprint(kept)
    }
}

struct Counter {
    embedding: i64,
    class_tokens: bool,
    resblock_updown: bool,
    /// Values that a block is told of time and label, a channel.
    conditioning: i64,
    parameters: i64,
    /// Values of the widest layer.
    widest: i64,
    multiply_adds: i64,
}

impl Counter {
    const fn footprint(&self, kept: i64) -> Footprint {
        Footprint {
            parameters: self.parameters,
            activations: kept + self.widest,
            multiply_adds: self.multiply_adds,
        }
    }

    /// A linear map of `positions` vectors.
    const fn linear(&mut self, from: i64, to: i64, positions: i64) {
        self.parameters += from * to + to;
        self.multiply_adds += from * to * positions;
    }

    /// A 3x3 convolution to a map of `side`.
    const fn conv3(&mut self, from: i64, to: i64, side: i64) {
        self.parameters += 9 * from * to + to;
        self.multiply_adds += 9 * from * to * side * side;
    }

    const fn norm(&mut self, channels: i64) {
        self.parameters += 2 * channels;
    }

    fn conditioning(&mut self, config: &NetworkConfig) {
        let base = config.num_channels;
        self.linear(base, self.embedding, 1);
        self.linear(self.embedding, self.embedding, 1);
        match (config.arch, config.num_classes) {
            (Arch::V2, classes) => {
                self.parameters += classes.unwrap_or(0) * base;
                self.linear(base, self.embedding, 1);
                self.linear(self.embedding, self.embedding, 1);
            }
            (Arch::V1, Some(classes)) => self.parameters += classes * self.embedding,
            (Arch::V1 | Arch::Classifier, _) => {}
        }
    }

    fn block(&mut self, from: i64, to: i64, side: i64) {
        self.norm(from);
        self.conv3(from, to, side);
        self.linear(self.embedding, self.conditioning * to, 1);
        self.norm(to);
        self.conv3(to, to, side);
        if from != to {
            self.linear(from, to, side * side);
        }
        self.widest = self.widest.max(BLOCK_RESULTS * from.max(to) * side * side);
    }

    /// To maps of `side`.
    fn resample(&mut self, channels: i64, side: i64) {
        if self.resblock_updown {
            self.block(channels, channels, side);
        } else {
            self.conv3(channels, channels, side);
        }
    }

    fn attention(&mut self, channels: i64, side: i64) {
        self.norm(channels);
        let positions = side * side;
        self.linear(channels, 3 * channels, positions);
        let mut tokens = positions;
        if self.class_tokens {
            self.linear(self.embedding, 2 * channels, self.embedding);
            tokens += self.embedding;
        }
        self.linear(channels, channels, positions);
        // Queries with keys, weights with values.
        self.multiply_adds += 2 * positions * tokens * channels;
        // The weights of the softmax are never there as a whole.
        self.widest = self.widest.max(5 * channels * positions);
    }

    /// Norm and attention pool of a classifier.
    const fn pool(&mut self, channels: i64, side: i64, logits: i64) {
        self.norm(channels);
        let tokens = side * side + 1;
        self.parameters += channels * tokens;
        self.linear(channels, 3 * channels, tokens);
        self.multiply_adds += 2 * tokens * tokens * channels;
        self.linear(channels, logits, tokens);
    }
}
