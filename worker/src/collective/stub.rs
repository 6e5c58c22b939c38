//! Groups on a backend that behaves as NCCL does where something is wrong (`shim/stub_backend.cpp`), and what a rank then
//! sees. What NCCL itself does is read from its header and from ProcessGroupNCCL's source: no GPU is here.

use std::sync::Arc;
use std::time::Duration;

use super::{CollectiveError, Group, Membership, MemoryRendezvous, Rendezvous, Timeouts};
use crate::shim::group::GroupBackend;
use crate::shim::stub_backend::{Behaviour, StubState};

/// Rank 0 of a world of two whose other rank is not there.
pub(crate) fn stub_group(
    timeouts: Timeouts,
    behaviour: Behaviour,
) -> Result<(Group, StubState), CollectiveError> {
    let rendezvous: Arc<dyn Rendezvous> = Arc::new(MemoryRendezvous::default());
    stub_rank(0, rendezvous, timeouts, behaviour)
}

/// A rank of a world of two.
pub(crate) fn stub_rank(
    rank: usize,
    rendezvous: Arc<dyn Rendezvous>,
    timeouts: Timeouts,
    behaviour: Behaviour,
) -> Result<(Group, StubState), CollectiveError> {
    let mut state = None;
    let membership = Membership { rank, world: 2 };
    let group = Group::connect(membership, rendezvous, timeouts, |store, rank, world| {
        let (backend, made) = GroupBackend::stub(store, rank, world, behaviour).unwrap();
        state = Some(made);
        Ok(backend)
    })?;
    Ok((group, state.unwrap()))
}

mod tests {
    use std::time::Instant;

    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::shim::stub_backend::Operations;

    const LONG: Timeouts = Timeouts {
        connect: Duration::from_secs(60),
        operation: Duration::from_secs(60),
    };

    fn zeros() -> Tensor {
        Tensor::zeros([4], (Kind::Float, Device::Cpu))
    }

    #[test]
    fn an_operation_that_an_abort_has_ended_is_not_done() {
        let behaviour = Behaviour::of(Operations::UntilAborted);
        let (group, stub) = stub_group(LONG, behaviour).unwrap();
        let error = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| group.all_reduce(&zeros()).unwrap_err());
            std::thread::sleep(Duration::from_millis(50));
            group.abort();
            waiting.join().unwrap()
        });
        assert!(matches!(error, CollectiveError::Aborted { .. }), "{error}");
        drop(group);
        assert!(!stub.seen().shut_down, "nothing is in order any more");
    }

    /// The future of a sum on a GPU is complete once it was launched.
    #[test]
    fn gradients_of_an_aborted_group_are_not_summed() {
        let behaviour = Behaviour::of(Operations::UntilAborted);
        let (group, _stub) = stub_group(LONG, behaviour).unwrap();
        let weight = zeros().set_requires_grad(true);
        let mut sum = group.gradient_sum(&[&weight]).unwrap();
        group.abort();
        let loss = (&weight * 2.0).sum(Kind::Float);
        let error = sum.backward(&loss).unwrap_err();
        assert!(matches!(error, CollectiveError::Aborted { .. }), "{error}");
    }

    /// NCCL's watchdog ends a process whose barrier takes longer than an operation may.
    #[test]
    fn a_rank_waits_for_a_checkpoint_without_a_barrier() {
        let rendezvous: Arc<dyn Rendezvous> = Arc::new(MemoryRendezvous::default());
        let timeouts = Timeouts {
            operation: Duration::from_millis(100),
            ..LONG
        };
        let rank = |rank: usize| {
            let behaviour = Behaviour::of(Operations::UntilAborted);
            stub_rank(rank, Arc::clone(&rendezvous), timeouts, behaviour).unwrap()
        };
        let ((first, first_saw), (second, second_saw)) = (rank(0), rank(1));
        let limit = Duration::from_secs(60);
        for turn in 0..3 {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let write = || -> Result<(), CollectiveError> {
                        std::thread::sleep(timeouts.operation * 4);
                        Ok(())
                    };
                    first.after_first("checkpoint", limit, write).unwrap();
                });
                let start = Instant::now();
                let nothing = || -> Result<(), CollectiveError> { panic!("rank 1 writes nothing") };
                second.after_first("checkpoint", limit, nothing).unwrap();
                assert!(
                    start.elapsed() >= timeouts.operation,
                    "{turn}: it has not waited"
                );
            });
        }
        assert_eq!(
            (first_saw.seen().barriers, second_saw.seen().barriers),
            (0, 0)
        );
        // A failure of rank 0 is heard at once.
        let failure = CollectiveError::Membership { rank: 9, world: 9 };
        let said = first.after_first("checkpoint", limit, || Err(failure.clone()));
        assert_eq!(said, Err(failure));
        let said = second.after_first("checkpoint", limit, || Ok(()));
        assert!(
            matches!(said, Err(CollectiveError::Failed { .. })),
            "{said:?}"
        );
    }

    #[test]
    fn a_rank_that_waits_for_a_checkpoint_ends_when_it_is_aborted() {
        let behaviour = Behaviour::of(Operations::Done);
        let rendezvous: Arc<dyn Rendezvous> = Arc::new(MemoryRendezvous::default());
        let (group, _stub) = stub_rank(1, rendezvous, LONG, behaviour).unwrap();
        let said: Result<(), CollectiveError> = std::thread::scope(|scope| {
            let limit = Duration::from_secs(600);
            let group = &group;
            let waiting = scope.spawn(move || group.after_first("checkpoint", limit, || Ok(())));
            group.abort();
            waiting.join().unwrap()
        });
        assert!(
            matches!(said, Err(CollectiveError::Aborted { .. })),
            "{said:?}"
        );
    }

    /// The connection of NCCL is made by a call that waits for every rank, and that nothing ends.
    #[test]
    fn ranks_of_which_one_is_gone_before_they_connect_do_not_wait_for_ever() {
        let timeouts = Timeouts {
            connect: Duration::from_millis(200),
            ..LONG
        };
        let behaviour = Behaviour {
            connects: false,
            ..Behaviour::of(Operations::Done)
        };
        let error = stub_group(timeouts, behaviour).unwrap_err();
        assert!(matches!(error, CollectiveError::Connect { .. }), "{error}");
        assert!(error.to_string().contains("not connected"), "{error}");
    }

    #[test]
    fn a_group_in_which_nothing_failed_is_shut_down() {
        let (group, stub) = stub_group(LONG, Behaviour::of(Operations::Done)).unwrap();
        group.all_reduce(&zeros()).unwrap();
        drop(group);
        let seen = stub.seen();
        assert!(seen.shut_down && !seen.aborted, "{seen:?}");
    }
}
