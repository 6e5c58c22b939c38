use super::*;
use crate::ids::Digest;
use crate::method::{Encoding, MapKind};
use crate::network::NetworkConfig;
use crate::semantics::Semantics;
use crate::spec::{FigureSpec, Precision, Respacing};
use crate::store::scaling::Scaling;
use crate::work::{NetworkPlan, SliceRef, Trajectory};

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
        profile: NumericProfile {
            device: "cpu".to_owned(),
            precision: Precision::Fp32,
            libtorch: "2.9.0".to_owned(),
            cpu_capability: "AVX2".to_owned(),
            threads: 1,
        },
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
        trajectories: vec![Trajectory {
            network: 0,
            encoding: Encoding::Ddim,
            seed: 0,
        }],
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
                },
            },
        ],
        batch_slices: 2,
        batches: vec![vec![SliceRef {
            subject: 0,
            position: 3,
        }]],
    }
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
    let spoil: [(&str, Spoil); 19] = [
        ("stage", |p| p.stage = Stage::Train),
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

fn mask(plan: &mut ForwardPlan) -> (&mut Vec<f32>, &mut FigureSpec) {
    match &mut plan.cells[1].output {
        CellOutput::Mask {
            max_divergence,
            figures,
            ..
        } => (max_divergence, figures),
        CellOutput::Traces => panic!("a mask was expected"),
    }
}
