//! A run with stores of its own, and its plans.

use std::path::Path;

use anofpdm_common::anofpdm::MaskRule;
use anofpdm_common::ids::Digest;
use anofpdm_common::method::Encoding;
use anofpdm_common::network::{Arch, Heads, NetworkConfig};
use anofpdm_common::plan::{
    BatchRun, Cell, CellOutput, DataPlan, ExhibitPlan, ForwardPlan, ForwardWalk, GangRank, Job,
    NetworkPlan, NumericProfile, Plan, SliceRef, Stage, Task, TrainPlan, Trajectory,
};
use anofpdm_common::role::Role;
use anofpdm_common::semantics::Semantics;
use anofpdm_common::spec::{Augment, Devices, Precision, Respacing, TrainPrecision, TrainSpec};
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::store::scaling::Scaling;
use anofpdm_common::store::slices::{
    AxisMap, SourceGrid, Split, StoreWriter, SubjectData, SubjectRecord,
};

pub(super) const SIZE: usize = 8;
pub(super) const STEPS: u32 = 40;

pub(super) fn profile() -> NumericProfile {
    NumericProfile {
        device: "fake".to_owned(),
        libtorch: "2.11.0".to_owned(),
        cpu_capability: "avx2".to_owned(),
        threads: 1,
    }
}

pub(super) fn network() -> NetworkConfig {
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
        use_scale_shift_norm: true,
    }
}

/// A run of its own: a slice store and an artifact store below `root`.
pub(super) struct Run {
    pub(super) artifacts: ArtifactStore,
    pub(super) data: DataPlan,
}

impl Run {
    pub(super) fn new(root: &Path, name: &str, brightness: f32) -> Self {
        let store = root.join("stores").join(name);
        let writer = StoreWriter::create(&store, &["flair".to_owned()], SIZE).unwrap();
        let axis = |axis| AxisMap {
            axis,
            flipped: false,
        };
        let slices = 4;
        let data = SubjectData {
            notices: Vec::new(),
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
                header: None,
            },
        };
        let written = writer
            .write_subject("a", Digest::of(name.as_bytes()), &data)
            .unwrap();
        let record = SubjectRecord {
            id: "a".to_owned(),
            patient: None,
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
    pub(super) fn forward_plan(&self) -> ForwardPlan {
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
            mask_rule: MaskRule::default(),
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
            exhibits: ExhibitPlan::default(),
        }
    }

    pub(super) fn train_plan(&self) -> TrainPlan {
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
                augment: Augment::None,
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

    pub(super) fn job(&self, plan: &Plan) -> Job {
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
                task: Task::Batches(BatchRun {
                    first: 0,
                    count: 2,
                    cells: vec![0],
                }),
            },
        }
    }

    pub(super) fn forward(&self) -> Job {
        self.job(&Plan::Forward(self.forward_plan()))
    }

    pub(super) fn training(&self) -> Job {
        self.job(&Plan::Train(self.train_plan()))
    }
}
