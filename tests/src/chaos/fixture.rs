//! What drills run on: a phantom, its store, a spec, and the answer of the undisturbed run on one local worker.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::Value;

use crate::fake::faults;
use crate::fixture::{Fixture, SPEC};

/// Name of the spec file in the fixture's folder.
pub const SPEC_FILE: &str = "chaos.toml";

/// Run folder of the undisturbed run.
const UNDISTURBED: &str = "undisturbed";

/// Milliseconds of a network evaluation on the fake device.
const DELAY_MS: u32 = 4;

/// A folder in which drills of one spec run.
#[derive(Debug)]
pub struct DrillFixture {
    fixture: Fixture,
    answer: Answer,
    shards: u64,
    records: usize,
}

/// What must be the same however a run went.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
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

impl DrillFixture {
    /// The one that tests running at the same time share, each in run folders of its own; removed with the last of them.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<DrillFixture>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let fixture = Arc::new(Self::new());
            *shared = Arc::downgrade(&fixture);
            fixture
        })
    }

    /// Makes phantom and store and computes the answer, with the real commands.
    pub fn new() -> Self {
        let fixture = Fixture::new().with_fake_workers();
        fixture.write(SPEC_FILE, &spec());
        let plan = fixture.succeeds("anofpdm", &["plan", SPEC_FILE, "--json"]);
        let plan: Value = serde_json::from_str(&plan).unwrap_or_else(|e| panic!("plan: {e}"));
        fixture.succeeds(
            "anofpdm",
            &["run", SPEC_FILE, "--dir", UNDISTURBED, "--device", "cpu"],
        );
        let (answer, coverage) = outcome(&fixture, UNDISTURBED);
        assert_eq!(coverage.planned, coverage.scored, "{coverage:?}");
        Self {
            answer,
            shards: plan["shards"].as_u64().unwrap_or(0),
            records: fixture.artifacts(UNDISTURBED),
            fixture,
        }
    }

    /// The answer of the undisturbed run.
    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    pub fn shards(&self) -> u64 {
        self.shards
    }

    /// Environment of a fake worker: its pace, and what goes wrong on it.
    pub fn device(&self, faults: &str) -> (&'static str, String) {
        (faults::ENVIRONMENT, format!("delay_ms={DELAY_MS}{faults}"))
    }

    /// How far the run in folder `run` is: the share of its artifacts that are there.
    #[allow(clippy::cast_precision_loss)]
    pub fn progress(&self, run: &str) -> f64 {
        self.fixture.artifacts(run) as f64 / self.records as f64
    }

    /// What the finished run in folder `run` says.
    pub fn outcome(&self, run: &str) -> (Answer, Coverage) {
        outcome(&self.fixture, run)
    }
}

/// What a drill runs: a demo in small, cut into many shards. With fake workers it is training, calibration and scoring
/// in seconds, most of them waiting.
fn spec() -> String {
    let changes = [
        ("name = \"tiny\"", "name = \"chaos\""),
        ("guidance = [1, 3]", "guidance = [1, 2, 3]"),
        ("seeds = [0, 1]", "seeds = [0, 1, 2]"),
        ("_slices = 4", "_slices = 1"),
    ];
    changes.iter().fold(SPEC.to_owned(), |spec, (from, to)| {
        assert!(spec.contains(from), "'{from}' must be in the spec");
        spec.replace(from, to)
    })
}

fn outcome(fixture: &Fixture, run: &str) -> (Answer, Coverage) {
    let summary = fixture.summary(run);
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

/// Commands run in its folder.
impl Deref for DrillFixture {
    type Target = Fixture;

    fn deref(&self) -> &Fixture {
        &self.fixture
    }
}

impl Default for DrillFixture {
    fn default() -> Self {
        Self::new()
    }
}
