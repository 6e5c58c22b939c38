#!/usr/bin/env python3
"""A small fleet and everything that watches it, on this machine, without Docker: fleet_demo.py [FOLDER].

Redis with users and TLS, a coordinator, three workers, Redis' exporter and Prometheus. A worker is killed, the run is
paused and looked at, its coordinator is killed and started again. Then every query of every board must have had data,
`status` and the page of metrics must have agreed, and the counters must add up to the report. Boards are drawn into
FOLDER (runs/fleet-demo). Exit code 0 when all of it holds.
"""

import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import check_dashboards  # noqa: E402
import compare  # noqa: E402
import render  # noqa: E402
import watching  # noqa: E402
from fleet import Fleet  # noqa: E402
from pretended_gpus import PretendedGpus  # noqa: E402
from processes import page, wait_for  # noqa: E402
from prometheus_http import Prometheus  # noqa: E402
from queue_server import QueueServer  # noqa: E402
from report import present  # noqa: E402

BOARDS = sorted((HERE.parent / "grafana/dashboards").glob("*.json"))
LEASE = 8  # seconds
SLICES = 18


def demonstrate(folder, processes, report):
    queue = QueueServer(processes, folder / "redis")
    fleet = Fleet(processes, folder, queue, "fleet", LEASE, slices=SLICES, steps=120, every=30, seeds=list(range(10)))
    fleet.start_coordinator("--audit", "1")
    watching.configuration(folder / "prometheus", [fleet.port], queue.exporter())
    url = watching.prometheus(processes, folder / "prometheus")
    start = time.time()
    server = Prometheus(url, start, start + 1)
    # Counters are at 0 when Prometheus sees them first: a worker that joined before that would have joined never.
    wait_for("Prometheus at the coordinator", lambda: server.at('up{job="anofpdm-coordinator"} == 1', time.time()))
    start = time.time()
    for _ in range(3):
        fleet.start_worker()
    report.say(f"Redis with users and TLS, coordinator, three workers; Prometheus at {url}")
    workers = wait_for("three workers", lambda: len(fleet.there()) == 3 and fleet.there())
    gpus = PretendedGpus(folder / "prometheus/pretended-gpus.json")
    gpus.attend(workers)
    report.say("GPU metrics are pretended, in series of their own: these workers compute on the CPU")

    wait_for("scoring", lambda: fleet.total("anofpdm_slices_scored_total", stage="score") > 1, 120)
    fleet.workers[0].kill()
    report.say("a worker is killed")
    wait_for("its lease to be lost", lambda: fleet.total("anofpdm_shard_ends_total", outcome="crashed") > 0, 60)
    fleet.start_worker()
    first_ones = {worker["labels"]["worker"] for worker in workers}
    wait_for("a worker in its place", lambda: {worker["labels"]["worker"] for worker in fleet.there()} - first_ones)
    gpus.attend(fleet.there())

    first = look_while_paused(fleet, report)
    fleet.coordinator.send_signal(signal.SIGKILL)
    fleet.coordinator.wait()
    report.say("the coordinator is killed, and started again")
    fleet.start_coordinator("--audit", "1")
    wait_for("the run to be back", lambda: (fleet.metrics() or {}) and fleet.total("anofpdm_paused") == 1)
    fleet.control("resume")
    wait_for("the end of the run", fleet.ended, 150)
    # The last look lies before the last point of every panel.
    time.sleep(1.5)
    end = time.time()
    report.judge(fleet.coordinator.returncode == 0, "the run ends with its report")
    report.say("table: " + (folder / "fleet/report/table.md").as_posix())

    server = Prometheus(url, start, end)
    last = compare.page_of(server.at('last_over_time({job="anofpdm-coordinator"}[5s])', end))
    wrong, compared = compare.counters_and_summary([first, last], fleet.summary())
    report.judge(not wrong, f"counters of both coordinators, as Prometheus has them, equal summary.json ({compared} numbers)", wrong)
    for worker in fleet.workers:
        worker.send_signal(signal.SIGTERM)
    return server


def look_while_paused(fleet, report):
    """Compares what is said of a run that stands still; returns the page of that moment."""
    fleet.control("pause")

    def still():
        live = fleet.status()["live"]
        return live["paused"] and live["shards"]["leased"] == 0

    wait_for("a run that stands still", still)
    differences = ["not compared"]
    # Both are of this second or of the one before; a worker may be dropped in between.
    for _ in range(5):
        time.sleep(1.2)
        status, seen = fleet.status(), fleet.metrics()
        differences = compare.status_and_page(status, seen)
        if not differences:
            break
    report.judge(not differences, f"status --json and /metrics agree: {compare.in_words(status)}", differences)
    text = page(f"http://127.0.0.1:{fleet.port}/metrics")
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    report.judge(checked.returncode == 0, f"promtool check metrics; {len(seen)} series of the coordinator", checked.stderr.splitlines())
    return seen


def check_boards(server, folder, report):
    check = check_dashboards.Check(server)
    series = 0
    for path in BOARDS:
        check.board(check_dashboards.read(path))
    report.judge(not check.wrong, f"{check.queries} queries of {len(BOARDS)} boards gave data", check.wrong)
    for job in ("anofpdm-coordinator", "anofpdm-worker", "redis"):
        found = server.over_time(f'count by (instance) ({{job="{job}", __name__=~"(anofpdm|redis)_.+"}})')
        series = max((value for _, line in found for _, value in line), default=0)
        report.say(f"      at most {series:g} series of one {job}")
    # What is drawn at one moment is drawn of the moment before the end.
    server.end -= 3
    for path in BOARDS:
        report.say(f"      {render.render(server, path, folder)}")


def check_rules(report):
    rules = HERE.parent / "rules"
    for words in (["check", "rules", *rules.glob("*.rules.yml")], ["test", "rules", *(rules / "tests").glob("*.yml")]):
        done = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)
        report.judge(done.returncode == 0, f"promtool {words[0]} {words[1]}", (done.stdout + done.stderr).splitlines() if done.returncode else [])


def whole(folder, processes, report):
    check_boards(demonstrate(folder, processes, report), folder, report)
    check_rules(report)


if __name__ == "__main__":
    present("fleet-demo", whole)
