//! The names of everything a run has in Redis.

/// The set of runs that workers may serve.
pub(super) const RUNS: &str = "anofpdm:runs";

/// What a run's keys end in, in the order in which every script gets them.
const NAMES: [&str; 21] = [
    "meta", "job", "avoid", "lease", "deadline", "retry", "trouble", "dead", "claimed", "claims",
    "events", "hello", "admitted", "workers", "seen", "counter", "leaving", "board", "lane:0",
    "lane:1", "lane:2",
];

/// The keys of one run. They share a hash tag, so that a run lies in one slot.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    run: String,
    all: Vec<String>,
}

impl Keys {
    pub(super) fn of(run: &str) -> Self {
        let all = NAMES.map(|name| format!("anofpdm:{{{run}}}:{name}"));
        Self {
            run: run.to_owned(),
            all: all.to_vec(),
        }
    }

    /// The run.
    pub(super) fn run(&self) -> &str {
        &self.run
    }

    /// Every key, in the order of the scripts.
    pub(super) fn all(&self) -> &[String] {
        &self.all
    }

    /// One key by what it ends in.
    pub(super) fn named(&self, name: &str) -> &str {
        NAMES
            .iter()
            .zip(&self.all)
            .find(|(end, _)| **end == name)
            .map_or("", |(_, key)| key)
    }

    /// The three lanes, most urgent first.
    pub(super) fn lanes(&self) -> &[String] {
        &self.all[NAMES.len() - 3..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_carry_the_run_as_hash_tag() {
        let keys = Keys::of("brats-1a2b3c4d");
        assert_eq!(keys.named("claims"), "anofpdm:{brats-1a2b3c4d}:claims");
        assert_eq!(keys.lanes()[2], "anofpdm:{brats-1a2b3c4d}:lane:2");
        assert_eq!(keys.all().len(), NAMES.len());
    }
}
