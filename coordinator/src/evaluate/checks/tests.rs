mod data;
mod decision;
mod maps;
mod settings;
mod table;

use anofpdm_common::calibration::CalibratedStrength;
use anofpdm_common::metrics::best_dice::BestDice;
use anofpdm_common::metrics::bootstrap::PatientSums;
use anofpdm_common::metrics::histogram_ap::{Resolution, ScoreHistogram};
use anofpdm_common::metrics::overlap::Overlap;
use anofpdm_common::metrics::setup::Setup;
use anofpdm_common::metrics::{MaskRuns, PackedRun};
use anofpdm_common::record::ModalityDecision;
use anofpdm_common::store::slices::Split;

use super::*;
use crate::evaluate::measured::{Draws, PatientNumbers};
use crate::evaluate::records::Scored;
use crate::evaluate::tally::Tally;
use crate::report::summary::{Localized, Row, SliceScore, Value};

const SPEC: &str = r#"
name = "small"
[data]
store = "store"
validation_slices = 100
test_slices = 48
[model.guided]
preset = "paper"
[model.guided.train]
steps = 800
ema = 0.99
[score]
steps = 30
methods = ["anofpdm-ddim"]
guidance = { select = [2, 8, 30] }
seeds = [0, 1, 2]
"#;

/// A run that gives no reason to doubt it, with everything there to be changed.
struct Fixture {
    spec: RunSpec,
    size: usize,
    component_area: u32,
    coverage: Coverage,
    audits: Audits,
    validation_slices: usize,
    test: Vec<TestSlice>,
    methods: Vec<MethodResult>,
    trivial: Vec<Measured>,
    calibration: BTreeMap<Encoding, Calibration>,
    classification: Vec<Classification>,
}

impl Fixture {
    fn new() -> Self {
        let patients = 12;
        let spec = RunSpec::parse(SPEC).unwrap();
        let dice = |level: f64| -> PatientSums {
            let patients = 0..patients;
            let of = |patient| level + 0.01 * f64::from(patient % 3);
            patients
                .map(|patient| (patient, (of(patient), 1)))
                .collect()
        };
        let rows = |name: &str, guidance, level: f64| -> Vec<Measured> {
            let row = |setup| Measured {
                row: row(name, guidance, setup, level),
                dice: dice(level),
                patients: PatientNumbers::default(),
                draws: Draws::default(),
            };
            Setup::ALL.map(row).into_iter().collect()
        };
        let mut tally = Tally::default();
        for truth in [4, 4, 4, 0] {
            tally.add(&slice(4, truth, 12, 0.5), 29, &[1.0]);
        }
        Self {
            spec,
            size: 128,
            component_area: 40,
            coverage: Coverage {
                planned: 144,
                scored: 144,
                ..Coverage::default()
            },
            audits: Audits::default(),
            validation_slices: 100,
            test: (0..48)
                .map(|index| TestSlice {
                    patient: index % patients,
                    unhealthy: index % 3 == 0,
                    brain_area: 5000,
                })
                .collect(),
            methods: vec![MethodResult {
                rows: rows("anofpdm-ddim", Some(8.0), 0.7),
                walk: Some((Encoding::Ddim, 8.0)),
                tally,
                scores: Vec::new(),
                cells: Vec::new(),
                pixels: ScoreHistogram::empty(Resolution::Coarse),
            }],
            trivial: rows("all-empty", None, 0.6),
            calibration: BTreeMap::from([(Encoding::Ddim, calibration([70, 90, 80]))]),
            classification: vec![
                classification(SliceScore::Cosine, 0.9, [0.8, 0.95], 0.85),
                classification(SliceScore::BrainArea, 0.7, [0.6, 0.8], 0.7),
            ],
        }
    }

    fn all(&self) -> Vec<Check> {
        checks(&Evidence {
            spec: &self.spec,
            size: self.size,
            component_area: self.component_area,
            coverage: self.coverage,
            audits: &self.audits,
            validation_slices: self.validation_slices,
            test: &self.test,
            methods: &self.methods,
            trivial: &self.trivial,
            calibration: &self.calibration,
            classification: &self.classification,
        })
    }

    fn check(&self, id: &str) -> Check {
        let mut all = self.all();
        let place = all.iter().position(|check| check.id == id).unwrap();
        all.swap_remove(place)
    }

    /// The ids of the checks that are not ok.
    fn failing(&self) -> Vec<String> {
        let all = self.all().into_iter();
        all.filter(|check| check.state != State::Ok)
            .map(|check| check.id)
            .collect()
    }
}

fn value(mean: f64, ci95: Option<[f64; 2]>) -> Value {
    Value::over_seeds(vec![Some(mean)], ci95)
}

fn row(method: &str, guidance: Option<f64>, setup: Setup, dice: f64) -> Row {
    Row {
        method: method.to_owned(),
        guidance,
        setup,
        seeds: vec![0, 1, 2],
        dice: value(dice, None),
        iou: value(dice, None),
        auprc: value(dice, None),
        auprc_batch: value(dice, None),
        auroc: Value::default(),
        fpr95: Value::default(),
        precision: Value::default(),
        recall: Value::default(),
        localized: Localized::default(),
        volume: None,
        slices: 48,
        patients: 12,
        best_dice: Some(BestDice {
            mean: dice + 0.05,
            threshold: Some(0.67),
            pooled: dice,
        }),
        pixel_labels: false,
        undefined_maps: 0,
        settings: None,
    }
}

fn slice(predicted: u32, truth: u32, end_step: u32, divergence: f32) -> Scored {
    Scored {
        overlap: Overlap {
            pixels: 100,
            predicted,
            truth,
            intersection: predicted.min(truth),
        },
        cosine: Some(0.9),
        mse_ratio: None,
        q_star: Some(1.48),
        modalities: vec![ModalityDecision {
            end_step,
            divergence,
            level_index: 100,
            defined: true,
        }],
        run: PackedRun::default(),
        mask: MaskRuns::default(),
    }
}

fn calibration(correct: [u32; 3]) -> Calibration {
    let strengths = [2.0, 8.0, 30.0].into_iter().zip(correct);
    let best = correct.iter().max().copied().unwrap();
    let strengths = strengths.map(|(guidance, correct)| CalibratedStrength {
        guidance,
        cos_threshold: 0.9,
        accuracy: f64::from(correct) / 100.0,
        ratio_threshold: 1.1,
        ratio_accuracy: f64::from(correct) / 100.0,
        max_divergence: vec![1.0],
        selected: correct == best,
    });
    Calibration {
        encoding: Encoding::Ddim,
        strengths: strengths.collect(),
    }
}

fn classification(score: SliceScore, area: f64, ci95: [f64; 2], accuracy: f64) -> Classification {
    let trivial = score.is_trivial();
    Classification {
        split: Split::Test,
        score,
        encoding: (!trivial).then(|| "ddim".to_owned()),
        guidance: (!trivial).then_some(8.0),
        decides: score == SliceScore::Cosine,
        seeds: vec![0, 1, 2],
        patients: 12,
        slices: 48,
        unhealthy: 16,
        threshold: Some(0.9),
        threshold_from: Some("calibration".to_owned()),
        accuracy: Some(accuracy),
        base_rate: Some(0.73),
        balanced_accuracy: None,
        sensitivity: None,
        specificity: None,
        auroc: value(area, Some(ci95)),
    }
}

#[test]
fn a_run_without_a_fault_has_every_check_and_none_fails() {
    let fixture = Fixture::new();
    assert_eq!(fixture.failing(), [""; 0]);
    let ids: Vec<String> = fixture.all().into_iter().map(|check| check.id).collect();
    let want = [
        "coverage",
        "patients",
        "slices",
        "seeds",
        "accuracy",
        "auroc",
        "position",
        "guidance-edge",
        "guidance-margin",
        "end-step",
        "divergence",
        "empty-masks",
        "threshold",
        "beats-trivial-mixed",
        "beats-trivial-unhealthy",
        "pixel-labels",
        "ema",
        "component-area",
        "median",
    ];
    assert_eq!(ids, want);
    let documented = include_str!("../../../../docs/formats.md");
    for id in want {
        assert!(
            documented.contains(&format!("| `{id}` |")),
            "docs/formats.md does not say what {id} is"
        );
    }
}
