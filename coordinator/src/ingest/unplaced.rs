//! Volumes whose header does not tell which way their axes run, in a set where others' do.
//!
//! `sform_code` = `qform_code` = 0 says that nothing is known, and the identity is what programs write that know
//! nothing. Taken as they are, such arrays are as consistent as their set; beside volumes that are turned by what they
//! state they may face another way, and nothing in them would show it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::convert::{SkipReason, file_name};
use super::volume::{IDENTITY, Orientation, Volume};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Axes,
    Identity,
    Nothing,
}

impl Told {
    /// `None` for a file that cannot be read: converting it will say why.
    fn by(path: &Path, orientation: Orientation) -> Option<Self> {
        Some(match Volume::stated_affine(path).ok()? {
            None => Self::Nothing,
            // Read literally it runs to the right, the front and the head: as it is, where the set's axes do.
            Some(IDENTITY) if orientation != Orientation::Ras => Self::Identity,
            Some(_) => Self::Axes,
        })
    }

    fn what(self) -> &'static str {
        match self {
            Self::Axes => "its affine says which way its axes run",
            Self::Identity => {
                "its affine is the identity, which programs write that know no orientation"
            }
            Self::Nothing => "its header states no orientation (sform_code and qform_code are 0)",
        }
    }
}

/// What a look at the headers of a whole set found.
#[derive(Debug, Default)]
pub struct Unplaced {
    /// Subjects that must not be converted beside the others.
    pub skipped: BTreeMap<String, SkipReason>,
    /// For the user, where none of the set's volumes tells.
    pub notice: Option<String>,
}

impl Unplaced {
    /// Looks at the first image of each subject, on the threads of the current pool.
    pub fn among(subjects: &[(&str, PathBuf)], orientation: Orientation) -> Self {
        let told: Vec<Option<Told>> = subjects
            .par_iter()
            .map(|(_, path)| Told::by(path, orientation))
            .collect();
        let are = |wanted: fn(Told) -> bool| {
            subjects
                .iter()
                .zip(&told)
                .filter_map(move |(subject, told)| {
                    told.filter(|told| wanted(*told))
                        .map(|told| (subject, told))
                })
        };
        let mut placed = are(|told| told == Told::Axes);
        let unplaced = are(|told| told != Told::Axes);
        let Some(((_, example), _)) = placed.next() else {
            return Self {
                skipped: BTreeMap::new(),
                notice: are(|told| told != Told::Axes).next().map(|((_, path), told)| {
                    format!(
                        "no volume of this set tells which way its axes run ({}: {}); their arrays are taken as they are, as \
                         if the axes ran {}: look at --preview before using networks that were trained on another set",
                        file_name(path),
                        told.what(),
                        orientation.words(),
                    )
                }),
            };
        };
        let others = placed.count() + 1;
        Self {
            skipped: unplaced
                .map(|((id, path), told)| {
                    let reason = SkipReason::Unplaced {
                        file: file_name(path),
                        what: told.what(),
                        others,
                        example: file_name(example),
                    };
                    ((*id).to_owned(), reason)
                })
                .collect(),
            notice: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::volume::tests::test_file::{Field, TestFile};
    use super::*;

    const LPS: [[f64; 4]; 3] = [
        [-1.0, 0.0, 0.0, 5.0],
        [0.0, -1.0, 0.0, 6.0],
        [0.0, 0.0, 1.0, 7.0],
    ];

    /// Writes a volume for each of `kinds` and says who would be skipped, and the notice.
    fn look(kinds: &str, orientation: Orientation) -> (Vec<String>, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..)
            .zip(kinds.chars())
            .map(|(n, kind)| format!("{n}{kind}"))
            .collect();
        let subjects: Vec<(&str, PathBuf)> = names
            .iter()
            .map(|name| {
                let path = folder.path().join(format!("{name}.nii"));
                match name.chars().last() {
                    Some('p') => TestFile::new([2, 3, 4], LPS).write(&path),
                    Some('i') => TestFile::new([2, 3, 4], IDENTITY).write(&path),
                    Some('n') => TestFile::new([2, 3, 4], LPS)
                        .with(Field::SformCode, 0.0)
                        .write(&path),
                    _ => std::fs::write(&path, b"damaged").unwrap(),
                }
                (name.as_str(), path)
            })
            .collect();
        let found = Unplaced::among(&subjects, orientation);
        (found.skipped.into_keys().collect(), found.notice)
    }

    #[test]
    fn unknown_axes_are_skipped_only_beside_known_ones() {
        let (lps, ras) = (Orientation::Lps, Orientation::Ras);
        assert_eq!(look("ppx", lps), (vec![], None));
        assert_eq!(
            look("ipnx", lps),
            (vec!["0i".to_owned(), "2n".to_owned()], None)
        );
        // Where the set's axes run to R, A, S the identity means the same both ways.
        assert_eq!(look("ipn", ras), (vec!["2n".to_owned()], None));
        assert_eq!(look("ii", ras), (vec![], None));
        let (skipped, notice) = look("in", lps);
        assert!(skipped.is_empty());
        let notice = notice.unwrap();
        assert!(
            notice.contains("0i.nii: its affine is the identity"),
            "{notice}"
        );
        assert!(
            notice.contains("to the left, the back and the head"),
            "{notice}"
        );
        assert!(
            look("nx", ras)
                .1
                .unwrap()
                .contains("sform_code and qform_code are 0")
        );
        assert_eq!(look("x", lps), (vec![], None));
    }
}
