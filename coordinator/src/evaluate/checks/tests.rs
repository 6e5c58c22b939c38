use anofpdm_common::metrics::best_dice::BestDice;
use anofpdm_common::metrics::bootstrap::PatientSums;
use anofpdm_common::metrics::overlap::Overlap;
use anofpdm_common::metrics::setup::Setup;
use anofpdm_common::record::ModalityDecision;
use anofpdm_common::store::slices::Split;

use super::*;
use crate::evaluate::calibrate::Strength;
use crate::evaluate::records::Scored;
use crate::evaluate::tally::Tally;
use crate::report::summary::{Row, SliceScore, Value};

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
        run: Vec::new(),
    }
}

fn calibration(correct: [u32; 3]) -> Calibration {
    let strengths = [2.0, 8.0, 30.0].into_iter().zip(correct);
    let best = correct.iter().max().copied().unwrap();
    let strengths = strengths.map(|(guidance, correct)| Strength {
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

#[test]
fn records_that_are_missing_or_disagree() {
    let mut fixture = Fixture::new();
    fixture.coverage.conflicts = 3;
    fixture.audits.distrusted = vec!["node7".to_owned()];
    let check = fixture.check("coverage");
    assert_eq!(check.state, State::Look);
    assert!(
        check.text.contains("3 of them") && check.text.contains("node7"),
        "{}",
        check.text
    );
    fixture.coverage.scored = 100;
    let check = fixture.check("coverage");
    assert_eq!((check.state, check.value), (State::No, Some(100.0 / 144.0)));
}

#[test]
fn patients_for_an_interval_and_for_a_test() {
    let with = |patients: u32| {
        let mut fixture = Fixture::new();
        for slice in &mut fixture.test {
            slice.patient %= patients;
        }
        fixture.check("patients")
    };
    let state = |patients| with(patients).state;
    assert_eq!(
        [1, 4, 5, 9, 10].map(state),
        [State::No, State::No, State::Look, State::Look, State::Ok]
    );
    assert!(
        with(1)
            .text
            .starts_with("1 test patient: no interval can be formed")
    );
    assert_eq!(with(4).value, Some(4.0));
}

#[test]
fn fewer_slices_and_seeds_than_a_table_needs() {
    let mut fixture = Fixture::new();
    fixture.spec.data.test_slices = 96;
    fixture.spec.score.seeds = vec![0];
    assert_eq!(fixture.failing(), ["slices", "seeds"]);
    let check = fixture.check("slices");
    assert_eq!(check.value, Some(0.5));
    assert!(
        check
            .text
            .starts_with("48 of 96 test slices that were asked for are there")
    );
}

#[test]
fn a_decision_at_the_base_rate_is_worth_nothing() {
    let mut fixture = Fixture::new();
    fixture.classification[0] = classification(SliceScore::Cosine, 0.47, [0.28, 0.58], 0.73);
    assert_eq!(fixture.failing(), ["accuracy", "auroc", "position"]);
    let accuracy = fixture.check("accuracy");
    assert_eq!((accuracy.state, accuracy.value), (State::No, Some(0.0)));
    assert!(
        accuracy
            .text
            .contains("ddim w = 8: 73.0 %, base rate 73.0 %"),
        "{}",
        accuracy.text
    );
    let auroc = fixture.check("auroc");
    assert_eq!(auroc.state, State::No);
    assert!(auroc.text.contains("0.47 [0.28, 0.58]"), "{}", auroc.text);
    assert!(!auroc.text.contains("mse-ratio"));
    // A little above both.
    fixture.classification[0] = classification(SliceScore::Cosine, 0.55, [0.45, 0.65], 0.74);
    assert_eq!(fixture.check("accuracy").state, State::Look);
    assert_eq!(fixture.check("auroc").state, State::Look);
    // Of two strengths one that is good.
    fixture.classification.push(Classification {
        guidance: Some(2.0),
        ..classification(SliceScore::Cosine, 0.9, [0.8, 0.95], 0.85)
    });
    assert_eq!(fixture.check("accuracy").state, State::Look);
}

#[test]
fn the_other_number_is_named_where_it_is_better() {
    let mut fixture = Fixture::new();
    fixture.classification[0] = classification(SliceScore::Cosine, 0.45, [0.3, 0.6], 0.74);
    for (score, area) in [(SliceScore::Cosine, 0.41), (SliceScore::MseRatio, 0.92)] {
        fixture.classification.push(Classification {
            split: Split::Validation,
            ..classification(score, area, [0.0, 1.0], 0.73)
        });
    }
    let text = fixture.check("auroc").text;
    assert!(
        text.contains(
            "has 0.92 where the cosine has 0.41 (ddim w = 8): [score] decision = \"mse-ratio\""
        ),
        "{text}"
    );
}

#[test]
fn slices_of_one_kind_have_no_area_to_judge() {
    let mut fixture = Fixture::new();
    fixture.classification[0].auroc = Value::over_seeds(vec![None], None);
    let check = fixture.check("auroc");
    assert_eq!((check.state, check.value), (State::Look, None));
    assert!(check.text.contains("undefined"));
}

#[test]
fn a_strength_at_the_edge_or_chosen_by_a_slice() {
    let mut fixture = Fixture::new();
    fixture.calibration = BTreeMap::from([(Encoding::Ddim, calibration([84, 70, 83]))]);
    assert_eq!(fixture.failing(), ["guidance-edge", "guidance-margin"]);
    let edge = fixture.check("guidance-edge");
    assert_eq!(edge.value, Some(2.0));
    assert!(
        edge.text.contains("ddim: w = 2, the smallest of 3"),
        "{}",
        edge.text
    );
    let margin = fixture.check("guidance-margin");
    assert_eq!(margin.value, Some(1.0));
    assert!(
        margin.text.contains("ddim: w = 2 by 1 slice)"),
        "{}",
        margin.text
    );
    // A list is scored as it is: nothing was chosen.
    fixture.spec.score.guidance = anofpdm_common::spec::Guidance::List(vec![2.0]);
    assert!(
        fixture
            .all()
            .iter()
            .all(|check| !check.id.starts_with("guidance"))
    );
}

#[test]
fn a_walk_that_is_cut_off_and_a_threshold_that_loses_the_map() {
    let mut fixture = Fixture::new();
    let mut tally = Tally::default();
    for _ in 0..10 {
        tally.add(&slice(0, 4, 29, 2.0), 29, &[1.0]);
    }
    fixture.methods[0].tally = tally;
    for measured in &mut fixture.methods[0].rows {
        measured.row.best_dice = Some(BestDice {
            mean: 0.9,
            threshold: Some(0.67),
            pooled: 0.79,
        });
    }
    assert_eq!(
        fixture.failing(),
        ["end-step", "divergence", "empty-masks", "threshold"]
    );
    assert_eq!(fixture.check("end-step").value, Some(1.0));
    let empty = fixture.check("empty-masks");
    assert_eq!(empty.state, State::No);
    // Level 0.90: a tenth of the slice lies above its own quantile.
    assert!(
        empty.text.contains("quantile_of = \"filtered\"") && empty.text.contains("about 10.0 %"),
        "{}",
        empty.text
    );
    let threshold = fixture.check("threshold");
    assert!((threshold.value.unwrap() - 0.2).abs() < 1e-12);
    assert!(
        threshold
            .text
            .contains("DICE 70.0, best 90.0 at 0.670 where the median Q* is 1.480"),
        "{}",
        threshold.text
    );
    // A map at chance is best where the whole brain is called anomalous: that is not the threshold's fault.
    fixture.trivial.extend(Setup::ALL.map(|setup| Measured {
        row: row("all-brain", None, setup, 0.8),
        dice: PatientSums::new(),
    }));
    let threshold = fixture.check("threshold");
    assert_eq!(threshold.state, State::Ok);
    assert!(
        threshold.text.contains("the whole brain: 80.0"),
        "{}",
        threshold.text
    );
    fixture.spec.score.quantile_of = anofpdm_common::anofpdm::QuantileOf::Filtered;
    assert!(!fixture.check("empty-masks").text.contains("quantile_of"));
}

#[test]
fn a_method_must_beat_the_best_trivial_row_on_the_same_patients() {
    let mut fixture = Fixture::new();
    let check = fixture.check("beats-trivial-mixed");
    assert_eq!(check.state, State::Ok);
    assert!(
        check.text.contains("10.0 [10.0, 10.0]") && check.text.contains("all-empty 60.0"),
        "{}",
        check.text
    );
    // Half of the patients gain much, half lose nearly as much.
    for (patient, (sum, _)) in &mut fixture.methods[0].rows[0].dice {
        *sum = if patient % 2 == 0 { 1.0 } else { 0.3 };
    }
    assert_eq!(fixture.check("beats-trivial-mixed").state, State::Look);
    fixture.methods[0].rows[1].row.dice = value(0.6, None);
    fixture.methods[0].rows[1].dice = fixture.trivial[1].dice.clone();
    let check = fixture.check("beats-trivial-unhealthy");
    assert_eq!((check.state, check.value), (State::No, Some(0.0)));
    assert!(check.text.contains("0.0 [0.0, 0.0]"), "{}", check.text);
    // One patient: no interval.
    for rows in [&mut fixture.methods[0].rows, &mut fixture.trivial] {
        for measured in rows {
            measured.dice.retain(|patient, _| *patient == 0);
        }
    }
    let check = fixture.check("beats-trivial-mixed");
    assert_eq!(check.state, State::Look);
    assert!(check.text.contains("without an interval"), "{}", check.text);
}

#[test]
fn a_method_with_pixel_labels_is_named_and_does_not_stand_for_the_others() {
    let mut fixture = Fixture::new();
    let tuned = Fixture::new().methods.swap_remove(0);
    fixture.methods.push(tuned);
    for measured in &mut fixture.methods[1].rows {
        measured.row.method = "andi".to_owned();
        measured.row.guidance = None;
        measured.row.pixel_labels = true;
        measured.row.dice = value(0.95, None);
    }
    assert_eq!(fixture.failing(), ["pixel-labels"]);
    let check = fixture.check("pixel-labels");
    assert!(
        check.value == Some(1.0) && check.text.contains("(andi)"),
        "{}",
        check.text
    );
    assert!(
        fixture
            .check("beats-trivial-mixed")
            .text
            .contains("anofpdm-ddim w = 8 is 70.0")
    );
}

#[test]
fn settings_made_for_other_data() {
    let mut fixture = Fixture::new();
    fixture.size = 48;
    let train = fixture
        .spec
        .model
        .get_mut("guided")
        .unwrap()
        .train
        .as_mut()
        .unwrap();
    train.ema = 0.9999;
    assert_eq!(fixture.failing(), ["ema", "component-area", "median"]);
    let area = fixture.check("component-area");
    assert!((area.value.unwrap() - 40.0 / 2304.0).abs() < 1e-12);
    assert!(area.text.contains("component_area = 6 is"), "{}", area.text);
    assert!(
        fixture.check("median").text.contains("10.4 %"),
        "{}",
        fixture.check("median").text
    );
    assert!(
        fixture
            .check("ema")
            .text
            .starts_with("[model.guided.train]: 800 steps are fewer")
    );
    assert!((fixture.check("ema").value.unwrap() - 800.0 * 1e-4 / 3.0).abs() < 1e-9);
    fixture.size = 64;
    assert_eq!(fixture.check("median").state, State::Ok);
    fixture.spec.model.get_mut("guided").unwrap().checkpoint = Some("w.safetensors".into());
    assert_eq!(
        (fixture.check("ema").state, fixture.check("ema").value),
        (State::Ok, None)
    );
}
