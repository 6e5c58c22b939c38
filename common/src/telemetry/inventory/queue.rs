//! What both programs tell of a Redis server; there is nothing to tell of the local queue.

use super::{Buckets, Kind, Label, MetricSpec, Program, Series, Values};

pub static QUEUE_CALL_SECONDS: MetricSpec = MetricSpec {
    name: "anofpdm_queue_call_seconds",
    kind: Kind::Histogram(Buckets {
        first: 0.000_25,
        factor: 4.0,
        count: 8,
    }),
    labels: &[Label {
        name: "call",
        values: Values::Open("a transition of the queue, or `read`"),
    }],
    program: Program::Both,
    help: "One call to the queue's server, answered or not.",
    series: Series::WhenKnown,
};

pub static QUEUE_ERRORS_TOTAL: MetricSpec = MetricSpec {
    name: "anofpdm_queue_errors_total",
    kind: Kind::Counter,
    labels: &[Label {
        name: "kind",
        values: Values::OneOf(&["away", "no_script", "other"]),
    }],
    program: Program::Both,
    help: "Calls to the queue's server that failed: the server was away, did not know the transition, or refused.",
    series: Series::AtStart,
};

pub(super) static ALL: &[&MetricSpec] = &[&QUEUE_CALL_SECONDS, &QUEUE_ERRORS_TOTAL];
