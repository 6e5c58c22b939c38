//! What cells share, and what each keeps of it.

use serde::{Deserialize, Serialize};

use crate::baseline::{Baseline, Clip, Sampler, Setting};
use crate::method::{Encoding, MapKind, Method};
use crate::metrics::RunDetail;
use crate::spec::FigureSpec;
use crate::strength::Strength;

/// What the cells of a shard share: computed once a batch, whatever their number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Trajectory {
    Forward(ForwardWalk),
    Restoration(RestorationWalk),
}

/// One walk up the noise levels, with both predictions at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ForwardWalk {
    /// Index into the plan's networks.
    pub network: u16,
    pub encoding: Encoding,
    pub seed: u64,
}

/// The restorations of one baseline: up once where its settings can share that, and down for each of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RestorationWalk {
    pub baseline: Baseline,
    pub sampler: Sampler,
    /// How `ddim-clf-free` keeps predicted x0 in range.
    pub clip: Clip,
    /// Steps of the schedule that its networks were trained on.
    pub diffusion_steps: u32,
    /// Indices into the plan's networks, in the order of [`Baseline::networks`].
    pub networks: Vec<u16>,
    /// Noise seed; `None` where no noise is drawn, and one computation serves every seed.
    pub seed: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CellOutput {
    /// AnoFPDM: the sequences that calibration needs, and nothing that a mask could enter.
    Traces,
    /// AnoFPDM: a mask and its statistics against the pixel truth.
    Mask {
        map: MapKind,
        /// Largest divergence of the validation slices, for each scored modality.
        max_divergence: Vec<f32>,
        /// Data for Figures 2 and 5.
        figures: FigureSpec,
        /// Whether the record carries the ratio of the MSE sequences beside the cosine.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        mse_ratio: bool,
        /// How much of the scores the record keeps.
        #[serde(default, skip_serializing_if = "RunDetail::is_exact")]
        scores: RunDetail,
    },
    /// AnoFPDM: how the aggregated map would have done at a strength that is no row of the table (Figure 5).
    Candidate {
        /// Largest divergence of the validation slices, for each scored modality.
        max_divergence: Vec<f32>,
    },
    /// AnoFPDM: what is to be seen of the plan's exhibits.
    Exhibit { map: MapKind },
    /// A baseline: the overlap of its masks with the pixel truth at every threshold of a grid. The tuning of the
    /// baselines is made of these; calibration from image-level labels cannot read them.
    Overlaps {
        noise_scale: u32,
        /// Thresholds on the map, ascending.
        thresholds: Vec<f32>,
    },
    /// A baseline: a mask and its statistics against the pixel truth.
    Restored {
        noise_scale: u32,
        /// From the restored slice to the mask.
        postprocessing: Postprocessing,
        /// How much of the scores the record keeps.
        #[serde(default, skip_serializing_if = "RunDetail::is_exact")]
        scores: RunDetail,
    },
    /// A baseline: what is to be seen of the plan's exhibits.
    RestoredExhibit {
        noise_scale: u32,
        postprocessing: Postprocessing,
    },
}

impl CellOutput {
    /// Whether numbers of the table or what decides them are made of it: those make the fingerprint, the rest is for
    /// figures.
    pub const fn counts(&self) -> bool {
        match self {
            Self::Traces | Self::Mask { .. } | Self::Overlaps { .. } | Self::Restored { .. } => {
                true
            }
            Self::Candidate { .. } | Self::Exhibit { .. } | Self::RestoredExhibit { .. } => false,
        }
    }
}

/// Most thresholds of a grid.
pub const MAX_THRESHOLDS: usize = 256;

/// How a baseline's mask is made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Postprocessing {
    /// The same for all: mean over the scored modalities, 5x5 median, one threshold for all slices.
    Common {
        /// The mask is where the map reaches it.
        threshold: f32,
    },
    /// That of the method's authors ([`Baseline::native_rule`]).
    Native,
}

/// One column of work on a trajectory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Index into the plan's trajectories.
    pub trajectory: u16,
    /// Guidance strength w; a baseline's strength, 0 where it has none.
    pub guidance: f64,
    pub output: CellOutput,
}

impl Cell {
    /// The method whose record this is, on its `trajectory`; `None` for what only calibration reads.
    pub fn method(&self, trajectory: &Trajectory) -> Option<Method> {
        match (trajectory, &self.output) {
            (
                Trajectory::Forward(walk),
                CellOutput::Mask { map, .. } | CellOutput::Exhibit { map },
            ) => Method::of(walk.encoding, *map),
            (Trajectory::Forward(_), _) => None,
            (Trajectory::Restoration(walk), _) => Some(Method::Baseline(walk.baseline)),
        }
    }

    pub const fn strength(&self) -> Strength {
        Strength(self.guidance)
    }

    /// The setting a baseline's slice is restored at; `None` for AnoFPDM.
    pub const fn setting(&self) -> Option<Setting> {
        match self.output {
            CellOutput::Overlaps { noise_scale, .. }
            | CellOutput::Restored { noise_scale, .. }
            | CellOutput::RestoredExhibit { noise_scale, .. } => Some(Setting {
                noise_scale,
                strength: self.guidance,
            }),
            CellOutput::Traces
            | CellOutput::Mask { .. }
            | CellOutput::Candidate { .. }
            | CellOutput::Exhibit { .. } => None,
        }
    }
}

/// The settings of these cells, each once, in the order they come: cells that differ in post-processing alone share
/// a restoration.
pub fn distinct_settings<'a>(cells: impl IntoIterator<Item = &'a Cell>) -> Vec<Setting> {
    let mut settings: Vec<Setting> = Vec::new();
    for setting in cells.into_iter().filter_map(Cell::setting) {
        if !settings.contains(&setting) {
            settings.push(setting);
        }
    }
    settings
}
