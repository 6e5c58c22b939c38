//! Runs a sweep and says what it took.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use anofpdm_test_support::redis_server::{RedisOptions, RedisServer};
use serde::Serialize;

use super::Size;
use super::fleet::{Fleet, Told};
use super::ground::{self, RUN, SPEC};
use super::moment::{Moment, look, now};
use crate::fixture::Fixture;
use crate::process_usage;
use crate::prometheus_page::{port_in, wait_for};
use crate::running::Running;

/// How often the page is read, fifteen times as often as `deploy/monitoring/prometheus.yml`.
const LOOK: Duration = Duration::from_secs(1);

/// How often a process is looked at that ends at any moment.
const GLANCE: Duration = Duration::from_millis(20);

/// What a sweep took. Seconds, bytes, or as it says.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    pub slices: usize,
    pub workers: usize,
    /// Accepted, of all stages.
    pub shards: f64,
    /// From the first look at scoring to the last result.
    pub scoring_seconds: f64,
    pub scored: u64,
    pub planned: u64,
    pub records: usize,
    pub record_bytes: u64,
    /// All of the coordinator up to the last result, and the most memory by then.
    pub coordinator_cpu: f64,
    pub coordinator_peak: u64,
    pub coordinator_files: u64,
    /// Most in `live.json`.
    pub status_bytes: u64,
    /// `anofpdm status` beside the run.
    pub status_seconds: f64,
    pub scrape_median: f64,
    pub scrape_worst: f64,
    pub series: usize,
    pub page_bytes: usize,
    /// From the start of the workers until the coordinator knew them all.
    pub joined_seconds: f64,
    pub at_full_work: FullWork,
    pub shard: ShardTime,
    /// From the moment nothing waited any more to the last result, and the share of the workers that were idle in it.
    pub stage_end_seconds: f64,
    pub stage_end_idle: f64,
    /// From the last result to the report.
    pub after_last_result: f64,
    /// `anofpdm report` on the same records: wall, CPU, most memory.
    pub report_seconds: f64,
    pub report_cpu: f64,
    pub report_peak: u64,
    pub server_peak: u64,
    /// Share of a core between two looks, at most: idle workers ask more often than those at work.
    pub server_load_worst: f64,
    pub clients: u64,
    pub workers_cpu: f64,
    pub workers_peak: u64,
    /// Calls of the workers to the queue: how many, and mean seconds of one.
    pub calls: BTreeMap<String, (f64, f64)>,
    /// The same of the coordinator.
    pub coordinator_calls: BTreeMap<String, (f64, f64)>,
}

/// Rates while nineteen in twenty workers or more were at work.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct FullWork {
    pub seconds: f64,
    pub shards_per_second: f64,
    pub transitions_per_second: f64,
    /// Of Redis' one thread, inside a transition.
    pub transition_micros: f64,
    /// Shares of a core.
    pub server_load: f64,
    pub coordinator_load: f64,
    /// CPU milliseconds of the coordinator for a shard.
    pub coordinator_shard_millis: f64,
}

/// Where the time of a shard goes, seconds; a mean over all.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct ShardTime {
    /// From its lease to its acceptance.
    pub held: f64,
    /// On the fake device.
    pub device: f64,
    /// The device waits for slices.
    pub wait: f64,
    /// Making and storing records, beside the device.
    pub records: f64,
    /// CPU of a worker, all included.
    pub cpu: f64,
}

/// Runs the sweep.
///
/// # Panics
/// When a program fails, `interrupt` is set, or the run does not end with every slice scored. Programs and folders are
/// gone then too.
pub fn measure(size: &Size, interrupt: &AtomicBool) -> Figures {
    let fixture = ground::make(size.slices, size.workers);
    let server = RedisServer::start(RedisOptions::default());
    let url = server.url();
    let log = fixture.path().join("coordinator.log");
    let output = File::create(&log).unwrap_or_else(|e| panic!("{}: {e}", log.display()));
    let arguments = [
        "run",
        SPEC,
        "--dir",
        RUN,
        "--queue",
        &url,
        "--metrics",
        "127.0.0.1:0",
    ];
    let mut coordinator = Running::start(
        fixture
            .command("anofpdm", &arguments)
            .stdout(Stdio::null())
            .stderr(output),
    );
    wait_for("the run in the queue", || {
        if let Some(ended) = coordinator.ended() {
            panic!("{ended}:\n{}", tail(&log));
        }
        let told = std::fs::read_to_string(&log).ok()?;
        told.contains("the run is in the queue").then_some(())
    });
    let port = port_in(&log);
    let started = now();
    let mut fleet = Fleet::start(&fixture, &url, size);
    let pid = coordinator.0.id();
    let mut moments = Vec::new();
    let mut status = (0.0, 0);
    let ended = loop {
        let looked = Instant::now();
        if let Some(ended) = coordinator.ended() {
            break ended;
        }
        assert!(!interrupt.load(Ordering::Relaxed), "interrupted");
        if let Some(said) = fleet.fallen() {
            panic!("{said}");
        }
        if let Some(moment) = look(port, pid, &server) {
            if moment.scoring && status.1 == 0 && is_full(&moment, size) {
                status = ask_status(&fixture);
            }
            moments.push(moment);
        }
        while looked.elapsed() < LOOK && coordinator.ended().is_none() {
            std::thread::sleep(GLANCE);
        }
    };
    assert!(ended.success(), "{ended}:\n{}", tail(&log));
    let told = fleet.told();
    fleet.end();
    figures(size, &fixture, &moments, &told, status, started)
}

fn figures(
    size: &Size,
    fixture: &Fixture,
    moments: &[Moment],
    told: &Told,
    (status_seconds, status_bytes): (f64, u64),
    started: f64,
) -> Figures {
    let summary = fixture.summary(RUN);
    let coverage = |name: &str| summary["coverage"][name].as_u64().unwrap_or(0);
    assert_eq!(
        coverage("planned"),
        coverage("scored"),
        "slices that are not scored"
    );
    let written = modified(&fixture.path().join(RUN).join("report/summary.json"));
    let last = moments.last().unwrap_or_else(|| panic!("no page was read"));
    let (report_seconds, report_cpu, report_peak) = report(fixture);
    // What came after belongs to the end.
    let working: Vec<&Moment> = moments
        .iter()
        .filter(|m| m.at <= last.last_result + 1.0)
        .collect();
    let scoring: Vec<&Moment> = working.iter().copied().filter(|m| m.scoring).collect();
    // A run that is over in a moment may not have been looked at while it scored.
    let first_scoring = scoring.first().copied().unwrap_or(last);
    let last_working = working.last().copied().unwrap_or(last);
    // Nothing waits before the first shards are cut either.
    let last_waiting = scoring.iter().rposition(|m| m.waiting > 0.0);
    let dry = scoring.get(last_waiting.map_or(0, |at| at + 1)).copied();
    let stage_end: Vec<f64> = scoring
        .iter()
        .filter(|m| dry.is_some_and(|dry| m.at >= dry.at))
        .map(|m| 1.0 - m.workers_busy / m.workers.max(1.0))
        .collect();
    let mut scrapes: Vec<f64> = moments.iter().map(|m| m.scrape_seconds).collect();
    scrapes.sort_by(f64::total_cmp);
    let all_in = moments.iter().find(|m| m.workers >= count(size));
    let per_shard = |seconds: f64| seconds / last.shards.max(1.0);
    let part = |name: &str| per_shard(told.batches.get(name).copied().unwrap_or(0.0));
    let records = fixture.path().join(RUN).join("records");
    Figures {
        slices: size.slices,
        workers: size.workers.count(),
        shards: last.shards,
        scoring_seconds: (last.last_result - first_scoring.at).max(0.0),
        scored: coverage("scored"),
        planned: coverage("planned"),
        records: fixture.artifacts(RUN),
        record_bytes: bytes_below(&records),
        coordinator_cpu: last_working.coordinator.cpu_seconds,
        coordinator_peak: last_working.coordinator.peak,
        coordinator_files: most(moments, |m| m.coordinator.files),
        status_bytes,
        status_seconds,
        scrape_median: scrapes[scrapes.len() / 2],
        scrape_worst: scrapes[scrapes.len() - 1],
        series: moments.iter().map(|m| m.series).max().unwrap_or(0),
        page_bytes: moments.iter().map(|m| m.page_bytes).max().unwrap_or(0),
        joined_seconds: all_in.map_or(f64::NAN, |m| m.at - started),
        at_full_work: full_work(&scoring, size),
        shard: ShardTime {
            held: per_shard(last.held_seconds),
            device: part("device"),
            wait: part("wait"),
            records: part("records"),
            cpu: per_shard(told.usage.cpu_seconds),
        },
        stage_end_seconds: dry.map_or(0.0, |dry| (last.last_result - dry.at).max(0.0)),
        stage_end_idle: mean(&stage_end),
        after_last_result: written - last.last_result,
        report_seconds,
        report_cpu,
        report_peak,
        server_peak: most(moments, |m| m.server.memory),
        server_load_worst: worst_load(moments),
        clients: most(moments, |m| m.server.clients),
        workers_cpu: told.usage.cpu_seconds,
        workers_peak: told.usage.peak,
        calls: means(&told.calls),
        coordinator_calls: means(&last.calls),
    }
}

fn means(calls: &BTreeMap<String, (f64, f64)>) -> BTreeMap<String, (f64, f64)> {
    let mean = |(name, (count, seconds)): (&String, &(f64, f64))| {
        (name.clone(), (*count, seconds / count.max(1.0)))
    };
    calls.iter().map(mean).collect()
}

#[allow(clippy::cast_precision_loss)]
fn count(size: &Size) -> f64 {
    size.workers.count() as f64
}

fn is_full(moment: &Moment, size: &Size) -> bool {
    moment.workers_busy >= 0.95 * count(size)
}

fn full_work(scoring: &[&Moment], size: &Size) -> FullWork {
    let mut full = scoring.iter().filter(|m| is_full(m, size));
    let (Some(first), Some(last)) = (full.next(), full.next_back()) else {
        return FullWork::default();
    };
    let seconds = last.at - first.at;
    let rate = |of: fn(&Moment) -> f64| (of(last) - of(first)) / seconds;
    #[allow(clippy::cast_precision_loss)]
    let transitions = |m: &Moment| m.server.transitions as f64;
    let done = last.shards - first.shards;
    let cpu = last.coordinator.cpu_seconds - first.coordinator.cpu_seconds;
    FullWork {
        seconds,
        shards_per_second: done / seconds,
        transitions_per_second: rate(transitions),
        transition_micros: 1e6 * rate(|m| m.server.transition_seconds) / rate(transitions),
        server_load: rate(|m| m.server.usage.cpu_seconds),
        coordinator_load: cpu / seconds,
        coordinator_shard_millis: 1e3 * cpu / done.max(1.0),
    }
}

/// Seconds of `anofpdm status`, and bytes of the file it reads.
fn ask_status(fixture: &Fixture) -> (f64, u64) {
    let begun = Instant::now();
    fixture.succeeds("anofpdm", &["status", RUN, "--json"]);
    let seconds = begun.elapsed().as_secs_f64();
    let file = fixture.path().join(RUN).join("live.json");
    (
        seconds,
        std::fs::metadata(file).map_or(0, |file| file.len()),
    )
}

/// Wall, CPU and most memory of `anofpdm report`.
fn report(fixture: &Fixture) -> (f64, f64, u64) {
    let begun = Instant::now();
    let mut command = fixture.command("anofpdm", &["report", RUN]);
    let mut process = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let mut usage = process_usage::Usage::default();
    loop {
        if let Some(now) = process_usage::of(process.0.id()) {
            usage = now;
        }
        if let Some(ended) = process.ended() {
            assert!(ended.success(), "anofpdm report: {ended}");
            break;
        }
        std::thread::sleep(GLANCE);
    }
    (begun.elapsed().as_secs_f64(), usage.cpu_seconds, usage.peak)
}

fn worst_load(moments: &[Moment]) -> f64 {
    let load = |pair: &[Moment]| match pair {
        [first, last] => {
            let cpu = last.server.usage.cpu_seconds - first.server.usage.cpu_seconds;
            cpu / (last.at - first.at)
        }
        _ => 0.0,
    };
    moments.windows(2).map(load).fold(0.0, f64::max)
}

fn most(moments: &[Moment], of: impl Fn(&Moment) -> u64) -> u64 {
    moments.iter().map(of).max().unwrap_or(0)
}

#[allow(clippy::cast_precision_loss)]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn modified(path: &Path) -> f64 {
    let time = std::fs::metadata(path).and_then(|file| file.modified());
    let time = time.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_else(|e| panic!("{e}"))
        .as_secs_f64()
}

fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => bytes_below(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}

fn tail(log: &Path) -> String {
    let said = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
