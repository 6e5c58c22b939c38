//! Where imported networks go, and what they never replace.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anofpdm_common::network::Arch;
use anofpdm_worker::import::args::ImportArgs;
use anofpdm_worker::import::import;
use tch::Kind;

use super::archive::save;
use super::{args, expected, fixtures, network, refusal};

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fixtures(folder.path());
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn args(&self, checkpoint: &str, output: &str) -> ImportArgs {
        ImportArgs {
            output: self.path(output),
            ..args(&self.path(checkpoint), Arch::V2)
        }
    }
}

/// Everything under a folder, by path.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let content = if kind.is_file() {
                fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            if kind.is_dir() {
                open.push(path.clone());
            }
            found.push((path, content));
        }
    }
    found.sort();
    found
}

/// The message, and that nothing in the folder has changed.
fn leaves_all(bench: &Bench, args: &ImportArgs) -> String {
    let before = contents(bench.folder.path());
    let message = import(args).unwrap_err().to_string();
    assert!(contents(bench.folder.path()) == before, "{message}");
    message
}

#[test]
fn nothing_that_is_read_is_written() {
    let bench = Bench::new();
    let checkpoint = bench.path("model.safetensors");
    fs::copy(bench.path("v2-zip-f32.pt"), &checkpoint).unwrap();
    fs::hard_link(&checkpoint, bench.path("hard.safetensors")).unwrap();
    symlink(&checkpoint, bench.path("soft.safetensors")).unwrap();
    symlink(bench.folder.path(), bench.path("linked")).unwrap();
    for output in [
        "model.safetensors",
        "hard.safetensors",
        "soft.safetensors",
        "linked/model.safetensors",
    ] {
        let mut args = bench.args("model.safetensors", output);
        // Not even when told to.
        for force in [false, true] {
            args.force = force;
            let message = leaves_all(&bench, &args);
            assert!(
                message.contains("is read here and cannot be written"),
                "{message}"
            );
        }
    }
    // A checkpoint that lies where the configuration would.
    fs::create_dir(bench.path("a")).unwrap();
    fs::hard_link(&checkpoint, bench.path("a/config.json")).unwrap();
    let message = leaves_all(&bench, &bench.args("model.safetensors", "a/w.safetensors"));
    assert!(message.contains("a/config.json is read here"), "{message}");
    // A file of several configurations, which its own network would replace.
    fs::create_dir(bench.path("b")).unwrap();
    let stated = bench.path("b/config.json");
    fs::write(
        &stated,
        serde_json::json!({ "mine": network("v2") }).to_string(),
    )
    .unwrap();
    let mut args = bench.args("model.safetensors", "b/w.safetensors");
    (args.config, args.network) = (Some(stated), Some("mine".to_owned()));
    (args.heads, args.image_size, args.force) = (None, None, true);
    let message = leaves_all(&bench, &args);
    assert!(message.contains("b/config.json is read here"), "{message}");
}

#[test]
fn only_a_safetensors_file_is_written() {
    let bench = Bench::new();
    fs::create_dir(bench.path("folder")).unwrap();
    fs::create_dir(bench.path("folder.safetensors")).unwrap();
    for (output, part) in [
        ("v2-zip-f32.pt", "name a file that ends in .safetensors"),
        ("y", "name a file that ends in .safetensors"),
        ("folder", "folder is a folder: name a file in it, such as "),
        ("folder.safetensors", "is a folder"),
        ("absent.safetensors/", "is a folder"),
    ] {
        let message = leaves_all(&bench, &bench.args("v2-zip-f32.pt", output));
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn folders_are_made_and_one_network_has_one() {
    let bench = Bench::new();
    let first = bench.args("v2-zip-f32.pt", "deep/er/guided.safetensors");
    import(&first).unwrap();
    // Again is well, and so is another set of weights of the same network.
    import(&first).unwrap();
    let other = expected(&network("v2"), Kind::Float)
        .into_iter()
        .map(|(name, tensor)| (name, tensor * 2.0))
        .collect();
    save(&bench.path("other.pt"), &other);
    let beside = bench.args("other.pt", "deep/er/other.safetensors");
    import(&beside).unwrap();
    // Other weights in its place are not.
    let mut over = bench.args("other.pt", "deep/er/guided.safetensors");
    let message = leaves_all(&bench, &over);
    assert!(
        message.ends_with("guided.safetensors holds other weights: give -o another file, or --force to replace them"),
        "{message}"
    );
    over.force = true;
    import(&over).unwrap();
    assert_eq!(
        fs::read(&over.output).unwrap(),
        fs::read(&beside.output).unwrap()
    );
    // Another network's configuration is neither.
    let mut heads = bench.args("v2-zip-f32.pt", "deep/er/heads.safetensors");
    heads.heads = Some(2);
    let message = leaves_all(&bench, &heads);
    assert!(
        message.contains("need a folder of their own, such as -o ")
            && message.contains("deep/er/NETWORK/weights.safetensors; --force replaces it"),
        "{message}"
    );
    heads.force = true;
    let imported = import(&heads).unwrap();
    let text = fs::read_to_string(imported.config_file).unwrap();
    assert!(text.contains("\"num_heads\": 2"), "{text}");
}

#[test]
fn what_fails_leaves_nothing_behind() {
    let bench = Bench::new();
    // Refused for its weights: not even a folder.
    let message = leaves_all(
        &bench,
        &bench.args("v2-zip-wrong-shape.pt", "new/w.safetensors"),
    );
    assert!(message.contains("[32, 32, 1, 1]"), "{message}");
    fs::write(bench.path("file"), "").unwrap();
    let message = leaves_all(&bench, &bench.args("v2-zip-f32.pt", "file/w.safetensors"));
    assert!(message.contains("Not a directory"), "{message}");
    // The configuration cannot be written: no weights without one.
    fs::create_dir(bench.path("blocked")).unwrap();
    let temporary = format!("config.json.{}.tmp", std::process::id());
    fs::create_dir(bench.path("blocked").join(&temporary)).unwrap();
    let message = leaves_all(
        &bench,
        &bench.args("v2-zip-f32.pt", "blocked/w.safetensors"),
    );
    assert!(
        message.contains("cannot write") && message.contains("config.json"),
        "{message}"
    );
}

#[test]
fn a_full_disk_is_said_in_words() {
    let bench = Bench::new();
    // The device that is always full, where the weights are first written.
    fs::create_dir(bench.path("full")).unwrap();
    let temporary = format!("w.safetensors.{}.tmp", std::process::id());
    symlink("/dev/full", bench.path("full").join(temporary)).unwrap();
    let message = refusal(&bench.args("v2-zip-f32.pt", "full/w.safetensors"));
    assert!(
        message.contains("full/w.safetensors: No space left on device")
            && message.contains("free some space"),
        "{message}"
    );
    assert_eq!(contents(&bench.path("full")), []);
    // A file-size limit below the weights, in the program.
    let output = Command::new("bash")
        .arg("-c")
        .arg("ulimit -f 64; exec \"$0\" import v2-zip-f32.pt --arch v2 --heads 4 -o new/deep/w.safetensors")
        .arg(env!("CARGO_BIN_EXE_anofpdm-worker"))
        .current_dir(bench.folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.starts_with("error: cannot write new/deep/w.safetensors: File too large")
            && said.contains("raise the file-size limit (ulimit -f)"),
        "{said}"
    );
    assert!(!bench.path("new").exists());
}

/// The example with the network that is part of the repository, as the help has it.
#[test]
fn the_example_of_the_help_can_be_pasted() {
    let program = env!("CARGO_BIN_EXE_anofpdm-worker");
    let help = Command::new(program)
        .args(["import", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, example) = help.split_once("lies in the repository:\n").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let temporary = format!("{}/", folder.path().display());
    let example = example
        .replace("/tmp/", &temporary)
        .replace("anofpdm-worker", program);
    let output = Command::new("sh")
        .args(["-ec", &example])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(folder.path().join("small/config.json").is_file(), "{said}");
}
