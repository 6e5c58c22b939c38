//! What a worker tells of itself and its device.

use super::{Kind, Label, MetricSpec, Program, Series};

const HERE: Program = Program::Worker;

pub static DEVICE_INFO: MetricSpec = HERE.gauge(
    "anofpdm_device_info",
    &[
        Label::open("worker", "this worker's name"),
        Label::open("device", "as `--device` names it"),
        Label::open("name", "device class"),
        Label::open("gpu_uuid", "`GPU-…` as NVML has it; empty on a CPU"),
        Label::open("libtorch", "version"),
        Label::open("version", "of the program"),
    ],
    "The device of this worker; 1.",
);
pub static WORKER_STATE: MetricSpec = HERE.gauge(
    "anofpdm_worker_state",
    &[Label::one_of(
        "state",
        &["idle", "scoring", "training", "paused"],
    )],
    "1 for what this worker does, 0 for the others; paused is after a fault of its own.",
);
pub static WORKER_DRAINING: MetricSpec = HERE.gauge(
    "anofpdm_worker_draining",
    &[],
    "1 once this worker is asked to end.",
);
pub static BATCH_SECONDS: MetricSpec = HERE.histogram(
    "anofpdm_batch_seconds",
    (0.01, 2.5, 11),
    &[Label::one_of("part", &["wait", "device", "records"])],
    Series::AtStart,
    "A batch of slices in each part of a worker: waiting for its slices, on the device, making and storing its records.",
);
pub static GPU_UTILIZATION_RATIO: MetricSpec = HERE.gauge(
    "anofpdm_gpu_utilization_ratio",
    &[],
    "Share of the last moments in which the GPU ran a kernel. Metrics of a GPU are absent where its driver tells nothing.",
);
pub static GPU_MEMORY_BYTES: MetricSpec = HERE.gauge(
    "anofpdm_gpu_memory_bytes",
    &[Label::one_of("kind", &["used", "total"])],
    "Memory of the GPU: all there is, and in use by whatever process.",
);
pub static GPU_POWER_WATTS: MetricSpec =
    HERE.gauge("anofpdm_gpu_power_watts", &[], "What the GPU draws.");
pub static GPU_ENERGY_JOULES_TOTAL: MetricSpec = HERE.metric(
    "anofpdm_gpu_energy_joules_total",
    Kind::Counter,
    &[],
    Series::WhenKnown,
    "What the GPU has drawn since this worker began.",
);
pub static GPU_THROTTLED: MetricSpec = HERE.gauge(
    "anofpdm_gpu_throttled",
    &[Label::one_of("reason", &["power", "thermal", "hardware"])],
    "1 while this holds the clocks of the GPU down: the limit of power, heat, or the board.",
);
pub(super) static ALL: &[&MetricSpec] = &[
    &DEVICE_INFO,
    &WORKER_STATE,
    &WORKER_DRAINING,
    &BATCH_SECONDS,
    &GPU_UTILIZATION_RATIO,
    &GPU_MEMORY_BYTES,
    &GPU_POWER_WATTS,
    &GPU_ENERGY_JOULES_TOTAL,
    &GPU_THROTTLED,
];
