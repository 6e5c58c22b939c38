//! `report/results.csv`, `patients.csv` and `slices.csv`: one number, patient or slice a line, for other programs.
//! Fractions; what is not defined is empty.

use std::io::{self, Write};

use super::slices::{SliceName, SliceTable};
use super::summary::{Row, Summary, Value};

type Metric = (&'static str, fn(&Row) -> &Value);

const METRICS: [Metric; 10] = [
    ("dice", |row| &row.dice),
    ("iou", |row| &row.iou),
    ("auprc", |row| &row.auprc),
    ("auprc_batch", |row| &row.auprc_batch),
    ("auroc", |row| &row.auroc),
    ("fpr95", |row| &row.fpr95),
    ("precision", |row| &row.precision),
    ("recall", |row| &row.recall),
    ("hd95", |row| &row.localized.hd95),
    ("lesion_f1", |row| &row.localized.lesion_f1),
];

/// Each metric of each row: a line a noise seed, and one without a seed for their mean with its interval.
pub fn results(summary: &Summary) -> String {
    let mut text = String::from("run,method,w,setup,seed,metric,value,low,high,n\n");
    for row in &summary.rows {
        for (metric, of) in METRICS {
            let value = of(row);
            let [low, high] = value.ci95.map_or([None; 2], |bounds| bounds.map(Some));
            let start = [
                field(&summary.run),
                field(&row.method),
                number(row.guidance),
                row.setup.name().to_owned(),
            ];
            let mut line = |seed: String, value, low, high| {
                let rest = [
                    seed,
                    metric.to_owned(),
                    number(value),
                    number(low),
                    number(high),
                ];
                let fields = [&start[..], &rest[..]].concat();
                text.push_str(&format!("{},{}\n", fields.join(","), row.slices));
            };
            line(String::new(), value.mean, low, high);
            for (seed, value) in row.seeds.iter().zip(&value.per_seed) {
                line(seed.to_string(), *value, None, None);
            }
        }
    }
    text
}

/// Each patient of each row.
pub fn patients(summary: &Summary) -> String {
    let mut text =
        String::from("run,patient,setup,slices,whole,truth,method,w,dice,iou,auprc,predicted\n");
    for patient in &summary.per_patient {
        for row in &patient.rows {
            let fields = [
                field(&summary.run),
                field(&patient.patient),
                patient.setup.name().to_owned(),
                patient.slices.to_string(),
                patient.whole.to_string(),
                patient.truth.to_string(),
                field(&row.method),
                number(row.guidance),
                row.dice.to_string(),
                row.iou.to_string(),
                number(row.auprc),
                row.predicted.to_string(),
            ];
            text.push_str(&fields.join(","));
            text.push('\n');
        }
    }
    text
}

/// Each slice of each cell, written as it is formed: a large run has hundreds of thousands.
pub fn slices(table: &SliceTable, out: &mut impl Write) -> io::Result<()> {
    write!(
        out,
        "patient,subject,slice,unhealthy,brain,method,w,seed,called_unhealthy,predicted,truth,intersection,dice,iou,hd95,\
         lesions,lesions_found,components,components_spurious,ap,cosine,q_star"
    )?;
    for modality in &table.modalities {
        for part in ["t_e", "m_te", "level"] {
            write!(out, ",{}", field(&format!("{part}_{modality}")))?;
        }
    }
    writeln!(out)?;
    let names: Vec<String> = table.slices.iter().map(name).collect();
    for of_cell in &table.cells {
        let cell = format!(
            "{},{},{}",
            field(&of_cell.method),
            number(of_cell.guidance),
            of_cell
                .cell
                .seed
                .map(|seed| seed.to_string())
                .unwrap_or_default()
        );
        for (name, slice) in names.iter().zip(&of_cell.cell.slices) {
            let (overlap, lesions) = (slice.overlap, slice.localization.lesions);
            write!(
                out,
                "{name},{cell},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
                slice.called_unhealthy,
                overlap.predicted,
                overlap.truth,
                overlap.intersection,
                overlap.dice(),
                overlap.iou(),
                number(slice.localization.hd95),
                lesions.truth,
                lesions.found,
                lesions.predicted,
                lesions.spurious,
                number(slice.average_precision),
                single(slice.cosine),
                single(slice.q_star),
            )?;
            for place in 0..table.modalities.len() {
                match slice.modalities.get(place) {
                    Some(decision) => write!(
                        out,
                        ",{},{},{}",
                        decision.end_step, decision.divergence, decision.level_index
                    )?,
                    None => write!(out, ",,,")?,
                }
            }
            writeln!(out)?;
        }
    }
    Ok(())
}

fn name(slice: &SliceName) -> String {
    format!(
        "{},{},{},{},{}",
        field(&slice.patient),
        field(&slice.subject),
        slice.slice,
        slice.unhealthy,
        slice.brain_area
    )
}

fn number(value: Option<f64>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// NaN is not defined either.
fn single(value: Option<f32>) -> String {
    let defined = value.filter(|value| value.is_finite());
    defined.map(|value| value.to_string()).unwrap_or_default()
}

/// Quoted where it would end a field or a line: names of patients come from outside.
pub(super) fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
