//! Every number of the CSV, Markdown and LaTeX files, read back without the code that wrote it, is that of
//! `summary.json`. (That of `report.html` is too: `page/tests.rs`; of Parquet: `export/tests.rs`.)

use anofpdm_common::metrics::setup::Setup;
use serde_json::Value;

use super::page::tests::full;
use super::statistics::{PatientResult, PatientRow, WholeVolumes};
use super::summary::Summary;
use super::{latex, markdown, tidy};

/// Every metric of a row, by its names in `summary.json` and `results.csv`.
const METRICS: [&str; 10] = [
    "dice",
    "iou",
    "auprc",
    "auprc_batch",
    "auroc",
    "fpr95",
    "precision",
    "recall",
    "hd95",
    "lesion_f1",
];

/// Something in every table, and its `summary.json`.
fn made() -> (Summary, Value) {
    let mut summary = full();
    for row in &mut summary.rows {
        row.volume = (row.setup == Setup::Mixed).then_some(WholeVolumes {
            patients: 6,
            dice: Some(0.4321),
            pearson: Some(0.8765),
            spearman: Some(-0.1234),
        });
    }
    summary.per_patient = (0..7_u32)
        .flat_map(|number| {
            Setup::ALL.map(|setup| PatientResult {
                patient: format!("p \"{number}\", x"),
                setup,
                slices: 3 + u64::from(number),
                truth: 1 << (4 * number),
                whole: number.is_multiple_of(2),
                rows: ["anofpdm-ddim", "all,empty"]
                    .map(|method| PatientRow {
                        method: method.to_owned(),
                        guidance: (method == "anofpdm-ddim").then_some(2.5),
                        dice: f64::from(number) / 7.0,
                        iou: f64::from(number) / 11.0,
                        auprc: (number > 2).then_some(1.0 / 3.0),
                        predicted: f64::from(number) * 1e7 / 3.0,
                    })
                    .to_vec(),
            })
        })
        .collect();
    let json = serde_json::from_str(&serde_json::to_string(&summary).unwrap()).unwrap();
    (summary, json)
}

fn list<'a>(json: &'a Value, at: &str) -> &'a [Value] {
    json.pointer(at).and_then(Value::as_array).unwrap()
}

/// A field is what JSON has; nothing is null.
fn same(field: &str, told: &Value) -> bool {
    match told {
        Value::Null => field.is_empty(),
        Value::Bool(told) => field == told.to_string(),
        Value::String(told) => field == told,
        told => field.parse().ok() == told.as_f64(),
    }
}

#[test]
fn every_field_of_results_and_patients_csv_is_in_the_summary() {
    let (summary, json) = made();
    let text = tidy::results(&summary);
    let mut lines = csv::Reader::from_reader(text.as_bytes());
    let names = lines.headers().unwrap().clone();
    let mut lines = lines.records();
    let mut next = |wanted: &[(&str, &Value)]| {
        let line = lines.next().unwrap().unwrap();
        assert_eq!(line.len(), wanted.len());
        for ((name, told), (field, column)) in wanted.iter().zip(line.iter().zip(&names)) {
            assert!(
                *name == column && same(field, told),
                "{name}: {field} {told}"
            );
        }
    };
    for row in list(&json, "/rows") {
        for metric in METRICS {
            let (value, name) = (&row[metric], Value::from(metric));
            let mut line = |seed: &Value, number: &Value, [low, high]: [&Value; 2]| {
                next(&[
                    ("run", &json["run"]),
                    ("method", &row["method"]),
                    ("w", &row["guidance"]),
                    ("setup", &row["setup"]),
                    ("seed", seed),
                    ("metric", &name),
                    ("value", number),
                    ("low", low),
                    ("high", high),
                    ("n", &row["slices"]),
                ]);
            };
            let ends = [0, 1].map(|end| &value["ci95"][end]);
            line(&Value::Null, &value["mean"], ends);
            let seeds = list(row, "/seeds").iter().zip(list(value, "/per_seed"));
            for (seed, number) in seeds {
                line(seed, number, [&Value::Null; 2]);
            }
        }
    }
    assert!(lines.next().is_none());

    let text = tidy::patients(&summary);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let names = reader.headers().unwrap().clone();
    let mut lines = reader.records();
    for patient in list(&json, "/per_patient") {
        for row in list(patient, "/rows") {
            let line = lines.next().unwrap().unwrap();
            for (field, column) in line.iter().zip(&names) {
                let told = match column {
                    "run" => &json["run"],
                    "patient" | "setup" | "slices" | "whole" | "truth" => &patient[column],
                    "w" => &row["guidance"],
                    other => &row[other],
                };
                assert!(same(field, told), "{column}: {field} {told}");
            }
        }
    }
    assert!(lines.next().is_none());
}

/// The numbers in a text, as they are written.
fn numbers(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-'));
    words.filter(|word| word.parse::<f64>().is_ok()).collect()
}

/// Whether a text's numbers are these, times `scale`, each to its last digit.
fn assert_numbers(text: &str, scale: f64, told: &[&Value]) {
    let found = numbers(text);
    let told: Vec<f64> = told.iter().filter_map(|one| one.as_f64()).collect();
    assert_eq!(found.len(), told.len(), "{text}: {told:?}");
    for (found, told) in found.iter().zip(told) {
        let decimals = found.split_once('.').map_or(0, |(_, rest)| rest.len());
        let unit = 0.5001 * 10_f64.powi(-i32::try_from(decimals).unwrap());
        let shown: f64 = found.parse().unwrap();
        assert!((shown - scale * told).abs() <= unit, "{text}: {told}");
    }
}

fn find<'a>(json: &'a Value, method: &str, setup: &str) -> &'a Value {
    let mut rows = list(json, "/rows").iter();
    rows.find(|row| row["method"] == method && row["setup"] == setup)
        .unwrap()
}

/// Mean, deviation and interval.
fn parts(value: &Value) -> Vec<&Value> {
    vec![
        &value["mean"],
        &value["std"],
        &value["ci95"][0],
        &value["ci95"][1],
    ]
}

/// Cells of the lines of each table of a Markdown text whose first head is `first`.
fn tables<'a>(text: &'a str, first: &str) -> Vec<Vec<Vec<&'a str>>> {
    let mut found: Vec<Vec<Vec<&str>>> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let Some(cells) = line
            .strip_prefix("| ")
            .and_then(|line| line.strip_suffix('|'))
        else {
            inside = inside && line.starts_with("|---");
            continue;
        };
        let cells: Vec<&str> = cells.split('|').map(str::trim).collect();
        if cells[0] == first {
            inside = true;
            found.push(Vec::new());
        } else if inside {
            found.last_mut().unwrap().push(cells);
        }
    }
    found
}

#[test]
fn every_number_of_table_md_is_in_the_summary() {
    let (summary, json) = made();
    let text = markdown::document(&summary);
    let of_method = tables(&text, "method");
    let [table, pixels, masks, tuning] = &of_method[..] else {
        panic!("{} tables", of_method.len());
    };
    let metrics = ["dice", "iou", "auprc", "auprc_batch"];
    assert_eq!(table.len(), 4);
    for line in table {
        let method = line[0].trim_end_matches(" †");
        for (setup, first) in [("mixed", 2), ("unhealthy", 6)] {
            let row = find(&json, method, setup);
            assert_numbers(line[1], 1.0, &[&row["guidance"]]);
            for (metric, cell) in metrics.iter().zip(&line[first..]) {
                assert_numbers(cell, 100.0, &parts(&row[*metric]));
            }
        }
        let cost = list(&json, "/cost/methods")
            .iter()
            .find(|one| one["method"] == method);
        let cost = cost.unwrap_or(&Value::Null);
        assert_numbers(line[10], 1.0, &[&cost["evaluations_per_slice"]]);
        assert_numbers(line[11], 1.0, &[&cost["seconds_per_slice"]]);
    }
    assert_eq!(pixels.len(), list(&json, "/rows").len());
    for (line, row) in pixels.iter().zip(list(&json, "/rows")) {
        let setup = row["setup"].as_str().unwrap();
        assert!(line[2].ends_with(setup), "{}", line[2]);
        assert_numbers(line[2], 1.0, &[&row["slices"]]);
        let area = &row["auroc"];
        assert_numbers(
            line[3],
            100.0,
            &[&area["mean"], &area["ci95"][0], &area["ci95"][1]],
        );
        assert_numbers(line[4], 100.0, &[&row["fpr95"]["mean"]]);
        assert_numbers(line[5], 100.0, &[&row["best_dice"]["mean"]]);
        assert_numbers(line[6], 100.0, &[&row["best_dice"]["pooled"]]);
        let volume = &row["volume"];
        assert_numbers(
            line[7],
            1.0,
            &[&volume["pearson"], &volume["spearman"], &volume["patients"]],
        );
    }
    assert_eq!(masks.len(), list(&json, "/rows").len());
    for (line, row) in masks.iter().zip(list(&json, "/rows")) {
        let each = [
            ("precision", 100.0),
            ("recall", 100.0),
            ("lesion_f1", 100.0),
            ("hd95", 1.0),
        ];
        for ((metric, scale), cell) in each.into_iter().zip(&line[3..]) {
            let value = &row[metric];
            let told = [&value["mean"], &value["ci95"][0], &value["ci95"][1]];
            assert_numbers(cell, scale, &told);
        }
        assert_numbers(line[7], 1.0, &[&row["hd95_slices"]]);
    }
    for (line, row) in tuning.iter().zip(list(&json, "/tuning")) {
        let each = ["noise_scale", "strength", "threshold"];
        for (cell, field) in line[1..4].iter().zip(each) {
            assert_numbers(cell, 1.0, &[&row[field]]);
        }
        assert_numbers(line[4], 100.0, &[&row["dice"]]);
    }
    let calibration = &tables(&text, "encoding");
    for (line, row) in calibration[0].iter().zip(list(&json, "/calibration")) {
        assert_numbers(line[1], 1.0, &[&row["guidance"]]);
        assert_numbers(line[2], 1.0, &[&row["cos_threshold"]]);
        assert_numbers(line[3], 100.0, &[&row["accuracy"]]);
        assert_numbers(line[4], 1.0, &[&row["max_divergence"][0]]);
    }
    let paired = tables(&text, "first");
    assert_eq!(
        (paired.len(), calibration[0].len(), tuning.len()),
        (2, 1, 1)
    );
    for (lines, told) in paired.iter().zip(list(&json, "/paired")) {
        let each = list(told, "/comparisons");
        assert_eq!(lines.len(), each.len());
        for (line, told) in lines.iter().zip(each) {
            let ends = &told["ci95"];
            assert_numbers(line[2], 100.0, &[&told["difference"], &ends[0], &ends[1]]);
            assert_pair(&line[3..], told);
        }
    }
    let ranks = tables(&text, "row");
    for (place, line) in ranks[0].iter().enumerate() {
        let by = &list(&json, "/ranking")[0]["rankings"][0];
        assert_numbers(line[1], 1.0, &[&by["ranks"][place]]);
        assert_numbers(line[2], 100.0, &[&by["shares"][place][place]]);
    }
}

/// Patients and p of a paired difference.
fn assert_pair(cells: &[&str], told: &Value) {
    let all = told["better"].as_u64().unwrap() + told["worse"].as_u64().unwrap();
    assert_numbers(cells[0], 1.0, &[&told["better"], &all.into()]);
    assert_numbers(cells[1], 1.0, &[&told["sign_flip"]["adjusted_p"]]);
    assert_numbers(cells[2], 1.0, &[&told["signed_rank"]["adjusted_p"]]);
}

#[test]
fn every_number_of_the_latex_tables_is_in_the_summary() {
    let (summary, json) = made();
    let texts = latex::tables(&summary);
    assert_eq!(texts.len(), 3);
    let rows = list(&json, "/rows");
    let is_gradient = |row: &&Value| row["method"].as_str().unwrap().starts_with("gradient");
    let measures = ["dice", "iou", "auprc"];
    for (name, text) in texts {
        // `\&` is one in a name.
        let text = text.replace("\\&", "and");
        let lines = text
            .lines()
            .filter(|line| line.contains(" & ") && line.contains('$'));
        let lines: Vec<Vec<&str>> = lines
            .filter(|line| line.ends_with(" \\\\") && !line.contains("multicolumn"))
            .map(|line| line.trim_end_matches(" \\\\").split(" & ").collect())
            .collect();
        let cell = |cell: &str, value: &Value| {
            assert_numbers(cell, 100.0, &[&value["mean"], &value["std"]]);
        };
        match name {
            "table1.tex" => {
                let mixed = rows
                    .iter()
                    .filter(|row| row["setup"] == "mixed" && !is_gradient(row));
                let mixed: Vec<&Value> = mixed.collect();
                assert_eq!(lines.len(), mixed.len());
                for (line, row) in lines.iter().zip(mixed) {
                    let other = find(&json, row["method"].as_str().unwrap(), "unhealthy");
                    for (number, measure) in measures.into_iter().enumerate() {
                        cell(line[2 + number], &row[measure]);
                        cell(line[5 + number], &other[measure]);
                    }
                }
            }
            "table3.tex" => {
                let unhealthy = rows.iter().filter(|row| row["setup"] == "unhealthy");
                let own = unhealthy
                    .clone()
                    .filter(|row| row["method"] == "anofpdm-ddim");
                let told: Vec<&Value> = unhealthy.filter(is_gradient).chain(own).collect();
                assert_eq!(lines.len(), told.len());
                for (line, row) in lines.iter().zip(told) {
                    for (measure, text) in measures.into_iter().zip(&line[1..]) {
                        cell(text, &row[measure]);
                    }
                }
            }
            _ => {
                let paired = list(&json, "/paired").iter();
                let told = paired.flat_map(|paired| list(paired, "/comparisons"));
                let told: Vec<&Value> = told.collect();
                assert_eq!(lines.len(), told.len());
                for (line, told) in lines.iter().zip(told) {
                    assert_numbers(line[2], 100.0, &[&told["difference"]]);
                    assert_numbers(line[3], 100.0, &[&told["ci95"][0], &told["ci95"][1]]);
                    assert_pair(&line[4..], told);
                }
            }
        }
    }
}
