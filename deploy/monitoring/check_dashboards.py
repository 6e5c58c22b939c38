#!/usr/bin/env python3
"""Runs every query of dashboards on a Prometheus that has seen a run.

    check_dashboards.py PROMETHEUS_URL FROM TO BOARD.json...        FROM and TO are Unix seconds

Each query of each panel, variable and annotation must give data at some moment between the two, name only metrics of
docs/metrics.md (or what comes with Prometheus and the Redis exporter), read counters through rate or increase, and give
at most 200 series. Beside that the rules of layout hold, and Grafana knows every key. Exit code 1 where one does not, and what is wrong on stdout.
"""

import json
import re
import sys

import promql_parser

import inventory
from prometheus_http import Prometheus

try:
    import check_schema
except ImportError:
    # Grafana's types want Python 3.11.
    check_schema = None

MOST_SERIES = 200
# What a panel may measure a rate over: Grafana's own windows follow scrape interval and time range.
WINDOWS = {"$__rate_interval", "$__range", "$__interval"}


def selectors(expression):
    """Each selection of series in an expression, and the innermost function around it."""

    def walk(node, function):
        if isinstance(node, promql_parser.VectorSelector):
            yield node.name, function
        elif isinstance(node, promql_parser.MatrixSelector):
            yield from walk(node.vector_selector, function)
        elif isinstance(node, promql_parser.Call):
            for argument in node.args:
                yield from walk(argument, node.func.name)
        else:
            for part in ("lhs", "rhs", "expr", "param"):
                below = getattr(node, part, None)
                if below is not None and not isinstance(below, (str, float, int)):
                    yield from walk(below, function)

    yield from walk(promql_parser.parse(expression), None)


class Check:
    def __init__(self, server):
        self.server, self.types = server, inventory.types()
        self.queries, self.wrong = 0, []

    def complain(self, place, text):
        self.wrong.append(f"{place}: {text}")

    def query(self, place, expression):
        self.queries += 1
        try:
            filled = self.server.fill(expression)
            for name, function in selectors(filled):
                kind = inventory.kind_of(name, self.types)
                if kind is None:
                    self.complain(place, f"{name} is no metric of docs/metrics.md")
                elif kind == "counter" and function not in ("rate", "increase"):
                    self.complain(place, f"{name} is a counter and wants rate or increase")
            found = self.server.over_time(expression)
        except ValueError as error:
            self.complain(place, f"{error} in {expression}")
            return
        if not found:
            self.complain(place, f"no data: {expression}")
        if len(found) > MOST_SERIES:
            self.complain(place, f"{len(found)} series: {expression}")

    def variable(self, place, variable):
        if variable["type"] != "query":
            return
        self.queries += 1
        series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()
        name = re.match(r"\w+", series)[0]
        if inventory.kind_of(name, self.types) is None:
            self.complain(place, f"{name} is no metric of docs/metrics.md")
        if not self.server.label_values(label, series):
            self.complain(place, f"no value: {variable['query']['query']}")

    def board(self, board):
        title = board["title"]
        for variable in board["templating"]["list"]:
            self.variable(f"{title}, variable {variable['name']}", variable)
        for annotation in board["annotations"]["list"]:
            if "expr" in annotation:
                self.query(f"{title}, annotation {annotation['name']}", annotation["expr"])
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                self.query(f"{title}, {panel['title']}", target["expr"])
                for window in re.findall(r"\[([^\]:]+)", target["expr"]):
                    if window not in WINDOWS:
                        self.complain(f"{title}, {panel['title']}", f"window {window} does not follow the time range")
        for place, text in layout(board):
            self.complain(f"{title}, {place}", text)
        for key in check_schema.unknown(board) if check_schema else ():
            self.complain(title, f"Grafana does not know {key}")


def layout(board):
    """What is wrong with a board as such."""
    if board["editable"] or "id" in board or "__inputs" in board:
        yield "board", "a provisioned board is not editable, and has neither id nor __inputs"
    if not board["uid"] or "anofpdm" not in board["tags"] or not board["description"]:
        yield "board", "uid, tag anofpdm or description is missing"
    for variable in board["templating"]["list"]:
        if variable["type"] == "query" and variable["refresh"] != 2:
            yield variable["name"], "is not read again when the time range changes"
    taken, titles = {}, set()
    for panel in board["panels"]:
        name, place = panel["title"], panel["gridPos"]
        if place["x"] + place["w"] > 24:
            yield name, "is wider than the board"
        for cell in ((x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])):
            if taken.setdefault(cell, name) != name:
                yield name, f"lies on {taken[cell]}"
                break
        if panel["type"] == "row":
            continue
        if (name, panel["type"]) in titles:
            yield name, "stands there twice"
        titles.add((name, panel["type"]))
        if not name or not panel["description"] or not panel["fieldConfig"]["defaults"].get("unit"):
            yield name, "title, description or unit is missing"
        sources = [panel["datasource"]["uid"], *(target["datasource"]["uid"] for target in panel["targets"])]
        if set(sources) != {"${datasource}"}:
            yield name, "asks another data source than the one that is chosen"
    if len({panel["id"] for panel in board["panels"]}) != len(board["panels"]):
        yield "board", "two panels have one id"


def read(path):
    with open(path) as file:
        return json.load(file)


def main(url, start, end, paths):
    check = Check(Prometheus(url, float(start), float(end)))
    for path in paths:
        check.board(read(path))
    for text in check.wrong:
        print(f"  wrong: {text}")
    print(f"  {check.queries} queries of {len(paths)} boards, {len(check.wrong)} complaints")
    return 1 if check.wrong else 0


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]))
