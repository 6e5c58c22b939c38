mod notes;

use std::fs::File;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use ndarray::{Array3, ShapeBuilder};
use nifti::NiftiHeader;
use nifti::writer::WriterOptions;

use super::*;
use anofpdm_common::store::slices::Split;

mod inputs;
mod messages;

struct Silent;

impl Progress for Silent {
    fn begin(&self, _: usize) {}
    fn done(&self, _: &str, _: &Outcome) {}
    fn stopped(&self) -> bool {
        false
    }
}

const SHAPE: [usize; 3] = [12, 10, 5];

/// BraTS' orientation, away from the origin.
const LPS: [[f32; 4]; 3] = [
    [-1.0, 0.0, 0.0, 20.0],
    [0.0, -1.0, 0.0, 30.0],
    [0.0, 0.0, 1.0, -7.0],
];

/// A volume that no flip or permutation leaves as it is; its first and last slices are empty.
fn value(x: usize, y: usize, z: usize) -> f32 {
    if z == 0 || z == SHAPE[2] - 1 {
        return 0.0;
    }
    f32::from(u16::try_from(1 + x + 20 * y + 300 * z).unwrap())
}

fn lesion(x: usize, y: usize, z: usize) -> f32 {
    f32::from(u8::from(z == 2 && (2..7).contains(&x) && (1..5).contains(&y)) * 4)
}

fn write_volume(
    path: &Path,
    shape: [usize; 3],
    affine: [[f32; 4]; 3],
    at: impl Fn(usize, usize, usize) -> f32,
) {
    let volume = Array3::from_shape_fn(shape.f(), |(x, y, z)| at(x, y, z));
    let header = NiftiHeader {
        srow_x: affine[0],
        srow_y: affine[1],
        srow_z: affine[2],
        qform_code: 0,
        ..NiftiHeader::default()
    };
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    WriterOptions::new(path)
        .reference_header(&header)
        .write_nifti(&volume)
        .unwrap();
}

struct Set {
    folder: tempfile::TempDir,
}

impl Set {
    /// Sound subjects, each with flair, t2 and a mask.
    fn new(ids: &[&str]) -> Self {
        let set = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for id in ids {
            for name in ["flair", "t2"] {
                write_volume(&set.file(id, name), SHAPE, LPS, value);
            }
            write_volume(&set.file(id, "seg"), SHAPE, LPS, lesion);
        }
        set
    }

    fn file(&self, id: &str, name: &str) -> PathBuf {
        self.folder
            .path()
            .join(format!("in/{id}/{id}_{name}.nii.gz"))
    }

    fn request(&self, layout: LayoutName) -> Request {
        Request {
            input: self.folder.path().join("in"),
            store: self.folder.path().join("store"),
            layout,
            modalities: None,
            size: 16,
            labels: None,
            split: "75/5/20".to_owned(),
            seed: 0,
            preview: false,
            threads: Some(2),
        }
    }

    fn run(&self) -> Result<Report, PreprocessError> {
        preprocess(&self.request(LayoutName::Brats), &Silent)
    }
}

fn compress(path: &Path, bytes: &[u8]) {
    let mut encoder = GzEncoder::new(File::create(path).unwrap(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap();
}

#[test]
fn every_broken_subject_is_skipped_with_its_reason() {
    let ids = [
        "a_good",
        "affine",
        "b_good",
        "c_good",
        "crc",
        "cut",
        "empty",
        "missing",
        "nan",
        "no_mask",
        "not_gzip",
        "not_nifti",
        "shape",
        "twice",
        "zero",
    ];
    let set = Set::new(&ids);
    let shifted = [LPS[0], LPS[1], [0.0, 0.0, 1.0, 9.0]];
    write_volume(&set.file("affine", "t2"), SHAPE, shifted, value);
    write_volume(&set.file("shape", "seg"), [12, 10, 4], LPS, lesion);
    write_volume(&set.file("nan", "t2"), SHAPE, LPS, |x, _, _| {
        if x == 3 { f32::NAN } else { 1.0 }
    });
    write_volume(&set.file("zero", "flair"), SHAPE, LPS, |_, _, _| -1.0);
    std::fs::remove_file(set.file("missing", "t2")).unwrap();
    std::fs::remove_file(set.file("no_mask", "seg")).unwrap();
    File::create(set.file("empty", "seg")).unwrap();
    std::fs::write(
        set.file("not_gzip", "flair"),
        b"plain bytes that are no gzip at all",
    )
    .unwrap();
    compress(&set.file("not_nifti", "flair"), &[7; 4_000]);
    let whole = std::fs::read(set.file("cut", "flair")).unwrap();
    std::fs::write(set.file("cut", "flair"), &whole[..whole.len() / 2]).unwrap();
    let mut damaged = std::fs::read(set.file("crc", "t2")).unwrap();
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    std::fs::write(set.file("crc", "t2"), damaged).unwrap();
    write_volume(
        &set.file("twice", "t2").with_extension(""),
        SHAPE,
        LPS,
        value,
    );

    let report = set.run().unwrap();
    let manifest = report.store.manifest();
    let good: Vec<&str> = manifest
        .subjects
        .iter()
        .map(|subject| subject.id.as_str())
        .collect();
    assert_eq!(good, ["a_good", "b_good", "c_good"]);
    for (id, words) in [
        ("affine", "affine differs"),
        ("crc", "truncated or damaged"),
        ("cut", "truncated or damaged"),
        ("empty", "empty file"),
        ("missing", "missing modality 't2'"),
        ("nan", "NaN or infinity"),
        ("no_mask", "--labels"),
        ("not_gzip", "not gzip"),
        ("not_nifti", "not a usable NIfTI"),
        ("shape", "shape [12, 10, 4] differs"),
        ("twice", "2 files for 't2'"),
        ("zero", "no voxel is above 0"),
    ] {
        let skipped = manifest
            .skipped
            .iter()
            .find(|subject| subject.id == id)
            .unwrap();
        assert!(skipped.reason.contains(words), "{id}: {}", skipped.reason);
    }
    assert_eq!(manifest.skipped.len(), ids.len() - 3);
}

#[test]
fn nothing_to_convert_is_an_error_and_leaves_no_store() {
    let set = Set::new(&["a"]);
    std::fs::write(set.file("a", "flair"), b"").unwrap();
    assert!(matches!(set.run(), Err(PreprocessError::AllSkipped { .. })));
    assert!(SliceStore::open(set.request(LayoutName::Brats).store).is_err());
    let nowhere = Request {
        input: set.folder.path().join("nowhere"),
        ..set.request(LayoutName::Brats)
    };
    assert!(matches!(
        preprocess(&nowhere, &Silent),
        Err(PreprocessError::Input { .. })
    ));
    let bad_split = Request {
        split: "most".to_owned(),
        ..set.request(LayoutName::Brats)
    };
    assert!(matches!(
        preprocess(&bad_split, &Silent),
        Err(PreprocessError::Split(_))
    ));
}

#[test]
fn an_interrupted_call_is_resumed_and_ends_with_the_same_store() {
    let set = Set::new(&["a", "b", "c", "d"]);
    let first = set.run().unwrap();
    assert_eq!((first.converted, first.kept), (4, 0));
    let splits = first
        .store
        .manifest()
        .subjects
        .iter()
        .map(|subject| subject.split);
    assert!(
        Split::ALL
            .iter()
            .all(|split| splits.clone().any(|s| s == *split))
    );

    // As if killed before the manifest, while the third was being written.
    let store = first.store.root();
    std::fs::remove_file(store.join("manifest.json")).unwrap();
    std::fs::remove_file(store.join("progress/c.json")).unwrap();
    std::fs::rename(
        store.join("subjects/c.safetensors"),
        store.join("subjects/c.safetensors.tmp"),
    )
    .unwrap();
    assert!(SliceStore::open(store).is_err());
    let second = set.run().unwrap();
    assert_eq!((second.converted, second.kept), (1, 3));
    assert_eq!(second.store.manifest(), first.store.manifest());
    assert!(!store.join("subjects/c.safetensors.tmp").exists());

    // A changed input is converted again, the others are kept.
    write_volume(&set.file("b", "t2"), SHAPE, LPS, |x, y, z| {
        value(x, y, z) * 2.0 + f32::from(u8::from(z == 1))
    });
    let third = set.run().unwrap();
    assert_eq!((third.converted, third.kept), (1, 3));
    assert_ne!(third.store.manifest().digest, first.store.manifest().digest);
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let (one, many) = (Set::new(&["a", "b", "c"]), Set::new(&["a", "b", "c"]));
    let single = Request {
        threads: Some(1),
        ..one.request(LayoutName::Brats)
    };
    let report = preprocess(&single, &Silent).unwrap();
    assert_eq!(
        report.store.manifest(),
        many.run().unwrap().store.manifest()
    );
}

/// Asks to stop once a subject is done.
#[derive(Default)]
struct StopAfterOne(std::sync::atomic::AtomicBool);

impl Progress for StopAfterOne {
    fn begin(&self, _: usize) {}
    fn done(&self, _: &str, _: &Outcome) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
    fn stopped(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

#[test]
fn a_stopped_call_keeps_what_it_did() {
    let set = Set::new(&["a", "b", "c"]);
    let request = Request {
        threads: Some(1),
        ..set.request(LayoutName::Brats)
    };
    assert!(matches!(
        preprocess(&request, &StopAfterOne::default()),
        Err(PreprocessError::Stopped)
    ));
    assert!(SliceStore::open(&request.store).is_err());
    let report = set.run().unwrap();
    assert_eq!((report.converted, report.kept), (2, 1));
}

/// Writes `id` with its axes permuted and flipped, and the affine that says so.
fn write_turned(set: &Set, id: &str, order: [usize; 3], flipped: [bool; 3]) {
    let shape = order.map(|axis| SHAPE[axis]);
    let mut affine = [[0.0; 4]; 3];
    for (row, out) in LPS.iter().zip(&mut affine) {
        out[3] = row[3];
        for (axis, source) in order.into_iter().enumerate() {
            let last = f32::from(u16::try_from(SHAPE[source] - 1).unwrap());
            out[axis] = if flipped[axis] {
                -row[source]
            } else {
                row[source]
            };
            out[3] += if flipped[axis] {
                row[source] * last
            } else {
                0.0
            };
        }
    }
    let turned = |at: fn(usize, usize, usize) -> f32| {
        move |x: usize, y: usize, z: usize| {
            let mut place = [0; 3];
            for (axis, index) in [x, y, z].into_iter().enumerate() {
                place[order[axis]] = if flipped[axis] {
                    shape[axis] - 1 - index
                } else {
                    index
                };
            }
            at(place[0], place[1], place[2])
        }
    };
    for name in ["flair", "t2"] {
        write_volume(&set.file(id, name), shape, affine, turned(value));
    }
    write_volume(&set.file(id, "seg"), shape, affine, turned(lesion));
}

#[test]
fn any_orientation_gives_the_same_slices() {
    let set = Set::new(&["straight"]);
    let mut ids = vec!["straight".to_owned()];
    for order in [[0, 1, 2], [1, 0, 2], [2, 0, 1], [2, 1, 0]] {
        for bits in 0..8_u8 {
            let flipped = [bits & 1 != 0, bits & 2 != 0, bits & 4 != 0];
            let id = format!("o{order:?}{bits}").replace([' ', ','], "");
            write_turned(&set, &id, order, flipped);
            ids.push(id);
        }
    }
    let store = set.run().unwrap().store;
    assert!(store.manifest().skipped.is_empty());
    let read = |id: &str| {
        let subject = store.images().subject(id).unwrap();
        let mut slices = Vec::new();
        for n in 0..subject.slices() {
            let mut slice = Vec::new();
            subject.read_slice(n, &mut slice).unwrap();
            slices.push((slice, store.truth().mask(id, n).unwrap()));
        }
        (subject.slice_index.clone(), subject.labels.clone(), slices)
    };
    let straight = read("straight");
    assert_eq!(straight.0, [1, 2, 3]);
    assert_eq!(straight.1, [0, 1, 0]);
    for id in &ids {
        assert!(read(id) == straight, "{id}");
    }
}

#[test]
fn labels_stand_in_for_a_missing_mask() {
    let set = Set::new(&["a", "b", "c"]);
    for id in ["a", "b"] {
        std::fs::remove_file(set.file(id, "seg")).unwrap();
    }
    let labels = set.folder.path().join("labels.csv");
    std::fs::write(
        &labels,
        "subject,slice,label\na,1,1\na,2,0\na,3,1\nb,1,0\nc,1,1\n",
    )
    .unwrap();
    let request = Request {
        labels: Some(labels),
        ..set.request(LayoutName::Brats)
    };
    let store = preprocess(&request, &Silent).unwrap().store;
    assert_eq!(store.images().subject("a").unwrap().labels, [1, 0, 1]);
    assert!(store.truth().mask("a", 0).unwrap().is_none());
    // A mask goes before the labels file.
    assert_eq!(store.images().subject("c").unwrap().labels, [0, 1, 0]);
    assert_eq!(store.manifest().skipped[0].id, "b");
    assert!(store.manifest().skipped[0].reason.contains("slice 2"));
}

#[test]
fn the_generic_layout_pads_to_a_square() {
    let set = Set::new(&["a"]);
    let store = preprocess(
        &Request {
            size: 12,
            ..set.request(LayoutName::Generic)
        },
        &Silent,
    )
    .unwrap()
    .store;
    let subject = store.images().subject("a").unwrap();
    assert_eq!(
        (subject.source().canvas, subject.source().padding),
        ([12, 12], [0, 1])
    );
    let mut slice = Vec::new();
    subject.read_slice(0, &mut slice).unwrap();
    // 12 rows are kept; of 12 columns the first and the last are padding.
    assert!((0..12).all(|row| slice[row * 12] == 0.0 && slice[row * 12 + 11] == 0.0));
    assert!((0..12).all(|row| slice[row * 12 + 1] > 0.0 && slice[row * 12 + 10] > 0.0));
}

#[test]
fn a_full_disk_is_an_error_that_a_second_call_heals() {
    let set = Set::new(&["a", "b", "c"]);
    let store = set.request(LayoutName::Brats).store;
    // A folder in the way of the temporary file stands for a disk that refuses.
    std::fs::create_dir_all(store.join("subjects/b.safetensors.tmp")).unwrap();
    File::create(store.join(".anofpdm-store")).unwrap();
    assert!(matches!(
        set.run(),
        Err(PreprocessError::Store(StoreError::Disk(_)))
    ));
    assert!(SliceStore::open(&store).is_err());
    std::fs::remove_dir(store.join("subjects/b.safetensors.tmp")).unwrap();
    assert_eq!(set.run().unwrap().store.manifest().subjects.len(), 3);
}
