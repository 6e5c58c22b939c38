//! The metrics of the paper's tables, and their intervals.
//!
//! Everything that is added over slices is an integer, so merging gives the same bits in any order and grouping.

pub mod auroc;
pub mod average_precision;
pub mod batch_ap;
pub mod best_dice;
pub mod bootstrap;
pub mod collected_runs;
mod distance_transform;
pub mod evaluate;
pub mod histogram_ap;
pub mod lesions;
pub mod localization;
pub mod mask_grid;
pub mod mask_runs;
pub mod overlap;
pub mod packed_run;
pub mod pixel_ranking;
pub mod ranked_run;
pub mod run_metrics;
pub mod score_ranks;
pub mod score_run;
pub mod setup;
pub mod summary;
pub mod surface_distance;
#[cfg(test)]
mod test_masks;
mod varint;
pub mod volume;

pub use auroc::auroc;
pub use average_precision::average_precision;
pub use batch_ap::{REFERENCE_BATCH, batch_average_precision};
pub use best_dice::{BestDice, DiceCurve, SliceCurve};
pub use collected_runs::CollectedRuns;
pub use evaluate::{Evaluation, Section, evaluate};
pub use lesions::LesionCounts;
pub use localization::Localization;
pub use mask_grid::MaskGrid;
pub use mask_runs::MaskRuns;
pub use overlap::{Overlap, PooledOverlap};
pub use packed_run::{PackedRun, RunDetail};
pub use pixel_ranking::{PixelRanking, pixel_rankings};
pub use ranked_run::{RankError, ScoredSlice, ranked_runs};
pub use run_metrics::{RunMetrics, SetupMetrics};
pub use score_run::{RunSource, ScoreError, is_score_run, score_run};
pub use setup::{Setup, SliceStatistics};
pub use surface_distance::{hd95, hd95_2d};
pub use volume::VolumeMetrics;
