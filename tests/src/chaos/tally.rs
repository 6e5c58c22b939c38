//! What drills counted: one line a drill, one table for all.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::schedule::Kind;

/// Faults injected, by name.
pub type Faults = BTreeMap<&'static str, u64>;

#[derive(Debug, Clone, Serialize)]
pub struct Drill {
    pub kind: Kind,
    pub seed: u64,
    /// What was done to it.
    pub faults: Faults,
    pub shards: u64,
    /// Slices x cells x seeds that were delivered again, with equal bits.
    pub duplicates: u64,
    /// The same with other bits; must be 0.
    pub conflicts: u64,
    /// Planned and not scored; must be 0.
    pub lost: u64,
    /// How often the command ended with an error and was run again.
    pub run_again: u64,
    /// Workers that ended though nobody killed them.
    pub workers_died: u64,
    pub seconds: f64,
    /// What was wrong; nothing, if all is well.
    pub failure: Option<String>,
}

/// All drills of a call.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Tally {
    pub drills: Vec<Drill>,
    /// What the call says in the end.
    pub total: Total,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct Total {
    pub runs: u64,
    /// Drills whose answer was wrong or missing.
    pub failed: u64,
    /// Faults injected, by name.
    pub faults: Faults,
    pub shards: u64,
    /// Delivered again, with equal bits.
    pub duplicates: u64,
    /// Delivered again, with other bits.
    pub conflicts: u64,
    /// Planned and not scored.
    pub lost: u64,
    /// Commands run again after an error.
    pub run_again: u64,
}

impl Tally {
    pub fn add(&mut self, drill: Drill) {
        let total = &mut self.total;
        total.runs += 1;
        total.failed += u64::from(drill.failure.is_some());
        for (name, count) in &drill.faults {
            *total.faults.entry(name).or_default() += count;
        }
        total.shards += drill.shards;
        total.duplicates += drill.duplicates;
        total.conflicts += drill.conflicts;
        total.lost += drill.lost;
        total.run_again += drill.run_again;
        self.drills.push(drill);
    }

    /// True if nothing was lost and all answers agree.
    pub fn is_well(&self) -> bool {
        self.total.failed == 0 && self.total.lost == 0 && self.total.conflicts == 0
    }
}

impl fmt::Display for Drill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.failure.is_some() {
            "FAILED"
        } else {
            "ok"
        };
        write!(
            f,
            "seed {:<6} {:<16} {verdict:<6} {:>4} shards, {} duplicates, {} conflicts, {} lost, run again {}, {:.1} s; {}",
            self.seed,
            self.kind.name(),
            self.shards,
            self.duplicates,
            self.conflicts,
            self.lost,
            self.run_again,
            self.seconds,
            Named(&self.faults),
        )?;
        if let Some(failure) = &self.failure {
            write!(
                f,
                "\n{failure}\nagain: make chaos N=1 SEED={} KINDS={}",
                self.seed,
                self.kind.name()
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "runs        {} ({} failed)", self.runs, self.failed)?;
        writeln!(f, "faults      {}", self.faults.values().sum::<u64>())?;
        for (name, count) in &self.faults {
            writeln!(f, "  {name:<24} {count}")?;
        }
        writeln!(f, "shards      {}", self.shards)?;
        writeln!(f, "duplicates  {}", self.duplicates)?;
        writeln!(f, "conflicts   {}", self.conflicts)?;
        writeln!(f, "lost        {}", self.lost)?;
        write!(f, "run again   {}", self.run_again)
    }
}

struct Named<'a>(&'a Faults);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no faults");
        }
        for (position, (name, count)) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            write!(f, "{comma}{name} {count}")?;
        }
        Ok(())
    }
}
