//! A folder for the real programs to work in: a phantom, its store and specs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::fake;
use crate::programs::program;

/// A folder with a tiny phantom, its store and specs to run on it. Removed when dropped.
#[derive(Debug)]
pub struct Fixture {
    dir: tempfile::TempDir,
    /// The program that `anofpdm` starts as its workers, where it is not the real one.
    worker: Option<PathBuf>,
}

/// The spec the whole-program tests run: seconds of work, several shards in each stage, weights trained on the way.
pub const SPEC: &str = r#"
name = "tiny"
[data]
store = "store"
scored = ["flair", "t2"]
validation_slices = 12
test_slices = 18
[model.guided]
channels = 32
channel_mult = [1, 1]
res_blocks = 1
attention = [8]
heads = 2
[model.guided.train]
steps = 24
batch = 4
learning_rate = 1e-3
ema = 0.8
checkpoint_every = 6
[score]
steps = 8
respacing = 20
methods = ["anofpdm-ddim", "anofpdm-ddim-ste", "anofpdm-ddpm"]
guidance = [1, 3]
seeds = [0, 1]
component_area = 2
[compute]
batch_slices = 4
shard_slices = 4
"#;

impl Fixture {
    /// An empty folder.
    pub fn empty() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap_or_else(|e| panic!("temporary folder: {e}")),
            worker: None,
        }
    }

    /// Makes phantom and store with the real commands.
    pub fn new() -> Self {
        let fixture = Self::empty();
        fixture.succeeds(
            "anofpdm",
            &[
                "phantom",
                "data",
                "--kind",
                "brats",
                "--subjects",
                "6",
                "--seed",
                "2",
                "--grid",
                "48",
            ],
        );
        fixture.succeeds(
            "anofpdm",
            &[
                "preprocess",
                "data",
                "store",
                "--layout",
                "brats",
                "--size",
                "16",
                "--split",
                "50/25/25",
            ],
        );
        fixture.write("tiny.toml", SPEC);
        fixture
    }

    /// The same with fake workers: `anofpdm` starts them as it would start the real ones.
    #[must_use]
    pub fn with_fake_workers(self) -> Self {
        Self {
            worker: Some(program(fake::PROGRAM)),
            ..self
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// The weights that a run trained last for `guided`.
    pub fn weights(&self, run: &str) -> PathBuf {
        let checkpoints = self.path().join(run).join("checkpoints/guided");
        let folders = std::fs::read_dir(&checkpoints)
            .unwrap_or_else(|e| panic!("{}: {e}", checkpoints.display()));
        folders
            .filter_map(|entry| Some(entry.ok()?.path().join("ema.safetensors")))
            .filter(|path| path.is_file())
            .max()
            .unwrap_or_else(|| panic!("{} holds no weights", checkpoints.display()))
    }

    /// A command of one of the programs, run in the folder.
    pub fn command<S: AsRef<OsStr>>(&self, name: &str, arguments: &[S]) -> Command {
        let mut command = Command::new(program(name));
        command
            .args(arguments)
            .current_dir(self.path())
            .env("ANOFPDM_LOG", "info")
            .stdin(Stdio::null());
        if let Some(worker) = &self.worker {
            command.env("ANOFPDM_WORKER", worker);
        }
        command
    }

    /// Runs a command to its end.
    pub fn output<S: AsRef<OsStr>>(&self, name: &str, arguments: &[S]) -> Output {
        self.command(name, arguments)
            .output()
            .unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Starts a command and returns while it runs; its output is dropped.
    pub fn start<S: AsRef<OsStr>>(&self, name: &str, arguments: &[S]) -> Child {
        self.command(name, arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Runs a command that must succeed; returns what it printed.
    pub fn succeeds<S: AsRef<OsStr> + std::fmt::Debug>(
        &self,
        name: &str,
        arguments: &[S],
    ) -> String {
        let output = self.output(name, arguments);
        assert!(
            output.status.success(),
            "{name} {arguments:?} failed with {}:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a command that must fail with `code`; returns what it complained.
    pub fn fails<S: AsRef<OsStr> + std::fmt::Debug>(
        &self,
        name: &str,
        arguments: &[S],
        code: i32,
    ) -> String {
        let output = self.output(name, arguments);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{name} {arguments:?} ended with {}:\n{complaint}",
            output.status
        );
        complaint
    }

    /// Files in the artifact store of a run; none before there is one.
    pub fn artifacts(&self, run: &str) -> usize {
        files_below(&self.path().join(run).join("records"))
    }

    /// The summary of a finished run.
    pub fn summary(&self, run: &str) -> Value {
        let path = self.path().join(run).join("report/summary.json");
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }
}

fn files_below(dir: &Path) -> usize {
    // A file may be renamed while we look.
    std::fs::read_dir(dir).map_or(0, |entries| {
        entries
            .filter_map(Result::ok)
            .map(|entry| match entry.file_type() {
                Ok(kind) if kind.is_dir() => files_below(&entry.path()),
                _ => 1,
            })
            .sum()
    })
}

impl Default for Fixture {
    fn default() -> Self {
        Self::new()
    }
}
