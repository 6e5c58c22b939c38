"""Whether Grafana knows every key of a dashboard: it is read into Grafana's own types and written again, and what is lost
on the way is a key it does not know. Values of enumerations are not checked by that."""

import json

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

# What Grafana itself writes into its files and its published types leave out.
LEFT_OUT = {"builtIn", "definition", "namePlacement", "sizing", "step", "titleFormat", "tooltip.mode"}

plugins.register_default_plugins()


def unknown(board):
    """Places of a board that Grafana's types do not keep."""
    kept = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(board)))
    for path, _ in lost(board, kept, ()):
        if path[-1] not in LEFT_OUT and ".".join(map(str, path[-2:])) not in LEFT_OUT:
            yield ".".join(map(str, path))


def lost(before, after, path):
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key in after:
                yield from lost(value, after[key], (*path, key))
            else:
                yield (*path, key), value
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (one, other) in enumerate(zip(before, after)):
            yield from lost(one, other, (*path, place))
    elif before != after:
        yield path, before
