//! float16: a loss that is not finite is met with a smaller scale, until there is none.

use anofpdm_common::spec::TrainPrecision;
use anofpdm_worker::train::{Control, TrainError, train};

use crate::{Discs, one_core, request};

#[test]
fn steps_whose_loss_overflows_are_left_out_until_no_smaller_scale_is_left() {
    let _turn = one_core();
    let folder = tempfile::tempdir().unwrap();
    // Every batch has every slice, the poisoned one among them.
    let mut data = Discs::new(2);
    data.poisoned = Some(1);
    let mut request = request(folder.path(), 40, data);
    // float16 takes long on a CPU.
    request.network.channel_mult = vec![1];
    request.network.attention_downsample_rates = vec![];
    request.train.batch = 2;
    request.train.precision = TrainPrecision::Fp16;
    request.train.checkpoint_every = 40;
    let mut shown = Vec::new();
    let error = train(&request, &mut |progress| {
        shown.push(progress.loss);
        Control::Continue
    })
    .unwrap_err();
    // From 65536 down to 1.
    assert!(
        matches!(error, TrainError::Diverged { step: 17, .. }),
        "{error}"
    );
    assert_eq!(shown, [0.0; 16], "no loss to be shown");
}
