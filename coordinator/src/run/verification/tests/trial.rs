//! The answer to a trial of number formats.

use anofpdm_common::plan::{Agreement, Candidate, Finding, Task, TrialPlan, TrialReport};

use super::*;

const EXACT: Agreement = Agreement {
    // Five slices of one modality at one strength.
    end_steps: 5,
    end_steps_equal: 5,
    divergence_error: 0.001,
    cosine_error: 1e-5,
    mask_iou: 0.995,
    dice_change: Some(0.001),
    auprc_change: None,
};

struct Scene {
    _folder: tempfile::TempDir,
    artifacts: ArtifactStore,
    plan: TrialPlan,
    active: ActivePlan,
    job: Job,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = ArtifactStore::open(folder.path()).unwrap();
        let mut forward = forward();
        forward.stage = Stage::Calibrate;
        forward.trajectories.truncate(1);
        forward.cells.truncate(1);
        let plan = TrialPlan {
            forward,
            candidates: vec![Precision::Fp16, Precision::Tf32],
            with_truth: true,
        };
        let artifact = Plan::Trial(plan.clone()).to_json("run").unwrap();
        let digest = artifacts.put(&artifact).unwrap();
        Self {
            _folder: folder,
            artifacts,
            active: ActivePlan::Trial(digest, Box::new(plan.clone())),
            plan,
            job: Job {
                stage: Stage::Calibrate,
                plan: digest,
                task: Task::Trial,
            },
        }
    }

    fn report(&self, findings: [Finding; 2]) -> TrialReport {
        let candidates = self.plan.candidates.iter().zip(findings);
        TrialReport {
            slices: 5,
            candidates: candidates
                .map(|(precision, finding)| Candidate {
                    precision: *precision,
                    finding,
                })
                .collect(),
        }
    }

    /// What is made of these bytes when a worker delivers them.
    fn answered(&self, report: &[u8], evaluations: u64) -> Result<ChosenPrecision, String> {
        let report = self.artifacts.put(report).unwrap();
        let manifest = Manifest {
            entries: vec![(self.plan.key().unwrap(), report)],
        };
        let completion = Completion {
            manifest: self
                .artifacts
                .put(&wire::encode(&manifest).unwrap())
                .unwrap(),
            evaluations,
            padding: 0,
            device_millis: 1,
            millijoules: None,
        };
        trial(&self.active, &self.job, &completion, &self.artifacts)
            .map_err(|rejection| rejection.to_string())
    }

    fn said(&self, report: &TrialReport) -> Result<ChosenPrecision, String> {
        self.answered(&serde_json::to_vec(report).unwrap(), 0)
    }
}

#[test]
fn the_first_candidate_that_agrees_is_chosen() {
    let scene = Scene::new();
    let strayed = Agreement {
        end_steps_equal: 4,
        ..EXACT
    };
    let both = scene.report([Finding::Compared(EXACT), Finding::Compared(EXACT)]);
    let chosen = scene.said(&both).unwrap();
    assert_eq!(chosen.precision, Precision::Fp16);
    assert!(chosen.report.is_some());
    assert_eq!(
        scene.said(&both).unwrap(),
        chosen,
        "the same answer, the same choice"
    );
    let second = scene.report([Finding::Compared(strayed), Finding::Compared(EXACT)]);
    assert_eq!(scene.said(&second).unwrap().precision, Precision::Tf32);
    let overflow = Finding::NotFinite {
        what: "M of slice 0".to_owned(),
    };
    let none = scene.report([overflow, Finding::Compared(strayed)]);
    let chosen = scene.said(&none).unwrap();
    assert_eq!(chosen.precision, Precision::Fp32);
    assert!(
        chosen.reason.contains("fp16 does not hold the numbers"),
        "{}",
        chosen.reason
    );
}

#[test]
fn a_report_of_something_else_is_refused() {
    let scene = Scene::new();
    let good = scene.report([Finding::Compared(EXACT), Finding::Compared(EXACT)]);
    type Spoil = fn(&mut TrialReport);
    let spoil: [(&str, Spoil); 4] = [
        ("6 slices, not 5", |r| r.slices = 6),
        ("other candidates", |r| r.candidates.swap(0, 1)),
        ("other candidates", |r| r.candidates.truncate(1)),
        ("of 6 end steps", |r| {
            r.candidates[0].finding = Finding::Compared(Agreement {
                end_steps: 6,
                ..EXACT
            });
        }),
    ];
    for (part, spoil) in spoil {
        let mut bad = good.clone();
        spoil(&mut bad);
        let refused = scene.said(&bad).unwrap_err();
        assert!(refused.contains(part), "{part}: {refused}");
    }
    assert!(scene.answered(b"{}", 0).is_err());
    let good = serde_json::to_vec(&good).unwrap();
    assert!(scene.answered(&good, 0).is_ok());
    // A trial is no part of what a run computes.
    assert!(scene.answered(&good, 12).is_err());
}
