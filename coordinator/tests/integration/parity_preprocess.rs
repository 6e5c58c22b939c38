//! Preprocessing against the public implementation's numbers, and the counts on real volumes.

use std::fs::File;
use std::path::{Path, PathBuf};

use anofpdm_common::resize::Resize;
use anofpdm_common::store::scaling::Scaling;
use anofpdm_common::store::slices::{SliceStore, Split};
use anofpdm_coordinator::ingest::layouts::LayoutName;
use anofpdm_coordinator::ingest::percentile::positive_percentile;
use anofpdm_coordinator::ingest::preprocess::{Outcome, Progress, Report, Request, preprocess};
use anofpdm_coordinator::ingest::split::{self, Member};
use anofpdm_coordinator::ingest::volume::Volume;
use anofpdm_test_support::oracle::{assert_close, read_tensors, shared_dir};
use ndarray::{ArrayD, Ix3};
use ndarray_npy::{NpzReader, ReadableElement};

struct Silent;

impl Progress for Silent {
    fn begin(&self, _: usize) {}
    fn done(&self, _: &str, _: &Outcome) {}
    fn stopped(&self) -> bool {
        false
    }
}

fn request(input: &Path, store: &Path, layout: LayoutName, modalities: &[&str]) -> Request {
    Request {
        input: input.to_path_buf(),
        store: store.to_path_buf(),
        layout,
        modalities: Some(modalities.iter().map(|m| (*m).to_owned()).collect()),
        size: 128,
        labels: None,
        split: "75/5/20".to_owned(),
        seed: 0,
        preview: false,
        threads: Some(2),
    }
}

fn read<T: ReadableElement>(npz: &mut NpzReader<File>, name: &str) -> ArrayD<T> {
    npz.by_name(name).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

#[test]
fn resize_matches() {
    let Some(shared) = shared_dir("resize_matches") else {
        return;
    };
    let oracle = read_tensors(&shared.join("oracles/resize.safetensors"));
    let x = &oracle["x"];
    for (name, output) in [("x_11x9", [11, 9]), ("x_32x29", [32, 29])] {
        let resize = Resize::<f64>::new([19, 23], output);
        let got: Vec<f64> = x
            .values
            .chunks(19 * 23)
            .flat_map(|image| resize.apply(image))
            .collect();
        assert_close(name, &got, &oracle[name].values, 0.0, 1e-12);
    }
    let label = Resize::<f32>::new([19, 23], [11, 9]).apply(&oracle["label"].f32());
    assert_close(
        "label_11x9",
        &widen(&label),
        &oracle["label_11x9"].values,
        0.0,
        1e-6,
    );
    let binary: Vec<f64> = label
        .iter()
        .map(|x| f64::from(u8::from(*x > 0.5)))
        .collect();
    assert_eq!(binary, oracle["label_11x9_binary"].values);
}

/// Through the whole program: the store of the oracle's subjects, compared slice by slice.
#[test]
fn subjects_match() {
    let Some(shared) = shared_dir("subjects_match") else {
        return;
    };
    let root = shared.join("oracles/preprocess");
    for (id, layout, modalities, files) in [
        (
            "BraTS2021_90001",
            LayoutName::Brats,
            &["flair", "t1", "t1ce", "t2"][..],
            &["flair", "t1", "t1ce", "t2"][..],
        ),
        ("sub-r001s001", LayoutName::Atlas, &["t1"], &["T1w"]),
    ] {
        let mut npz = NpzReader::new(File::open(root.join(format!("{id}.npz"))).unwrap()).unwrap();
        let p99: ArrayD<f64> = read(&mut npz, "p99");
        let percentiles: Vec<f64> = files
            .iter()
            .map(|file| {
                let volume =
                    Volume::read(&root.join(id).join(format!("{id}_{file}.nii.gz"))).unwrap();
                positive_percentile(&volume.values, 99.0).unwrap()
            })
            .collect();
        assert_close("p99", &percentiles, p99.as_slice().unwrap(), 1e-12, 0.0);

        let input = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(root.join(id), input.path().join(id)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let report = preprocess(
            &request(input.path(), folder.path(), layout, modalities),
            &Silent,
        )
        .unwrap();
        compare_subject(&report.store, id, modalities.len(), &mut npz);
    }
}

fn compare_subject(store: &SliceStore, id: &str, channels: usize, npz: &mut NpzReader<File>) {
    let subject = store.images().subject(id).unwrap();
    let slice_index: ArrayD<i64> = read(npz, "slice_index");
    let labels: ArrayD<i64> = read(npz, "labels");
    let kept: ArrayD<i64> = read(npz, "kept");
    let got: Vec<i64> = subject.slice_index.iter().map(|x| i64::from(*x)).collect();
    assert_eq!(got, slice_index.as_slice().unwrap(), "{id}: kept slices");
    let got: Vec<i64> = subject.labels.iter().map(|x| i64::from(*x)).collect();
    assert_eq!(got, labels.as_slice().unwrap(), "{id}: labels");

    let mut slice = Vec::new();
    // Named by their place in the volume.
    for n in kept.iter() {
        let position = slice_index.iter().position(|index| index == n).unwrap();
        subject.read_slice(position, &mut slice).unwrap();
        let x: ArrayD<f64> = read(npz, &format!("slice{n}_x_f64"));
        let x = x.into_dimensionality::<Ix3>().unwrap();
        assert_eq!(x.dim(), (channels, 128, 128));
        // Stored as float32: half a unit in its last place.
        assert_close(
            &format!("{id} slice{n}_x"),
            &widen(&slice),
            x.as_slice().unwrap(),
            6e-8,
            1e-12,
        );

        Scaling::SliceMinmax.apply(&mut slice, channels, 128 * 128);
        let loader: ArrayD<f32> = read(npz, &format!("loader{n}_x"));
        assert_close(
            &format!("{id} loader{n}_x"),
            &widen(&slice),
            &widen(loader.as_slice().unwrap()),
            0.0,
            1e-6,
        );

        let mask: Vec<f32> = store
            .truth()
            .mask(id, position)
            .unwrap()
            .unwrap()
            .into_iter()
            .map(f32::from)
            .collect();
        let loader: ArrayD<f32> = read(npz, &format!("loader{n}_y"));
        assert_eq!(mask, loader.as_slice().unwrap(), "{id}: mask of slice {n}");
        let resized: ArrayD<f32> = read(npz, &format!("slice{n}_y"));
        let thresholded: Vec<f32> = resized
            .iter()
            .map(|x| f32::from(u8::from(*x > 0.5)))
            .collect();
        assert_eq!(mask, thresholded, "{id}: resized mask of slice {n}");
    }
}

#[test]
fn reference_split_matches() {
    let Some(shared) = shared_dir("reference_split_matches") else {
        return;
    };
    let text = std::fs::read_to_string(shared.join("oracles/splits.json")).unwrap();
    let oracle: serde_json::Value = serde_json::from_str(&text).unwrap();
    for n in [10_usize, 100, 655, 1251] {
        let entry = &oracle[n.to_string()];
        let size = |key: &str| usize::try_from(entry[key].as_u64().unwrap()).unwrap();
        let names: Vec<String> = (0..n).map(|index| format!("{index:06}")).collect();
        let members: Vec<Member<'_>> = names.iter().map(|name| Member::alone(name)).collect();
        let splits = split::assign("reference", Path::new(""), &members, 0).unwrap();
        let mut expected = vec![Split::Test; n];
        let order = entry["permutation"].as_array().unwrap();
        assert_eq!(
            order.len(),
            size("n_train") + size("n_val") + size("n_test")
        );
        for (place, index) in order.iter().enumerate() {
            expected[usize::try_from(index.as_u64().unwrap()).unwrap()] = if place < size("n_train")
            {
                Split::Train
            } else if place < size("n_train") + size("n_val") {
                Split::Validation
            } else {
                Split::Test
            };
        }
        assert_eq!(splits, expected, "{n} patients");
    }
}

fn real(shared: &Path, set: &str, store: &Path, modalities: &[&str]) -> Report {
    let input: PathBuf = shared.join("data").join(set);
    preprocess(
        &request(&input, store, LayoutName::Brats, modalities),
        &Silent,
    )
    .unwrap()
}

fn counts(report: &Report) -> Vec<(usize, usize)> {
    let manifest = report.store.manifest();
    assert!(manifest.skipped.is_empty());
    manifest
        .subjects
        .iter()
        .map(|subject| (subject.slices, subject.lesion_slices))
        .collect()
}

#[test]
fn real_glioma_counts() {
    let Some(shared) = shared_dir("real_glioma_counts") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let report = real(&shared, "brats13_glioma", folder.path(), &["flair", "t1ce"]);
    assert_eq!(
        counts(&report),
        [(132, 74), (139, 81), (137, 75), (143, 84)]
    );
    let again = real(&shared, "brats13_glioma", folder.path(), &["flair", "t1ce"]);
    assert_eq!((again.converted, again.kept), (0, 4));
    assert_eq!(again.store.manifest(), report.store.manifest());
}

#[test]
fn real_ms_counts() {
    let Some(shared) = shared_dir("real_ms_counts") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let report = real(
        &shared,
        "ms_lesions",
        folder.path(),
        &["flair", "t1", "t1ce", "t2"],
    );
    let counts = counts(&report);
    assert_eq!(counts.iter().map(|c| c.0).sum::<usize>(), 247);
    assert_eq!(counts.iter().map(|c| c.1).sum::<usize>(), 156);
}
