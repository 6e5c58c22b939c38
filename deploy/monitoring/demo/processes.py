"""Processes of a demonstration: started, waited for, and ended with it."""

import os
import random
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

# Below those that the system gives to outgoing connections: a server that was stopped finds its port free again.
PORTS = range(11_000, 32_000)


class Failed(Exception):
    """What the demonstration was to show did not come about."""


def wait_for(what, look, seconds=60.0, pause=0.1):
    """What `look` returns once it is true."""
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        found = look()
        if found:
            return found
        time.sleep(pause)
    raise Failed(f"{what} did not come within {seconds:g} s")


def page(url):
    """The body of a page; None where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except (urllib.error.URLError, OSError):
        return None


def free_port():
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Processes:
    """Those that are running; all are ended, by their own numbers, when this is left."""

    def __init__(self, logs):
        self.logs, self.started = Path(logs), []
        self.logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.started):
            if process.poll() is None:
                process.kill()
                process.wait()

    def log(self, name):
        return self.logs / f"{name}.log"

    def start(self, name, command, cwd=None, **environment):
        """A process whose output goes to logs/NAME.log."""
        with open(self.log(name), "ab") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                cwd=cwd,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.started.append(process)
        return process

    def server(self, name, command, answers, cwd=None, seconds=30.0, **environment):
        """A process that listens on a port chosen here: `command` and `answers` take it. Returns process and port.

        Somebody else may take the port between the look and the start; then another one is tried.
        """
        for _ in range(5):
            port = free_port()
            process = self.start(name, command(port), cwd, **environment)
            begin = time.monotonic()
            while process.poll() is None and time.monotonic() - begin < seconds:
                if answers(port):
                    return process, port
                time.sleep(0.05)
            if process.poll() is None:
                process.kill()
                process.wait()
        raise Failed(f"{name} does not start: see {self.log(name)}")
