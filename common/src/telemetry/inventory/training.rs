//! What a worker tells while it trains. Gauges are there while a training is under way and go with it.

use super::{Kind, Label, MetricSpec, Program, Series};

const NETWORK: &[Label] = &[Label::one_of(
    "network",
    &[
        "guided",
        "healthy-gaussian",
        "healthy-simplex",
        "conditional",
        "classifier",
    ],
)];

const HERE: Program = Program::Worker;

/// Steps: 10 ms of a small network to 5 minutes of a large one on a CPU.
pub static TRAIN_STEP_SECONDS: MetricSpec = HERE.histogram(
    "anofpdm_train_step_seconds",
    (0.01, 2.0, 16),
    NETWORK,
    Series::WhenKnown,
    "Duration of one optimiser step, waiting for samples and other ranks included.",
);
pub static TRAIN_SAMPLES_TOTAL: MetricSpec = HERE.metric(
    "anofpdm_train_samples_total",
    Kind::Counter,
    NETWORK,
    Series::WhenKnown,
    "Samples of which this rank has computed gradients.",
);
pub static TRAIN_LOSS: MetricSpec = HERE.gauge(
    "anofpdm_train_loss",
    NETWORK,
    "Mean loss over the global batches of the last 100 steps.",
);
/// Waits: what a fast network needs to what ends in a timeout.
pub static TRAIN_ALLREDUCE_SECONDS: MetricSpec = HERE.histogram(
    "anofpdm_train_allreduce_seconds",
    (0.000_1, 4.0, 11),
    NETWORK,
    Series::WhenKnown,
    "Part of a step in which this rank waited for sums over the ranks.",
);
pub static TRAIN_WORLD_SIZE: MetricSpec = HERE.gauge(
    "anofpdm_train_world_size",
    NETWORK,
    "Ranks that train together.",
);
pub static TRAIN_GENERATION: MetricSpec = HERE.gauge(
    "anofpdm_train_generation",
    NETWORK,
    "Number of the attempt, from the clock: it grows each time the ranks start again.",
);
pub static CHECKPOINT_AGE_SECONDS: MetricSpec = HERE.gauge(
    "anofpdm_checkpoint_age_seconds",
    NETWORK,
    "Time since the newest checkpoint of the training under way, or since this process began with it.",
);

pub(super) static ALL: &[&MetricSpec] = &[
    &TRAIN_STEP_SECONDS,
    &TRAIN_SAMPLES_TOTAL,
    &TRAIN_LOSS,
    &TRAIN_ALLREDUCE_SECONDS,
    &TRAIN_WORLD_SIZE,
    &TRAIN_GENERATION,
    &CHECKPOINT_AGE_SECONDS,
];
