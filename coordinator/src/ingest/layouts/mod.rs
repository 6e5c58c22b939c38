//! Where a data set keeps its files. A new layout is one file here and one line in [`LayoutName`].

mod atlas;
mod brats;
mod generic;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::volume::Orientation;

/// The layouts by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LayoutName {
    /// SUBJECT/SUBJECT_{flair,t1,t1ce,t2,seg}.nii.gz
    Brats,
    /// SUBJECT/…_T1w.nii.gz and …_mask.nii.gz, at any depth
    Atlas,
    /// SUBJECT_MODALITY.nii[.gz] side by side, or a folder for each subject
    Generic,
}

impl LayoutName {
    /// What the name stands for.
    pub fn layout(self) -> &'static dyn Layout {
        match self {
            Self::Brats => &brats::Brats,
            Self::Atlas => &atlas::Atlas,
            Self::Generic => &generic::Generic,
        }
    }
}

/// One way of keeping a data set.
pub trait Layout: Sync {
    /// Where the axes of its stored slices run to: as in the published set.
    fn orientation(&self) -> Orientation;

    /// Whether slices that are not square are padded, so that resizing keeps proportions.
    fn pads_to_square(&self) -> bool;

    /// Modalities in the order of the published set; others follow by name.
    fn modality_order(&self) -> &'static [&'static str];

    /// What is expected, for the message when nothing is found.
    fn expects(&self) -> &'static str;

    /// Adds the files below `root` to `found`.
    ///
    /// # Errors
    /// When a folder cannot be listed.
    fn collect(&self, root: &Path, found: &mut Found) -> std::io::Result<()>;
}

/// The files of one subject. More than one file for the same thing is the subject's fault, told when it is converted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectFiles {
    /// By modality.
    pub images: BTreeMap<String, Vec<PathBuf>>,
    /// Lesion masks.
    pub masks: Vec<PathBuf>,
}

/// Files by subject.
#[derive(Debug, Default)]
pub struct Found(BTreeMap<String, SubjectFiles>);

impl Found {
    /// Names a subject, so that one without files is reported too.
    fn subject(&mut self, id: &str) -> &mut SubjectFiles {
        self.0.entry(id.to_owned()).or_default()
    }

    fn image(&mut self, id: &str, modality: &str, path: PathBuf) {
        self.subject(id)
            .images
            .entry(modality.to_owned())
            .or_default()
            .push(path);
    }

    fn mask(&mut self, id: &str, path: PathBuf) {
        self.subject(id).masks.push(path);
    }
}

/// All subjects below `root`, by name.
///
/// # Errors
/// When a folder cannot be listed.
pub fn discover(
    layout: &dyn Layout,
    root: &Path,
) -> std::io::Result<BTreeMap<String, SubjectFiles>> {
    let mut found = Found::default();
    layout.collect(root, &mut found)?;
    Ok(found.0)
}

/// The modalities that most subjects have: what is converted when nobody says which.
pub fn common_modalities(
    layout: &dyn Layout,
    subjects: &BTreeMap<String, SubjectFiles>,
) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for modality in subjects.values().flat_map(|files| files.images.keys()) {
        *counts.entry(modality).or_default() += 1;
    }
    // A folder without images is reported as skipped; it has no say in what the set holds.
    let with_images = subjects
        .values()
        .filter(|files| !files.images.is_empty())
        .count();
    let order = layout.modality_order();
    let rank = |modality: &str| {
        order
            .iter()
            .position(|known| *known == modality)
            .unwrap_or(order.len())
    };
    let mut common: Vec<String> = counts
        .into_iter()
        .filter(|(_, count)| 2 * count > with_images)
        .map(|(modality, _)| modality.to_owned())
        .collect();
    common.sort_by_key(|modality| rank(modality));
    common
}

/// A file name without `.nii` or `.nii.gz`; `None` for anything else and for hidden files.
fn nifti_stem(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    if name.starts_with('.') {
        return None;
    }
    name.strip_suffix(".nii.gz")
        .or_else(|| name.strip_suffix(".nii"))
}

/// Entries of a folder, by name.
fn entries(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// A folder's own name, unless hidden.
fn folder_name(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    (path.is_dir() && !name.starts_with('.')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layout of a folder holding these empty files: subject, its modalities, number of masks.
    fn found(layout: LayoutName, files: &[&str]) -> Vec<(String, Vec<String>, usize)> {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        discover(layout.layout(), folder.path())
            .unwrap()
            .into_iter()
            .map(|(id, files)| (id, files.images.into_keys().collect(), files.masks.len()))
            .collect()
    }

    fn subject(id: &str, modalities: &[&str], masks: usize) -> (String, Vec<String>, usize) {
        (
            id.to_owned(),
            modalities.iter().map(|m| (*m).to_owned()).collect(),
            masks,
        )
    }

    #[test]
    fn brats() {
        let files = [
            "b/b_flair.nii.gz",
            "b/b_seg.nii",
            "a/a_t1.nii",
            "a/notes.txt",
            "a/x_t2.nii.gz",
            "phantom.json",
            ".git/c_t1.nii",
        ];
        assert_eq!(
            found(LayoutName::Brats, &files),
            [subject("a", &["t1"], 0), subject("b", &["flair"], 1)]
        );
    }

    #[test]
    fn atlas_simple_and_as_published() {
        let files = [
            "sub-a/sub-a_T1w.nii.gz",
            "sub-a/sub-a_mask.nii.gz",
            "R001/sub-r001s001/ses-1/anat/sub-r001s001_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz",
            "R001/sub-r001s001/ses-1/anat/sub-r001s001_ses-1_space-MNI152NLin2009aSym_label-L_desc-T1lesion_mask.nii.gz",
            "R001/sub-r001s001/ses-2/anat/sub-r001s001_ses-2_space-MNI152NLin2009aSym_T1w.nii.gz",
            "scan7/brain_T1w.nii",
        ];
        let expected = [
            subject("scan7", &["t1"], 0),
            subject("sub-a", &["t1"], 1),
            subject("sub-r001s001", &["t1"], 1),
            subject("sub-r001s001_ses-2", &["t1"], 0),
        ];
        assert_eq!(found(LayoutName::Atlas, &files), expected);
    }

    #[test]
    fn generic_flat_and_in_folders() {
        let files = [
            "p_1_t1.nii",
            "p_1_mask.nii.gz",
            "q/q_flair.nii.gz",
            "q/dwi.nii",
            "q/lesion.nii",
            "readme.nii.txt",
        ];
        let expected = [
            subject("p_1", &["t1"], 1),
            subject("q", &["dwi", "flair"], 1),
        ];
        assert_eq!(found(LayoutName::Generic, &files), expected);
    }

    #[test]
    fn default_modalities_are_those_of_most_subjects_in_published_order() {
        let mut found = Found::default();
        for (id, modality) in [
            ("a", "t2"),
            ("a", "flair"),
            ("b", "t2"),
            ("b", "flair"),
            ("b", "t1"),
        ] {
            found.image(id, modality, PathBuf::new());
        }
        assert_eq!(common_modalities(&brats::Brats, &found.0), ["flair", "t2"]);
    }
}
