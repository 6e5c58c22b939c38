//! The metrics of the paper and what the validation slices decide (SCIENCE 3, 5; ANCHORS-METHODS 2).
//!
//! Everything that is added over slices is an integer, so merging gives the same bits in any order and grouping.
//!
//! | module | concept |
//! |---|---|
//! | [`setup`] | the mixed and the unhealthy set-up; what one slice contributes |
//! | [`overlap`] | DICE, IoU, precision and recall from pixel counts |
//! | [`mod@score_run`] | scores and labels packed into sorted keys |
//! | [`ranked_run`] | the same of scores in float64: their ranks |
//! | [`mod@average_precision`] | exact AUPRC in bounded memory |
//! | [`batch_ap`] | the mean over batches that the public code reports |
//! | [`histogram_ap`] | AUPRC with certified bounds from a histogram |
//! | [`best_dice`] | the DICE that a map could reach at the best threshold |
//! | [`mod@auroc`] | how well one number a slice tells unhealthy from healthy |
//! | [`mod@evaluate`] | all numbers of a table cell |
//! | [`bootstrap`] | confidence intervals over patients |
//! | [`summary`] | mean and spread over seeds |
//! | [`calibration`] | cosine threshold, M_max and guidance from image-level labels |
//! | [`mod@mse_ratio`] | the ratio of the MSE sequences and its threshold, from image-level labels |
//! | [`tuning`] | settings and thresholds of the baselines from pixel labels |

pub mod auroc;
pub mod average_precision;
pub mod batch_ap;
pub mod best_dice;
pub mod bootstrap;
pub mod calibration;
pub mod evaluate;
pub mod histogram_ap;
pub mod mse_ratio;
pub mod overlap;
pub mod ranked_run;
pub mod score_run;
pub mod setup;
pub mod summary;
pub mod tuning;

pub use auroc::auroc;
pub use average_precision::average_precision;
pub use batch_ap::{REFERENCE_BATCH, batch_average_precision};
pub use best_dice::{BestDice, DiceCurve};
pub use evaluate::{Evaluation, Section, evaluate};
pub use overlap::{Overlap, PooledOverlap};
pub use ranked_run::{RankError, ScoredSlice, ranked_runs};
pub use score_run::{RunSource, ScoreError, is_score_run, score_run};
pub use setup::{Setup, SliceStatistics};
