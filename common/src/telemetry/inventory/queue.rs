//! What both programs tell of a Redis server; there is nothing to tell of the local queue.

use super::{Label, MetricSpec, Program, Series};

const HERE: Program = Program::Both;

pub static QUEUE_CALL_SECONDS: MetricSpec = HERE.histogram(
    "anofpdm_queue_call_seconds",
    (0.000_25, 4.0, 8),
    &[Label::open("call", "a transition of the queue, or `read`")],
    Series::WhenKnown,
    "One call to the queue's server, answered or not.",
);

pub static QUEUE_ERRORS_TOTAL: MetricSpec = HERE.counter(
    "anofpdm_queue_errors_total",
    &[Label::one_of("kind", &["away", "no_script", "other"])],
    "Calls to the queue's server that failed: the server was away, did not know the transition, or refused.",
);

pub(super) static ALL: &[&MetricSpec] = &[&QUEUE_CALL_SECONDS, &QUEUE_ERRORS_TOTAL];
