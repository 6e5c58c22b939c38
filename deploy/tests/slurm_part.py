"""The scripts of deploy/slurm on a real Slurm: munged, slurmctld and slurmd on the loopback, nodes of /dev/null for GPUs."""

import os
import re
import shutil
import socket
import stat
import subprocess

import fixture
from checks import CHECKOUT, part, run, wait_for

SLURM = CHECKOUT / "deploy" / "slurm"
# Slurm sends TERM up to a minute early; so these tasks drain within their first minute.
SHORT = ["--array=0-11%2", "--time=1", "--signal=B:TERM@30"]
METRICS = "http://127.0.0.1:9463/metrics"


class Slurm:
    def __init__(self, folder):
        self.folder = folder
        for name in ("state", "spool"):
            (folder / name).mkdir()
        host = socket.gethostname().split(".")[0]
        text = (
            (CHECKOUT / "deploy/tests/settings/slurm.conf")
            .read_text()
            .replace("FOLDER", str(folder))
            .replace("HOST", host)
        )
        (folder / "slurm.conf").write_text(text)
        for number in (0, 1):
            os.mknod(folder / f"nvidia{number}", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        (folder / "gres.conf").write_text(f"NodeName=n1 Name=gpu File={folder}/nvidia[0-1]\n")
        self.env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def daemon(self, name, *command):
        log = open(self.folder / f"{name}.out", "wb")
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env)

    def start(self):
        # Slurm looks its own host's name up, which not every machine knows, and finds none without an address that is no
        # loopback one.
        run("ip", "address", "add", "192.0.2.1/32", "dev", "lo")
        hosts = self.folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost {socket.gethostname()}\n")
        run("mount", "--bind", hosts, "/etc/hosts")
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        at = {name: f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "log", "seed")}
        self.daemon(
            "munged", "munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *at.values()
        )
        wait_for("munged", lambda: (self.folder / "munge.socket").exists())
        self.daemon("slurmctld", "slurmctld", "-D", "-f", self.folder / "slurm.conf")
        self.daemon("slurmd", "slurmd", "-D", "-N", "n1", "-f", self.folder / "slurm.conf")
        wait_for(
            "a node that is idle", lambda: "idle" in self("sinfo", "--noheader", "--format=%T", check=False).stdout
        )

    def __call__(self, *command, **options):
        return run(*command, env=self.env, **options)

    def jobs(self):
        """{id with task: (state, exit code, restarts)} of what the controller remembers."""
        found = {}
        for text in self("scontrol", "--oneliner", "show", "job", check=False).stdout.splitlines():
            field = dict(re.findall(r"(\w+)=(\S*)", text))
            if "JobId" not in field:
                continue
            name = f"{field['ArrayJobId']}_{field['ArrayTaskId']}" if "ArrayJobId" in field else field["JobId"]
            found[name] = (field["JobState"], field["ExitCode"], int(field.get("Restarts", 0)))
        return found

    def started_again(self, job):
        state, _, restarts = self.jobs().get(job, ("", "", 0))
        return (state, restarts) == ("RUNNING", 1)

    def of(self, array, state):
        """The tasks of an array in a state, those that wait in one lump left out."""
        return [name for name, job in self.jobs().items() if re.fullmatch(rf"{array}_\d+", name) and job[0] == state]


def wrap_programs(folder):
    """A PATH with the fake worker as anofpdm-worker; a file says what it does, so that it can change meanwhile."""
    programs = folder / "bin"
    programs.mkdir()
    shutil.copy(fixture.ANOFPDM, programs / "anofpdm")
    wrapper = programs / "anofpdm-worker"
    wrapper.write_text(
        f'#!/bin/bash\necho "GPU ${{CUDA_VISIBLE_DEVICES-none}}"\nexec {fixture.FAKE_WORKER} "$@" --faults "$(<{folder}/faults)"\n'
    )
    wrapper.chmod(0o755)
    return programs


def crashes():
    return fixture.metric(fixture.page(METRICS)[1], "anofpdm_shard_ends_total", outcome="crashed")


def check_fleet(checks, slurm, shared, folder):
    """fleet.sh, and what happens to its array until the run ends."""
    said = slurm(SLURM / "fleet.sh", shared, shared / "tiny.toml", *SHORT).stdout
    coordinator, workers = re.match(r"coordinator (\d+), workers (\d+)", said).groups()
    wait_for(
        "two workers at work", lambda: fixture.metric(fixture.page(METRICS)[1], "anofpdm_workers", state="busy") == 2
    )
    fleet = shared / "fleets/tiny"
    checks.that("fleet.sh: coordinator with its Redis, and an array of workers that find it", True)
    logs = "".join(log.read_text() for log in fleet.glob("anofpdm-worker-*.log"))
    checks.that("each has a GPU of its own", set(re.findall(r"^GPU (.*)$", logs, re.M)) == {"0", "1"}, logs)
    shown = slurm("scontrol", "show", "job").stdout + run("ps", "-e", "-o", "args").stdout
    secrets = [(fleet / f"redis/{user}.password").read_text().strip() for user in ("worker", "coordinator")]
    checks.that(
        "no password in logs, job records or command lines", not any(secret in logs + shown for secret in secrets)
    )
    listed = fixture.page("http://127.0.0.1:9463/workers")[1]
    checks.that(
        "/workers lists both, each at a port of its own",
        len(set(re.findall(r"127\.0\.0\.1:\d+", listed))) == 2,
        listed,
    )

    done = wait_for("tasks that the time limit ended", lambda: slurm.of(workers, "COMPLETED"))
    codes = [slurm.jobs()[name][1] for name in done]
    checks.that("TERM before the time limit drains: exit code 0", set(codes) == {"0:0"}, codes)
    wait_for("their successors", lambda: len(slurm.of(workers, "RUNNING")) == 2)
    checks.that("the next tasks of the array take their place", True)
    checks.that("no crash is counted", crashes() == 0, crashes())

    slurm("scancel", "--batch", "--signal=TERM", coordinator)
    (folder / "faults").write_text("delay_ms=1")
    wait_for("its next start", lambda: slurm.started_again(coordinator))
    checks.that("a coordinator that is asked to end, as before its time limit, requeues itself", True)
    wait_for("the end of the run", lambda: slurm.jobs()[coordinator][0] == "COMPLETED")
    wait_for(
        "the end of the workers",
        lambda: not slurm("squeue", "--noheader", f"--jobs={workers}", check=False).stdout.strip(),
    )
    checks.that("a run that ends takes its workers along, those that wait as well", True)
    return fixture.answer(shared / "runs/tiny/report/summary.json")


def check_one(checks, slurm, shared, folder):
    """What becomes of a single task, on a queue with work for it: requeued at work, and with a device that is lost."""
    fleet = shared / "one"
    fleet.mkdir()
    server = fixture.start_redis(fleet)
    (fleet / "redis").symlink_to(".")
    (fleet / "queue").write_text("127.0.0.1:6379\n")
    command = [
        fixture.ANOFPDM,
        "run",
        shared / "tiny.toml",
        "--dir",
        shared / "runs/one",
        "--metrics",
        "127.0.0.1:9463",
    ]
    coordinator = subprocess.Popen(
        [*command, "--queue", "redis://coordinator@127.0.0.1:6379"],
        env={**os.environ, "ANOFPDM_REDIS_PASSWORD_FILE": str(fleet / "coordinator.password")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=open(fleet / "run.log", "wb"),
    )
    slurm.env.update(ANOFPDM_SHARED=str(shared), ANOFPDM_FLEET=str(fleet))
    submit = ["sbatch", "--parsable", "--array=0", f"--output={fleet}/worker-%A.log", SLURM / "worker.sbatch"]

    (folder / "faults").write_text("delay_ms=100")
    job = slurm(*submit).stdout.strip()
    wait_for(
        "a worker at work", lambda: fixture.metric(fixture.page(METRICS)[1], "anofpdm_workers", state="busy") == 1
    )
    slurm("scontrol", "requeue", f"{job}_0")
    wait_for("its next start", lambda: slurm.started_again(f"{job}_0"))
    wait_for("it at work", lambda: fixture.metric(fixture.page(METRICS)[1], "anofpdm_workers", state="busy") == 1)
    checks.that("a task that is requeued at work starts again under its number, and goes on", True)
    checks.that("and no crash is counted", crashes() == 0, crashes())
    slurm("scancel", "--batch", "--signal=TERM", f"{job}_0")
    wait_for("its end", lambda: slurm.jobs()[f"{job}_0"][0] == "COMPLETED")

    (folder / "faults").write_text("lost=1")
    job = slurm(*submit).stdout.strip()
    wait_for("its end", lambda: slurm.jobs().get(f"{job}_0", ("",))[0] == "FAILED")
    seen = slurm.jobs()[f"{job}_0"]
    checks.that("exit 3 (the device is lost): failed, not requeued", seen == ("FAILED", "3:0", 0), seen)
    for process in (coordinator, server):
        process.terminate()
        process.wait()


def body(checks, folder):
    fixture.loopback_up()
    shared = folder / "shared"
    fixture.make(shared)
    # Work for a few minutes, so that it outlives the tasks that end meanwhile.
    spec = (shared / "tiny.toml").read_text()
    (shared / "tiny.toml").write_text(spec.replace("seeds = [0, 1]", f"seeds = {list(range(8))}"))
    expected = fixture.run_beside(shared)
    (folder / "faults").write_text("delay_ms=150")
    slurm = Slurm(folder)
    programs = wrap_programs(folder)
    slurm.env.update(
        PATH=f"{programs}:{os.environ['PATH']}", ANOFPDM_HOST="127.0.0.1", ANOFPDM_METRICS="127.0.0.1:9463"
    )
    try:
        slurm.start()
        checks.that("munged, slurmctld and slurmd run, a node with two GPUs is idle", True)
        fingerprint = check_fleet(checks, slurm, shared, folder)
        checks.that("its fingerprint is that of a run on this machine alone", fingerprint == expected, fingerprint)
        check_one(checks, slurm, shared, folder)
    except Exception:
        print(slurm.jobs())
        for log in (
            *shared.glob("fleets/tiny/*.log"),
            *shared.glob("one/*.log"),
            *folder.glob("slurm*.log"),
            *folder.glob("*.out"),
        ):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}")
        raise


part("slurm", body)
