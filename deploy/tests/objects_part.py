"""Slices, weights and records in an S3 bucket: a server that checks signatures and keeps files (rclone), real runs."""

import functools
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import fixture
from checks import part, run, wait_for

PORT = 5556
KEY, SECRET = "EXAMPLEKEY", "not-a-secret-anywhere-else"
BUCKET = "bucket"
STORE = f"s3://{BUCKET}/stores/tiny"


class Server:
    """Files below `root`, a folder a bucket."""

    def __init__(self, folder):
        self.root, self.log = folder / "s3", folder / "s3.log"
        (self.root / BUCKET).mkdir(parents=True)
        self.process = None
        self.start()

    def start(self):
        program = Path(sys.executable).with_name("rclone")
        log = open(self.log, "ab")
        command = [program, "serve", "s3", "--auth-key", f"{KEY},{SECRET}", "--addr", f"127.0.0.1:{PORT}"]
        # Not for a moment what was, when a test changes a file behind its back.
        command += ["--vfs-cache-mode", "off", "--dir-cache-time", "1s", "--config", "/dev/null", self.root]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        address = f"http://127.0.0.1:{PORT}/"
        wait_for("the S3 server answers", lambda: fixture.page(address)[0] != 0)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def path(self, url):
        return self.root / url.removeprefix("s3://")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Programs:
    """The programs in a folder, with the settings of a user of that server; local copies in `cache`."""

    def __init__(self, folder, **more):
        self.folder = folder
        self.env = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{PORT}",
            "ANOFPDM_WORKER": str(fixture.FAKE_WORKER),
            "ANOFPDM_OBJECT_CACHE": str(folder / "cache"),
            **more,
        }

    def __call__(self, *arguments, **options):
        return run(fixture.ANOFPDM, *arguments, cwd=self.folder, env=self.env, **options)

    def begin(self, program, *arguments):
        log = open(self.folder / f"{program.name}.log", "ab")
        command = [str(part) for part in (program, *arguments)]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def spec(folder, name, store, checkpoint=None):
    text = (folder / "tiny.toml").read_text()
    text = re.sub(r'(?m)^store = ".*"', f'store = "{store}"', text)
    if checkpoint:
        text = re.sub(r"(?s)\[model\.guided\.train\].*?(?=\n\[)", "", text)
        text = text.replace("[model.guided]\n", f'[model.guided]\ncheckpoint = "{checkpoint}"\n')
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def refused(checks, what, done, *words):
    said = done.stdout + done.stderr
    checks.that(what, done.returncode == 1 and all(word in said for word in words) and SECRET not in said, said)


def fingerprint(folder, name):
    return fixture.answer(folder / name / "report" / "summary.json")


def flip(path):
    bytes_ = bytearray(path.read_bytes())
    bytes_[len(bytes_) // 2] ^= 1
    path.write_bytes(bytes_)


def check_words(checks, programs, folder):
    """What is wrong is named at once, before anything is computed."""
    other = Programs(folder, AWS_SECRET_ACCESS_KEY="wrong")
    at = spec(folder, "remote", STORE)
    refused(checks, "a wrong secret is named", other("run", at, check=False), "SignatureDoesNotMatch", STORE, "AWS_")
    none = Programs(folder, AWS_EC2_METADATA_DISABLED="true", ANOFPDM_OBJECT_WAIT="1")
    none.env.pop("AWS_ACCESS_KEY_ID"), none.env.pop("AWS_SECRET_ACCESS_KEY")
    refused(checks, "no credentials: which variables hold them", none("run", at, check=False), "AWS_ACCESS_KEY_ID")
    absent = spec(folder, "absent", "s3://no-such-bucket/x")
    refused(checks, "an absent bucket is named", programs("run", absent, check=False), "NoSuchBucket", "no-such-bucket")
    nothing = spec(folder, "nothing", f"s3://{BUCKET}/nothing")
    refused(checks, "a place without a store is named", programs("run", nothing, check=False), "no manifest.json")
    records = programs("run", at, "--records", "s3://no-such-bucket/x", check=False)
    refused(checks, "records into an absent bucket: nothing is begun", records, "NoSuchBucket")
    checks.that("and no step is trained", not list(folder.glob("runs/tiny/checkpoints/*/step-*")))
    shutil.rmtree(folder / "runs", ignore_errors=True)
    far = Programs(folder, AWS_ENDPOINT_URL="http://127.0.0.1:1", ANOFPDM_OBJECT_WAIT="1")
    refused(checks, "a server that is not there is waited for, then named", far("run", at, check=False), "did not answer")


def check_runs(checks, programs, server, folder, alone):
    """The same answer from a bucket as from the disk."""
    programs("upload", "store", STORE)
    again = json.loads(programs("upload", "store", STORE, "--json").stdout)
    checks.that("upload: a second one finds the store there", again["new"] is False, again)
    programs("phantom", "data2", *fixture.PHANTOM[:-1], "56")
    programs("preprocess", "data2", "store2", *fixture.STORE)
    refused(checks, "another store is not written over it", programs("upload", "store2", STORE, check=False), STORE)

    at = spec(folder, "remote", STORE)
    records = f"s3://{BUCKET}/runs/a"
    programs("run", at, "--dir", "a", "--workers", "2", "--records", records)
    checks.that("store and records in a bucket: the fingerprint of the disk", fingerprint(folder, "a") == alone)
    here = {path.name for path in (folder / "a/records").glob("??/*")}
    there = {path.name for path in server.path(records).glob("??/*")}
    checks.that("every record lies in the bucket", here == there and here, (len(here), len(there)))
    shutil.rmtree(folder / "a/records")
    (folder / "a/records").mkdir()
    (folder / "a/records/remote").write_text(records)
    programs("report", "a")
    checks.that("a report from the bucket alone", fingerprint(folder, "a") == alone)
    weights = json.loads((folder / "a/report/summary.json").read_text())
    checks.that("a report keeps its coverage", weights["coverage"]["scored"] == weights["coverage"]["planned"])
    refused(
        checks,
        "a run goes on with its own records only",
        programs("run", at, "--dir", "a", "--records", f"s3://{BUCKET}/other", check=False),
        "s3://bucket/other",
    )


def check_flipped(checks, programs, server, folder, alone):
    """A byte that is another: in the copy, and in the bucket."""
    copies = list((folder / "cache/object-copies/stores").glob("*/subjects/*.safetensors"))
    flip(copies[0])
    done = programs("run", "remote.toml", "--dir", "flipped", "--workers", "1")
    said = done.stderr
    checks.that("a flipped copy is fetched again", "fetched again" in said and fingerprint(folder, "flipped") == alone, said)
    subject = server.path(STORE) / "subjects" / copies[0].name
    flip(subject)
    fresh = Programs(folder, ANOFPDM_OBJECT_CACHE=str(folder / "fresh"))
    done = fresh("run", "remote.toml", "--dir", "damaged", check=False)
    refused(checks, "a byte flipped in the bucket is named", done, f"{STORE}/subjects/{copies[0].name}", "manifest")
    flip(subject)
    fresh("run", "remote.toml", "--dir", "damaged", "--workers", "1")
    checks.that("and the run goes on once it is whole", fingerprint(folder, "damaged") == alone)


def check_fleet(checks, programs, folder, alone):
    """Workers that share nothing but the bucket and the queue."""
    redis = subprocess.Popen(
        ["redis-server", "--port", "6379", "--save", "", "--dir", folder], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    queue = "redis://127.0.0.1:6379"
    records = f"s3://{BUCKET}/runs/fleet"
    coordinator = programs.begin(
        fixture.ANOFPDM, "run", "remote.toml", "--dir", "fleet", "--queue", queue, "--records", records
    )
    workers = []
    for number in range(2):
        own = Programs(folder, ANOFPDM_OBJECT_CACHE=str(folder / f"host{number}"))
        options = ["--data", f"s3://{BUCKET}/stores", "--artifacts", records, "--checkpoints", folder / "fleet/checkpoints"]
        workers.append(own.begin(fixture.FAKE_WORKER, "run", "--queue", queue, *options))
    code = coordinator.wait(timeout=240)
    checks.that("a fleet that shares a bucket and a queue", code == 0 and fingerprint(folder, "fleet") == alone, code)
    for process in (*workers, redis):
        process.terminate()
        process.wait()


def check_outage(checks, programs, server, folder, alone):
    """The server is killed in the middle of a run."""
    slow = {"ANOFPDM_WORKER": str(folder / "slow-worker")}
    (folder / "slow-worker").write_text(f'#!/bin/bash\nexec {fixture.FAKE_WORKER} "$@" --faults delay_ms=40\n')
    (folder / "slow-worker").chmod(0o755)

    def begin(name, **more):
        records = f"s3://{BUCKET}/runs/{name}"
        process = Programs(folder, **slow, **more).begin(
            fixture.ANOFPDM, "run", "remote.toml", "--dir", name, "--workers", "1", "--records", records
        )
        # Weights, plans and a few records.
        wait_for("some records in the bucket", lambda: len(list(server.path(records).glob("??/*"))) > 8)
        server.kill()
        return process

    coordinator = begin("outage")
    wait_for("a word on the outage", lambda: "does not answer" in (folder / "anofpdm.log").read_text() + logs(folder, "outage"))
    server.start()
    code = coordinator.wait(timeout=240)
    checks.that("a killed server is waited for", code == 0 and fingerprint(folder, "outage") == alone, code)

    coordinator = begin("ended", ANOFPDM_OBJECT_WAIT="1")
    code = coordinator.wait(timeout=240)
    said = (folder / "anofpdm.log").read_text() + logs(folder, "ended")
    checks.that("one that stays away ends the run with its name", code != 0 and "did not answer" in said, (code, said))
    server.start()
    programs("run", "remote.toml", "--dir", "ended", "--workers", "1")
    checks.that("and the same command goes on", fingerprint(folder, "ended") == alone)


def logs(folder, name):
    return "".join(path.read_text() for path in (folder / name / "logs").glob("*"))


def check_rest(checks, programs, server, folder, alone):
    """Room, weights and a web server."""
    small = Programs(folder, ANOFPDM_OBJECT_CACHE=str(folder / "little-room"), ANOFPDM_OBJECT_CACHE_GB="0.00005")
    small("run", "remote.toml", "--dir", "small", "--workers", "1")
    room = sum(path.stat().st_size for path in (folder / "little-room").rglob("*") if path.is_file())
    whole = sum(path.stat().st_size for path in (folder / "cache/object-copies/stores").rglob("*") if path.is_file())
    checks.that("a store that is larger than the cache", fingerprint(folder, "small") == alone and room < whole, (room, whole))

    # Weights that fit are made by the real worker.
    real = Programs(folder, ANOFPDM_WORKER=str(fixture.WORKER))
    real("run", "tiny.toml", "--dir", "real", "--workers", "1", "--until", "train")
    weights = max((folder / "real/records").glob("??/*"), key=lambda path: path.stat().st_size)
    target = server.root / BUCKET / "weights"
    target.mkdir()
    shutil.copy(weights, target / "guided.safetensors")
    there = spec(folder, "there", "store", f"s3://{BUCKET}/weights/guided.safetensors")
    programs("plan", there)
    copies = [path.read_bytes() for path in (folder / "cache/object-copies/files").glob("??/*")]
    checks.that("a checkpoint in a bucket is copied and fits", copies == [weights.read_bytes()], len(copies))
    missing = spec(folder, "missing", "store", f"s3://{BUCKET}/weights/other.safetensors")
    refused(checks, "a checkpoint that is not there is named", programs("plan", missing, check=False), "other.safetensors")

    handler = functools.partial(Quiet, directory=folder)
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 8000), handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    programs("run", spec(folder, "web", "http://127.0.0.1:8000/store"), "--dir", "web", "--workers", "1")
    checks.that("a store on a web server", fingerprint(folder, "web") == alone)


def body(checks, folder):
    fixture.loopback_up()
    fixture.make(folder)
    alone = fixture.run_beside(folder)
    server = Server(folder)
    programs = Programs(folder)
    check_runs(checks, programs, server, folder, alone)
    check_words(checks, programs, folder)
    check_flipped(checks, programs, server, folder, alone)
    check_fleet(checks, programs, folder, alone)
    check_outage(checks, programs, server, folder, alone)
    check_rest(checks, programs, server, folder, alone)
    server.kill()


part("objects", body)
