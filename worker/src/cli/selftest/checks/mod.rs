//! The checks, in the order in which they run.

mod collective;
mod engine;
mod formats;
mod kernels;
mod memory;
mod scoring;
mod simplex;
mod speed;
mod training;

use super::runner::{Check, Needs};

/// What runs before something else must not disturb it: what fills the memory comes last.
pub(super) const ALL: &[Check] = &[
    Check {
        name: "simplex noise",
        needs: Needs::Nothing,
        run: simplex::check,
    },
    Check {
        name: "kernels of our own",
        needs: Needs::Nothing,
        run: kernels::check,
    },
    Check {
        name: "engine",
        needs: Needs::Nothing,
        run: engine::check,
    },
    Check {
        name: "noise floor",
        needs: Needs::Nothing,
        run: formats::check,
    },
    Check {
        name: "scoring",
        needs: Needs::Nothing,
        run: scoring::check,
    },
    Check {
        name: "training",
        needs: Needs::Nothing,
        run: training::bits,
    },
    Check {
        name: "mixed precision",
        needs: Needs::Nothing,
        run: training::mixed,
    },
    Check {
        name: "ranks",
        needs: Needs::Nothing,
        run: collective::check,
    },
    Check {
        name: "speed of scoring",
        needs: Needs::Nothing,
        run: speed::scoring,
    },
    Check {
        name: "speed of training",
        needs: Needs::Nothing,
        run: speed::training,
    },
    Check {
        name: "speed at the paper's size",
        needs: Needs::Time,
        run: speed::paper,
    },
    Check {
        name: "training speed at the paper's size",
        needs: Needs::Gpu,
        run: speed::paper_training,
    },
    Check {
        name: "out of memory",
        needs: Needs::Gpu,
        run: memory::exhausted,
    },
];
