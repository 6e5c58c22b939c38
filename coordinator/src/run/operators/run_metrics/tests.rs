use anofpdm_common::queue::Counts;
use anofpdm_common::telemetry::endpoint::Pages;

use super::super::snapshot::{
    Ended, FORMAT, Held, RunOutcome, Unit, Verdicts, WorkerEntry, Writer,
};
use super::*;

fn worker(name: &str, deadline: Option<f64>) -> WorkerEntry {
    WorkerEntry {
        name: name.to_owned(),
        host: "n1".to_owned(),
        pid: 7,
        device: "cpu".to_owned(),
        profile: "cpu, 1 thread".to_owned(),
        memory_bytes: 0,
        version: "0.1.0".to_owned(),
        metrics: Some(format!("n1:{name}")),
        leases: deadline
            .into_iter()
            .map(|deadline_seconds| Held {
                shard: 1,
                job: None,
                seconds: 2.0,
                deadline_seconds,
                ticks: 3,
                note: String::new(),
            })
            .collect(),
        more_leases: 0,
    }
}

fn snapshot(workers: Vec<WorkerEntry>) -> Snapshot {
    Snapshot {
        format: FORMAT,
        run: "r".to_owned(),
        coordinator: Writer {
            host: "n0".to_owned(),
            pid: 1,
            version: "0.1.0".to_owned(),
            started_millis: 0,
        },
        time_millis: 0,
        ended: None,
        stage: Some(Stage::Score),
        paused: false,
        queue: None,
        work: Some(Work {
            unit: Unit::Slices,
            done: 12,
            total: 48,
            under_way: 1.5,
            per_second: Some(2.0),
            eta_seconds: Some(18.0),
        }),
        shards: Counts {
            queued: 4,
            leased: 1,
            retrying: 2,
            done: 9,
            dead: 3,
            cancelled: 0,
        },
        workers,
        more_workers: 0,
        more_at_work: 0,
        unlisted: Vec::new(),
        dead: Vec::new(),
        more_dead: 3,
        verdicts: Verdicts {
            contested: 5,
            ..Verdicts::default()
        },
    }
}

/// The page, with the labels of each series in order: the registry puts its own behind the others.
fn page(metrics: &RunMetrics) -> String {
    let page = Pages::metrics(metrics).unwrap();
    let lines = page.lines().map(|line| {
        let (Some(begin), Some(end)) = (line.find('{'), line.rfind('}')) else {
            return line.to_owned();
        };
        let mut labels: Vec<&str> = line[begin + 1..end].split(',').collect();
        labels.sort_unstable();
        format!("{}{}{}", &line[..=begin], labels.join(","), &line[end..])
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn check(metrics: &RunMetrics, lines: &[&str]) {
    let text = page(metrics);
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "{line}\n{text}");
    }
}

fn show(metrics: &RunMetrics, snapshot: &Snapshot) {
    metrics.show(snapshot, Duration::from_secs(30), Duration::from_secs(60));
}

#[test]
fn gauges_say_what_the_snapshot_says() {
    let metrics = RunMetrics::new("r").unwrap();
    metrics.identify("ab", "cd", "", "cpu");
    show(
        &metrics,
        &snapshot(vec![worker("a", Some(45.0)), worker("b", None)]),
    );
    check(
        &metrics,
        &[
            "anofpdm_stage_work{run=\"r\",stage=\"score\",state=\"done\",unit=\"slices\"} 12",
            "anofpdm_stage_work{run=\"r\",stage=\"score\",state=\"planned\",unit=\"slices\"} 48",
            "anofpdm_stage_eta_seconds{run=\"r\",stage=\"score\"} 18",
            "anofpdm_paused{run=\"r\"} 0",
            "anofpdm_shards{run=\"r\",state=\"dead\"} 3",
            "anofpdm_shards{run=\"r\",state=\"retrying\"} 2",
            "anofpdm_workers{run=\"r\",state=\"busy\"} 1",
            "anofpdm_workers{run=\"r\",state=\"idle\"} 1",
            "anofpdm_lease_remaining_ratio{run=\"r\"} 0.75",
            "anofpdm_oldest_shard_seconds{run=\"r\"} 30",
            "anofpdm_contested_records{run=\"r\"} 5",
            "anofpdm_worker_info{device=\"cpu\",host=\"n1\",run=\"r\",worker=\"a\"} 1",
        ],
    );
    assert!(Pages::ready(&metrics).is_ok() && Pages::live(&metrics).is_ok());
}

#[test]
fn series_and_targets_of_a_worker_go_with_it() {
    let metrics = RunMetrics::new("r").unwrap();
    show(
        &metrics,
        &snapshot(vec![worker("a", None), worker("b", None)]),
    );
    let cost = StageCost {
        evaluations: 90,
        padding: 10,
        device_millis: 1500,
    };
    metrics.paid(Stage::Score, "a", cost, false);
    metrics.paid(Stage::Score, "b", cost, true);
    check(
        &metrics,
        &[
            "anofpdm_worker_device_seconds_total{run=\"r\",worker=\"a\"} 1.5",
            "anofpdm_worker_evaluations_total{run=\"r\",worker=\"b\"} 100",
            "anofpdm_evaluations_total{kind=\"slice\",run=\"r\",stage=\"score\"} 90",
            "anofpdm_evaluations_total{kind=\"padding\",run=\"r\",stage=\"score\"} 10",
            "anofpdm_evaluations_total{kind=\"repeated\",run=\"r\",stage=\"score\"} 100",
            "anofpdm_device_seconds_total{kind=\"repeated\",run=\"r\",stage=\"score\"} 1.5",
        ],
    );
    assert_eq!(
        Pages::workers(&metrics).unwrap(),
        r#"[{"targets":["n1:a"],"labels":{"worker":"a","host":"n1"}},{"targets":["n1:b"],"labels":{"worker":"b","host":"n1"}}]"#
    );
    show(&metrics, &snapshot(vec![worker("b", None)]));
    // What comes from one that is gone makes no series again.
    metrics.paid(Stage::Score, "a", cost, false);
    let text = page(&metrics);
    assert!(!text.contains("worker=\"a\""), "{text}");
    assert!(text.contains("worker=\"b\""), "{text}");
    assert!(!Pages::workers(&metrics).unwrap().contains("n1:a"));
    assert!(
        !text.contains("lease_remaining"),
        "no lease is held: {text}"
    );
}

#[test]
fn workers_beyond_those_listed_are_counted_and_found_and_have_no_series() {
    let metrics = RunMetrics::new("r").unwrap();
    let mut large = snapshot(vec![worker("a", Some(45.0)), worker("b", None)]);
    large.unlisted = vec![worker("c", Some(6.0)), worker("d", None)];
    large.more_workers = 2;
    large.more_at_work = 1;
    show(&metrics, &large);
    check(
        &metrics,
        &[
            "anofpdm_workers{run=\"r\",state=\"busy\"} 2",
            "anofpdm_workers{run=\"r\",state=\"idle\"} 2",
            "anofpdm_lease_remaining_ratio{run=\"r\"} 0.1",
        ],
    );
    assert!(!page(&metrics).contains("worker=\"c\""));
    let targets = Pages::workers(&metrics).unwrap();
    assert!(
        targets.contains("n1:a") && targets.contains("n1:d"),
        "{targets}"
    );
}

#[test]
fn what_can_be_counted_is_there_at_zero_from_the_start() {
    let metrics = RunMetrics::new("r").unwrap();
    check(
        &metrics,
        &[
            "anofpdm_shard_ends_total{outcome=\"crashed\",run=\"r\",stage=\"score\"} 0",
            "anofpdm_shard_errors_total{class=\"out_of_memory\",run=\"r\"} 0",
            "anofpdm_audits_total{outcome=\"conflict\",run=\"r\"} 0",
            "anofpdm_worker_events_total{event=\"retired\",run=\"r\"} 0",
            "anofpdm_rejected_results_total{reason=\"impossible\",run=\"r\"} 0",
            "anofpdm_workers_wanted{run=\"r\"} 0",
        ],
    );
    metrics.methods(Stage::Score, [("andi", 3, 10)].into_iter());
    metrics.record(Stage::Score, "andi", RecordOutcome::Counted);
    check(
        &metrics,
        &[
            "anofpdm_records{method=\"andi\",run=\"r\",stage=\"score\",state=\"planned\"} 10",
            "anofpdm_records_total{method=\"andi\",outcome=\"conflict\",run=\"r\",stage=\"score\"} 0",
            "anofpdm_records_total{method=\"andi\",outcome=\"counted\",run=\"r\",stage=\"score\"} 1",
        ],
    );
}

#[test]
fn a_run_of_sixteen_workers_and_every_method_has_few_series() {
    let metrics = RunMetrics::new("r").unwrap();
    let names: Vec<String> = (0..16).map(|number| format!("w{number}")).collect();
    let workers = names.iter().map(|name| worker(name, Some(10.0))).collect();
    show(&metrics, &snapshot(workers));
    let methods = anofpdm_common::method::Method::ALL;
    metrics.methods(
        Stage::Score,
        methods.iter().map(|method| (method.name(), 1, 2)),
    );
    let text = page(&metrics);
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series < 400, "{series}");
}

#[test]
fn a_run_that_has_ended_is_alive_and_not_ready() {
    let metrics = RunMetrics::new("r").unwrap();
    assert!(Pages::ready(&metrics).is_err(), "nothing is given out yet");
    let mut last = snapshot(Vec::new());
    last.ended = Some(Ended {
        outcome: RunOutcome::Finished,
        message: String::new(),
    });
    show(&metrics, &last);
    assert!(Pages::ready(&metrics).is_err());
    assert!(Pages::live(&metrics).is_ok());
}
