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

fn request(kind: Kind, subjects: usize, grid: usize) -> PhantomRequest {
    PhantomRequest {
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
    request: &PhantomRequest,
    layout: LayoutName,
    modalities: Option<&[String]>,
    size: usize,
) -> (tempfile::TempDir, SliceStore) {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("phantom");
    generate(request, &input, &|_| ()).unwrap();
    let request = preprocess::Request {
        input,
        store: folder.path().join("store"),
        layout,
        modalities: modalities.map(<[String]>::to_vec),
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

    let other = PhantomRequest { seed: 8, ..request };
    assert!(matches!(
        generate(&other, &many, &|_| ()),
        Err(PhantomError::Foreign(_))
    ));
}

#[test]
fn atlas_layout() {
    let request = request(Kind::Atlas, 3, 80);
    let (_folder, store) = store(&request, LayoutName::Atlas, None, 32);
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

/// What the slices of a store show.
struct Seen {
    /// FLAIR in [-1, 1] and mask of the slices with a lesion.
    lesions: Vec<(Vec<f32>, Vec<u8>)>,
    /// Lesion area of those, in parts of the slice, ascending.
    areas: Vec<f64>,
    /// Of every slice: whether it has a lesion, its share of brain, its distance from the middle one of its subject.
    slices: Vec<(bool, f64, f64)>,
}

impl Seen {
    fn of(store: &SliceStore) -> Self {
        let manifest = store.manifest();
        let pixels = manifest.size * manifest.size;
        let share = |marked: usize| marked as f64 / pixels as f64;
        let mut seen = Self {
            lesions: Vec::new(),
            areas: Vec::new(),
            slices: Vec::new(),
        };
        for record in &manifest.subjects {
            let subject = store.images().subject(&record.id).unwrap();
            let middle = (subject.slices() - 1) as f64 / 2.0;
            for n in 0..subject.slices() {
                let mut image = Vec::new();
                subject.read_slice(n, &mut image).unwrap();
                Scaling::SliceMinmax.apply(&mut image, subject.channels, pixels);
                let head = foreground(&image, subject.channels, pixels);
                let head = share(head.iter().filter(|inside| **inside).count());
                let lesion = subject.labels[n] == 1;
                seen.slices.push((lesion, head, (n as f64 - middle).abs()));
                if lesion {
                    let mask = store.truth().mask(&record.id, n).unwrap().unwrap();
                    seen.areas
                        .push(share(mask.iter().filter(|x| **x == 1).count()));
                    image.truncate(pixels);
                    seen.lesions.push((image, mask));
                }
            }
        }
        seen.areas.sort_by(f64::total_cmp);
        seen
    }

    /// Share of slices with a lesion.
    fn prevalence(&self) -> f64 {
        self.lesions.len() as f64 / self.slices.len() as f64
    }

    fn area(&self, quantile: f64) -> f64 {
        self.areas[(quantile * (self.areas.len() - 1) as f64) as usize]
    }

    /// How often `score` is higher for a slice with a lesion than for one without (AUROC); ties count half.
    fn auroc(&self, score: impl Fn(&(bool, f64, f64)) -> f64) -> f64 {
        let of = |wanted: bool| -> Vec<f64> {
            let kept = self.slices.iter().filter(|slice| slice.0 == wanted);
            kept.map(&score).collect()
        };
        let (with, without) = (of(true), of(false));
        let wins: f64 = with
            .iter()
            .flat_map(|a| without.iter().map(move |b| a.total_cmp(b)))
            .map(|order| match order {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            })
            .sum();
        wins / (with.len() * without.len()) as f64
    }

    /// What makes the phantom a test: no FLAIR threshold finds the lesions, though they are large enough to be found.
    fn assert_hard(&self) {
        let dice = threshold_dice(&self.lesions);
        let best = dice.iter().copied().fold(0.0, f64::max);
        println!(
            "{} slices, {:.3} with lesion; area {:?}; best DICE {best:.3} at {:?}, all {:.3}",
            self.slices.len(),
            self.prevalence(),
            [0.05, 0.25, 0.5, 0.75, 0.95].map(|q| self.area(q)),
            dice.iter()
                .position(|x| *x == best)
                .map(|i| i as f64 / 50.0 - 1.0),
            dice[1],
        );
        assert!(best <= 0.25, "a threshold reaches {best}");
        assert!((0.2..0.6).contains(&self.prevalence()));
        assert!(self.area(0.25) > 0.015 && self.area(0.9) < 0.12);
    }
}

#[test]
fn no_threshold_finds_the_lesions() {
    let request = request(Kind::Brats, 16, 80);
    let (_folder, store) = store(&request, LayoutName::Brats, None, 64);
    Seen::of(&store).assert_hard();
}

/// The phantom of `anofpdm demo`: neither where a slice lies nor how much brain it shows says whether it has a lesion.
#[test]
fn at_the_demos_size_neither_threshold_nor_place_nor_area_finds_the_lesions() {
    let request = PhantomRequest {
        seed: 0,
        ..request(Kind::Brats, 40, 64)
    };
    let modalities = ["flair".to_owned(), "t2".to_owned()];
    let (_folder, store) = store(&request, LayoutName::Brats, Some(&modalities), 32);
    let seen = Seen::of(&store);
    seen.assert_hard();
    let place = seen.auroc(|(_, _, distance)| -distance);
    let area = seen.auroc(|(_, head, _)| *head);
    println!("AUROC of nearness to the middle {place:.3}, of the area of brain {area:.3}");
    assert!((0.4..0.6).contains(&place), "{place}");
    assert!((0.4..0.6).contains(&area), "{area}");
}

#[test]
fn a_folder_of_another_version_is_not_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let request = request(Kind::Brats, 1, 16);
    generate(&request, folder.path(), &|_| ()).unwrap();
    generate(&request, folder.path(), &|_| ()).unwrap();
    // As the first version wrote it, and as a later one will.
    let marker = folder.path().join(MARKER);
    let mut fields: serde_json::Value =
        serde_json::from_slice(&fs::read(&marker).unwrap()).unwrap();
    for version in [None, Some(VERSION + 1)] {
        fields["version"] = version.into();
        if version.is_none() {
            fields.as_object_mut().unwrap().remove("version");
        }
        fs::write(&marker, fields.to_string()).unwrap();
        let refused = generate(&request, folder.path(), &|_| ()).unwrap_err();
        assert!(refused.to_string().contains("another version"), "{refused}");
    }
}

/// Else every digest of a phantom's store would be another one, and so the fingerprint of the demo.
#[test]
fn its_headers_say_no_more_than_their_affine() {
    for grid in [24, 32, 48, 64] {
        let folder = tempfile::tempdir().unwrap();
        generate(&request(Kind::Brats, 1, grid), folder.path(), &|_| ()).unwrap();
        for (path, _) in files(folder.path()) {
            let volume = crate::ingest::volume::Volume::read(&folder.path().join(path)).unwrap();
            assert_eq!(volume.header.beyond(&volume.affine), None);
        }
    }
}
