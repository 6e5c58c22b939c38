//! Where drills play: a phantom, its store, a spec, and the answer of the undisturbed run on one local worker.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::fake::faults;
use crate::programs::Bench;

/// Name of the spec file in the scene's folder.
pub const SPEC_FILE: &str = "chaos.toml";

/// Run folder of the undisturbed run.
const UNDISTURBED: &str = "undisturbed";

/// What a drill runs: a demo in small, cut into many shards. With fake devices it is training, calibration and scoring
/// in seconds, most of them waiting.
const SPEC: &str = r#"
name = "chaos"
[data]
store = "store"
scored = ["flair", "t2"]
validation_slices = 12
test_slices = 18
[model.guided]
channels = 32
channel_mult = [1, 2]
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
guidance = [1, 2, 3]
seeds = [0, 1, 2]
component_area = 2
[compute]
batch_slices = 1
shard_slices = 1
"#;

/// Milliseconds of a network evaluation on the fake device.
const DELAY_MS: u32 = 4;

/// A folder in which drills of one spec run.
#[derive(Debug)]
pub struct Scene {
    bench: Bench,
    answer: Answer,
    shards: u64,
    records: usize,
}

/// What must be the same however a run went.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The run's fingerprint.
    pub fingerprint: String,
    /// The rows of the table.
    pub rows: Value,
}

/// What a finished run says of its coverage, slices x cells x seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    /// Asked for.
    pub planned: u64,
    /// In the table.
    pub scored: u64,
    /// Delivered again with equal bits.
    pub duplicates: u64,
    /// Delivered again with other bits.
    pub conflicts: u64,
}

impl Scene {
    /// Makes phantom and store and computes the answer, with the real commands.
    ///
    /// # Panics
    /// When one of them fails.
    pub fn new() -> Self {
        let bench = Bench::new().with_fake_workers();
        bench.write(SPEC_FILE, SPEC);
        let plan = bench.succeeds("anofpdm", &["plan", SPEC_FILE, "--json"]);
        let plan: Value = serde_json::from_str(&plan).unwrap_or_else(|e| panic!("plan: {e}"));
        let mut scene = Self {
            bench,
            answer: Answer {
                fingerprint: String::new(),
                rows: Value::Null,
            },
            shards: plan["shards"].as_u64().unwrap_or(0),
            records: 0,
        };
        let device = ["--device", "cpu"];
        scene.bench.succeeds(
            "anofpdm",
            &[["run", SPEC_FILE], ["--dir", UNDISTURBED], device].concat(),
        );
        let (answer, coverage) = scene.outcome(UNDISTURBED);
        assert_eq!(coverage.planned, coverage.scored, "{coverage:?}");
        scene.answer = answer;
        scene.records = scene.records_of(UNDISTURBED);
        scene
    }

    /// The answer of the undisturbed run.
    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    /// Shards of a run.
    pub fn shards(&self) -> u64 {
        self.shards
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.bench.path()
    }

    /// Phantom, store and spec, to run other commands on.
    pub fn bench(&self) -> &Bench {
        &self.bench
    }

    /// Environment of a fake worker: its pace, and what goes wrong on it.
    pub fn device(&self, faults: &str) -> (&'static str, String) {
        (faults::ENVIRONMENT, format!("delay_ms={DELAY_MS}{faults}"))
    }

    /// A command of one of the programs, in the folder.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        self.bench.command(program, arguments)
    }

    /// How far the run in folder `run` is: the share of its artifacts that are there.
    #[allow(clippy::cast_precision_loss)]
    pub fn progress(&self, run: &str) -> f64 {
        self.records_of(run) as f64 / self.records as f64
    }

    /// What the finished run in folder `run` says.
    ///
    /// # Panics
    /// When it left no summary.
    pub fn outcome(&self, run: &str) -> (Answer, Coverage) {
        let summary = self.bench.summary(run);
        let number = |name: &str| summary["coverage"][name].as_u64().unwrap_or(u64::MAX);
        let answer = Answer {
            fingerprint: summary["fingerprint"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            rows: summary["rows"].clone(),
        };
        let coverage = Coverage {
            planned: number("planned"),
            scored: number("scored"),
            duplicates: number("duplicates"),
            conflicts: number("conflicts"),
        };
        (answer, coverage)
    }

    /// Files in the artifact store of a run; none before there is one.
    fn records_of(&self, run: &str) -> usize {
        fn files(dir: &Path) -> usize {
            // A file may be renamed while we look.
            std::fs::read_dir(dir).map_or(0, |entries| {
                entries
                    .filter_map(Result::ok)
                    .map(|entry| match entry.file_type() {
                        Ok(kind) if kind.is_dir() => files(&entry.path()),
                        _ => 1,
                    })
                    .sum()
            })
        }
        files(&self.path().join(run).join("records"))
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}
