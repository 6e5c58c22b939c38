"""Prometheus and Alertmanager on the configuration of this folder's parent, hastened: a demonstration has no quarter of an hour."""

import http.server
import json
import re
import shutil
import subprocess
import threading
from pathlib import Path

from processes import page

MONITORING = Path(__file__).resolve().parents[1]
# Waits of alerts and windows of rules are so many times shorter.
HASTE = 20
SHORTEST = 4  # seconds: four looks


def hastened(text):
    """Rules with shorter durations: `for: 2m`, `[15m]`, `[30m:15s]`."""
    seconds = {"s": 1, "m": 60, "h": 3600}

    def shorter(found):
        length = max(SHORTEST, int(found[2]) * seconds[found[3]] // HASTE)
        return f"{found[1]}{length}s"

    text = re.sub(r"(\[)(\d+)([smh])", shorter, text)
    text = re.sub(r"(for: )(\d+)([smh])", shorter, text)
    return text.replace(":15s]", ":1s]")


def configuration(folder, coordinators, exporter, alertmanager=None):
    """Writes prometheus.yml and the rules into `folder`: ours, with addresses and intervals of the demonstration."""
    text = (MONITORING / "prometheus.yml").read_text()
    pretended = f"    file_sd_configs:\n      - files: ['{folder}/pretended-gpus.json']\n        refresh_interval: 1s\n"
    urls = "".join(f"      - url: http://127.0.0.1:{port}/workers\n        refresh_interval: 1s\n" for port in coordinators)
    targets = ", ".join(f"'127.0.0.1:{port}'" for port in coordinators)
    for ours, theirs in (
        ("      - url: http://coordinator.example:9463/workers\n        refresh_interval: 15s\n", urls + pretended),
        ("coordinator.example:9463", targets),
        ("queue.example:9121", f"127.0.0.1:{exporter}"),
        ("alertmanager.example:9093", f"127.0.0.1:{alertmanager}"),
        ("interval: 15s", "interval: 1s"),
    ):
        assert ours in text, ours
        text = text.replace(ours, theirs)
    if alertmanager is None:
        text = re.sub(r"alerting:\n(  .*\n)+", "", text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(text)
    (folder / "pretended-gpus.json").write_text("[]")
    shutil.rmtree(folder / "rules", ignore_errors=True)
    (folder / "rules").mkdir()
    for rules in (MONITORING / "rules").glob("*.rules.yml"):
        (folder / "rules" / rules.name).write_text(hastened(rules.read_text()))
    subprocess.run(["promtool", "check", "config", folder / "prometheus.yml"], check=True, stdout=subprocess.DEVNULL)


def prometheus(processes, folder):
    """Starts it; returns its URL."""
    _, port = processes.server(
        "prometheus",
        lambda port: [
            *["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"],
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        lambda port: page(f"http://127.0.0.1:{port}/-/ready"),
    )
    return f"http://127.0.0.1:{port}"


class Hook:
    """Where Alertmanager tells of alerts: [(status, alert name)] in the order in which they came."""

    def __init__(self):
        told = self.told = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                told.extend((alert["status"], alert["labels"]["alertname"]) for alert in body["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def alertmanager(processes, folder, hook):
    """Starts it on our example, hastened, with every receiver at `hook`; returns its port."""
    text = (MONITORING / "alertmanager.yml").read_text().replace("hook.example:9095", f"127.0.0.1:{hook.port}")
    text = re.sub(r"group_wait: \d+s", "group_wait: 1s", text).replace("group_interval: 5m", "group_interval: 2s")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "alertmanager.yml").write_text(text)
    _, port = processes.server(
        "alertmanager",
        lambda port: [
            *["prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/alertmanager"],
            *[f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="],
        ],
        lambda port: page(f"http://127.0.0.1:{port}/-/ready"),
    )
    return port
