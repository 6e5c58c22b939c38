//! What workers deliver, checked before it counts.
mod baselines;
mod trial;

use std::fs;
use std::sync::Arc;

use anofpdm_common::anofpdm::MaskRule;
use anofpdm_common::baseline::{Baseline, Clip, Sampler};
use anofpdm_common::method::{Encoding, MapKind};
use anofpdm_common::metrics::overlap::Overlap;
use anofpdm_common::metrics::{MaskRuns, PackedRun, RunDetail};
use anofpdm_common::network::NetworkConfig;
use anofpdm_common::plan::{
    BatchRun, Cell, CellOutput, DataPlan, ExhibitPlan, ForwardPlan, ForwardWalk, GangRank,
    MAX_SHARD_CELLS, NetworkPlan, NumericProfile, Plan, Postprocessing, RestorationWalk, SliceRef,
    Stage, Trajectory,
};
use anofpdm_common::record::{
    ModalityDecision, Record, RestoredScore, SliceScore, SliceTrace, ThresholdOverlaps,
};
use anofpdm_common::role::Role;
use anofpdm_common::semantics::Semantics;
use anofpdm_common::spec::{FigureSpec, Precision, Preset, Respacing, TrainSpec};
use anofpdm_common::store::scaling::Scaling;

use super::super::active_plan::ActiveForward;
use super::*;

const SIZE: usize = 4;
const STEPS: u32 = 3;

pub(in crate::run) fn profile() -> NumericProfile {
    NumericProfile {
        device: "cpu".to_owned(),
        libtorch: "2.9.0".to_owned(),
        cpu_capability: "AVX2".to_owned(),
        threads: 1,
    }
}

fn network() -> NetworkConfig {
    serde_json::from_str(
        r#"{"image_size": 8, "in_channels": 1, "num_channels": 32, "channel_mult": [1],
            "num_res_blocks": 1, "attention_downsample_rates": [], "num_heads": 1}"#,
    )
    .unwrap()
}

fn data() -> DataPlan {
    DataPlan {
        digest: Digest::of(b"data"),
        scaling: Scaling::Percentile,
        scored: vec![0],
        subjects: vec!["a".to_owned()],
    }
}

/// Two full batches and a short one; a calibration and a mask cell of one trajectory, and one of another.
pub(in crate::run) fn forward() -> ForwardPlan {
    let slice = |position| SliceRef {
        subject: 0,
        position,
    };
    let cell = |trajectory, output| Cell {
        trajectory,
        guidance: 2.0,
        output,
    };
    let mask = CellOutput::Mask {
        map: MapKind::Aam,
        max_divergence: vec![1.0],
        figures: FigureSpec::default(),
        mse_ratio: false,
        scores: RunDetail::Exact,
    };
    let walk = |seed| {
        Trajectory::Forward(ForwardWalk {
            network: 0,
            encoding: Encoding::Ddim,
            seed,
        })
    };
    ForwardPlan {
        stage: Stage::Score,
        semantics: Semantics::Paper,
        steps: STEPS,
        respacing: Respacing::Steps(5),
        component_area: 0,
        mask_rule: MaskRule::default(),
        profile: profile(),
        precision: Precision::Fp32,
        data: data(),
        networks: vec![NetworkPlan {
            name: "main".to_owned(),
            config: network(),
            weights: Digest::of(b"weights"),
        }],
        trajectories: vec![walk(0), walk(1)],
        cells: vec![
            cell(0, CellOutput::Traces),
            cell(0, mask.clone()),
            cell(1, mask),
        ],
        batch_slices: 2,
        batches: vec![
            vec![slice(0), slice(1)],
            vec![slice(2), slice(3)],
            vec![slice(4)],
        ],
        exhibits: ExhibitPlan::default(),
    }
}

fn trace() -> SliceTrace {
    let sequence = vec![0.5; STEPS as usize];
    SliceTrace {
        divergence: sequence.clone(),
        mse_h: sequence.clone(),
        mse_null: sequence,
    }
}

fn score() -> SliceScore {
    SliceScore {
        overlap: Overlap {
            pixels: (SIZE * SIZE) as u32,
            predicted: 2,
            truth: 1,
            intersection: 1,
        },
        cosine: 0.5,
        q_star: 0.25,
        modalities: vec![ModalityDecision {
            end_step: 1,
            divergence: 0.5,
            level_index: 90,
            defined: true,
        }],
        run: PackedRun::new(&[2, 5, 8], RunDetail::Exact),
        mask: MaskRuns::new(&[1, 1]),
        figures: None,
    }
}

/// A store with an honest answer to a job about the last two batches and the first two cells.
struct Fixture {
    _folder: tempfile::TempDir,
    artifacts: ArtifactStore,
    plan: ForwardPlan,
    active: ActivePlan,
    job: Job,
    entries: Vec<(Digest, Digest)>,
    completion: Completion,
}

fn active(digest: Digest, plan: &ForwardPlan) -> ActivePlan {
    let active = ActiveForward::new(digest, plan.clone(), SIZE).unwrap();
    ActivePlan::Forward(Arc::new(active))
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = ArtifactStore::open(folder.path()).unwrap();
        let plan = forward();
        let whole = Plan::Forward(plan.clone());
        let digest = artifacts.put(&whole.to_json("run").unwrap()).unwrap();
        let mut fixture = Self {
            _folder: folder,
            artifacts,
            active: active(digest, &plan),
            job: Job {
                stage: Stage::Score,
                plan: digest,
                task: Task::Batches(BatchRun {
                    first: 1,
                    count: 2,
                    cells: vec![0, 1],
                }),
            },
            plan,
            entries: Vec::new(),
            completion: Completion {
                manifest: digest,
                // Two evaluations a step: three slices, and one of padding.
                evaluations: 3 * 6,
                padding: 6,
                device_millis: 5,
                millijoules: None,
            },
        };
        for (batch, slices) in [(1, 2), (2, 1)] {
            for (cell, record) in [
                (0, Record::Traces(vec![trace(); slices])),
                (1, Record::Masks(vec![score(); slices])),
            ] {
                let key = fixture.plan.record_key(batch, cell).unwrap();
                let record = fixture.store(&record);
                fixture.entries.push((key, record));
            }
        }
        fixture
    }

    fn store(&self, record: &Record) -> Digest {
        self.artifacts.put(&wire::encode(record).unwrap()).unwrap()
    }

    fn claim(&self) -> Result<Vec<(Digest, Digest)>, Rejection> {
        let manifest = Manifest {
            entries: self.entries.clone(),
        };
        let completion = Completion {
            manifest: self
                .artifacts
                .put(&wire::encode(&manifest).unwrap())
                .unwrap(),
            ..self.completion.clone()
        };
        verify(&self.active, &self.job, &completion, &self.artifacts)
    }

    fn rejection(&self) -> Rejection {
        self.claim().expect_err("a rejection was expected")
    }
}

#[test]
fn an_honest_claim_is_accepted() {
    let fixture = Fixture::new();
    assert_eq!(fixture.claim().unwrap(), fixture.entries);
}

#[test]
fn the_job_must_belong_to_the_plan_at_hand() {
    let mut fixture = Fixture::new();
    fixture.active = ActivePlan::Idle;
    assert!(matches!(fixture.rejection(), Rejection::OtherPlan));
    let mut fixture = Fixture::new();
    fixture.job.plan = Digest::of(b"another plan");
    assert!(matches!(fixture.rejection(), Rejection::OtherPlan));
    let mut fixture = Fixture::new();
    fixture.job.stage = Stage::Train;
    fixture.job.task = Task::Train(GangRank::alone(1));
    assert!(matches!(fixture.rejection(), Rejection::OtherPlan));
}

#[test]
fn a_job_that_is_no_shard_of_the_plan_is_refused() {
    let mut fixture = Fixture::new();
    for (first, count, cells) in [
        (1, 0, vec![0]),
        (u32::MAX, 1, vec![0]),
        (1, 1, vec![]),
        (1, 1, vec![1, 0]),
        (1, 1, (0..=MAX_SHARD_CELLS as u16).collect()),
    ] {
        fixture.job.task = Task::Batches(BatchRun {
            first,
            count,
            cells,
        });
        let rejection = fixture.rejection();
        assert!(matches!(rejection, Rejection::Job(_)), "{rejection}");
    }
    for (first, count, cells) in [
        (2, 2, vec![0]),
        (1, 1, vec![3]),
        // Cells of two trajectories are two walks, and never one shard.
        (1, 1, vec![1, 2]),
    ] {
        fixture.job.task = Task::Batches(BatchRun {
            first,
            count,
            cells,
        });
        let rejection = fixture.rejection();
        assert!(matches!(rejection, Rejection::Plan(_)), "{rejection}");
    }
}

#[test]
fn the_cost_must_be_the_one_the_plan_implies() {
    let mut fixture = Fixture::new();
    fixture.completion.evaluations += 1;
    let text = fixture.rejection().to_string();
    assert_eq!(
        text,
        "19 network evaluations and 6 of padding are claimed, the shard takes 18 and 6"
    );
    let mut fixture = Fixture::new();
    fixture.completion.padding = 0;
    assert!(matches!(fixture.rejection(), Rejection::Cost { .. }));
    let mut fixture = Fixture::new();
    fixture.completion.device_millis = u64::MAX;
    assert!(matches!(fixture.rejection(), Rejection::Completion(_)));
}

#[test]
fn the_manifest_must_name_what_was_asked_for() {
    let mut fixture = Fixture::new();
    fixture.entries.pop();
    assert!(matches!(
        fixture.rejection(),
        Rejection::Count {
            found: 3,
            expected: 4
        }
    ));
    // More than asked for is not even read.
    let mut fixture = Fixture::new();
    fixture.entries.push(fixture.entries[0]);
    let rejection = fixture.rejection();
    assert!(
        matches!(
            rejection,
            Rejection::Artifact(ArtifactError::TooLarge { .. })
        ),
        "{rejection}"
    );
    let mut fixture = Fixture::new();
    fixture.entries.swap(0, 2);
    assert!(matches!(fixture.rejection(), Rejection::Key(0)));
    // A slice of another batch: its key is another.
    let mut fixture = Fixture::new();
    fixture.entries[3].0 = fixture.plan.record_key(1, 1).unwrap();
    assert!(matches!(fixture.rejection(), Rejection::Key(3)));
}

#[test]
fn a_manifest_must_be_one() {
    let fixture = Fixture::new();
    let verify = |manifest| {
        let completion = Completion {
            manifest,
            ..fixture.completion.clone()
        };
        verify(
            &fixture.active,
            &fixture.job,
            &completion,
            &fixture.artifacts,
        )
        .unwrap_err()
    };
    let absent = verify(Digest::of(b"never stored"));
    assert!(
        matches!(absent, Rejection::Artifact(ArtifactError::Missing { .. })),
        "{absent}"
    );
    let noise = verify(fixture.artifacts.put(b"noise").unwrap());
    assert!(matches!(noise, Rejection::Wire(_)), "{noise}");
    let record = verify(fixture.entries[0].1);
    assert!(matches!(record, Rejection::Wire(_)), "{record}");
}

#[test]
fn records_must_be_there_and_be_records() {
    let mut fixture = Fixture::new();
    fixture.entries[1].1 = Digest::of(b"never stored");
    let rejection = fixture.rejection();
    assert!(matches!(
        rejection,
        Rejection::Record(RecordError::Artifact(ArtifactError::Missing { .. }))
    ));
    fixture.entries[1].1 = fixture.artifacts.put(b"noise").unwrap();
    let rejection = fixture.rejection();
    assert!(
        matches!(rejection, Rejection::Record(RecordError::Wire { .. })),
        "{rejection}"
    );
    // Bytes that changed on the disk since they were stored.
    let fixture = Fixture::new();
    fs::write(fixture.artifacts.path_of(&fixture.entries[0].1), b"other").unwrap();
    let rejection = fixture.rejection();
    assert!(matches!(
        rejection,
        Rejection::Record(RecordError::Artifact(ArtifactError::Corrupt { .. }))
    ));
}

#[test]
fn records_must_look_as_asked() {
    let mut spoiled = score();
    spoiled.overlap.predicted = 17;
    let mut infinite = trace();
    infinite.mse_h[1] = f32::INFINITY;
    for (index, record) in [
        // The other cell's kind.
        (0, Record::Masks(vec![score()])),
        // Fewer slices than the batch.
        (0, Record::Traces(vec![trace()])),
        (0, Record::Traces(vec![trace(), infinite])),
        (1, Record::Masks(vec![score(), spoiled])),
    ] {
        let mut fixture = Fixture::new();
        fixture.entries[index].1 = fixture.store(&record);
        let rejection = fixture.rejection();
        assert!(
            matches!(rejection, Rejection::Impossible { .. }),
            "{rejection}"
        );
    }
    // Longer than any record of that shape: not even read.
    let mut fixture = Fixture::new();
    fixture.entries[0].1 = fixture.store(&Record::Traces(vec![trace(); 3]));
    let rejection = fixture.rejection();
    assert!(
        matches!(
            rejection,
            Rejection::Record(RecordError::Artifact(ArtifactError::TooLarge { .. }))
        ),
        "{rejection}"
    );
}

#[test]
fn weights_are_counted_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = ArtifactStore::open(folder.path()).unwrap();
    let mut train = TrainSpec::published(Role::Guided, Preset::Paper);
    (train.steps, train.batch) = (10, 4);
    let plan = TrainPlan {
        network: Role::Guided,
        config: network(),
        train,
        profile: profile(),
        data: data(),
        validation: Vec::new(),
    };
    let key = plan.key().unwrap();
    let digest = Digest::of(b"plan");
    let active = ActivePlan::Train(digest, Box::new(plan.clone()));
    let job = Job {
        stage: Stage::Train,
        plan: digest,
        task: Task::Train(GangRank::alone(1)),
    };
    let claim = |evaluations, weights| {
        let manifest = Manifest {
            entries: vec![(key, weights)],
        };
        let completion = Completion {
            manifest: artifacts.put(&wire::encode(&manifest).unwrap()).unwrap(),
            evaluations,
            padding: 0,
            device_millis: 1,
            millijoules: None,
        };
        verify(&active, &job, &completion, &artifacts)
    };
    let weights = artifacts.put(b"weights").unwrap();
    assert_eq!(claim(40, weights).unwrap(), [(key, weights)]);
    // The first rank speaks for its gang, and no other.
    for rank in [0, 1] {
        let manifest = Manifest {
            entries: vec![(key, weights)],
        };
        let completion = Completion {
            manifest: artifacts.put(&wire::encode(&manifest).unwrap()).unwrap(),
            evaluations: 40,
            padding: 0,
            device_millis: 1,
            millijoules: None,
        };
        let gang = GangRank {
            generation: 9,
            rank,
            world: 2,
        };
        let job = Job {
            task: Task::Train(gang),
            ..job.clone()
        };
        let verified = verify(&active, &job, &completion, &artifacts);
        assert_eq!(verified.is_ok(), rank == 0, "rank {rank}");
    }
    assert!(matches!(
        claim(39, weights).unwrap_err(),
        Rejection::Cost { .. }
    ));
    assert!(matches!(
        claim(40, Digest::of(b"never stored")).unwrap_err(),
        Rejection::Artifact(ArtifactError::Missing { .. })
    ));
    // More bytes than the architecture has weights; sparse, so that the test is quick.
    let parameters = u64::try_from(plan.config.footprint().parameters).unwrap();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(artifacts.path_of(&weights))
        .unwrap();
    file.set_len(4 * parameters + WEIGHTS_HEADER + 1).unwrap();
    let rejection = claim(40, weights).unwrap_err();
    assert!(
        matches!(rejection, Rejection::Weights { .. }),
        "{rejection}"
    );
}
