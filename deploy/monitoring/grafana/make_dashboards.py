#!/usr/bin/env python3
"""Writes Grafana's dashboards: make_dashboards.py [--check] [FOLDER].

What stands on a board is in boards.py, as a table; how that becomes Grafana's JSON is here. Needs Python alone.
FOLDER is dashboards/ beside this file. With --check nothing is written, and the exit code says whether the files are
what would be.
"""

import json
import sys
from pathlib import Path

import boards

HERE = Path(__file__).resolve().parent
WIDTH = 24  # columns of Grafana's grid
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLOURS = {"ok": "green", "look": "orange", "bad": "red", "plain": "text"}

# What boards.py may write in an expression, and what Prometheus gets.
SHORT = {
    # Series of the coordinators of the runs chosen above.
    "<run>": 'run=~"$run"',
    # Workers do not know their runs' names; the coordinator names its workers.
    "<theirs>": 'and on (worker) anofpdm_worker_info{run=~"$run"}',
    # Of the workers chosen above, which are among those.
    "<worker>": 'worker=~"$worker"',
    "<rate>": "$__rate_interval",
    "<range>": "$__range",
    "<step>": "$__interval",
}


def expression(text):
    for short, long in SHORT.items():
        text = text.replace(short, long)
    return " ".join(text.split())


def target(number, legend, expr, **more):
    return {
        "datasource": SOURCE,
        "refId": chr(ord("A") + number),
        "expr": expression(expr),
        "legendFormat": legend,
        "editorMode": "code",
        "range": not more.get("instant", False),
        **more,
    }


def stat(panel):
    steps = panel.get("steps", [("plain", None)])
    return {
        "options": {
            "colorMode": "none" if "steps" not in panel else "value",
            "graphMode": "area",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": "value",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
        "defaults": {
            "noValue": "-",
            "thresholds": {
                "mode": "absolute",
                "steps": [{"color": COLOURS[colour], "value": value} for colour, value in steps],
            },
        },
    }


def series(panel):
    stacked = panel.get("stack", False)
    return {
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "defaults": {
            "custom": {
                "drawStyle": "line",
                "lineWidth": 1,
                "fillOpacity": 60 if stacked else 8,
                "showPoints": "auto",
                "spanNulls": False,
                "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
            },
        },
    }


def heatmap(panel):
    return {
        "target": {"format": "heatmap"},
        "options": {
            "calculate": False,
            "cellGap": 1,
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "fill": "dark-orange", "reverse": False},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "showValue": "never",
            "tooltip": {"mode": "single", "yHistogram": False},
            "yAxis": {"axisPlacement": "left", "unit": panel["unit"]},
        },
        "defaults": {},
    }


def bars(panel):
    return {
        "target": {"instant": True},
        "options": {
            "displayMode": "basic",
            "minVizHeight": 16,
            "minVizWidth": 8,
            "namePlacement": "auto",
            "orientation": "horizontal",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "showUnfilled": True,
            "sizing": "auto",
            "valueMode": "color",
        },
        "defaults": {"thresholds": {"mode": "absolute", "steps": [{"color": "blue", "value": None}]}},
    }


def table(panel):
    names = {f"Value #{chr(ord('A') + number)}": legend for number, (legend, _) in enumerate(panel["queries"])}
    units = panel.get("units", {})
    return {
        "target": {"instant": True, "format": "table"},
        "options": {"cellHeight": "sm", "footer": {"countRows": False, "fields": "", "reducer": ["sum"], "show": False}, "showHeader": True},
        "defaults": {},
        # One row of all queries for each combination of labels; then the names that a person reads.
        "transformations": [
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": {name: True for name in ["Time", *panel.get("hide", [])]},
                    "indexByName": {name: place for place, name in enumerate([*panel["labels"], *names])},
                    "renameByName": names,
                },
            },
        ],
        "overrides": [
            {"matcher": {"id": "byName", "options": name}, "properties": [{"id": "unit", "value": unit}]}
            for name, unit in units.items()
        ],
    }


KINDS = {"stat": stat, "series": series, "heatmap": heatmap, "bars": bars, "table": table}
TYPES = {"stat": "stat", "series": "timeseries", "heatmap": "heatmap", "bars": "bargauge", "table": "table"}
SIZES = {"stat": (3, 4), "series": (8, 8), "heatmap": (8, 8), "bars": (8, 8), "table": (24, 8)}


def panels(rows):
    """The panels of a board from left to right and from top to bottom."""
    made, x, y, height = [], 0, 0, 0
    for row in rows:
        if row["kind"] == "row":
            y, x, height = y + height, 0, 0
            place = {"x": 0, "y": y, "w": WIDTH, "h": 1}
            made.append({"type": "row", "title": row["title"], "collapsed": False, "panels": [], "gridPos": place})
            y += 1
        else:
            width, tall = row.get("size") or SIZES[row["kind"]]
            if x + width > WIDTH:
                y, x, height = y + height, 0, 0
            made.append(panel(row, {"x": x, "y": y, "w": width, "h": tall}))
            x, height = x + width, max(height, tall)
    return [{"id": number, **each} for number, each in enumerate(made, 1)]


def panel(row, place):
    form = KINDS[row["kind"]](row)
    more = form.get("target", {})
    defaults = {"unit": row["unit"], "custom": {}, **form["defaults"]}
    defaults.update({key: row[key] for key in ("min", "max", "decimals") if row.get(key) is not None})
    made = {
        "type": TYPES[row["kind"]],
        "title": row["title"],
        "description": row["says"],
        "datasource": SOURCE,
        "gridPos": place,
        "targets": [target(number, legend, expr, **more) for number, (legend, expr) in enumerate(row["queries"])],
        "fieldConfig": {"defaults": defaults, "overrides": form.get("overrides", [])},
        "options": form["options"],
    }
    if "transformations" in form:
        made["transformations"] = form["transformations"]
    return made


def variable(name, label, query):
    """One of which several values can be chosen, all of them at first."""
    query = expression(query)
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": "StandardVariableQuery"},
        "refresh": 2,  # with the time range: runs come and go
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "sort": 1,
        "regex": "",
        "hide": 0,
        "options": [],
        "skipUrlSync": False,
    }


def datasource():
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "current": {},
        "skipUrlSync": False,
    }


def annotation(name, colour, title, expr):
    return {
        "name": name,
        "datasource": SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": colour,
        "expr": expression(expr),
        "titleFormat": title,
        "step": "15s",
    }


BUILT_IN = {
    "builtIn": 1,
    "datasource": {"type": "grafana", "uid": "-- Grafana --"},
    "enable": True,
    "hide": True,
    "iconColor": "rgba(0, 211, 255, 1)",
    "name": "Annotations & Alerts",
    "type": "dashboard",
}


def dashboard(board):
    link = {
        "type": "dashboards",
        "title": "anofpdm",
        "tags": ["anofpdm"],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }
    return {
        "uid": f"anofpdm-{board['name']}",
        "title": f"anofpdm / {board['title']}",
        "description": board["says"],
        "tags": ["anofpdm"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "15s",
        "fiscalYearStartMonth": 0,
        "weekStart": "",
        "time": {"from": "now-3h", "to": "now"},
        "timepicker": {},
        "links": [link],
        "templating": {"list": [datasource(), *(variable(*each) for each in board["variables"])]},
        "annotations": {"list": [BUILT_IN, *(annotation(*each) for each in boards.ANNOTATIONS)]},
        "panels": panels(board["rows"]),
    }


def main(arguments):
    check = "--check" in arguments
    folders = [argument for argument in arguments if argument != "--check"]
    folder = Path(folders[0]) if folders else HERE / "dashboards"
    files = {f"{board['name']}.json": json.dumps(dashboard(board), indent=2) + "\n" for board in boards.BOARDS}
    if check:
        there = {path.name: path.read_text() for path in folder.glob("*.json")}
        wrong = sorted(name for name in files.keys() | there.keys() if files.get(name) != there.get(name))
        if wrong:
            print(f"{folder}: {', '.join(wrong)} is not what make_dashboards.py writes; run it", file=sys.stderr)
        return 1 if wrong else 0
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
