#!/usr/bin/env python3
"""Whether the files of this folder fit together, and to docs/: check_files.py, in seconds, with Python alone.

Dashboards are what their generator writes; boards and rules name metrics that exist; every alert has a heading in
docs/operate.md, a case in which it fires and one in which it is silent; every file is in deploy/README.md. Where
Prometheus' promtool is, it checks configuration and rules and runs the rules' tests. Exit code 1 when something is wrong.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import inventory

HERE = Path(__file__).resolve().parent
RUNBOOK = inventory.REPOSITORY / "docs/operate.md"
SEVERITIES = {"critical", "warning", "info"}
# Every board, rule and case speaks in these words.
METRIC = re.compile(r"[A-Za-z_:][\w:]*")


def dashboards():
    done = subprocess.run([sys.executable, HERE / "grafana/make_dashboards.py", "--check"], capture_output=True, text=True, check=False)
    if done.returncode:
        yield done.stderr.strip()


def metrics():
    """Names that look like a metric and are none."""
    ours = inventory.types()
    recorded = set(re.findall(r"record: (\S+)", (HERE / "rules/recording.rules.yml").read_text()))
    for path in sorted([*HERE.glob("grafana/dashboards/*.json"), *HERE.glob("rules/**/*.yml")]):
        for name in sorted(set(METRIC.findall(words(path)))):
            ours_or_redis = "anofpdm_" in name or name.startswith("redis_")
            known = name in recorded if ":" in name else inventory.kind_of(name, ours)
            if ours_or_redis and not known:
                yield f"{path.relative_to(HERE)}: {name} is no metric of docs/metrics.md and no recorded one"


def words(path):
    """The expressions of a board; all of a file of rules but its comments."""
    text = path.read_text()
    if path.suffix != ".json":
        return re.sub(r"(?m)^ *#.*$", "", text)
    board = json.loads(text)
    variables = [variable["query"]["query"] for variable in board["templating"]["list"] if variable["type"] == "query"]
    annotations = [annotation.get("expr", "") for annotation in board["annotations"]["list"]]
    return " ".join(variables + annotations + [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])])


def alerts():
    rules = (HERE / "rules/alerts.rules.yml").read_text()
    cases = "".join(path.read_text() for path in sorted(HERE.glob("rules/tests/*.yml")))
    headings = re.findall(r"^### (Anofpdm\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    parts = re.split(r"(?m)^      - alert: (\w+)$", rules)
    names = parts[1::2]
    for name, body in zip(names, parts[2::2]):
        if f"runbook_url: docs/operate.md#{name.lower()}\n" not in body:
            yield f"{name}: runbook_url is not docs/operate.md#{name.lower()}"
        severity = re.search(r"severity: (\w+)", body)
        if not severity or severity[1] not in SEVERITIES:
            yield f"{name}: severity is none of {', '.join(sorted(SEVERITIES))}"
        if not re.search(r'summary: ".*\$value.*"', body):
            yield f"{name}: the summary does not say the value"
        if not re.search(rf"alertname: {name}, exp_alerts: \[\]", cases):
            yield f"{name}: no case in rules/tests in which it is silent"
        if not re.search(rf"alertname: {name}\n +exp_alerts:\n +- exp_labels", cases):
            yield f"{name}: no case in rules/tests in which it fires"
    for name in sorted(set(names) ^ set(headings)):
        yield f"{name}: a heading in docs/operate.md and no alert, or the other way round"
    for name in sorted(name for name in set(headings) if headings.count(name) > 1):
        yield f"{name}: two headings in docs/operate.md"


def listed():
    """Files that deploy/README.md does not name."""
    text = (HERE.parent / "README.md").read_text()
    tracked = subprocess.run(["git", "ls-files", "."], cwd=HERE, capture_output=True, text=True, check=False).stdout.split()
    for name in tracked:
        folders = [f"`monitoring/{parent}/`" for parent in Path(name).parents if parent != Path(".")]
        if f"`monitoring/{name}`" not in text and not any(folder in text for folder in folders):
            yield f"monitoring/{name} is not in deploy/README.md"


def promtool():
    if not shutil.which("promtool"):
        print("check_files: skipped: no promtool here; scripts/need.sh prometheus installs it")
        return
    rules, cases = sorted(HERE.glob("rules/*.rules.yml")), sorted(HERE.glob("rules/tests/*.yml"))
    commands = [["promtool", "check", "config", "prometheus.yml"], ["promtool", "check", "rules", *rules], ["promtool", "test", "rules", *cases]]
    if shutil.which("amtool"):
        commands.append(["amtool", "check-config", "alertmanager.yml"])
    for command in commands:
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
        if done.returncode:
            yield f"{' '.join(map(str, command[:3]))}: {done.stdout}{done.stderr}"


def main():
    wrong = [text for check in (dashboards, metrics, alerts, listed, promtool) for text in check()]
    for text in wrong:
        print(f"check_files: {text}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
