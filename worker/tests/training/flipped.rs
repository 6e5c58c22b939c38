//! Training on slices whose left and right are exchanged at times.

use anofpdm_common::spec::Augment;
use anofpdm_common::store::slices::SliceAxis;

use super::together::{go_on, ranks};
use super::{
    Arc, Control, Discs, Path, TrainRequest, all_cores, assert_same_bits, contents, one_core,
    request, train, undisturbed,
};

/// Discs with a lesion right of the middle, whose left and right lie along `sides`.
fn lopsided(folder: &Path, sides: Option<SliceAxis>, augment: Augment) -> TrainRequest<'_> {
    let mut data = Discs::new(10);
    data.sides = sides;
    data.shifted = 4.0;
    let mut request = request(folder, 14, data);
    request.train.augment = augment;
    request
}

#[test]
fn a_flipped_training_resumes_with_the_same_bits_and_shares_them() {
    let _turn = all_cores();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let columns = Some(SliceAxis::Columns);
    let (plain, straight) = (at("plain"), at("straight"));
    let plain = undisturbed(&lopsided(&plain, None, Augment::None));
    let straight = undisturbed(&lopsided(&straight, columns, Augment::Flip));
    assert_ne!(
        contents(&straight.checkpoint)[0]["out.2.weight"],
        contents(&plain.checkpoint)[0]["out.2.weight"]
    );
    let path = at("stopped");
    for stop in [3, 9] {
        train(&lopsided(&path, columns, Augment::Flip), &mut |progress| {
            if progress.step == stop {
                Control::Stop
            } else {
                Control::Continue
            }
        })
        .unwrap();
    }
    let resumed = undisturbed(&lopsided(&path, columns, Augment::Flip));
    assert_same_bits(&resumed, &straight);

    // Two ranks see the very samples that one sees: without dropout the losses are those of one but for rounding.
    let losses = |world: usize| {
        let path = at(&format!("ranks-{world}"));
        let make = |_: usize| {
            let mut request = lopsided(&path, columns, Augment::Flip);
            request.train.dropout = 0.0;
            request.kind = tch::Kind::Double;
            request
        };
        match world {
            1 => undisturbed(&make(0)).curve,
            _ => ranks(world, make, go_on).pop().unwrap().unwrap().curve,
        }
    };
    let (one, two) = (losses(1), losses(2));
    assert_eq!(one.len(), 14);
    for (one, two) in one.iter().zip(&two) {
        assert!((one.loss - two.loss).abs() < 1e-10, "{one:?} {two:?}");
    }
}

#[test]
fn validation_slices_are_never_flipped() {
    let _turn = one_core();
    let folder = tempfile::tempdir().unwrap();
    let columns = Some(SliceAxis::Columns);
    // The same trained weights go on so slowly that they stay what they are.
    let validated = |name: &str, augment: Augment, shifted: f32| {
        let path = folder.path().join(name);
        undisturbed(&lopsided(&path, columns, Augment::None));
        let mut request = lopsided(&path, columns, augment);
        let mut data = Discs::new(10);
        data.shifted = shifted;
        request.validation = Some(Arc::new(data));
        request.train.steps = 18;
        request.train.validate_every = 18;
        request.train.learning_rate = 1e-30;
        undisturbed(&request).validation
    };
    let plain = validated("plain", Augment::None, 4.0);
    assert_eq!(plain.len(), 1);
    assert_eq!(validated("flipped", Augment::Flip, 4.0), plain);
    assert_ne!(validated("mirrored", Augment::None, -4.0), plain);
}

#[test]
fn slices_without_left_and_right_are_refused_before_training() {
    let _turn = one_core();
    let folder = tempfile::tempdir().unwrap();
    let request = lopsided(folder.path(), None, Augment::Flip);
    let refused = train(&request, &mut |_| panic!("a step was trained"));
    let message = refused.unwrap_err().to_string();
    assert_eq!(message, "training slice disc-0: who knows");
    assert!(undisturbed(&lopsided(folder.path(), None, Augment::None)).step == 14);
}
