//! Prediction on real volumes, from their files.

use anofpdm_test_support::oracle::shared_dir;
use anofpdm_tests::fixture::{Fixture, SPEC};
use ndarray::Axis;
use nifti::{IntoNdArray, NiftiHeader, NiftiObject, ReaderOptions};
use serde_json::Value;

const SUBJECT: &str = "brats_2013_pat0006_1";

#[test]
fn a_real_volume_is_predicted_on_its_own_grid() {
    let Some(shared) = shared_dir("a_real_volume_is_predicted_on_its_own_grid") else {
        return;
    };
    let data = shared.join("data/brats13_glioma");
    if !data.is_dir() {
        println!("skipped: no {}", data.display());
        return;
    }
    let fixture = Fixture::empty();
    let folder = data.display().to_string();
    let preprocess = [
        "preprocess",
        &folder,
        "store",
        "--layout",
        "brats",
        "--size",
        "32",
        "--split",
        "25/25/50",
    ];
    fixture.succeeds("anofpdm", &preprocess);
    let spec = SPEC
        .replace("\"flair\", \"t2\"", "\"flair\", \"t1ce\"")
        .replace("attention = [8]", "attention = [16]")
        .replace("steps = 8", "steps = 4")
        .replace(
            "\"anofpdm-ddim\", \"anofpdm-ddim-ste\", \"anofpdm-ddpm\"",
            "\"anofpdm-ddim\"",
        );
    fixture.write("tiny.toml", &spec);
    let run = ["run", "tiny.toml", "--dir", "run", "--workers", "1"];
    fixture.succeeds("anofpdm", &run);

    let file = |name: &str| data.join(format!("{SUBJECT}/{SUBJECT}_{name}.nii.gz"));
    let inputs = ["t1ce", "flair"].map(|name| format!("{name}={}", file(name).display()));
    let predict = [
        "predict",
        "--run",
        "run",
        "--input",
        &inputs[0],
        "--input",
        &inputs[1],
        "--subject",
        SUBJECT,
        "--out",
        "out",
        "--seed",
        "7",
    ];
    fixture.succeeds("anofpdm", &predict);

    let read = |path: std::path::PathBuf| ReaderOptions::new().read_file(path).unwrap();
    let source = read(file("flair"));
    let out = |end: &str| fixture.path().join(format!("out/{SUBJECT}{end}"));
    let result: Value = serde_json::from_slice(&std::fs::read(out(".json")).unwrap()).unwrap();
    let slices = result["slices"].as_array().unwrap();
    let places: Vec<u64> = slices
        .iter()
        .map(|one| one["slice"].as_u64().unwrap())
        .collect();
    assert!(places.len() > 100, "{} slices", places.len());
    for name in ["_map.nii.gz", "_mask.nii.gz"] {
        let written = read(out(name));
        let of = |header: &NiftiHeader| {
            let spacing = [header.pixdim[1], header.pixdim[2], header.pixdim[3]];
            (
                (header.dim, spacing, header.xyzt_units),
                (header.sform_code, header.qform_code),
                (header.srow_x, header.srow_y, header.srow_z),
                (header.quatern_b, header.quatern_c, header.quatern_d),
            )
        };
        assert_eq!(of(written.header()), of(source.header()));
        // Where there is no slice there is nothing; the head axis is the third of these files.
        let volume = written.into_volume().into_ndarray::<f32>().unwrap();
        let mut marked = 0;
        for (place, slice) in volume.axis_iter(Axis(2)).enumerate() {
            let fits = |value: &f32| *value >= 0.0 && (name == "_map.nii.gz" || *value <= 1.0);
            assert!(slice.iter().all(fits), "{name} {place}");
            let any = slice.iter().any(|value| *value > 0.0);
            assert!(!any || places.contains(&(place as u64)), "{name} {place}");
            marked += usize::from(any);
        }
        assert!(marked > 0, "{name} is empty");
    }
}
