//! Which subjects train, validate and test: always whole patients.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anofpdm_common::nearest::nearest;
use anofpdm_common::random::{Domain, Stream};
use anofpdm_common::store::slices::Split;

mod file;
mod python;

use file::SplitFile;

/// Unknown names that a message lists.
const LISTED: usize = 5;

#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    #[error(
        "'{0}' is no split: three whole percentages that add up to 100 (75/5/20), 'reference', or a JSON or CSV file"
    )]
    Unknown(String),
    #[error("{path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "{path}: {reason}; expected {{\"SUBJECT\": \"train\"}} or lines SUBJECT,SPLIT below 'subject,split', with train, validation or test"
    )]
    File { path: PathBuf, reason: String },
    #[error("{path}: names neither subject '{id}' nor its patient{hint}")]
    Missing {
        path: PathBuf,
        id: String,
        hint: String,
    },
    #[error(
        "{path}: puts '{first}' into {first_split} and '{second}' into {second_split}, and both are of patient \
         '{patient}'; all scans of a patient go into one split"
    )]
    Apart {
        path: PathBuf,
        patient: String,
        first: String,
        first_split: Split,
        second: String,
        second_split: Split,
    },
}

/// A subject as the splits see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    pub id: &'a str,
    pub patient: &'a str,
}

impl<'a> Member<'a> {
    /// A subject that is the only scan of its patient.
    pub const fn alone(id: &'a str) -> Self {
        Self { id, patient: id }
    }
}

#[derive(Debug)]
pub enum SplitSource {
    /// The public code's permutation.
    Reference,
    /// Percentages of patients for training, validation and test.
    Ratios([usize; 3]),
    /// A file that names subjects or patients.
    File(SplitFile),
}

impl SplitSource {
    /// Reads `75/5/20`, `reference` or a file, relative to `base`.
    pub fn read(source: &str, base: &Path) -> Result<Self, SplitError> {
        if source == "reference" {
            return Ok(Self::Reference);
        }
        if let Some(ratios) = ratios(source) {
            return Ok(Self::Ratios(ratios));
        }
        let path = base.join(source);
        if !path.is_file() {
            return Err(SplitError::Unknown(source.to_owned()));
        }
        SplitFile::read(path).map(Self::File)
    }

    /// The split of each of `members`, whose order does not matter: ratios are drawn with `seed`, and three patients or
    /// more give each split one.
    pub fn assign(&self, members: &[Member<'_>], seed: u64) -> Result<Vec<Split>, SplitError> {
        let patients = Patients::of(members);
        let count = patients.count;
        Ok(match self {
            Self::Reference => {
                let (train, validation) = (count * 3 / 4, count / 20);
                let counts = [train, validation, count - train - validation];
                patients.deal(&python::shuffled(10, count), counts)
            }
            Self::Ratios(ratios) => {
                let order: Vec<usize> = Stream::new(seed, Domain::PatientSplit, 0, 0)
                    .permutation(count)
                    .into_iter()
                    .map(|index| index as usize)
                    .collect();
                let counts = counts(*ratios, count);
                warn_of_empty(*ratios, counts);
                patients.deal(&order, counts)
            }
            Self::File(file) => file.assign(members)?,
        })
    }

    /// Whether it says anything of any of `members`.
    pub fn names_any(&self, members: &[Member<'_>]) -> bool {
        match self {
            Self::Reference | Self::Ratios(_) => true,
            Self::File(file) => file.names_any(members),
        }
    }

    /// A sentence on names in a split file that no member has, each with the nearest one that there is; `None` where
    /// there are none.
    pub fn strangers(&self, members: &[Member<'_>]) -> Option<String> {
        let Self::File(file) = self else {
            return None;
        };
        let strangers = file.strangers(members);
        if strangers.is_empty() {
            return None;
        }
        let known = || {
            members
                .iter()
                .flat_map(|member| [member.id, member.patient])
        };
        Some(format!(
            "{}: names {}",
            file.path().display(),
            name_strangers(&strangers, known)
        ))
    }
}

/// `'a' (did you mean 'b'?) and 3 more, which are no subjects here`, bounded.
pub(super) fn name_strangers<'a, I: Iterator<Item = &'a str>>(
    strangers: &[&str],
    known: impl Fn() -> I,
) -> String {
    let listed: Vec<String> = strangers
        .iter()
        .take(LISTED)
        .map(|name| match nearest(name, known()) {
            Some(near) => format!("'{name}' (did you mean '{near}'?)"),
            None => format!("'{name}'"),
        })
        .collect();
    let more = strangers.len().saturating_sub(LISTED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let which = if strangers.len() == 1 {
        "which is no subject here"
    } else {
        "which are no subjects here"
    };
    format!("{}{more}, {which}", listed.join(", "))
}

/// The split of each of `members` as `source` has it, relative to `base`: [`SplitSource::read`] and then
/// [`SplitSource::assign`].
pub fn assign(
    source: &str,
    base: &Path,
    members: &[Member<'_>],
    seed: u64,
) -> Result<Vec<Split>, SplitError> {
    SplitSource::read(source, base)?.assign(members, seed)
}

/// `a/b/c`, whole percentages.
fn ratios(source: &str) -> Option<[usize; 3]> {
    let parts: Vec<usize> = source
        .split('/')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let ratios: [usize; 3] = parts.try_into().ok()?;
    let total = ratios
        .iter()
        .try_fold(0_usize, |sum, part| sum.checked_add(*part));
    (total == Some(100)).then_some(ratios)
}

/// Sizes of the splits in patients: rounded down, the rest to the last, and then none empty that was asked for, where there are
/// patients enough.
fn counts(ratios: [usize; 3], patients: usize) -> [usize; 3] {
    let mut counts = ratios.map(|ratio| patients * ratio / 100);
    let last = ratios.iter().rposition(|ratio| *ratio > 0).unwrap_or(2);
    counts[last] += patients - counts.iter().sum::<usize>();
    let asked = ratios.iter().filter(|ratio| **ratio > 0).count();
    if patients >= asked {
        while let Some(empty) = (0..3).find(|split| ratios[*split] > 0 && counts[*split] == 0) {
            let largest = if counts[0] >= counts[1] && counts[0] >= counts[2] {
                0
            } else if counts[1] >= counts[2] {
                1
            } else {
                2
            };
            counts[largest] -= 1;
            counts[empty] += 1;
        }
    }
    counts
}

fn warn_of_empty(ratios: [usize; 3], counts: [usize; 3]) {
    for (index, split) in Split::ALL.into_iter().enumerate() {
        if ratios[index] > 0 && counts[index] == 0 {
            tracing::warn!(%split, patients = counts.iter().sum::<usize>(), "too few patients: a split stays empty");
        }
    }
}

/// Members by patient. Patients are numbered in the order of their first member's name, so that a set in which every
/// patient has one scan is dealt by the names of its subjects.
struct Patients {
    /// The patient of each member.
    of: Vec<usize>,
    count: usize,
}

impl Patients {
    fn of(members: &[Member<'_>]) -> Self {
        let mut first: BTreeMap<&str, &str> = BTreeMap::new();
        for member in members {
            let name = first.entry(member.patient).or_insert(member.id);
            *name = (*name).min(member.id);
        }
        let mut order: Vec<(&str, &str)> =
            first.iter().map(|(patient, id)| (*id, *patient)).collect();
        order.sort_unstable();
        let numbers: BTreeMap<&str, usize> = order
            .iter()
            .enumerate()
            .map(|(number, (_, patient))| (*patient, number))
            .collect();
        Self {
            of: members
                .iter()
                .map(|member| numbers[member.patient])
                .collect(),
            count: numbers.len(),
        }
    }

    /// Gives the splits to the patients in the order of the permutation.
    fn deal(&self, order: &[usize], counts: [usize; 3]) -> Vec<Split> {
        let mut splits = vec![Split::Test; self.count];
        for (place, drawn) in order.iter().enumerate() {
            splits[*drawn] = if place < counts[0] {
                Split::Train
            } else if place < counts[0] + counts[1] {
                Split::Validation
            } else {
                Split::Test
            };
        }
        self.of.iter().map(|patient| splits[*patient]).collect()
    }
}

#[cfg(test)]
mod tests;
