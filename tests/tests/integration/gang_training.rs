//! Ranks that train together, as whole programs: local and through Redis, killed, stalled, with fewer than asked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anofpdm_common::random::{Domain, Stream};
use anofpdm_test_support::redis_server::{RedisOptions, RedisServer};
use anofpdm_tests::fixture::{Fixture, SPEC};
use serde_json::Value;

/// The tiny spec with other values of `[model.guided.train]`, and less work in a step.
fn spec(name: &str, steps: u64, batch: u64, rest: &str) -> String {
    let text = SPEC
        .replace("name = \"tiny\"", &format!("name = \"{name}\""))
        .replace("channel_mult = [1, 1]", "channel_mult = [1]")
        .replace("attention = [8]", "attention = []")
        .replace(
            "steps = 24\nbatch = 4",
            &format!("steps = {steps}\nbatch = {batch}"),
        )
        .replace("checkpoint_every = 6", rest);
    assert!(text.contains(rest) && text.contains(&format!("batch = {batch}")));
    text
}

fn run(fixture: &Fixture, name: &str, dir: &str, more: &[&str]) -> Value {
    let spec = format!("{name}.toml");
    let mut arguments = vec!["run", &spec, "--dir", dir, "--audit", "0"];
    arguments.extend(more);
    fixture.succeeds("anofpdm", &arguments);
    fixture.summary(dir)
}

/// The samples of every step that is part of the final weights: a step that was trained again after a loss replaces
/// what was trained before.
fn samples(fixture: &Fixture, dir: &str) -> BTreeMap<u64, Vec<u64>> {
    let folder = fixture.path().join(dir);
    let path = folder.join("checkpoints/guided/samples.log");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut steps: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let step: u64 = words.next().unwrap().parse().unwrap();
        let _generation: u64 = words.next().unwrap().parse().unwrap();
        // Whoever starts at this step has not trained what comes after it.
        steps.split_off(&step);
        steps.insert(
            step,
            words
                .next()
                .unwrap()
                .split(',')
                .map(|word| word.parse().unwrap())
                .collect(),
        );
    }
    steps
}

fn pids_of_workers(coordinator: &Child) -> Vec<u32> {
    let listed = Command::new("pgrep")
        .args(["--parent", &coordinator.id().to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

/// One that has just ended is no mistake.
fn signal(pid: u32, name: &str) {
    drop(Command::new("kill").args([name, &pid.to_string()]).status());
}

fn newest_checkpoint(root: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(root.join("checkpoints/guided")).ok()?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("step-"))
        })
        .max()
}

/// The step that was trained last, by the log of samples; 0 where a line is not whole yet.
fn last_step(root: &Path) -> u64 {
    let log = root.join("checkpoints/guided/samples.log");
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let first = text.lines().last().and_then(|line| line.split(' ').next());
    first.and_then(|step| step.parse().ok()).unwrap_or(0)
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(300),
            "{what} does not come"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn two_ranks_train_and_score_in_one_run_local_and_redis() {
    let fixture = Fixture::new();
    fixture.write(
        "pair.toml",
        &spec(
            "pair",
            24,
            4,
            "checkpoint_every = 6\ndevices = 2\nvalidate_every = 6\nsample_every = 12",
        ),
    );
    let local = run(&fixture, "pair", "local", &["--workers", "2"]);
    assert_eq!(local["coverage"]["scored"], local["coverage"]["planned"]);
    assert_eq!(local["cost"]["by_stage"]["train"], 24 * 4);
    assert_eq!(samples(&fixture, "local").len(), 24);
    // A person sees it learn.
    let report = fixture.path().join("local/report");
    let csv = std::fs::read_to_string(report.join("loss.csv")).unwrap();
    for line in [
        "guided,train,1,",
        "guided,validation,6,",
        "guided,validation,24,",
    ] {
        assert!(csv.contains(line), "{csv}");
    }
    assert!(report.join("figures/loss.svg").is_file() && report.join("report.html").is_file());
    let pictures = fixture.path().join("local/checkpoints/guided/samples");
    assert!(pictures.join("step-00000012.png").is_file());
    // The same world, the same bits, dropout and all.
    let again = run(&fixture, "pair", "again", &["--workers", "2"]);
    assert_eq!(again["fingerprint"], local["fingerprint"]);

    let server = RedisServer::start(RedisOptions::default());
    let url = server.url();
    let workers = ["--queue", &url, "--workers", "2", "--device", "cpu"];
    let through = run(&fixture, "pair", "redis", &workers);
    assert_eq!(through["fingerprint"], local["fingerprint"]);
    assert_eq!(samples(&fixture, "redis"), samples(&fixture, "local"));
}

#[test]
fn killed_ranks_start_again_and_no_step_is_lost_or_repeated() {
    const KILLS: u32 = 20;
    const STEPS: u64 = 200;
    let fixture = Fixture::new();
    let rest = "checkpoint_every = 4\ndevices = 4\ndropout = 0.0";
    fixture.write("gang.toml", &spec("gang", STEPS, 4, rest));
    let arguments = |dir| {
        [
            "run",
            "gang.toml",
            "--dir",
            dir,
            "--workers",
            "4",
            "--until",
            "train",
        ]
    };
    fixture.succeeds("anofpdm", &arguments("undisturbed"));
    let mut coordinator = fixture.start("anofpdm", &arguments("killed"));
    let mut dice = Stream::new(7, Domain::Kill, 0, 0);
    let mut kills = 0;
    let mut last = None;
    while kills < KILLS && coordinator.try_wait().unwrap().is_none() {
        // Something new was learnt since the last kill, so that the run gets on.
        let reached = wait_for("a new checkpoint", || {
            let newest = newest_checkpoint(&fixture.path().join("killed"));
            let ended = coordinator.try_wait().unwrap().is_some();
            (newest > last || ended).then_some(newest)
        });
        last = reached;
        // Some steps later, and anywhere within one; not a time, in which a fast machine would be done with all of them.
        let steps = last_step(&fixture.path().join("killed")) + dice.below(5);
        wait_for("a few steps more", || {
            let there = last_step(&fixture.path().join("killed")) >= steps;
            (there || coordinator.try_wait().unwrap().is_some()).then_some(())
        });
        std::thread::sleep(Duration::from_secs_f64(0.03 * dice.uniform()));
        let workers = pids_of_workers(&coordinator);
        let Some(victim) = workers.get(dice.below(workers.len().max(1) as u64) as usize) else {
            continue;
        };
        signal(*victim, "-KILL");
        kills += 1;
    }
    assert!(coordinator.wait().unwrap().success());
    assert_eq!(
        kills, KILLS,
        "training was over too soon: more steps are needed"
    );
    let (want, got) = (
        samples(&fixture, "undisturbed"),
        samples(&fixture, "killed"),
    );
    assert_eq!(got.len() as u64, STEPS);
    assert_eq!(
        got, want,
        "the samples of every step are those of the undisturbed run"
    );
    // Sums over four ranks have one order, so even the bits are those of the undisturbed run.
    let weights = |dir: &str| {
        let newest = newest_checkpoint(&fixture.path().join(dir)).unwrap();
        std::fs::read(newest.join("ema.safetensors")).unwrap()
    };
    assert_eq!(weights("killed"), weights("undisturbed"));
}

#[test]
fn a_stalled_rank_does_not_hold_the_others() {
    let fixture = Fixture::new();
    let rest = "checkpoint_every = 2\ndevices = 2";
    fixture.write("stall.toml", &spec("stall", 60, 4, rest));
    let mut coordinator = fixture.start(
        "anofpdm",
        &[
            "run",
            "stall.toml",
            "--dir",
            "r",
            "--workers",
            "2",
            "--lease",
            "2",
            "--until",
            "train",
        ],
    );
    let mut stalled = None;
    newest_after_a_stop(&fixture.path().join("r"), || {
        let pid = pids_of_workers(&coordinator)[0];
        signal(pid, "-STOP");
        stalled = Some(pid);
    });
    // The others went on: its lease ran out, or it was replaced. If it is still there, it may go on too.
    signal(stalled.unwrap(), "-CONT");
    assert!(coordinator.wait().unwrap().success());
    assert_eq!(samples(&fixture, "r").len(), 60);
}

/// A lease, seconds: what comes before its end has not waited for it. Far longer than [`wait_for`] waits.
const LONG_LEASE: &str = "3600";

/// Stops something once a training has a checkpoint, and waits until it has gone on without.
fn newest_after_a_stop(root: &Path, stop: impl FnOnce()) {
    wait_for("a checkpoint", || newest_checkpoint(root));
    stop();
    let mut reached = newest_checkpoint(root);
    // The first may have been under way when it stopped.
    for _ in 0..2 {
        reached = wait_for("a newer checkpoint", || {
            let newest = newest_checkpoint(root);
            (newest > reached).then_some(newest)
        });
    }
}

#[test]
fn a_stalled_worker_of_this_run_is_replaced_long_before_its_lease_ends() {
    let fixture = Fixture::new();
    let rest = "checkpoint_every = 2\ndevices = 2";
    fixture.write("still.toml", &spec("still", 4_000, 4, rest));
    let arguments = [
        "run",
        "still.toml",
        "--dir",
        "r",
        "--workers",
        "2",
        "--lease",
        LONG_LEASE,
        "--until",
        "train",
    ];
    let mut coordinator = fixture.start("anofpdm", &arguments);
    let root = fixture.path().join("r");
    newest_after_a_stop(&root, || {
        signal(pids_of_workers(&coordinator)[0], "-STOP");
    });
    signal(coordinator.id(), "-INT");
    coordinator.wait().unwrap();
}

#[test]
fn a_fleet_goes_on_without_a_stalled_worker() {
    let fixture = Fixture::new();
    let rest = "checkpoint_every = 2\ndevices = { min = 1, max = 2 }";
    fixture.write("fleet.toml", &spec("fleet", 4_000, 4, rest));
    let server = RedisServer::start(RedisOptions::default());
    let url = server.url();
    let mut workers = [fleet_worker(&fixture, &url), fleet_worker(&fixture, &url)];
    let arguments = [
        "run",
        "fleet.toml",
        "--dir",
        "r",
        "--lease",
        LONG_LEASE,
        "--queue",
        &url,
        "--until",
        "train",
    ];
    let mut coordinator = fixture.start("anofpdm", &arguments);
    let root = fixture.path().join("r");
    newest_after_a_stop(&root, || signal(workers[0].id(), "-STOP"));
    // Awake again, it finds itself without its peers and starts anew.
    signal(workers[0].id(), "-CONT");
    std::thread::sleep(Duration::from_secs(5));
    assert!(workers[0].try_wait().unwrap().is_none(), "it has ended");
    signal(coordinator.id(), "-INT");
    coordinator.wait().unwrap();
    for worker in &mut workers {
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
}

#[test]
fn a_pause_of_seconds_disturbs_nothing() {
    let fixture = Fixture::new();
    // More steps than any machine trains meanwhile; it is interrupted at the end.
    let rest = "checkpoint_every = 10\ndevices = 2";
    fixture.write("pause.toml", &spec("pause", 1_000_000, 4, rest));
    let run = "run pause.toml --dir r --workers 2 --until train";
    let arguments: Vec<&str> = run.split(' ').collect();
    let mut coordinator = fixture.start("anofpdm", &arguments);
    let root = fixture.path().join("r");
    wait_for("a checkpoint", || newest_checkpoint(&root));
    // A rank, then the coordinator itself, for longer than it waits for a silent rank.
    let rank = pids_of_workers(&coordinator)[1];
    for (pid, seconds) in [(rank, 4), (coordinator.id(), 12)] {
        signal(pid, "-STOP");
        std::thread::sleep(Duration::from_secs(seconds));
        signal(pid, "-CONT");
        let reached = last_step(&root);
        wait_for("a step after it", || {
            (last_step(&root) > reached + 20).then_some(())
        });
    }
    signal(coordinator.id(), "-INT");
    assert_eq!(coordinator.wait().unwrap().code(), Some(130));
    let log = std::fs::read_to_string(root.join("checkpoints/guided/samples.log")).unwrap();
    let steps = log.lines().map(|line| line.split(' ').next().unwrap());
    let trained: Vec<u64> = steps.map(|step| step.parse().unwrap()).collect();
    let once: Vec<u64> = (1..=trained.len() as u64).collect();
    assert_eq!(trained, once, "every step was trained once");
}

#[test]
fn bounds_take_what_is_there_and_a_number_wants_it_all() {
    let fixture = Fixture::new();
    let rest = "checkpoint_every = 6\ndevices = { min = 1, max = 3 }";
    fixture.write("elastic.toml", &spec("elastic", 12, 4, rest));
    let arguments = [
        "run",
        "elastic.toml",
        "--dir",
        "e",
        "--workers",
        "2",
        "--until",
        "train",
    ];
    let output = fixture.output("anofpdm", &arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("training with 2 of { min = 1, max = 3 } devices"),
        "{told}"
    );

    fixture.write(
        "many.toml",
        &spec("many", 12, 4, "checkpoint_every = 6\ndevices = 3"),
    );
    let arguments = ["run", "many.toml", "--dir", "m", "--workers", "2"];
    let told = fixture.fails("anofpdm", &arguments, 1);
    assert!(
        told.contains("devices is 3, but this run starts 2 worker(s)"),
        "{told}"
    );
}

/// A worker started by itself, as on a fleet.
fn fleet_worker(fixture: &Fixture, url: &str) -> Child {
    fixture.start(
        "anofpdm-worker",
        &["run", "--queue", url, "--device", "cpu"],
    )
}

#[test]
fn a_lost_coordinator_and_a_lost_server_do_not_lose_the_training() {
    let fixture = Fixture::new();
    let rest = "checkpoint_every = 4\ndevices = 2";
    fixture.write("lost.toml", &spec("lost", 160, 4, rest));
    let mut server = RedisServer::start(RedisOptions::default());
    let url = server.url();
    let mut workers = [fleet_worker(&fixture, &url), fleet_worker(&fixture, &url)];
    let arguments = [
        "run",
        "lost.toml",
        "--dir",
        "r",
        "--queue",
        &url,
        "--lease",
        "5",
        "--until",
        "train",
    ];
    let root = fixture.path().join("r");
    let further = |than: &Option<PathBuf>| {
        wait_for("a newer checkpoint", || {
            let newest = newest_checkpoint(&root);
            (newest > *than).then_some(newest)
        })
    };
    let mut coordinator = fixture.start("anofpdm", &arguments);
    let first = further(&None);
    coordinator.kill().unwrap();
    coordinator.wait().unwrap();
    let mut coordinator = fixture.start("anofpdm", &arguments);
    let second = further(&first);
    server.kill();
    std::thread::sleep(Duration::from_secs(2));
    server.restart();
    further(&second);
    server.flushall();
    assert!(coordinator.wait().unwrap().success());
    assert_eq!(samples(&fixture, "r").len(), 160);
    for worker in &mut workers {
        assert!(
            worker.try_wait().unwrap().is_none(),
            "a worker starts afresh by itself"
        );
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
}

#[test]
fn a_worker_that_leaves_makes_the_gang_smaller() {
    let fixture = Fixture::new();
    let rest = "checkpoint_every = 1000\ndevices = { min = 1, max = 2 }";
    fixture.write("shrink.toml", &spec("shrink", 300, 4, rest));
    let server = RedisServer::start(RedisOptions::default());
    let url = server.url();
    let mut stays = fleet_worker(&fixture, &url);
    let mut leaves = fleet_worker(&fixture, &url);
    let arguments = [
        "run",
        "shrink.toml",
        "--dir",
        "r",
        "--queue",
        &url,
        "--until",
        "train",
    ];
    let mut coordinator = fixture.start("anofpdm", &arguments);
    let log = fixture.path().join("r/checkpoints/guided/samples.log");
    wait_for("a step", || {
        std::fs::read_to_string(&log)
            .ok()
            .filter(|text| text.lines().count() > 3)
    });
    signal(leaves.id(), "-TERM");
    assert!(leaves.wait().unwrap().success());
    // It stopped both after the same step, with a checkpoint: nothing was trained twice.
    let left_at = newest_checkpoint(&fixture.path().join("r")).unwrap();
    assert!(coordinator.wait().unwrap().success());
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(
        text.lines().count(),
        300,
        "no step was trained again after {}",
        left_at.display()
    );
    assert_eq!(samples(&fixture, "r").len(), 300);
    stays.kill().unwrap();
    stays.wait().unwrap();
}
