//! Which subjects train, validate and test: always whole patients (SCIENCE 8).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anofpdm_common::random::{Domain, Stream};
use anofpdm_common::store::slices::Split;

mod python;

/// Room for a hundred thousand subjects.
const MAX_FILE: u64 = 16 << 20;

/// What is wrong with a split.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// Neither ratios nor `reference` nor a file.
    #[error(
        "'{0}' is no split: three whole percentages that add up to 100 (75/5/20), 'reference', or a JSON or CSV file"
    )]
    Unknown(String),
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file does not hold a split.
    #[error(
        "{path}: {reason}; expected {{\"SUBJECT\": \"train\"}} or lines SUBJECT,SPLIT below 'subject,split', with train, validation or test"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A subject that the file does not mention.
    #[error("{path}: does not name subject '{id}'")]
    Missing {
        /// The file.
        path: PathBuf,
        /// The subject.
        id: String,
    },
}

/// The split of each of `ids`. `source` is `75/5/20` (drawn with `seed`; three subjects or more give each split one),
/// `reference` (the public code's permutation) or a file, relative to `base`. The order of `ids` does not matter.
///
/// # Errors
/// [`SplitError`] when `source` is none of these or its file does not cover `ids`.
pub fn assign(
    source: &str,
    base: &Path,
    ids: &[&str],
    seed: u64,
) -> Result<Vec<Split>, SplitError> {
    if source == "reference" {
        let train = ids.len() * 3 / 4;
        let validation = ids.len() / 20;
        let counts = [train, validation, ids.len() - train - validation];
        return Ok(deal(ids, &python::shuffled(10, ids.len()), counts));
    }
    if let Some(ratios) = ratios(source) {
        let order: Vec<usize> = Stream::new(seed, Domain::PatientSplit, 0, 0)
            .permutation(ids.len())
            .into_iter()
            .map(|index| index as usize)
            .collect();
        let counts = counts(ratios, ids.len());
        warn_of_empty(ratios, counts);
        return Ok(deal(ids, &order, counts));
    }
    let path = base.join(source);
    if !path.is_file() {
        return Err(SplitError::Unknown(source.to_owned()));
    }
    let named = read_file(&path)?;
    ids.iter()
        .map(|id| {
            named.get(*id).copied().ok_or_else(|| SplitError::Missing {
                path: path.clone(),
                id: (*id).to_owned(),
            })
        })
        .collect()
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

/// Sizes of the splits: rounded down, the rest to the last, and then none empty that was asked for, where there are
/// subjects enough.
fn counts(ratios: [usize; 3], subjects: usize) -> [usize; 3] {
    let mut counts = ratios.map(|ratio| subjects * ratio / 100);
    let last = ratios.iter().rposition(|ratio| *ratio > 0).unwrap_or(2);
    counts[last] += subjects - counts.iter().sum::<usize>();
    let asked = ratios.iter().filter(|ratio| **ratio > 0).count();
    if subjects >= asked {
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
            tracing::warn!(%split, subjects = counts.iter().sum::<usize>(), "too few subjects: a split stays empty");
        }
    }
}

/// Gives the splits to the sorted names in the order of the permutation.
fn deal(ids: &[&str], order: &[usize], counts: [usize; 3]) -> Vec<Split> {
    let mut sorted: Vec<usize> = (0..ids.len()).collect();
    sorted.sort_by_key(|index| ids[*index]);
    let mut splits = vec![Split::Test; ids.len()];
    for (place, drawn) in order.iter().enumerate() {
        splits[sorted[*drawn]] = if place < counts[0] {
            Split::Train
        } else if place < counts[0] + counts[1] {
            Split::Validation
        } else {
            Split::Test
        };
    }
    splits
}

fn read_file(path: &Path) -> Result<BTreeMap<String, Split>, SplitError> {
    let failed = |source| SplitError::Read {
        path: path.to_path_buf(),
        source,
    };
    let bad = |reason: String| SplitError::File {
        path: path.to_path_buf(),
        reason,
    };
    if fs::metadata(path).map_err(failed)?.len() > MAX_FILE {
        return Err(bad("it is too large for a split".to_owned()));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    if path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        return serde_json::from_str(&text).map_err(|e| bad(e.to_string()));
    }
    let mut lines = text.trim_start_matches('\u{feff}').lines();
    if lines
        .next()
        .map(|header| header.replace(' ', ""))
        .as_deref()
        != Some("subject,split")
    {
        return Err(bad("the header is not 'subject,split'".to_owned()));
    }
    let mut named = BTreeMap::new();
    for (index, line) in lines
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let (id, name) = line
            .split_once(',')
            .ok_or_else(|| bad(format!("line {} is '{line}'", index + 2)))?;
        let split = Split::ALL
            .into_iter()
            .find(|split| split.to_string() == name.trim())
            .ok_or_else(|| bad(format!("line {}: '{}' is no split", index + 2, name.trim())))?;
        if named.insert(id.trim().to_owned(), split).is_some() {
            return Err(bad(format!(
                "line {} names '{}' again",
                index + 2,
                id.trim()
            )));
        }
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sizes(splits: &[Split]) -> [usize; 3] {
        Split::ALL.map(|split| splits.iter().filter(|s| **s == split).count())
    }

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("s{i:04}")).collect()
    }

    fn refs(names: &[String]) -> Vec<&str> {
        names.iter().map(String::as_str).collect()
    }

    proptest! {
        #[test]
        fn three_subjects_or_more_leave_no_split_empty(n in 3_usize..400, seed: u64) {
            let names = names(n);
            let splits = assign("75/5/20", Path::new(""), &refs(&names), seed).unwrap();
            prop_assert!(sizes(&splits).iter().all(|size| *size > 0));
            prop_assert_eq!(splits.len(), n);
        }
    }

    #[test]
    fn ratios_are_kept_and_the_order_of_names_does_not_matter() {
        let names = names(100);
        let mut ids = refs(&names);
        let forward = assign("75/5/20", Path::new(""), &ids, 3).unwrap();
        assert_eq!(sizes(&forward), [75, 5, 20]);
        ids.reverse();
        let mut backward = assign("75/5/20", Path::new(""), &ids, 3).unwrap();
        backward.reverse();
        assert_eq!(forward, backward);
        assert_ne!(
            forward,
            assign("75/5/20", Path::new(""), &refs(&names), 4).unwrap()
        );
        assert_eq!(
            sizes(&assign("0/0/100", Path::new(""), &ids, 0).unwrap()),
            [0, 0, 100]
        );
        assert_eq!(
            sizes(&assign("60/40/0", Path::new(""), &ids, 0).unwrap()),
            [60, 40, 0]
        );
    }

    #[test]
    fn two_subjects_are_dealt_as_far_as_they_go() {
        let names = names(2);
        assert_eq!(
            assign("75/5/20", Path::new(""), &refs(&names), 0)
                .unwrap()
                .len(),
            2
        );
    }

    #[test]
    fn files_name_every_subject() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write(
            "a.json",
            r#"{"x": "test", "y": "train", "unused": "train"}"#,
        );
        write("a.csv", "subject,split\nx,test\ny, train\n");
        write("b.csv", "subject,split\nx,exam\n");
        write("c.csv", "subject,split\nx,test\nx,train\n");
        for file in ["a.json", "a.csv"] {
            let splits = assign(file, folder.path(), &["x", "y"], 0).unwrap();
            assert_eq!(splits, [Split::Test, Split::Train]);
            assert!(matches!(
                assign(file, folder.path(), &["z"], 0),
                Err(SplitError::Missing { .. })
            ));
        }
        for file in ["b.csv", "c.csv"] {
            assert!(matches!(
                assign(file, folder.path(), &["x"], 0),
                Err(SplitError::File { .. })
            ));
        }
        for source in ["none.json", "75/5", "70/5/20", "a/b/c", "", "75/5/20/0"] {
            assert!(
                matches!(
                    assign(source, folder.path(), &["x"], 0),
                    Err(SplitError::Unknown(_))
                ),
                "{source}"
            );
        }
    }
}
