use anofpdm_common::queue::ErrorClass;
use anofpdm_common::spec::Bounds;

use super::*;

fn plan() -> Digest {
    Digest::of(b"plan")
}

fn gang(min: u32, max: u32) -> Gang {
    Gang::new(plan(), Devices::Between(Bounds { min, max }), None)
}

fn start(gang: &mut Gang, world: u32, first: u64) -> Vec<Job> {
    let jobs = gang.form(world);
    gang.formed((first..first + u64::from(world)).collect());
    jobs
}

fn died() -> Ending {
    Ending::Died {
        worker: "w".to_owned(),
    }
}

fn transient() -> Ending {
    Ending::Failed {
        class: ErrorClass::Transient,
        message: "lost its peers".to_owned(),
    }
}

#[test]
fn a_generation_has_every_rank_once_and_a_number_above_the_last() {
    let mut gang = gang(1, 4);
    let first = start(&mut gang, 3, 0);
    let ranks: Vec<GangRank> = first
        .iter()
        .map(|job| match job.task {
            Task::Train(rank) => rank,
            Task::Batches(_) | Task::Trial => panic!("no rank"),
        })
        .collect();
    assert_eq!(ranks.iter().map(|r| r.rank).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(ranks.iter().all(|rank| rank.world == 3));
    assert!(first.iter().all(|job| job.check().is_ok()));
    let before = gang.generation;
    gang.note(1, died());
    gang.end(None, Instant::now()).unwrap();
    start(&mut gang, 2, 3);
    assert!(gang.generation > before);
}

/// Its peers may tell of their loss first.
#[test]
fn a_gang_that_does_not_fit_into_memory_is_not_tried_again() {
    let mut gang = gang(2, 2);
    start(&mut gang, 2, 0);
    gang.note(0, transient());
    gang.note(
        1,
        Ending::Failed {
            class: ErrorClass::OutOfMemory,
            message: "set micro_batch = 4".to_owned(),
        },
    );
    let given_up = gang.end(Some("step-10".to_owned()), Instant::now());
    assert!(given_up.unwrap_err().0.contains("micro_batch = 4"));
}

#[test]
fn the_world_is_what_is_there_after_a_while() {
    let now = Instant::now();
    let mut gang = gang(2, 4);
    assert_eq!(gang.world_for(1, 0, now), None, "too few");
    assert_eq!(gang.world_for(3, 0, now), None, "more may come");
    assert_eq!(gang.world_for(3, 0, now + GATHERING), Some(3));
    assert_eq!(gang.world_for(4, 0, now), Some(4), "all there may be");
    assert_eq!(gang.world_for(9, 0, now), Some(4));
    // Losing a worker in the meantime starts the wait again.
    assert_eq!(gang.world_for(1, 0, now + GATHERING), None);
    assert_eq!(gang.world_for(2, 0, now + GATHERING), None);
    start(&mut gang, 2, 0);
    assert_eq!(gang.world_for(4, 0, now + 2 * GATHERING), None, "under way");
}

/// Whatever comes first, and however late the others are.
#[test]
fn workers_of_its_own_are_waited_for() {
    let begin = Instant::now();
    for late in [1, 60, 86_400] {
        let mut gang = gang(1, 3);
        for second in [0, 1, late] {
            let now = begin + Duration::from_secs(second);
            assert_eq!(gang.world_for(0, 2, now), None);
            assert_eq!(
                gang.world_for(1, 2, now),
                None,
                "one of its two after {second} s"
            );
        }
        let now = begin + Duration::from_secs(late);
        assert_eq!(gang.world_for(2, 2, now), None, "a stranger may come");
        assert_eq!(gang.world_for(2, 2, now + GATHERING), Some(2));
        assert_eq!(gang.world_for(3, 2, now), Some(3));
        assert_eq!(gang.world_for(3, 5, now), Some(3), "more than may train");
        // One of the two is lost, then given up.
        assert_eq!(gang.world_for(1, 2, now + GATHERING), None);
        assert_eq!(gang.world_for(1, 1, now + 2 * GATHERING), None);
        assert_eq!(gang.world_for(1, 1, now + 3 * GATHERING), Some(1));
    }
}

#[test]
fn the_loss_of_a_rank_breaks_its_generation_and_no_other() {
    let mut gang = gang(2, 2);
    start(&mut gang, 2, 10);
    gang.note(9, died());
    assert!(!gang.is_broken(), "a shard of an earlier generation");
    gang.note(11, Ending::HandedBack);
    assert!(gang.is_broken());
    gang.note(10, transient());
    gang.note(10, died());
    assert_eq!(
        gang.cause,
        Some(transient()),
        "the first that says something"
    );
}

#[test]
fn getting_nowhere_ends_and_getting_further_does_not() {
    let now = Instant::now();
    let mut gang = gang(2, 2);
    for step in 0..3 * MAX_FRUITLESS {
        start(&mut gang, 2, 0);
        gang.note(0, died());
        gang.end(Some(format!("step-{step:08}")), now).unwrap();
    }
    let same = Some("step-99999999".to_owned());
    gang.end(same.clone(), now).unwrap();
    for attempt in 1..=MAX_FRUITLESS {
        start(&mut gang, 2, 0);
        gang.note(1, transient());
        let ended = gang.end(same.clone(), now);
        assert_eq!(ended.is_err(), attempt == MAX_FRUITLESS, "{attempt}");
        if attempt < MAX_FRUITLESS {
            assert_eq!(gang.world_for(2, 0, now), None, "a pause after an error");
            assert_eq!(gang.world_for(2, 0, now + BACKOFF.cap), Some(2));
        } else {
            assert!(ended.unwrap_err().0.contains("lost its peers"));
        }
    }
}

#[test]
fn hand_backs_alone_never_end_it() {
    let now = Instant::now();
    let mut gang = gang(2, 2);
    for _ in 0..3 * MAX_FRUITLESS {
        start(&mut gang, 2, 0);
        gang.note(0, Ending::HandedBack);
        gang.end(None, now).unwrap();
        assert_eq!(gang.world_for(2, 0, now), Some(2), "at once");
    }
}

#[test]
fn a_training_alone_is_left_to_the_queue() {
    let mut gang = Gang::new(plan(), Devices::exactly(1), None);
    assert_eq!(gang.world_for(0, 0, Instant::now()), Some(1));
    start(&mut gang, 1, 0);
    gang.note(0, died());
    assert!(!gang.is_broken());
}

#[test]
fn a_whole_generation_is_taken_over_and_a_part_of_one_is_not() {
    let mut earlier = gang(3, 3);
    let old = earlier.form(3);
    let new = earlier.form(3);
    let other = Gang::new(Digest::of(b"other"), Devices::exactly(1), None).form(1);
    let numbered = |jobs: &[Job], first: u64| -> Vec<(u64, Job)> {
        (first..).zip(jobs.iter().cloned()).collect()
    };
    let mut inherited = numbered(&old, 0);
    inherited.extend(numbered(&other, 5));
    inherited.extend(numbered(&new, 10));
    let mut next = gang(3, 3);
    assert_eq!(next.adopt(&inherited), BTreeSet::from([10, 11, 12]));
    assert!(next.is_formed());
    // The last rank of the newest is done or lost: nothing of it is of use.
    inherited.pop();
    let mut next = gang(3, 3);
    assert_eq!(next.adopt(&inherited), BTreeSet::new());
    assert!(!next.is_formed());
    let generation = earlier.generation;
    next.form(3);
    assert!(next.generation > generation);
}
