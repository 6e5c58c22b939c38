//! What verifying a store takes: `cargo bench --workspace --bench store_verification`.
//!
//! Every subject's bytes are compared with the manifest's digest before a run is planned. Here a store of 10,010 slices of
//! 4 x 128 x 128 (65 subjects of 154; 2.8 GB in the folder for temporary files, read from the page cache) is verified on
//! all cores and on one. The bytes a second are those of the files, the items are slices.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::sync::LazyLock;
use std::time::SystemTime;

use anofpdm_common::ids::Digest;
use anofpdm_common::store::slices::{
    AxisMap, SliceStore, SourceGrid, Split, StoreWriter, SubjectData, SubjectRecord,
};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

const SIDE: usize = 128;
const MODALITIES: [&str; 4] = ["flair", "t1", "t1ce", "t2"];
const SUBJECTS: usize = 65;
const SLICES: usize = 154;

fn main() {
    divan::main();
    // What a static holds is not dropped by itself.
    if let Some(store) = LazyLock::get(&STORE)
        && let Err(error) = std::fs::remove_dir_all(store.root())
    {
        eprintln!("{}: {error}", store.root().display());
    }
}

static STORE: LazyLock<SliceStore> =
    LazyLock::new(|| make().unwrap_or_else(|error| panic!("store: {error}")));

fn make() -> Result<SliceStore, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?.keep();
    let writer = StoreWriter::create(&folder, &MODALITIES.map(str::to_owned), SIDE)?;
    let mut records = Vec::new();
    for number in 0..SUBJECTS {
        let id = format!("s{number:03}");
        let made = writer.write_subject(&id, Digest::of(b""), &subject(number))?;
        records.push(SubjectRecord {
            id,
            patient: None,
            split: Split::Test,
            slices: made.slices,
            lesion_slices: made.lesion_slices,
            digest: made.digest,
        });
    }
    Ok(writer.commit(records, Vec::new())?)
}

fn subject(number: usize) -> SubjectData {
    let pixels = SLICES * SIDE * SIDE;
    let axis = |axis| AxisMap {
        axis,
        flipped: false,
    };
    #[allow(clippy::cast_precision_loss)] // below a thousand
    let value = |i: usize| ((i * 31 + number) % 997) as f32 / 500.0;
    SubjectData {
        notices: Vec::new(),
        image: (0..MODALITIES.len() * pixels).map(value).collect(),
        label: (0..SLICES).map(|slice| u8::from(slice % 2 == 0)).collect(),
        mask: Some((0..pixels).map(|i| u8::from(i % 7 == 0)).collect()),
        slice_index: (0..).take(SLICES).collect(),
        source: SourceGrid {
            shape: [SIDE, SIDE, SLICES],
            affine: [[0.0; 4]; 3],
            axes: [axis(0), axis(1), axis(2)],
            canvas: [SIDE, SIDE],
            padding: [0, 0],
            header: None,
        },
    }
}

fn subjects() -> Vec<String> {
    let records = STORE.manifest().subjects.iter();
    records.map(|subject| subject.id.clone()).collect()
}

/// A file with another time is one that this process has not verified.
fn touch() -> io::Result<()> {
    for subject in subjects() {
        let path = STORE.root().join(format!("subjects/{subject}.safetensors"));
        let file = File::options().write(true).open(path)?;
        file.set_modified(SystemTime::now())?;
    }
    Ok(())
}

fn verify(bencher: Bencher<'_, '_>, on: impl Fn(&mut (dyn FnMut() + Send)) + Sync) {
    let subjects = subjects();
    let bytes = STORE.bytes_of(&subjects);
    bencher
        .counter(BytesCount::new(bytes))
        .counter(ItemsCount::new(SUBJECTS * SLICES))
        .with_inputs(|| touch().unwrap_or_else(|error| panic!("{error}")))
        .bench_local_values(|()| {
            on(&mut || {
                let verified = STORE.verify(&subjects, &|_| ControlFlow::Continue(()));
                verified.unwrap_or_else(|error| panic!("{error}"));
            });
        });
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn on_all_cores(bencher: Bencher<'_, '_>) {
    verify(bencher, |work| work());
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn on_one_core(bencher: Bencher<'_, '_>) {
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let one = one.unwrap_or_else(|error| panic!("{error}"));
    verify(bencher, |work| one.install(work));
}
