//! What a person watches while a network trains: validation losses, the best checkpoint, pictures; and
//! the precisions it may train in.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use anofpdm_common::role::Role;
use anofpdm_common::spec::TrainPrecision;
use anofpdm_worker::tensors;
use anofpdm_worker::train::loss::LossPoint;
use anofpdm_worker::train::{Control, TrainRequest, train};

use super::together::{go_on, ranks};
use super::{
    Discs, all_cores, assert_same_bits, contents, folders, one_core, request, undisturbed,
};

fn validated(folder: &Path, steps: u64) -> TrainRequest<'_> {
    let mut request = request(folder, steps, Discs::new(10));
    request.validation = Some(Arc::new(Discs::new(7)));
    request.train.validate_every = 3;
    request
}

#[test]
fn validation_changes_nothing_and_goes_on_after_an_interruption() {
    let _turn = all_cores();
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    let plain = undisturbed(&request(&plain, 11, Discs::new(10)));
    assert_eq!((plain.validation.len(), plain.best), (0, None));
    let path = folder.path().join("validated");
    let straight = undisturbed(&validated(&path, 11));
    assert_same_bits(&straight, &plain);
    let steps: Vec<u64> = straight.validation.iter().map(|point| point.step).collect();
    assert_eq!(steps, [3, 6, 9, 11]);
    let path = folder.path().join("stopped");
    train(&validated(&path, 11), &mut |at| match at.step {
        7 => Control::Stop,
        _ => Control::Continue,
    })
    .unwrap();
    assert_eq!(
        undisturbed(&validated(&path, 11)).validation,
        straight.validation
    );
    // Ranks do a part each; dropout is what differs between one and two of them.
    let losses = |world: usize| {
        let path = folder.path().join(format!("ranks-{world}"));
        let make = |_: usize| {
            let mut request = validated(&path, 9);
            request.train.dropout = 0.0;
            request.kind = tch::Kind::Double;
            request
        };
        match world {
            1 => undisturbed(&make(0)).validation,
            _ => ranks(world, make, go_on).pop().unwrap().unwrap().validation,
        }
    };
    for (found, expected) in losses(2).iter().zip(losses(1)) {
        assert_eq!(found.step, expected.step);
        assert!((found.loss - expected.loss).abs() < 1e-10);
    }
}

#[test]
fn validation_sees_the_averaged_weights_and_the_best_checkpoint_stays() {
    let _turn = one_core();
    let folder = tempfile::tempdir().unwrap();
    let mut request = validated(folder.path(), 60);
    request.train.checkpoint_every = 4;
    request.train.keep = 3;
    request.train.validate_every = 10;
    request.train.batch = 8;
    // Learns for a while, then is thrown off.
    let learning = undisturbed(&TrainRequest {
        train: anofpdm_common::spec::TrainSpec {
            steps: 40,
            ..request.train.clone()
        },
        ..request.clone()
    });
    let falling: Vec<f64> = learning.validation.iter().map(|point| point.loss).collect();
    assert!(falling[3] < falling[0], "{falling:?}");
    request.train.learning_rate = 0.03;
    let outcome = undisturbed(&request);
    let best = outcome.best.unwrap();
    assert_eq!(best.step, 40, "{:?}", outcome.validation);
    let lowest = |lowest: LossPoint, point: &LossPoint| {
        if point.loss < lowest.loss {
            *point
        } else {
            lowest
        }
    };
    assert_eq!(outcome.validation.iter().fold(best, lowest), best);
    assert_eq!(
        folders(folder.path()),
        [
            "step-00000040",
            "step-00000052",
            "step-00000056",
            "step-00000060"
        ]
    );
}

#[test]
fn averaged_weights_that_never_move_validate_the_same() {
    let _turn = one_core();
    let folder = tempfile::tempdir().unwrap();
    let mut request = validated(folder.path(), 9);
    // The smallest step away from 1 keeps the average where it started.
    request.train.ema = 1.0 - f64::EPSILON;
    let outcome = undisturbed(&request);
    for pair in outcome.validation.windows(2) {
        assert!((pair[0].loss - pair[1].loss).abs() < 1e-6);
    }
    assert!((outcome.curve[8].loss - outcome.curve[0].loss).abs() > 1e-3);
}

#[test]
fn validation_without_slices_is_refused() {
    let _turn = one_core();
    let folder = tempfile::tempdir().unwrap();
    let mut request = validated(folder.path(), 3);
    request.validation = None;
    let error = train(&request, &mut |_| Control::Continue).unwrap_err();
    assert!(
        error.to_string().contains("no validation slices"),
        "{error}"
    );
}

#[test]
fn pictures_are_drawn_and_change_nothing() {
    let _turn = one_core();
    let folder = tempfile::tempdir().unwrap();
    for role in Role::ALL {
        let of = |name: &str, every: u64| {
            let path = folder.path().join(format!("{role}-{name}"));
            let mut request = super::roles::request_of(role, &path, 5, Arc::new(Discs::new(11)));
            request.train.sample_every = every;
            (undisturbed(&request), path)
        };
        let (plain, _) = of("plain", 0);
        let (watched, path) = of("watched", 2);
        assert_same_bits(&watched, &plain);
        let pictures = path.join("samples");
        if role == Role::Classifier {
            assert!(!pictures.exists());
            continue;
        }
        assert_eq!(
            folders(&pictures),
            ["step-00000002.png", "step-00000004.png"]
        );
        let file = std::fs::read(pictures.join("step-00000004.png")).unwrap();
        let mut picture = png::Decoder::new(Cursor::new(file)).read_info().unwrap();
        let rows = if role.healthy_only() { 1 } else { 2 };
        assert_eq!(picture.info().size(), (64, rows * 16), "{role}");
        let mut grey = vec![0; picture.output_buffer_size().unwrap()];
        picture.next_frame(&mut grey).unwrap();
        assert!(grey.iter().any(|value| *value != grey[0]), "{role}");
    }
}

#[test]
fn lower_precisions_learn_as_float32_does() {
    let _turn = all_cores();
    let folder = tempfile::tempdir().unwrap();
    let outcome = |precision: TrainPrecision, steps: u64, world: usize| {
        let path = folder.path().join(format!("{precision}-{steps}-{world}"));
        let make = |_: usize| {
            let mut request = request(&path, steps, Discs::new(32));
            request.train.precision = precision;
            request.train.batch = 8;
            request.train.dropout = 0.0;
            request.train.checkpoint_every = 1000;
            request
        };
        match world {
            1 => undisturbed(&make(0)),
            _ => ranks(world, make, go_on).swap_remove(0).unwrap(),
        }
    };
    let full = outcome(TrainPrecision::Fp32, 40, 1);
    let low = outcome(TrainPrecision::Bf16, 40, 1);
    let mean = |points: &[LossPoint]| {
        points.iter().map(|point| point.loss).sum::<f64>() / points.len() as f64
    };
    let (full_loss, low_loss) = (mean(&full.curve[20..]), mean(&low.curve[20..]));
    assert!(
        (low_loss / full_loss - 1.0).abs() < 0.05,
        "{full_loss} {low_loss}"
    );
    assert_ne!(
        full.curve[39].loss, low.curve[39].loss,
        "the precision has no effect"
    );
    // Weights, averages and moments are float32 whatever the precision.
    for tensors in contents(&low.checkpoint) {
        for (name, tensor) in tensors.iter().filter(|(name, _)| *name != "step") {
            assert_eq!(tensor.kind(), tch::Kind::Float, "{name}");
        }
    }
    // float16 on a CPU takes long; the scale is kept with the optimiser and overflow leaves steps out.
    let half = outcome(TrainPrecision::Fp16, 3, 1);
    assert!((half.curve[0].loss / full.curve[0].loss - 1.0).abs() < 0.01);
    let state = tensors::read(&half.checkpoint.join("optimizer.safetensors"), 1 << 30).unwrap();
    let scale = state["loss_scale"].double_value(&[]);
    let left_out = (65_536.0 / scale).log2();
    assert_eq!(state["step"].int64_value(&[]), 3 - left_out as i64);
    let shared = outcome(TrainPrecision::Bf16, 3, 2);
    assert!((shared.curve[2].loss / low.curve[2].loss - 1.0).abs() < 0.01);
}
