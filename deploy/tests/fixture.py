"""A folder for the programs to work in, as the whole-program tests make it: a phantom, its store, the tiny spec."""

import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from checks import CHECKOUT, RELEASE, run, wait_for

ANOFPDM = RELEASE / "anofpdm"
WORKER = RELEASE / "anofpdm-worker"
FAKE_WORKER = RELEASE / "anofpdm-fake-worker"
PHANTOM = ["--kind", "brats", "--subjects", "6", "--seed", "2", "--grid", "48"]
STORE = ["--layout", "brats", "--size", "16", "--split", "50/25/25"]


def make(folder):
    """Data, store and tiny.toml in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    run(ANOFPDM, "phantom", "data", *PHANTOM, cwd=folder)
    run(ANOFPDM, "preprocess", "data", "store", *STORE, cwd=folder)
    source = (CHECKOUT / "tests" / "src" / "fixture.rs").read_text()
    (folder / "tiny.toml").write_text(re.search(r'SPEC: &str = r#"(.*?)"#', source, re.S).group(1))


def answer(summary):
    """What must not depend on who computed: coverage without its costs, and the fingerprint."""
    return json.loads(Path(summary).read_text())["fingerprint"]


def run_beside(folder, worker=FAKE_WORKER):
    """The answer of the same spec on this machine alone, with the local queue."""
    run(
        ANOFPDM,
        "run",
        "tiny.toml",
        "--dir",
        "alone",
        "--workers",
        "2",
        cwd=folder,
        env={**os.environ, "ANOFPDM_WORKER": str(worker)},
    )
    fingerprint = answer(folder / "alone" / "report" / "summary.json")
    shutil.rmtree(folder / "alone")
    return fingerprint


def loopback_up():
    """A new network namespace has it down."""
    run("ip", "link", "set", "lo", "up")


def start_redis(folder, port=6379):
    """A server with the users of deploy/redis in `folder`; its process. The network is this part's own, so the port is free."""
    run(CHECKOUT / "deploy" / "redis" / "set-passwords.sh", folder)
    shutil.copy(CHECKOUT / "deploy" / "redis" / "redis.conf", folder)
    log = open(folder / "redis.log", "ab")
    server = subprocess.Popen(
        ["redis-server", "redis.conf", "--port", str(port)],
        cwd=folder,
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
    )
    wait_for("Redis answers", lambda: b"Ready to accept" in (folder / "redis.log").read_bytes())
    return server


def page(address):
    """(status, text) of a page, or (0, why)."""
    try:
        with urllib.request.urlopen(address, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def metric(text, name, **labels):
    """The sum of a metric's series with these labels, or None without any."""
    found = None
    for line in text.splitlines():
        series = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
        if series and all(f'{key}="{value}"' in (series[1] or "") for key, value in labels.items()):
            found = (found or 0) + float(series[2])
    return found
