//! Tests of every layout: the axis that a store calls left and right is the one along which they lie, and a spec that
//! needs to know it is refused where the store does not.

use std::path::Path;
use std::process::ExitCode;

use anofpdm_common::spec::RunSpec;
use anofpdm_common::store::slices::{NoLeftRight, SliceAxis, SliceStore};
use ndarray::{Array3, ShapeBuilder};
use nifti::NiftiHeader;
use nifti::writer::WriterOptions;

use super::layouts::LayoutName;
use super::preprocess::{self, Outcome, Progress, preprocess};
use crate::cli::failure::{USAGE, exit_code};
use crate::spec_file::SpecFile;

struct Silent;

impl Progress for Silent {
    fn begin(&self, _: usize) {}
    fn done(&self, _: &str, _: &Outcome) {}
    fn stopped(&self) -> bool {
        false
    }
}

/// Voxels from side to side, from front to back, from feet to head.
const SIDES: [usize; 3] = [12, 10, 5];

const SIDE: usize = 16;

/// The world axis and the sense of each array axis: side to side is 0, front and back 1, feet and head 2.
type Order = [(usize, f32); 3];

/// As BraTS and as ATLAS are stored, a sagittal scan, and one whose array begins at the head.
const ORDERS: [Order; 4] = [
    [(0, -1.0), (1, -1.0), (2, 1.0)],
    [(0, 1.0), (1, 1.0), (2, 1.0)],
    [(1, -1.0), (2, -1.0), (0, 1.0)],
    [(2, -1.0), (0, 1.0), (1, 1.0)],
];

const LAYOUTS: [(LayoutName, &str, &str); 3] = [
    (LayoutName::Brats, "flair", "seg"),
    (LayoutName::Atlas, "T1w", "mask"),
    (LayoutName::Generic, "flair", "seg"),
];

/// What voxels of an image hold on either side of the patient, and what those of a mask do.
const IMAGE: [f32; 2] = [300.0, 900.0];
const MASK: [f32; 2] = [0.0, 1.0];

/// A volume of two values, one on each side of the patient; the first and last slice are empty.
fn write(path: &Path, order: Order, header: &NiftiHeader, [one, other]: [f32; 2]) {
    let shape = order.map(|(world, _)| SIDES[world]);
    let volume = Array3::from_shape_fn(shape.f(), |(i, j, k)| {
        let mut place = [0; 3];
        for (index, (world, _)) in [i, j, k].into_iter().zip(order) {
            place[world] = index;
        }
        match place {
            [_, _, 0] => 0.0_f32,
            [_, _, z] if z == SIDES[2] - 1 => 0.0,
            [x, ..] if x < SIDES[0] / 2 => one,
            _ => other,
        }
    });
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    WriterOptions::new(path)
        .reference_header(header)
        .write_nifti(&volume)
        .unwrap();
}

fn header(order: Order) -> NiftiHeader {
    let mut rows = [[0.0, 0.0, 0.0, -40.0]; 3];
    for (axis, (world, sense)) in order.into_iter().enumerate() {
        rows[world][axis] = sense;
    }
    NiftiHeader {
        srow_x: rows[0],
        srow_y: rows[1],
        srow_z: rows[2],
        qform_code: 0,
        ..NiftiHeader::default()
    }
}

/// What software writes that knows no orientation.
fn identity() -> NiftiHeader {
    let mut header = header(ORDERS[1]);
    for row in [&mut header.srow_x, &mut header.srow_y, &mut header.srow_z] {
        row[3] = 0.0;
    }
    header
}

fn write_subject(folder: &Path, id: &str, names: [&str; 2], order: Order, header: &NiftiHeader) {
    for (name, values) in names.into_iter().zip([IMAGE, MASK]) {
        let path = folder.join(format!("in/{id}/{id}_{name}.nii.gz"));
        write(&path, order, header, values);
    }
}

fn store(folder: &Path, layout: LayoutName) -> SliceStore {
    let request = preprocess::Request {
        input: folder.join("in"),
        store: folder.join("store"),
        layout,
        modalities: None,
        size: SIDE,
        labels: None,
        split: "34/33/33".to_owned(),
        seed: 0,
        preview: false,
        threads: Some(1),
    };
    preprocess(&request, &Silent).unwrap().store
}

/// The difference of the two halves of a slice along `axis`, in parts of their sum.
fn lopsided(slice: &[f32], axis: SliceAxis) -> f32 {
    let mut halves = [0.0; 2];
    for (index, value) in slice.iter().enumerate() {
        let place = match axis {
            SliceAxis::Rows => index / SIDE,
            SliceAxis::Columns => index % SIDE,
        };
        halves[usize::from(place >= SIDE / 2)] += value;
    }
    (halves[0] - halves[1]).abs() / (halves[0] + halves[1])
}

#[test]
fn every_layout_knows_along_which_axis_the_sides_lie() {
    for (layout, modality, mask) in LAYOUTS {
        for order in ORDERS {
            let folder = tempfile::tempdir().unwrap();
            write_subject(folder.path(), "a", [modality, mask], order, &header(order));
            let store = store(folder.path(), layout);
            let subject = store.images().subject("a").unwrap();
            let axis = subject.source().left_right().unwrap();
            let mut slice = Vec::new();
            subject.read_slice(1, &mut slice).unwrap();
            let other = match axis {
                SliceAxis::Rows => SliceAxis::Columns,
                SliceAxis::Columns => SliceAxis::Rows,
            };
            // Half of the sum where the brightness is 3 : 1.
            assert!(
                (lopsided(&slice, axis) - 0.5).abs() < 0.02,
                "{layout:?} {order:?}"
            );
            assert!(lopsided(&slice, other) < 1e-3, "{layout:?} {order:?}");
        }
    }
}

#[test]
fn without_an_orientation_no_layout_knows_it() {
    for (layout, modality, mask) in LAYOUTS {
        let folder = tempfile::tempdir().unwrap();
        write_subject(folder.path(), "a", [modality, mask], ORDERS[1], &identity());
        let subject = store(folder.path(), layout).images().subject("a").unwrap();
        assert_eq!(
            subject.source().left_right(),
            Err(NoLeftRight::NoOrientation)
        );
    }
}

const SPEC: &str = r#"
name = "sides"
[data]
store = "store"
validation_slices = 1
test_slices = 1
[model.guided]
channels = 32
channel_mult = [1, 2]
res_blocks = 1
attention = [8]
heads = 2
[model.guided.train]
steps = 100
batch = 2
ema = 0.9
[score]
steps = 8
respacing = 20
methods = ["anofpdm-ddim"]
guidance = [1]
component_area = 2
"#;

/// Warnings of `plan` for three subjects with these headers, where the training is this.
fn planned(headers: [NiftiHeader; 3], train: &str) -> Result<Vec<String>, anyhow::Error> {
    let folder = tempfile::tempdir().unwrap();
    for (id, header) in ["a", "b", "c"].into_iter().zip(headers) {
        write_subject(folder.path(), id, ["flair", "seg"], ORDERS[1], &header);
    }
    store(folder.path(), LayoutName::Brats);
    let text = SPEC.replace("ema = 0.9", train);
    let spec_file = SpecFile::of(RunSpec::parse(&text)?, folder.path().join("sides.toml"));
    let estimate = spec_file.estimate(&spec_file.dataset()?, Some(&folder.path().join("run")))?;
    Ok(estimate.warnings)
}

#[test]
fn a_flipped_training_needs_the_sides_and_few_patients_are_told_of_it() {
    let oriented = || [(); 3].map(|()| header(ORDERS[1]));
    let told = |warnings: &[String]| warnings.iter().any(|text| text.contains("augment"));
    let warnings = planned(oriented(), "ema = 0.9").unwrap();
    assert!(told(&warnings), "{warnings:?}");
    assert!(
        warnings.iter().any(|text| text
            .contains("[model.guided.train]: 1 training patient(s) are few: augment = \"flip\"")),
        "{warnings:?}"
    );
    let flip = "ema = 0.9\naugment = \"flip\"";
    assert!(!told(&planned(oriented(), flip).unwrap()));
    let refused = planned([(); 3].map(|()| identity()), flip).unwrap_err();
    let message = refused.to_string();
    assert!(
        message
            .contains("not known: its volumes have no orientation (their affine is the identity)")
            && message.contains("set augment = \"none\""),
        "{message}"
    );
    assert_eq!(
        format!("{:?}", exit_code(&refused)),
        format!("{:?}", ExitCode::from(USAGE))
    );
    assert!(planned([(); 3].map(|()| identity()), "ema = 0.9").is_ok());
}
