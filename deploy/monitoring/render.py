#!/usr/bin/env python3
"""Draws dashboards from a live Prometheus, where there is no Grafana to draw them.

    render.py PROMETHEUS_URL FROM TO FOLDER BOARD.json...        FROM and TO are Unix seconds

Writes FOLDER/NAME.png for each NAME.json: the same grid, queries, legends, units and thresholds. It is no Grafana: what
a person would do with the mouse is not there.
"""

import json
import re
import sys
from datetime import datetime
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.dates as dates
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyBboxPatch

from prometheus_http import Prometheus

TEXT, DIM, PAGE, PANEL, LINE = "#d8d9da", "#8e9297", "#111217", "#181b1f", "#2c3036"
PALETTE = ["#73bf69", "#5794f2", "#ff9830", "#b877d9", "#f2cc0c", "#f2495c", "#8ab8ff", "#ffb357", "#37872d", "#c4162a", "#a352cc", "#c0d8ff"]
NAMED = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c", "blue": "#5794f2", "purple": "#b877d9", "text": TEXT}
UNIT = 30 / 72  # inches of one row of the grid
WIDTH = 20.0  # inches
HEAD = 0.7  # inches above the first panel


def number(value):
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def seconds(value):
    for size, name in ((3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms")):
        if abs(value) >= size:
            return f"{value / size:.3g} {name}"
    return f"{value * 1e6:.3g} µs" if value else "0 s"


def scaled(value, name, base=1000.0):
    for power, letter in ((4, "T"), (3, "G"), (2, "M"), (1, "k")):
        if abs(value) >= base**power:
            return f"{value / base**power:.3g} {letter}{name}"
    return f"{value:.3g} {name}"


def shown(value, unit):
    """A value as Grafana writes it in this unit."""
    forms = {
        "percentunit": lambda v: f"{100 * v:.3g}%",
        "s": seconds,
        "dtdurations": seconds,
        "h": lambda v: seconds(3600 * v),
        "bytes": lambda v: scaled(v, "B", 1024.0),
        "watt": lambda v: scaled(v, "W"),
        "joule": lambda v: scaled(v, "J"),
    }
    return forms.get(unit, number)(value)


def legend(form, labels, query):
    if not form:
        return ""
    text = re.sub(r"{{ *(\w+) *}}", lambda found: labels.get(found[1], ""), form).strip()
    return text or query


def when(time):
    return datetime.fromtimestamp(time)


class Drawing:
    """One board on one sheet."""

    def __init__(self, server, board):
        self.server, self.board = server, board
        rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
        self.height = HEAD + rows * UNIT + 0.15
        self.figure = plt.figure(figsize=(WIDTH, self.height), facecolor=PAGE, dpi=75)
        until = f"{when(server.start):%Y-%m-%d %H:%M:%S} to {when(server.end):%H:%M:%S}"
        self.text(0.12, 0.28, board["title"], size=15, weight="bold")
        self.text(0.12, 0.54, f"{until}   {board['description']}", size=9, color=DIM)
        self.marks = []
        for annotation in board["annotations"]["list"]:
            if "expr" in annotation:
                colour = NAMED[annotation["iconColor"]]
                self.marks += [(line[0][0], colour) for _, line in server.over_time(annotation["expr"])]

    def text(self, x, y, text, **style):
        """Text at inches from the upper left corner."""
        style.setdefault("color", TEXT)
        self.figure.text(x / WIDTH, 1 - y / self.height, text, va="center", **style)

    def axes(self, x, y, width, height):
        """Axes whose upper left corner is there, in inches."""
        axes = self.figure.add_axes([x / WIDTH, 1 - (y + height) / self.height, width / WIDTH, height / self.height], facecolor=PANEL)
        for edge in axes.spines.values():
            edge.set_visible(False)
        axes.tick_params(colors=DIM, labelsize=8, length=0)
        axes.grid(color=LINE, lw=0.6)
        axes.set_axisbelow(True)
        return axes

    def panel(self, panel):
        place = panel["gridPos"]
        x, y = place["x"] * WIDTH / 24, HEAD + place["y"] * UNIT
        width, height = place["w"] * WIDTH / 24, place["h"] * UNIT
        if panel["type"] == "row":
            self.text(x + 0.12, y + height / 2, panel["title"], size=11, weight="bold")
            return
        corner = ((x + 0.04) / WIDTH, 1 - (y + height - 0.04) / self.height)
        size = ((width - 0.08) / WIDTH, (height - 0.08) / self.height)
        self.figure.patches.append(
            FancyBboxPatch(corner, *size, boxstyle="square,pad=0", transform=self.figure.transFigure, facecolor=PANEL, edgecolor=LINE, zorder=-10)
        )
        self.text(x + 0.14, y + 0.2, panel["title"], size=10)
        draw = {"stat": self.stat, "timeseries": self.series, "heatmap": self.heatmap, "bargauge": self.bars, "table": self.table}
        draw[panel["type"]](panel, x, y, width, height)

    def stat(self, panel, x, y, width, height):
        found = self.server.over_time(panel["targets"][0]["expr"])
        defaults = panel["fieldConfig"]["defaults"]
        if not found:
            self.text(x + width / 2, y + height * 0.55, defaults["noValue"], size=22, ha="center")
            return
        line = found[0][1]
        value = line[-1][1]
        colour = TEXT
        if panel["options"]["colorMode"] == "value":
            for step in defaults["thresholds"]["steps"]:
                if step["value"] is None or value >= step["value"]:
                    colour = NAMED[step["color"]]
        axes = self.axes(x + 0.06, y + height * 0.66, width - 0.12, height * 0.3)
        axes.axis("off")
        axes.set_xlim(self.server.start, self.server.end)
        times, values = zip(*line)
        axes.fill_between(times, values, min(0, *values) if len(values) > 1 else 0, color=NAMED["blue"], alpha=0.25)
        axes.plot(times, values, color=NAMED["blue"], lw=1)
        value = round(value, defaults["decimals"]) if "decimals" in defaults else value
        self.text(x + width / 2, y + height * 0.5, shown(value, defaults["unit"]), size=22, ha="center", weight="bold", color=colour)

    def lines(self, panel):
        """[(legend, times, values)] of a panel, gaps where there is nothing."""
        lines = []
        for target in panel["targets"]:
            for labels, line in self.server.over_time(target["expr"]):
                times, values = [], []
                for time, value in line:
                    if times and time - times[-1] > 1.5 * self.server.step:
                        times.append(times[-1] + self.server.step)
                        values.append(float("nan"))
                    times.append(time)
                    values.append(value)
                lines.append((legend(target["legendFormat"], labels, target["expr"]), times, values))
        return sorted(lines, key=lambda line: line[0])

    def series(self, panel, x, y, width, height):
        axes = self.axes(x + 0.75, y + 0.42, width - 0.95, height - 1.12)
        lines, defaults = self.lines(panel), panel["fieldConfig"]["defaults"]
        if defaults["custom"]["stacking"]["mode"] == "normal":
            times = np.arange(self.server.start, self.server.end, self.server.step)
            below = np.zeros(len(times))
            for number_, (_, at, values) in enumerate(lines):
                here = np.interp(times, at, np.nan_to_num(values), left=0, right=0)
                axes.fill_between([when(t) for t in times], below, below + here, color=PALETTE[number_ % 12], alpha=0.65, lw=0)
                below = below + here
        else:
            for number_, (_, at, values) in enumerate(lines):
                single = {"marker": "o", "markersize": 3} if len(at) < 3 else {}
                axes.plot([when(t) for t in at], values, color=PALETTE[number_ % 12], lw=1.3, **single)
        self.time_axis(axes)
        # Room above, as a line at the edge cannot be seen.
        low = defaults.get("min", axes.get_ylim()[0])
        highest = max((value for _, _, values in lines for value in values if value == value), default=0)
        axes.set_ylim(low, 1.02 * defaults.get("max", axes.get_ylim()[1] if highest > 0 else 1))
        axes.yaxis.set_major_locator(plt.MaxNLocator(5))
        axes.yaxis.set_major_formatter(lambda value, _: shown(value, defaults["unit"]))
        for time, colour in self.marks:
            axes.axvline(when(time), color=colour, lw=0.8, ls=":", alpha=0.7)
        if not lines:
            self.text(x + width / 2, y + height / 2, "no data", ha="center", color=DIM)
        self.legends([name for name, _, _ in lines], x + 0.14, y + height - 0.36, width - 0.3)

    def legends(self, names, x, y, width):
        """In two lines; what does not fit is counted."""
        left, line = x, 0
        for number_, name in enumerate(names):
            name = name if len(name) < 34 else name[:32] + "…"
            needed = 0.3 + 0.075 * len(name)
            if left + needed > x + width:
                left, line = x, line + 1
                if line == 2:
                    self.text(x + width, y, f"+{len(names) - number_}", size=8, color=DIM, ha="right")
                    return
            self.text(left, y + 0.18 * line, "▬", size=8, color=PALETTE[number_ % 12])
            self.text(left + 0.16, y + 0.18 * line, name, size=8)
            left += needed

    def time_axis(self, axes):
        axes.set_xlim(when(self.server.start), when(self.server.end))
        axes.xaxis.set_major_locator(plt.MaxNLocator(5))
        axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M:%S"))

    def heatmap(self, panel, x, y, width, height):
        axes = self.axes(x + 0.85, y + 0.42, width - 1.05, height - 0.85)
        buckets = sorted((float(labels["le"]), dict(line)) for labels, line in self.server.over_time(panel["targets"][0]["expr"]) if "le" in labels)
        times = sorted({time for _, line in buckets for time in line})
        if not times:
            return
        counts = np.array([[line.get(time, 0) for time in times] for _, line in buckets])
        counts[1:] -= counts[:-1].copy()
        # Rows that nothing falls into, above and below, are left out.
        rows = np.nonzero((counts > 1e-9).any(axis=1))[0]
        if not len(rows):
            return
        kept = slice(max(0, rows[0] - 1), min(len(buckets), rows[-1] + 2))
        counts, edges = counts[kept], [edge for edge, _ in buckets[kept]]
        counts = np.ma.masked_less_equal(counts, 1e-9)
        axes.pcolormesh([when(t) for t in times], range(len(edges)), counts, cmap="Oranges", shading="nearest")
        every = max(1, len(edges) // 8)
        axes.set_yticks(range(0, len(edges), every))
        axes.set_yticklabels(["more" if np.isinf(edge) else shown(edge, panel["fieldConfig"]["defaults"]["unit"]) for edge in edges[::every]])
        axes.grid(False)
        self.time_axis(axes)

    def bars(self, panel, x, y, width, height):
        target, defaults = panel["targets"][0], panel["fieldConfig"]["defaults"]
        found = sorted((legend(target["legendFormat"], labels, ""), value) for labels, value in self.server.at(target["expr"], self.server.end))
        axes = self.axes(x + 0.1, y + 0.42, width - 0.2, height - 0.55)
        axes.axis("off")
        most = defaults.get("max") or max((value for _, value in found), default=1) or 1
        axes.set_xlim(-0.62, 1.16)
        axes.set_ylim(len(found) - 0.4, -0.6)
        for row, (name, value) in enumerate(found):
            axes.barh(row, 1, color=LINE, height=0.5)
            axes.barh(row, value / most, color=NAMED["blue"], height=0.5)
            axes.text(-0.02, row, name, color=TEXT, size=8.5, ha="right", va="center")
            axes.text(1.02, row, shown(value, defaults["unit"]), color=TEXT, size=8.5, va="center")

    def table(self, panel, x, y, width, height):
        organised = panel["transformations"][1]["options"]
        heads = [organised["renameByName"].get(name, name) for name in organised["indexByName"]]
        units = {each["matcher"]["options"]: each["properties"][0]["value"] for each in panel["fieldConfig"]["overrides"]}
        rows = []
        # The query with the most labels makes the rows, others add to those whose labels they share.
        targets = [(target, self.server.at(target["expr"], self.server.end)) for target in panel["targets"]]
        for target, found in sorted(targets, key=lambda each: -max((len(labels) for labels, _ in each[1]), default=0)):
            name = target["legendFormat"]
            for labels, value in found:
                fits = [row for row in rows if all(row.get(label, text) == text for label, text in labels.items())]
                if not fits:
                    fits = [dict(labels)]
                    rows += fits
                for row in fits:
                    row.update(labels)
                    row[name] = shown(value, units.get(name, "short"))
        rows.sort(key=lambda row: [row.get(head, "") for head in heads])
        columns = np.linspace(x + 0.2, x + width, len(heads) + 1)
        for column, head in zip(columns, heads):
            self.text(column, y + 0.52, head, size=9, color=NAMED["blue"])
        for place, row in enumerate(rows):
            down = y + 0.84 + 0.28 * place
            if down > y + height - 0.2:
                self.text(x + width - 0.2, y + height - 0.18, f"+{len(rows) - place}", size=8, color=DIM, ha="right")
                break
            for column, head in zip(columns, heads):
                self.text(column, down, row.get(head, ""), size=9)


def render(server, path, folder):
    board = json.loads(Path(path).read_text())
    drawing = Drawing(server, board)
    for panel in board["panels"]:
        drawing.panel(panel)
    picture = Path(folder) / f"{Path(path).stem}.png"
    drawing.figure.savefig(picture, facecolor=PAGE)
    plt.close(drawing.figure)
    return picture


if __name__ == "__main__":
    if len(sys.argv) < 6:
        sys.exit(__doc__)
    source = Prometheus(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
    for board_path in sys.argv[5:]:
        print(f"  {render(source, board_path, sys.argv[4])}")
