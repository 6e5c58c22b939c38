#!/usr/bin/env python3
"""`make test-deploy [PARTS=slurm,systemd]`: tries what lies in deploy/, each part on servers of its own.

A part that starts servers gets namespaces of its own: mounts, network (loopback alone) and processes. With its first
process the kernel ends the rest, so nothing is left behind, however it ends. That needs root; without it these parts are
not run, and the last line says so. KEEP=1 leaves a copy of each part's folder in target/deploy.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]

# The packages of each part that starts servers; `lint` and `kubernetes` need none and no root.
PACKAGES = {
    "lint": [],
    "kubernetes": [],
    "objects": ["redis-server", "iproute2"],
    "systemd": ["systemd-container", "dbus", "curl", "procps", "redis-server", "iproute2"],
    "slurm": ["slurm-wlm", "munge", "redis-server", "iproute2"],
    "images": ["docker.io", "mmdebstrap", "iproute2"],
    "compose": ["docker.io", "docker-compose", "mmdebstrap", "redis-server", "iproute2"],
}
GROUPS = ("payload", "supervisor", "anofpdm-test")
OF_NO_ROOT = ("lint", "kubernetes")
# Ended with this program, however that ends.
NAMESPACES = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
NAMESPACES += ["--mount-proc", "--propagation", "private"]


def tools():
    """The Python of an environment with requirements/deploy.lock, made once for each state of that file."""
    environment = CHECKOUT / "target" / "deploy" / "tools"
    subprocess.run([CHECKOUT / "scripts" / "python-tools.sh", "deploy", environment], check=True)
    return environment / "bin" / "python"


def why_not(part):
    """Why a part cannot run here, or None."""
    if part in OF_NO_ROOT:
        return None
    if os.geteuid() != 0:
        return "needs root: it starts servers in namespaces of their own"
    if subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode != 0:
        return "this machine grants no namespaces"
    need = subprocess.run([CHECKOUT / "scripts" / "need.sh", *PACKAGES[part]], stdin=subprocess.DEVNULL)
    if need.returncode != 0:
        return "its packages are missing"
    # Made here, since the parts' own networks reach nothing; kept for the next part.
    base = CHECKOUT / "target" / "deploy" / "base.tar"
    if "mmdebstrap" in PACKAGES[part] and not base.exists():
        made = subprocess.run([CHECKOUT / "deploy" / "images" / "base.sh", base], stdin=subprocess.DEVNULL)
        if made.returncode != 0:
            return "mmdebstrap could not make a base from the distribution's packages"
    return None


def control_groups():
    """Those that systemd-nspawn and our Docker engine make, where they are there."""
    roots = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")]
    return {root / name for root in roots for name in GROUPS if (root / name).is_dir()}


def remove_groups(groups):
    """Control groups outlive their processes, and namespaces. Those that were ended may take a moment to go."""
    for _ in range(50):
        groups = [group for group in groups if group.exists()]
        if not groups:
            return
        for group in groups:
            for below, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(below)
        time.sleep(0.1)


def run_part(part, python, counts):
    started = time.monotonic()
    because = why_not(part)
    if because:
        print(f"{part:<11} not run  all of it: {because}", flush=True)
        counts["not run"] += 1
        return
    scratch = CHECKOUT / "target" / "deploy"
    groups = control_groups()
    with (
        tempfile.TemporaryDirectory(prefix=f"{part}-", dir=scratch) as folder,
        tempfile.NamedTemporaryFile() as outcomes,
    ):
        os.chmod(folder, 0o755)
        command = [] if part in OF_NO_ROOT else NAMESPACES
        command = [*command, python, HERE / f"{part}_part.py", folder, outcomes.name]
        ended = subprocess.run(command, stdin=subprocess.DEVNULL)
        said = [json.loads(line) for line in Path(outcomes.name).read_text().splitlines()]
        if os.environ.get("KEEP"):
            shutil.copytree(folder, scratch / f"kept-{part}", dirs_exist_ok=True, symlinks=True)
    remove_groups(control_groups() - groups)
    if ended.returncode != 0 or not said:
        print(f"{part:<11} no       the part ended with {ended.returncode}", flush=True)
        said.append("no")
    for outcome in said:
        counts[outcome] += 1
    print(f"{part:<11} {time.monotonic() - started:.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts", nargs="?", default=",".join(PACKAGES), help="separated by commas: " + ", ".join(PACKAGES)
    )
    parts = parser.parse_args().parts.split(",")
    if unknown := [part for part in parts if part not in PACKAGES]:
        parser.error(f"no such part: {', '.join(unknown)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    (CHECKOUT / "target" / "deploy").mkdir(parents=True, exist_ok=True)
    python = tools()
    counts = {"ok": 0, "no": 0, "not run": 0}
    for part in parts:
        run_part(part, python, counts)
    print(f"{counts['ok']} passed, {counts['no']} failed, {counts['not run']} skipped", flush=True)
    sys.exit(counts["no"] != 0)


main()
