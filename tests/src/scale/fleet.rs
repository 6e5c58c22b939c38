//! The workers of a measurement: real processes, whose pages and usage are added up before they end.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Size, Workers};
use crate::fake::{self, faults};
use crate::fixture::Fixture;
use crate::process_usage::{self, Usage};
use crate::prometheus_page::{get, port_in, samples, sum};
use crate::running::Running;

/// The program that runs many workers in one process, and the name of that part of it.
pub const PROGRAM: &str = "anofpdm-scale";
pub const PART: &str = "work";

/// Workers that are asked to end have this long.
const DRAIN: Duration = Duration::from_secs(60);

/// The processes of a fleet; killed when dropped.
#[derive(Debug)]
pub struct Fleet {
    processes: Vec<(Running, PathBuf)>,
}

/// What a fleet did, all its processes together.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// CPU time and memory.
    pub usage: Usage,
    /// Calls to the queue by name: how many, and seconds of all.
    pub calls: BTreeMap<String, (f64, f64)>,
    /// Seconds of all batches by part: waiting, device, records.
    pub batches: BTreeMap<String, f64>,
}

impl Fleet {
    /// Starts the workers of `size` in the fixture's folder, on the queue at `url`.
    pub fn start(fixture: &Fixture, url: &str, size: &Size) -> Self {
        let delay = format!("delay_ms={}", size.evaluation.as_millis());
        let start = |mut command: Command, name: String| {
            let log = fixture.path().join(name);
            let output = File::create(&log).unwrap_or_else(|e| panic!("{}: {e}", log.display()));
            command
                .env(faults::ENVIRONMENT, &delay)
                .stdout(Stdio::null())
                .stderr(output);
            (Running::start(&mut command), log)
        };
        let processes = match size.workers {
            Workers::Processes(count) => (0..count)
                .map(|number| {
                    let arguments = ["run", "--queue", url, "--metrics", "127.0.0.1:0"];
                    let command = fixture.command(fake::PROGRAM, &arguments);
                    start(command, format!("worker-{number}.log"))
                })
                .collect(),
            Workers::Simulated(count) => {
                let count = count.to_string();
                let arguments = [PART, "--queue", url, "--workers", &count];
                let command = fixture.command(PROGRAM, &arguments);
                vec![start(command, "workers.log".to_owned())]
            }
        };
        Self { processes }
    }

    /// What they did so far.
    pub fn told(&self) -> Told {
        let mut told = Told::default();
        for (process, log) in &self.processes {
            if let Some(usage) = process_usage::of(process.0.id()) {
                told.usage.cpu_seconds += usage.cpu_seconds;
                told.usage.resident += usage.resident;
                told.usage.peak += usage.peak;
                told.usage.threads += usage.threads;
                told.usage.files += usage.files;
            }
            let page = get(port_in(log), "/metrics").unwrap_or_default();
            let found = samples(&page);
            for (name, (count, seconds)) in times(&found, "anofpdm_queue_call_seconds", "call") {
                let call = told.calls.entry(name).or_default();
                *call = (call.0 + count, call.1 + seconds);
            }
            for (part, (_, seconds)) in times(&found, "anofpdm_batch_seconds", "part") {
                *told.batches.entry(part).or_default() += seconds;
            }
        }
        told
    }

    /// What the first that ended by itself has said; none while all are there.
    pub fn fallen(&mut self) -> Option<String> {
        self.processes.iter_mut().find_map(|(process, log)| {
            let status = process.ended()?;
            let said = std::fs::read_to_string(log).unwrap_or_default();
            let last: Vec<&str> = said.lines().rev().take(5).collect();
            Some(format!("a worker ended with {status}: {}", last.join("\n")))
        })
    }

    /// Ends the workers as an operator would.
    pub fn end(mut self) {
        for (process, _) in &self.processes {
            if let Err(error) = kill_process(Pid::from_child(&process.0), Signal::TERM) {
                eprintln!("{error}");
            }
        }
        let until = Instant::now() + DRAIN;
        for (process, log) in &mut self.processes {
            while process.ended().is_none() {
                if Instant::now() > until {
                    eprintln!("{}: a worker does not end within {DRAIN:?}", log.display());
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Of a histogram on a page: how many and seconds of all, for each value of a label.
pub(super) fn times(
    found: &BTreeMap<String, f64>,
    name: &str,
    label: &str,
) -> BTreeMap<String, (f64, f64)> {
    let values = values_of(found, &format!("{name}_count"), label);
    let time = |value: String| {
        let wanted = format!("{label}=\"{value}\"");
        let of = |ending: &str| sum(found, &format!("{name}{ending}"), &[&wanted]);
        let time = (of("_count"), of("_sum"));
        (value, time)
    };
    values.into_iter().map(time).collect()
}

/// The values that a label of a metric has on a page.
fn values_of(found: &BTreeMap<String, f64>, name: &str, label: &str) -> Vec<String> {
    let value = |series: &String| {
        let (metric, labels) = series.split_once('{')?;
        let (_, rest) = labels.split_once(&format!("{label}=\""))?;
        let (value, _) = rest.split_once('"')?;
        (metric == name).then(|| value.to_owned())
    };
    found.keys().filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_the_values_that_stand_on_the_page() {
        let page = "m_count{call=\"take\",run=\"r\"} 3\nm_count{run=\"r\",call=\"renew\"} 2\nother{call=\"x\"} 1\n";
        let values = values_of(&samples(page), "m_count", "call");
        assert_eq!(values, ["take", "renew"]);
    }
}
