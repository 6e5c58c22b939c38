//! One look at a run at work: what the coordinator says of it, and what coordinator and Redis have taken so far.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anofpdm_test_support::redis_server::RedisServer;

use super::fleet::times;
use crate::process_usage::{self, Usage};
use crate::prometheus_page::{get, samples, sum};

/// A look at the run.
#[derive(Debug, Clone)]
pub struct Moment {
    /// Unix time, seconds.
    pub at: f64,
    pub scoring: bool,
    /// Shards that wait for a worker, now or later.
    pub waiting: f64,
    /// Shards whose result was accepted, of all stages, and seconds that workers had held them.
    pub shards: f64,
    pub held_seconds: f64,
    pub workers_busy: f64,
    pub workers: f64,
    /// When the last result was accepted, Unix time.
    pub last_result: f64,
    /// To read the page.
    pub scrape_seconds: f64,
    pub series: usize,
    pub page_bytes: usize,
    pub coordinator: Usage,
    /// Its calls to the queue by name: how many, and seconds of all.
    pub calls: BTreeMap<String, (f64, f64)>,
    pub server: ServerUsage,
}

/// What Redis has taken so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerUsage {
    pub usage: Usage,
    /// Transitions run, and seconds of its one thread in them.
    pub transitions: u64,
    pub transition_seconds: f64,
    pub memory: u64,
    pub clients: u64,
}

/// Looks at the run whose coordinator has this number and serves its page at `port`; none when it does not answer.
pub fn look(port: u16, pid: u32, server: &RedisServer) -> Option<Moment> {
    let begun = Instant::now();
    let page = get(port, "/metrics")?;
    let scrape_seconds = begun.elapsed().as_secs_f64();
    let found = samples(&page);
    let of = |name: &str, labels: &[&str]| sum(&found, &format!("anofpdm_{name}"), labels);
    Some(Moment {
        at: now(),
        scoring: of("stage_work", &["stage=\"score\"", "planned"]) > 0.0,
        waiting: of("shards", &["queued"]) + of("shards", &["retrying"]),
        shards: of("shard_seconds_count", &[]),
        held_seconds: of("shard_seconds_sum", &[]),
        workers_busy: of("workers", &["busy"]),
        workers: of("workers", &[]),
        last_result: of("last_result_timestamp_seconds", &[]),
        scrape_seconds,
        series: found.len(),
        page_bytes: page.len(),
        coordinator: process_usage::of(pid)?,
        calls: times(&found, "anofpdm_queue_call_seconds", "call"),
        server: server_usage(server),
    })
}

/// Unix time, seconds.
pub fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64())
}

fn server_usage(server: &RedisServer) -> ServerUsage {
    let text: String = redis::cmd("INFO")
        .arg("everything")
        .query(&mut server.connection())
        .unwrap_or_else(|e| panic!("INFO: {e}"));
    let line = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .unwrap_or("")
    };
    let (calls, micros) = calls(line("cmdstat_evalsha"));
    let number = |name: &str| line(name).parse::<u64>().unwrap_or(0);
    let pid = u32::try_from(number("process_id")).unwrap_or(0);
    ServerUsage {
        usage: process_usage::of(pid).unwrap_or_default(),
        transitions: calls,
        transition_seconds: micros / 1e6,
        memory: number("used_memory_peak"),
        // Without the one that asks.
        clients: number("connected_clients").saturating_sub(1),
    }
}

/// Calls and microseconds of `calls=7,usec=90,…`.
fn calls(statistics: &str) -> (u64, f64) {
    let of = |name: &str| {
        statistics
            .split(',')
            .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
    };
    (
        of("calls").and_then(|text| text.parse().ok()).unwrap_or(0),
        of("usec").and_then(|text| text.parse().ok()).unwrap_or(0.0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_statistics_of_a_command() {
        let line = "calls=12,usec=345,usec_per_call=28.75,rejected_calls=0,failed_calls=0";
        assert_eq!(calls(line), (12, 345.0));
        assert_eq!(calls(""), (0, 0.0));
    }
}
