//! What the coordinator tells of its run. Each has the label `run` beside those that stand here.

use super::{Kind, Label, MetricSpec, Program, Series};

/// Stages with shards whose results are records, and training.
const STAGE: Label = Label::one_of("stage", &["train", "calibrate", "score"]);
const FORWARD_STAGE: Label = Label::one_of("stage", &["calibrate", "score"]);
const METHOD: Label = Label::open(
    "method",
    "a method of the spec; `traces` in calibration, `figures` for what only figures need",
);
const STATE: Label = Label::one_of("state", &["done", "planned"]);
const WORKER: Label = Label::open("worker", "a worker that is there");

const HERE: Program = Program::Coordinator;

pub static RUN_INFO: MetricSpec = HERE.gauge(
    "anofpdm_run_info",
    &[
        Label::open("spec", "digest of the spec, its first digits"),
        Label::open("data", "digest of the slices, its first digits"),
        Label::open("precision", "number format, empty until it is chosen"),
        Label::open("device", "device class, empty until the first worker"),
        Label::open("version", "of the program"),
    ],
    "The run that this coordinator drives; 1.",
);
pub static RUN_ENDED: MetricSpec = HERE.gauge(
    "anofpdm_run_ended",
    &[Label::one_of(
        "outcome",
        &["finished", "interrupted", "cancelled", "failed"],
    )],
    "1 for how this run ended, on the last page it serves; 0 while it works.",
);
pub static STAGE_WORK: MetricSpec = HERE.gauge(
    "anofpdm_stage_work",
    &[STAGE, Label::one_of("unit", &["slices", "steps"]), STATE],
    "Work of the stage at work: done, and planned.",
);
pub static STAGE_ETA_SECONDS: MetricSpec = HERE.gauge(
    "anofpdm_stage_eta_seconds",
    &[STAGE],
    "Time left of the stage at the rate of late; absent before its first step.",
);
pub static PAUSED: MetricSpec = HERE.gauge("anofpdm_paused", &[], "1 while no shard is given out.");
pub static SLICES_SCORED_TOTAL: MetricSpec = HERE.counter(
    "anofpdm_slices_scored_total",
    &[FORWARD_STAGE],
    "Slices whose records count, each as far as its records are there.",
);
pub static RECORDS: MetricSpec = HERE.gauge(
    "anofpdm_records",
    &[FORWARD_STAGE, METHOD, STATE],
    "Records of a method in the stage at work: that count, and planned.",
);
pub static RECORDS_TOTAL: MetricSpec = HERE.metric(
    "anofpdm_records_total",
    Kind::Counter,
    &[
        FORWARD_STAGE,
        METHOD,
        Label::one_of("outcome", &["counted", "duplicate", "conflict", "cached"]),
    ],
    Series::WhenKnown,
    "Records delivered, by what became of them.",
);
pub static EVALUATIONS_TOTAL: MetricSpec = HERE.counter(
    "anofpdm_evaluations_total",
    &[
        STAGE,
        Label::one_of("kind", &["slice", "padding", "repeated"]),
    ],
    "Network evaluations delivered: of slices, of padding, and of work that was there already.",
);
pub static DEVICE_SECONDS_TOTAL: MetricSpec = HERE.counter(
    "anofpdm_device_seconds_total",
    &[STAGE, Label::one_of("kind", &["counted", "repeated"])],
    "Device time of what was delivered; times a price it is the cost.",
);
pub static SHARDS: MetricSpec = HERE.gauge(
    "anofpdm_shards",
    &[Label::one_of(
        "state",
        &["queued", "leased", "retrying", "dead"],
    )],
    "Shards in the queue by state.",
);
pub static OLDEST_SHARD_SECONDS: MetricSpec = HERE.gauge(
    "anofpdm_oldest_shard_seconds",
    &[],
    "Age of the oldest shard that is under way; 0 without any.",
);
pub static SHARD_WAIT_SECONDS: MetricSpec = HERE.histogram(
    "anofpdm_shard_wait_seconds",
    (0.05, 3.0, 9),
    &[Label::one_of(
        "priority",
        &["urgent", "normal", "background"],
    )],
    Series::AtStart,
    "Time from the submission of a shard to its first lease.",
);
pub static SHARD_SECONDS: MetricSpec = HERE.histogram(
    "anofpdm_shard_seconds",
    (0.5, 2.0, 12),
    &[STAGE],
    Series::AtStart,
    "Time a worker held a shard whose result was accepted.",
);
pub static SHARD_ENDS_TOTAL: MetricSpec = HERE.counter(
    "anofpdm_shard_ends_total",
    &[
        STAGE,
        Label::one_of(
            "outcome",
            &[
                "accepted",
                "duplicate",
                "rejected",
                "failed",
                "crashed",
                "handed_back",
                "cancelled",
            ],
        ),
    ],
    "How leases and shards ended.",
);
pub static SHARD_ERRORS_TOTAL: MetricSpec = HERE.counter(
    "anofpdm_shard_errors_total",
    &[Label::one_of(
        "class",
        &[
            "transient",
            "bad_input",
            "out_of_memory",
            "device_lost",
            "fatal",
        ],
    )],
    "Errors that workers reported, by class.",
);
pub static LEASE_REMAINING_RATIO: MetricSpec = HERE.gauge(
    "anofpdm_lease_remaining_ratio",
    &[],
    "Smallest share of its time that a live lease has left: 1 renewed just now, 0 lost; absent without leases.",
);
pub static EXTRA_SHARDS_TOTAL: MetricSpec = HERE.counter(
    "anofpdm_extra_shards_total",
    &[Label::one_of("purpose", &["audit", "opinion", "copy"])],
    "Shards beyond the plan.",
);
pub static AUDITS_TOTAL: MetricSpec = HERE.counter(
    "anofpdm_audits_total",
    &[Label::one_of("outcome", &["agreed", "conflict"])],
    "Shards run again to compare bits.",
);
pub static CONTESTED_RECORDS: MetricSpec = HERE.gauge(
    "anofpdm_contested_records",
    &[],
    "Keys of which no record counts until another worker has delivered them.",
);
pub static REJECTED_RESULTS_TOTAL: MetricSpec = HERE.counter(
    "anofpdm_rejected_results_total",
    &[Label::one_of(
        "reason",
        &[
            "plan",
            "completion",
            "artifact",
            "unreadable",
            "count",
            "key",
            "cost",
            "impossible",
        ],
    )],
    "Results that were not what was asked for.",
);
pub static WORKERS: MetricSpec = HERE.gauge(
    "anofpdm_workers",
    &[Label::one_of("state", &["busy", "idle"])],
    "Workers let in and not gone.",
);
pub static WORKERS_WANTED: MetricSpec = HERE.gauge(
    "anofpdm_workers_wanted",
    &[],
    "Workers that the work left has use for: 0 when nothing is left. The one signal to scale by.",
);
pub static WORKER_INFO: MetricSpec = HERE.gauge(
    "anofpdm_worker_info",
    &[
        WORKER,
        Label::open("host", "where it runs"),
        Label::open("device", "`cpu`, or the name of the GPU"),
    ],
    "A worker let in and not gone; 1.",
);
pub static WORKER_DEVICE_SECONDS_TOTAL: MetricSpec = HERE.metric(
    "anofpdm_worker_device_seconds_total",
    Kind::Counter,
    &[WORKER],
    Series::WhenKnown,
    "Device time of the results accepted from a worker that is there.",
);
pub static WORKER_EVALUATIONS_TOTAL: MetricSpec = HERE.metric(
    "anofpdm_worker_evaluations_total",
    Kind::Counter,
    &[WORKER],
    Series::WhenKnown,
    "Network evaluations, padding included, of the results accepted from a worker that is there.",
);
pub static WORKER_EVENTS_TOTAL: MetricSpec = HERE.counter(
    "anofpdm_worker_events_total",
    &[Label::one_of(
        "event",
        &["joined", "left", "refused", "retired", "restarted"],
    )],
    "What happened to workers.",
);
pub static LAST_RESULT_TIMESTAMP_SECONDS: MetricSpec = HERE.gauge(
    "anofpdm_last_result_timestamp_seconds",
    &[],
    "When a result was accepted last, Unix time; the start of the coordinator before the first.",
);
pub static JOURNAL_APPEND_SECONDS: MetricSpec = HERE.histogram(
    "anofpdm_journal_append_seconds",
    (0.000_5, 3.0, 9),
    &[],
    Series::AtStart,
    "Time to write and sync an entry of the journal.",
);

pub(super) static ALL: &[&MetricSpec] = &[
    &RUN_INFO,
    &RUN_ENDED,
    &STAGE_WORK,
    &STAGE_ETA_SECONDS,
    &PAUSED,
    &SLICES_SCORED_TOTAL,
    &RECORDS,
    &RECORDS_TOTAL,
    &EVALUATIONS_TOTAL,
    &DEVICE_SECONDS_TOTAL,
    &SHARDS,
    &OLDEST_SHARD_SECONDS,
    &SHARD_WAIT_SECONDS,
    &SHARD_SECONDS,
    &SHARD_ENDS_TOTAL,
    &SHARD_ERRORS_TOTAL,
    &LEASE_REMAINING_RATIO,
    &EXTRA_SHARDS_TOTAL,
    &AUDITS_TOTAL,
    &CONTESTED_RECORDS,
    &REJECTED_RESULTS_TOTAL,
    &WORKERS,
    &WORKERS_WANTED,
    &WORKER_INFO,
    &WORKER_DEVICE_SECONDS_TOTAL,
    &WORKER_EVALUATIONS_TOTAL,
    &WORKER_EVENTS_TOTAL,
    &LAST_RESULT_TIMESTAMP_SECONDS,
    &JOURNAL_APPEND_SECONDS,
];
