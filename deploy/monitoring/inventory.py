"""Which metrics there are: those of docs/metrics.md, and what comes from others."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

# Prometheus' own, the Redis exporter's, and what the rules record.
OTHERS = re.compile(r"up|ALERTS|redis_[a-z_]+|(run|worker):anofpdm_[a-z_]+:[a-z_0-9]+")


def types():
    """{name: counter, gauge or histogram} of our own metrics."""
    text = (REPOSITORY / "docs/metrics.md").read_text()
    return dict(re.findall(r"^\| `(anofpdm_\w+)` \| (\w+) \|", text, re.MULTILINE))


def kind_of(name, ours):
    """Counter or gauge, whichever a series of this name is; None where nobody has it."""
    if name in ours and ours[name] != "histogram":
        return ours[name]
    whole = re.sub(r"_(bucket|sum|count)$", "", name)
    if ours.get(whole) == "histogram" and whole != name:
        return "counter"
    if OTHERS.fullmatch(name):
        return "counter" if name.endswith("_total") else "gauge"
    return None
