//! The worker's loop against a scripted queue, on the fake backend.

mod run;
mod script;

use std::time::Duration;

use anofpdm_common::plan::{BatchRun, GangRank, Manifest, Plan, Task};
use anofpdm_common::queue::{ErrorClass, Take};
use anofpdm_common::wire;

use run::{Run, STEPS};
use script::{Call, LONG, Told, leased, records, served};

#[test]
fn two_runs_are_served_each_from_and_into_its_own_stores() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (
        Run::new(folder.path(), "a", 1.0),
        Run::new(folder.path(), "b", -1.0),
    );
    assert_ne!(first.data.digest, second.data.digest);
    let takes = vec![
        leased(1, first.forward()),
        leased(2, second.forward()),
        leased(3, first.forward()),
        leased(4, second.training()),
    ];
    let (told, ended) = served(folder.path(), takes, "", None, LONG);
    ended.unwrap();
    assert_eq!(told.len(), 5, "{told:?}");
    let [a, b, again] = [
        records(&first.artifacts, &told[0]),
        records(&second.artifacts, &told[1]),
        records(&first.artifacts, &told[2]),
    ];
    assert_eq!(a.len(), 2);
    assert!(a.iter().all(|record| record.len() == 2));
    assert_eq!(a, again);
    assert_ne!(a, b);
    let Told::Complete(1, completion) = &told[0] else {
        panic!("{told:?}")
    };
    let per_slice = 2 * u64::from(STEPS);
    assert_eq!(completion.evaluations, 4 * per_slice);
    assert_eq!(completion.padding, 2 * per_slice);
    let Told::Complete(4, completion) = &told[3] else {
        panic!("{told:?}")
    };
    let manifest = second.artifacts.get(&completion.manifest, 1 << 20).unwrap();
    let manifest: Manifest = wire::decode(&manifest).unwrap();
    assert_eq!(manifest.entries[0].0, second.train_plan().key().unwrap());
    second.artifacts.verify(&manifest.entries[0].1).unwrap();
    assert_eq!(told[4], Told::Leave);
}

#[test]
fn a_rank_that_was_anothers_is_handed_back_and_connects_to_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::new(folder.path(), "a", 1.0);
    let mut job = run.training();
    job.task = Task::Train(GangRank {
        generation: 7,
        rank: 0,
        world: 2,
    });
    // The end is asked for at the first renewal: until then it waits to be called off.
    let takes = vec![leased(1, job)];
    let (told, ended) = served(folder.path(), takes, "", Some(Call::Renew), LONG);
    ended.unwrap();
    assert_eq!(told, [Told::HandBack(1), Told::Leave]);
}

#[test]
fn out_of_memory_is_reported_and_the_worker_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::new(folder.path(), "a", 1.0);
    let takes = vec![leased(1, run.forward()), leased(2, run.forward())];
    let (told, ended) = served(folder.path(), takes, "oom=1", None, LONG);
    ended.unwrap();
    let shards: Vec<_> = told
        .iter()
        .map(|told| match told {
            Told::Fail(shard, ErrorClass::OutOfMemory, _) => *shard,
            _ => 0,
        })
        .collect();
    assert_eq!(shards, [1, 2, 0], "{told:?}");
    let Told::Fail(_, _, message) = &told[0] else {
        unreachable!()
    };
    assert!(
        message.contains("set batch_slices = 1 in [compute]") && message.contains("CUDA out of"),
        "{message}"
    );
}

/// The first batch of a worker does not fit beside what was there before.
#[test]
fn a_batch_that_fits_once_memory_is_freed_is_computed() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::new(folder.path(), "a", 1.0);
    let takes = vec![leased(1, run.forward())];
    let (told, ended) = served(folder.path(), takes, "oom=0.999999", None, LONG);
    ended.unwrap();
    assert!(
        matches!(told[..], [Told::Complete(1, _), Told::Leave]),
        "{told:?}"
    );
}

#[test]
fn a_worker_without_device_reports_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::new(folder.path(), "a", 1.0);
    let takes = vec![leased(1, run.forward()), leased(2, run.forward())];
    let (told, ended) = served(folder.path(), takes, "lost=1", None, LONG);
    let error = ended.unwrap_err();
    assert!(error.ends_the_device(), "{error}");
    assert!(
        matches!(
            told[..],
            [Told::Fail(1, ErrorClass::DeviceLost, _), Told::Leave]
        ),
        "{told:?}"
    );
}

#[test]
fn a_retired_worker_ends_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let takes = vec![Take::Retired("wrong bits".to_owned())];
    let (_, ended) = served(folder.path(), takes, "", None, LONG);
    let error = ended.unwrap_err();
    assert!(error.ends_the_device() && error.to_string().contains("wrong bits"));
}

#[test]
fn a_shard_at_work_is_finished_when_there_is_time_else_handed_back() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::new(folder.path(), "a", 1.0);
    let at_work = |job, grace| {
        let takes = vec![leased(1, job), leased(2, run.forward())];
        // Several renewals fall into the time that a shard takes.
        let (told, ended) = served(folder.path(), takes, "delay_ms=5", Some(Call::Renew), grace);
        ended.unwrap();
        assert_eq!(told.last(), Some(&Told::Leave));
        assert_eq!(told.len(), 2, "nothing more is taken: {told:?}");
        told[0].clone()
    };
    let finished = at_work(run.forward(), LONG);
    assert!(matches!(finished, Told::Complete(1, _)), "{finished:?}");
    assert_eq!(at_work(run.forward(), Duration::ZERO), Told::HandBack(1));
    assert_eq!(at_work(run.training(), LONG), Told::HandBack(1));
}

#[test]
fn a_lease_that_crosses_the_signal_goes_back_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::new(folder.path(), "a", 1.0);
    let takes = vec![leased(1, run.forward())];
    let (told, ended) = served(folder.path(), takes, "", Some(Call::Take), LONG);
    ended.unwrap();
    assert_eq!(told, [Told::HandBack(1), Told::Leave]);
}

#[test]
fn what_is_not_found_here_is_told_and_the_worker_pauses() {
    let (here, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = Run::new(elsewhere.path(), "a", 1.0);
    let takes = vec![leased(1, run.forward()), leased(2, run.forward())];
    // The signal ends the pause, so that the second shard is not taken.
    let (told, ended) = served(here.path(), takes, "", Some(Call::Fail), LONG);
    ended.unwrap();
    let [Told::Fail(1, ErrorClass::Transient, message), Told::Leave] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(message.contains("--artifacts"), "{message}");
}

#[test]
fn errors_and_impossible_jobs_have_their_class() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::new(folder.path(), "a", 1.0);
    let mut beyond = run.forward();
    beyond.task = Task::Batches(BatchRun {
        first: 1,
        count: u32::MAX,
        cells: vec![0],
    });
    let mut mixed = run.forward();
    mixed.task = Task::Train(GangRank::alone(1));
    let mut other = run.forward_plan();
    other.profile.threads = 2;
    let takes = vec![
        leased(1, beyond),
        leased(2, mixed),
        leased(3, run.job(&Plan::Forward(other))),
    ];
    let (told, ended) = served(folder.path(), takes, "", None, LONG);
    ended.unwrap();
    for (told, part) in told
        .iter()
        .zip(["no such task", "no such task", "2 thread"])
    {
        assert!(
            matches!(told, Told::Fail(_, ErrorClass::BadInput, message) if message.contains(part)),
            "{told:?}"
        );
    }
    let takes = vec![leased(1, run.forward())];
    let (told, _) = served(folder.path(), takes, "error=1", None, LONG);
    assert!(matches!(told[0], Told::Fail(1, ErrorClass::Transient, _)));
}
