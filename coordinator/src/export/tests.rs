//! What is written is read back by the library's reader, which shares no code with what wrote it.

use std::collections::BTreeMap;
use std::fs;

use anofpdm_common::ids::Digest;
use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::*;
use crate::report::data::{Data, list_digest};
use crate::report::summary::Summary;
use crate::report::tests::summary;

/// The summary of the report's tests, with a row that its slice belongs to.
fn made() -> Summary {
    let mut summary = summary();
    summary.data = Some(Data {
        store: Digest::of(b"store"),
        modalities: vec!["flair".to_owned()],
        scored: vec!["flair".to_owned()],
        size: 10,
        test_list: list_digest(&summary.slices.slices),
        splits: Vec::new(),
    });
    let dice = summary.slices.cells[0].cell.slices[0].overlap.dice();
    summary
        .rows
        .retain(|row| row.seeds.is_empty() || row.method == "anofpdm-ddim");
    for row in summary.rows.iter_mut().filter(|row| !row.seeds.is_empty()) {
        row.seeds = vec![1];
        row.dice.per_seed = vec![Some(dice)];
        row.auprc.per_seed = vec![None];
    }
    summary
}

fn report(folder: &Path) -> Summary {
    let summary = made();
    fs::write(
        folder.join("summary.json"),
        serde_json::to_string(&summary).unwrap(),
    )
    .unwrap();
    let mut csv = Vec::new();
    tidy::slices(&summary.slices, &mut csv).unwrap();
    fs::write(folder.join("slices.csv"), csv).unwrap();
    summary
}

type Lines = Vec<BTreeMap<String, Field>>;

fn read(path: &Path) -> (Lines, SerializedFileReader<fs::File>) {
    let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    let lines = reader.get_row_iter(None).unwrap();
    let lines = lines.map(|line| {
        let line = line.unwrap();
        let fields = line.get_column_iter();
        fields
            .map(|(name, field)| (name.clone(), field.clone()))
            .collect()
    });
    (lines.collect(), reader)
}

fn double(field: &Field) -> Option<f64> {
    match field {
        Field::Double(value) => Some(*value),
        Field::Null => None,
        other => panic!("{other:?} is no number"),
    }
}

fn text(text: &str) -> Field {
    Field::Str(text.to_owned())
}

#[test]
fn parquet_files_say_what_the_summary_says() {
    let dir = tempfile::tempdir().unwrap();
    let summary = report(dir.path());
    let out = dir.path().join("out");
    let files = export(dir.path(), Format::Parquet, Some(&out)).unwrap();
    let names = ["results", "patients", "slices"].map(|name| out.join(format!("{name}.parquet")));
    assert_eq!(files, names);

    let (lines, reader) = read(&files[0]);
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
                    line["method"] == text(&row.method)
                        && line["setup"] == text(row.setup.name())
                        && line["metric"] == text(metric)
                })
                .collect();
            assert_eq!(of_value.len(), 1 + row.seeds.len());
            seen += of_value.len();
            let mean = of_value[0];
            assert_eq!(double(&mean["value"]), value.mean);
            let ends = [double(&mean["low"]), double(&mean["high"])];
            assert_eq!(Some(ends), value.ci95.map(|ends| ends.map(Some)));
            assert_eq!(
                (&mean["n"], &mean["seed"]),
                (&Field::Long(40), &Field::Null)
            );
            assert_eq!(
                (&mean["run"], double(&mean["w"])),
                (&text(&summary.run), row.guidance)
            );
            for (line, seed) in of_value[1..].iter().zip(&row.seeds) {
                assert_eq!(line["seed"], Field::Long(i64::try_from(*seed).unwrap()));
                assert_eq!(double(&line["value"]), value.per_seed[0]);
            }
        }
    }
    assert_eq!(seen, lines.len());
    let file = reader.metadata().file_metadata();
    let notes = file.key_value_metadata().unwrap();
    let told = notes
        .iter()
        .find(|note| note.key == "anofpdm.fingerprint")
        .unwrap();
    assert_eq!(told.value, Some(summary.fingerprint.to_string()));
    let method = file.schema_descr().column(1);
    assert_eq!(
        (method.name(), method.physical_type()),
        ("method", Physical::BYTE_ARRAY)
    );
    assert_eq!(method.logical_type_ref(), Some(&LogicalType::String));
    let w = file.schema_descr().column(2);
    assert_eq!(w.physical_type(), Physical::DOUBLE);
    assert_eq!(
        w.self_type().get_basic_info().repetition(),
        Repetition::OPTIONAL
    );

    let (lines, _) = read(&files[1]);
    let (line, patient) = (&lines[0], &summary.per_patient[0]);
    assert_eq!(
        (lines.len(), &line["patient"]),
        (1, &text(&patient.patient))
    );
    assert_eq!(
        (&line["whole"], &line["truth"]),
        (&Field::Bool(true), &Field::Long(123))
    );
    assert_eq!(double(&line["dice"]), Some(patient.rows[0].dice));
    assert_eq!(
        (double(&line["predicted"]), double(&line["auprc"])),
        (Some(99.5), None)
    );

    let (lines, _) = read(&files[2]);
    let (line, slice) = (&lines[0], &summary.slices.cells[0].cell.slices[0]);
    for (column, want) in [
        ("patient", text("p")),
        ("slice", Field::Long(77)),
        ("unhealthy", Field::Bool(true)),
        ("seed", Field::Long(1)),
        ("predicted", Field::Long(i64::from(slice.overlap.predicted))),
        ("dice", Field::Double(slice.overlap.dice())),
        ("hd95", Field::Double(2.5)),
        ("lesions_found", Field::Long(1)),
        ("ap", Field::Double(0.625)),
        ("q_star", Field::Null),
        ("t_e_flair", Field::Long(7)),
        ("m_te_flair", Field::Double(0.25)),
        ("level_flair", Field::Long(9)),
    ] {
        assert_eq!(line[column], want, "{column}");
    }
}

#[test]
fn csv_files_are_those_of_the_report() {
    let dir = tempfile::tempdir().unwrap();
    let summary = report(dir.path());
    let out = dir.path().join("out");
    let files = export(&dir.path().join("summary.json"), Format::Csv, Some(&out)).unwrap();
    let texts: Vec<String> = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let slices = fs::read_to_string(dir.path().join("slices.csv")).unwrap();
    assert_eq!(
        texts,
        [
            tidy::results(&summary),
            tidy::patients(&summary),
            slices.clone()
        ]
    );
    // Into the report itself: its file of slices stays.
    let files = export(dir.path(), Format::Csv, None).unwrap();
    assert_eq!(fs::read_to_string(&files[2]).unwrap(), slices);
    fs::remove_file(dir.path().join("slices.csv")).unwrap();
    let refused = export(dir.path(), Format::Csv, None).unwrap_err();
    assert!(refused.to_string().contains("slices.csv"), "{refused}");
}

/// More lines than a row group holds, undefined ones at its ends.
#[test]
fn many_lines_come_back_in_their_order() {
    let mut csv = String::from("run,seed,value\n");
    let value = |line: usize| (!line.is_multiple_of(3)).then_some(line as f64 / 8.0);
    for line in 0..70_000 {
        let value = value(line)
            .map(|value| value.to_string())
            .unwrap_or_default();
        csv.push_str(&format!("\"r,{}\",{line},{value}\n", line % 5));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.parquet");
    fs::write(
        &path,
        parquet_file::parquet(RESULTS, csv.as_bytes(), &[]).unwrap(),
    )
    .unwrap();
    let (lines, reader) = read(&path);
    assert_eq!((lines.len(), reader.num_row_groups()), (70_000, 2));
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line["run"], text(&format!("r,{}", number % 5)));
        assert_eq!(line["seed"], Field::Long(i64::try_from(number).unwrap()));
        assert_eq!(double(&line["value"]), value(number));
    }
    let empty = parquet_file::parquet(RESULTS, &b"run,value\n"[..], &[]).unwrap();
    fs::write(&path, empty).unwrap();
    assert!(read(&path).0.is_empty());
    for (csv, want) in [
        ("run,other\n", "a column \"other\""),
        ("run,t_e_x\n", "a column \"t_e_x\""),
        ("run,seed\nr,1.5\n", "line 2: \"1.5\" cannot be seed"),
        ("run,seed\nr\n", "results.csv: CSV error"),
    ] {
        let refused = parquet_file::parquet(RESULTS, csv.as_bytes(), &[]).unwrap_err();
        assert!(refused.to_string().contains(want), "{refused}");
    }
}
