//! Trials of a small network on the CPU.

use anofpdm_common::anofpdm::MaskRule;
use anofpdm_common::ids::Digest;
use anofpdm_common::method::Encoding;
use anofpdm_common::network::{Arch, Heads, NetworkConfig};
use anofpdm_common::plan::{
    Cell, CellOutput, DataPlan, ExhibitPlan, ForwardPlan, NetworkPlan, NumericProfile, Plan,
    SliceRef, Stage,
};
use anofpdm_common::semantics::Semantics;
use anofpdm_common::spec::Respacing;
use anofpdm_common::store::scaling::Scaling;
use anofpdm_common::store::slices::{
    AxisMap, SourceGrid, Split, StoreWriter, SubjectData, SubjectRecord,
};
use tch::nn::VarStore;
use tch::{Device, Kind};

use super::*;
use crate::backend::libtorch::LibtorchBackend;
use crate::nn::UNet;
use crate::worker_loop::drain::Drain;

const SIZE: usize = 16;
const SLICES: u32 = 5;

fn network() -> NetworkConfig {
    NetworkConfig {
        arch: Arch::V2,
        image_size: 16,
        in_channels: 1,
        out_channels: None,
        num_channels: 32,
        num_res_blocks: 1,
        channel_mult: vec![1, 2],
        attention_downsample_rates: vec![2],
        heads: Heads::Count(2),
        num_classes: Some(2),
        resblock_updown: false,
        use_scale_shift_norm: true,
    }
}

fn cpu() -> NetworkCache {
    NetworkCache::new(Box::new(LibtorchBackend::new(Device::Cpu)))
}

struct Fixture {
    _folder: tempfile::TempDir,
    slices: SliceStore,
    artifacts: ArtifactStore,
    weights: Digest,
}

impl Fixture {
    /// Slices with a bright square, which is their lesion, and a network of random weights.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        let writer = StoreWriter::create(&store, &["flair".to_owned()], SIZE).unwrap();
        let axis = |axis| AxisMap {
            axis,
            flipped: false,
        };
        let slices = SLICES as usize;
        let lesion = |pixel: usize| {
            let (y, x) = (pixel / SIZE % SIZE, pixel % SIZE);
            (4..10).contains(&y) && (6..12).contains(&x)
        };
        let pixels = 0..slices * SIZE * SIZE;
        let data = SubjectData {
            notices: Vec::new(),
            image: pixels
                .clone()
                .map(|pixel| (pixel * 7 % 31) as f32 + if lesion(pixel) { 60.0 } else { 9.0 })
                .collect(),
            label: vec![1; slices],
            mask: Some(pixels.map(|pixel| u8::from(lesion(pixel))).collect()),
            slice_index: (0..).take(slices).collect(),
            source: SourceGrid {
                shape: [SIZE, SIZE, 50],
                affine: [[0.0; 4]; 3],
                axes: [axis(0), axis(1), axis(2)],
                canvas: [SIZE, SIZE],
                padding: [0, 0],
                header: None,
            },
        };
        let written = writer.write_subject("a", Digest::of(b"a"), &data).unwrap();
        let record = SubjectRecord {
            id: "a".to_owned(),
            patient: None,
            split: Split::Validation,
            slices,
            lesion_slices: written.lesion_slices,
            digest: written.digest,
        };
        let slices = writer.commit(vec![record], Vec::new()).unwrap();

        let artifacts = ArtifactStore::open(&folder.path().join("records")).unwrap();
        let vs = VarStore::new(Device::Cpu);
        let _unet = UNet::new(&vs.root(), &network());
        tch::manual_seed(3);
        tch::no_grad(|| {
            for mut variable in vs.variables().into_values() {
                let noise = variable.randn_like().to_kind(Kind::Float) * 0.05;
                drop(variable.g_add_(&noise));
            }
        });
        let file = folder.path().join("w.safetensors");
        vs.save(&file).unwrap();
        let weights = artifacts.put_file(&file).unwrap();
        Self {
            _folder: folder,
            slices,
            artifacts,
            weights,
        }
    }

    fn plan(&self) -> TrialPlan {
        let batch = |positions: std::ops::Range<u32>| {
            positions
                .map(|position| SliceRef {
                    subject: 0,
                    position,
                })
                .collect()
        };
        let cell = |guidance| Cell {
            trajectory: 0,
            guidance,
            output: CellOutput::Traces,
        };
        let forward = ForwardPlan {
            stage: Stage::Calibrate,
            semantics: Semantics::PaperClipped,
            steps: 10,
            respacing: Respacing::Steps(20),
            component_area: 2,
            mask_rule: MaskRule::default(),
            profile: NumericProfile {
                device: "cpu".to_owned(),
                libtorch: "2.11.0".to_owned(),
                cpu_capability: "avx512".to_owned(),
                threads: 1,
            },
            precision: Precision::Fp32,
            data: DataPlan {
                digest: self.slices.manifest().digest,
                scaling: Scaling::SliceMinmax,
                scored: vec![0],
                subjects: vec!["a".to_owned()],
            },
            networks: vec![NetworkPlan {
                name: "guided".to_owned(),
                config: network(),
                weights: self.weights,
            }],
            trajectories: vec![Trajectory::Forward(ForwardWalk {
                network: 0,
                encoding: Encoding::Ddim,
                seed: 0,
            })],
            cells: vec![cell(1.0), cell(4.0)],
            batch_slices: 3,
            // The last batch has a slice of padding.
            batches: vec![batch(0..3), batch(3..SLICES)],
            exhibits: ExhibitPlan::default(),
        };
        TrialPlan {
            forward,
            candidates: vec![Precision::Bf16],
            with_truth: true,
        }
    }

    fn report(&self, plan: &TrialPlan) -> TrialReport {
        // What crosses the queue is what a plan can be.
        let artifact = Plan::Trial(plan.clone()).to_json("run").unwrap();
        assert_eq!(
            Plan::from_json(&artifact).unwrap(),
            Plan::Trial(plan.clone())
        );
        let drain = std::sync::Arc::new(Drain::new(std::time::Duration::MAX));
        let trial = Trial {
            plan,
            slices: &self.slices,
            artifacts: &self.artifacts,
            progress: &JobProgress::new(&drain),
        };
        let JobOutcome::Done(done) = trial.run(&mut cpu()).unwrap() else {
            panic!("nobody asked it to stop");
        };
        assert_eq!((done.evaluations, done.padding), (0, 0));
        let [(key, report)] = done.entries[..] else {
            panic!("{} entries", done.entries.len());
        };
        assert_eq!(key, plan.key().unwrap());
        let bytes = self.artifacts.get(&report, 1 << 16).unwrap();
        let report: TrialReport = serde_json::from_slice(&bytes).unwrap();
        report.check(plan).unwrap();
        report
    }
}

#[test]
fn a_candidate_is_compared_with_float32() {
    let fixture = Fixture::new();
    let report = fixture.report(&fixture.plan());
    assert_eq!(report.slices, u64::from(SLICES));
    let Finding::Compared(agreement) = &report.candidates[0].finding else {
        panic!("{report:?}");
    };
    // Slices x modalities x strengths.
    assert_eq!(agreement.end_steps, u64::from(SLICES) * 2);
    assert!(agreement.end_steps_equal > 0, "{agreement:?}");
    // It strays, but not far.
    let strays = 1e-5..0.2;
    assert!(
        strays.contains(&agreement.divergence_error),
        "{agreement:?}"
    );
    assert!(agreement.cosine_error < 0.05, "{agreement:?}");
    assert!((0.5..=1.0).contains(&agreement.mask_iou), "{agreement:?}");
    assert!(agreement.dice_change.is_some() && agreement.auprc_change.is_some());
    // The same plan has the same report, to the last bit and whatever else the machine does.
    assert_eq!(fixture.report(&fixture.plan()), report);
}

#[test]
fn a_format_agrees_with_itself() {
    let fixture = Fixture::new();
    let plan = fixture.plan();
    let drain = std::sync::Arc::new(Drain::new(std::time::Duration::MAX));
    let progress = JobProgress::new(&drain);
    let trial = Trial {
        plan: &plan,
        slices: &fixture.slices,
        artifacts: &fixture.artifacts,
        progress: &progress,
    };
    let run = trial.prepare().unwrap();
    let mut cache = cpu();
    let Ok(outcome) = run.outcome(&mut cache, Precision::Fp32) else {
        panic!("no outcome");
    };
    let same = run.compare(&outcome, &outcome).unwrap();
    assert_eq!(same.end_steps_equal, same.end_steps);
    assert_eq!((same.divergence_error, same.cosine_error), (0.0, 0.0));
    assert_eq!(same.mask_iou, 1.0);
    assert_eq!(
        (same.dice_change, same.auprc_change),
        (Some(0.0), Some(0.0))
    );
}
