"""deploy/compose: the profiles resolve, and the fleet runs a spec with real workers on networks of its own."""

import json
import os

import fixture
from checks import CHECKOUT, part, run, wait_for
from engine import REDIS, Engine, program_version

COMPOSE = CHECKOUT / "deploy" / "compose"
OWNER = "10002"


class Project:
    """docker-compose on a copy of the folder with its own .env and secrets, beside the real deploy/redis."""

    def __init__(self, engine, folder, shared):
        self.engine = engine
        deploy = folder / "deploy"
        deploy.mkdir()
        run("cp", "-a", COMPOSE, CHECKOUT / "deploy/redis", deploy)
        self.folder = deploy / "compose"
        (self.folder / ".env").write_text(
            f"ANOFPDM_USER={OWNER}:{OWNER}\nANOFPDM_SHARED={shared}\nANOFPDM_SPEC=tiny\nANOFPDM_REDIS_IMAGE={REDIS}\n"
        )
        run(deploy / "redis/set-passwords.sh", self.folder / "secrets")
        run("chown", "-R", f"{OWNER}:{OWNER}", self.folder / "secrets", shared)

    def __call__(self, *arguments, files=("compose.yaml", "test.yaml"), check=True):
        named = [part for file in files for part in ("--file", file)]
        command = ["docker-compose", "--project-name", "anofpdmtest", *named, *arguments]
        return run(*command, cwd=self.folder, env=self.engine.env, check=check)

    def containers(self, service):
        return self("--profile", "fleet", "ps", "--quiet", service).stdout.split()

    def state(self, container):
        return json.loads(self.engine("inspect", container).stdout)[0]


def check_files(checks, project):
    for profile in ("machine", "fleet", "monitoring"):
        for files in (("compose.yaml",), ("compose.yaml", "gpu.yaml")):
            said = project("--profile", profile, "config", "--quiet", files=files, check=False)
            checks.that(f"{' + '.join(files)}, profile {profile}: resolves", said.returncode == 0, said.stderr)


def check_fleet(checks, project, shared, expected):
    project("--profile", "fleet", "up", "--detach", "--scale", "worker=2")
    coordinator = project.containers("coordinator")[0]
    workers = project.containers("worker")
    checks.that("the fleet is up: Redis healthy, a coordinator, two workers", len(workers) == 2, workers)
    for container in (coordinator, *workers):
        seen = project.state(container)
        host, config = seen["HostConfig"], seen["Config"]
        hard = host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and config["User"] == f"{OWNER}:{OWNER}"
        checks.that(f"{seen['Name']}: read-only, no capabilities, not root", hard, host)
        environment = "".join(config["Env"])
        secrets = [(project.folder / f"secrets/{user}.password").read_text() for user in ("worker", "coordinator")]
        checks.that(
            f"{seen['Name']}: no password in its environment", not any(secret in environment for secret in secrets)
        )
    address = next(iter(project.state(coordinator)["NetworkSettings"]["Networks"].values()))["IPAddress"]
    listed = wait_for(
        "both workers listed",
        lambda: (text := fixture.page(f"http://{address}:9463/workers")[1]).count(":9464") == 2 and text,
    )
    pages = {path: fixture.page(f"http://{address}:9463{path}")[0] for path in ("/healthz", "/livez", "/readyz")}
    checks.that("the coordinator's pages say that it is well", set(pages.values()) == {200}, pages)
    targets = [target for group in json.loads(listed) for target in group["targets"]]
    checks.that(
        "every address of /workers serves metrics",
        all("anofpdm_device_info" in fixture.page(f"http://{target}/metrics")[1] for target in targets),
        targets,
    )
    project.engine("stop", "--time=150", workers[1])
    ended = project.state(workers[1])["State"]["ExitCode"]
    said = project.engine("logs", workers[1])
    checks.that(
        "a worker that is stopped while there is work drains: exit code 0",
        ended == 0 and "asked to end" in said.stdout + said.stderr,
        ended,
    )
    wait_for("the end of the run", lambda: project.state(coordinator)["State"]["Status"] == "exited")
    ended = project.state(coordinator)["State"]["ExitCode"]
    checks.that("a sweep goes through it", ended == 0, project("--profile", "fleet", "logs", "--no-color").stdout)
    fingerprint = fixture.answer(shared / "runs/tiny/report/summary.json")
    checks.that("its fingerprint is that of a run on this machine alone", fingerprint == expected, fingerprint)
    project("--profile", "fleet", "stop")
    codes = [project.state(worker)["State"]["ExitCode"] for worker in workers]
    checks.that("stop ends the workers within their grace: exit code 0", codes == [0, 0], codes)


def check_machine(checks, project, shared):
    run("rm", "-r", shared / "runs")
    said = project("--profile", "machine", "up", "--exit-code-from", "machine", "machine", check=False)
    checks.that(
        "profile machine: a run in one container",
        said.returncode == 0 and (shared / "runs/tiny/report/summary.json").exists(),
        said.stdout[-2000:],
    )


def body(checks, folder):
    fixture.loopback_up()
    shared = folder / "shared"
    fixture.make(shared)
    expected = fixture.run_beside(shared, worker=fixture.WORKER)
    engine = Engine(folder)
    project = None
    try:
        engine.start()
        engine.build("coordinator", "worker")
        engine.build_redis()
        project = Project(engine, folder, shared)
        os.environ["ANOFPDM_TAG"] = engine.env["ANOFPDM_TAG"] = program_version()
        check_files(checks, project)
        check_fleet(checks, project, shared, expected)
        check_machine(checks, project, shared)
    finally:
        if project:
            for profile in ("fleet", "machine"):
                project("--profile", profile, "down", "--volumes", "--timeout=20", check=False)
        engine.stop()
    checks.not_run("gpu.yaml", "there is no GPU here; that it resolves is checked")
    checks.not_run(
        "profile monitoring", "no registry gives Prometheus' and Grafana's images here; that it resolves is checked"
    )


part("compose", body)
