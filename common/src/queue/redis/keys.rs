//! The names of everything a run has in Redis.

/// The set of runs that workers may serve.
pub(super) const RUNS: &str = "anofpdm:runs";

/// What a run's keys end in, in the order in which every script gets them, and the command that counts what is there:
/// it fails where another kind of value stands.
const NAMES: [(&str, &str); 21] = [
    ("meta", "HLEN"),
    ("job", "HLEN"),
    ("avoid", "HLEN"),
    ("lease", "HLEN"),
    ("deadline", "ZCARD"),
    ("retry", "ZCARD"),
    ("trouble", "HLEN"),
    ("dead", "SCARD"),
    ("claimed", "SCARD"),
    ("claims", "XLEN"),
    ("events", "XLEN"),
    ("hello", "XLEN"),
    ("admitted", "HLEN"),
    ("workers", "HLEN"),
    ("seen", "ZCARD"),
    ("counter", "HLEN"),
    ("leaving", "SCARD"),
    ("board", "HLEN"),
    ("lane:0", "XLEN"),
    ("lane:1", "XLEN"),
    ("lane:2", "XLEN"),
];

/// The keys of one run. They share a hash tag, so that a run lies in one slot.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    run: String,
    all: Vec<String>,
}

impl Keys {
    pub(super) fn of(run: &str) -> Self {
        let all = NAMES.map(|(name, _)| format!("anofpdm:{{{run}}}:{name}"));
        Self {
            run: run.to_owned(),
            all: all.to_vec(),
        }
    }

    pub(super) fn run(&self) -> &str {
        &self.run
    }

    /// Every key, in the order of the scripts.
    pub(super) fn all(&self) -> &[String] {
        &self.all
    }

    pub(super) fn named(&self, name: &str) -> &str {
        NAMES
            .iter()
            .zip(&self.all)
            .find(|((end, _), _)| *end == name)
            .map_or("", |(_, key)| key)
    }

    /// Every key with the command that counts what is there.
    pub(super) fn counted(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let all = self.all.iter().map(String::as_str);
        all.zip(NAMES.iter().map(|(_, count)| *count))
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
