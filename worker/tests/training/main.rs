//! The training loop as a whole: interrupted runs end with the same bits, the loss falls, damage and
//! foreign checkpoints are noticed.
//!
//! Tests of one rank run beside each other, each on one thread; a test of several ranks has the process to itself.
#![allow(clippy::unwrap_used)]

mod flipped;
mod overflow;
mod recompute;
mod roles;
mod switches;
mod together;
mod watching;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use anofpdm_common::ids::Digest;
use anofpdm_common::network::{Arch, Heads, NetworkConfig};
use anofpdm_common::role::Role;
use anofpdm_common::spec::{Augment, Devices, TrainPrecision, TrainSpec};
use anofpdm_common::store::slices::SliceAxis;
use anofpdm_worker::tensors::{self, NamedTensors};
use anofpdm_worker::train::loss::LossPoint;
use anofpdm_worker::train::{
    Control, DataError, Identity, Ranks, TrainError, TrainOutcome, TrainRequest, TrainingData,
    train,
};

static CORES: RwLock<()> = RwLock::new(());

/// For a test of one rank.
fn one_core() -> RwLockReadGuard<'static, ()> {
    tch::set_num_threads(1);
    CORES.read().unwrap_or_else(PoisonError::into_inner)
}

/// For a test of several ranks, whose timeouts are short, or of what the process has only once.
fn all_cores() -> RwLockWriteGuard<'static, ()> {
    tch::set_num_threads(1);
    CORES.write().unwrap_or_else(PoisonError::into_inner)
}

const SIZE: usize = 16;

/// A disc on a dark ground, its radius by the index; odd ones have a bright square, the "lesion".
#[derive(Debug)]
struct Discs {
    slices: usize,
    /// Reads that succeed; afterwards the disk is gone.
    reads_left: AtomicUsize,
    /// This slice holds a NaN.
    poisoned: Option<usize>,
    /// Half the side of the lesion, pixels.
    lesion: f32,
    /// Label of the slices with a lesion.
    odd_label: u8,
    /// How far to the right of the middle the lesion lies, pixels.
    shifted: f32,
    /// Along which axis left and right lie.
    sides: Option<SliceAxis>,
    /// How often each slice was read.
    reads: Vec<AtomicUsize>,
}

impl Discs {
    fn new(slices: usize) -> Self {
        Self {
            slices,
            reads_left: AtomicUsize::new(usize::MAX),
            poisoned: None,
            lesion: 1.5,
            odd_label: 1,
            shifted: 0.0,
            sides: None,
            reads: (0..slices).map(|_| AtomicUsize::new(0)).collect(),
        }
    }
}

impl TrainingData for Discs {
    fn len(&self) -> usize {
        self.slices
    }

    fn shape(&self) -> [usize; 3] {
        [1, SIZE, SIZE]
    }

    fn fill(&self, index: usize, image: &mut [f32]) -> Result<(), DataError> {
        let left = self
            .reads_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        if left.is_err() {
            return Err(DataError {
                name: self.name(index),
                reason: "gone".to_owned(),
            });
        }
        self.reads[index].fetch_add(1, Ordering::Relaxed);
        let radius = 3.0 + (index % 3) as f32;
        for (pixel, value) in image.iter_mut().enumerate() {
            let (y, x) = ((pixel / SIZE) as f32 - 7.5, (pixel % SIZE) as f32 - 7.5);
            let across = x - self.shifted;
            let lesion = index % 2 == 1 && across.abs() < self.lesion && y.abs() < self.lesion;
            *value = if lesion {
                1.0
            } else if x.hypot(y) < radius {
                0.2
            } else {
                -1.0
            };
        }
        if self.poisoned == Some(index) {
            image[0] = f32::NAN;
        }
        Ok(())
    }

    fn label(&self, index: usize) -> u8 {
        if index % 2 == 1 { self.odd_label } else { 0 }
    }

    fn name(&self, index: usize) -> String {
        format!("disc-{index}")
    }

    fn left_right(&self, index: usize) -> Result<SliceAxis, DataError> {
        self.sides.ok_or_else(|| DataError {
            name: self.name(index),
            reason: "who knows".to_owned(),
        })
    }
}

fn network() -> NetworkConfig {
    NetworkConfig {
        arch: Arch::V2,
        image_size: 16,
        in_channels: 1,
        out_channels: None,
        num_channels: 32,
        num_res_blocks: 1,
        channel_mult: vec![1, 1],
        attention_downsample_rates: vec![2],
        heads: Heads::Count(2),
        num_classes: Some(2),
        resblock_updown: false,
        use_scale_shift_norm: true,
    }
}

fn spec(steps: u64) -> TrainSpec {
    TrainSpec {
        steps,
        batch: 4,
        learning_rate: 1e-3,
        ema: 0.9,
        null_label: 0.3,
        dropout: 0.2,
        devices: Devices::exactly(1),
        seed: 5,
        checkpoint_every: 4,
        augment: Augment::None,
        precision: TrainPrecision::Fp32,
        micro_batch: None,
        checkpoint_activations: false,
        validate_every: 0,
        sample_every: 0,
        keep: 2,
    }
}

fn identity(spec: &str, data: &str) -> Identity {
    Identity {
        spec: Digest::of(spec.as_bytes()),
        data: Digest::of(data.as_bytes()),
    }
}

fn request(folder: &Path, steps: u64, data: Discs) -> TrainRequest<'_> {
    TrainRequest {
        role: Role::Guided,
        network: network(),
        train: spec(steps),
        data: Arc::new(data),
        validation: None,
        checkpoints: folder,
        device: tch::Device::Cpu,
        identity: identity("spec", "data"),
        ranks: Ranks::Alone,
        generation: None,
        kind: tch::Kind::Float,
    }
}

fn undisturbed(request: &TrainRequest<'_>) -> TrainOutcome {
    train(request, &mut |_| Control::Continue).unwrap()
}

/// Everything training goes on from.
fn contents(checkpoint: &Path) -> Vec<NamedTensors> {
    ["model", "ema", "optimizer"]
        .iter()
        .map(|name| checkpoint.join(format!("{name}.safetensors")))
        .map(|path| tensors::read(&path, 1 << 30).unwrap())
        .collect()
}

fn assert_same_bits(found: &TrainOutcome, expected: &TrainOutcome) {
    assert_eq!(found.step, expected.step);
    let (found, expected) = (contents(&found.checkpoint), contents(&expected.checkpoint));
    for (found, expected) in found.iter().zip(&expected) {
        assert!(found.keys().eq(expected.keys()));
        for (name, tensor) in expected {
            assert_eq!(&found[name], tensor, "{name}");
        }
    }
}

fn folders(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn stopped_at_any_step_a_run_ends_with_the_same_bits() {
    let _turn = one_core();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("straight");
    let straight = undisturbed(&request(&path, 14, Discs::new(10)));
    assert_eq!(straight.step, 14);
    assert_eq!(straight.curve.len(), 14);
    // At once, on a checkpoint, between them; an epoch has two batches.
    for stops in [vec![1], vec![4], vec![3, 5, 11], vec![7, 13]] {
        let path = folder.path().join(format!("{stops:?}"));
        let request = request(&path, 14, Discs::new(10));
        for stop in stops {
            let outcome = train(&request, &mut |progress| {
                assert_eq!(progress.steps, 14);
                if progress.step == stop {
                    Control::Stop
                } else {
                    Control::Continue
                }
            })
            .unwrap();
            assert_eq!(outcome.step, stop);
            assert!(outcome.ema.is_file());
        }
        let resumed = undisturbed(&request);
        assert_same_bits(&resumed, &straight);
        for (found, expected) in resumed.curve.iter().zip(&straight.curve) {
            assert_eq!(found.step, expected.step);
            assert!((found.loss - expected.loss).abs() < 1e-12);
        }
    }
}

#[test]
fn a_run_that_died_between_checkpoints_ends_with_the_same_bits() {
    let _turn = one_core();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("straight");
    let straight = undisturbed(&request(&path, 11, Discs::new(10)));
    for steps_read in [2, 5, 7, 10] {
        let path = folder.path().join(steps_read.to_string());
        let dying = Discs::new(10);
        dying.reads_left.store(4 * steps_read, Ordering::Relaxed);
        let error = train(&request(&path, 11, dying), &mut |_| Control::Continue).unwrap_err();
        assert!(error.to_string().contains("gone"), "{error}");
        let last = steps_read / 4 * 4;
        let kept = folders(&path).last().cloned();
        assert_eq!(kept, (last > 0).then(|| format!("step-{last:08}")));
        let resumed = undisturbed(&request(&path, 11, Discs::new(10)));
        assert_same_bits(&resumed, &straight);
    }
}

#[test]
fn dropout_and_label_drop_take_part() {
    let _turn = one_core();
    let folder = tempfile::tempdir().unwrap();
    let weights = |name: &str, change: fn(&mut TrainSpec)| {
        let path = folder.path().join(name);
        let mut request = request(&path, 3, Discs::new(10));
        change(&mut request.train);
        let outcome = undisturbed(&request);
        contents(&outcome.checkpoint).remove(0)["out.2.weight"].copy()
    };
    let usual = weights("usual", |_| {});
    assert_eq!(usual, weights("again", |_| {}));
    assert_ne!(usual, weights("no dropout", |spec| spec.dropout = 0.0));
    assert_ne!(usual, weights("all labels", |spec| spec.null_label = 0.0));
    assert_ne!(usual, weights("seed", |spec| spec.seed = 6));
}

#[test]
fn the_loss_falls() {
    let _turn = one_core();
    let folder = tempfile::tempdir().unwrap();
    let mut request = request(folder.path(), 150, Discs::new(32));
    request.train.batch = 8;
    request.train.checkpoint_every = 1000;
    let outcome = undisturbed(&request);
    let mean = |points: &[LossPoint]| {
        points.iter().map(|point| point.loss).sum::<f64>() / points.len() as f64
    };
    let first = outcome.curve[0].loss;
    let last = mean(&outcome.curve[120..]);
    // Untrained, the network predicts zero and the loss is the mean square of the noise.
    assert!((first - 1.0).abs() < 0.15, "{first}");
    assert!(last < 0.3 * first, "{first} -> {last}");
    assert!(outcome.images_per_second > 0.0);
}

#[test]
fn the_last_two_checkpoints_are_kept_and_a_damaged_one_is_passed_over() {
    let _turn = one_core();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let straight = undisturbed(&request(&path, 6, Discs::new(10)));
    assert_eq!(folders(&path), ["step-00000004", "step-00000006"]);
    let files = [
        "config.json",
        "ema.safetensors",
        "meta.json",
        "model.safetensors",
        "optimizer.safetensors",
    ];
    assert_eq!(folders(&straight.checkpoint), files);
    let config = std::fs::read_to_string(straight.checkpoint.join("config.json")).unwrap();
    assert!(config.contains("\"out_channels\": 1"), "{config}");
    let expected = contents(&straight.checkpoint);
    for name in files {
        let file = straight.checkpoint.join(name);
        // A changed bit; in meta.json, which vouches for the others, a cut.
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        if name == "meta.json" {
            bytes.truncate(middle);
        } else {
            bytes[middle] ^= 1;
        }
        std::fs::write(&file, bytes).unwrap();
        std::fs::create_dir(path.join(".partial-5")).unwrap();
        let again = undisturbed(&request(&path, 6, Discs::new(10)));
        assert!(again.images_per_second > 0.0, "{name}: damage not noticed");
        assert_eq!(contents(&again.checkpoint), expected, "{name}");
        assert_eq!(folders(&path), ["step-00000004", "step-00000006"]);
        std::fs::remove_file(&file).unwrap();
        undisturbed(&request(&path, 6, Discs::new(10)));
        assert!(file.is_file());
    }
    // A finished run is not trained again.
    let finished = undisturbed(&request(&path, 6, Discs::new(10)));
    assert_eq!(finished.step, 6);
    assert_eq!(finished.images_per_second, 0.0);
}

#[test]
fn what_does_not_fit_is_refused() {
    let _turn = one_core();
    let folder = tempfile::tempdir().unwrap();
    undisturbed(&request(folder.path(), 2, Discs::new(10)));
    let refused = |change: fn(&mut TrainRequest<'_>)| {
        let mut request = request(folder.path(), 2, Discs::new(10));
        change(&mut request);
        train(&request, &mut |_| Control::Continue)
            .unwrap_err()
            .to_string()
    };
    for (message, part) in [
        (
            refused(|r| r.identity = identity("other", "data")),
            "another spec",
        ),
        (
            refused(|r| r.identity = identity("spec", "other")),
            "another data set",
        ),
        (
            refused(|r| r.network.heads = Heads::Count(1)),
            "another architecture",
        ),
        (refused(|r| r.train.steps = 1), "raise steps"),
        (refused(|r| r.train.batch = 11), "10 slices"),
        (refused(|r| r.network.in_channels = 2), "do not fit"),
        (
            refused(|r| r.network.num_classes = Some(1)),
            "needs 2 labels",
        ),
        (refused(|r| r.role = Role::HealthyGaussian), "needs arch v1"),
        (
            refused(|r| {
                let mut data = Discs::new(10);
                data.odd_label = 2;
                r.data = Arc::new(data);
            }),
            "disc-1 has label 2",
        ),
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(folders(folder.path()), ["step-00000002"]);
    let meta = folder.path().join("step-00000002/meta.json");
    let text = std::fs::read_to_string(&meta).unwrap();
    std::fs::write(&meta, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    let message = refused(|_| {});
    assert!(message.contains("checkpoint format 2"), "{message}");
}

#[test]
fn a_loss_that_is_not_finite_names_step_and_samples() {
    let _turn = one_core();
    let folder = tempfile::tempdir().unwrap();
    let mut data = Discs::new(4);
    data.poisoned = Some(2);
    let error = train(&request(folder.path(), 9, data), &mut |_| Control::Continue).unwrap_err();
    assert!(
        matches!(error, TrainError::Diverged { step: 1, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("disc-2"), "{error}");
    assert!(folders(folder.path()).is_empty());
}

const FULL_DISK_FOLDER: &str = "ANOFPDM_TEST_FULL_DISK_FOLDER";

/// Does something only in the process that `no_space_left_keeps_the_last_checkpoint` starts.
#[test]
fn on_a_full_disk() {
    let Some(folder) = std::env::var_os(FULL_DISK_FOLDER).map(PathBuf::from) else {
        return;
    };
    let request = request(&folder, 12, Discs::new(10));
    let message = train(&request, &mut |_| Control::Continue)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("checkpoint of step 8 not written"),
        "{message}"
    );
    assert!(message.contains("intact"), "{message}");
}

#[test]
fn no_space_left_keeps_the_last_checkpoint() {
    let _turn = one_core();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    train(
        &request(&path, 12, Discs::new(10)),
        &mut |progress| match progress.step {
            4 => Control::Stop,
            _ => Control::Continue,
        },
    )
    .unwrap();
    let before = contents(&path.join("step-00000004"));
    // A file-size limit of 200 blocks of 512 bytes, with the signal that goes with it ignored.
    let script = "trap '' XFSZ; ulimit -f 200; exec \"$0\" --exact on_a_full_disk";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(FULL_DISK_FOLDER, &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
    assert_eq!(folders(&path), ["step-00000004"]);
    assert_eq!(contents(&path.join("step-00000004")), before);
    let straight = folder.path().join("straight");
    let straight = undisturbed(&request(&straight, 12, Discs::new(10)));
    assert_same_bits(&undisturbed(&request(&path, 12, Discs::new(10))), &straight);
}
