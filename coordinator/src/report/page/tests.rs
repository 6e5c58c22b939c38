//! A page says what `summary.json` says, and asks for nothing else.

use std::collections::BTreeMap;

use anofpdm_common::metrics::best_dice::BestDice;
use anofpdm_common::spec::RunSpec;
use anofpdm_common::store::slices::Split;

use super::*;
use crate::report::figures::samples;
use crate::report::figures::sizes::tests::table;
use crate::report::summary::{
    CalibrationRow, Check, Classification, MethodCost, SliceScore, State, TuningRow, Value,
};
use crate::report::tests::{SPEC, summary};
use crate::report::training::{Curves, LossPoint};

/// Something in every section.
pub(crate) fn full() -> Summary {
    let mut summary = summary();
    summary.run = "a<b> \"run\"".to_owned();
    for row in &mut summary.rows {
        row.best_dice = Some(BestDice {
            mean: 0.77,
            threshold: Some(0.1),
            pooled: 0.79,
        });
    }
    summary.checks = [
        ("coverage", State::Ok),
        ("empty-masks", State::No),
        ("auroc", State::Look),
    ]
    .map(|(id, state)| Check {
        id: id.to_owned(),
        state,
        value: Some(0.3125),
        text:
            "what was <found>, at some length, so that the line has to be broken on a narrow page"
                .to_owned(),
    })
    .to_vec();
    summary.classification = vec![Classification {
        split: Split::Test,
        score: SliceScore::Cosine,
        encoding: Some("ddim".to_owned()),
        guidance: Some(2.0),
        decides: true,
        seeds: vec![0, 1, 2],
        patients: 6,
        slices: 40,
        unhealthy: 14,
        threshold: Some(0.95),
        threshold_from: Some("calibration".to_owned()),
        accuracy: Some(0.74),
        base_rate: Some(0.65),
        balanced_accuracy: Some(0.7),
        sensitivity: Some(0.61),
        specificity: Some(0.79),
        auroc: Value::over_seeds(vec![Some(0.8), Some(0.82)], Some([0.7, 0.9])),
    }];
    summary.calibration = vec![CalibrationRow {
        encoding: "ddim".to_owned(),
        guidance: 2.0,
        cos_threshold: 0.98765,
        accuracy: 0.75,
        max_divergence: vec![0.0123],
        selected: true,
    }];
    summary.tuning = vec![TuningRow {
        method: "ddim-clf-free".to_owned(),
        noise_scale: 12,
        strength: Some(3.0),
        threshold: 0.25,
        dice: Some(0.5),
        pixel_labels: true,
        selected: true,
    }];
    summary.cost.network_evaluations = 123_456;
    summary.cost.methods = vec![MethodCost {
        method: "gradient".to_owned(),
        evaluations_per_slice: 60,
        classifier_evaluations_per_slice: 0,
        seconds_per_slice: Some(0.4321),
    }];
    summary.warnings = vec!["a warning of <its> own".to_owned()];
    summary.slices = table();
    summary.exhibits = samples::exhibits(&["anofpdm-ddim", "gradient"]);
    summary.exhibits.step_maps.truncate(1);
    summary
}

pub(crate) fn page_of(summary: &Summary) -> String {
    let points = (1..=200_u32).map(|step| LossPoint {
        step: u64::from(step),
        loss: 0.9 / f64::from(step).sqrt() + 0.02,
    });
    let curves = BTreeMap::from([(
        "guided".to_owned(),
        Curves {
            train: points.collect(),
            validation: vec![
                LossPoint {
                    step: 100,
                    loss: 0.2,
                },
                LossPoint {
                    step: 200,
                    loss: 0.1,
                },
            ],
        },
    )]);
    let figures = Figures::of(summary, &curves);
    let spec = RunSpec::parse(SPEC).unwrap();
    page(&Parts {
        summary,
        figures: &figures,
        spec: Some(&spec),
        version: "0.0.0",
        files: &["summary.json".to_owned(), "figures/loss.svg".to_owned()],
    })
}

/// Value, place and text of every number that says where it stands.
fn numbers(page: &str) -> Vec<(f64, String, String)> {
    let each = page.split("<data value=\"").skip(1);
    each.map(|rest| {
        let (value, rest) = rest.split_once('"').unwrap();
        let rest = rest.strip_prefix(" data-of=\"").unwrap();
        let (place, rest) = rest.split_once("\">").unwrap();
        let (text, _) = rest.split_once("</data>").unwrap();
        (value.parse().unwrap(), place.to_owned(), text.to_owned())
    })
    .collect()
}

#[test]
fn every_number_is_that_of_the_summary() {
    let summary = full();
    let json: serde_json::Value =
        serde_json::from_str(&serde_json::to_string(&summary).unwrap()).unwrap();
    let found = numbers(&page_of(&summary));
    assert!(found.len() > 250, "{}", found.len());
    for (value, place, text) in &found {
        let there = json.pointer(place).and_then(serde_json::Value::as_f64);
        let there = there.unwrap_or_else(|| panic!("{place} is not in summary.json"));
        // What is 32 bits wide here is so there.
        assert!(
            (there - value).abs() <= 1e-7 * value.abs(),
            "{place}: {value} {there}"
        );
        let shown: f64 = text.replace(',', "").parse().unwrap();
        let decimals = text
            .split_once('.')
            .map_or(0, |(_, decimals)| decimals.len());
        let unit = 0.5001 * 10_f64.powi(-i32::try_from(decimals).unwrap());
        let near = |value: f64| (shown - value).abs() <= unit;
        assert!(
            near(*value) || near(100.0 * value),
            "{place}: {value} shown as {text}"
        );
    }
    // Every mean, deviation and interval of Table 1 is among them.
    for (index, row) in summary.rows.iter().enumerate() {
        for (field, value) in [
            ("dice", &row.dice),
            ("iou", &row.iou),
            ("auprc", &row.auprc),
            ("auroc", &row.auroc),
        ] {
            let mut wanted = vec![
                format!("/rows/{index}/{field}/mean"),
                format!("/rows/{index}/{field}/ci95/1"),
            ];
            wanted.extend(value.std.map(|_| format!("/rows/{index}/{field}/std")));
            for place in wanted {
                assert!(found.iter().any(|one| one.1 == place), "{place}");
            }
        }
    }
}

#[test]
fn nothing_is_asked_for_and_text_is_escaped() {
    let page = page_of(&full());
    for address in [
        "http://", "https://", "url(", "@import", "<iframe", "<object",
    ] {
        let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains(address), "{address}");
    }
    assert!(page.contains("default-src 'none'; img-src data:"));
    assert!(!page.contains("a<b>") && !page.contains("<found>") && !page.contains("<its>"));
    assert!(page.contains("a&lt;b&gt;"));
    assert!(page.contains("<time datetime=\"2026-11-30T19:24:25Z\">2026-11-30</time>"));
    assert!(page.len() < LARGEST);
}

#[test]
fn ids_are_given_once_and_every_link_has_an_end() {
    let page = page_of(&full());
    let of = |start: &str| -> Vec<String> {
        let parts = page.split(start).skip(1);
        parts
            .map(|rest| rest.split('"').next().unwrap().to_owned())
            .collect()
    };
    let mut ids = of(" id=\"");
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
    for target in of("href=\"#") {
        assert!(ids.binary_search(&target).is_ok(), "{target}");
    }
    for svg in page.split("<svg").skip(1) {
        assert!(svg.contains("<title") && svg.contains("<desc") && svg.contains("role=\"img\""));
    }
}

#[test]
fn a_run_with_nothing_extra_has_every_section_and_says_what_would_fill_it() {
    let mut bare = summary();
    bare.slices = Default::default();
    bare.paired.clear();
    bare.ranking.clear();
    bare.per_patient.clear();
    let figures = Figures::of(&bare, &BTreeMap::new());
    let page = page(&Parts {
        summary: &bare,
        figures: &figures,
        spec: None,
        version: "0.0.0",
        files: &[],
    });
    for (anchor, _) in SECTIONS {
        assert!(page.contains(&format!("id=\"{anchor}\"")), "{anchor}");
    }
    assert!(page.contains("traces = true") && page.contains("fixed_thresholds"));
    assert!(!page.contains("viewer-data"));
}

/// For looking at, and for the test that opens it in a browser: `ANOFPDM_SAMPLE_REPORT=FILE cargo test …`.
#[test]
fn a_sample_is_written_where_one_is_asked_for() {
    if let Some(path) = std::env::var_os("ANOFPDM_SAMPLE_REPORT") {
        std::fs::write(path, page_of(&full())).unwrap();
    }
}
