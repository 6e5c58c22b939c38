//! What the words of a file name mean: which image it is, or what it is a mask of.

/// What a file is, by its name less the subject's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    Image(String),
    /// A mask of lesions. A name that calls it the lesion's goes before one that only calls it a mask.
    Lesion {
        /// The name says so.
        named: bool,
    },
    /// Neither, and why not.
    Other(&'static str),
}

const BRAIN_MASK: &str =
    "by its name a mask of the brain or another part of the head, not of a lesion";
const UNKNOWN_MASK: &str = "a mask whose name does not call it the lesion's";

/// Words of a whole part of a name.
const LESION: [&str; 12] = [
    "lesion",
    "lesions",
    "lesionsmooth",
    "tumor",
    "tumour",
    "stroke",
    "infarct",
    "wmh",
    "glioma",
    "hemorrhage",
    "haemorrhage",
    "anomaly",
];
const ANATOMY: [&str; 21] = [
    "brain",
    "head",
    "skull",
    "bet",
    "gm",
    "wm",
    "csf",
    "tissue",
    "tissues",
    "ventricle",
    "ventricles",
    "cortex",
    "aseg",
    "aparc",
    "wmparc",
    "synthseg",
    "foreground",
    "body",
    "air",
    "face",
    "hippocampus",
];
/// Words that say nothing about what a mask is of.
const NEUTRAL: [&str; 8] = ["pd", "dwi", "adc", "swi", "anat", "mni", "native", "final"];
/// BIDS entities that say nothing about it either.
const ENTITIES: [&str; 13] = [
    "sub", "ses", "space", "run", "acq", "rec", "res", "den", "hemi", "dir", "mod", "ce", "task",
];

/// The one name of a modality, in lower case: BraTS since 2023 and BIDS write others than BraTS before.
pub fn modality_name(name: &str) -> String {
    let name = name.to_lowercase();
    match name.as_str() {
        "t1n" | "t1w" => "t1".to_owned(),
        "t1c" | "t1gd" => "t1ce".to_owned(),
        "t2w" => "t2".to_owned(),
        "t2f" => "flair".to_owned(),
        _ => name,
    }
}

/// Whether a word is the name of one of BraTS' modalities, in any spelling.
pub(super) fn is_known_modality(word: &str) -> bool {
    matches!(modality_name(word).as_str(), "flair" | "t1" | "t1ce" | "t2")
}

/// What a file called `name` is, the subject's name taken away.
pub(super) fn meaning(name: &str) -> Meaning {
    let parts = parts(name);
    match mask(&parts) {
        Some(meaning) => meaning,
        None => Meaning::Image(modality_name(name)),
    }
}

/// Cuts a file name that begins with a subject's into the subject's and the rest: the last part, and for a mask also
/// what says of what it is one.
pub(super) fn cut(stem: &str) -> Option<(&str, &str)> {
    let known = |word: &str| is_known_modality(word) || word.eq_ignore_ascii_case("seg");
    let last = match (stem.rfind('_'), stem.rfind('-')) {
        // `CASE-000-t1n`: a dash may separate too, when a known word follows.
        (underscore, Some(dash))
            if underscore.is_none_or(|at| at < dash) && known(&stem[dash + 1..]) =>
        {
            dash
        }
        (underscore, _) => underscore?,
    };
    let mut at = last;
    if mask(&parts(&stem[at + 1..])).is_some() {
        while let Some(before) = stem[..at].rfind('_') {
            let part = stem[before + 1..at].to_lowercase();
            let describes = match part.split_once('-') {
                Some((key, _)) => matches!(key, "label" | "desc"),
                None => {
                    let word = without_number(&part);
                    LESION.contains(&word) || ANATOMY.contains(&word) || is_known_modality(&part)
                }
            };
            if !describes {
                break;
            }
            at = before;
        }
    }
    Some((&stem[..at], &stem[at + 1..])).filter(|(id, name)| !id.is_empty() && !name.is_empty())
}

/// The parts of a name in lower case; `key-value` of BIDS stays together, other dashes separate.
fn parts(name: &str) -> Vec<String> {
    let name = name.to_lowercase();
    name.split(['_', '.', ' ', '+'])
        .filter(|part| !part.is_empty())
        .flat_map(|part| match part.split_once('-') {
            Some((key, _)) if matches!(key, "label" | "desc") || ENTITIES.contains(&key) => {
                vec![part.to_owned()]
            }
            _ => part.split('-').map(str::to_owned).collect(),
        })
        .collect()
}

/// What a name is a mask of; `None` when it is none.
fn mask(parts: &[String]) -> Option<Meaning> {
    let (last, before) = parts.split_last()?;
    let last = without_number(last);
    if LESION.contains(&last) {
        return Some(Meaning::Lesion { named: true });
    }
    // `brainmask`, `lesionseg`: the word before is part of the last one.
    let glued = ["mask", "seg", "roi"]
        .into_iter()
        .find_map(|kind| last.strip_suffix(kind));
    let is_bare = glued == Some("") || last == "label";
    let is_other = matches!(
        last,
        "labels" | "segmentation" | "dseg" | "probseg" | "wmparc"
    );
    let word = glued.filter(|word| !word.is_empty());
    if !is_bare && !is_other && word.is_none() {
        return None;
    }
    if ANATOMY.contains(&last) {
        return Some(Meaning::Other(BRAIN_MASK));
    }
    let mut unknown = is_other;
    let words = before.iter().map(String::as_str).chain(word);
    for word in words.rev() {
        if let Some((key, value)) = word.split_once('-') {
            if !matches!(key, "label" | "desc") {
                continue;
            }
            if (key, value) == ("label", "l") || LESION.iter().any(|lesion| value.contains(lesion))
            {
                return Some(Meaning::Lesion { named: true });
            }
            if value.contains("brain") || ANATOMY.contains(&value) {
                return Some(Meaning::Other(BRAIN_MASK));
            }
            unknown = true;
            continue;
        }
        let word = without_number(word);
        if LESION.contains(&word) {
            return Some(Meaning::Lesion { named: true });
        }
        if ANATOMY.contains(&word) {
            return Some(Meaning::Other(BRAIN_MASK));
        }
        unknown |= !word.is_empty() && !NEUTRAL.contains(&word) && !is_known_modality(word);
    }
    // A region is not a lesion unless it is called one.
    let region = glued == Some("") && last == "roi";
    Some(if unknown || region {
        Meaning::Other(UNKNOWN_MASK)
    } else {
        Meaning::Lesion { named: false }
    })
}

/// A word less the number it may end with: `lesion1` is a lesion, `t1` stays.
fn without_number(word: &str) -> &str {
    if is_known_modality(word) {
        return word;
    }
    word.trim_end_matches(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMED: Meaning = Meaning::Lesion { named: true };
    const PLAIN: Meaning = Meaning::Lesion { named: false };

    #[test]
    fn lesions_brains_and_images() {
        for name in [
            "seg",
            "mask",
            "label",
            "Mask",
            "t1_mask",
            "space-MNI_mask",
            "T1w_seg",
            "mask1",
        ] {
            assert_eq!(meaning(name), PLAIN, "{name}");
        }
        for name in [
            "lesion",
            "Lesions",
            "lesion_mask",
            "lesion-mask",
            "lesionmask",
            "brain_lesion_mask",
            "lesion1_seg",
            "label-lesion_roi",
            "desc-lesion_roi",
            "desc-lesion_mask",
            "label-L_mask",
            "T1w_label-lesion_roi",
            "space-MNI152NLin2009aSym_label-L_desc-T1lesion_mask",
            "label-lesion_desc-manual_mask",
            "label-tumor_dseg",
            "lesion_roi",
            "LesionSmooth_mask",
        ] {
            assert_eq!(meaning(name), NAMED, "{name}");
        }
        for name in [
            "brain_mask",
            "brainmask",
            "brain-mask",
            "brain.mask",
            "desc-brain_mask",
            "space-T1w_desc-brain_mask",
            "label-GM_mask",
            "desc-fsBrain_mask",
            "lesion_brain_mask",
            "head_seg",
            "aseg",
            "aparc+aseg",
            "csf_roi",
        ] {
            assert_eq!(meaning(name), Meaning::Other(BRAIN_MASK), "{name}");
        }
        for name in [
            "desc-manual_mask",
            "manual_mask",
            "roi",
            "wt_seg",
            "dseg",
            "labels",
            "xyzmask",
        ] {
            assert_eq!(meaning(name), Meaning::Other(UNKNOWN_MASK), "{name}");
        }
        for (name, modality) in [
            ("FLAIR", "flair"),
            ("t2f", "flair"),
            ("T1w", "t1"),
            ("t1c", "t1ce"),
            ("T1Gd", "t1ce"),
            ("t2w", "t2"),
            ("dwi", "dwi"),
            ("brain", "brain"),
            ("t1_brain", "t1_brain"),
        ] {
            assert_eq!(meaning(name), Meaning::Image(modality.to_owned()), "{name}");
        }
    }

    #[test]
    fn names_side_by_side_are_cut() {
        for (stem, id, name) in [
            ("p_1_t1", "p_1", "t1"),
            ("p_1_mask", "p_1", "mask"),
            ("p_1_lesion_mask", "p_1", "lesion_mask"),
            ("a_brain_mask", "a", "brain_mask"),
            ("a_t1_mask", "a", "t1_mask"),
            ("sub-1_ses-2_T1w", "sub-1_ses-2", "T1w"),
            (
                "sub-1_ses-2_T1w_label-lesion_roi",
                "sub-1_ses-2",
                "T1w_label-lesion_roi",
            ),
            ("sub-1_desc-brain_mask", "sub-1", "desc-brain_mask"),
            ("BraTS-GLI-00000-000-t2f", "BraTS-GLI-00000-000", "t2f"),
            ("BraTS-GLI-00000-000-seg", "BraTS-GLI-00000-000", "seg"),
            ("p-1_dwi-b0", "p-1", "dwi-b0"),
        ] {
            assert_eq!(cut(stem), Some((id, name)), "{stem}");
        }
        for stem in ["t1", "_t1", "p_", "brain-mri"] {
            assert_eq!(cut(stem), None, "{stem}");
        }
    }
}
