use super::*;
use crate::anofpdm::{MaskRule, QuantileOf};
use crate::baseline::{Baseline, Clip, Sampler};
use crate::ids::Digest;
use crate::method::{Encoding, MapKind};
use crate::metrics::RunDetail;
use crate::network::NetworkConfig;
use crate::plan::{
    ExhibitPlan, ForwardWalk, NetworkPlan, Postprocessing, RestorationWalk, SliceRef, Trajectory,
};
use crate::semantics::Semantics;
use crate::spec::{FigureSpec, Precision, Respacing};
use crate::store::scaling::Scaling;

/// Makes a sound plan unsound.
type Spoil = fn(&mut ForwardPlan);

fn plan() -> ForwardPlan {
    let config: NetworkConfig = serde_json::from_str(
        r#"{"image_size": 8, "in_channels": 2, "num_channels": 32, "channel_mult": [1, 2],
            "num_res_blocks": 1, "attention_downsample_rates": [], "num_heads": 1, "num_classes": 2}"#,
    )
    .unwrap();
    ForwardPlan {
        stage: Stage::Score,
        semantics: Semantics::Paper,
        steps: 3,
        respacing: Respacing::Steps(5),
        component_area: 0,
        mask_rule: MaskRule::default(),
        profile: NumericProfile {
            device: "cpu".to_owned(),
            libtorch: "2.9.0".to_owned(),
            cpu_capability: "AVX2".to_owned(),
            threads: 1,
        },
        precision: Precision::Fp32,
        data: DataPlan {
            digest: Digest::of(b"data"),
            scaling: Scaling::Percentile,
            scored: vec![0, 1],
            subjects: vec!["a".to_owned()],
        },
        networks: vec![NetworkPlan {
            name: "main".to_owned(),
            config,
            weights: Digest::of(b"weights"),
        }],
        trajectories: vec![Trajectory::Forward(ForwardWalk {
            network: 0,
            encoding: Encoding::Ddim,
            seed: 0,
        })],
        cells: vec![
            Cell {
                trajectory: 0,
                guidance: 2.0,
                output: CellOutput::Traces,
            },
            Cell {
                trajectory: 0,
                guidance: 2.0,
                output: CellOutput::Mask {
                    map: MapKind::Aam,
                    max_divergence: vec![1.0, 2.0],
                    figures: FigureSpec::default(),
                    mse_ratio: false,
                    scores: RunDetail::Exact,
                },
            },
        ],
        batch_slices: 2,
        batches: vec![vec![SliceRef {
            subject: 0,
            position: 3,
        }]],
        exhibits: ExhibitPlan::default(),
    }
}

/// The plan with a baseline beside AnoFPDM: trajectory 1, cells 2 (a grid of thresholds) and 3 (a mask).
fn plan_with_baseline() -> ForwardPlan {
    let mut plan = plan();
    plan.trajectories
        .push(Trajectory::Restoration(RestorationWalk {
            baseline: Baseline::AnoddpmGaussian,
            sampler: Sampler::Ancestral,
            clip: Clip::Fixed,
            diffusion_steps: 1_000,
            networks: vec![0],
            seed: Some(0),
        }));
    for output in [
        CellOutput::Overlaps {
            noise_scale: 5,
            thresholds: vec![0.1, 0.2],
        },
        CellOutput::Restored {
            noise_scale: 5,
            postprocessing: Postprocessing::Native,
            scores: RunDetail::Exact,
        },
    ] {
        plan.cells.push(Cell {
            trajectory: 1,
            guidance: 0.0,
            output,
        });
    }
    plan
}

fn read(plan: ForwardPlan) -> Result<Plan, PlanError> {
    // Written without the check, as a hostile hand would.
    let plan = serde_json::to_value(Plan::Forward(plan)).unwrap();
    let artifact = serde_json::json!({ "run": "run", "plan": plan });
    let bytes = serde_json::to_vec(&artifact).unwrap();
    Plan::from_json(&bytes)
}

#[test]
fn a_sound_plan_is_read_back() {
    let sound = Plan::Forward(plan());
    let bytes = sound.to_json("run").unwrap();
    assert_eq!(Plan::from_json(&bytes).unwrap(), sound);
    assert_ne!(
        bytes,
        sound.to_json("other").unwrap(),
        "the same plan of two runs is two artifacts"
    );
}

#[test]
fn a_plan_with_a_number_nobody_means_is_refused_on_both_sides() {
    let spoil: [(&str, Spoil); 22] = [
        ("median of 4", |p| p.mask_rule.median = 4),
        ("median of 17", |p| p.mask_rule.median = 17),
        ("stage", |p| p.stage = Stage::Train),
        ("a mask in calibration", |p| p.stage = Stage::Calibrate),
        ("no steps", |p| p.steps = 0),
        ("more steps than kept", |p| p.steps = 6),
        ("no channels", |p| p.data.scored.clear()),
        ("channels", |p| p.data.scored = vec![0; 65]),
        ("channel", |p| p.data.scored[0] = 64),
        ("network", |p| p.networks.clear()),
        ("architecture", |p| p.networks[0].config.num_channels = -32),
        ("trajectory", |p| p.trajectories.clear()),
        ("trajectory of a cell", |p| p.cells[0].trajectory = 7),
        ("largest divergences", |p| mask(p).0.truncate(1)),
        ("largest divergence", |p| mask(p).0[0] = f32::MAX.powi(2)),
        ("ratios", |p| mask(p).1.end_step_ratios = vec![1.0; 33]),
        ("thresholds", |p| {
            mask(p).1.fixed_thresholds = vec![1.0; 129]
        }),
        ("no batch size", |p| p.batch_slices = 0),
        ("batch size", |p| p.batch_slices = 4_097),
        ("empty batch", |p| p.batches.push(Vec::new())),
        ("full batch", |p| {
            let slice = p.batches[0][0];
            p.batches[0] = vec![slice; 3];
        }),
        ("subject", |p| p.batches[0][0].subject = 1),
    ];
    for (what, spoil) in spoil {
        let mut bad = plan();
        spoil(&mut bad);
        assert!(read(bad.clone()).is_err(), "{what} was read");
        assert!(
            Plan::Forward(bad).to_json("run").is_err(),
            "{what} was written"
        );
    }
}

#[test]
fn a_baseline_is_asked_for_what_it_can_do() {
    let sound = Plan::Forward(plan_with_baseline());
    assert_eq!(
        Plan::from_json(&sound.to_json("run").unwrap()).unwrap(),
        sound
    );
    let spoil: [(&str, Spoil); 10] = [
        ("a mask of AnoFPDM", |p| p.cells[1].trajectory = 1),
        ("a restoration of AnoFPDM", |p| p.cells[2].trajectory = 0),
        ("a schedule nobody trains on", |p| {
            walk(p).diffusion_steps = 0
        }),
        ("a network too many", |p| walk(p).networks.push(0)),
        ("network", |p| walk(p).networks[0] = 1),
        ("no seed", |p| walk(p).seed = None),
        ("a seed without noise", |p| {
            walk(p).baseline = Baseline::DdimClfFree;
        }),
        ("native rule", |p| walk(p).baseline = Baseline::Andi),
        ("noise scale", |p| {
            p.cells[2].output = CellOutput::Overlaps {
                noise_scale: 6,
                thresholds: vec![0.1],
            };
        }),
        ("thresholds", |p| {
            p.cells[2].output = CellOutput::Overlaps {
                noise_scale: 5,
                thresholds: vec![0.1, 0.1],
            };
        }),
    ];
    for (what, spoil) in spoil {
        let mut bad = plan_with_baseline();
        spoil(&mut bad);
        assert!(read(bad).is_err(), "{what} was read");
    }
}

#[test]
fn keys_of_anofpdm_stay_what_they_were() {
    let alone = plan();
    let beside = plan_with_baseline();
    for cell in 0..2 {
        assert_eq!(
            alone.record_key(0, cell).unwrap(),
            beside.record_key(0, cell).unwrap()
        );
    }
    // Since schema 2 of records: finished runs keep their records.
    assert_eq!(alone.record_key(0, 1).unwrap().short(), "ba0d11b9cf09");
}

/// What a spec leaves as it was published is in no key; what it changes is in the keys of what it moves.
#[test]
fn another_way_to_the_mask_is_another_key() {
    let keys = |rule: MaskRule| {
        let mut plan = plan_with_baseline();
        plan.mask_rule = rule;
        [0, 1, 3].map(|cell| plan.record_key(0, cell).unwrap())
    };
    let published = MaskRule::default();
    let [traces, mask, restored] = keys(published);
    let filtered = MaskRule {
        quantile_of: QuantileOf::Filtered,
        ..published
    };
    let [t, m, r] = keys(filtered);
    assert_eq!((t, r), (traces, restored), "a baseline has no quantile");
    assert_ne!(m, mask);
    let smaller = MaskRule {
        median: 3,
        ..published
    };
    let [t, other, r] = keys(smaller);
    assert_eq!(t, traces, "sequences are not filtered");
    assert!(other != mask && other != m && r != restored);
    assert!(
        !serde_json::to_string(&plan())
            .unwrap()
            .contains("mask_rule")
    );

    let mut rated = plan();
    let CellOutput::Mask { mse_ratio, .. } = &mut rated.cells[1].output else {
        panic!("a mask was expected");
    };
    *mse_ratio = true;
    assert_ne!(rated.record_key(0, 1).unwrap(), mask);
}

#[test]
fn everything_that_decides_a_restoration_is_in_its_key() {
    let key = |plan: &ForwardPlan| plan.record_key(0, 3).unwrap();
    let plan = plan_with_baseline();
    let change: [(&str, Spoil); 9] = [
        ("method", |p| walk(p).baseline = Baseline::AnoddpmSimplex),
        ("sampler", |p| walk(p).sampler = Sampler::Ddim),
        ("clip", |p| walk(p).clip = Clip::Dynamic),
        ("schedule", |p| walk(p).diffusion_steps = 4_000),
        ("seed", |p| walk(p).seed = Some(1)),
        ("weights", |p| p.networks[0].weights = Digest::of(b"other")),
        ("semantics", |p| p.semantics = Semantics::Reference),
        ("strength", |p| p.cells[3].guidance = 1.0),
        ("noise scale", |p| {
            p.cells[3].output = CellOutput::Restored {
                noise_scale: 4,
                postprocessing: Postprocessing::Native,
                scores: RunDetail::Exact,
            };
        }),
    ];
    for (what, change) in change {
        let mut other = plan.clone();
        change(&mut other);
        assert_ne!(key(&plan), key(&other), "{what}");
    }
    // Only AnoFPDM counts its steps.
    let mut other = plan.clone();
    other.steps = 2;
    assert_eq!(key(&plan), key(&other));
}

#[test]
fn a_shard_takes_what_its_cells_share_once() {
    let plan = plan_with_baseline();
    assert_eq!(plan.passes(&[0, 1]).unwrap().total(), 2 * 3);
    assert_eq!(plan.passes(&[2]).unwrap().total(), 5);
    // The same restoration, looked at twice.
    assert_eq!(plan.passes(&[2, 3]).unwrap().total(), 5);
    assert!(plan.passes(&[1, 2]).is_err());
    assert!(plan.passes(&[]).is_err());
}

fn walk(plan: &mut ForwardPlan) -> &mut RestorationWalk {
    match &mut plan.trajectories[1] {
        Trajectory::Restoration(walk) => walk,
        Trajectory::Forward(_) => panic!("a restoration was expected"),
    }
}

fn mask(plan: &mut ForwardPlan) -> (&mut Vec<f32>, &mut FigureSpec) {
    match &mut plan.cells[1].output {
        CellOutput::Mask {
            max_divergence,
            figures,
            ..
        } => (max_divergence, figures),
        _ => panic!("a mask was expected"),
    }
}
