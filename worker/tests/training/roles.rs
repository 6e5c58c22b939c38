//! Training of every role through the one loop: what it learns, from which slices, and that an
//! interruption does not show.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anofpdm_common::network::{Arch, Heads, NetworkConfig};
use anofpdm_common::role::Role;
use anofpdm_worker::train::{Control, TrainRequest, train};

use super::{Discs, assert_same_bits, network, one_core, request, undisturbed};

/// A small network that can have the role.
pub(super) fn network_of(role: Role) -> NetworkConfig {
    let heads = match role {
        Role::Classifier => Heads::Width(32),
        _ => Heads::Count(2),
    };
    let network = NetworkConfig {
        arch: role.arch(),
        out_channels: Some(role.output_channels(1)),
        num_classes: role.classes(),
        heads,
        resblock_updown: role.arch() == Arch::Classifier,
        use_scale_shift_norm: true,
        ..network()
    };
    assert_eq!(role.check(&network), Ok(()));
    network
}

pub(super) fn request_of(
    role: Role,
    folder: &Path,
    steps: u64,
    data: Arc<Discs>,
) -> TrainRequest<'_> {
    let mut request = request(folder, steps, Discs::new(0));
    request.role = role;
    request.network = network_of(role);
    request.data = data;
    if role != Role::Guided {
        request.train.null_label = 0.0;
    }
    request
}

#[test]
fn the_loss_of_each_role_falls() {
    let _turn = one_core();
    let folder = tempfile::tempdir().unwrap();
    for role in Role::ALL {
        let path = folder.path().join(role.name());
        let mut data = Discs::new(32);
        if role == Role::Classifier {
            // Large enough to be seen through much of the noise.
            data.lesion = 6.0;
        }
        let mut request = request_of(role, &path, 80, Arc::new(data));
        request.train.batch = 8;
        request.train.dropout = 0.0;
        request.train.checkpoint_every = 1000;
        let outcome = undisturbed(&request);
        let mean = |stretch: &[anofpdm_worker::train::loss::LossPoint]| {
            stretch.iter().map(|point| point.loss).sum::<f64>() / stretch.len() as f64
        };
        let (first, last) = (mean(&outcome.curve[..5]), mean(&outcome.curve[60..]));
        // The noisiest slices hide their square for good, whatever the classifier learns.
        let share = if role == Role::Classifier { 0.8 } else { 0.5 };
        assert!(last < share * first, "{role}: {first} -> {last}");
    }
}

#[test]
fn interrupted_roles_end_with_the_same_bits() {
    let _turn = one_core();
    let folder = tempfile::tempdir().unwrap();
    for role in Role::ALL {
        let straight = folder.path().join(format!("{role}-straight"));
        let straight = undisturbed(&request_of(role, &straight, 7, Arc::new(Discs::new(11))));
        let path = folder.path().join(format!("{role}-stopped"));
        let stopped = request_of(role, &path, 7, Arc::new(Discs::new(11)));
        for stop in [3, 5] {
            train(&stopped, &mut |progress| {
                if progress.step == stop {
                    Control::Stop
                } else {
                    Control::Continue
                }
            })
            .unwrap();
        }
        assert_same_bits(&undisturbed(&stopped), &straight);
    }
}

#[test]
fn healthy_roles_never_read_a_slice_with_a_lesion() {
    let _turn = one_core();
    let folder = tempfile::tempdir().unwrap();
    for role in Role::ALL {
        let data = Arc::new(Discs::new(16));
        let path = folder.path().join(role.name());
        undisturbed(&request_of(role, &path, 10, Arc::clone(&data)));
        let read = |lesion: usize| -> Vec<usize> {
            let reads = data.reads.iter().skip(lesion).step_by(2);
            reads.map(|count| count.load(Ordering::Relaxed)).collect()
        };
        let healthy = matches!(role, Role::HealthyGaussian | Role::HealthySimplex);
        assert_eq!(read(1).iter().all(|count| *count == 0), healthy, "{role}");
        // Ten batches of four: five epochs of the eight healthy slices.
        if healthy {
            assert_eq!(read(0), [5; 8], "{role}");
        }
    }
}

#[test]
fn too_few_slices_without_lesion_are_told_as_such() {
    let _turn = one_core();
    let folder = tempfile::tempdir().unwrap();
    let request = request_of(
        Role::HealthyGaussian,
        folder.path(),
        2,
        Arc::new(Discs::new(7)),
    );
    // Four of them are healthy.
    undisturbed(&request);
    let other = folder.path().join("other");
    let few = request_of(Role::HealthyGaussian, &other, 2, Arc::new(Discs::new(5)));
    let error = train(&few, &mut |_| Control::Continue).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("slices without lesion only") && message.contains("3 slices"),
        "{message}"
    );
}

#[test]
fn the_classifier_sees_every_slice_each_epoch() {
    let _turn = one_core();
    let folder = tempfile::tempdir().unwrap();
    // Eleven slices, batches of four: no batch ends where an epoch does before the eleventh.
    let data = Arc::new(Discs::new(11));
    let mut request = request_of(Role::Classifier, folder.path(), 11, Arc::clone(&data));
    request.train.ema = 0.0;
    let outcome = undisturbed(&request);
    for count in &data.reads {
        assert_eq!(count.load(Ordering::Relaxed), 4);
    }
    // Without averaging, the averaged weights are the weights.
    let contents = super::contents(&outcome.checkpoint);
    assert_eq!(contents[0], contents[1]);
}
