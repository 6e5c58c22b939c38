//! Predictions and truths of two folders, matched by name: `CASE.nii.gz` in both, as nnU-Net lays them out.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Names that a message lists at most.
const LISTED: usize = 8;

const ENDINGS: [&str; 2] = [".nii.gz", ".nii"];

/// One case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumePair {
    pub case: String,
    pub predicted: PathBuf,
    pub truth: PathBuf,
    /// The map that the prediction was made of, where there is one.
    pub map: Option<PathBuf>,
}

/// Why two folders are not compared.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    #[error("{folder} cannot be read: {source}")]
    Read { folder: PathBuf, source: io::Error },
    #[error(
        "{folder} holds no NIfTI file (CASE{suffix}.nii.gz or .nii), in itself or in a folder one level below"
    )]
    None { folder: PathBuf, suffix: String },
    #[error("{folder}: two files for case {case}: {first} and {second}; keep one")]
    Twice {
        folder: PathBuf,
        case: String,
        first: String,
        second: String,
    },
    #[error(
        "{count} of {truths} cases have no prediction in {folder}: {}; predict them, or take their truth out of its folder (what is \
         left out is not counted as wrong, and should be said beside the numbers)",
        listed(.missing, *.count)
    )]
    Missing {
        folder: PathBuf,
        missing: Vec<String>,
        count: usize,
        truths: usize,
    },
    #[error(
        "no prediction has the name of a truth: {predicted} beside {truth}; names before .nii.gz must be the same, or differ \
         by what --pred-suffix and --truth-suffix name"
    )]
    NoMatch { predicted: String, truth: String },
    #[error(
        "{count} of {cases} cases have no map in {folder}: {}; a map is called as its case, with what --maps-suffix names behind it",
        listed(.missing, *.count)
    )]
    NoMap {
        folder: PathBuf,
        missing: Vec<String>,
        count: usize,
        cases: usize,
    },
    #[error("--pred and --truth are the same folder: the truth would be compared with itself")]
    Same,
}

fn listed(names: &[String], count: usize) -> String {
    let mut text = names.join(", ");
    if count > names.len() {
        text += &format!(" and {} more", count - names.len());
    }
    text
}

/// The cases of `truth`, each with its prediction, by name; and predictions that no truth has the name of. Files count
/// whose name ends with the suffix of their side, `.nii` or `.nii.gz` behind it; the case is what stands before.
///
/// # Errors
/// When a folder cannot be read or holds nothing, a case is there twice, or a truth has no prediction.
pub fn pairs(
    predicted: (&Path, &str),
    truth: (&Path, &str),
) -> Result<(Vec<VolumePair>, Vec<String>), PairError> {
    let same_place = predicted.0.canonicalize().ok() == truth.0.canonicalize().ok();
    if same_place && predicted.1 == truth.1 {
        return Err(PairError::Same);
    }
    let mut predictions = cases(predicted)?;
    let truths = cases(truth)?;
    let found = truths.keys().any(|case| predictions.contains_key(case));
    if let (false, Some(first), Some(other)) =
        (found, predictions.values().next(), truths.values().next())
    {
        return Err(PairError::NoMatch {
            predicted: name(first),
            truth: name(other),
        });
    }
    let missing: Vec<&String> = truths
        .keys()
        .filter(|case| !predictions.contains_key(*case))
        .collect();
    if !missing.is_empty() {
        return Err(PairError::Missing {
            folder: predicted.0.to_path_buf(),
            count: missing.len(),
            truths: truths.len(),
            missing: missing.into_iter().take(LISTED).cloned().collect(),
        });
    }
    let pairs = truths
        .into_iter()
        .filter_map(|(case, truth)| {
            let predicted = predictions.remove(&case)?;
            Some(VolumePair {
                case,
                predicted,
                truth,
                map: None,
            })
        })
        .collect();
    Ok((pairs, predictions.into_keys().collect()))
}

/// The same cases, each with its map out of another folder.
///
/// # Errors
/// When that cannot be read, or a case has none.
pub fn with_maps(
    mut pairs: Vec<VolumePair>,
    maps: (&Path, &str),
) -> Result<Vec<VolumePair>, PairError> {
    let mut found = cases(maps)?;
    for pair in &mut pairs {
        pair.map = found.remove(&pair.case);
    }
    let without = pairs.iter().filter(|pair| pair.map.is_none());
    let missing: Vec<String> = without.map(|pair| pair.case.clone()).collect();
    if missing.is_empty() {
        return Ok(pairs);
    }
    Err(PairError::NoMap {
        folder: maps.0.to_path_buf(),
        count: missing.len(),
        cases: pairs.len(),
        missing: missing.into_iter().take(LISTED).collect(),
    })
}

fn cases((folder, suffix): (&Path, &str)) -> Result<BTreeMap<String, PathBuf>, PairError> {
    let read = |at: &Path| {
        let failed = |source| PairError::Read {
            folder: at.to_path_buf(),
            source,
        };
        let entries = std::fs::read_dir(at).map_err(failed)?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        paths.collect::<io::Result<Vec<_>>>().map_err(failed)
    };
    let mut files = Vec::new();
    for path in read(folder)? {
        if path.is_dir() {
            files.extend(read(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    let mut cases = BTreeMap::<String, PathBuf>::new();
    for path in files {
        let file = name(&path);
        let stem = ENDINGS.iter().find_map(|ending| file.strip_suffix(ending));
        let Some(case) = stem.and_then(|stem| stem.strip_suffix(suffix)) else {
            continue;
        };
        if case.is_empty() || file.starts_with('.') || !path.is_file() {
            continue;
        }
        if let Some(first) = cases.insert(case.to_owned(), path.clone()) {
            let within = |path: &Path| {
                let inner = path.strip_prefix(folder).unwrap_or(path);
                inner.display().to_string()
            };
            return Err(PairError::Twice {
                folder: folder.to_path_buf(),
                case: case.to_owned(),
                first: within(&first),
                second: within(&path),
            });
        }
    }
    if cases.is_empty() {
        return Err(PairError::None {
            folder: folder.to_path_buf(),
            suffix: suffix.to_owned(),
        });
    }
    Ok(cases)
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        folder
    }

    #[test]
    fn names_match_less_suffix_and_what_is_over_is_told() {
        let predicted = folder(&[
            "a_mask.nii.gz",
            "a_map.nii.gz",
            "b_mask.nii",
            "c_mask.nii.gz",
            "plans.json",
        ]);
        let truth = folder(&["a/a_seg.nii.gz", "a/a_flair.nii.gz", "b/b_seg.nii.gz"]);
        let (found, over) = pairs((predicted.path(), "_mask"), (truth.path(), "_seg")).unwrap();
        let cases: Vec<&str> = found.iter().map(|pair| pair.case.as_str()).collect();
        assert_eq!((cases, over), (vec!["a", "b"], vec!["c".to_owned()]));
        assert!(found[1].predicted.ends_with("b_mask.nii"));
    }

    #[test]
    fn what_is_missing_or_twice_is_named() {
        let truth = folder(&["a.nii.gz", "b.nii.gz", "c.nii.gz"]);
        let error = |predicted: &[&str]| {
            let predicted = folder(predicted);
            let error = pairs((predicted.path(), ""), (truth.path(), "")).unwrap_err();
            error.to_string()
        };
        let message = error(&["b.nii.gz"]);
        assert!(
            message.contains("2 of 3 cases have no prediction"),
            "{message}"
        );
        assert!(message.contains(": a, c;"), "{message}");
        let message = error(&["a.nii", "a.nii.gz"]);
        assert!(message.contains("two files for case a"), "{message}");
        let message = error(&["a_mask.nii.gz"]);
        assert!(
            message.contains("a_mask.nii.gz beside a.nii.gz"),
            "{message}"
        );
        let message = error(&["a.npz"]);
        assert!(message.contains("holds no NIfTI file"), "{message}");
        let same = pairs((truth.path(), ""), (truth.path(), "")).unwrap_err();
        assert!(matches!(same, PairError::Same));
        let gone = pairs((&truth.path().join("gone"), ""), (truth.path(), "")).unwrap_err();
        assert!(matches!(gone, PairError::Read { .. }));
    }
}
