//! Ranks on Gloo, as threads of this process: what they compute together, and what one of them sees
//! when another is gone, hangs or gives up.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anofpdm_worker::collective::gloo::{self, LOOPBACK, Listen};
use anofpdm_worker::collective::{
    CollectiveError, Group, Membership, MemoryRendezvous, Rendezvous, Timeouts,
};
use tch::{Device, Kind, Tensor};

const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(60),
    operation: Duration::from_secs(120),
};
/// Where a timeout is what is looked at.
const SHORT: Timeouts = Timeouts {
    operation: Duration::from_secs(3),
    ..TIMEOUTS
};

/// Runs `body` as every rank of a world of `world`, and returns what they say in rank order.
fn together<T: Send>(world: usize, body: impl Fn(Group) -> T + Sync) -> Vec<T> {
    together_within(TIMEOUTS, world, body)
}

fn together_within<T: Send>(
    timeouts: Timeouts,
    world: usize,
    body: impl Fn(Group) -> T + Sync,
) -> Vec<T> {
    let rendezvous: Arc<dyn Rendezvous> = Arc::new(MemoryRendezvous::default());
    std::thread::scope(|scope| {
        let ranks: Vec<_> = (0..world)
            .map(|rank| {
                let (rendezvous, body) = (Arc::clone(&rendezvous), &body);
                scope.spawn(move || {
                    tch::set_num_threads(1);
                    let membership = Membership { rank, world };
                    let listen = Listen::Host(LOOPBACK.to_owned());
                    body(gloo::connect(membership, rendezvous, timeouts, &listen).unwrap())
                })
            })
            .collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

fn ramp(rank: usize, kind: Kind) -> Tensor {
    Tensor::arange(1000, (kind, Device::Cpu)) * (rank as f64 + 1.0)
}

#[test]
fn sums_and_copies_are_those_of_all_ranks() {
    for world in [1, 2, 3, 4] {
        let factor = (1..=world).sum::<usize>() as f64;
        together(world, |group| {
            assert_eq!((group.rank() < world, group.world()), (true, world));
            for kind in [Kind::Float, Kind::Double] {
                let sum = ramp(group.rank(), kind);
                group.all_reduce(&sum).unwrap();
                assert_eq!(sum, Tensor::arange(1000, (kind, Device::Cpu)) * factor);
            }
            let copy = ramp(group.rank(), Kind::Float);
            group.broadcast(&copy, world - 1).unwrap();
            assert_eq!(copy, ramp(world - 1, Kind::Float));
            group.barrier(TIMEOUTS.operation).unwrap();
        });
    }
}

#[test]
fn a_weight_that_asks_for_gradients_is_copied_in_place() {
    together(2, |group| {
        let weight = ramp(group.rank(), Kind::Float).set_requires_grad(true);
        group.broadcast(&weight, 0).unwrap();
        assert_eq!(weight.detach(), ramp(0, Kind::Float));
        assert!(weight.requires_grad());
    });
}

/// Gradients of a small sum, over the ranks: by hand `sum over ranks of (rank + 1) x`.
#[test]
fn gradients_are_sums_over_the_ranks_with_what_was_there() {
    for world in [1, 2, 4] {
        let factor = (1..=world).sum::<usize>() as f64;
        together(world, |group| {
            // Large enough for several buckets of the first size.
            let weights: Vec<Tensor> = (0..4)
                .map(|_| Tensor::ones([200_000], (Kind::Double, Device::Cpu)))
                .map(|weight| weight.set_requires_grad(true))
                .collect();
            let list: Vec<&Tensor> = weights.iter().collect();
            let mut sum = group.gradient_sum(&list).unwrap();
            let share = group.rank() as f64 + 1.0;
            let loss = |scale: f64| {
                weights.iter().fold(Tensor::from(0.0_f64), |total, weight| {
                    (total + weight.sum(Kind::Double)) * 2.0
                }) * (scale * share)
            };
            for pass in 0..4 {
                sum.backward(&loss(1.0)).unwrap();
                if pass == 0 {
                    sum.settle_order().unwrap();
                }
                for (index, weight) in weights.iter().enumerate() {
                    let expected = factor * f64::from(1 << (4 - index));
                    assert_eq!(weight.grad().min().double_value(&[]), expected);
                    assert_eq!(weight.grad().max().double_value(&[]), expected);
                }
                anofpdm_worker::shim::training::drop_gradients(&list).unwrap();
            }
            // Two pieces of a share: the first is kept back.
            anofpdm_worker::shim::training::backward(&loss(10.0)).unwrap();
            sum.backward(&loss(1.0)).unwrap();
            let found = weights[3].grad().double_value(&[0]);
            assert_eq!(found, 11.0 * 2.0 * factor);
            group.barrier(TIMEOUTS.operation).unwrap();
        });
    }
}

/// What the ranks that stay say when rank 1 of 3 does `leave` instead of a second sum.
fn survivors(timeouts: Timeouts, leave: impl Fn(Group) + Sync) -> Vec<(CollectiveError, Duration)> {
    together_within(timeouts, 3, |group| {
        let tensor = ramp(group.rank(), Kind::Float);
        group.all_reduce(&tensor).unwrap();
        if group.rank() == 1 {
            leave(group);
            return None;
        }
        let start = Instant::now();
        let error = group.all_reduce(&tensor).unwrap_err();
        Some((error, start.elapsed()))
    })
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn a_rank_that_ends_is_noticed_at_once() {
    for (error, after) in survivors(TIMEOUTS, drop) {
        assert!(matches!(error, CollectiveError::Failed { .. }), "{error}");
        assert!(after < TIMEOUTS.operation, "{after:?}: {error}");
    }
}

#[test]
fn a_rank_that_hangs_is_noticed_by_the_timeout() {
    let failures = survivors(SHORT, |group| {
        std::thread::sleep(SHORT.operation * 2);
        drop(group);
    });
    assert_eq!(failures.len(), 2);
    for (error, after) in failures {
        assert!(after < TIMEOUTS.operation, "{after:?}: {error}");
    }
}

#[test]
fn an_aborted_group_ends_what_is_under_way_everywhere() {
    let said = together(3, |group| {
        let tensor = ramp(group.rank(), Kind::Float);
        group.all_reduce(&tensor).unwrap();
        let start = Instant::now();
        let error = std::thread::scope(|scope| {
            if group.rank() == 1 {
                // Another thread of a rank gives up, as one that has lost its lease does.
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(300));
                    group.abort();
                });
                // Waits for rank 0, which never comes.
                return group.all_reduce(&tensor).unwrap_err();
            }
            if group.rank() == 2 {
                return group.all_reduce(&tensor).unwrap_err();
            }
            std::thread::sleep(Duration::from_millis(1000));
            group.all_reduce(&tensor).unwrap_err()
        });
        let after = start.elapsed();
        // Whoever takes an aborted group down waits for what it aborted, up to the timeout (libtorch joins its thread): a
        // worker ends, or starts afresh, without doing so.
        std::mem::forget(group);
        (error, after)
    });
    for (rank, (error, after)) in said.iter().enumerate() {
        assert!(*after < TIMEOUTS.operation, "{rank} {after:?}: {error}");
        let aborted = matches!(error, CollectiveError::Aborted { .. });
        assert_eq!(aborted, rank == 1, "{rank}: {error}");
    }
}

#[test]
fn a_world_that_is_not_complete_is_an_error_in_time() {
    let start = Instant::now();
    let timeouts = Timeouts {
        connect: Duration::from_secs(1),
        operation: Duration::from_secs(1),
    };
    let membership = Membership { rank: 0, world: 2 };
    let listen = Listen::Host(LOOPBACK.to_owned());
    let rendezvous = Arc::new(MemoryRendezvous::default());
    let error = gloo::connect(membership, rendezvous, timeouts, &listen).unwrap_err();
    assert!(matches!(error, CollectiveError::Connect { .. }), "{error}");
    assert!(start.elapsed() < TIMEOUTS.operation);
    let membership = Membership { rank: 2, world: 2 };
    let rendezvous = Arc::new(MemoryRendezvous::default());
    let error = gloo::connect(membership, rendezvous, timeouts, &listen).unwrap_err();
    assert!(error.to_string().contains("rank 2"), "{error}");
}

/// A queue that is gone.
#[derive(Debug)]
struct Gone;

impl Rendezvous for Gone {
    fn set(&self, _: &str, _: &[u8]) -> Result<(), String> {
        Err("the queue is gone".to_owned())
    }
    fn get(&self, _: &str, _: Duration) -> Result<Option<Vec<u8>>, String> {
        panic!("nobody asks a queue that is gone")
    }
}

#[test]
fn what_the_rendezvous_says_is_told() {
    let membership = Membership { rank: 0, world: 2 };
    let listen = Listen::Host(LOOPBACK.to_owned());
    let error = gloo::connect(membership, Arc::new(Gone), TIMEOUTS, &listen).unwrap_err();
    assert!(error.to_string().contains("the queue is gone"), "{error}");
    let nowhere = Listen::Interface("no-such-interface".to_owned());
    let rendezvous = Arc::new(MemoryRendezvous::default());
    let error = gloo::connect(membership, rendezvous, TIMEOUTS, &nowhere).unwrap_err();
    assert!(error.to_string().contains("no-such-interface"), "{error}");
}
