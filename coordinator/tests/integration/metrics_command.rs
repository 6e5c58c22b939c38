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
