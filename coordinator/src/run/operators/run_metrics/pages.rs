//! What the endpoint of the coordinator serves.

use std::time::{Duration, Instant};

use anofpdm_common::telemetry::endpoint::Pages;
use anofpdm_common::telemetry::registry::MetricsError;
use serde::Serialize;

use super::RunMetrics;
use crate::run::operators::snapshot::WorkerEntry;

/// A loop that has not come round for so long hangs: a turn takes a fraction of a second.
const HANGS_AFTER: Duration = Duration::from_secs(600);

/// One entry of Prometheus' HTTP service discovery.
#[derive(Serialize)]
struct Target<'a> {
    targets: [&'a str; 1],
    labels: TargetLabels<'a>,
}

#[derive(Serialize)]
struct TargetLabels<'a> {
    worker: &'a str,
    host: &'a str,
}

/// Where these workers serve their metrics, as `/workers` has it.
pub(super) fn targets<'a>(workers: impl Iterator<Item = &'a WorkerEntry>) -> String {
    let targets: Vec<Target<'_>> = workers
        .filter_map(|worker| {
            Some(Target {
                targets: [worker.metrics.as_deref()?],
                labels: TargetLabels {
                    worker: &worker.name,
                    host: &worker.host,
                },
            })
        })
        .collect();
    // Of texts alone.
    serde_json::to_string(&targets).unwrap_or_else(|_| "[]".to_owned())
}

impl Pages for RunMetrics {
    fn metrics(&self) -> Result<String, MetricsError> {
        let mut whole = self.0.state();
        let page = self.0.registry.exposition()?;
        whole.looks.looked(Instant::now());
        Ok(page)
    }

    fn ready(&self) -> Result<(), String> {
        match self.0.state().at_work {
            true => Ok(()),
            false => Err("nothing is given out yet, or the run has ended".to_owned()),
        }
    }

    fn live(&self) -> Result<(), String> {
        let state = self.0.state();
        let silent = state.turned.elapsed();
        if !state.at_work || silent < HANGS_AFTER {
            return Ok(());
        }
        Err(format!(
            "the loop has not come round for {} s",
            silent.as_secs()
        ))
    }

    fn workers(&self) -> Option<String> {
        Some(self.0.state().targets.clone())
    }
}
