//! Messages as the programs send them, several of each kind: what mutations start from.

use std::time::Duration;

use anofpdm_common::ids::Digest;
use anofpdm_common::metrics::overlap::Overlap;
use anofpdm_common::metrics::{MaskRuns, PackedRun, RunDetail};
use anofpdm_common::plan::{
    BatchRun, Completion, GangRank, Job, Manifest, NumericProfile, Stage, Task, WorkerInfo,
};
use anofpdm_common::queue::local::{Request, Response};
use anofpdm_common::queue::redis::{DeliveredClaim, Hello};
use anofpdm_common::queue::{ErrorClass, Lease, LeaseId, Progress, Renewal, Take};
use anofpdm_common::record::{
    CandidateScore, Exhibit, FigureTraces, KeptMap, ModalityDecision, RatedScore, Record,
    RestoredScore, SliceFigures, SliceScore, SliceTrace, StepMaps, ThresholdOverlaps,
};
use anofpdm_common::spec::Precision;
use anofpdm_common::wire::{self, Kind, Message};
use anofpdm_coordinator::ledger::{CACHE, ChosenPrecision, Entry};

/// An envelope as it is sent.
#[derive(Debug, Clone)]
pub struct Sample {
    pub kind: Kind,
    pub bytes: Vec<u8>,
}

/// Some of each kind; every variant of every message is among them.
pub fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    requests().iter().for_each(|it| push(&mut samples, it));
    responses().iter().for_each(|it| push(&mut samples, it));
    entries().iter().for_each(|it| push(&mut samples, it));
    records().iter().for_each(|it| push(&mut samples, it));
    for count in [1, 3, 40] {
        push(&mut samples, &manifest(count));
    }
    jobs().iter().for_each(|it| push(&mut samples, it));
    for job in jobs() {
        let claim = DeliveredClaim {
            lease: LEASE,
            worker: info().worker,
            job,
            completion: completion(),
        };
        push(&mut samples, &claim);
    }
    let hello = Hello {
        info: info(),
        nonce: "0123456789ab".to_owned(),
    };
    push(&mut samples, &hello);
    samples
}

/// Messages that stand at a limit, or take most memory for their bytes.
pub fn large_samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    push(&mut samples, &manifest(16_000));
    push(&mut samples, &delivered(16_000));
    let score = SliceScore {
        overlap: overlap(),
        cosine: 0.5,
        q_star: 0.1,
        modalities: Vec::new(),
        run: PackedRun::default(),
        mask: MaskRuns::default(),
        figures: Some(Box::new(SliceFigures {
            traces: None,
            end_step_ratios: Vec::new(),
            fixed_thresholds: Vec::new(),
        })),
    };
    let one_run = SliceScore {
        run: PackedRun::new(&(0..700_000).collect::<Vec<_>>(), RunDetail::Exact),
        ..score.clone()
    };
    push(&mut samples, &Record::Masks(vec![score; 4_096]));
    push(&mut samples, &Record::Masks(vec![one_run]));
    let nothing = SliceTrace {
        divergence: Vec::new(),
        mse_h: Vec::new(),
        mse_null: Vec::new(),
    };
    push(&mut samples, &Record::Traces(vec![nothing; 4_096]));
    let curve = ThresholdOverlaps {
        pixels: 1_024,
        truth: 50,
        at: Vec::new(),
    };
    push(&mut samples, &Record::Overlaps(vec![curve; 4_096]));
    let text = "\u{2192}".repeat(5_000);
    push(&mut samples, &Request::Fail(LEASE, ErrorClass::Fatal, text));
    samples
}

fn push<T: Message>(samples: &mut Vec<Sample>, message: &T) {
    let bytes = wire::encode(message).unwrap_or_else(|e| panic!("a sample of ours: {e}"));
    samples.push(Sample {
        kind: T::KIND,
        bytes,
    });
}

const LEASE: LeaseId = LeaseId {
    shard: 7,
    epoch: 1_795_625_000_000_123,
};

fn jobs() -> [Job; 3] {
    let plan = Digest::of(b"plan");
    let batches = |first, count, cells| Job {
        stage: Stage::Score,
        plan,
        task: Task::Batches(BatchRun {
            first,
            count,
            cells,
        }),
    };
    [
        Job {
            stage: Stage::Train,
            plan,
            task: Task::Train(GangRank::alone(1)),
        },
        batches(0, 4, vec![0, 1, 2, 9]),
        batches(90, 62, (0..256).collect()),
    ]
}

fn completion() -> Completion {
    Completion {
        manifest: Digest::of(b"manifest"),
        evaluations: 660,
        padding: 12,
        device_millis: 1_234,
        millijoules: Some(451_000),
    }
}

fn profile() -> NumericProfile {
    NumericProfile {
        device: "NVIDIA H100 80GB HBM3".to_owned(),
        libtorch: "2.11.0".to_owned(),
        cpu_capability: "AVX2".to_owned(),
        threads: 4,
    }
}

fn info() -> WorkerInfo {
    WorkerInfo {
        worker: "node-7-4242-0123456789ab".to_owned(),
        host: "node-7".to_owned(),
        pid: 4_242,
        profile: profile(),
        memory_bytes: 80 << 30,
        version: "0.1.0".to_owned(),
        metrics: None,
    }
}

fn requests() -> [Request; 8] {
    let progress = Progress {
        ticks: 77,
        note: "step 12 of 40".to_owned(),
    };
    let error = "read store/flair: no such file\ncaused by: \u{2192} disk".to_owned();
    [
        Request::Register(info()),
        Request::Attach(info().worker),
        Request::Take(Duration::from_millis(5_500)),
        Request::Renew(LEASE, progress),
        Request::Complete(LEASE, completion()),
        Request::Fail(LEASE, ErrorClass::OutOfMemory, error),
        Request::Release(LEASE),
        Request::Leave,
    ]
}

fn responses() -> Vec<Response> {
    let mut responses = vec![
        Response::Registered,
        Response::Refused("profile differs: threads 2, the run has 1".to_owned()),
        Response::Take(Take::Empty),
        Response::Take(Take::Finished),
        Response::Take(Take::Drain),
        Response::Take(Take::Retired("its bits differ".to_owned())),
        Response::Renewal(Renewal::Held { cancel: true }),
        Response::Renewal(Renewal::Lost),
        Response::Done,
    ];
    responses.extend(jobs().map(|job| {
        Response::Take(Take::Leased(Lease {
            id: LEASE,
            ttl: Duration::from_secs(60),
            job,
        }))
    }));
    responses
}

fn digests(count: u32) -> Vec<(Digest, Digest)> {
    let digest = |number: u32| Digest::of(&number.to_le_bytes());
    (0..count)
        .map(|number| (digest(number), digest(!number)))
        .collect()
}

fn manifest(entries: u32) -> Manifest {
    Manifest {
        entries: digests(entries),
    }
}

fn delivered(records: u32) -> Entry {
    Entry::Delivered {
        stage: Stage::Score,
        records: digests(records),
        evaluations: 660,
        padding: 12,
        device_millis: 1_234,
        worker: info().worker,
        lease: LEASE,
        audit: true,
    }
}

/// Journal entries, every variant.
pub fn entries() -> Vec<Entry> {
    let digest = Digest::of(b"digest");
    vec![
        Entry::Created {
            spec: digest,
            data: digest,
            run: "brats-0123abcd".to_owned(),
        },
        Entry::Profile(profile()),
        Entry::Weights {
            network: "guided".to_owned(),
            weights: digest,
        },
        Entry::Planned {
            stage: Stage::Calibrate,
            plan: digest,
            records: 400,
        },
        delivered(2),
        Entry::Delivered {
            stage: Stage::Calibrate,
            records: digests(20),
            evaluations: 0,
            padding: 0,
            device_millis: 0,
            worker: CACHE.to_owned(),
            lease: LeaseId { shard: 0, epoch: 0 },
            audit: false,
        },
        Entry::Stopped { wall_millis: 5_000 },
        Entry::Distrusted {
            worker: info().worker,
            reason: "two others agree on other bits".to_owned(),
        },
        Entry::Precision(ChosenPrecision {
            precision: Precision::Bf16,
            reason: "masks agree with fp32".to_owned(),
            report: Some(digest),
        }),
        Entry::Energy {
            millijoules: 451_000,
            device_millis: 1_234,
        },
        Entry::Scored {
            unix_seconds: 1_796_067_184,
        },
    ]
}

fn overlap() -> Overlap {
    Overlap {
        pixels: 1_024,
        predicted: 60,
        truth: 50,
        intersection: 40,
    }
}

fn sequence(length: u16) -> Vec<f32> {
    (0..length).map(|step| f32::from(step) * 0.25).collect()
}

fn trace() -> SliceTrace {
    SliceTrace {
        divergence: sequence(16),
        mse_h: sequence(16),
        mse_null: sequence(16),
    }
}

fn records() -> [Record; 8] {
    let decision = ModalityDecision {
        end_step: 7,
        divergence: 0.25,
        level_index: 98,
        defined: true,
    };
    let plain = SliceScore {
        overlap: overlap(),
        cosine: 0.9,
        q_star: 0.125,
        modalities: vec![decision; 2],
        run: PackedRun::new(
            &(0..60).map(|key| key * 5).collect::<Vec<_>>(),
            RunDetail::Exact,
        ),
        mask: MaskRuns::new(&[1; 60]),
        figures: None,
    };
    let with_figures = SliceScore {
        q_star: f32::NAN,
        figures: Some(Box::new(SliceFigures {
            traces: Some(FigureTraces {
                trace: trace(),
                inside: sequence(16),
                outside: vec![f32::NAN; 16],
            }),
            end_step_ratios: vec![overlap(); 4],
            fixed_thresholds: vec![overlap(); 6],
        })),
        ..plain.clone()
    };
    let curve = ThresholdOverlaps {
        pixels: 1_024,
        truth: 50,
        at: (0..69).map(|step| (138 - 2 * step, 40)).collect(),
    };
    let restored = RestoredScore {
        overlap: overlap(),
        threshold: 0.125,
        run: plain.run.clone(),
        mask: plain.mask.clone(),
    };
    [
        Record::Overlaps(vec![curve; 3]),
        Record::Restored(vec![restored; 4]),
        Record::Traces(vec![trace(); 3]),
        Record::Masks(vec![plain.clone(); 4]),
        Record::RatedMasks(vec![
            RatedScore {
                score: with_figures.clone(),
                mse_ratio: 1.5,
            };
            3
        ]),
        Record::Masks(vec![with_figures, plain]),
        Record::Candidates(vec![
            CandidateScore {
                overlap: overlap(),
                cosine: 0.5,
                mse_ratio: 1.5,
            };
            4
        ]),
        Record::Exhibits(vec![
            None,
            Some(Box::new(Exhibit {
                map: Some(KeptMap::new(&sequence(64))),
                sequences: Some(Box::new(FigureTraces {
                    trace: trace(),
                    inside: sequence(16),
                    outside: sequence(16),
                })),
                steps: vec![
                    StepMaps {
                        step: 3,
                        squared_error: KeptMap::new(&sequence(64)),
                        gradient: KeptMap::new(&[]),
                    };
                    2
                ],
            })),
        ]),
    ]
}
