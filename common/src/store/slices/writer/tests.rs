use super::*;
use crate::store::slices::{AxisMap, Split};

const SIZE: usize = 4;

fn modalities() -> Vec<String> {
    vec!["flair".to_owned(), "t2".to_owned()]
}

fn data(slices: usize, with_masks: bool) -> SubjectData {
    let pixels = SIZE * SIZE;
    SubjectData {
        notices: Vec::new(),
        image: (0..slices * 2 * pixels).map(|i| i as f32).collect(),
        label: (0..slices).map(|n| u8::from(n % 2 == 1)).collect(),
        mask: with_masks.then(|| {
            (0..slices * pixels)
                .map(|i| u8::from(i / pixels % 2 == 1))
                .collect()
        }),
        slice_index: (0..slices)
            .map(|n| i32::try_from(n).unwrap() + 10)
            .collect(),
        source: SourceGrid {
            shape: [4, 4, slices],
            affine: [
                [-1.0, 0.0, 0.0, 0.1],
                [0.0, -1.0, 0.0, 0.0],
                [0.0, 0.0, 1.0, 0.0],
            ],
            axes: [0, 1, 2].map(|axis| AxisMap {
                axis,
                flipped: false,
            }),
            canvas: [4, 4],
            padding: [0, 0],
            header: None,
        },
    }
}

fn record(id: &str, converted: ConvertedSubject) -> SubjectRecord {
    SubjectRecord {
        id: id.to_owned(),
        patient: None,
        split: Split::Train,
        slices: converted.slices,
        lesion_slices: converted.lesion_slices,
        digest: converted.digest,
    }
}

fn key() -> Digest {
    Digest::of(b"inputs")
}

fn store(root: &Path) -> SliceStore {
    let writer = StoreWriter::create(root, &modalities(), SIZE).unwrap();
    let a = writer.write_subject("a", key(), &data(3, true)).unwrap();
    let b = writer.write_subject("b", key(), &data(2, false)).unwrap();
    writer
        .commit(vec![record("b", b), record("a", a)], vec![])
        .unwrap()
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    assert_eq!(store.manifest().subjects[0].lesion_slices, 1);
    store
        .verify(&["b", "a"], &|_| ControlFlow::Continue(()))
        .unwrap();
    assert_eq!(
        store.bytes_of(&["a", "nobody"]),
        fs::metadata(folder.path().join("subjects/a.safetensors"))
            .unwrap()
            .len()
    );

    let images = store.images().subject("a").unwrap();
    assert_eq!(
        (images.channels, images.size, images.slices()),
        (2, SIZE, 3)
    );
    assert_eq!(images.labels, [0, 1, 0]);
    assert_eq!(images.slice_index, [10, 11, 12]);
    assert_eq!(*images.source(), data(3, true).source);
    let mut slice = vec![9.0; 100];
    images.read_slice(2, &mut slice).unwrap();
    assert_eq!(slice, data(3, true).image[64..96]);
    assert!(matches!(
        images.read_slice(3, &mut slice),
        Err(StoreError::NoSlice { slices: 3, .. })
    ));

    let truth = store.truth();
    assert_eq!(truth.mask("a", 0).unwrap().unwrap(), [0; 16]);
    assert_eq!(truth.mask("a", 1).unwrap().unwrap(), [1; 16]);
    assert!(truth.mask("b", 0).unwrap().is_none());
    assert!(matches!(
        truth.mask("a", 3),
        Err(StoreError::NoSlice { .. })
    ));
    assert!(matches!(
        store.images().subject("c"),
        Err(StoreError::UnknownSubject { .. })
    ));
}

#[test]
fn the_same_data_gives_the_same_bytes() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_eq!(
        store(first.path()).manifest(),
        store(second.path()).manifest()
    );
}

#[test]
fn without_a_manifest_it_is_no_store_and_what_was_written_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let finished = store(folder.path());
    fs::remove_file(folder.path().join(MANIFEST_FILE)).unwrap();
    assert!(matches!(
        SliceStore::open(folder.path()),
        Err(StoreError::NoManifest(_))
    ));

    let writer = StoreWriter::create(folder.path(), &modalities(), SIZE).unwrap();
    let a = writer.kept("a", key()).unwrap();
    assert_eq!(a.digest, finished.manifest().subjects[0].digest);
    assert!(writer.kept("a", Digest::of(b"other inputs")).is_none());
    fs::write(folder.path().join("subjects/b.safetensors"), b"half").unwrap();
    assert!(writer.kept("b", key()).is_none());
    // Only "a" is committed: what is left of "b" goes.
    writer.commit(vec![record("a", a)], vec![]).unwrap();
    assert!(!folder.path().join("subjects/b.safetensors").exists());
    assert!(!folder.path().join("progress/b.json").exists());
}

#[test]
fn replacing_a_subject_withdraws_the_manifest_first() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path());
    let writer = StoreWriter::create(folder.path(), &modalities(), SIZE).unwrap();
    writer
        .write_subject("a", Digest::of(b"new"), &data(1, true))
        .unwrap();
    assert!(matches!(
        SliceStore::open(folder.path()),
        Err(StoreError::NoManifest(_))
    ));
}

#[test]
fn one_writer_no_foreign_folder_no_other_kind() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let writer = StoreWriter::create(&root, &modalities(), SIZE).unwrap();
    assert!(matches!(
        StoreWriter::create(&root, &modalities(), SIZE),
        Err(StoreError::Locked(_))
    ));
    drop(writer);
    store(&root);
    assert!(matches!(
        StoreWriter::create(&root, &modalities(), 8),
        Err(StoreError::OtherStore { .. })
    ));

    fs::write(root.join("thesis.docx"), b"").unwrap();
    assert!(matches!(
        StoreWriter::create(&root, &modalities(), SIZE),
        Err(StoreError::Foreign { found, .. }) if found == "thesis.docx"
    ));
    // A folder that merely has a `subjects` of its own is not ours either.
    let other = folder.path().join("other");
    fs::create_dir_all(other.join("subjects")).unwrap();
    assert!(matches!(
        StoreWriter::create(&other, &modalities(), SIZE),
        Err(StoreError::Foreign { .. })
    ));
}

#[test]
fn data_that_does_not_fit_together_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let writer = StoreWriter::create(folder.path(), &modalities(), SIZE).unwrap();
    let mut short = data(2, true);
    short.image.pop();
    assert!(matches!(
        writer.write_subject("a", key(), &short),
        Err(StoreError::Inconsistent { .. })
    ));
    assert!(matches!(
        writer.write_subject("../a", key(), &data(1, true)),
        Err(StoreError::Inconsistent { .. })
    ));
}

#[test]
fn a_call_that_converts_nothing_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    drop(StoreWriter::create(&root, &modalities(), SIZE).unwrap());
    assert!(!root.exists());
    // A folder that was there stays, and is as empty as before.
    fs::create_dir(&root).unwrap();
    drop(StoreWriter::create(&root, &modalities(), SIZE).unwrap());
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    // What was converted stays for the next call.
    let writer = StoreWriter::create(&root, &modalities(), SIZE).unwrap();
    writer.write_subject("a", key(), &data(1, true)).unwrap();
    drop(writer);
    let writer = StoreWriter::create(&root, &modalities(), SIZE).unwrap();
    assert!(writer.kept("a", key()).is_some());
}

#[test]
fn why_an_earlier_conversion_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path());
    let writer = StoreWriter::create(folder.path(), &modalities(), SIZE).unwrap();
    assert_eq!(writer.stale("c", key()), None);
    let other = Digest::of(b"other inputs");
    assert_eq!(writer.stale("a", other), Some(Stale::OtherInputs));
    let path = folder.path().join("progress/a.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"format\": 2,", "")).unwrap();
    assert_eq!(writer.stale("a", other), Some(Stale::OlderVersion));
    fs::write(&path, text.replace("\"format\"", "\"form")).unwrap();
    assert_eq!(writer.stale("a", key()), Some(Stale::Damaged));
}

/// Every truncation and every changed byte is an error that names the file.
#[test]
fn damaged_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let path = folder.path().join("subjects/a.safetensors");
    let good = fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let errors = [
            store.images().subject("a").unwrap_err(),
            store.truth().mask("a", 0).unwrap_err(),
            store
                .verify(&["b", "a"], &|_| ControlFlow::Continue(()))
                .unwrap_err(),
        ];
        for error in errors {
            let text = error.to_string();
            assert_eq!(
                text,
                format!(
                    "{}: its bytes are not those that the manifest names; copy the store again from where it is whole, or run `anofpdm preprocess` again",
                    path.display()
                )
            );
        }
    };
    for length in (0..good.len()).step_by(7) {
        refused(&good[..length]);
    }
    // The tail is lost and the length is kept, as an interrupted copy or a sparse file leaves it.
    let kept = good.len() * 2 / 3;
    refused(&[&good[..kept], &vec![0; good.len() - kept]].concat());
    let mut flipped = good.clone();
    flipped[good.len() - 1] ^= 1;
    refused(&flipped);
    refused(&[&good[..], b"\0"].concat());
    fs::write(&path, &good).unwrap();
    store.images().subject("a").unwrap();

    fs::remove_file(&path).unwrap();
    let text = store.images().subject("a").unwrap_err().to_string();
    assert!(text.contains("the file is missing"), "{text}");
    fs::create_dir(&path).unwrap();
    let text = store.images().subject("a").unwrap_err().to_string();
    assert!(text.contains("it is not a file"), "{text}");
}

/// Should a hostile file have the digest that its manifest names, it is an error or an honest read: never a panic.
#[test]
fn hostile_headers_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let path = folder.path().join("subjects/a.safetensors");
    let good = fs::read(&path).unwrap();
    let converted = &store.manifest().subjects[0];
    let expected = Expected {
        slices: converted.slices,
        lesion_slices: converted.lesion_slices,
        digest: converted.digest,
        channels: 2,
        size: SIZE,
    };
    let parse = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        SubjectFile::parse(path.clone(), File::open(&path).unwrap(), &expected)
    };
    for length in (0..good.len()).step_by(7) {
        assert!(parse(&good[..length]).is_err(), "cut to {length} bytes");
    }
    let header = 8 + usize::from(good[0]) + 256 * usize::from(good[1]);
    for index in 0..header {
        for value in [0, b'9', 0xff] {
            let mut bad = good.clone();
            bad[index] = value;
            if let Ok(file) = parse(&bad) {
                file.labels().ok();
                file.slice_index().ok();
                file.read_image(0, 3, &mut Vec::new()).ok();
                file.read_mask(0, 3).ok();
            }
        }
    }
    assert!(matches!(
        parse(&[&[0xff; 8][..], &good[8..]].concat()),
        Err(StoreError::Damaged { .. })
    ));
}

/// Counts are no part of the manifest's digest: they are believed when the file has them, and nothing is allocated for
/// them before.
#[test]
fn counts_of_the_manifest_are_those_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path());
    let manifest = folder.path().join(MANIFEST_FILE);
    let text = fs::read_to_string(&manifest).unwrap();
    for (from, to, part) in [
        (
            "\"slices\": 3",
            "\"slices\": 1000000000",
            "the manifest says 1000000000 slices, and the file has 3",
        ),
        (
            "\"slices\": 3",
            "\"slices\": 18446744073709551615",
            "the manifest says 18446744073709551615 slices, and the file has 3",
        ),
        (
            "\"lesion_slices\": 1,",
            "\"lesion_slices\": 0,",
            "the manifest says 0 slices with lesion, and the file has 1",
        ),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        fs::write(&manifest, changed).unwrap();
        let store = SliceStore::open(folder.path()).unwrap();
        for error in [
            store.images().subject("a").unwrap_err(),
            store.truth().mask("a", 0).unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(error.contains("a.safetensors"), "{error}");
            assert!(error.contains(part), "{error}");
        }
    }
}

#[test]
fn what_is_kept_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path());
    let path = folder.path().join("subjects/a.safetensors");
    let good = fs::read(&path).unwrap();
    let writer = StoreWriter::create(folder.path(), &modalities(), SIZE).unwrap();
    assert!(writer.kept("a", key()).is_some());
    let mut zeroed = good.clone();
    let length = zeroed.len();
    zeroed[length - 20..].fill(9);
    fs::write(&path, zeroed).unwrap();
    assert!(writer.kept("a", key()).is_none());
    fs::write(&path, &good).unwrap();
    assert!(writer.kept("a", key()).is_some());

    // Counts that are wrong in the note of progress would come back with every manifest.
    let progress = folder.path().join("progress/a.json");
    let text = fs::read_to_string(&progress).unwrap();
    for (from, to) in [
        ("\"slices\": 3", "\"slices\": 4"),
        ("\"lesion_slices\": 1", "\"lesion_slices\": 2"),
    ] {
        fs::write(&progress, text.replacen(from, to, 1)).unwrap();
        assert!(writer.kept("a", key()).is_none(), "{to}");
    }
}
