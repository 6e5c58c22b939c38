//! One drill from its first process to the comparison of its answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::fixture::DrillFixture;
use super::fleet::{Fleet, LEASE};
use super::schedule::{Kind, Planned, schedule};
use super::tally::Drill;

/// A drill that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(120);

/// How often everything is looked at.
const TICK: Duration = Duration::from_millis(10);

/// Runs the fixture's spec through Redis with so many workers while the faults of `kind` and `seed` strike. Ends early, as
/// failed, when `interrupt` is set.
pub fn drill(
    fixture: &DrillFixture,
    kind: Kind,
    seed: u64,
    workers: usize,
    interrupt: &AtomicBool,
) -> Drill {
    let started = Instant::now();
    let mut drill = Drill {
        kind,
        seed,
        faults: super::tally::Faults::new(),
        shards: fixture.shards(),
        duplicates: 0,
        conflicts: 0,
        lost: 0,
        run_again: 0,
        workers_died: 0,
        seconds: 0.0,
        failure: None,
    };
    // The rig panics where it cannot go on; the next drill may.
    let ended = catch_unwind(AssertUnwindSafe(|| {
        play(fixture, &mut drill, workers, interrupt)
    }));
    drill.failure = match ended {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure),
        Err(panic) => Some(
            panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("the rig failed")
                .to_owned(),
        ),
    };
    drill.seconds = started.elapsed().as_secs_f64();
    drill
}

fn play(
    fixture: &DrillFixture,
    drill: &mut Drill,
    workers: usize,
    interrupt: &AtomicBool,
) -> Result<(), String> {
    let run = format!("{}-{}", drill.kind.name(), drill.seed);
    let mut fleet = Fleet::new(fixture, drill.kind, drill.seed, &run, workers)
        .map_err(|error| format!("the drill does not start: {error}"))?;
    let planned = schedule(drill.kind, drill.seed, workers, LEASE);
    let ended = until_done(fixture, &mut fleet, &run, planned, interrupt);
    fleet
        .count_device_faults()
        .map_err(|error| format!("the workers' logs: {error}"))?;
    drill.faults = fleet.faults.clone();
    drill.run_again = fleet.run_again;
    drill.workers_died = fleet.workers_died;
    let checked = ended.and_then(|()| {
        let (answer, coverage) = fixture.outcome(&run);
        drill.duplicates = coverage.duplicates;
        drill.conflicts = coverage.conflicts;
        drill.lost = coverage.planned.saturating_sub(coverage.scored);
        if answer.fingerprint != fixture.answer().fingerprint {
            return Err(format!(
                "fingerprint {}, undisturbed {}",
                answer.fingerprint,
                fixture.answer().fingerprint
            ));
        }
        if answer.rows != fixture.answer().rows {
            return Err("same fingerprint, other rows".to_owned());
        }
        if drill.lost > 0 || drill.conflicts > 0 {
            return Err(format!("{coverage:?}"));
        }
        fleet.drain().map_err(|error| error.to_string())
    });
    match checked {
        Ok(()) => {
            for folder in fleet.folders() {
                std::fs::remove_dir_all(&folder)
                    .map_err(|error| format!("{}: {error}", folder.display()))?;
            }
            Ok(())
        }
        Err(failure) => Err(format!("{failure}\n{}", fleet.tails())),
    }
}

fn until_done(
    fixture: &DrillFixture,
    fleet: &mut Fleet<'_>,
    run: &str,
    planned: Vec<Planned>,
    interrupt: &AtomicBool,
) -> Result<(), String> {
    let started = Instant::now();
    let mut planned = planned.into_iter().peekable();
    // When the next fault strikes, once the run has come so far.
    let mut due = None;
    loop {
        if fleet.look_after().map_err(|error| error.to_string())? {
            return Ok(());
        }
        if interrupt.load(Ordering::Relaxed) {
            return Err("interrupted".to_owned());
        }
        if started.elapsed() > LIMIT {
            return Err(format!(
                "not done within {LIMIT:?}, {:.0} % of the records are there",
                100.0 * fixture.progress(run)
            ));
        }
        if let Some(next) = planned.peek()
            && due.is_none()
            && fixture.progress(run) >= next.progress
        {
            due = Some(Instant::now() + next.pause);
        }
        if due.is_some_and(|moment| Instant::now() >= moment)
            && let Some(next) = planned.next()
        {
            due = None;
            fleet
                .inject(&next.fault)
                .map_err(|error| format!("{}: {error}", next.fault.name()))?;
        }
        std::thread::sleep(TICK);
    }
}
