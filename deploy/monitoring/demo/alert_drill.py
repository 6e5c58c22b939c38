#!/usr/bin/env python3
"""Alerts fire and resolve on a live Prometheus, and Alertmanager hears of it: alert_drill.py [FOLDER].

The rules and Alertmanager's example of this folder, their durations divided by 20; fake workers, whose networks are cheap
arithmetic. A worker is killed, one is stopped and goes on, one computes wrongly, the coordinator is killed and started
again, Redis is stopped and started again; the run then ends and nothing may be heard for two minutes. Exit code 0 when
each alert has fired, and no other, and all have resolved.
"""

import signal
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import watching  # noqa: E402
from fleet import Fleet  # noqa: E402
from processes import wait_for  # noqa: E402
from prometheus_http import Prometheus  # noqa: E402
from queue_server import QueueServer  # noqa: E402
from report import present  # noqa: E402

LEASE = 8  # seconds
SILENCE = 120  # seconds after the end of the run
FAULTS = "ANOFPDM_FAKE_FAULTS"
PACE = "delay_ms=60"

MEANT = {"WorkerDown", "LeaseStale", "ResultConflict", "WorkerRetired", "RunGone", "QueueUnreachable"}
# What may follow from these faults besides.
BESIDE = {"WorkersCrash", "NoWorkers", "SlowWorker"}


# Alertmanager does not tell of conflicts beside the worker that caused them.
INHIBITED = {"ResultConflict"}


class Drill:
    def __init__(self, server, hook, report):
        self.server, self.hook, self.report, self.seen = server, hook, report, set()

    def heard(self, status):
        """Alerts of which Alertmanager has told so."""
        return {name.removeprefix("Anofpdm") for each, name in self.hook.told if each == status}

    def firing(self):
        alerts = self.server.get("alerts")["alerts"]
        now = {each["labels"]["alertname"].removeprefix("Anofpdm") for each in alerts if each["state"] == "firing"}
        self.seen |= now
        return now

    def fire(self, fault, *names, seconds=60):
        """Waits until all of them fire, and Alertmanager has told of them."""
        begin = time.monotonic()
        wait_for(f"{', '.join(names)} after {fault}", lambda: set(names) <= self.firing(), seconds, 0.5)
        fired = time.monotonic() - begin
        told = set(names) - INHIBITED
        wait_for(f"word of {', '.join(told)}", lambda: told <= self.heard("firing"), seconds, 0.5)
        self.report.judge(True, f"{fault}: {', '.join(names)} after {fired:.0f} s, told after {time.monotonic() - begin:.0f} s")

    def resolve(self, *names, seconds=60):
        begin = time.monotonic()
        wait_for(f"{', '.join(names)} to resolve", lambda: not set(names) & self.firing(), seconds, 0.5)
        self.report.judge(True, f"    {', '.join(names)} resolved after {time.monotonic() - begin:.0f} s")


def drill(folder, processes, report):
    hook = watching.Hook()
    queue = QueueServer(processes, folder / "redis")
    fleet = Fleet(
        processes, folder, queue, "drill", LEASE, program="anofpdm-fake-worker", slices=18, steps=20, every=10, seeds=list(range(12))
    )
    fleet.start_coordinator("--audit", "1")
    alertmanager = watching.alertmanager(processes, folder / "alertmanager", hook)
    watching.configuration(folder / "prometheus", [fleet.port], queue.exporter(), alertmanager)
    url = watching.prometheus(processes, folder / "prometheus")
    for _ in range(4):
        fleet.start_worker(**{FAULTS: PACE})
    now = time.time()
    alerts = Drill(Prometheus(url, now, now + 60), hook, report)
    wait_for("scoring", lambda: fleet.total("anofpdm_slices_scored_total", stage="score") > 0.5, 90)
    report.judge(not alerts.firing(), "a run that goes well is silent", alerts.firing())

    fleet.workers[0].kill()
    alerts.fire("a worker is killed", "WorkerDown")
    fleet.start_worker(**{FAULTS: PACE})
    # Its lease ran out as well.
    alerts.resolve("WorkerDown", "LeaseStale")

    busy = fleet.workers[1]
    busy.send_signal(signal.SIGSTOP)
    alerts.fire("a worker is stopped", "LeaseStale")
    busy.send_signal(signal.SIGCONT)
    alerts.resolve("LeaseStale")

    fleet.start_worker(**{FAULTS: f"{PACE},flip=1"})
    alerts.fire("a worker computes wrongly", "ResultConflict", "WorkerRetired", seconds=90)

    fleet.coordinator.kill()
    fleet.coordinator.wait()
    alerts.fire("the coordinator is killed", "RunGone")
    fleet.start_coordinator("--audit", "1")
    alerts.resolve("RunGone")

    queue.stop()
    alerts.fire("Redis is stopped", "QueueUnreachable")
    queue.start_again()
    alerts.resolve("QueueUnreachable")

    wait_for("the end of the run", fleet.ended, 240, 0.5)
    report.judge(fleet.coordinator.returncode == 0, "the run ends with its report, and conflicts are in it")
    for worker in fleet.workers:
        worker.send_signal(signal.SIGTERM)
    others = alerts.seen - MEANT
    report.judge(others <= BESIDE, f"beside these fired: {', '.join(sorted(others)) or 'none'}", others - BESIDE)
    silent(alerts, report)
    told = MEANT - INHIBITED
    wait_for(f"word that {', '.join(sorted(told))} have resolved", lambda: told <= alerts.heard("resolved"), 30, 0.5)
    report.judge(told <= alerts.heard("firing"), f"Alertmanager has told of all of them, and that they resolved: {len(hook.told)} messages")


def silent(alerts, report):
    """Two minutes in which nothing new fires; what fires already may only go."""
    begin, before = time.monotonic(), alerts.firing()
    while time.monotonic() - begin < SILENCE:
        now = alerts.firing()
        if not now <= before:
            report.judge(False, "a finished run is silent", now - before)
            return
        before = now
        time.sleep(1)
    report.judge(True, f"a finished run is silent for {SILENCE} s")
    # Their windows are an hour, three minutes here.
    alerts.resolve("ResultConflict", "WorkerRetired", seconds=240)


if __name__ == "__main__":
    present("alert-drill", drill)
