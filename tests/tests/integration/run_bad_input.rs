//! Wrong input: each kind ends with a clear message and the right exit code, and nothing is lost.

use std::process::Command;

use anofpdm_tests::fixture::{Fixture, SPEC};
use anofpdm_tests::programs::program;

/// Runs the spec after a replacement that must apply.
fn refused(fixture: &Fixture, from: &str, to: &str, code: i32) -> String {
    let text = SPEC.replacen(from, to, 1);
    assert_ne!(text, SPEC, "'{from}' must be in the spec");
    fixture.write("bad.toml", &text);
    fixture.fails(
        "anofpdm",
        &["run", "bad.toml", "--dir", "bad", "--workers", "1"],
        code,
    )
}

#[test]
fn a_bad_spec_is_refused_before_anything_is_computed() {
    let fixture = Fixture::new();
    for (from, to, part) in [
        ("respacing", "respacign", "did you mean `respacing`"),
        ("guidance = [1, 3]", "guidance = [-1]", "guidance"),
        ("anofpdm-ddpm\"", "anofpdm-dpm\"", "anofpdm-ddpm"),
        ("\"t2\"]", "\"t3\"]", "t3"),
        ("attention = [8]", "attention = [7]", "attention"),
    ] {
        let complaint = refused(&fixture, from, to, 2);
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
        fixture.write("all-train.csv", &split_file(&fixture, |_| "train"));
        let healthy = healthy_subject(&fixture);
        fixture.write(
            "healthy-validation.csv",
            &split_file(&fixture, |id| {
                if id == healthy {
                    "validation"
                } else if id.ends_with('1') {
                    "test"
                } else {
                    "train"
                }
            }),
        );
        let complaint = refused(&fixture, from, to, 1);
        assert!(complaint.contains(part), "{to}: {complaint}");
    }
    assert!(!fixture.path().join("bad").exists(), "no run was begun");
}

fn manifest(fixture: &Fixture) -> serde_json::Value {
    let text = std::fs::read_to_string(fixture.path().join("store/manifest.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn split_file(fixture: &Fixture, split_of: impl Fn(&str) -> &'static str) -> String {
    let manifest = manifest(fixture);
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
fn healthy_subject(fixture: &Fixture) -> String {
    let manifest = manifest(fixture);
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

/// Changes a number of a subject in the manifest.
fn change_manifest(fixture: &Fixture, split: &str, field: &str, value: u64) -> String {
    let mut manifest = manifest(fixture);
    let subjects = manifest["subjects"].as_array_mut().unwrap();
    let subject = subjects
        .iter_mut()
        .find(|subject| subject["split"] == split)
        .unwrap();
    subject[field] = value.into();
    let id = subject["id"].as_str().unwrap().to_owned();
    fixture.write("store/manifest.json", &manifest.to_string());
    id
}

#[test]
fn a_store_that_is_not_as_it_was_written_is_refused() {
    let fixture = Fixture::new();
    let run = ["run", "tiny.toml", "--dir", "run", "--workers", "1"];
    let again = [
        "preprocess",
        "data",
        "store",
        "--layout",
        "brats",
        "--size",
        "16",
        "--split",
        "50/25/25",
    ];
    let refused = |part: &str| {
        for arguments in [&["plan", "tiny.toml"][..], &run] {
            let complaint = fixture.fails("anofpdm", arguments, 1);
            assert!(complaint.contains(part), "{part}: {complaint}");
            assert!(complaint.contains("preprocess` again"), "{complaint}");
        }
        assert!(!fixture.path().join("run").exists(), "no run was begun");
        fixture.succeeds("anofpdm", &again);
        fixture.succeeds("anofpdm", &["plan", "tiny.toml"]);
    };

    // The end of a test subject is lost, its length is kept: no lesion would be left in it.
    let subjects = manifest(&fixture)["subjects"].clone();
    let test = subjects
        .as_array()
        .unwrap()
        .iter()
        .find(|subject| subject["split"] == "test")
        .unwrap();
    let file = format!(
        "store/subjects/{}.safetensors",
        test["id"].as_str().unwrap()
    );
    let path = fixture.path().join(&file);
    let mut bytes = std::fs::read(&path).unwrap();
    let from = bytes.len() * 2 / 3;
    bytes[from..].fill(0);
    std::fs::write(&path, bytes).unwrap();
    refused(&format!(
        "{file}: its bytes are not those that the manifest names"
    ));

    // Counts that nobody signed.
    for split in ["train", "validation", "test"] {
        let id = change_manifest(&fixture, split, "slices", 1_000_000_000);
        refused(&format!(
            "{id}.safetensors: the manifest says 1000000000 slices, and the file has"
        ));
    }
    let id = change_manifest(&fixture, "train", "lesion_slices", 1_000);
    refused(&format!(
        "{id}.safetensors: the manifest says 1000 slices with lesion, and the file has"
    ));
}

#[test]
fn a_queue_that_a_worker_would_refuse_is_refused_by_the_run() {
    let fixture = Fixture::new();
    for address in [
        "unix:///run/redis.sock",
        "redis+unix:///run/redis.sock",
        "REDIS://127.0.0.1:1",
        " redis://127.0.0.1:1",
        "valkey://127.0.0.1:1",
        "redis://127.0.0.1:1/?protocol=resp3",
    ] {
        let run = ["run", "tiny.toml", "--dir", "run", "--queue", address];
        let complaint = fixture.fails("anofpdm", &run, 2);
        assert!(
            complaint.contains("is not the address of a queue"),
            "{complaint}"
        );
        let worker = fixture.fails("anofpdm-worker", &["run", "--queue", address], 2);
        assert_eq!(complaint, worker);
    }
    assert!(!fixture.path().join("run").exists(), "no run was begun");
}

#[test]
fn a_device_that_is_not_there_is_told_once_and_locks_nothing() {
    let fixture = Fixture::new();
    let run = |device: &str, code: i32| {
        let arguments = ["run", "tiny.toml", "--dir", "run", "--device", device];
        fixture.fails("anofpdm", &arguments, code)
    };
    let typo = run("gpu", 2);
    assert!(typo.contains("--device gpu: cpu, cuda, cuda:N"), "{typo}");
    fixture.write(
        "tiny.toml",
        &SPEC.replace("[compute]\n", "[compute]\nprecision = \"fp16\"\n"),
    );
    let format = run("cpu", 2);
    assert!(format.contains("fp16 needs a GPU"), "{format}");
    assert!(!fixture.path().join("run").exists(), "no run was begun");

    let absent = run("cuda:63", 1);
    assert_eq!(absent.matches("asked for, but").count(), 1, "{absent}");
    assert!(!absent.contains("starting another"), "{absent}");
    assert!(fixture.path().join("run/spec.toml").exists());
    // Nothing was computed: the folder takes the spec that can be run.
    fixture.write("tiny.toml", SPEC);
    let estimate = fixture.succeeds("anofpdm", &["plan", "tiny.toml", "--dir", "run", "--json"]);
    assert!(!estimate.contains("belongs to"), "{estimate}");
    let arguments = ["run", "tiny.toml", "--dir", "run", "--workers", "1"];
    fixture.succeeds("anofpdm", &[&arguments[..], &["--until", "train"]].concat());
}

#[test]
fn a_checkpoint_that_is_none_is_refused_before_anything_is_begun() {
    let fixture = Fixture::new();
    std::fs::create_dir(fixture.path().join("folder")).unwrap();
    std::fs::write(fixture.path().join("m.pt"), b"PK\x03\x04 and so on").unwrap();
    std::fs::write(fixture.path().join("cut.safetensors"), b"\x10\0\0\0").unwrap();
    for (checkpoint, code, part) in [
        ("", 2, "checkpoint is empty"),
        ("none.safetensors", 1, "none.safetensors: No such file"),
        ("folder", 1, "folder: is a folder; name the file of weights"),
        ("m.pt", 1, "anofpdm-worker import"),
        ("cut.safetensors", 1, "no whole safetensors file"),
    ] {
        let given = format!("[model.guided]\ncheckpoint = \"{checkpoint}\"\n");
        fixture.write("bad.toml", &SPEC.replace("[model.guided]\n", &given));
        for command in [
            &["plan", "bad.toml"][..],
            &["run", "bad.toml", "--dir", "bad"],
        ] {
            let complaint = fixture.fails("anofpdm", command, code);
            assert!(complaint.contains(part), "{checkpoint}: {complaint}");
            assert!(
                complaint.contains("bad.toml") && complaint.contains("[model.guided]"),
                "{complaint}"
            );
        }
    }
    assert!(!fixture.path().join("bad").exists(), "no run was begun");
}

#[test]
fn a_checkpoint_that_does_not_fit_is_named() {
    let fixture = Fixture::new();
    fixture.succeeds(
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
    let folder = std::fs::read_dir(fixture.path().join("trained/checkpoints/guided"))
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
            SPEC.replace("channel_mult = [1, 1]", "channel_mult = [1, 2, 2]"),
            "architecture",
        ),
        (
            "width",
            SPEC.replace("channels = 32", "channels = 64"),
            "the spec asks for",
        ),
    ] {
        fixture.write("bad.toml", &spec.replace("[model.guided]\n", &given));
        let run = ["run", "bad.toml", "--dir", name, "--workers", "1"];
        for command in [&run[..], &["plan", "bad.toml"]] {
            let complaint = fixture.fails("anofpdm", command, 1);
            assert!(complaint.contains(part), "{name}: {complaint}");
            assert!(
                complaint.contains(&weights.display().to_string()),
                "{complaint}"
            );
        }
        assert!(!fixture.path().join(name).exists(), "no run was begun");
    }

    // Slices with another number of channels than the weights.
    fixture.succeeds(
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
    fixture.write("bad.toml", &spec);
    let complaint = fixture.fails(
        "anofpdm",
        &["run", "bad.toml", "--dir", "channels", "--workers", "1"],
        1,
    );
    assert!(complaint.contains("channel"), "{complaint}");
}

#[test]
fn a_run_folder_is_locked_and_belongs_to_its_spec() {
    let fixture = Fixture::new();
    let arguments = ["run", "tiny.toml", "--dir", "run", "--workers", "1"];
    let mut first = fixture.start("anofpdm", &arguments);
    let lock = fixture.path().join("run/journal");
    while !lock.exists() && first.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let complaint = fixture.fails("anofpdm", &arguments, 1);
    assert!(complaint.contains("locked"), "{complaint}");
    assert!(first.wait().unwrap().success());

    fixture.write(
        "tiny.toml",
        &SPEC.replace("guidance = [1, 3]", "guidance = [1, 4]"),
    );
    let plan = ["plan", "tiny.toml", "--dir", "run"];
    let said = fixture.succeeds("anofpdm", &plan);
    let first = said.lines().next().unwrap();
    assert!(
        first.starts_with("warning") && first.contains("run belongs to another spec"),
        "{said}"
    );
    assert!(said.contains("in run: nothing is there yet"), "{said}");
    let complaint = fixture.fails("anofpdm", &arguments, 2);
    assert!(complaint.contains("another spec"), "{complaint}");
}

#[test]
fn a_full_disk_is_an_error_and_the_run_goes_on_later() {
    let fixture = Fixture::new();
    // A file-size limit stands for the full disk: no file of weights fits into 64 KiB.
    let limited = Command::new("bash")
        .arg("-c")
        .arg("ulimit -f 64; exec \"$0\" run tiny.toml --dir run --workers 1")
        .arg(program("anofpdm"))
        .current_dir(fixture.path())
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&limited.stderr);
    assert_eq!(limited.status.code(), Some(1), "{complaint}");
    assert!(
        complaint.contains("space") || complaint.contains("limit"),
        "{complaint}"
    );
    fixture.succeeds(
        "anofpdm",
        &["run", "tiny.toml", "--dir", "run", "--workers", "1"],
    );
    let summary = fixture.summary("run");
    assert_eq!(
        summary["coverage"]["scored"],
        summary["coverage"]["planned"]
    );
}

#[test]
fn an_interrupt_ends_with_130_and_is_resumed() {
    let fixture = Fixture::new();
    let arguments = ["run", "tiny.toml", "--dir", "run", "--workers", "1"];
    let mut run = fixture.start("anofpdm", &arguments);
    while !fixture.path().join("run/journal").exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::thread::sleep(std::time::Duration::from_millis(500));
    let signalled = Command::new("kill")
        .args(["-INT", &run.id().to_string()])
        .status()
        .unwrap();
    assert!(signalled.success());
    assert_eq!(run.wait().unwrap().code(), Some(130));
    fixture.succeeds("anofpdm", &arguments);
}
