use anofpdm_common::ids::Digest;

use super::super::slices::SliceTable;
use super::super::summary::{Audits, Cost, Coverage, Localized, MethodCost};
use super::*;

fn value(mean: f64, std: Option<f64>, ci95: Option<[f64; 2]>) -> Value {
    Value {
        mean: Some(mean),
        std,
        per_seed: Vec::new(),
        ci95,
        bounds: None,
    }
}

fn row(method: &str, setup: Setup, of: &Value, seeds: &[u64]) -> Row {
    Row {
        method: method.to_owned(),
        guidance: (!seeds.is_empty()).then_some(30.0),
        setup,
        seeds: seeds.to_vec(),
        dice: of.clone(),
        iou: of.clone(),
        auprc: of.clone(),
        auprc_batch: of.clone(),
        pixel_labels: method == "raw-threshold",
        undefined_maps: 0,
        best_dice: None,
        auroc: Value::default(),
        fpr95: Value::default(),
        precision: Value::default(),
        recall: Value::default(),
        localized: Localized::default(),
        volume: None,
        slices: 0,
        patients: 0,
        settings: None,
    }
}

fn summary() -> Summary {
    let good = value(0.721, Some(0.002), Some([0.602, 0.801]));
    let poor = value(0.0, Some(0.0), Some([0.0, 0.005]));
    let mut rows = Vec::new();
    for setup in [Mixed, Unhealthy] {
        rows.push(row("anofpdm-ddim", setup, &good, &[0, 1, 2]));
        rows.push(row("gradient-weighted", setup, &poor, &[0, 1, 2]));
        rows.push(row("all-empty", setup, &value(0.63, None, None), &[]));
        rows.push(row("raw-threshold", setup, &value(1.0, None, None), &[]));
    }
    Summary {
        run: "demo".to_owned(),
        fingerprint: Digest::of(b"f"),
        spec_digest: Digest::of(b"s"),
        semantics: "paper".to_owned(),
        precision: "fp32".to_owned(),
        precision_reason: None,
        device: "cpu".to_owned(),
        data: None,
        scored: None,
        program: None,
        coverage: Coverage::default(),
        audits: Audits::default(),
        rows,
        cost: Cost {
            methods: vec![MethodCost {
                method: "anofpdm-ddim".to_owned(),
                evaluations_per_slice: 60,
                classifier_evaluations_per_slice: 0,
                seconds_per_slice: Some(1.25),
            }],
            ..Cost::default()
        },
        calibration: Vec::new(),
        tuning: Vec::new(),
        checks: Vec::new(),
        classification: Vec::new(),
        paired: Vec::new(),
        ranking: Vec::new(),
        per_patient: Vec::new(),
        slices: SliceTable::default(),
        exhibits: Default::default(),
        warnings: Vec::new(),
    }
}

/// The first of the columns that every table should have, as they stand beside each other.
fn drop_from_base(count: usize) -> Vec<Column> {
    let columns = ORDER.into_iter();
    columns
        .filter(|column| BASE[..count].contains(column))
        .collect()
}

#[test]
fn a_hundred_columns_hold_the_five_that_matter() {
    let (lines, _, spread) = fitted(&summary(), 100);
    assert_eq!(spread, Spread::Beside);
    assert_eq!(lines[2], "─".repeat(99));
    let rest: Vec<&String> = lines.iter().filter(|line| !line.starts_with('─')).collect();
    assert_eq!(
        rest,
        [
            "                       mixed                     unhealthy                 unhealthy",
            "method              w  DICE                      DICE                      AUPRC",
            "anofpdm-ddim       30   72.1 ± 0.2 [60.2, 80.1]   72.1 ± 0.2 [60.2, 80.1]   72.1 ± 0.2 [60.2, 80.1]",
            "gradient-weighted  30    0.0 ± 0.0 [ 0.0,  0.5]    0.0 ± 0.0 [ 0.0,  0.5]    0.0 ± 0.0 [ 0.0,  0.5]",
            "all-empty               63.0                      63.0                      63.0",
            "raw-threshold †        100.0                     100.0                     100.0"
        ]
    );
}

#[test]
fn eighty_columns_hold_the_same_with_intervals_below() {
    let (lines, _, _) = fitted(&summary(), 80);
    assert_eq!(
        lines[..5],
        [
            "                       mixed         mixed         unhealthy     unhealthy",
            "method              w  DICE          AUPRC         DICE          AUPRC",
            "─────────────────────────────────────────────────────────────────────────────",
            "anofpdm-ddim       30   72.1 ± 0.2    72.1 ± 0.2    72.1 ± 0.2    72.1 ± 0.2",
            "                       [60.2, 80.1]  [60.2, 80.1]  [60.2, 80.1]  [60.2, 80.1]"
        ]
    );
    let (lines, columns, _) = fitted(&summary(), 76);
    assert_eq!(readable::width(&lines), 72, "{columns:?}");
    assert!(columns.contains(&Seconds), "what is narrow finds room");
}

#[test]
fn no_table_is_wider_than_asked_and_a_wide_one_has_everything() {
    let summary = summary();
    for width in 34..300 {
        let (lines, columns, spread) = fitted(&summary, width);
        let found = readable::width(&lines);
        assert!(found <= width, "{found} of {width}");
        // What matters most is there before anything else.
        let base = BASE
            .iter()
            .filter(|column| columns.contains(column))
            .count();
        assert!(
            base == BASE.len() || columns == drop_from_base(base),
            "{width}"
        );
        assert!(spread == Spread::Below || width >= 99, "{width}");
        let text = table(&summary, Some(width));
        let long = text.lines().map(console::measure_text_width).max();
        assert!(long <= Some(width), "{long:?} of {width}");
    }
    assert_eq!(fitted(&summary, 300).1, ORDER);
    let text = table(&summary, Some(300));
    assert!(!text.contains("Not shown"), "{text}");
}

#[test]
fn the_legend_speaks_of_what_is_shown() {
    let text = table(&summary(), Some(80)).replace('\n', " ");
    for part in [
        "Percent; ± standard deviation over noise seeds; [95 % bootstrap interval over patients].",
        "AUPRC: average precision",
        "†: a threshold or a setting was chosen with pixel labels.",
        "Not shown for want of room: unhealthy IoU, mixed IoU",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("AUPRC/100: "), "{text}");
    let mut one = summary();
    one.rows.retain(|row| row.method == "all-empty");
    let text = table(&one, Some(300));
    assert!(
        !text.contains('±') && !text.contains('[') && !text.contains('†'),
        "{text}"
    );
}

#[test]
fn programs_read_markdown() {
    let text = table(&summary(), None);
    assert!(text.starts_with("| method | w | mixed DICE |"), "{text}");
    assert!(text.contains("| raw-threshold † |  | 100.0 |"), "{text}");
    assert!(text.contains("\n\nPercent"), "{text}");
}
