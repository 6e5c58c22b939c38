//! Diffusion: noise schedules, single steps, noise.
//!
//! Index words: index `i` counts kept steps from 0 and is the paper's `t = i + 1`.

pub mod schedule;
