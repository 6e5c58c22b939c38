"""A Docker engine of a part's own, and the images of deploy/images in it."""

import os
import re
import shutil
import subprocess

from checks import CHECKOUT, run, wait_for

IMAGES = CHECKOUT / "deploy" / "images"
BASE = "anofpdm-base:test"
REDIS = "anofpdm-redis:test"


class Engine:
    """dockerd with its data, sockets and networks in this part's folder and namespaces."""

    def __init__(self, folder):
        self.folder = folder
        self.socket = f"unix://{folder}/docker.sock"
        # No file of settings of whoever runs the tests.
        self.env = {
            **os.environ,
            "DOCKER_HOST": self.socket,
            "DOCKER_CONFIG": str(folder),
            "BUILDER": "docker",
            "COMPOSE_HTTP_TIMEOUT": "240",
        }
        self.processes = []

    def start(self):
        # The engine keeps things there whatever its options are.
        run("mount", "-t", "tmpfs", "anofpdm-test", "/run")
        at = self.folder
        self._daemon(
            "containerd",
            "--root",
            at / "containerd",
            "--state",
            at / "containerd-run",
            "--address",
            at / "containerd.sock",
        )
        wait_for("containerd", lambda: (at / "containerd.sock").exists())
        options = [
            "--containerd",
            at / "containerd.sock",
            "--data-root",
            at / "docker",
            "--exec-root",
            at / "docker-run",
        ]
        options += ["--pidfile", at / "docker.pid", "--host", self.socket, "--iptables=false", "--ip6tables=false"]
        self._daemon(
            "dockerd",
            *options,
            "--storage-driver=overlay2",
            "--cgroup-parent=anofpdm-test",
            "--default-ulimit=nofile=1024:1024",
        )
        wait_for("dockerd", lambda: self("version", check=False).returncode == 0)

    def _daemon(self, *command):
        log = open(self.folder / f"{command[0]}.log", "wb")
        command = [str(part) for part in command]
        self.processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def __call__(self, *arguments, **options):
        return run("docker", *arguments, env=self.env, **options)

    def stop(self):
        """In good order, so that mounts and control groups go as well; the namespace would end the processes anyway."""
        for process in reversed(self.processes):
            process.terminate()
            process.wait()

    def build(self, *images):
        """The base that run.py has made, and the images of build.sh on it."""
        self("import", CHECKOUT / "target" / "deploy" / "base.tar", BASE)
        for image in images:
            run(IMAGES / "build.sh", image, f"--build-arg=BASE={BASE}", "--network=none", env=self.env, cwd=CHECKOUT)

    def build_redis(self):
        """This machine's redis-server with its libraries: no registry gives the one that compose.yaml names."""
        context = self.folder / "redis-image"
        (context / "root").mkdir(parents=True)
        for program in ("redis-server", "redis-cli"):
            path = shutil.which(program)
            run(
                "cp",
                "--dereference",
                "--parents",
                path,
                *re.findall(r"(/\S+) \(0x", run("ldd", path).stdout),
                context / "root",
            )
        (context / "Dockerfile").write_text(f"FROM {BASE}\nCOPY root/usr/bin/ /usr/bin/\nCOPY root/lib/ /usr/lib/\n")
        self("build", "--network=none", "--tag", REDIS, context)


def program_version():
    manifest = (CHECKOUT / "Cargo.toml").read_text()
    return re.search(r'^version = "(.*)"', manifest, re.M).group(1)
