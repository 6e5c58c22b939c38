//! What a measurement runs on: a slice store that is written directly, and a spec.

use std::path::Path;

use anofpdm_common::ids::Digest;
use anofpdm_common::store::slices::{
    AxisMap, SourceGrid, Split, StoreError, StoreWriter, SubjectData, SubjectRecord,
};

use super::Workers;
use crate::fixture::Fixture;

/// Name of the spec's file, and of the folder of the run.
pub const SPEC: &str = "scale.toml";
pub const RUN: &str = "scale";

/// Slices of a subject, as BraTS volumes have them.
const SLICES: usize = 154;

const MODALITIES: [&str; 2] = ["flair", "t2"];

/// Radius of the head as a share of a slice's side: 3,200 of 128 x 128 pixels, of which a record holds the scores.
const HEAD: f32 = 0.25;

/// A batch of slices of 128 x 128 with three strengths of four maps makes twelve rows, all of one walk a seed.
const BATCH: usize = 33;

/// How large a slice is, and what is asked of each.
#[derive(Debug, Clone, Copy)]
struct Shape {
    side: usize,
    batch: usize,
    shard: usize,
    steps: u32,
    methods: &'static str,
    guidance: &'static str,
}

/// Twelve rows of slices as large as the paper's.
const REAL: Shape = Shape {
    side: 128,
    batch: BATCH,
    shard: 4 * BATCH,
    steps: 2,
    methods: r#"["anofpdm-ddim", "anofpdm-ddim-ste", "gradient", "gradient-weighted"]"#,
    guidance: "[1, 2, 3]",
};

/// One row of slices so small that records cost nothing; a slice is a shard.
const SMALL: Shape = Shape {
    side: 16,
    batch: 1,
    shard: 1,
    steps: 10,
    methods: r#"["anofpdm-ddim"]"#,
    guidance: "[1]",
};

impl Shape {
    const fn of(workers: Workers) -> Self {
        match workers {
            Workers::Processes(_) => REAL,
            Workers::Simulated(_) => SMALL,
        }
    }
}

/// Calls of a fake network for a batch: two predictions a step.
pub const fn calls_of_a_batch(workers: Workers) -> u32 {
    2 * Shape::of(workers).steps
}

/// A folder with store and spec for so many slices, each scored with three seeds.
pub fn make(slices: usize, workers: Workers) -> Fixture {
    let fixture = Fixture::empty().with_fake_workers();
    let shape = Shape::of(workers);
    write_store(&fixture.path().join("store"), slices, shape.side)
        .unwrap_or_else(|error| panic!("store: {error}"));
    fixture.write(SPEC, &spec(slices, &shape));
    fixture
}

fn spec(slices: usize, shape: &Shape) -> String {
    // At the second level of two.
    let attention = shape.side / 2;
    let Shape {
        batch,
        shard,
        steps,
        methods,
        guidance,
        ..
    } = shape;
    format!(
        r#"
name = "{RUN}"
[data]
store = "store"
validation_slices = {BATCH}
test_slices = {slices}
[model.guided]
channels = 32
channel_mult = [1, 2]
res_blocks = 1
attention = [{attention}]
heads = 2
[model.guided.train]
steps = 1
batch = 1
ema = 0.5
[score]
steps = {steps}
respacing = 20
methods = {methods}
guidance = {guidance}
seeds = [0, 1, 2]
[compute]
batch_slices = {batch}
shard_slices = {shard}
"#
    )
}

/// A subject to train on, one to calibrate on, and as many as it takes to score `slices`.
fn write_store(folder: &Path, slices: usize, side: usize) -> Result<(), StoreError> {
    let writer = StoreWriter::create(folder, &MODALITIES.map(str::to_owned), side)?;
    let test = (0..slices).step_by(SLICES).map(|first| {
        let count = SLICES.min(slices - first);
        (Split::Test, count)
    });
    let subjects = [(Split::Train, 2), (Split::Validation, BATCH)];
    let mut records = Vec::new();
    for (number, (split, count)) in subjects.into_iter().chain(test).enumerate() {
        let id = format!("s{number:04}");
        let made = writer.write_subject(&id, Digest::of(b""), &subject(number, count, side))?;
        records.push(SubjectRecord {
            id,
            patient: None,
            split,
            slices: made.slices,
            lesion_slices: made.lesion_slices,
            digest: made.digest,
        });
    }
    writer.commit(records, Vec::new()).map(drop)
}

/// A round head in nothing; every other slice with a bright lesion in it.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // sides of slices
fn subject(number: usize, slices: usize, side: usize) -> SubjectData {
    let pixels = side * side;
    let from_centre = |pixel: usize, x: f32, y: f32| {
        let (row, column) = (pixel / side, pixel % side);
        let half = side as f32 / 2.0;
        (column as f32 - half - x).hypot(row as f32 - half - y)
    };
    let head = |pixel| from_centre(pixel, 0.0, 0.0) < HEAD * side as f32;
    let lesion = |slice: usize, pixel| {
        let beside = HEAD * side as f32 / 3.0;
        let [x, y] = [slice % 3, slice % 5].map(|place| (place as f32 / 2.0 - 1.0) * beside / 2.0);
        slice.is_multiple_of(2) && from_centre(pixel, x, y) < beside / 1.5
    };
    let value = |modality: usize, slice: usize, pixel: usize| {
        if !head(pixel) {
            return 0.0;
        }
        let texture = (pixel * 31 + slice * 17 + number * 7 + modality * 3) % 997;
        let bright = if lesion(slice, pixel) { 0.3 } else { 0.0 };
        0.4 + texture as f32 / 3_323.0 + bright
    };
    let image = (0..slices).flat_map(|slice| {
        (0..MODALITIES.len())
            .flat_map(move |modality| (0..pixels).map(move |pixel| value(modality, slice, pixel)))
    });
    let mask =
        (0..slices).flat_map(|slice| (0..pixels).map(move |pixel| u8::from(lesion(slice, pixel))));
    let axis = |axis| AxisMap {
        axis,
        flipped: false,
    };
    SubjectData {
        notices: Vec::new(),
        image: image.collect(),
        label: (0..slices)
            .map(|slice| u8::from(slice.is_multiple_of(2)))
            .collect(),
        mask: Some(mask.collect()),
        slice_index: (0..).take(slices).collect(),
        source: SourceGrid {
            shape: [side, side, slices],
            affine: [[0.0; 4]; 3],
            axes: [axis(0), axis(1), axis(2)],
            canvas: [side, side],
            padding: [0, 0],
            header: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_slices_have_a_lesion_and_all_a_head() {
        let made = subject(3, 4, 128);
        let pixels = 128 * 128;
        let of = |slice: usize, values: &[u8]| -> usize {
            values[slice * pixels..(slice + 1) * pixels]
                .iter()
                .filter(|value| **value != 0)
                .count()
        };
        let mask = made.mask.unwrap();
        let heads: Vec<u8> = made.image.iter().map(|x| u8::from(*x > 0.0)).collect();
        for slice in 0..4 {
            assert_eq!(of(slice, &mask) > 0, slice % 2 == 0);
            assert_eq!(made.label[slice] == 1, slice % 2 == 0);
            // Two modalities a slice.
            let head = of(2 * slice, &heads);
            assert!((3_000..3_400).contains(&head), "{head}");
        }
        assert!(made.image.iter().all(|value| (0.0..=1.0).contains(value)));
    }
}
