//! Wrong input: each kind ends with a clear message and the right exit code, and nothing is lost.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use anofpdm_tests::programs::{Bench, SPEC, program};

/// Runs the spec after a replacement that must apply.
fn refused(bench: &Bench, from: &str, to: &str, code: i32) -> String {
    let text = SPEC.replacen(from, to, 1);
    assert_ne!(text, SPEC, "'{from}' must be in the spec");
    bench.write("bad.toml", &text);
    bench.fails(
        "anofpdm",
        &["run", "bad.toml", "--dir", "bad", "--workers", "1"],
        code,
    )
}

#[test]
fn a_bad_spec_is_refused_before_anything_is_computed() {
    let bench = Bench::new();
    for (from, to, part) in [
        ("respacing", "respacign", "did you mean `respacing`"),
        ("guidance = [1, 3]", "guidance = [-1]", "guidance"),
        ("anofpdm-ddpm\"", "anofpdm-dpm\"", "anofpdm-ddpm"),
        ("\"t2\"]", "\"t3\"]", "t3"),
        ("attention = [8]", "attention = [7]", "attention"),
    ] {
        let complaint = refused(&bench, from, to, 2);
        assert!(complaint.contains(part), "{to}: {complaint}");
    }
    // Slices that cannot carry the benchmark: not the spec's grammar, so a failure.
    for (from, to, part) in [
        ("store = \"store\"", "store = \"nowhere\"", "nowhere"),
        (
            "store = \"store\"",
            "store = \"store\"\nsplit = \"all-train.csv\"",
            "validation split has no subject",
        ),
        (
            "store = \"store\"",
            "store = \"store\"\nsplit = \"healthy-validation.csv\"",
            "calibration needs both kinds",
        ),
    ] {
        bench.write("all-train.csv", &split_file(&bench, |_| "train"));
        let healthy = healthy_subject(&bench);
        bench.write(
            "healthy-validation.csv",
            &split_file(&bench, |id| {
                if id == healthy {
                    "validation"
                } else if id.ends_with('1') {
                    "test"
                } else {
                    "train"
                }
            }),
        );
        let complaint = refused(&bench, from, to, 1);
        assert!(complaint.contains(part), "{to}: {complaint}");
    }
    assert!(!bench.path().join("bad").exists(), "no run was begun");
}

fn manifest(bench: &Bench) -> serde_json::Value {
    let text = std::fs::read_to_string(bench.path().join("store/manifest.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn split_file(bench: &Bench, split_of: impl Fn(&str) -> &'static str) -> String {
    let manifest = manifest(bench);
    let lines = manifest["subjects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|subject| {
            let id = subject["id"].as_str().unwrap();
            format!("{id},{}\n", split_of(id))
        });
    format!("subject,split\n{}", lines.collect::<String>())
}

/// A subject without lesion: the phantom is asked for enough subjects to have one.
fn healthy_subject(bench: &Bench) -> String {
    let manifest = manifest(bench);
    let healthy = manifest["subjects"]
        .as_array()
        .unwrap()
        .iter()
        .find(|subject| subject["lesion_slices"] == 0);
    healthy.expect("a subject without lesion")["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_checkpoint_that_does_not_fit_is_named() {
    let bench = Bench::new();
    bench.succeeds(
        "anofpdm",
        &[
            "run",
            "tiny.toml",
            "--dir",
            "trained",
            "--until",
            "train",
            "--workers",
            "1",
        ],
    );
    let folder = std::fs::read_dir(bench.path().join("trained/checkpoints/guided"))
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .max()
        .unwrap();
    let weights = folder.join("ema.safetensors");
    let given = format!("[model.guided]\ncheckpoint = \"{}\"\n", weights.display());
    for (name, spec, part) in [
        // Another architecture: a level more than the weights have.
        (
            "arch",
            SPEC.replace("channel_mult = [1, 2]", "channel_mult = [1, 2, 2]"),
            "architecture",
        ),
        (
            "width",
            SPEC.replace("channels = 32", "channels = 64"),
            "shape",
        ),
    ] {
        bench.write("bad.toml", &spec.replace("[model.guided]\n", &given));
        let complaint = bench.fails(
            "anofpdm",
            &["run", "bad.toml", "--dir", name, "--workers", "1"],
            1,
        );
        assert!(
            complaint.contains(part) || complaint.contains("tensor"),
            "{name}: {complaint}"
        );
    }

    // Slices with another number of channels than the weights.
    bench.succeeds(
        "anofpdm",
        &[
            "preprocess",
            "data",
            "one-channel",
            "--layout",
            "brats",
            "--modalities",
            "flair",
            "--size",
            "16",
            "--split",
            "50/25/25",
        ],
    );
    let spec = SPEC
        .replace("[model.guided]\n", &given)
        .replace("store = \"store\"", "store = \"one-channel\"")
        .replace("scored = [\"flair\", \"t2\"]", "scored = [\"flair\"]");
    bench.write("bad.toml", &spec);
    let complaint = bench.fails(
        "anofpdm",
        &["run", "bad.toml", "--dir", "channels", "--workers", "1"],
        1,
    );
    assert!(complaint.contains("channel"), "{complaint}");
}

#[test]
fn a_run_folder_is_locked_and_belongs_to_its_spec() {
    let bench = Bench::new();
    let arguments = ["run", "tiny.toml", "--dir", "run", "--workers", "1"];
    let mut first = bench.start("anofpdm", &arguments);
    let lock = bench.path().join("run/journal");
    while !lock.exists() && first.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let complaint = bench.fails("anofpdm", &arguments, 1);
    assert!(complaint.contains("locked"), "{complaint}");
    assert!(first.wait().unwrap().success());

    bench.write(
        "tiny.toml",
        &SPEC.replace("guidance = [1, 3]", "guidance = [1, 4]"),
    );
    let complaint = bench.fails("anofpdm", &arguments, 2);
    assert!(complaint.contains("another spec"), "{complaint}");
}

#[test]
fn a_full_disk_is_an_error_and_the_run_goes_on_later() {
    let bench = Bench::new();
    // A file-size limit stands for the full disk: no file of weights fits into 64 KiB.
    let limited = Command::new("bash")
        .arg("-c")
        .arg("ulimit -f 64; exec \"$0\" run tiny.toml --dir run --workers 1")
        .arg(program("anofpdm"))
        .current_dir(bench.path())
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&limited.stderr);
    assert_eq!(limited.status.code(), Some(1), "{complaint}");
    assert!(
        complaint.contains("space") || complaint.contains("limit"),
        "{complaint}"
    );
    bench.succeeds(
        "anofpdm",
        &["run", "tiny.toml", "--dir", "run", "--workers", "1"],
    );
    let summary = bench.summary("run");
    assert_eq!(
        summary["coverage"]["scored"],
        summary["coverage"]["planned"]
    );
}

#[test]
fn an_interrupt_ends_with_130_and_is_resumed() {
    let bench = Bench::new();
    let arguments = ["run", "tiny.toml", "--dir", "run", "--workers", "1"];
    let mut run = bench.start("anofpdm", &arguments);
    while !bench.path().join("run/journal").exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::thread::sleep(std::time::Duration::from_millis(500));
    let signalled = Command::new("kill")
        .args(["-INT", &run.id().to_string()])
        .status()
        .unwrap();
    assert!(signalled.success());
    assert_eq!(run.wait().unwrap().code(), Some(130));
    bench.succeeds("anofpdm", &arguments);
}
