//! `anofpdm-worker bench`, the real program: what it prints is consistent, and memory does not grow with the steps.

use std::path::Path;
use std::process::{Command, Output};

use anofpdm_tests::programs::program;
use serde_json::Value;

const CONFIG: &str = r#"{"arch": "v2", "image_size": 32, "in_channels": 4, "num_channels": 32, "num_res_blocks": 1,
    "channel_mult": [1, 2], "attention_downsample_rates": [2], "num_heads": 2, "num_classes": 2}"#;

fn call(folder: &Path, options: &[&str]) -> Output {
    let config = folder.join("config.json");
    std::fs::write(&config, CONFIG).unwrap();
    Command::new(program("anofpdm-worker"))
        .arg("bench")
        .arg("--config")
        .arg(config)
        .args(options)
        .output()
        .unwrap()
}

fn bench(folder: &Path, options: &[&str]) -> Value {
    let done = call(folder, options);
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    serde_json::from_slice(&done.stdout).unwrap()
}

fn number(report: &Value, name: &str) -> f64 {
    report[name]
        .as_f64()
        .unwrap_or_else(|| panic!("no number {name} in {report}"))
}

#[test]
fn the_figures_fit_together() {
    let folder = tempfile::tempdir().unwrap();
    for (semantics, encoding, evaluations) in [
        ("paper-clipped", "ddim", 2.0),
        ("paper", "ddpm", 2.0),
        // Three distinct ones, but for the first step's two.
        ("reference", "ddim", 2.75),
    ] {
        let options = ["--semantics", semantics, "--encoding", encoding];
        let sizes = ["--batch", "3", "--steps", "4", "--repeats", "1", "--json"];
        let report = bench(folder.path(), &[&options[..], &sizes[..]].concat());
        assert_eq!(report["semantics"], semantics);
        assert_eq!(report["encoding"], encoding);
        assert_eq!(report["device"], "cpu");
        assert_eq!(report["precision"], "fp32");
        let close = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-9, "{a} {b}: {report}");
        let number = |name| number(&report, name);
        close(number("evaluations_per_step"), evaluations);
        close(
            number("seconds_per_step"),
            3.0 * number("seconds_per_slice_step"),
        );
        close(
            number("seconds_per_slice_step"),
            evaluations * number("seconds_per_evaluation"),
        );
        close(
            number("useful_flop_per_second") * number("seconds_per_evaluation"),
            number("flop_per_evaluation"),
        );
        close(
            number("fraction_of_matmul") * number("matmul_flop_per_second"),
            number("useful_flop_per_second"),
        );
        assert!(number("peak_memory_bytes") > 1e7);
    }
}

#[test]
fn memory_does_not_grow_with_the_steps() {
    let folder = tempfile::tempdir().unwrap();
    let peak = |steps: &str| {
        let options = ["--batch", "8", "--steps", steps, "--repeats", "1", "--json"];
        number(&bench(folder.path(), &options), "peak_memory_bytes")
    };
    // What the allocator takes besides moves by a few percent between two runs of the same; a tensor a step would be 11 %
    // every time.
    let mut pairs = Vec::new();
    while pairs.len() < 4 {
        let (short, long) = (peak("10"), peak("150"));
        if long < 1.05 * short {
            return;
        }
        pairs.push((short, long));
    }
    panic!("peak bytes of 10 and of 150 steps: {pairs:?}");
}

#[test]
fn savings_and_precisions_are_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = ["--batch", "2", "--steps", "1", "--repeats", "1", "--json"];
    let savings = |text: &str| {
        let options = [&["--savings", text], &sizes[..]].concat();
        bench(folder.path(), &options)["savings"].clone()
    };
    assert_eq!(savings("none"), Value::Array(vec![]));
    assert_eq!(savings("pair"), Value::from(vec!["pair"]));
    let without = savings("-pair").as_array().unwrap().len();
    assert_eq!(without + 1, savings("all").as_array().unwrap().len());
    let reduced = bench(
        folder.path(),
        &[&["--precision", "bf16"], &sizes[..]].concat(),
    );
    assert_eq!(reduced["precision"], "bf16");
}

#[test]
fn bad_usage() {
    let folder = tempfile::tempdir().unwrap();
    for (options, words) in [
        (["--precision", "fp16"], "needs a GPU"),
        (["--guidance", "-1"], "guidance"),
        (["--modalities", "4"], "modal"),
        (["--savings", "magic"], "unknown saving"),
        (["--batch", "0"], "batch"),
    ] {
        let done = call(folder.path(), &options);
        let message = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(2), "{options:?}: {message}");
        assert!(message.contains(words), "{options:?}: {message}");
    }
}
