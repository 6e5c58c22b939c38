//! What goes in: whose scans they are, which bytes, which labels.

use std::time::{Duration, SystemTime};

use super::*;

/// Volumes as BraTS 2023 names them.
fn write_time_point(set: &Set, id: &str) {
    for (name, at) in [
        ("t2f", value as fn(usize, usize, usize) -> f32),
        ("t2w", value),
        ("seg", lesion),
    ] {
        let path = set
            .folder
            .path()
            .join(format!("in/{id}/{id}-{name}.nii.gz"));
        write_volume(&path, SHAPE, LPS, at);
    }
}

fn glioma_set() -> Set {
    let set = Set::new(&[]);
    for patient in 1..=4 {
        for time in 0..=1 {
            write_time_point(&set, &format!("BraTS-GLI-0000{patient}-00{time}"));
        }
    }
    set
}

#[test]
fn time_points_of_a_patient_go_to_one_split() {
    let set = glioma_set();
    for seed in 0..4 {
        let request = Request {
            seed,
            split: "50/25/25".to_owned(),
            ..set.request(LayoutName::Brats)
        };
        let store = preprocess(&request, &Silent).unwrap().store;
        let manifest = store.manifest();
        assert_eq!(manifest.modalities, ["flair", "t2"]);
        assert_eq!(manifest.subjects.len(), 8);
        for pair in manifest.subjects.chunks(2) {
            assert_eq!(pair[0].patient(), &pair[0].id[.."BraTS-GLI-00001".len()]);
            assert_eq!(pair[0].patient, pair[1].patient);
            assert_eq!(pair[0].split, pair[1].split);
        }
        let patients = |split| {
            let subjects = manifest.subjects.iter();
            subjects.filter(|subject| subject.split == split).count()
        };
        assert_eq!(Split::ALL.map(patients), [4, 2, 2]);
    }
}

#[test]
fn a_split_file_that_takes_a_patient_apart_is_refused_before_the_work() {
    let set = glioma_set();
    let file = set.folder.path().join("split.csv");
    let request = Request {
        split: file.to_str().unwrap().to_owned(),
        ..set.request(LayoutName::Brats)
    };
    let rows =
        "patient,split\nBraTS-GLI-00001,train\nBraTS-GLI-00002,train\nBraTS-GLI-00003,validation\n";
    std::fs::write(
        &file,
        format!("{rows}BraTS-GLI-00004-000,train\nBraTS-GLI-00004-001,test\n"),
    )
    .unwrap();
    let error = preprocess(&request, &Silent).unwrap_err();
    assert!(
        matches!(error, PreprocessError::Split(SplitError::Apart { .. })),
        "{error}"
    );
    assert!(!request.store.exists());
    std::fs::write(&file, format!("{rows}BraTS-GLI-00004,test\n")).unwrap();
    let store = preprocess(&request, &Silent).unwrap().store;
    let split = |id| store.manifest().subject(id).unwrap().split;
    assert_eq!(split("BraTS-GLI-00001-001"), Split::Train);
    assert_eq!(split("BraTS-GLI-00004-001"), Split::Test);
}

/// `.nii` files of one shape are of one length, and `cp -p` keeps their times.
#[test]
fn other_volumes_of_the_same_name_length_and_time_are_converted() {
    let set = Set::new(&["a", "b", "c"]);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    let write = |factor: f32| {
        let path = set.file("a", "t2").with_extension("");
        std::fs::remove_file(set.file("a", "t2")).ok();
        write_volume(&path, SHAPE, LPS, |x, y, z| {
            value(x, y, z) + factor * f32::from(u8::from(x == 1 && value(x, y, z) > 0.0))
        });
        let file = File::options().append(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
        file.metadata().unwrap().len()
    };
    let length = write(0.0);
    let first = set.run().unwrap();
    assert_eq!(write(50.0), length);
    let second = set.run().unwrap();
    assert_eq!((second.converted, second.kept), (1, 2));
    assert_ne!(
        second.store.manifest().digest,
        first.store.manifest().digest
    );
    assert_eq!(
        second.notes,
        [
            "1 subject was converted again: the files, labels, settings or rules of conversion are others than before"
        ]
    );

    // The same bytes at another place and of another time are the same volumes.
    std::fs::rename(
        set.folder.path().join("in"),
        set.folder.path().join("moved"),
    )
    .unwrap();
    let moved = Request {
        input: set.folder.path().join("moved"),
        ..set.request(LayoutName::Brats)
    };
    let third = preprocess(&moved, &Silent).unwrap();
    assert_eq!((third.converted, third.kept), (0, 3));
    assert_eq!(third.store.manifest(), second.store.manifest());
}

#[test]
fn a_store_of_an_earlier_version_is_made_again() {
    let set = Set::new(&["a", "b", "c"]);
    let first = set.run().unwrap();
    for id in ["a", "b"] {
        let path = first.store.root().join(format!("progress/{id}.json"));
        let text = std::fs::read_to_string(&path).unwrap();
        let mut progress: serde_json::Value = serde_json::from_str(&text).unwrap();
        let fields = progress.as_object_mut().unwrap();
        fields.remove("format").unwrap();
        fields["key"] = serde_json::json!("00".repeat(32));
        std::fs::write(&path, progress.to_string()).unwrap();
    }
    let second = set.run().unwrap();
    assert_eq!((second.converted, second.kept), (2, 1));
    assert_eq!(
        second.notes,
        [
            "2 subjects were converted again: the store is of an earlier version, which did not record the bytes of \
          its source files"
        ]
    );
    assert_eq!(second.store.manifest(), first.store.manifest());
}

fn with_labels(set: &Set, rows: &str) -> Request {
    let labels = set.folder.path().join("labels.csv");
    std::fs::write(&labels, format!("subject,slice,label\n{rows}")).unwrap();
    Request {
        labels: Some(labels),
        ..set.request(LayoutName::Brats)
    }
}

#[test]
fn labels_counted_from_one_are_refused() {
    let set = Set::new(&["a", "b", "c"]);
    for id in ["a", "b"] {
        std::fs::remove_file(set.file(id, "seg")).unwrap();
    }
    // "b" alone shows it: its last slice would be number 5 of 0 to 4.
    let request = with_labels(
        &set,
        "a,1,0\na,2,1\na,3,0\na,4,0\nb,2,0\nb,3,1\nb,4,0\nb,5,0\n",
    );
    let error = preprocess(&request, &Silent).unwrap_err();
    assert!(
        matches!(error, PreprocessError::Labels(LabelsError::FromOne { .. })),
        "{error}"
    );
    assert!(
        error.to_string().ends_with(
            "labels.csv: slices are counted from 1: 'b' has 5 slices, a row for slice 5 and none for slice 0; \
             subtract 1 from every slice number"
        ),
        "{error}"
    );
    let request = with_labels(
        &set,
        "a,1,0\na,2,1\na,3,0\nb,0,0\nb,1,0\nb,2,1\nb,3,0\nb,7,0\n",
    );
    let manifest = preprocess(&request, &Silent)
        .unwrap()
        .store
        .manifest()
        .clone();
    assert_eq!(manifest.skipped.len(), 1);
    assert_eq!(
        manifest.skipped[0].reason,
        "the labels file has a row for slice 7, and the last slice is 4"
    );
}

#[test]
fn rows_for_nobody_are_told() {
    let set = Set::new(&["case01", "case02", "case03"]);
    std::fs::remove_file(set.file("case02", "seg")).unwrap();
    let request = with_labels(&set, "case0Z,1,0\ncase0Z,2,1\ncase0Z,3,0\nelsewhere,0,0\n");
    let report = preprocess(&request, &Silent).unwrap();
    assert_eq!(report.notes.len(), 1);
    assert!(
        report.notes[0].ends_with(
            "labels.csv: has rows for 'case0Z' (did you mean 'case01'?), 'elsewhere', which are no subjects here"
        ),
        "{:?}",
        report.notes
    );
    assert_eq!(
        report.store.manifest().skipped[0].reason,
        "no mask, and no row in a labels file (--labels); the labels file has rows for 'case0Z', which is no subject"
    );
}

#[test]
fn a_mask_over_the_head_is_told_each_time() {
    let set = Set::new(&["a", "b", "c"]);
    write_volume(&set.file("b", "seg"), SHAPE, LPS, |x, y, z| {
        f32::from(u8::from(value(x, y, z) > 0.0 && y > 2))
    });
    for kept in [0, 3] {
        let report = set.run().unwrap();
        assert_eq!(report.kept, kept);
        let [note] = report.notes.as_slice() else {
            panic!("{:?}", report.notes);
        };
        assert_eq!(
            note,
            "b: its mask covers 68 % of the head, so it may be one of the brain and not of a lesion"
        );
    }
}
