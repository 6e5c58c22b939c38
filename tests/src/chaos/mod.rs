//! Chaos drills: a whole run on real processes, a real Redis and fake workers, while things go wrong; and the answer must be
//! that of the undisturbed run.

pub mod drill;
pub mod fixture;
pub mod fleet;
pub mod process;
pub mod proxy;
pub mod schedule;
pub mod tally;
