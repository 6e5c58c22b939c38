//! `anofpdm-worker selftest`, the real program: what it finds on this machine's CPU, read back.

use std::process::Command;

use anofpdm_tests::programs::program;
use serde_json::Value;

fn selftest(options: &[&str], folder: &std::path::Path) -> std::process::Output {
    Command::new(program("anofpdm-worker"))
        .arg("selftest")
        .args(options)
        .env("TMPDIR", folder)
        .output()
        .unwrap()
}

#[test]
fn a_quick_selftest_of_the_cpu_finds_nothing_wrong_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let done = selftest(&["--quick", "--json", "--device", "cpu"], folder.path());
    let errors = String::from_utf8_lossy(&done.stderr);
    let said = String::from_utf8_lossy(&done.stdout);
    let report: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|error| {
        panic!("{error}: {said} {errors}");
    });
    assert!(done.status.success(), "{said}");
    assert_eq!(report["format"], 1);
    assert_eq!(report["quick"], true);
    assert_eq!(report["machine"]["device"], "cpu");
    assert_eq!(report["machine"]["libtorch"], "2.11.0");
    assert!(report["machine"]["gpu"].is_null());
    let findings = report["findings"].as_array().unwrap();
    let count = |verdict: &str| {
        let with = findings.iter().filter(|one| one["verdict"] == verdict);
        with.count() as u64
    };
    for (field, verdict) in [
        ("ok", "ok"),
        ("look", "look"),
        ("no", "no"),
        ("not_run", "not-run"),
    ] {
        assert_eq!(report[field].as_u64(), Some(count(verdict)), "{field}");
    }
    let finding = |name: &str| {
        let mut with = findings.iter().filter(|one| one["check"] == name);
        with.next().unwrap_or_else(|| panic!("no {name} in {said}"))
    };
    for name in [
        "simplex noise",
        "kernels of our own: GroupNorm",
        "kernels of our own: attention in tiles",
        "engine, fp32",
        "engine, bf16",
        "scoring, ddim, fp32",
        "scoring, ddpm, bf16",
        "training",
        "training, resumed",
        "ranks, Gloo, a world of 1",
        "ranks, Gloo, a world of 2",
    ] {
        assert_eq!(finding(name)["verdict"], "ok", "{}", finding(name));
    }
    for name in ["out of memory", "training speed at the paper's size"] {
        assert_eq!(finding(name)["says"], "needs a GPU");
    }
    let speed = finding("speed, small network, fp32, 2 slice(s)");
    let figures = speed["figures"].as_array().unwrap();
    let seconds = figures.iter().find(|one| one["name"] == "an evaluation");
    assert!(seconds.unwrap()["value"].as_f64().unwrap() > 0.0);
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "files are left");
}

#[test]
fn a_device_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let done = selftest(&["--device", "cuda:99", "--quick"], folder.path());
    let errors = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{errors}");
    assert!(errors.contains("cuda:99"), "{errors}");
}
