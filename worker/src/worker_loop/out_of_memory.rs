//! What is to be done where a job does not fit into the memory of its device.

use anofpdm_common::plan::{ForwardPlan, Plan, TrainPlan};

/// Says what a person can set so that the work of `plan` takes less memory.
pub(super) fn advice(plan: &Plan, world: u32) -> String {
    match plan {
        Plan::Forward(plan) => batch_advice(plan),
        Plan::Trial(plan) => batch_advice(&plan.forward),
        Plan::Train(plan) => training_advice(plan, world),
    }
}

/// Memory follows the rows of a batch; how many batches a shard has does not matter.
fn batch_advice(plan: &ForwardPlan) -> String {
    match plan.batch_slices {
        0 | 1 => {
            "a batch of one slice does not fit: this needs a device with more memory".to_owned()
        }
        slices => format!(
            "a batch of {slices} slices does not fit: set batch_slices = {} in [compute] (records get other keys), or \
             take devices with more memory",
            slices / 2
        ),
    }
}

fn training_advice(plan: &TrainPlan, world: u32) -> String {
    let share = plan.train.batch.div_ceil(u64::from(world.max(1)));
    let piece = plan
        .train
        .micro_batch
        .map_or(share, |piece| piece.min(share));
    let table = format!("[model.{}.train]", plan.network.name());
    match piece {
        0 | 1 if plan.train.checkpoint_activations => {
            format!(
                "a sample at a time does not fit ({table}): this needs a device with more memory"
            )
        }
        0 | 1 => format!(
            "a sample at a time does not fit: set checkpoint_activations = true in {table}, or take devices with more \
             memory"
        ),
        piece => format!(
            "{piece} samples at a time do not fit: set micro_batch = {} in {table}, or checkpoint_activations = true",
            piece / 2
        ),
    }
}
