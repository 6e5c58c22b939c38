//! The service against a scripted queue, on the fake device.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};

use anofpdm_common::method::Encoding;
use anofpdm_common::network::{Arch, Heads, NetworkConfig};
use anofpdm_common::queue::{self, LeaseId};
use anofpdm_common::record::Record;
use anofpdm_common::role::Role;
use anofpdm_common::semantics::Semantics;
use anofpdm_common::spec::{Devices, Precision, Respacing, TrainPrecision, TrainSpec};
use anofpdm_common::store::scaling::Scaling;
use anofpdm_common::store::slices::{
    AxisMap, SourceGrid, Split, StoreWriter, SubjectData, SubjectRecord,
};
use anofpdm_common::wire;
use anofpdm_common::work::{
    Cell, CellOutput, DataPlan, ForwardPlan, ForwardWalk, GangRank, Job, NetworkPlan, SliceRef,
    Stage, TrainPlan,
};

use super::*;

const SIZE: usize = 8;
const STEPS: u32 = 40;

/// What the worker told the queue.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Complete(u64, Completion),
    Fail(u64, ErrorClass, String),
    HandBack(u64),
    Post(String),
    Leave,
}

/// Answers takes from a list, then [`Take::Finished`]; asks the worker to end where it is told to.
struct Script {
    takes: Mutex<VecDeque<Take>>,
    told: Mutex<Vec<Told>>,
    drain: Arc<Drain>,
    /// Asks to end at the first of these calls.
    end_at: Option<Call>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Call {
    Take,
    Renew,
    Fail,
}

impl Script {
    fn called(&self, call: Call) {
        if self.end_at == Some(call) && !self.drain.asked() {
            self.drain.ask();
        }
    }

    fn tell(&self, told: Told) -> Result<(), QueueError> {
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(told);
        Ok(())
    }
}

impl WorkQueue for Script {
    fn register(&self, _: &WorkerInfo) -> Result<(), QueueError> {
        Ok(())
    }
    fn take(&self, _: Duration) -> Result<Take, QueueError> {
        self.called(Call::Take);
        let next = self.takes.lock().unwrap().pop_front();
        Ok(next.unwrap_or(Take::Finished))
    }
    fn renew(&self, _: &LeaseId, _: queue::Progress) -> Result<queue::Renewal, QueueError> {
        self.called(Call::Renew);
        Ok(queue::Renewal::Held { cancel: false })
    }
    fn complete(&self, lease: &Lease, completion: &Completion) -> Result<(), QueueError> {
        self.tell(Told::Complete(lease.id.shard, completion.clone()))
    }
    fn fail(&self, lease: &LeaseId, class: ErrorClass, message: &str) -> Result<(), QueueError> {
        self.called(Call::Fail);
        self.tell(Told::Fail(lease.shard, class, message.to_owned()))
    }
    fn hand_back(&self, lease: &LeaseId) -> Result<(), QueueError> {
        self.tell(Told::HandBack(lease.shard))
    }
    fn post(&self, _: &Lease, key: &str, _: &[u8]) -> Result<(), QueueError> {
        self.tell(Told::Post(key.to_owned()))
    }
    /// Every rank has been here before.
    fn read(&self, _: &Lease, _: &str) -> Result<Option<Vec<u8>>, QueueError> {
        Ok(Some(vec![1]))
    }
    fn leave(&self) -> Result<(), QueueError> {
        self.tell(Told::Leave)
    }
}

fn profile() -> NumericProfile {
    NumericProfile {
        device: "fake".to_owned(),
        libtorch: "2.11.0".to_owned(),
        cpu_capability: "avx2".to_owned(),
        threads: 1,
    }
}

fn network() -> NetworkConfig {
    NetworkConfig {
        arch: Arch::V2,
        image_size: 8,
        in_channels: 1,
        out_channels: None,
        num_channels: 32,
        num_res_blocks: 1,
        channel_mult: vec![1],
        attention_downsample_rates: vec![],
        heads: Heads::Count(1),
        num_classes: Some(2),
        resblock_updown: false,
    }
}

/// A run of its own: a slice store and an artifact store below `root`.
struct Run {
    artifacts: ArtifactStore,
    data: DataPlan,
}

impl Run {
    fn new(root: &Path, name: &str, brightness: f32) -> Self {
        let store = root.join("stores").join(name);
        let writer = StoreWriter::create(&store, &["flair".to_owned()], SIZE).unwrap();
        let axis = |axis| AxisMap {
            axis,
            flipped: false,
        };
        let slices = 4;
        let data = SubjectData {
            image: (0..slices * SIZE * SIZE)
                .map(|value| brightness * (value % 29) as f32)
                .collect(),
            label: vec![0; slices],
            mask: None,
            slice_index: (0..4).collect(),
            source: SourceGrid {
                shape: [SIZE, SIZE, 50],
                affine: [[0.0; 4]; 3],
                axes: [axis(0), axis(1), axis(2)],
                canvas: [SIZE, SIZE],
                padding: [0, 0],
            },
        };
        let written = writer
            .write_subject("a", Digest::of(name.as_bytes()), &data)
            .unwrap();
        let record = SubjectRecord {
            id: "a".to_owned(),
            split: Split::Train,
            slices,
            lesion_slices: written.lesion_slices,
            digest: written.digest,
        };
        let store = writer.commit(vec![record], Vec::new()).unwrap();
        Self {
            artifacts: ArtifactStore::open(&root.join("runs").join(name).join("records")).unwrap(),
            data: DataPlan {
                digest: store.manifest().digest,
                scaling: Scaling::SliceMinmax,
                scored: vec![0],
                subjects: vec!["a".to_owned()],
            },
        }
    }

    /// A plan of two batches of two slices.
    fn forward_plan(&self) -> ForwardPlan {
        let batch = |positions: [u32; 2]| {
            positions
                .map(|position| SliceRef {
                    subject: 0,
                    position,
                })
                .to_vec()
        };
        ForwardPlan {
            stage: Stage::Calibrate,
            semantics: Semantics::PaperClipped,
            steps: STEPS,
            respacing: Respacing::None,
            component_area: 2,
            profile: profile(),
            precision: Precision::Fp32,
            data: self.data.clone(),
            networks: vec![NetworkPlan {
                name: "guided".to_owned(),
                config: network(),
                weights: self.artifacts.put(b"weights").unwrap(),
            }],
            trajectories: vec![Trajectory::Forward(ForwardWalk {
                network: 0,
                encoding: Encoding::Ddim,
                seed: 0,
            })],
            cells: vec![Cell {
                trajectory: 0,
                guidance: 1.0,
                output: CellOutput::Traces,
            }],
            batch_slices: 3,
            batches: vec![batch([0, 1]), batch([2, 3])],
        }
    }

    fn train_plan(&self) -> TrainPlan {
        TrainPlan {
            network: Role::Guided,
            config: network(),
            train: TrainSpec {
                steps: 100,
                batch: 4,
                learning_rate: 1e-3,
                ema: 0.9,
                null_label: 0.3,
                dropout: 0.2,
                devices: Devices::exactly(1),
                seed: 5,
                checkpoint_every: 4,
                precision: TrainPrecision::Fp32,
                micro_batch: None,
                checkpoint_activations: false,
                validate_every: 0,
                sample_every: 0,
                keep: 2,
            },
            profile: profile(),
            data: self.data.clone(),
            validation: Vec::new(),
        }
    }

    fn job(&self, plan: &Plan) -> Job {
        let digest = self.artifacts.put(&plan.to_json("run").unwrap()).unwrap();
        match plan {
            Plan::Train(_) => Job {
                stage: Stage::Train,
                plan: digest,
                task: Task::Train(GangRank::alone(1)),
            },
            Plan::Trial(_) => Job {
                stage: Stage::Calibrate,
                plan: digest,
                task: Task::Trial,
            },
            Plan::Forward(_) => Job {
                stage: Stage::Calibrate,
                plan: digest,
                task: Task::Batches {
                    first: 0,
                    count: 2,
                    cells: vec![0],
                },
            },
        }
    }

    fn forward(&self) -> Job {
        self.job(&Plan::Forward(self.forward_plan()))
    }

    fn training(&self) -> Job {
        self.job(&Plan::Train(self.train_plan()))
    }
}

fn leased(shard: u64, job: Job) -> Take {
    Take::Leased(Lease {
        id: LeaseId { shard, epoch: 1 },
        ttl: Duration::from_millis(30),
        job,
    })
}

/// Serves what `takes` holds, from the stores below `root`, with these faults.
fn served(
    root: &Path,
    takes: Vec<Take>,
    faults: &str,
    end_at: Option<Call>,
    patience: Duration,
) -> (Vec<Told>, Result<(), ServiceError>) {
    let drain = Arc::new(Drain::new(patience));
    let script = Arc::new(Script {
        takes: Mutex::new(takes.into()),
        told: Mutex::default(),
        drain: Arc::clone(&drain),
        end_at,
    });
    let info = WorkerInfo {
        worker: "w".to_owned(),
        host: "here".to_owned(),
        pid: 1,
        profile: profile(),
        memory_bytes: 1,
        version: "0.1.0".to_owned(),
    };
    let config = ServiceConfig {
        address: "127.0.0.1".to_owned(),
        data: root.to_owned(),
        artifacts: root.to_owned(),
        checkpoints: None,
        device: Device::Cpu,
        profile: profile(),
        exit_when_idle: false,
        metrics: Metrics::new().unwrap(),
    };
    let fake = FakeDevice::new(&faults.parse().unwrap(), "w");
    let queue: Arc<dyn WorkQueue> = Arc::<Script>::clone(&script);
    let ended = serve(&queue, &info, &config, Some(fake), &drain);
    let told = script.told.lock().unwrap().clone();
    (told, ended)
}

const LONG: Duration = Duration::from_secs(3600);

/// The records that a completion stored in `artifacts`.
fn records(artifacts: &ArtifactStore, told: &Told) -> Vec<Record> {
    let Told::Complete(_, completion) = told else {
        panic!("{told:?}");
    };
    let read = |digest| artifacts.get(&digest, 1 << 20).unwrap();
    let manifest: Manifest = wire::decode(&read(completion.manifest)).unwrap();
    manifest
        .entries
        .iter()
        .map(|(_, record)| wire::decode(&read(*record)).unwrap())
        .collect()
}

#[test]
fn two_runs_are_served_each_from_and_into_its_own_stores() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (
        Run::new(folder.path(), "a", 1.0),
        Run::new(folder.path(), "b", -1.0),
    );
    assert_ne!(first.data.digest, second.data.digest);
    let takes = vec![
        leased(1, first.forward()),
        leased(2, second.forward()),
        leased(3, first.forward()),
        leased(4, second.training()),
    ];
    let (told, ended) = served(folder.path(), takes, "", None, LONG);
    ended.unwrap();
    assert_eq!(told.len(), 5, "{told:?}");
    let [a, b, again] = [
        records(&first.artifacts, &told[0]),
        records(&second.artifacts, &told[1]),
        records(&first.artifacts, &told[2]),
    ];
    assert_eq!(a.len(), 2);
    assert!(a.iter().all(|record| record.len() == 2));
    assert_eq!(a, again);
    assert_ne!(a, b);
    let Told::Complete(1, completion) = &told[0] else {
        panic!("{told:?}")
    };
    let per_slice = 2 * u64::from(STEPS);
    assert_eq!(completion.evaluations, 4 * per_slice);
    assert_eq!(completion.padding, 2 * per_slice);
    let Told::Complete(4, completion) = &told[3] else {
        panic!("{told:?}")
    };
    let manifest = second.artifacts.get(&completion.manifest, 1 << 20).unwrap();
    let manifest: Manifest = wire::decode(&manifest).unwrap();
    assert_eq!(manifest.entries[0].0, second.train_plan().key().unwrap());
    second.artifacts.verify(&manifest.entries[0].1).unwrap();
    assert_eq!(told[4], Told::Leave);
}

#[test]
fn a_rank_that_was_anothers_is_handed_back_and_connects_to_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::new(folder.path(), "a", 1.0);
    let mut job = run.training();
    job.task = Task::Train(GangRank {
        generation: 7,
        rank: 0,
        world: 2,
    });
    // The end is asked for at the first renewal: until then it waits to be called off.
    let takes = vec![leased(1, job)];
    let (told, ended) = served(folder.path(), takes, "", Some(Call::Renew), LONG);
    ended.unwrap();
    assert_eq!(told, [Told::HandBack(1), Told::Leave]);
}

#[test]
fn out_of_memory_is_reported_and_the_worker_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::new(folder.path(), "a", 1.0);
    let takes = vec![leased(1, run.forward()), leased(2, run.forward())];
    let (told, ended) = served(folder.path(), takes, "oom=1", None, LONG);
    ended.unwrap();
    let shards: Vec<_> = told
        .iter()
        .map(|told| match told {
            Told::Fail(shard, ErrorClass::OutOfMemory, _) => *shard,
            _ => 0,
        })
        .collect();
    assert_eq!(shards, [1, 2, 0], "{told:?}");
}

#[test]
fn a_worker_without_device_reports_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::new(folder.path(), "a", 1.0);
    let takes = vec![leased(1, run.forward()), leased(2, run.forward())];
    let (told, ended) = served(folder.path(), takes, "lost=1", None, LONG);
    let error = ended.unwrap_err();
    assert!(error.ends_the_device(), "{error}");
    assert!(
        matches!(
            told[..],
            [Told::Fail(1, ErrorClass::DeviceLost, _), Told::Leave]
        ),
        "{told:?}"
    );
}

#[test]
fn a_retired_worker_ends_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let takes = vec![Take::Retired("wrong bits".to_owned())];
    let (_, ended) = served(folder.path(), takes, "", None, LONG);
    let error = ended.unwrap_err();
    assert!(error.ends_the_device() && error.to_string().contains("wrong bits"));
}

#[test]
fn a_shard_at_work_is_finished_when_there_is_time_else_handed_back() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::new(folder.path(), "a", 1.0);
    let at_work = |job, patience| {
        let takes = vec![leased(1, job), leased(2, run.forward())];
        // Several renewals fall into the time that a shard takes.
        let (told, ended) = served(
            folder.path(),
            takes,
            "delay_ms=5",
            Some(Call::Renew),
            patience,
        );
        ended.unwrap();
        assert_eq!(told.last(), Some(&Told::Leave));
        assert_eq!(told.len(), 2, "nothing more is taken: {told:?}");
        told[0].clone()
    };
    let finished = at_work(run.forward(), LONG);
    assert!(matches!(finished, Told::Complete(1, _)), "{finished:?}");
    assert_eq!(at_work(run.forward(), Duration::ZERO), Told::HandBack(1));
    assert_eq!(at_work(run.training(), LONG), Told::HandBack(1));
}

#[test]
fn a_lease_that_crosses_the_signal_goes_back_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::new(folder.path(), "a", 1.0);
    let takes = vec![leased(1, run.forward())];
    let (told, ended) = served(folder.path(), takes, "", Some(Call::Take), LONG);
    ended.unwrap();
    assert_eq!(told, [Told::HandBack(1), Told::Leave]);
}

#[test]
fn what_is_not_found_here_is_told_and_the_worker_pauses() {
    let (here, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = Run::new(elsewhere.path(), "a", 1.0);
    let takes = vec![leased(1, run.forward()), leased(2, run.forward())];
    // The signal ends the pause, so that the second shard is not taken.
    let (told, ended) = served(here.path(), takes, "", Some(Call::Fail), LONG);
    ended.unwrap();
    let [Told::Fail(1, ErrorClass::Transient, message), Told::Leave] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(message.contains("--artifacts"), "{message}");
}

#[test]
fn errors_and_impossible_jobs_have_their_class() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::new(folder.path(), "a", 1.0);
    let mut beyond = run.forward();
    beyond.task = Task::Batches {
        first: 1,
        count: u32::MAX,
        cells: vec![0],
    };
    let mut mixed = run.forward();
    mixed.task = Task::Train(GangRank::alone(1));
    let mut other = run.forward_plan();
    other.profile.threads = 2;
    let takes = vec![
        leased(1, beyond),
        leased(2, mixed),
        leased(3, run.job(&Plan::Forward(other))),
    ];
    let (told, ended) = served(folder.path(), takes, "", None, LONG);
    ended.unwrap();
    for (told, part) in told
        .iter()
        .zip(["no such task", "no such task", "2 thread"])
    {
        assert!(
            matches!(told, Told::Fail(_, ErrorClass::BadInput, message) if message.contains(part)),
            "{told:?}"
        );
    }
    let takes = vec![leased(1, run.forward())];
    let (told, _) = served(folder.path(), takes, "error=1", None, LONG);
    assert!(matches!(told[0], Told::Fail(1, ErrorClass::Transient, _)));
}

/// A queue that is out of reach; tells of every renewal asked of it.
struct Away(Sender<()>);

impl Away {
    fn error<T>() -> Result<T, QueueError> {
        Err(QueueError::Gone("away".to_owned()))
    }
}

impl WorkQueue for Away {
    fn register(&self, _: &WorkerInfo) -> Result<(), QueueError> {
        Self::error()
    }
    fn take(&self, _: Duration) -> Result<Take, QueueError> {
        Self::error()
    }
    fn renew(&self, _: &LeaseId, _: queue::Progress) -> Result<queue::Renewal, QueueError> {
        self.0.send(()).ok();
        Self::error()
    }
    fn complete(&self, _: &Lease, _: &Completion) -> Result<(), QueueError> {
        Self::error()
    }
    fn fail(&self, _: &LeaseId, _: ErrorClass, _: &str) -> Result<(), QueueError> {
        Self::error()
    }
    fn hand_back(&self, _: &LeaseId) -> Result<(), QueueError> {
        Self::error()
    }
    fn post(&self, _: &Lease, _: &str, _: &[u8]) -> Result<(), QueueError> {
        Self::error()
    }
    fn read(&self, _: &Lease, _: &str) -> Result<Option<Vec<u8>>, QueueError> {
        Self::error()
    }
    fn leave(&self) -> Result<(), QueueError> {
        Self::error()
    }
}

#[test]
fn a_renewal_that_fails_is_tried_again_without_new_progress() {
    let (sender, renewals) = channel();
    let queue: Arc<dyn WorkQueue> = Arc::new(Away(sender));
    let drain = Arc::new(Drain::new(LONG));
    let lease = LeaseId { shard: 1, epoch: 1 };
    let renewal = Renewal::start(&queue, lease, Duration::from_millis(30), &drain);
    for _ in 0..3 {
        renewals.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    assert!(!renewal.progress().stop_asked());
    renewal.stop();
}
