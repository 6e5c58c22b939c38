//! The files of a report say what `summary.json` says.

use std::collections::BTreeMap;

use anofpdm_common::ids::Digest;
use anofpdm_common::metrics::setup::Setup;
use anofpdm_common::metrics::{LesionCounts, Localization, Overlap};
use anofpdm_common::record::ModalityDecision;

use super::marks::percent;
use super::slices::{CellSlice, CellSlices, SliceName, SliceTable, SlicesOfCell};
use super::statistics::{
    Comparison, Metric, Paired, PatientResult, PatientRow, RankedBy, Ranking, RankingBy, RowId,
    Test,
};
use super::summary::{Audits, Cost, Coverage, Localized, Row, Value};
use super::*;

/// A spec that needs nothing else to be read.
pub(crate) const SPEC: &str = include_str!("../../../examples/demo.toml");

/// A row of which every number follows from `mean`.
pub(crate) fn row(method: &str, setup: Setup, mean: f64, seeds: &[u64]) -> Row {
    let value = |factor: f64| {
        let mean = factor * mean;
        let per_seed = seeds.iter().map(|seed| Some(mean + 0.001 * *seed as f64));
        let mut value = Value::over_seeds(per_seed.collect(), Some([mean - 0.1, mean + 0.1]));
        value.mean = Some(mean);
        value
    };
    Row {
        method: method.to_owned(),
        guidance: (!seeds.is_empty()).then_some(2.0),
        setup,
        seeds: seeds.to_vec(),
        slices: 40,
        patients: 6,
        dice: value(1.0),
        iou: value(0.8),
        auprc: value(0.9),
        auprc_batch: value(0.95),
        auroc: value(0.99),
        fpr95: value(0.3),
        precision: value(0.6),
        recall: value(0.45),
        localized: Localized {
            hd95: value(6.25),
            hd95_slices: 7,
            lesion_f1: value(0.55),
        },
        best_dice: None,
        volume: None,
        pixel_labels: method == "raw-threshold",
        undefined_maps: 0,
        settings: None,
    }
}

pub(crate) fn summary() -> Summary {
    let id = |method: &str| RowId {
        method: method.to_owned(),
        guidance: Some(2.0),
    };
    let test = |p| Test {
        p,
        adjusted_p: (2.0 * p).min(1.0),
        exact: true,
    };
    let mut rows = Vec::new();
    for (setup, less) in [(Setup::Mixed, 0.0), (Setup::Unhealthy, 0.1)] {
        for (method, mean) in [
            ("anofpdm-ddim", 0.7212),
            ("gradient", 0.41),
            ("my_map%&", 0.6),
        ] {
            rows.push(row(method, setup, mean - less, &[0, 1, 2]));
        }
        rows.push(row("raw-threshold", setup, 0.83 - less, &[]));
    }
    let paired = |setup| Paired {
        setup,
        metric: Metric::Dice,
        patients: 6,
        smallest_p: 0.03125,
        smallest_adjusted_p: 0.1875,
        note: Some(
            "too few patients to test: the smallest reachable p is 0.19 after Holm".to_owned(),
        ),
        comparisons: vec![Comparison {
            first: id("anofpdm-ddim"),
            second: id("gradient"),
            difference: Some(0.3112),
            ci95: Some([0.123, 0.456]),
            patient_difference: 0.3,
            better: 5,
            worse: 1,
            equal: 0,
            sign_flip: test(0.0625),
            signed_rank: test(0.125),
        }],
    };
    let ranking = Ranking {
        setup: Setup::Mixed,
        metric: Metric::Dice,
        patients: 6,
        rows: vec![id("anofpdm-ddim"), id("gradient")],
        rankings: vec![RankingBy {
            by: RankedBy::AggregateThenRank,
            ranks: vec![1, 2],
            shares: vec![vec![0.87, 0.13], vec![0.13, 0.87]],
            kendall: Some(0.74),
        }],
        agreement: Vec::new(),
    };
    let cell = CellSlice {
        called_unhealthy: true,
        overlap: Overlap {
            pixels: 100,
            predicted: 10,
            truth: 8,
            intersection: 6,
        },
        localization: Localization {
            hd95: Some(2.5),
            lesions: LesionCounts {
                truth: 2,
                found: 1,
                predicted: 3,
                spurious: 2,
            },
        },
        average_precision: Some(0.625),
        cosine: Some(0.5),
        q_star: Some(f32::NAN),
        modalities: Box::new([ModalityDecision {
            end_step: 7,
            divergence: 0.25,
            level_index: 9,
            defined: true,
        }]),
    };
    Summary {
        run: "a, \"b\"".to_owned(),
        fingerprint: Digest::of(b"f"),
        spec_digest: Digest::of(b"s"),
        semantics: "paper_clipped".to_owned(),
        precision: "fp32".to_owned(),
        precision_reason: None,
        device: "cpu".to_owned(),
        data: None,
        scored: Some("2026-11-30T19:24:25Z".to_owned()),
        program: None,
        coverage: Coverage::default(),
        audits: Audits::default(),
        rows,
        cost: Cost::default(),
        calibration: Vec::new(),
        tuning: Vec::new(),
        checks: Vec::new(),
        classification: Vec::new(),
        paired: Setup::ALL.map(paired).to_vec(),
        ranking: vec![ranking],
        per_patient: vec![PatientResult {
            patient: "p_1,x".to_owned(),
            setup: Setup::Mixed,
            slices: 7,
            truth: 123,
            whole: true,
            rows: vec![PatientRow {
                method: "anofpdm-ddim".to_owned(),
                guidance: Some(2.0),
                dice: 0.711,
                iou: 0.6,
                auprc: None,
                predicted: 99.5,
            }],
        }],
        warnings: Vec::new(),
        exhibits: Default::default(),
        slices: SliceTable {
            modalities: vec!["flair".to_owned()],
            slices: vec![SliceName {
                patient: "p".to_owned(),
                subject: "p_1".to_owned(),
                slice: 77,
                unhealthy: true,
                brain_area: 50,
            }],
            cells: vec![SlicesOfCell {
                method: "anofpdm-ddim".to_owned(),
                guidance: Some(2.0),
                cell: CellSlices {
                    seed: Some(1),
                    slices: vec![cell],
                },
            }],
        },
    }
}

/// Fields of a line by the names in the first; quotes as RFC 4180 has them.
fn read_csv(text: &str) -> Vec<BTreeMap<String, String>> {
    let fields = |line: &str| {
        let (mut fields, mut quoted) = (vec![String::new()], false);
        let mut characters = line.chars().peekable();
        while let Some(character) = characters.next() {
            let field = fields.last_mut().unwrap();
            match character {
                '"' if quoted && characters.peek() == Some(&'"') => {
                    field.push('"');
                    characters.next();
                }
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(String::new()),
                other => field.push(other),
            }
        }
        fields
    };
    let mut lines = text.lines().map(fields);
    let names = lines.next().unwrap();
    lines
        .map(|line| {
            assert_eq!(line.len(), names.len(), "{line:?}");
            names.iter().cloned().zip(line).collect()
        })
        .collect()
}

fn number(text: &str) -> Option<f64> {
    (!text.is_empty()).then(|| text.parse().unwrap())
}

#[test]
fn results_csv_holds_every_number() {
    let summary = summary();
    let lines = read_csv(&tidy::results(&summary));
    let mut seen = 0;
    for row in &summary.rows {
        for (metric, value) in [
            ("dice", &row.dice),
            ("iou", &row.iou),
            ("auprc", &row.auprc),
            ("auprc_batch", &row.auprc_batch),
            ("auroc", &row.auroc),
            ("fpr95", &row.fpr95),
            ("precision", &row.precision),
            ("recall", &row.recall),
            ("hd95", &row.localized.hd95),
            ("lesion_f1", &row.localized.lesion_f1),
        ] {
            let of_value: Vec<_> = lines
                .iter()
                .filter(|line| {
                    line["method"] == row.method
                        && line["setup"] == row.setup.name()
                        && line["metric"] == metric
                })
                .collect();
            assert_eq!(of_value.len(), 1 + row.seeds.len());
            seen += of_value.len();
            let mean = of_value[0];
            assert_eq!(
                (mean["run"].as_str(), mean["n"].as_str()),
                ("a, \"b\"", "40")
            );
            assert_eq!(number(&mean["w"]), row.guidance);
            assert_eq!(number(&mean["value"]), value.mean);
            let ends = [number(&mean["low"]), number(&mean["high"])];
            assert_eq!(Some(ends), value.ci95.map(|ends| ends.map(Some)));
            for ((seed, want), line) in row.seeds.iter().zip(&value.per_seed).zip(&of_value[1..]) {
                assert_eq!(line["seed"], seed.to_string());
                assert_eq!(number(&line["value"]), *want);
            }
        }
    }
    assert_eq!(seen, lines.len());
}

#[test]
fn patients_and_slices_come_back() {
    let summary = summary();
    let lines = read_csv(&tidy::patients(&summary));
    let line = &lines[0];
    assert_eq!((lines.len(), line["patient"].as_str()), (1, "p_1,x"));
    assert_eq!(
        (line["whole"].as_str(), line["truth"].as_str()),
        ("true", "123")
    );
    assert_eq!(number(&line["dice"]), Some(0.711));
    assert_eq!(number(&line["predicted"]), Some(99.5));
    assert_eq!(number(&line["auprc"]), None);

    let mut text = Vec::new();
    tidy::slices(&summary.slices, &mut text).unwrap();
    let lines = read_csv(std::str::from_utf8(&text).unwrap());
    let line = &lines[0];
    for (name, want) in [
        ("patient", "p"),
        ("subject", "p_1"),
        ("slice", "77"),
        ("unhealthy", "true"),
        ("brain", "50"),
        ("method", "anofpdm-ddim"),
        ("w", "2"),
        ("seed", "1"),
        ("called_unhealthy", "true"),
        ("predicted", "10"),
        ("truth", "8"),
        ("intersection", "6"),
        ("hd95", "2.5"),
        ("lesions", "2"),
        ("lesions_found", "1"),
        ("components", "3"),
        ("components_spurious", "2"),
        ("ap", "0.625"),
        ("cosine", "0.5"),
        ("q_star", ""),
        ("t_e_flair", "7"),
        ("m_te_flair", "0.25"),
        ("level_flair", "9"),
    ] {
        assert_eq!(line[name], want, "{name}");
    }
    let overlap = summary.slices.cells[0].cell.slices[0].overlap;
    assert_eq!(number(&line["dice"]), Some(overlap.dice()));
    assert_eq!(number(&line["iou"]), Some(overlap.iou()));
}

/// Numbers of a cell of `table.md` without its marks: mean, deviation, ends.
fn numbers(cell: &str) -> Vec<f64> {
    let plain = cell
        .replace("**", "")
        .replace("<u>", "")
        .replace("</u>", "");
    let words = plain.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-'));
    words
        .filter(|word| !word.is_empty())
        .map(|word| word.parse().unwrap())
        .collect()
}

fn shown(value: &Value) -> Vec<f64> {
    let ends = value.ci95.into_iter().flatten();
    let all = value.mean.into_iter().chain(value.std).chain(ends);
    all.map(|number| percent(number).parse().unwrap()).collect()
}

#[test]
fn table_md_says_the_same_and_marks_the_best() {
    let summary = summary();
    let text = markdown::document(&summary);
    let of_setup = |setup| summary.rows.iter().filter(move |row| row.setup == setup);
    for mixed in of_setup(Setup::Mixed) {
        let unhealthy = of_setup(Setup::Unhealthy)
            .find(|row| row.method == mixed.method)
            .unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("| {}", mixed.method)));
        let cells: Vec<&str> = line.unwrap().split('|').map(str::trim).collect();
        for (row, first) in [(mixed, 3), (unhealthy, 7)] {
            let values = [&row.dice, &row.iou, &row.auprc, &row.auprc_batch];
            for (value, cell) in values.into_iter().zip(&cells[first..]) {
                assert_eq!(numbers(cell), shown(value), "{cell}");
                assert_eq!(
                    cell.starts_with("**"),
                    row.method == "anofpdm-ddim",
                    "{cell}"
                );
                assert_eq!(cell.starts_with("<u>"), row.method == "my_map%&", "{cell}");
            }
        }
    }
    assert!(text.contains(
        "| anofpdm-ddim (w 2) | gradient (w 2) | 31.1 [12.3, 45.6] | 5 of 6 | 0.125 | 0.250 |"
    ));
    assert!(text.contains(
        "mixed, 6 patients: too few patients to test: the smallest reachable p is 0.19 after Holm."
    ));
    assert!(
        text.contains("| anofpdm-ddim (w 2) | 1 | 87 % | - | - |"),
        "{text}"
    );
    assert!(text.contains("Bold and underlined: the best and the second best"));
    // Programs read the bare table.
    assert!(!markdown::table(&summary).contains("**"));
}

#[test]
fn table_tex_says_the_same_and_is_escaped() {
    let summary = summary();
    let tables: BTreeMap<&str, String> = latex::tables(&summary).into_iter().collect();
    let names: Vec<&str> = tables.keys().copied().collect();
    assert_eq!(names, ["paired.tex", "table1.tex", "table3.tex"]);
    let of = |method: &str, setup| {
        let mut rows = summary.rows.iter();
        rows.find(|row| row.method == method && row.setup == setup)
            .unwrap()
    };
    let cell = |value: &Value| {
        let std = value.std.map(|std| format!("{{\\pm}}{}", percent(std)));
        format!(
            "${}{}$",
            percent(value.mean.unwrap()),
            std.unwrap_or_default()
        )
    };
    let cells = |row: &Row, mark: &dyn Fn(String) -> String| {
        let values = [&row.dice, &row.iou, &row.auprc];
        values.map(|value| mark(cell(value))).join(" & ")
    };
    let best = |text: String| format!("\\textbf{{\\boldmath{text}}}");
    let second = |text: String| format!("\\underline{{{text}}}");
    let plain = |text: String| text;
    let table1 = &tables["table1.tex"];
    for (method, name, mark) in [
        (
            "anofpdm-ddim",
            "AnoFPDM (DDIM) & $\\checkmark$",
            &best as &dyn Fn(String) -> String,
        ),
        ("my_map%&", "my\\_map\\%\\& & $\\checkmark$", &second),
        ("raw-threshold", "raw-threshold & $\\times$", &plain),
    ] {
        let [mixed, unhealthy] = Setup::ALL.map(|setup| cells(of(method, setup), mark));
        let line = format!("{name} & {mixed} & {unhealthy} \\\\");
        assert!(table1.contains(&line), "{line}\n{table1}");
    }
    assert!(!table1.contains("nabla"));
    assert!(table1.contains("semantics paper\\_clipped"), "{table1}");
    assert!(table1.contains("\\multicolumn{3}{c}{Mixed} & \\multicolumn{3}{c}{Unhealthy}"));
    let gradient = cells(of("gradient", Setup::Unhealthy), &second);
    assert!(tables["table3.tex"].contains(&format!("\\nabla^2 \\log p_\\theta$ & {gradient} ")));
    let paired = &tables["paired.tex"];
    assert!(
        paired.contains("& $31.1$ & $[12.3, 45.6]$ & 5 of 6 & $0.125$ & $0.250$"),
        "{paired}"
    );
    let mut without = summary.clone();
    without.rows.retain(|row| row.method != "gradient");
    without.paired.clear();
    assert_eq!(latex::tables(&without).len(), 1);
}

/// Where there is a TeX: each table is a document of its own.
#[test]
fn tables_compile_by_themselves() {
    let there = |name: &&str| {
        std::process::Command::new(name)
            .arg("--version")
            .output()
            .is_ok()
    };
    let Some(program) = ["tectonic", "pdflatex"].into_iter().find(there) else {
        eprintln!("skipped: neither tectonic nor pdflatex is installed");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in latex::tables(&summary()) {
        std::fs::write(folder.path().join(name), text).unwrap();
        let mut compile = std::process::Command::new(program);
        if program == "pdflatex" {
            compile.args(["-interaction=nonstopmode", "-halt-on-error"]);
        }
        let output = compile
            .arg(name)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

#[test]
fn summary_json_comes_back_without_the_slices() {
    let summary = summary();
    let json = serde_json::to_string(&summary).unwrap();
    let back: Summary = serde_json::from_str(&json).unwrap();
    assert_eq!(back.slices, SliceTable::default());
    assert_eq!(back.paired, summary.paired);
    assert_eq!(back.rows, summary.rows);
}
