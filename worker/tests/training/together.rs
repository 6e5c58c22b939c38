//! Training by several ranks (Gloo, threads of this process): the same as by one, and what becomes of
//! the others when one of them is lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anofpdm_common::role::Role;
use anofpdm_worker::collective::gloo::{self, LOOPBACK, Listen};
use anofpdm_worker::collective::{Group, Membership, MemoryRendezvous, Rendezvous, Timeouts};
use anofpdm_worker::tensors::NamedTensors;
use anofpdm_worker::train::{
    Control, Ranks, TrainError, TrainOutcome, TrainProgress, TrainRequest, train,
};
use tch::Kind;

use super::{Discs, all_cores, assert_same_bits, contents, request, undisturbed};

const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(60),
    operation: Duration::from_secs(240),
};
/// Where a timeout is what is looked at.
const SHORT: Timeouts = Timeouts {
    operation: Duration::from_secs(4),
    ..TIMEOUTS
};

pub(super) fn go_on(_: usize, _: &TrainProgress) -> Control {
    Control::Continue
}

/// Trains with `world` ranks; `request` makes the request of a rank. What each of them says, in order.
pub(super) fn ranks<'a>(
    world: usize,
    request: impl Fn(usize) -> TrainRequest<'a> + Sync,
    progress: impl Fn(usize, &TrainProgress) -> Control + Sync,
) -> Vec<Result<TrainOutcome, TrainError>> {
    ranks_within(TIMEOUTS, world, request, progress)
}

fn ranks_within<'a>(
    timeouts: Timeouts,
    world: usize,
    request: impl Fn(usize) -> TrainRequest<'a> + Sync,
    progress: impl Fn(usize, &TrainProgress) -> Control + Sync,
) -> Vec<Result<TrainOutcome, TrainError>> {
    let rendezvous: Arc<dyn Rendezvous> = Arc::new(MemoryRendezvous::default());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..world)
            .map(|rank| {
                let (rendezvous, request, progress) =
                    (Arc::clone(&rendezvous), &request, &progress);
                scope.spawn(move || {
                    tch::set_num_threads(1);
                    let listen = Listen::Host(LOOPBACK.to_owned());
                    let membership = Membership { rank, world };
                    let group: Group =
                        gloo::connect(membership, rendezvous, timeouts, &listen).unwrap();
                    let request = TrainRequest {
                        ranks: Ranks::Together(&group),
                        ..request(rank)
                    };
                    let trained = train(&request, &mut |at| progress(rank, at));
                    drop(request);
                    if trained.is_err() {
                        // As a worker does: its destructor waits for what was aborted, up to the timeout.
                        std::mem::forget(group);
                    }
                    trained
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|rank| rank.join().unwrap())
            .collect()
    })
}

/// A request without dropout in float64, where rounding cannot hide a mistake.
fn exact(folder: &Path, steps: u64) -> TrainRequest<'_> {
    let mut request = request(folder, steps, Discs::new(10));
    request.train.dropout = 0.0;
    request.train.checkpoint_every = 1000;
    request.kind = Kind::Double;
    request
}

fn trained(world: usize, folder: &Path, of: impl Fn(&mut TrainRequest<'_>) + Sync) -> TrainOutcome {
    let make = |_: usize| {
        let mut request = exact(folder, 20);
        of(&mut request);
        request
    };
    if world == 1 {
        return undisturbed(&make(0));
    }
    let mut outcomes = ranks(world, make, go_on);
    outcomes.swap_remove(0).unwrap()
}

/// Norm of the difference over the norm of `expected`, of all tensors whose name starts with `prefix`.
pub(super) fn distance(found: &NamedTensors, expected: &NamedTensors, prefix: &str) -> f64 {
    let square = |tensor: &tch::Tensor| tensor.square().sum(Kind::Double).double_value(&[]);
    let (mut difference, mut norm) = (0.0, 0.0);
    for (name, tensor) in expected.iter().filter(|(name, _)| name.starts_with(prefix)) {
        difference += square(&(found[name].to_kind(Kind::Double) - tensor.to_kind(Kind::Double)));
        norm += square(&tensor.to_kind(Kind::Double));
    }
    assert!(norm > 0.0);
    (difference / norm).sqrt()
}

#[test]
fn gradients_of_a_step_do_not_depend_on_the_world() {
    let _turn = all_cores();
    let folder = tempfile::tempdir().unwrap();
    // After one step a first moment is a tenth of the gradient.
    let moments = |world: usize, micro_batch: Option<u64>| {
        let path = folder.path().join(format!("{world}-{micro_batch:?}"));
        let outcome = trained(world, &path, |request| {
            request.train.steps = 1;
            request.train.micro_batch = micro_batch;
            request.kind = Kind::Float;
        });
        contents(&outcome.checkpoint).swap_remove(2)
    };
    let expected = moments(1, None);
    for (world, micro_batch) in [
        (2, None),
        (3, None),
        (4, None),
        (1, Some(1)),
        (1, Some(3)),
        (2, Some(1)),
    ] {
        let off = distance(&moments(world, micro_batch), &expected, "m.");
        assert!(off < 1e-5, "{world} {micro_batch:?}: {off:e}");
    }
}

#[test]
fn weights_after_twenty_steps_do_not_depend_on_the_world() {
    let _turn = all_cores();
    let folder = tempfile::tempdir().unwrap();
    let weights = |world: usize, micro_batch: Option<u64>| {
        let path = folder.path().join(format!("{world}-{micro_batch:?}"));
        let outcome = trained(world, &path, |request| {
            request.train.micro_batch = micro_batch;
        });
        (contents(&outcome.checkpoint), outcome)
    };
    let (expected, alone) = weights(1, None);
    for (world, micro_batch) in [(2, None), (4, None), (2, Some(1)), (1, Some(2))] {
        let (found, outcome) = weights(world, micro_batch);
        for (found, expected) in found.iter().zip(&expected).take(2) {
            let off = distance(found, expected, "");
            assert!(off < 1e-12, "{world} {micro_batch:?}: {off:e}");
        }
        for (found, expected) in outcome.curve.iter().zip(&alone.curve) {
            assert_eq!(found.step, expected.step);
            assert!((found.loss - expected.loss).abs() < 1e-11);
        }
    }
}

#[test]
fn every_role_trains_with_others() {
    let _turn = all_cores();
    let folder = tempfile::tempdir().unwrap();
    for role in Role::ALL {
        let of = |world: usize| {
            let path = folder.path().join(format!("{role}-{world}"));
            let outcome = trained(world, &path, |request| {
                request.train.steps = 3;
                request.role = role;
                request.network = super::roles::network_of(role);
                if role != Role::Guided {
                    request.train.null_label = 0.0;
                }
            });
            contents(&outcome.checkpoint).swap_remove(0)
        };
        let off = distance(&of(2), &of(1), "");
        assert!(off < 1e-12, "{role}: {off:e}");
    }
}

#[test]
fn two_runs_of_the_same_ranks_have_the_same_bits_and_a_resumed_one_too() {
    let _turn = all_cores();
    let folder = tempfile::tempdir().unwrap();
    for world in [2, 3] {
        let run = |name: &str, stops: &[u64]| {
            let path = folder.path().join(format!("{world}-{name}"));
            // With dropout; checkpoints every four steps.
            let make = |_: usize| request(&path, 11, Discs::new(10));
            for stop in stops {
                let outcomes = ranks(world, make, |rank, at| {
                    // The last rank is the one that is told.
                    if rank + 1 == world && at.step == *stop {
                        Control::Stop
                    } else {
                        Control::Continue
                    }
                });
                // The first to fail is the cause, and need not be rank 0.
                let failed: Vec<_> = outcomes
                    .iter()
                    .filter_map(|rank| rank.as_ref().err())
                    .collect();
                assert!(failed.is_empty(), "{failed:?}");
                // All ranks end together, one step after one of them was told.
                for outcome in outcomes {
                    assert_eq!(outcome.unwrap().step, stop + 1);
                }
            }
            ranks(world, make, go_on).swap_remove(0).unwrap()
        };
        let straight = run("straight", &[]);
        assert_same_bits(&run("again", &[]), &straight);
        assert_same_bits(&run("stopped", &[2, 6]), &straight);
    }
}

#[test]
fn dropout_masks_differ_between_ranks() {
    let _turn = all_cores();
    let folder = tempfile::tempdir().unwrap();
    let weights = |world: usize| {
        let path = folder.path().join(world.to_string());
        let outcome = trained(world, &path, |request| {
            request.train.steps = 2;
            request.train.dropout = 0.2;
        });
        contents(&outcome.checkpoint).swap_remove(0)
    };
    assert!(distance(&weights(2), &weights(1), "") > 1e-6);
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let _turn = all_cores();
    let folder = tempfile::tempdir().unwrap();
    let straight = trained(1, &folder.path().join("straight"), |_| {});
    let path = folder.path().join("changing");
    for (world, steps) in [(2, 5), (4, 9), (1, 14), (3, 20)] {
        // A rank that is not the first neither has the folder nor makes it.
        let elsewhere = folder.path().join("absent").join("no such folder");
        let make = |rank: usize| exact(if rank == 0 { &path } else { &elsewhere }, steps);
        if world == 1 {
            undisturbed(&make(0));
        } else {
            for outcome in ranks(world, make, go_on) {
                let outcome = outcome.unwrap();
                assert_eq!(outcome.step, steps);
                assert_eq!(outcome.curve.len(), usize::try_from(steps).unwrap());
            }
        }
        assert!(!folder.path().join("absent").exists());
    }
    let found = contents(&path.join("step-00000020"));
    for (found, expected) in found.iter().zip(&contents(&straight.checkpoint)) {
        let off = distance(found, expected, "");
        assert!(off < 1e-12, "{off:e}");
    }
}

/// What the ranks of a world of three say when rank 1 is lost in step 3, and how long they take.
fn with_a_lost_rank(
    folder: &Path,
    lost: impl Fn() + Sync,
) -> (Vec<Result<TrainOutcome, TrainError>>, Duration) {
    let start = Instant::now();
    let said = ranks_within(
        SHORT,
        3,
        |_| exact(folder, 20),
        |rank, at| {
            if rank == 1 && at.step == 3 {
                lost();
            }
            Control::Continue
        },
    );
    (said, start.elapsed())
}

#[test]
fn a_rank_that_hangs_is_an_error_of_the_others_in_time() {
    let _turn = all_cores();
    let folder = tempfile::tempdir().unwrap();
    let (said, after) = with_a_lost_rank(folder.path(), || std::thread::sleep(SHORT.operation * 2));
    assert!(after < TIMEOUTS.operation, "{after:?}");
    for outcome in said {
        let error = outcome.unwrap_err();
        assert!(matches!(error, TrainError::Collective(_)), "{error}");
    }
}

/// Steps and slices of a log: generation by generation.
fn log_of(folder: &Path) -> Vec<(u64, u64, Vec<usize>)> {
    std::fs::read_to_string(folder.join("samples.log"))
        .unwrap()
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            let mut number = || words.next().unwrap().parse().unwrap();
            let (step, generation) = (number(), number());
            let slices = words.next().unwrap().split(',');
            (
                step,
                generation,
                slices.map(|slice| slice.parse().unwrap()).collect(),
            )
        })
        .collect()
}

#[test]
fn whatever_ranks_are_lost_every_step_has_its_samples_once() {
    let _turn = all_cores();
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("lossy");
    let make = |world: usize, rank: usize, reads: usize, generation: u64| {
        let data = Discs::new(10);
        if rank + 1 == world {
            // Its disk is gone after so many slices.
            data.reads_left.store(reads, Ordering::Relaxed);
        }
        let mut request = exact(&path, 16);
        request.data = Arc::new(data);
        request.train.checkpoint_every = 3;
        request.generation = Some(generation);
        request
    };
    let lossy = [(4, 2), (2, 9), (3, 4), (4, 5), (2, 6)];
    for (generation, (world, reads)) in (1..).zip(lossy) {
        let start = Instant::now();
        let said = ranks(world, |rank| make(world, rank, reads, generation), go_on);
        assert!(start.elapsed() < TIMEOUTS.operation);
        for (rank, outcome) in said.into_iter().enumerate() {
            let error = outcome.unwrap_err();
            let own = rank + 1 == world;
            assert_eq!(matches!(error, TrainError::Loader(_)), own, "{error}");
            assert_eq!(matches!(error, TrainError::Collective(_)), !own, "{error}");
        }
    }
    let ended = ranks(2, |rank| make(2, rank, usize::MAX, 6), go_on).swap_remove(0);
    assert_eq!(ended.as_ref().unwrap().step, 16);

    let straight = trained(1, &folder.path().join("straight"), |request| {
        request.train.steps = 16;
        request.generation = Some(1);
    });
    let expected = log_of(&folder.path().join("straight"));
    assert_eq!(expected.len(), 16);
    let log = log_of(&path);
    assert!(
        log.len() > 16,
        "nothing was repeated: no rank was lost late"
    );
    for (step, _, slices) in &expected {
        let last = log.iter().rfind(|(found, _, _)| found == step).unwrap();
        assert_eq!(last.2, *slices, "step {step}");
    }
    // A generation goes on after the last checkpoint of those before, without a gap.
    for pair in log.windows(2) {
        let ((before, old, _), (after, new, _)) = (&pair[0], &pair[1]);
        if old == new {
            assert_eq!(*after, before + 1);
        } else {
            assert!(*after <= before + 1 && after % 3 == 1, "{before} {after}");
        }
    }
    let found = contents(&ended.unwrap().checkpoint);
    for (found, expected) in found.iter().zip(&contents(&straight.checkpoint)) {
        let off = distance(found, expected, "");
        assert!(off < 1e-12, "{off:e}");
    }
}

#[test]
fn an_aborted_group_ends_training_everywhere() {
    let _turn = all_cores();
    let folder = tempfile::tempdir().unwrap();
    let rendezvous: Arc<dyn Rendezvous> = Arc::new(MemoryRendezvous::default());
    let start = Instant::now();
    let errors: Vec<TrainError> = std::thread::scope(|scope| {
        let ranks: Vec<_> = (0..2)
            .map(|rank| {
                let (rendezvous, folder) = (Arc::clone(&rendezvous), folder.path());
                scope.spawn(move || {
                    tch::set_num_threads(1);
                    let listen = Listen::Host(LOOPBACK.to_owned());
                    let membership = Membership { rank, world: 2 };
                    let group = gloo::connect(membership, rendezvous, TIMEOUTS, &listen).unwrap();
                    let request = TrainRequest {
                        ranks: Ranks::Together(&group),
                        ..exact(folder, 1_000_000)
                    };
                    let error = train(&request, &mut |at| {
                        if rank == 1 && at.step == 3 {
                            group.abort();
                        }
                        Control::Continue
                    })
                    .unwrap_err();
                    drop(request);
                    // As above.
                    std::mem::forget(group);
                    error
                })
            })
            .collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    assert!(start.elapsed() < TIMEOUTS.operation);
    for error in errors {
        assert!(matches!(error, TrainError::Collective(_)), "{error}");
    }
}

#[test]
fn more_ranks_than_samples_are_refused() {
    let _turn = all_cores();
    let folder = tempfile::tempdir().unwrap();
    for outcome in ranks(5, |_| exact(folder.path(), 2), go_on) {
        let message = outcome.unwrap_err().to_string();
        assert!(message.contains("5 ranks"), "{message}");
    }
}

#[test]
fn training_leaves_the_global_generator_alone() {
    let _turn = all_cores();
    let folder = tempfile::tempdir().unwrap();
    let draw = || tch::Tensor::rand([8], (Kind::Float, tch::Device::Cpu));
    tch::manual_seed(9);
    let expected = draw();
    let request = request(folder.path(), 4, Discs::new(10));
    assert!(request.train.dropout > 0.0);
    train(&request, &mut |at| {
        match at.step {
            // Fresh weights were drawn before.
            1 => tch::manual_seed(9),
            4 => assert_eq!(draw(), expected),
            _ => {}
        }
        Control::Continue
    })
    .unwrap();
}
