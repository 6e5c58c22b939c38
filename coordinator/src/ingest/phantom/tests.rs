use super::*;
use crate::ingest::layouts::LayoutName;
use crate::ingest::preprocess::{self, Outcome, Progress};
use anofpdm_common::store::scaling::{Scaling, foreground};
use anofpdm_common::store::slices::SliceStore;

struct Silent;

impl Progress for Silent {
    fn begin(&self, _: usize) {}
    fn done(&self, _: &str, _: &Outcome) {}
    fn stopped(&self) -> bool {
        false
    }
}

fn request(kind: Kind, subjects: usize, grid: usize) -> Request {
    Request {
        kind,
        subjects,
        seed: 7,
        grid,
    }
}

fn files(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .flat_map(|folder| {
            fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().path())
        })
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            (
                path.strip_prefix(root).unwrap().to_path_buf(),
                fs::read(&path).unwrap(),
            )
        })
        .collect()
}

fn store(
    kind: Kind,
    layout: LayoutName,
    subjects: usize,
    size: usize,
) -> (tempfile::TempDir, SliceStore) {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("phantom");
    generate(&request(kind, subjects, 80), &input, &|_| ()).unwrap();
    let request = preprocess::Request {
        input,
        store: folder.path().join("store"),
        layout,
        modalities: None,
        size,
        labels: None,
        split: "75/5/20".to_owned(),
        seed: 0,
        preview: true,
        threads: None,
    };
    let report = preprocess::preprocess(&request, &Silent).unwrap();
    assert!(report.preview.unwrap().is_file());
    assert!(report.store.manifest().skipped.is_empty());
    (folder, report.store)
}

#[test]
fn the_same_whatever_the_number_of_threads_and_after_an_interruption() {
    let folder = tempfile::tempdir().unwrap();
    let request = request(Kind::Brats, 3, 32);
    let one = folder.path().join("one");
    let many = folder.path().join("many");
    let threads = |n| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(n)
            .build()
            .unwrap()
    };
    threads(1)
        .install(|| generate(&request, &one, &|_| ()))
        .unwrap();
    threads(3)
        .install(|| generate(&request, &many, &|_| ()))
        .unwrap();
    assert!(files(&one) == files(&many));

    fs::remove_file(many.join("Phantom_00002/Phantom_00002_seg.nii.gz")).unwrap();
    fs::write(many.join("Phantom_00002/Phantom_00002_t2.nii.gz"), b"half").unwrap();
    generate(&request, &many, &|_| ()).unwrap();
    assert!(files(&one) == files(&many));

    let other = Request { seed: 8, ..request };
    assert!(matches!(
        generate(&other, &many, &|_| ()),
        Err(PhantomError::Foreign(_))
    ));
}

#[test]
fn atlas_layout() {
    let (_folder, store) = store(Kind::Atlas, LayoutName::Atlas, 3, 32);
    assert_eq!(store.manifest().modalities, ["t1"]);
    assert_eq!(store.manifest().subjects.len(), 3);
}

/// DICE of `value >= threshold`, mean over slices, for each of 101 thresholds.
fn threshold_dice(slices: &[(Vec<f32>, Vec<u8>)]) -> Vec<f64> {
    (0..=100)
        .map(|step| {
            let threshold = f32::from(step as i16) / 50.0 - 1.0;
            let dice = |(image, mask): &(Vec<f32>, Vec<u8>)| {
                let (mut both, mut sum) = (0_u32, 0_u32);
                for (x, y) in image.iter().zip(mask) {
                    let predicted = u32::from(*x >= threshold);
                    both += predicted & u32::from(*y);
                    sum += predicted + u32::from(*y);
                }
                f64::from(2 * both) / f64::from(sum)
            };
            slices.iter().map(dice).sum::<f64>() / slices.len() as f64
        })
        .collect()
}

/// What makes the phantom a test: no FLAIR threshold finds the lesions, though they are large enough to be found.
#[test]
fn no_threshold_finds_the_lesions() {
    let (_folder, store) = store(Kind::Brats, LayoutName::Brats, 16, 64);
    let manifest = store.manifest();
    let pixels = manifest.size * manifest.size;
    let (mut slices, mut areas, mut heads, mut total) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for record in &manifest.subjects {
        let subject = store.images().subject(&record.id).unwrap();
        total += subject.slices();
        for n in 0..subject.slices() {
            let mut image = Vec::new();
            subject.read_slice(n, &mut image).unwrap();
            Scaling::SliceMinmax.apply(&mut image, subject.channels, pixels);
            if subject.labels[n] == 1 {
                let mask = store.truth().mask(&record.id, n).unwrap().unwrap();
                let head = foreground(&image, subject.channels, pixels);
                heads.push(head.iter().filter(|inside| **inside).count() as f64 / pixels as f64);
                areas.push(mask.iter().map(|x| f64::from(*x)).sum::<f64>() / pixels as f64);
                image.truncate(pixels);
                slices.push((image, mask));
            }
        }
    }
    areas.sort_by(f64::total_cmp);
    let quantile = |q: f64| areas[(q * (areas.len() - 1) as f64) as usize];
    let dice = threshold_dice(&slices);
    let best = dice.iter().copied().fold(0.0, f64::max);
    let share = slices.len() as f64 / total as f64;
    println!(
        "{total} slices, {share:.3} with lesion; area {:.3} {:.3} {:.3} {:.3} {:.3}; head {:.3}; best DICE {best:.3} at {:?}, all {:.3}",
        quantile(0.05),
        quantile(0.25),
        quantile(0.5),
        quantile(0.75),
        quantile(0.95),
        heads.iter().sum::<f64>() / heads.len() as f64,
        dice.iter()
            .position(|x| *x == best)
            .map(|i| i as f64 / 50.0 - 1.0),
        dice[1],
    );
    assert!(best <= 0.25, "a threshold reaches {best}");
    assert!((0.2..0.6).contains(&share));
    assert!(quantile(0.25) > 0.015 && quantile(0.9) < 0.12);
}
