//! Which test slices are kept to be looked at: by a rule that is fixed before anything is scored, so that nobody chooses
//! what looks well.

use std::collections::BTreeSet;

use anofpdm_common::plan::{ExhibitPlan, SliceRef};
use anofpdm_common::random::{Domain, Stream};
use anofpdm_common::spec::{DIFFUSION_STEPS, ReportSpec};

/// Separates the permutation of the patients from those of the slices.
const EXHIBITS: u64 = 2;

/// Slices of Figure 3: of those with a lesion, by its size, at these shares of their order.
const QUANTILES: [f64; 6] = [0.10, 0.26, 0.42, 0.58, 0.74, 0.90];

/// Columns of Figure 3, in steps of the full schedule.
const TIMES: [u32; 6] = [100, 200, 300, 500, 600, 700];

/// The rule, in words for a reader of the report.
pub const RULE: &str = "Patients are drawn by a permutation that the data seed decides, and all of their scored slices \
are shown; Figures 3 and 4 show the slices with a lesion at 10, 26, 42, 58, 74 and 90 % of the order of lesion size; Figure 2 \
is made of the first slices of either kind in the order of the slice list.";

/// A test slice, as the rule sees it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    pub slice: SliceRef,
    pub patient: u32,
    /// Lesion pixels.
    pub lesion: u32,
}

/// Chooses among the `test` slices, in the order of the slice list. A walk has `steps` steps of a schedule of `kept`.
pub fn choose(
    report: ReportSpec,
    test: &[Candidate],
    seed: u64,
    steps: u32,
    kept: u32,
) -> ExhibitPlan {
    let patients: Vec<u32> = test
        .iter()
        .map(|candidate| candidate.patient)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let order = Stream::new(seed, Domain::SliceSelection, EXHIBITS, 0).permutation(patients.len());
    let shown: BTreeSet<u32> = order
        .into_iter()
        .take(report.patients as usize)
        .map(|index| patients[index as usize])
        .collect();
    let stepwise = match shown.is_empty() {
        true => Vec::new(),
        false => by_lesion_size(test),
    };
    let of_patients = test
        .iter()
        .filter(|candidate| shown.contains(&candidate.patient));
    let maps = of_patients.map(|candidate| candidate.slice);
    let first = |unhealthy: bool| {
        let of_kind = test
            .iter()
            .filter(move |candidate| (candidate.lesion > 0) == unhealthy);
        of_kind
            .map(|candidate| candidate.slice)
            .take(report.traces as usize)
    };
    ExhibitPlan {
        maps: ascending(maps.chain(stepwise.iter().copied())),
        sequences: ascending(first(true).chain(first(false))),
        step_indices: match stepwise.is_empty() {
            true => Vec::new(),
            false => step_indices(steps, kept),
        },
        steps: ascending(stepwise),
    }
}

fn by_lesion_size(test: &[Candidate]) -> Vec<SliceRef> {
    let mut unhealthy: Vec<(u32, SliceRef)> = test
        .iter()
        .filter(|candidate| candidate.lesion > 0)
        .map(|candidate| (candidate.lesion, candidate.slice))
        .collect();
    unhealthy.sort_unstable();
    let Some(last) = unhealthy.len().checked_sub(1) else {
        return Vec::new();
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let places = QUANTILES.map(|share| (share * last as f64).round() as usize);
    places.into_iter().map(|place| unhealthy[place].1).collect()
}

/// The steps nearest to [`TIMES`] that a walk reaches, and its last.
fn step_indices(steps: u32, kept: u32) -> Vec<u32> {
    let nearest = |time: u32| time * kept / DIFFUSION_STEPS;
    let reached = TIMES.into_iter().map(nearest).filter(|step| *step < steps);
    let last = steps.checked_sub(1);
    let indices: BTreeSet<u32> = reached.chain(last).collect();
    indices.into_iter().collect()
}

fn ascending(slices: impl IntoIterator<Item = SliceRef>) -> Vec<SliceRef> {
    let slices: BTreeSet<SliceRef> = slices.into_iter().collect();
    slices.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten patients of twenty slices; every third slice has a lesion, the later the larger.
    fn test() -> Vec<Candidate> {
        (0..200)
            .map(|number| Candidate {
                slice: SliceRef {
                    subject: number % 10,
                    position: number / 10,
                },
                patient: number % 10,
                lesion: if number % 3 == 0 { number + 1 } else { 0 },
            })
            .collect()
    }

    #[test]
    fn patients_are_shown_whole_and_the_seed_decides_which() {
        let report = ReportSpec {
            patients: 2,
            traces: 0,
        };
        let plan = choose(report, &test(), 7, 20, 50);
        let subjects: BTreeSet<u32> = plan.maps.iter().map(|slice| slice.subject).collect();
        let whole = |subject: &&u32| {
            plan.maps
                .iter()
                .filter(|slice| slice.subject == **subject)
                .count()
                == 20
        };
        assert_eq!(subjects.iter().filter(whole).count(), 2);
        assert!(plan.sequences.is_empty());
        let others = (0..5).map(|seed| choose(report, &test(), seed, 20, 50).maps);
        assert!(others.collect::<BTreeSet<_>>().len() > 1);
    }

    #[test]
    fn lesions_of_all_sizes_are_walked_step_by_step() {
        let plan = choose(ReportSpec::default(), &test(), 0, 20, 50);
        assert_eq!(plan.steps.len(), 6);
        let size = |slice: &SliceRef| slice.position * 10 + slice.subject;
        let sizes: BTreeSet<u32> = plan.steps.iter().map(size).collect();
        // 67 lesions: places 7, 17, 28, 38, 49 and 59.
        assert_eq!(
            sizes.into_iter().collect::<Vec<_>>(),
            [21, 51, 84, 114, 147, 177]
        );
        assert!(plan.steps.iter().all(|slice| plan.maps.contains(slice)));
        // t = 500 is kept step 25, which a walk of 20 does not reach.
        assert_eq!(plan.step_indices, [5, 10, 15, 19]);
        assert_eq!(step_indices(600, 1_000), [100, 200, 300, 500, 599]);
        assert_eq!(step_indices(1, 1), [0]);
    }

    #[test]
    fn sequences_are_of_the_first_slices_of_either_kind() {
        let report = ReportSpec {
            patients: 0,
            traces: 5,
        };
        let plan = choose(report, &test(), 0, 20, 50);
        assert_eq!(plan.sequences.len(), 10);
        assert!(plan.maps.is_empty() && plan.steps.is_empty());
        let none = ReportSpec {
            patients: 0,
            traces: 0,
        };
        assert!(choose(none, &test(), 0, 20, 50).is_empty());
        assert!(choose(ReportSpec::default(), &[], 0, 20, 50).is_empty());
    }
}
