//! `anofpdm-worker predict` beside the records of the run that it takes its networks from, on volumes in every order and
//! sense of their axes.

use std::collections::BTreeMap;
use std::path::Path;

use anofpdm_common::store::slices::SourceHeader;
use anofpdm_tests::fixture::{Fixture, SPEC};
use ndarray::{Array3, ShapeBuilder};
use nifti::NiftiHeader;
use nifti::writer::WriterOptions;
use serde_json::Value;

use crate::{predict_geometry, predict_trace};

/// Voxels to the left, the back and the head. Every third is padded to a square of 16, the side of a stored slice.
const fn sides(subject: usize) -> [usize; 3] {
    [16, if is_padded(subject) { 14 } else { 16 }, 10]
}

const fn is_padded(subject: usize) -> bool {
    subject.is_multiple_of(3)
}

const SPACING: [f64; 3] = [1.0, 1.25, 2.5];
const SIZE: &str = "16";

/// Which axis of the source runs along each axis of the head, and whether backwards.
type Axes = [(usize, bool); 3];

/// All 48 of them.
fn orientations() -> Vec<Axes> {
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    let flips = (0..8_usize).map(|bits| [0, 1, 2].map(|axis: usize| bits >> axis & 1 == 1));
    flips
        .flat_map(|flips| {
            orders.map(|order| [0, 1, 2].map(|axis: usize| (order[axis], flips[axis])))
        })
        .collect()
}

/// Columns of the affine, origin included, of an array whose axes lie so.
fn affine(sides: [usize; 3], axes: Axes) -> [[f64; 4]; 3] {
    // Voxel to world of the head itself: left and back are against the world's sense.
    let sense = [-1.0, -1.0, 1.0];
    let mut rows = [[0.0; 4]; 3];
    for (head, (source, flipped)) in axes.into_iter().enumerate() {
        let step = sense[head] * SPACING[head] * if flipped { -1.0 } else { 1.0 };
        rows[head][source] = step;
        let first = if flipped { sides[head] - 1 } else { 0 };
        rows[head][3] = sense[head] * SPACING[head] * first as f64 + 10.0 * head as f64;
    }
    rows
}

/// Head with a lesion that no flip or exchange of axes leaves in its place.
fn voxel(subject: usize, modality: usize, [x, y, z]: [usize; 3]) -> (f32, u8) {
    let sides = sides(subject);
    let at = [x, y, z];
    let at = [0, 1, 2].map(|n: usize| 2.0 * (at[n] as f64 + 0.5) / sides[n] as f64 - 1.0);
    let distance =
        |centre: [f64; 3]| -> f64 { (0..3).map(|n| (at[n] - centre[n]).powi(2)).sum::<f64>() };
    if distance([0.0; 3]) > 0.8 {
        return (0.0, 0);
    }
    let lesion = distance([0.35, -0.2, 0.1]) < 0.12;
    let texture = (x * 7 + y * 13 + z * 29 + subject * 31 + modality * 5) % 17;
    let value = 300.0 + 10.0 * texture as f32 + if lesion { 250.0 } else { 0.0 };
    (value, u8::from(lesion))
}

/// A header whose forms have these codes; a qform says the affine, as far as a rotation can.
fn header(rows: [[f64; 4]; 3], sform: i16, qform: i16, units: u8) -> NiftiHeader {
    let plain = SourceHeader::plain(&rows);
    let single = |x: f64| x as f32;
    let [x, y, z] = rows.map(|row| row.map(single));
    let mut header = NiftiHeader {
        sform_code: sform,
        qform_code: qform,
        xyzt_units: units,
        srow_x: x,
        srow_y: y,
        srow_z: z,
        ..NiftiHeader::default()
    };
    header.pixdim[..4].copy_from_slice(&plain.pixdim.map(single));
    let [b, c, d] = plain.quaternion.map(single);
    (header.quatern_b, header.quatern_c, header.quatern_d) = (b, c, d);
    let [x, y, z] = plain.offset.map(single);
    (header.quatern_x, header.quatern_y, header.quatern_z) = (x, y, z);
    header
}

fn write(folder: &Path, subject: usize, axes: Axes) {
    let sides = sides(subject);
    let codes = [(1, 1), (2, 0), (0, 1), (4, 2)];
    let (sform, qform) = codes[subject % codes.len()];
    let header = header(affine(sides, axes), sform, qform, [2, 10][subject % 2]);
    let mut shape = [0; 3];
    for (head, (source, _)) in axes.into_iter().enumerate() {
        shape[source] = sides[head];
    }
    let of = |place: [usize; 3]| {
        [0, 1, 2].map(|head: usize| {
            let (source, flipped) = axes[head];
            if flipped {
                sides[head] - 1 - place[source]
            } else {
                place[source]
            }
        })
    };
    let path = |name: &str| folder.join(format!("s{subject:02}_{name}.nii.gz"));
    for (modality, name) in ["flair", "t2"].into_iter().enumerate() {
        let image = Array3::from_shape_fn((shape[0], shape[1], shape[2]).f(), |(a, b, c)| {
            voxel(subject, modality, of([a, b, c])).0
        });
        let options = WriterOptions::new(path(name)).reference_header(&header);
        options.write_nifti(&image).unwrap();
    }
    let mask = Array3::from_shape_fn((shape[0], shape[1], shape[2]).f(), |(a, b, c)| {
        voxel(subject, 0, of([a, b, c])).1
    });
    let options = WriterOptions::new(path("seg")).reference_header(&header);
    options.write_nifti(&mask).unwrap();
}

pub(crate) type Counts = [u64; 3];

/// Predicted, true and common pixels of each slice of a method, by subject and place.
pub(crate) fn of_table(
    csv: &str,
    method: &str,
    w: &str,
    seed: &str,
) -> BTreeMap<(String, u64), Counts> {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut found = BTreeMap::new();
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let field = |name: &str| fields[names.iter().position(|n| *n == name).unwrap()];
        if (field("method"), field("w"), field("seed")) == (method, w, seed) {
            let counts = ["predicted", "truth", "intersection"]
                .map(|name| field(name).parse::<u64>().unwrap());
            let slice = field("slice").parse().unwrap();
            found.insert((field("subject").to_owned(), slice), counts);
        }
    }
    found
}

fn of_row(row: &Value) -> BTreeMap<(String, u64), Counts> {
    let volumes = row["volumes"].as_array().unwrap().iter();
    volumes
        .flat_map(|volume| {
            let case = volume["case"].as_str().unwrap();
            volume["slices"]
                .as_array()
                .unwrap()
                .iter()
                .map(move |slice| {
                    let counts = ["predicted", "truth", "intersection"]
                        .map(|name| slice[name].as_u64().unwrap());
                    ((case.to_owned(), slice["slice"].as_u64().unwrap()), counts)
                })
        })
        .collect()
}

/// Pixels of the mask of a stored slice.
pub(crate) fn pixels(fixture: &Fixture, out: &str, subject: &str, place: u64) -> u64 {
    let path = fixture.path().join(format!("{out}/{subject}.json"));
    let result: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let slices = result["slices"].as_array().unwrap();
    let slice = slices.iter().find(|slice| slice["slice"] == place).unwrap();
    slice["mask_pixels"].as_u64().unwrap()
}

#[test]
fn masks_lie_where_the_records_counted_them_whatever_the_axes() {
    let fixture = Fixture::empty();
    let data = fixture.path().join("data");
    std::fs::create_dir(&data).unwrap();
    for (subject, axes) in orientations().into_iter().enumerate() {
        write(&data, subject, axes);
    }
    let preprocess = [
        "preprocess",
        "data",
        "store",
        "--layout",
        "generic",
        "--size",
        SIZE,
        "--split",
        "10/10/80",
    ];
    fixture.succeeds("anofpdm", &preprocess);
    let spec = SPEC
        .replace("test_slices = 18", "test_slices = 1000")
        .replace("steps = 8", "steps = 4")
        .replace(
            "component_area = 2",
            "component_area = 1\nmedian = 3\nquantile_of = \"filtered\"",
        )
        .replace(
            "\"anofpdm-ddim\", \"anofpdm-ddim-ste\", \"anofpdm-ddpm\"",
            "\"anofpdm-ddim\", \"gradient\"",
        );
    fixture.write("tiny.toml", &spec);
    let run = ["run", "tiny.toml", "--dir", "run", "--workers", "1"];
    fixture.succeeds("anofpdm", &run);
    let csv = std::fs::read_to_string(fixture.path().join("run/report/slices.csv")).unwrap();

    for (method, w, seed) in [("anofpdm-ddim", "3", "1"), ("gradient", "1", "0")] {
        let out = format!("out-{method}");
        let predict = [
            "predict",
            "--run",
            "run",
            "--store",
            "store",
            "--out",
            &out,
            "--method",
            method,
            "--guidance",
            w,
            "--seed",
            seed,
        ];
        fixture.succeeds("anofpdm-worker", &predict);
        let row = format!("{method}.json");
        let metrics = [
            "metrics",
            "--pred",
            &out,
            "--pred-suffix",
            "_mask",
            "--truth",
            "data",
            "--truth-suffix",
            "_seg",
            "--store",
            "store",
            "--maps",
            &out,
            "--maps-suffix",
            "_map",
            "--row",
            &row,
            "--name",
            "again",
        ];
        fixture.succeeds("anofpdm", &metrics);
        let row: Value =
            serde_json::from_slice(&std::fs::read(fixture.path().join(row)).unwrap()).unwrap();
        let (expected, found) = (of_table(&csv, method, w, seed), of_row(&row));
        assert!(expected.len() > 200, "{} slices", expected.len());
        let subjects: std::collections::BTreeSet<&String> =
            expected.keys().map(|(subject, _)| subject).collect();
        assert!(subjects.len() >= 36, "{} subjects", subjects.len());
        for (slice, counts) in &expected {
            let (subject, place) = slice;
            let mut found = found[slice];
            if is_padded(subject[1..].parse().unwrap()) {
                // Pixels of the padding have no place in the volume; they are no lesion either.
                assert!(found[0] <= counts[0], "{method} {slice:?}");
                found[0] = pixels(&fixture, &out, subject, *place);
            }
            assert_eq!(found, *counts, "{method} {slice:?}");
        }
        let hits: u64 = expected.values().map(|[_, _, common]| common).sum();
        assert!(
            hits > 0,
            "{method}: no mask meets a lesion, and nothing was compared"
        );
    }
    files_give_what_the_store_gives(&fixture);
    predict_geometry::is_that_of_the_source(&fixture, "out-gradient");
    for out in ["out-gradient", "out-anofpdm-ddim"] {
        predict_geometry::another_reader_sees_it_too(&fixture, out);
    }
    decisions_are_those_of_the_records(&fixture, &csv);
    predict_trace::a_picture_is_of_the_step_that_the_records_name(&fixture, &csv);
    what_does_not_fit_is_refused(&fixture);
    a_row_stands_in_the_table(&fixture);
}

/// Volumes that are no subject of any store: the coordinator makes slices of them as the run's were made.
fn files_give_what_the_store_gives(fixture: &Fixture) {
    let read = |path: String| std::fs::read(fixture.path().join(path)).unwrap();
    for subject in ["s06", "s31"] {
        let inputs = ["t2", "flair"].map(|name| format!("{name}=data/{subject}_{name}.nii.gz"));
        let predict = [
            "predict",
            "--run",
            "run",
            "--input",
            &inputs[0],
            "--input",
            &inputs[1],
            "--subject",
            subject,
            "--out",
            "out-files",
            "--method",
            "gradient",
            "--guidance",
            "1",
            "--seed",
            "0",
        ];
        fixture.succeeds("anofpdm", &predict);
        for end in ["_map.nii.gz", "_mask.nii.gz", ".json"] {
            let [found, expected] =
                ["out-files", "out-gradient"].map(|out| read(format!("{out}/{subject}{end}")));
            assert!(found == expected, "{subject}{end}");
        }
    }
    // The slices were for this once.
    let left = std::fs::read_dir(fixture.path().join("out-files")).unwrap();
    assert_eq!(left.count(), 6);
    let missing = [
        "predict",
        "--run",
        "run",
        "--input",
        "t2=data/s06_t2.nii.gz",
        "--out",
        "x",
    ];
    let message = fixture.fails("anofpdm", &missing, 1);
    assert!(
        message.contains("no file for modality 'flair'"),
        "{message}"
    );
}

/// The masks of one seed as those of another program.
fn a_row_stands_in_the_table(fixture: &Fixture) {
    let before = fixture.summary("run");
    fixture.succeeds("anofpdm", &["report", "run", "--with", "anofpdm-ddim.json"]);
    let after = fixture.summary("run");
    assert_eq!(before["fingerprint"], after["fingerprint"]);
    let find = |summary: &Value, method: &str, w: Option<f64>, metric: &str| -> Option<f64> {
        let rows = summary["rows"].as_array().unwrap().iter();
        let mut rows = rows.filter(|row| row["setup"] == "unhealthy" && row["method"] == method);
        let row = rows.find(|row| row["guidance"].as_f64() == w)?;
        row[metric]["per_seed"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .as_f64()
    };
    assert_eq!(find(&before, "again", None, "dice"), None);
    let both = |metric: &str| {
        (
            find(&after, "again", None, metric),
            find(&after, "anofpdm-ddim", Some(3.0), metric),
        )
    };
    let (found, own) = both("dice");
    // But for pixels of the padding they are the same masks.
    assert!(
        (found.unwrap() - own.unwrap()).abs() < 0.01,
        "{found:?} {own:?}"
    );
    // The map of the files is that of the records, wherever the axes of a file run: the same pixels are ranked.
    for metric in ["auprc", "auroc", "fpr95"] {
        let (found, own) = both(metric);
        assert!(
            found.is_some() && found == own,
            "{metric}: {found:?} {own:?}"
        );
    }
    let names = |paired: &Value| paired.to_string().contains("\"again\"");
    let paired = after["paired"].as_array().unwrap();
    assert_eq!(paired.len(), 4);
    assert!(paired.iter().all(names));
    let twice = [
        "report",
        "run",
        "--with",
        "anofpdm-ddim.json",
        "--with",
        "anofpdm-ddim.json",
    ];
    let message = fixture.fails("anofpdm", &twice, 1);
    assert!(message.contains("a row called again"), "{message}");
}

fn decisions_are_those_of_the_records(fixture: &Fixture, csv: &str) {
    let names: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    let mut compared = 0;
    for line in csv.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let field = |name: &str| fields[names.iter().position(|n| *n == name).unwrap()];
        if (field("method"), field("w"), field("seed")) != ("anofpdm-ddim", "3", "1") {
            continue;
        }
        let path = format!("out-anofpdm-ddim/{}.json", field("subject"));
        let result: Value =
            serde_json::from_slice(&std::fs::read(fixture.path().join(path)).unwrap()).unwrap();
        let place: i64 = field("slice").parse().unwrap();
        let slices = result["slices"].as_array().unwrap();
        let slice = slices.iter().find(|slice| slice["slice"] == place).unwrap();
        let close = |found: &Value, want: &str| {
            let (found, want) = (found.as_f64().unwrap(), want.parse::<f64>().unwrap());
            (found - want).abs() <= 1e-6 * want.abs()
        };
        assert!(close(&slice["cosine"], field("cosine")), "{slice} {line}");
        assert!(
            close(&slice["threshold"], field("q_star")),
            "{slice} {line}"
        );
        let t_e = slice["modalities"][0]["t_e"].to_string();
        let of_flair = names
            .iter()
            .position(|name| name.starts_with("t_e_"))
            .unwrap();
        assert_eq!(t_e, fields[of_flair], "{line}");
        let called = matches!(field("called_unhealthy"), "1" | "true");
        assert_eq!(slice["unhealthy"].as_bool(), Some(called), "{line}");
        assert_eq!(result["same_profile"], true);
        compared += 1;
    }
    assert!(compared > 200);
}

fn what_does_not_fit_is_refused(fixture: &Fixture) {
    let refused = |more: &[&str], code: i32| {
        let base = ["predict", "--run", "run", "--out", "refused"];
        fixture.fails("anofpdm-worker", &[&base[..], more].concat(), code)
    };
    let message = refused(&["--store", "store", "--method", "anofpdm-ddpm"], 1);
    assert!(
        message.contains("it has anofpdm-ddim, gradient"),
        "{message}"
    );
    let message = refused(&["--store", "store", "--guidance", "9"], 1);
    assert!(message.contains("strengths 1, 3; choose one"), "{message}");
    let message = refused(
        &["--store", "store", "--guidance", "1", "--subject", "nobody"],
        2,
    );
    assert!(message.contains("--subject nobody"), "{message}");
    let swapped = [
        "preprocess",
        "data",
        "swapped",
        "--layout",
        "generic",
        "--size",
        SIZE,
        "--modalities",
        "t2,flair",
    ];
    fixture.succeeds("anofpdm", &swapped);
    let message = refused(&["--store", "swapped", "--guidance", "1"], 1);
    assert!(
        message.contains("the modalities flair, t2, the store has t2, flair"),
        "{message}"
    );
    let message = fixture.fails(
        "anofpdm-worker",
        &[
            "predict", "--run", "data", "--store", "store", "--out", "refused",
        ],
        1,
    );
    assert!(message.contains("is no run"), "{message}");
}
