//! Every spec in `examples/` is one the programs accept, and the paper's set-ups cost what the paper's method costs.

use std::collections::BTreeMap;
use std::path::Path;

use anofpdm_common::baseline::{Baseline, Setting};
use anofpdm_common::method::{Encoding, Method};
use anofpdm_common::plan::{ExhibitPlan, evaluations_per_slice};
use anofpdm_common::role::Role;
use anofpdm_common::semantics::Semantics;
use anofpdm_common::spec::{Augment, RunSpec, published_thresholds};
use anofpdm_coordinator::plan::disk::SliceRoom;
use anofpdm_coordinator::plan::estimate::{Slices, estimate};

/// All examples, by file name.
fn examples() -> BTreeMap<String, RunSpec> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let spec = RunSpec::parse(&std::fs::read_to_string(&path).unwrap())
                .unwrap_or_else(|error| panic!("examples/{name}: {error}"));
            (name, spec)
        })
        .collect()
}

#[test]
fn every_example_is_a_spec_without_warnings() {
    let examples = examples();
    for name in [
        "atlas2.toml",
        "atlas2-table1.toml",
        "brats13-small.toml",
        "brats13.toml",
        "brats21.toml",
        "brats21-table1.toml",
        "table1-brats13.toml",
        "table1-small.toml",
    ] {
        assert!(examples.contains_key(name), "examples/{name} is gone");
    }
    for (name, spec) in examples {
        assert_eq!(
            name,
            format!("{}.toml", spec.name),
            "a run is named as its file"
        );
        for train in spec.model.values().filter_map(|model| model.train.as_ref()) {
            assert_eq!(train.ema_warning(), None, "examples/{name}");
            assert_eq!(
                train.devices.min(),
                1,
                "examples/{name}: one device must do"
            );
        }
    }
}

/// Two training patients are few: `plan` would recommend it.
#[test]
fn the_small_real_sets_are_flipped_and_the_published_set_ups_are_not() {
    for (name, spec) in examples() {
        let expected = if name.contains("brats13") {
            Augment::Flip
        } else {
            Augment::None
        };
        for train in spec.model.values().filter_map(|model| model.train.as_ref()) {
            assert_eq!(train.augment, expected, "examples/{name}");
        }
    }
}

/// Slices, scored modalities, training steps, strength (docs/spec.md).
const PAPER: [(&str, u64, &[&str], u64, f64); 2] = [
    ("brats21.toml", 10_000, &["flair", "t2"], 210_000, 2.0),
    ("atlas2.toml", 4_000, &["t1"], 290_000, 30.0),
];

#[test]
fn the_papers_set_ups_are_the_papers() {
    let examples = examples();
    for (name, test_slices, scored, steps, guidance) in PAPER {
        let spec = &examples[name];
        assert_eq!(spec.data.scored, scored, "{name}");
        assert_eq!(spec.data.validation_slices, 1_000, "{name}");
        assert_eq!(spec.data.test_slices as u64, test_slices, "{name}");
        assert_eq!(spec.score.semantics, Semantics::PaperClipped, "{name}");
        assert_eq!(spec.score.seeds, [0, 1, 2], "{name}");
        assert!(
            spec.score.guidance.candidates().contains(&guidance),
            "{name}"
        );

        let model = &spec.model["guided"];
        assert_eq!(model.train.as_ref().unwrap().steps, steps, "{name}");
        let network = model.network(Role::Guided, 128, 4).unwrap();
        assert_eq!(network.num_channels, 128, "{name}");
        assert_eq!(network.channel_mult, [1, 1, 2, 3, 4], "{name}");
        assert_eq!(network.attention_downsample_rates, [4, 8, 16], "{name}");
    }
}

#[test]
fn a_slice_of_the_papers_set_ups_takes_1200_evaluations() {
    let examples = examples();
    for (name, test_slices, ..) in PAPER {
        let spec = &examples[name];
        let score = &spec.score;
        assert_eq!(
            evaluations_per_slice(score.semantics, Encoding::Ddim, score.steps),
            1_200,
            "{name}: 2 a step, whatever the number of strengths and methods"
        );
        let slices = Slices {
            train: 100_000,
            validation: 1_000,
            test: test_slices,
        };
        let evaluations = estimate(
            spec,
            slices,
            &SliceRoom::default(),
            &ExhibitPlan::default(),
            &BTreeMap::new(),
        )
        .network_evaluations;
        // Both encodings are walked: once for calibration, once a seed for scoring.
        assert_eq!(evaluations.by_stage.calibrate, 2 * 1_200 * 1_000, "{name}");
        assert_eq!(
            evaluations.by_stage.score,
            2 * 1_200 * 3 * test_slices,
            "{name}"
        );
        assert!(evaluations.without_sharing > evaluations.total, "{name}");
    }
}

/// A baseline with its published steps and strength.
type Published = (Baseline, u32, f64);

/// A table of all methods, and the settings published for it: `(S, strength)` of the port.
const TABLES: [(&str, &str, [Published; 4]); 2] = [
    (
        "brats21-table1.toml",
        "brats21.toml",
        [
            (Baseline::DdimClfFree, 450, 1.1),
            (Baseline::DdimClassifier, 200, 1000.0),
            (Baseline::AnoddpmSimplex, 200, 0.0),
            (Baseline::AnoddpmGaussian, 300, 0.0),
        ],
    ),
    (
        "atlas2-table1.toml",
        "atlas2.toml",
        [
            (Baseline::DdimClfFree, 300, 1.3),
            (Baseline::DdimClassifier, 200, 500.0),
            (Baseline::AnoddpmSimplex, 200, 0.0),
            (Baseline::AnoddpmGaussian, 100, 0.0),
        ],
    ),
];

#[test]
fn the_whole_tables_have_every_method_at_its_published_setting() {
    let examples = examples();
    for (name, alone, settings) in TABLES {
        let (spec, alone) = (&examples[name], &examples[alone]);
        assert_eq!(spec.score.methods, Method::ALL, "{name}");
        for (baseline, noise_scale, strength) in settings {
            let grid = spec.score.baseline.grid(baseline, spec.score.respacing);
            let setting = Setting {
                noise_scale,
                strength,
            };
            assert_eq!(grid.settings, [setting], "{name}: {baseline}");
            assert_eq!(grid.thresholds, published_thresholds(), "{name}");
        }
        // The rows of AnoFPDM are those of the example that has no others.
        assert_eq!(spec.data, alone.data, "{name}");
        assert_eq!(spec.score.guidance, alone.score.guidance, "{name}");
        let guided = |spec: &RunSpec| spec.model["guided"].train.clone();
        assert_eq!(guided(spec), guided(alone), "{name}");
    }
    for name in ["table1-small.toml", "table1-brats13.toml"] {
        assert_eq!(examples[name].score.methods, Method::ALL, "{name}");
    }
}
