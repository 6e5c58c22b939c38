//! Score runs read once and kept for all that is counted from them.

use super::score_run::RunSource;

/// Most keys kept (512 MiB).
pub const MOST_KEYS: usize = 1 << 27;

/// Runs of slices one after the other.
#[derive(Debug, Default)]
pub struct CollectedRuns {
    keys: Vec<u32>,
    /// Where the run of each slice ends.
    ends: Vec<usize>,
}

impl CollectedRuns {
    /// Keeps the run of the next slice, unless there are more than `room` keys then: false.
    pub fn push(&mut self, run: &[u32], room: usize) -> bool {
        if self.keys.len().saturating_add(run.len()) > room {
            return false;
        }
        self.keys.extend_from_slice(run);
        self.ends.push(self.keys.len());
        true
    }

    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    fn run(&self, slice: usize) -> &[u32] {
        let start = slice.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.keys[start..self.ends[slice]]
    }
}

impl RunSource for CollectedRuns {
    type Error = std::convert::Infallible;

    fn in_memory(&self) -> bool {
        true
    }

    fn visit_runs(
        &self,
        slices: &[usize],
        visit: &mut dyn FnMut(usize, &[u32]),
    ) -> Result<(), Self::Error> {
        for slice in slices {
            visit(*slice, self.run(*slice));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_come_back_until_there_is_no_room() {
        let mut runs = CollectedRuns::default();
        for run in [&[1, 2, 3][..], &[], &[7]] {
            assert!(runs.push(run, 4));
        }
        assert!(!runs.push(&[9], 4));
        assert_eq!(runs.keys(), 4);
        let mut seen = Vec::new();
        let Ok(()) = runs.visit_runs(&[0, 1, 2], &mut |slice, run| {
            seen.push((slice, run.to_vec()))
        });
        assert_eq!(seen, [(0, vec![1, 2, 3]), (1, vec![]), (2, vec![7])]);
    }
}
