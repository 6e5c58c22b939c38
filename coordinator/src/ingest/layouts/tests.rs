use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    /// A folder holding these empty files.
    fn of(files: &[&str]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for file in files {
            folder.write(file.as_bytes(), b"");
        }
        folder
    }

    fn write(&self, name: &[u8], content: &[u8]) {
        let path = self.0.path().join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn found(&self, layout: LayoutName) -> Found {
        discover(layout.layout(), self.0.path()).unwrap()
    }

    fn advice(&self, layout: LayoutName, below: &str) -> String {
        let root = self.0.path().canonicalize().unwrap().join(below);
        let found = discover(layout.layout(), &root).unwrap();
        advice(layout, &root, &found).replace(
            self.0.path().canonicalize().unwrap().to_str().unwrap(),
            "DATA",
        )
    }
}

type Shown = (String, Vec<String>, usize);

/// Subject, its modalities, number of masks.
fn shown(found: &Found) -> Vec<Shown> {
    found
        .subjects
        .iter()
        .map(|(id, files)| {
            (
                id.clone(),
                files.images.keys().cloned().collect(),
                files.masks.len(),
            )
        })
        .collect()
}

fn found(layout: LayoutName, files: &[&str]) -> Vec<Shown> {
    shown(&Folder::of(files).found(layout))
}

fn subject(id: &str, modalities: &[&str], masks: usize) -> Shown {
    (
        id.to_owned(),
        modalities.iter().map(|m| (*m).to_owned()).collect(),
        masks,
    )
}

/// Names of what is not used, with the subject.
fn unused(found: &Found) -> Vec<(String, Option<String>)> {
    found
        .unused
        .iter()
        .map(|unused| {
            let name = unused.path.file_name().unwrap().to_str().unwrap();
            (name.to_owned(), unused.subject.clone())
        })
        .collect()
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
        "__MACOSX/d/d_t1.nii",
        "a/._a_flair.nii",
        "a/.DS_Store",
    ];
    let found = Folder::of(&files).found(LayoutName::Brats);
    assert_eq!(
        shown(&found),
        [subject("a", &["t1"], 0), subject("b", &["flair"], 1)]
    );
    assert_eq!(
        unused(&found),
        [("x_t2.nii.gz".to_owned(), Some("a".to_owned()))]
    );
}

/// Each as its year's challenge published it.
#[test]
fn brats_of_all_years() {
    let all = ["flair", "t1", "t1ce", "t2"];
    for (folder, id, joint, names) in [
        (
            "brats_2013_pat0001_1",
            "brats_2013_pat0001_1",
            "_",
            ["flair", "t1", "t1ce", "t2", "seg"],
        ),
        (
            "HGG/Brats18_2013_10_1",
            "Brats18_2013_10_1",
            "_",
            ["flair", "t1", "t1ce", "t2", "seg"],
        ),
        (
            "LGG/BraTS19_TCIA09_141_1",
            "BraTS19_TCIA09_141_1",
            "_",
            ["flair", "t1", "t1ce", "t2", "seg"],
        ),
        (
            "BraTS20_Training_001",
            "BraTS20_Training_001",
            "_",
            ["flair", "t1", "t1ce", "t2", "seg"],
        ),
        (
            "BraTS2021_00000",
            "BraTS2021_00000",
            "_",
            ["flair", "t1", "t1ce", "t2", "seg"],
        ),
        (
            "BraTS-GLI-00000-000",
            "BraTS-GLI-00000-000",
            "-",
            ["t2f", "t1n", "t1c", "t2w", "seg"],
        ),
        (
            "BraTS-MET-00003-001",
            "BraTS-MET-00003-001",
            "-",
            ["t2f", "t1n", "t1c", "t2w", "seg"],
        ),
        ("UPPER", "UPPER", "_", ["FLAIR", "T1", "T1CE", "T2", "SEG"]),
        (
            "Patient1",
            "Patient1",
            "_",
            ["flair", "t1", "t1ce", "t2", "seg"],
        ),
    ] {
        for ending in ["nii.gz", "nii", "NII.GZ"] {
            let stem = if id == "Patient1" { "patient1" } else { id };
            let files = names.map(|name| format!("{folder}/{stem}{joint}{name}.{ending}"));
            let files = files.each_ref().map(String::as_str);
            assert_eq!(
                found(LayoutName::Brats, &files),
                [subject(id, &all, 1)],
                "{files:?}"
            );
        }
    }
}

#[test]
fn a_subject_of_both_grades_has_two_files_for_each_thing() {
    let folder = Folder::of(&["HGG/a/a_t1.nii", "LGG/a/a_t1.nii"]);
    let found = folder.found(LayoutName::Brats);
    assert_eq!(found.subjects["a"].images["t1"].len(), 2);
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
        "scan7/scan7_mask.nii",
    ];
    let expected = [
        subject("scan7", &["t1"], 1),
        subject("sub-a", &["t1"], 1),
        subject("sub-r001s001", &["t1"], 1),
        subject("sub-r001s001_ses-2", &["t1"], 0),
    ];
    assert_eq!(found(LayoutName::Atlas, &files), expected);
}

#[test]
fn a_brain_mask_is_no_lesion() {
    for lesion in [
        "sub-1_label-lesion_roi",
        "sub-1_desc-lesion_roi",
        "sub-1_T1w_label-lesion_roi",
        "sub-1_label-L_mask",
        "sub-1_mask",
        "sub-1_lesion",
    ] {
        for brain in [
            "sub-1_desc-brain_mask",
            "sub-1_brainmask",
            "sub-1_space-T1w_desc-brain_mask",
        ] {
            let files = [
                "anat/sub-1_T1w.nii.gz".to_owned(),
                format!("anat/{brain}.nii.gz"),
                format!("anat/{lesion}.nii.gz"),
            ];
            let folder = Folder::of(&files.each_ref().map(String::as_str));
            let found = folder.found(LayoutName::Atlas);
            assert_eq!(shown(&found), [subject("sub-1", &["t1"], 1)], "{files:?}");
            assert!(found.subjects["sub-1"].masks[0].ends_with(format!("{lesion}.nii.gz")));
            assert_eq!(
                unused(&found),
                [(format!("{brain}.nii.gz"), Some("sub-1".to_owned()))]
            );
        }
    }
    // Called a lesion's goes before called a mask.
    let folder = Folder::of(&[
        "sub-1_T1w.nii",
        "sub-1_mask.nii",
        "sub-1_label-lesion_roi.nii",
    ]);
    let found = folder.found(LayoutName::Atlas);
    assert!(found.subjects["sub-1"].masks[0].ends_with("sub-1_label-lesion_roi.nii"));
    assert_eq!(
        found.unused[0].reason,
        "another mask of the subject is named as the lesion's"
    );
    // Alone, it is no mask either.
    let alone = found_atlas_alone();
    assert_eq!(shown(&alone), [subject("sub-1", &["t1"], 0)]);
}

fn found_atlas_alone() -> Found {
    Folder::of(&["sub-1_T1w.nii", "sub-1_desc-brain_mask.nii"]).found(LayoutName::Atlas)
}

#[test]
fn generic_flat_and_in_folders() {
    let files = [
        "p_1_t1.nii",
        "p_1_mask.nii.gz",
        "p_1_brain_mask.nii.gz",
        "q/q_flair.nii.gz",
        "q/dwi.nii",
        "q/lesion.nii",
        "q/brainmask.nii",
        "q/q_brain_mask.nii",
        "q/q_manual_seg.nii",
        "readme.nii.txt",
        "BraTS-GLI-00000-000/BraTS-GLI-00000-000-t2f.nii.gz",
        "BraTS-GLI-00000-000/BraTS-GLI-00000-000-seg.nii.gz",
        "BraTS-GLI-00001-000-t1c.nii.gz",
        "nameless.nii",
    ];
    let expected = [
        subject("BraTS-GLI-00000-000", &["flair"], 1),
        subject("BraTS-GLI-00001-000", &["t1ce"], 0),
        subject("p_1", &["t1"], 1),
        subject("q", &["dwi", "flair"], 1),
    ];
    let found = Folder::of(&files).found(LayoutName::Generic);
    assert_eq!(shown(&found), expected);
    let names: Vec<String> = unused(&found).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "nameless.nii",
            "p_1_brain_mask.nii.gz",
            "brainmask.nii",
            "q_brain_mask.nii",
            "q_manual_seg.nii"
        ]
    );
}

#[test]
fn nnunet_channels_are_named_by_the_dataset() {
    let files = [
        "imagesTr/case_1_0000.nii.gz",
        "imagesTr/case_1_0001.nii.gz",
        "labelsTr/case_1.nii.gz",
        "imagesTs/case_2_0000.nii.gz",
        "labelsTr/dataset.json",
    ];
    let folder = Folder::of(&files);
    let without = folder.found(LayoutName::Generic);
    assert_eq!(shown(&without), [subject("case_1", &["0000", "0001"], 1)]);
    assert_eq!(unused(&without), [("case_2_0000.nii.gz".to_owned(), None)]);
    for json in [
        "{\"channel_names\": {\"0\": \"FLAIR\", \"1\": \"T1w\"}, \"labels\": {\"background\": 0}}",
        "\u{feff}{\"modality\": {\"0\": \"flair\", \"1\": \"T1\"}}",
    ] {
        folder.write(b"dataset.json", json.as_bytes());
        let named = folder.found(LayoutName::Generic);
        assert_eq!(shown(&named), [subject("case_1", &["flair", "t1"], 1)]);
    }
    folder.write(b"labelsTs/case_2.nii.gz", b"");
    let tested = folder.found(LayoutName::Generic);
    assert_eq!(shown(&tested)[1], subject("case_2", &["flair"], 1));
}

#[test]
fn the_decathlon_is_read_where_a_file_is_a_modality_and_told_apart_where_not() {
    let folder = Folder::of(&["imagesTr/BRATS_001.nii.gz", "labelsTr/BRATS_001.nii.gz"]);
    let json =
        "{\"modality\": {\"0\": \"FLAIR\", \"1\": \"T1w\", \"2\": \"t1gd\", \"3\": \"T2w\"}}";
    folder.write(b"dataset.json", json.as_bytes());
    let four = folder.found(LayoutName::Generic);
    assert!(four.subjects.is_empty());
    assert!(four.refused["BRATS_001"].contains("4-D file"), "{four:?}");
    folder.write(b"dataset.json", b"{\"modality\": {\"0\": \"MRI\"}}");
    let one = folder.found(LayoutName::Generic);
    assert_eq!(shown(&one), [subject("BRATS_001", &["mri"], 1)]);
    let advice = folder.advice(LayoutName::Generic, "imagesTr");
    assert!(advice.starts_with("; did you mean DATA?"), "{advice}");
}

#[test]
fn other_formats_and_names_are_told() {
    let folder = Folder::of(&["a/a_t1.nii", "a/a_flair.img", "a/a_flair.hdr", "b_t2.mgz"]);
    folder.write(b"M\xfcller/x_t1.nii", b"");
    folder.write(b"a/a_\xfc.nii", b"");
    folder.write(b"notes-\xfc.txt", b"");
    for layout in [LayoutName::Brats, LayoutName::Generic, LayoutName::Atlas] {
        let found = folder.found(layout);
        assert_eq!(
            found.refused["M\u{fffd}ller"],
            "the name is not UTF-8; rename it"
        );
        let foreign: Vec<&Unused> = found
            .unused
            .iter()
            .filter(|unused| unused.reason.starts_with("only .nii and .nii.gz are read"))
            .collect();
        assert_eq!(foreign.len(), 2, "{foreign:?}");
        let of = |name: &str| {
            foreign
                .iter()
                .find(|unused| unused.path.ends_with(name))
                .unwrap()
        };
        assert_eq!(of("a/a_flair.img").subject.as_deref(), Some("a"));
        assert_eq!(of("b_t2.mgz").subject.as_deref(), Some("b"));
    }
}

/// A file where a folder is expected stands for a folder that may not be listed.
#[test]
fn a_folder_that_cannot_be_listed_is_refused_alone() {
    let folder = Folder::of(&["a"]);
    let mut found = Found::new(folder.0.path());
    for layout in [LayoutName::Brats, LayoutName::Generic, LayoutName::Atlas] {
        (layout.layout().collect_subject)("a", &folder.0.path().join("a"), &mut found);
        let reason = found.refused.remove("a").unwrap();
        assert!(
            reason.starts_with("the folder cannot be listed: Not a directory"),
            "{reason}"
        );
        assert!(found.subjects.is_empty());
    }
}

#[test]
fn a_folder_named_as_a_file_is_opened_where_it_holds_one() {
    let folder = Folder::of(&[
        "a/a_flair.nii/0001_brain.nii",
        "a/a_seg.nii.gz/1.nii",
        "a/a_seg.nii.gz/2.nii",
    ]);
    let found = folder.found(LayoutName::Brats);
    let files = &found.subjects["a"];
    assert!(files.images["flair"][0].ends_with("a/a_flair.nii/0001_brain.nii"));
    assert!(files.masks[0].ends_with("a/a_seg.nii.gz"));
}

#[test]
fn where_to_point_instead() {
    let folder = Folder::of(&[
        "sets/glioma/p1/p1_flair.nii.gz",
        "sets/glioma/p1/p1_seg.nii.gz",
        "sets/ms/q1/q1_flair.nii.gz",
        "sets/ms/q1/q1_seg.nii.gz",
        "sets/readme.txt",
        "flat/p1_flair.nii.gz",
        "flat/p1_seg.nii.gz",
        "nn/imagesTr/a_0000.nii.gz",
        "nn/labelsTr/a.nii.gz",
        "unknown/p1/scan.nii.gz",
    ]);
    for (layout, below, words) in [
        (
            LayoutName::Brats,
            "sets",
            "; did you mean DATA/sets/glioma or DATA/sets/ms?",
        ),
        (
            LayoutName::Generic,
            "sets",
            "; did you mean DATA/sets/glioma or DATA/sets/ms?",
        ),
        (
            LayoutName::Brats,
            "sets/ms/q1",
            "; did you mean DATA/sets/ms?",
        ),
        (
            LayoutName::Brats,
            "flat",
            "; --layout generic reads this folder; found for example p1_flair.nii.gz",
        ),
        (
            LayoutName::Brats,
            "nn",
            "; --layout generic reads this folder",
        ),
        (
            LayoutName::Brats,
            "unknown",
            "; found for example p1/scan.nii.gz: not SUBJECT_flair, _t1, _t1ce, _t2 or _seg",
        ),
    ] {
        let advice = folder.advice(layout, below);
        assert!(advice.starts_with(words), "{layout:?} {below}: {advice}");
    }
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
    assert_eq!(
        common_modalities(&brats::LAYOUT, &found.subjects),
        ["flair", "t2"]
    );
}
