"""Asks a Prometheus server what a dashboard would ask it."""

import json
import math
import re
import urllib.error
import urllib.parse
import urllib.request


class Prometheus:
    """A server, and the time for which it is asked: `start` to `end`, Unix seconds."""

    def __init__(self, url, start, end):
        self.url, self.start, self.end = url.rstrip("/"), start, end
        # A hundred and fifty points are enough for a panel.
        self.step = max(1.0, round((end - start) / 150, 1))
        settings = self.get("status/config")["yaml"]
        self.scrape = duration(re.search(r"scrape_interval: (\S+)", settings)[1])

    def get(self, path, **arguments):
        query = urllib.parse.urlencode(arguments, doseq=True)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=60) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error).get("error", str(error))) from error

    def fill(self, expression):
        """As Grafana sends it: with the values of its own variables, and everything chosen in ours."""
        step = f"{max(1, math.ceil(self.step))}s"
        values = {
            "$__rate_interval": f"{math.ceil(max(self.step + self.scrape, 4 * self.scrape, 10))}s",
            "$__interval": step,
            "$__range": f"{math.ceil(self.end - self.start)}s",
            "$run": ".*",
            "$worker": ".*",
        }
        for name in sorted(values, key=len, reverse=True):
            expression = expression.replace(name, values[name])
        return expression

    def over_time(self, expression):
        """[(labels, [(time, value)])] between start and end; points that are no number are left out."""
        found = self.get("query_range", query=self.fill(expression), start=self.start, end=self.end, step=self.step)
        lines = ((each["metric"], points(each["values"])) for each in found["result"])
        return [(labels, line) for labels, line in lines if line]

    def at(self, expression, time):
        """[(labels, value)] at a time; what is no number is left out."""
        found = self.get("query", query=self.fill(expression), time=time)["result"]
        values = ((each["metric"], points([each["value"]])) for each in found)
        return [(labels, line[0][1]) for labels, line in values if line]

    def label_values(self, label, series):
        return self.get(f"label/{label}/values", **{"match[]": self.fill(series), "start": self.start, "end": self.end})


def points(values):
    numbers = ((float(time), float(value)) for time, value in values)
    return [(time, value) for time, value in numbers if math.isfinite(value)]


def duration(text):
    """Seconds of a duration as Prometheus writes it: 90s, 1m30s, 2h."""
    units = {"ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"(\d+)(ms|[smhd])", text))
