//! What is said when names are not those that a layout expects.

use super::*;

fn told(request: &Request) -> String {
    let error = preprocess(request, &Silent).unwrap_err().to_string();
    assert!(!request.store.exists(), "an empty store was left: {error}");
    let data = request.input.parent().unwrap();
    error.replace(data.to_str().unwrap(), "DATA")
}

#[test]
fn one_folder_too_high_and_one_too_low() {
    let set = Set::new(&["a", "b", "c"]);
    let high = Request {
        input: set.folder.path().to_path_buf(),
        ..set.request(LayoutName::Brats)
    };
    let message = preprocess(&high, &Silent).unwrap_err().to_string();
    let here = set.folder.path().display();
    assert!(
        message.starts_with(&format!(
            "{here}: no modality is there for most of what was taken for subjects (in); this layout expects SUBJECT/"
        )) && message.contains(&format!("; did you mean {here}/in?")),
        "{message}"
    );
    let low = Request {
        input: set.folder.path().join("in/a"),
        ..set.request(LayoutName::Brats)
    };
    let message = preprocess(&low, &Silent).unwrap_err().to_string();
    assert!(
        message.contains("no subject found; this layout expects SUBJECT/")
            && message.contains("/in?; found for example a_flair.nii.gz"),
        "{message}"
    );
}

#[test]
fn a_modality_that_nobody_has() {
    let set = Set::new(&["a", "b", "c", "d", "e"]);
    let request = Request {
        modalities: Some(vec!["flair".to_owned(), "t1".to_owned()]),
        ..set.request(LayoutName::Brats)
    };
    assert_eq!(
        told(&request),
        "DATA/in: no subject could be converted; the modalities there are flair, t2:\n  a, b, c, d and 1 more: \
         missing modality 't1'"
    );
}

#[test]
fn what_is_not_read_is_named() {
    let set = Set::new(&["a", "b", "c"]);
    std::fs::rename(
        set.file("b", "flair"),
        set.folder.path().join("in/b/b_flair.img"),
    )
    .unwrap();
    std::fs::write(set.folder.path().join("in/c/c_brain_mask.nii.gz"), b"").unwrap();
    let report = set.run().unwrap();
    assert_eq!(
        report.store.manifest().skipped[0].reason,
        "missing modality 'flair'; not used: b_flair.img (only .nii and .nii.gz are read: convert it, e.g. with \
         nibabel, mri_convert or dcm2niix)"
    );
    assert_eq!(
        report.notes,
        [
            "1 file is not used (only .nii and .nii.gz are read: convert it, e.g. with nibabel, mri_convert or \
             dcm2niix): b/b_flair.img",
            "1 file is not used (by its name a mask of the brain or another part of the head, not of a lesion): \
             c/c_brain_mask.nii.gz",
        ]
    );
}

#[test]
fn a_modality_that_few_have_is_left_out_and_told() {
    let set = Set::new(&["a", "b", "c"]);
    write_volume(&set.file("b", "t1"), SHAPE, LPS, value);
    assert_eq!(
        set.run().unwrap().notes,
        ["left out, since most subjects lack it: t1 (1 of 3); --modalities says what to convert"]
    );
}

#[test]
fn names_that_cannot_be_kept() {
    let long = "x".repeat(201);
    let set = Set::new(&["a", "b", "c"]);
    let folder = set.folder.path().join("in").join(&long);
    std::fs::create_dir(folder).unwrap();
    let other = set.folder.path().join("in/d:1/d:1_flair.nii");
    write_volume(&other, SHAPE, LPS, value);
    let skipped = set.run().unwrap().store.manifest().skipped.clone();
    assert_eq!(
        skipped[0].reason,
        "the subject's name has a character that file names cannot have everywhere (/ \\ : or a control character)"
    );
    assert_eq!(
        skipped[1].reason,
        "the subject's name is too long: 201 bytes, and 200 are allowed"
    );
}

#[test]
fn files_of_one_name_in_two_folders_are_told_with_their_folders() {
    let set = Set::new(&[]);
    let file =
        |folder: &str, name: &str| set.folder.path().join(format!("in/{folder}/anat/{name}"));
    write_volume(&file("raw/sub-1", "sub-1_T1w.nii.gz"), SHAPE, LPS, value);
    write_volume(
        &file("derivatives/sub-1", "sub-1_T1w.nii.gz"),
        SHAPE,
        LPS,
        value,
    );
    write_volume(&file("raw/sub-1", "sub-1_mask.nii.gz"), SHAPE, LPS, lesion);
    let message = told(&set.request(LayoutName::Atlas));
    assert!(
        message.contains(
            "sub-1: 2 files for 't1': derivatives/sub-1/anat/sub-1_T1w.nii.gz and raw/sub-1/anat/sub-1_T1w.nii.gz; \
             keep one, or give a folder that holds only one"
        ),
        "{message}"
    );
}

#[test]
fn the_decathlon_in_one_line() {
    let set = Set::new(&[]);
    for number in 1..=5 {
        for folder in ["imagesTr", "labelsTr"] {
            let path = set
                .folder
                .path()
                .join(format!("in/{folder}/BRATS_{number:03}.nii.gz"));
            write_volume(&path, SHAPE, LPS, lesion);
        }
    }
    let json = "{\"modality\": {\"0\": \"FLAIR\", \"1\": \"T1w\"}}";
    std::fs::write(set.folder.path().join("in/dataset.json"), json).unwrap();
    let message = told(&set.request(LayoutName::Generic));
    assert!(
        message.contains("\n  BRATS_001, BRATS_002, BRATS_003, BRATS_004 and 1 more: all modalities are in one 4-D file"),
        "{message}"
    );
}
