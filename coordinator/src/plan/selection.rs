//! Which slices are calibrated on and scored: without replacement, by a permutation of `[data] seed`.

use std::collections::BTreeSet;

use anofpdm_common::plan::SliceRef;
use anofpdm_common::random::{Domain, Stream};

/// The chosen slices, in the order of the permutation, and how many there were to choose from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// `min(asked, available)` slices.
    pub slices: Vec<SliceRef>,
    /// Slices of the split.
    pub available: usize,
}

impl Selection {
    /// With those of `more` that it does not hold yet, after its own.
    #[must_use]
    pub fn with(mut self, more: Vec<SliceRef>) -> Self {
        let known: BTreeSet<SliceRef> = self.slices.iter().copied().collect();
        let more = more.into_iter().filter(|slice| !known.contains(slice));
        self.slices.extend(more);
        self
    }
}

/// Chooses `asked` slices of subjects given as `(index into the plan's subjects, slices)`.
///
/// `purpose` separates validation from test, so that the two permutations are independent.
pub fn choose(subjects: &[(u32, u32)], asked: usize, seed: u64, purpose: u64) -> Selection {
    let all: Vec<SliceRef> = subjects
        .iter()
        .flat_map(|&(subject, slices)| {
            (0..slices).map(move |position| SliceRef { subject, position })
        })
        .collect();
    let order = Stream::new(seed, Domain::SliceSelection, purpose, 0).permutation(all.len());
    Selection {
        slices: order
            .into_iter()
            .take(asked)
            .map(|index| all[index as usize])
            .collect(),
        available: all.len(),
    }
}

/// Cuts a list into batches of `batch_slices`; the last one may be short (it is padded when computed).
pub fn batches(slices: &[SliceRef], batch_slices: u32) -> Vec<Vec<SliceRef>> {
    slices
        .chunks(batch_slices as usize)
        .map(<[SliceRef]>::to_vec)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_distinct_and_the_seed_decides() {
        let subjects = [(0, 10), (3, 7)];
        let all = choose(&subjects, 100, 1, 0);
        assert_eq!(all.available, 17);
        assert_eq!(all.slices.iter().collect::<BTreeSet<_>>().len(), 17);
        let some = choose(&subjects, 5, 1, 0);
        assert_eq!(
            some.slices,
            all.slices[..5],
            "a larger choice extends a smaller one"
        );
        assert_ne!(choose(&subjects, 5, 2, 0), some);
        assert_ne!(choose(&subjects, 5, 1, 1), some);
        assert_eq!(batches(&some.slices, 2).len(), 3);
    }

    #[test]
    fn slices_of_whole_patients_come_once_and_after_the_others() {
        let some = choose(&[(0, 10), (3, 7)], 5, 1, 0);
        let whole: Vec<SliceRef> = (0..7)
            .map(|position| SliceRef {
                subject: 3,
                position,
            })
            .collect();
        let both = some.clone().with(whole.clone());
        assert_eq!(both.slices[..5], some.slices);
        let distinct: BTreeSet<_> = both.slices.iter().collect();
        assert_eq!(distinct.len(), both.slices.len());
        assert!(whole.iter().all(|slice| distinct.contains(slice)));
    }
}
