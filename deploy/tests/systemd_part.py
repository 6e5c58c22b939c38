"""The units on a systemd of their own: this machine's tree under an overlay in memory, booted by systemd-nspawn."""

import os
import shutil
import subprocess
from pathlib import Path

import fixture
from checks import CHECKOUT, part, run, wait_for

UNITS = CHECKOUT / "deploy" / "systemd"
WORKER = "anofpdm-worker@cuda:0.service"
RUN = "anofpdm-run@tiny.service"
# What `systemd-analyze security` may say at most, in tenths: 0 is locked away, 100 is everything.
EXPOSURE = 25


def check_offline(checks, folder):
    """What systemd says about the units without running them; a program that is not there is an error to it."""
    for name in ("anofpdm-worker", "anofpdm-run"):
        unit = folder / f"{name}@.service"
        text = (UNITS / unit.name).read_text()
        unit.write_text(text.replace("/usr/local/bin/anofpdm", "/bin/true #").replace("RequiresMountsFor=", "#"))
        verified = run("systemd-analyze", "verify", "--recursive-errors=no", unit, check=False)
        said = verified.stdout + verified.stderr
        checks.that(f"{unit.name}: systemd knows every key", verified.returncode == 0 and "Unknown" not in said, said)
        unit.write_text(text)
        rated = run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", unit, check=False)
        checks.that(f"{unit.name}: exposure at most {EXPOSURE / 10}", rated.returncode == 0, rated.stdout[-200:])


class Machine:
    """A booted container; `systemctl` and the like go into it."""

    def __init__(self, folder):
        self.root = folder / "memory" / "root"
        upper, work = folder / "memory" / "upper", folder / "memory" / "work"
        (folder / "memory").mkdir()
        run("mount", "-t", "tmpfs", "-o", "mode=755", "anofpdm-test", folder / "memory")
        for directory in (self.root, upper, work):
            directory.mkdir()
        run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={work}", self.root)
        # What the machine itself starts at boot stays out: this target wants nothing but the basic system.
        target = self.root / "etc/systemd/system/anofpdm-test.target"
        target.write_text("[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n")
        strangers = ("systemd-firstboot.service", "systemd-hwdb-update.service", "ldconfig.service", "docker.socket")
        for unit in strangers:
            (target.parent / unit).unlink(missing_ok=True)
            (target.parent / unit).symlink_to("/dev/null")
        self.log = open(folder / "boot.log", "wb")
        self.leader = None

    def boot(self):
        nspawn = [
            "systemd-nspawn",
            f"--directory={self.root}",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--console=pipe",
        ]
        nspawn += ["--private-network", "--kill-signal=SIGRTMIN+3", "--quiet", "--", "--unit=anofpdm-test.target"]
        self.nspawn = subprocess.Popen(nspawn, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        wait_for("the boot", self.booted)

    def booted(self):
        """systemd-nspawn has children that come and go before the one that becomes the first process."""
        children = run("pgrep", "--parent", self.nspawn.pid, check=False).stdout.split()
        if not children:
            return False
        self.leader = children[0]
        return self(["systemctl", "is-active", "anofpdm-test.target"], check=False).stdout == "active\n"

    def __call__(self, command, **options):
        return run("nsenter", f"--target={self.leader}", "--all", *command, **options)

    def systemctl(self, *arguments, check=True):
        return self(["systemctl", *arguments], check=check)

    def show(self, unit, key):
        return self.systemctl("show", "--value", f"--property={key}", unit).stdout.strip()

    def journal(self, unit):
        return self(["journalctl", "--no-pager", "--quiet", "--output=cat", f"--unit={unit}"]).stdout

    def page(self, address):
        return self(["curl", "--silent", "--show-error", address], check=False).stdout

    def poweroff(self):
        self(["systemctl", "poweroff"], check=False)
        try:
            self.nspawn.wait(60)
        except subprocess.TimeoutExpired:  # the namespace ends with this program, and the container with it
            self.nspawn.kill()


def settle(machine, data):
    """Programs, settings, data and the queue's server, as deploy/systemd/README.md has them."""
    root = machine.root
    run(UNITS / "install.sh", root)
    for source, name in ((fixture.ANOFPDM, "anofpdm"), (fixture.FAKE_WORKER, "anofpdm-worker")):
        shutil.copy(source, root / "usr/local/bin" / name)
    run("cp", "-a", f"{data}/.", root / "srv/anofpdm")
    run("chroot", root, "chown", "-R", "anofpdm:anofpdm", "/srv/anofpdm")
    settings = root / "etc/anofpdm"
    queue = root / "etc/anofpdm-redis"
    run(CHECKOUT / "deploy/redis/set-passwords.sh", queue)
    shutil.copy(CHECKOUT / "deploy/redis/redis.conf", queue)
    for user in ("worker", "coordinator"):
        shutil.copy(queue / f"{user}.password", settings / f"{user}.password")
    (settings / "worker.env").write_text(
        "ANOFPDM_QUEUE=redis://worker@127.0.0.1:6379\nANOFPDM_FAKE_FAULTS=delay_ms=40\nANOFPDM_WORKER_OPTIONS=\n"
    )
    (settings / "worker-cuda:0.env").write_text("ANOFPDM_WORKER_OPTIONS=--metrics 127.0.0.1:9464\n")
    (settings / "run.env").write_text(
        "ANOFPDM_QUEUE=redis://coordinator@127.0.0.1:6379\nANOFPDM_RUN_OPTIONS=--metrics 127.0.0.1:9463 --lease 5\n"
    )
    (root / "etc/systemd/system/redis-test.service").write_text(
        "[Service]\nWorkingDirectory=/etc/anofpdm-redis\nExecStart=/usr/bin/redis-server redis.conf\n"
    )
    # The watchdog of two minutes in seconds, and hardly a wait before a start.
    for unit, text in ((WORKER, "WatchdogSec=4\nRestartSec=500ms\n"), (RUN, "RestartSec=500ms\n")):
        drop_in = root / f"etc/systemd/system/{unit}.d/fast.conf"
        drop_in.parent.mkdir()
        drop_in.write_text(f"[Service]\n{text}")
    return (queue / "worker.password").read_text().strip()


def faults(machine, text):
    settings = machine.root / "etc/anofpdm/worker.env"
    lines = [line for line in settings.read_text().splitlines() if "FAULTS" not in line]
    settings.write_text("\n".join([*lines, f"ANOFPDM_FAKE_FAULTS={text}", ""]))


def busy(machine):
    """The worker has a shard."""
    text = machine.page("http://127.0.0.1:9464/metrics")
    return any(fixture.metric(text, "anofpdm_worker_state", state=state) == 1 for state in ("scoring", "training"))


def check_start(checks, machine, password):
    machine.systemctl("start", "--no-block", WORKER)
    wait_for("a few starts", lambda: restarts(machine) > 6)
    machine.systemctl("start", "redis-test.service")
    wait_for("the worker", lambda: machine.show(WORKER, "ActiveState") == "active")
    checks.that("a worker without a queue is started until there is one", True)
    checks.that(
        "the worker is started once the queue has let it in",
        "registered" in machine.journal(WORKER),
        machine.journal(WORKER),
    )
    machine.systemctl("start", RUN)
    wait_for("a worker at work", lambda: busy(machine))
    checks.that("a worker takes work from a coordinator, both by their units", True)
    pid = machine.show(WORKER, "MainPID")
    environment = machine(["cat", f"/proc/{pid}/environ"]).stdout
    command_line = machine(["cat", f"/proc/{pid}/cmdline"]).stdout
    shown = machine.systemctl("show", WORKER).stdout
    checks.that(
        "the environment names the password's file",
        "ANOFPDM_REDIS_PASSWORD_FILE=/run/credentials/" in environment,
        environment,
    )
    secret_shown = any(password in text for text in (environment, command_line, shown, machine.journal(WORKER)))
    checks.that("the password is in no environment, command line, property or log", not secret_shown)
    status = machine(["cat", f"/proc/{pid}/status"]).stdout
    user = machine(["id", "--user", "anofpdm"]).stdout.strip()
    checks.that(
        "not root, no capabilities",
        f"Uid:\t{user}\t{user}" in status and "CapEff:\t0000000000000000" in status,
        status,
    )
    written = machine(["nsenter", f"--target={pid}", "--mount", "touch", "/usr/local/written"], check=False)
    checks.that("its file system is read-only", "Read-only" in written.stderr, written.stderr)


def check_drain(checks, machine):
    """`systemctl stop` while there is work: the shard at work is finished, nobody counts a crash."""
    wait_for("a worker at work", lambda: busy(machine))
    machine.systemctl("stop", WORKER)
    result = [machine.show(WORKER, key) for key in ("Result", "ExecMainStatus", "ActiveState")]
    checks.that("TERM drains: exit code 0, result success", result == ["success", "0", "inactive"], result)
    text = machine.page("http://127.0.0.1:9463/metrics")
    crashes = fixture.metric(text, "anofpdm_shard_ends_total", outcome="crashed")
    checks.that("and no crash is counted", crashes == 0, crashes)
    checks.that("the run goes on waiting", machine.show(RUN, "ActiveState") == "active")


def restarts(machine):
    return int(machine.show(WORKER, "NRestarts"))


def check_restarts(checks, machine):
    machine.systemctl("start", WORKER)
    wait_for("a worker at work", lambda: busy(machine))
    before = restarts(machine)
    machine.systemctl("kill", "--signal=SIGSTOP", "--kill-who=main", WORKER)
    wait_for("the watchdog", lambda: restarts(machine) == before + 1)
    checks.that(
        "the watchdog ends a worker that is stopped, and it starts again",
        "watchdog" in machine.journal(WORKER).lower(),
    )
    wait_for("the new one at work", lambda: busy(machine))
    machine.systemctl("kill", "--signal=SIGKILL", "--kill-who=main", WORKER)
    wait_for("the next start", lambda: restarts(machine) == before + 2)
    checks.that("a worker that is killed starts again", True)
    before = machine.show(RUN, "NRestarts")
    machine.systemctl("kill", "--signal=SIGKILL", "--kill-who=main", RUN)
    wait_for("the coordinator's next start", lambda: machine.show(RUN, "NRestarts") != before)
    checks.that("a coordinator that is killed starts again", True)


def check_stays_down(checks, machine):
    for what, fault, options, status in (
        ("exit 3 (the device is lost) stays down", "lost=1", "", "3"),
        ("exit 2 (wrong options) stays down", "delay_ms=1", "--no-such-option", "2"),
    ):
        machine.systemctl("stop", WORKER)
        faults(machine, fault)
        (machine.root / "etc/anofpdm/worker-cuda:0.env").write_text(
            f"ANOFPDM_WORKER_OPTIONS=--metrics 127.0.0.1:9464 {options}\n"
        )
        machine.systemctl("start", WORKER, check=False)
        wait_for("its end", lambda: machine.show(WORKER, "ActiveState") == "failed")
        seen = [machine.show(WORKER, "ExecMainStatus"), machine.show(WORKER, "NRestarts")]
        checks.that(what, seen == [status, "0"], seen)
    (machine.root / "etc/anofpdm/worker-cuda:0.env").write_text("ANOFPDM_WORKER_OPTIONS=--metrics 127.0.0.1:9464\n")


def check_end(checks, machine, expected):
    faults(machine, "delay_ms=1")
    machine.systemctl("reset-failed", WORKER)
    machine.systemctl("start", WORKER)
    wait_for("the end of the run", lambda: machine.show(RUN, "ActiveState") != "active")
    checks.that("the run ends well", machine.show(RUN, "Result") == "success", machine.journal(RUN))
    fingerprint = fixture.answer(machine.root / "srv/anofpdm/runs/tiny/report/summary.json")
    checks.that("its fingerprint is that of a run on this machine alone", fingerprint == expected, fingerprint)
    machine.systemctl("stop", WORKER)


def body(checks, folder):
    fixture.loopback_up()
    check_offline(checks, folder)
    if any(Path("/", name) in CHECKOUT.parents for name in ("tmp", "var/tmp")):
        # A checkout for a trial: the units' /tmp is their own, and the worker's libtorch would not be in it.
        checks.not_run("the units in a machine", f"{CHECKOUT} lies in a folder that each of them has for itself")
        return
    data = folder / "data"
    fixture.make(data)
    expected = fixture.run_beside(data)
    machine = Machine(folder)
    password = settle(machine, data)
    try:
        machine.boot()
        check_start(checks, machine, password)
        check_drain(checks, machine)
        check_restarts(checks, machine)
        check_stays_down(checks, machine)
        check_end(checks, machine, expected)
    except Exception:
        print((folder / "boot.log").read_text(errors="replace")[-3000:])
        for command in (["journalctl", "--no-pager", "--lines=60"], ["systemctl", "list-jobs"]):
            print(machine(command, check=False).stdout)
        raise
    finally:
        machine.poweroff()


os.environ["SYSTEMD_COLORS"] = "0"
part("systemd", body)
