"""A coordinator and its workers, and what they work on."""

import json
import os
import re
import subprocess
from pathlib import Path

from processes import Failed, page, wait_for

REPOSITORY = Path(__file__).resolve().parents[3]
PROGRAMS = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")).resolve() / "release"

SLICES_A_RECORD = 2

# Training by a gang of two, calibration and scoring: seconds each, in many shards.
SPEC = """
name = "{name}"
[data]
store = "store"
scored = ["flair", "t2"]
validation_slices = 12
test_slices = {slices}
[model.guided]
channels = 32
channel_mult = [1, 2]
res_blocks = 1
attention = [8]
heads = 2
[model.guided.train]
steps = {steps}
batch = 8
devices = 2
learning_rate = 1e-3
ema = 0.8
checkpoint_every = {every}
[score]
steps = 8
respacing = 20
methods = ["anofpdm-ddim", "anofpdm-ddim-ste", "anofpdm-ddpm"]
guidance = [1, 2, 3]
seeds = {seeds}
component_area = 2
[compute]
threads = 1
batch_slices = {batch}
shard_slices = {batch}
"""


def run_command(folder, *words):
    done = subprocess.run([PROGRAMS / "anofpdm", *words], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"anofpdm {' '.join(words)}: {done.stderr}")
    return done.stdout


class Fleet:
    """A run in `folder`, whose coordinator and workers meet at `queue`."""

    def __init__(self, processes, folder, queue, name, lease, program="anofpdm-worker", **spec):
        self.processes, self.folder, self.queue = processes, Path(folder), queue
        self.name, self.lease, self.program = name, lease, program
        self.coordinator, self.port, self.workers = None, None, []
        if not (self.folder / "store").is_dir():
            run_command(self.folder, *"phantom data --kind brats --subjects 6 --seed 2 --grid 48".split())
            run_command(self.folder, *"preprocess data store --layout brats --size 16 --split 50/25/25".split())
        (self.folder / f"{name}.toml").write_text(SPEC.format(name=name, batch=SLICES_A_RECORD, **spec))

    def start_coordinator(self, *more):
        """Also once more after it was killed: its page is then where it was."""
        log = f"coordinator-{self.name}"
        before = len(self.told(log))
        command = [PROGRAMS / "anofpdm", "run", f"{self.name}.toml", "--dir", self.name, "--queue", self.queue.url("coordinator")]
        command += ["--lease", self.lease, "--metrics", f"127.0.0.1:{self.port or 0}", *more]
        self.coordinator = self.processes.start(log, command, self.folder, **self.queue.access("coordinator"))

        def port():
            if self.coordinator.poll() is not None:
                raise Failed(f"the coordinator does not start: see {self.processes.log(log)}")
            return re.search(r"metrics at http://127\.0\.0\.1:(\d+)/", self.told(log)[before:])

        self.port = int(wait_for("the coordinator's page", port)[1])

    def told(self, log):
        path = self.processes.log(log)
        return path.read_text() if path.exists() else ""

    def start_worker(self, **environment):
        command = [PROGRAMS / self.program, "run", "--queue", self.queue.url("worker"), "--device", "cpu"]
        command += ["--metrics", "127.0.0.1:0"]
        name = f"worker-{len(self.workers) + 1}"
        worker = self.processes.start(name, command, self.folder, **self.queue.access("worker"), **environment)
        self.workers.append(worker)
        return worker

    def there(self):
        """Workers that the coordinator lists, as Prometheus finds them: [{"targets": [...], "labels": {...}}]."""
        return json.loads(page(f"http://127.0.0.1:{self.port}/workers") or "[]")

    def metrics(self):
        """{(name, labels): value} of the coordinator's page; None where it does not answer."""
        text = page(f"http://127.0.0.1:{self.port}/metrics")
        return None if text is None else samples(text)

    def total(self, name, **labels):
        """Of the series with these labels."""
        return total(self.metrics() or {}, name, **labels)

    def control(self, *words):
        return run_command(self.folder, *words, self.name)

    def status(self):
        return json.loads(run_command(self.folder, "status", self.name, "--json"))

    def summary(self):
        return json.loads((self.folder / self.name / "report/summary.json").read_text())

    def ended(self):
        return self.coordinator.poll() is not None


def samples(text):
    """The samples of a page."""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            series, value = line.rsplit(" ", 1)
            name, _, labels = series.partition("{")
            found[name, tuple(sorted(re.findall(r'(\w+)="([^"]*)"', labels)))] = float(value)
    return found


def total(page_samples, name, **labels):
    wanted = set(labels.items())
    return sum(value for (each, its), value in page_samples.items() if each == name and wanted <= set(its))
