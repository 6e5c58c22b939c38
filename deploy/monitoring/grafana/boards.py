"""What stands on the dashboards: one row a panel, in the order in which they are read.

    stat("Title", "what it shows", unit, query)              one number
    count("Title", "what it shows", query)                   a whole one
    series("Title", "what it shows", unit, queries)          lines over time; stack=True piles them up
    heatmap, bars, table                                     as they say

Queries are (legend, PromQL). <run>, <worker>, <theirs>, <rate>, <range> and <step> are explained in make_dashboards.py.
Every metric stands in docs/metrics.md, or is the Redis exporter's.
"""


def row(title):
    return {"kind": "row", "title": title}


def stat(title, says, unit, query, **more):
    return {"kind": "stat", "title": title, "says": says, "unit": unit, "queries": [("", query)], **more}


def count(title, says, query, **more):
    """A number of things; Prometheus extrapolates, and 2.9 conflicts are 3."""
    return stat(title, says, "short", query, decimals=0, **more)


def series(title, says, unit, *queries, **more):
    return {"kind": "series", "title": title, "says": says, "unit": unit, "queries": queries, "min": 0, **more}


def heatmap(title, says, unit, query):
    return {"kind": "heatmap", "title": title, "says": says, "unit": unit, "queries": [("{{le}}", query)]}


def bars(title, says, unit, legend, query, **more):
    return {"kind": "bars", "title": title, "says": says, "unit": unit, "queries": [(legend, query)], "min": 0, **more}


def table(title, says, labels, *queries, **more):
    return {"kind": "table", "title": title, "says": says, "unit": "short", "labels": labels, "queries": queries, **more}


# A stat turns red where something has happened that should not.
NONE_IS_RIGHT = [("ok", None), ("bad", 0.5)]
NONE_IS_BETTER = [("ok", None), ("look", 0.5)]

RUN = ("run", "Run", "label_values(anofpdm_run_ended, run)")
WORKER = ("worker", "Worker", "label_values(anofpdm_worker_info{<run>}, worker)")

# Name, colour, text, expression: marked on every board.
ANNOTATIONS = [
    ("stages", "blue", "{{run}}: {{stage}} begins",
     "count by (run, stage) (anofpdm_stage_work{<run>}) unless count by (run, stage) (anofpdm_stage_work{<run>} offset <step>)"),
    ("workers", "orange", "{{run}}: workers {{event}}",
     "sum by (run, event) (increase(anofpdm_worker_events_total{<run>}[<rate>])) > 0"),
    ("ends", "purple", "{{run}}: {{outcome}}", "max by (run, outcome) (max_over_time(anofpdm_run_ended{<run>}[<rate>])) == 1"),
    ("alerts", "red", "{{alertname}} {{run}}{{worker}}",
     'count by (alertname, run, worker) (ALERTS{alertname=~"Anofpdm.*", alertstate="firing"})'),
]

OVERVIEW = {
    "name": "overview",
    "title": "overview",
    "says": "Does it move on, when will it be done, is it right: all runs of this Prometheus.",
    "variables": [RUN],
    "rows": [
        stat("Slices / s", "Slices whose records count, each as far as its records are there; `anofpdm status` has the same.",
             "short", "sum(rate(anofpdm_slices_scored_total{<run>}[<rate>]))"),
        stat("Evaluations / s", "Network evaluations delivered, padding and repetitions included.",
             "short", "sum(rate(anofpdm_evaluations_total{<run>}[<rate>]))"),
        stat("Done", "Of the stages at work: slices, or steps of a training.",
             "percentunit",
             'sum(anofpdm_stage_work{<run>, state="done"}) / sum(anofpdm_stage_work{<run>, state="planned"})'),
        stat("Stage done in", "At the rate of late; the longest of the runs. Absent until a rate is known.",
             "dtdurations", "max(anofpdm_stage_eta_seconds{<run>})"),
        count("Workers busy", "Workers that hold a shard. How many are there and wanted: below.",
              'sum(anofpdm_workers{<run>, state="busy"})', steps=[("look", None), ("ok", 0.5)]),
        count("Given up", "Shards that were given up: `anofpdm dead ls RUN`.",
              'sum(anofpdm_shards{<run>, state="dead"})', steps=NONE_IS_RIGHT),
        count("Conflicts", "Records that came with different bits, in the time shown. There must be none.",
              'sum(increase(anofpdm_records_total{<run>, outcome="conflict"}[<range>]))', steps=NONE_IS_RIGHT),
        stat("Device hours", "Device time of results in the time shown, repetitions included; times a price it is the cost.",
             "h", "sum(increase(anofpdm_device_seconds_total{<run>}[<range>])) / 3600"),

        row("Progress"),
        series("Slices / s", "By run and stage.", "short",
               ("{{run}} {{stage}}", "sum by (run, stage) (rate(anofpdm_slices_scored_total{<run>}[<rate>]))")),
        series("Network evaluations / s", "Of slices, of padding that fills up last batches, and of work that was there already.",
               "short", ("{{kind}}", "sum by (kind) (rate(anofpdm_evaluations_total{<run>}[<rate>]))"), stack=True),
        bars("Records by method", "There, of those planned, in the stages that have begun.", "percentunit", "{{stage}} {{method}}",
             'sum by (stage, method) (anofpdm_records{<run>, state="done"})'
             ' / sum by (stage, method) (anofpdm_records{<run>, state="planned"})', max=1),

        row("Queue"),
        series("Shards by state", "The coordinator keeps about two minutes of work a worker in the queue; what is left beyond that is not in it.",
               "short", ("{{state}}", "sum by (state) (anofpdm_shards{<run>})"), stack=True),
        series("Workers", "There, busy, and wanted: how many the work left has use for.", "short",
               ("there", "sum(anofpdm_workers{<run>})"),
               ("busy", 'sum(anofpdm_workers{<run>, state="busy"})'),
               ("wanted", "sum(anofpdm_workers_wanted{<run>})")),
        series("Waiting", "From submission of a shard to its first lease, and the oldest shard under way.", "s",
               ("wait p50", "histogram_quantile(0.5, sum by (le) (rate(anofpdm_shard_wait_seconds_bucket{<run>}[<rate>])))"),
               ("wait p95", "histogram_quantile(0.95, sum by (le) (rate(anofpdm_shard_wait_seconds_bucket{<run>}[<rate>])))"),
               ("oldest shard", "max(anofpdm_oldest_shard_seconds{<run>})")),

        row("Shards and leases"),
        heatmap("Shard duration", "Time with a worker, of shards whose result was accepted. A minute is aimed at.", "s",
                "sum by (le) (increase(anofpdm_shard_seconds_bucket{<run>}[<rate>]))"),
        series("How leases ended", "By outcome, a minute.", "cpm",
               ("{{outcome}}", "sum by (outcome) (rate(anofpdm_shard_ends_total{<run>}[<rate>])) * 60"), stack=True),
        series("Freshness of leases", "The smallest share of its time that a live lease has left: at 1 all workers move on, at 0 a lease is lost.",
               "percentunit", ("{{run}}", "min by (run) (anofpdm_lease_remaining_ratio{<run>})"), max=1),

        row("Right or wrong"),
        series("Records by outcome", "Delivered a second, by what became of them.", "short",
               ("{{outcome}}", "sum by (outcome) (rate(anofpdm_records_total{<run>}[<rate>]))")),
        series("Audits and doubts", "Shards audited and results rejected a minute; keys of which no record counts yet.", "short",
               ("audits {{outcome}}", "sum by (outcome) (rate(anofpdm_audits_total{<run>}[<rate>])) * 60"),
               ("rejected", "sum(rate(anofpdm_rejected_results_total{<run>}[<rate>])) * 60"),
               ("contested", "sum(anofpdm_contested_records{<run>})")),
        series("Errors by class", "As workers reported them, a minute.", "cpm",
               ("{{class}}", "sum by (class) (rate(anofpdm_shard_errors_total{<run>}[<rate>])) * 60")),

        row("Devices"),
        series("Seconds a network evaluation", "Device time, by worker: who lies above the others is slow.", "s",
               ("{{worker}}", "sum by (worker) (rate(anofpdm_worker_device_seconds_total{<run>}[<rate>]))"
                              " / (sum by (worker) (rate(anofpdm_worker_evaluations_total{<run>}[<rate>])) > 0)")),
        series("GPU utilisation", "Share of time in which a kernel ran.", "percentunit",
               ("{{worker}}", "anofpdm_gpu_utilization_ratio <theirs>"), max=1),
        series("Energy a slice", "Of all GPUs, over slices that count, in a window as long as the time shown.", "joule",
               ("joules a slice", "sum(increase(anofpdm_gpu_energy_joules_total[<range>]) <theirs>)"
                                  " / (sum(increase(anofpdm_slices_scored_total{<run>}[<range>])) > 0)")),

        row("Servers"),
        series("Calls to the queue, p99", "By call, as the coordinators and their workers see it.", "s",
               ("{{call}}", "histogram_quantile(0.99, sum by (le, call) (rate(anofpdm_queue_call_seconds_bucket[<rate>])))")),
        series("Journal, p99", "Write and sync of an entry: the disk of the coordinator.", "s",
               ("{{run}}", "histogram_quantile(0.99, sum by (run, le) (rate(anofpdm_journal_append_seconds_bucket{<run>}[<rate>])))")),
        series("Memory of Redis", "Used, and the most it may take.", "bytes",
               ("used {{instance}}", "redis_memory_used_bytes"),
               ("limit {{instance}}", "redis_memory_max_bytes > 0")),
    ],
}

WORKERS = {
    "name": "workers",
    "title": "workers and GPUs",
    "says": "Who works, how fast, and what holds it up: the workers of the runs chosen.",
    "variables": [RUN, WORKER],
    "rows": [
        count("Workers", "Let in and not gone.", "sum(anofpdm_workers{<run>})", size=(4, 4)),
        count("Do not answer", "Workers of the coordinators' lists whose page Prometheus does not reach.",
             'count(up{job="anofpdm-worker", <worker>} == 0 <theirs>) or vector(0)', steps=NONE_IS_RIGHT, size=(4, 4)),
        count("Draining", "Asked to end; the shard at work is finished first.",
             "sum(anofpdm_worker_draining{<worker>})", size=(4, 4)),
        count("Crashes", "Leases that ended with a dead or silent worker, in the time shown.",
             'sum(increase(anofpdm_shard_ends_total{<run>, outcome="crashed"}[<range>]))', steps=NONE_IS_BETTER, size=(4, 4)),
        count("Retired", "Workers that gave wrong bits, in the time shown.",
             'sum(increase(anofpdm_worker_events_total{<run>, event="retired"}[<range>]))', steps=NONE_IS_RIGHT, size=(4, 4)),
        count("Refused", "Workers of another numeric profile or version than their run, in the time shown.",
             'sum(increase(anofpdm_worker_events_total{<run>, event="refused"}[<range>]))', steps=NONE_IS_BETTER, size=(4, 4)),

        table("Workers", "Those that are there. GPU figures where there is a GPU.",
              ["run", "worker", "host", "device"],
              ("evaluations / s", "sum by (worker) (rate(anofpdm_worker_evaluations_total{<run>, <worker>}[<rate>]) <theirs>)"),
              ("at work", 'sum by (worker) (avg_over_time(anofpdm_worker_state{<worker>, state=~"scoring|training"}[<rate>]) <theirs>)'),
              ("GPU memory", 'sum by (worker) (anofpdm_gpu_memory_bytes{<worker>, kind="used"} <theirs>)'),
              ("GPU busy", "max by (worker) (anofpdm_gpu_utilization_ratio{<worker>} <theirs>)"),
              ("there", "max by (run, worker, host, device) (anofpdm_worker_info{<run>, <worker>})"),
              units={"at work": "percentunit", "GPU busy": "percentunit", "GPU memory": "bytes"}, size=(24, 9)),

        row("What they do"),
        series("Workers by state", "As they say themselves; paused is after a fault of their own.", "short",
               ("{{state}}", "sum by (state) (anofpdm_worker_state{<worker>} <theirs>)"), stack=True),
        series("What happened", "Workers that came, left, were refused or retired, and own workers started again; a minute.", "cpm",
               ("{{event}}", "sum by (event) (rate(anofpdm_worker_events_total{<run>}[<rate>])) * 60")),
        series("There and wanted", "Scale by `wanted`: how many workers the work left has use for.", "short",
               ("there", "sum(anofpdm_workers{<run>})"),
               ("wanted", "sum(anofpdm_workers_wanted{<run>})")),

        row("How fast"),
        series("Network evaluations / s", "Of accepted results, by worker.", "short",
               ("{{worker}}", "sum by (worker) (rate(anofpdm_worker_evaluations_total{<run>, <worker>}[<rate>]))"), stack=True),
        series("At work", "Share of time in which a worker scores or trains, by its own word.", "percentunit",
               ("{{worker}}", 'sum by (worker) (avg_over_time(anofpdm_worker_state{<worker>, state=~"scoring|training"}[<rate>]) <theirs>)'), max=1),
        series("Seconds a network evaluation", "Device time, by worker: who lies above the others is slow.", "s",
               ("{{worker}}", "sum by (worker) (rate(anofpdm_worker_device_seconds_total{<run>, <worker>}[<rate>]))"
                              " / (sum by (worker) (rate(anofpdm_worker_evaluations_total{<run>, <worker>}[<rate>])) > 0)")),

        row("Inside a worker"),
        series("A batch, by part", "Mean time of each part: waiting for slices, on the device, making and storing records. Wait and records should be thin.",
               "s", ("{{part}}", "sum by (part) (rate(anofpdm_batch_seconds_sum{<worker>}[<rate>]) <theirs>)"
                                 " / (sum by (part) (rate(anofpdm_batch_seconds_count{<worker>}[<rate>]) <theirs>) > 0)"), stack=True),
        heatmap("A batch on the device", "Seconds, all workers together.", "s",
                'sum by (le) (increase(anofpdm_batch_seconds_bucket{<worker>, part="device"}[<rate>]) <theirs>)'),
        series("Not on the device", "Share of a batch's time in which the device has nothing to do, by worker.", "percentunit",
               ("{{worker}}", 'sum by (worker) (rate(anofpdm_batch_seconds_sum{<worker>, part!="device"}[<rate>]) <theirs>)'
                              " / (sum by (worker) (rate(anofpdm_batch_seconds_sum{<worker>}[<rate>]) <theirs>) > 0)"), max=1),

        row("GPUs"),
        series("Utilisation", "Share of time in which a kernel ran.", "percentunit",
               ("{{worker}}", "anofpdm_gpu_utilization_ratio{<worker>} <theirs>"), max=1),
        series("Memory", "Used, of what there is.", "percentunit",
               ("{{worker}}", 'sum by (worker) (anofpdm_gpu_memory_bytes{<worker>, kind="used"} <theirs>)'
                              ' / sum by (worker) (anofpdm_gpu_memory_bytes{<worker>, kind="total"} <theirs>)'), max=1),
        series("Held down", "1 while the clocks are held down: by the power limit, which is usual under load, by heat, or by the hardware.", "short",
               ("{{worker}} {{reason}}", "anofpdm_gpu_throttled{<worker>} <theirs>"), max=1),
        series("Power", "Of each GPU.", "watt", ("{{worker}}", "anofpdm_gpu_power_watts{<worker>} <theirs>"), stack=True),
        series("Energy a slice", "Of the GPUs, over slices that count, in a window as long as the time shown.", "joule",
               ("joules a slice", "sum(increase(anofpdm_gpu_energy_joules_total{<worker>}[<range>]) <theirs>)"
                                  " / (sum(increase(anofpdm_slices_scored_total{<run>}[<range>])) > 0)")),
        stat("Energy", "Of the GPUs in the time shown.", "joule",
             "sum(increase(anofpdm_gpu_energy_joules_total{<worker>}[<range>]))", size=(8, 8)),

        row("Their queue"),
        series("Calls / s", "Of workers and coordinators.", "short",
               ("{{call}}", "sum by (call) (rate(anofpdm_queue_call_seconds_count[<rate>]))")),
        series("Calls of workers, p95", "By call: the network and the server.", "s",
               ("{{call}}", 'histogram_quantile(0.95, sum by (le, call) (rate(anofpdm_queue_call_seconds_bucket{job="anofpdm-worker", <worker>}[<rate>])))')),
        series("Calls that failed", "By what was wrong, a minute.", "cpm",
               ("{{kind}}", "sum by (kind) (rate(anofpdm_queue_errors_total[<rate>])) * 60")),
    ],
}

CORRECTNESS = {
    "name": "correctness",
    "title": "correctness",
    "says": "Whether the numbers can be trusted: what was delivered, compared, rejected and computed again.",
    "variables": [RUN],
    "rows": [
        stat("Records that count", "Of those planned, in the stages that have begun.", "percentunit",
             'sum(anofpdm_records{<run>, state="done"}) / sum(anofpdm_records{<run>, state="planned"})', size=(4, 4)),
        count("Conflicts", "Records that came with different bits, in the time shown. There must be none.",
             'sum(increase(anofpdm_records_total{<run>, outcome="conflict"}[<range>]))', steps=NONE_IS_RIGHT, size=(4, 4)),
        count("Contested", "Keys of which no record counts until another worker has delivered them.",
             "sum(anofpdm_contested_records{<run>})", steps=NONE_IS_BETTER, size=(4, 4)),
        count("Audits that agreed", "Shards run again on another worker, in the time shown, with the same bits.",
             'sum(increase(anofpdm_audits_total{<run>, outcome="agreed"}[<range>]))', size=(4, 4)),
        count("Rejected", "Results that were not what was asked for, in the time shown.",
             "sum(increase(anofpdm_rejected_results_total{<run>}[<range>]))", steps=NONE_IS_RIGHT, size=(4, 4)),
        count("Retired", "Workers that gave wrong bits, in the time shown.",
             'sum(increase(anofpdm_worker_events_total{<run>, event="retired"}[<range>]))', steps=NONE_IS_RIGHT, size=(4, 4)),

        row("Records"),
        series("Delivered / s", "By what became of them: a duplicate has the bits that were there, a conflict has others.", "short",
               ("{{outcome}}", "sum by (outcome) (rate(anofpdm_records_total{<run>}[<rate>]))"), stack=True),
        series("Duplicates and conflicts / minute", "Deliveries beyond the first, by method.", "cpm",
               ("{{method}} {{outcome}}", 'sum by (method, outcome) (rate(anofpdm_records_total{<run>, outcome=~"duplicate|conflict"}[<rate>])) * 60')),
        bars("Coverage by method", "Records there, of those planned, in the stages that have begun.", "percentunit", "{{stage}} {{method}}",
             'sum by (stage, method) (anofpdm_records{<run>, state="done"})'
             ' / sum by (stage, method) (anofpdm_records{<run>, state="planned"})', max=1),

        row("Comparing"),
        series("Audits / minute", "Shards run again on another worker to compare bits (`--audit`).", "cpm",
               ("{{outcome}}", "sum by (outcome) (rate(anofpdm_audits_total{<run>}[<rate>])) * 60")),
        series("Shards beyond the plan / minute", "Audits, opinions where two workers differ, copies of shards that take too long.", "cpm",
               ("{{purpose}}", "sum by (purpose) (rate(anofpdm_extra_shards_total{<run>}[<rate>])) * 60"), stack=True),
        series("What comparing costs", "Share of device time that repeats what was there already.", "percentunit",
               ("{{run}}", 'sum by (run) (rate(anofpdm_device_seconds_total{<run>, kind="repeated"}[<rate>]))'
                           " / (sum by (run) (rate(anofpdm_device_seconds_total{<run>}[<rate>])) > 0)"), max=1),

        row("Doubts"),
        series("Contested keys", "No record of theirs counts until another worker has delivered them; the run does not end before.", "short",
               ("{{run}}", "max by (run) (anofpdm_contested_records{<run>})")),
        series("Rejected results / minute", "By reason.", "cpm",
               ("{{reason}}", "sum by (reason) (rate(anofpdm_rejected_results_total{<run>}[<rate>])) * 60"), stack=True),
        series("Workers retired and refused / minute", "Retired: wrong bits. Refused: another numeric profile or version.", "cpm",
               ("{{event}}", 'sum by (event) (rate(anofpdm_worker_events_total{<run>, event=~"retired|refused"}[<rate>])) * 60')),

        row("Shards that went wrong"),
        series("Leases that did not end well / minute", "By outcome.", "cpm",
               ("{{outcome}}", 'sum by (outcome) (rate(anofpdm_shard_ends_total{<run>, outcome!~"accepted|duplicate"}[<rate>])) * 60'), stack=True),
        series("Errors / minute", "By class, as workers reported them.", "cpm",
               ("{{class}}", "sum by (class) (rate(anofpdm_shard_errors_total{<run>}[<rate>])) * 60"), stack=True),
        series("Given up and waiting to be tried again", "`anofpdm dead ls RUN` says why.", "short",
               ("{{state}}", 'sum by (state) (anofpdm_shards{<run>, state=~"dead|retrying"})')),

        table("Runs", "What each run is: its numbers are comparable with those of the same spec, slices, precision and device.",
              ["run", "spec", "data", "precision", "device", "version"],
              ("there", "max by (run, spec, data, precision, device, version) (anofpdm_run_info{<run>})"), size=(24, 5)),
    ],
}

TRAINING = {
    "name": "training",
    "title": "training",
    "says": "Networks that are trained: how far, how well, how fast, and what holds the ranks up.",
    "variables": [RUN],
    "rows": [
        stat("Steps done", "Of the trainings at work.", "percentunit",
             'sum(anofpdm_stage_work{<run>, stage="train", state="done"})'
             ' / sum(anofpdm_stage_work{<run>, stage="train", state="planned"})', size=(4, 4)),
        stat("Trained in", "At the rate of late. Absent until a rate is known.", "dtdurations",
             'max(anofpdm_stage_eta_seconds{<run>, stage="train"})', size=(4, 4)),
        count("Ranks", "Workers that train.",
             'sum(anofpdm_worker_state{state="training"} <theirs>)', size=(4, 4)),
        stat("Samples / s", "Of which gradients were computed, all ranks together.", "short",
             "sum(rate(anofpdm_train_samples_total[<rate>]) <theirs>)", size=(4, 4)),
        stat("Newest checkpoint", "Its age: what a crash of all ranks would cost.", "dtdurations",
             "max(anofpdm_checkpoint_age_seconds <theirs>)", size=(4, 4)),
        count("Starts", "Times that ranks have started in the time shown; more than one a network is a gang that fell apart.",
             "sum(changes((max by (network) (anofpdm_train_generation))[<range>:]) + 1)", size=(4, 4)),

        row("How far and how well"),
        series("Steps", "Done and planned, by run.", "short",
               ("{{run}} {{state}}", 'sum by (run, state) (anofpdm_stage_work{<run>, stage="train"})')),
        series("Loss", "Mean over the global batches of the last 100 steps; all ranks say the same.", "short",
               ("{{network}}", "max by (network) (anofpdm_train_loss <theirs>)"), min=None),
        series("Samples / s", "By network.", "short",
               ("{{network}}", "sum by (network) (rate(anofpdm_train_samples_total[<rate>]) <theirs>)")),

        row("A step"),
        series("Step", "Duration of an optimiser step, waiting for samples and other ranks included.", "s",
               ("{{network}} p50", "histogram_quantile(0.5, sum by (network, le) (rate(anofpdm_train_step_seconds_bucket[<rate>]) <theirs>))"),
               ("{{network}} p95", "histogram_quantile(0.95, sum by (network, le) (rate(anofpdm_train_step_seconds_bucket[<rate>]) <theirs>))")),
        series("Waiting for other ranks", "Share of a step, by worker: the one that waits least is the one the others wait for.", "percentunit",
               ("{{worker}}", "sum by (worker) (rate(anofpdm_train_allreduce_seconds_sum[<rate>]) <theirs>)"
                              " / (sum by (worker) (rate(anofpdm_train_step_seconds_sum[<rate>]) <theirs>) > 0)"), max=1),
        heatmap("Step durations", "All ranks together.", "s",
                "sum by (le) (increase(anofpdm_train_step_seconds_bucket[<rate>]) <theirs>)"),

        row("Ranks"),
        series("World size", "Ranks that train a network together.", "short",
               ("{{network}}", "max by (network) (anofpdm_train_world_size <theirs>)")),
        series("Age of the newest checkpoint", "By network: a saw with the teeth of `checkpoint_every`.", "s",
               ("{{network}}", "max by (network) (anofpdm_checkpoint_age_seconds <theirs>)")),
        series("Attempts", "Ranks by number of the attempt; a new line is a gang that started again.", "short",
               ("{{network}} {{generation}}", 'count_values by (network) ("generation", anofpdm_train_generation <theirs>)')),

        row("Devices"),
        series("GPU utilisation", "Of workers that train.", "percentunit",
               ("{{worker}}", 'anofpdm_gpu_utilization_ratio <theirs> and on (worker) (anofpdm_worker_state{state="training"} == 1)'), max=1),
        series("GPU memory", "Used, of what there is, on workers that train.", "percentunit",
               ("{{worker}}", 'sum by (worker) (anofpdm_gpu_memory_bytes{kind="used"} and on (worker) (anofpdm_worker_state{state="training"} == 1))'
                              ' / sum by (worker) (anofpdm_gpu_memory_bytes{kind="total"} <theirs>)'), max=1),
        series("Calls to the queue", "By which ranks find each other and renew their leases, p95.", "s",
               ("{{call}}", 'histogram_quantile(0.95, sum by (le, call) (rate(anofpdm_queue_call_seconds_bucket{job="anofpdm-worker"}[<rate>]) <theirs>))')),
    ],
}

BOARDS = [OVERVIEW, WORKERS, CORRECTNESS, TRAINING]
