"""deploy/images: a base without a registry, both images, and the programs in them read-only and not as root."""

import json

import fixture
from checks import part, run
from engine import Engine, program_version

HARDENED = [
    "--rm",
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--network=none",
    "--tmpfs=/tmp:mode=1777",
]
# What a node pulls for a coordinator.
SMALL = 200_000_000


def body(checks, folder):
    fixture.loopback_up()
    engine = Engine(folder)
    try:
        engine.start()
        checks.that("a Docker engine runs", True)
        engine.build("coordinator", "worker")
        checks.that("base.sh makes a base without a registry, build.sh both images without a network", True)
        version = program_version()
        coordinator, worker = f"anofpdm-coordinator:{version}", f"anofpdm-worker:{version}"
        check_images(checks, engine, coordinator, worker)
        check_programs(checks, engine, coordinator, worker, version, folder)
    finally:
        engine.stop()
    checks.not_run("image worker-cuda", "libtorch for CUDA is a download of 2.7 GB, and there is no GPU to run it on")


def check_images(checks, engine, coordinator, worker):
    for image in (coordinator, worker):
        seen = json.loads(engine("image", "inspect", image).stdout)[0]
        config = seen["Config"]
        print(f"{image}: {seen['Size'] / 1e6:.0f} MB")
        checks.that(
            f"{image}: user 10001, stopped by TERM",
            (config["User"], config["StopSignal"]) == ("10001:10001", "SIGTERM"),
            config,
        )
        if image == coordinator:
            checks.that(f"{image}: under {SMALL // 1_000_000} MB", seen["Size"] < SMALL, seen["Size"])
    libraries = engine("run", *HARDENED, "--entrypoint=ldd", coordinator, "/usr/local/bin/anofpdm").stdout
    checks.that(
        "the coordinator's image needs no libtorch",
        "torch" not in libraries and "not found" not in libraries,
        libraries,
    )


def check_programs(checks, engine, coordinator, worker, version, folder):
    for image in (coordinator, worker):
        said = engine("run", *HARDENED, image, "--version", check=False)
        checks.that(
            f"{image}: --version, read-only and as 10001",
            said.stdout.split()[-1:] == [version],
            said.stdout + said.stderr,
        )
    who = engine("run", *HARDENED, "--entrypoint=sh", worker, "-c", "id -u; touch /opt/x", check=False)
    checks.that(
        "its user is 10001, its root cannot be written",
        who.stdout == "10001\n" and "Read-only" in who.stderr,
        who.stdout + who.stderr,
    )
    said = engine("run", *HARDENED, worker, "selftest", "--quick", check=False)
    checks.that(
        "anofpdm-worker selftest --quick, read-only and as 10001", said.returncode == 0, said.stdout + said.stderr
    )
    # Signals reach the first process of a container only where the program has a handler for them.
    shared = folder / "shared"
    fixture.make(shared)
    run("chown", "-R", "10001:10001", shared)
    mounted = [*HARDENED, f"--volume={shared}:/shared"]
    said = engine(
        "run",
        *mounted,
        "--entrypoint=/usr/local/bin/anofpdm",
        worker,
        "run",
        "/shared/tiny.toml",
        "--workers=2",
        check=False,
    )
    checks.that(
        "one machine: the whole run in the worker's image, with workers of its own",
        said.returncode == 0,
        said.stdout + said.stderr,
    )


part("images", body)
