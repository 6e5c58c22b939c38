//! `anofpdm metrics` as a person runs it, on the oracle's arrays.

use std::process::{Command, Output};

use anofpdm_test_support::oracle::{assert_close, shared_dir};
use serde_json::Value;

fn metrics(arguments: &[String]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_anofpdm"))
        .arg("metrics")
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn the_command_prints_the_public_evaluation() {
    let Some(shared) = shared_dir("the_command_prints_the_public_evaluation") else {
        return;
    };
    let oracles = shared.join("oracles");
    let arrays = oracles.join("metrics.safetensors").display().to_string();
    let options = |filter: &[&str]| -> Vec<String> {
        let named = [
            ("masks", "pred"),
            ("labels", "gt"),
            ("scores", "score"),
            ("foreground", "foreground"),
        ];
        let files = named.map(|(option, name)| format!("--{option}={arrays}:{name}"));
        let rest = filter.iter().map(|option| (*option).to_owned());
        files.into_iter().chain(rest).collect()
    };
    let json = std::fs::read(oracles.join("metrics.json")).unwrap();
    let expected: Value = serde_json::from_slice(&json).unwrap();

    for (suffix, filter) in [
        ("", ["--json", "--batch=5"]),
        ("_cc", ["--json", "--components=40"]),
    ] {
        let output = metrics(&options(&filter));
        assert!(output.status.success());
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        for (setup, slices) in [("mixed", 10), ("unhealthy", 6)] {
            // Precision and recall are swapped in the public code.
            let names = [
                ("dice", "dice"),
                ("iou", "iou"),
                ("auprc", "AUPRC"),
                ("precision", "recall"),
                ("recall", "precision"),
            ];
            for (ours, theirs) in names {
                let got = found[setup][ours].as_f64().unwrap();
                let want = expected[format!("{setup}{suffix}")][theirs]
                    .as_f64()
                    .unwrap();
                assert_close(
                    &format!("{setup}{suffix} {ours}"),
                    &[got],
                    &[want],
                    0.0,
                    1e-6,
                );
            }
            assert_eq!(found[setup]["slices"], slices);
        }
        if suffix.is_empty() {
            let got = found["mixed"]["auprc_batch"].as_f64().unwrap();
            let want = expected["mean_of_batch_auprc"].as_f64().unwrap();
            assert_close("auprc_batch", &[got], &[want], 0.0, 1e-6);
        }
    }

    let table = metrics(&options(&[]));
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.contains("dice            0.7140      0.5233"),
        "{table}"
    );
}

#[test]
fn mistakes_are_named() {
    let output = metrics(&["--masks=a.npy".to_owned()]);
    assert_eq!(output.status.code(), Some(2));
    let output = metrics(&[
        "--masks=nowhere.npy".to_owned(),
        "--labels=b.npy".to_owned(),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("--masks") && message.contains("nowhere.npy"),
        "{message}"
    );
}

mod volumes {
    use std::path::Path;

    use ndarray::{Array3, ShapeBuilder};
    use nifti::NiftiHeader;
    use nifti::writer::WriterOptions;

    use super::*;

    /// 4 x 5 x 3 voxels of 1 x 2 x 3 mm.
    fn write(path: &Path, set: &[[usize; 3]]) {
        let mut mask = Array3::<u8>::zeros((4, 5, 3).f());
        for place in set {
            mask[*place] = 1;
        }
        let header = NiftiHeader {
            pixdim: [1.0, 1.0, 2.0, 3.0, 1.0, 1.0, 1.0, 1.0],
            srow_x: [1.0, 0.0, 0.0, 0.0],
            srow_y: [0.0, 2.0, 0.0, 0.0],
            srow_z: [0.0, 0.0, 3.0, 0.0],
            ..NiftiHeader::default()
        };
        let options = WriterOptions::new(path);
        options
            .reference_header(&header)
            .write_nifti(&mask)
            .unwrap();
    }

    fn folders() -> (tempfile::TempDir, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        for (case, truth, predicted) in [
            ("P1_tp1", &[[1, 1, 0], [1, 2, 0]][..], &[[1, 1, 0]][..]),
            ("P1_tp2", &[[1, 1, 0]], &[[1, 1, 0], [3, 4, 2]]),
            ("P2", &[], &[]),
        ] {
            for (name, set) in [("truth", truth), ("predicted", predicted)] {
                let folder = folder.path().join(name);
                std::fs::create_dir_all(&folder).unwrap();
                write(&folder.join(format!("{case}.nii.gz")), set);
            }
        }
        let arguments = [("pred", "predicted"), ("truth", "truth")]
            .map(|(option, name)| format!("--{option}={}", folder.path().join(name).display()));
        (folder, arguments.to_vec())
    }

    #[test]
    fn masks_of_volumes_are_compared_by_name() {
        let (folder, arguments) = folders();
        let row = folder.path().join("row.json");
        let more = [
            "--json".to_owned(),
            format!("--row={}", row.display()),
            "--name=other".to_owned(),
        ];
        let output = metrics(&[arguments.clone(), more.to_vec()].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{error}");
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&found["volumes"], &found["patients"]),
            (&3.into(), &2.into())
        );
        assert_eq!(
            (&found["mixed"]["slices"], &found["empty"]),
            (&9.into(), &1.into())
        );
        assert_eq!(found["unhealthy"]["slices"], 2);
        // Over patients, of whom there are two; 2/3, 2/3, 1 and undefined.
        assert!(found["volume"]["dice"]["ci95"].is_array());
        assert_eq!(found["volume"]["hd95"]["n"], 2);
        assert_eq!(found["cases"][0]["patient"], "P1");
        assert_eq!(found["cases"][1]["lesions"]["spurious"], 1);
        let hd95 = found["cases"][0]["hd95"].as_f64().unwrap();
        assert!((hd95 - 1.9).abs() < 1e-9, "{hd95}");
        let written: Value = serde_json::from_slice(&std::fs::read(row).unwrap()).unwrap();
        assert_eq!(written["name"], "other");
        assert_eq!(written["volumes"][1]["slices"][2]["predicted"], 1);
        let table = String::from_utf8(metrics(&arguments).stdout).unwrap();
        assert!(table.contains("2 of 2 lesions found"), "{table}");
        assert!(
            table.contains("1 volumes are empty in truth and prediction"),
            "{table}"
        );
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let (folder, arguments) = folders();
        let refused = |arguments: &[String]| {
            let output = metrics(arguments);
            assert_eq!(output.status.code(), Some(1));
            String::from_utf8(output.stderr).unwrap()
        };
        let predicted = folder.path().join("predicted");
        std::fs::remove_file(predicted.join("P2.nii.gz")).unwrap();
        let message = refused(&arguments);
        assert!(
            message.contains("1 of 3 cases have no prediction"),
            "{message}"
        );
        assert!(message.contains("P2"), "{message}");
        write(&predicted.join("P2.nii.gz"), &[]);
        for case in ["P1_tp1", "P1_tp2"] {
            write(&folder.path().join(format!("truth/{case}.nii.gz")), &[]);
        }
        let message = refused(&arguments);
        assert!(message.contains("there is nothing to find"), "{message}");
        let output = metrics(&[arguments[0].clone()]);
        assert_eq!(output.status.code(), Some(2));
    }
}
