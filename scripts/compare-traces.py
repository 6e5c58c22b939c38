"""Compares two trace files of `anofpdm-worker trace`, tensor by tensor. Standard library only.

    python3 scripts/compare-traces.py A.safetensors B.safetensors
"""

import array
import json
import struct
import sys

KINDS = {"F32": "f", "I64": "q", "U8": "B"}


def load(path):
    """The tensors of a safetensors file by name, flat."""
    with open(path, "rb") as file:
        raw = file.read()
    length = struct.unpack("<Q", raw[:8])[0]
    base = 8 + length
    tensors = {}
    for name, entry in json.loads(raw[8:base]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            tensors[name] = array.array(KINDS[entry["dtype"]], raw[base + begin : base + end])
    return tensors


def main():
    first, second = load(sys.argv[1]), load(sys.argv[2])
    if first.keys() != second.keys():
        sys.exit(f"not the same tensors: {sorted(first.keys() ^ second.keys())}")
    for name in sorted(first):
        ours, theirs = first[name], second[name]
        largest = max((abs(x) for x in ours if x == x), default=0)
        # NaN where both are NaN is no difference.
        pairs = [(x, y) for x, y in zip(ours, theirs) if x == x or y == y]
        difference = max((abs(x - y) for x, y in pairs), default=0)
        differing = sum(x != y for x, y in pairs)
        print(f"{name:40} largest {largest:.3e}  max difference {difference:.3e}  differing {differing} of {len(ours)}")


if __name__ == "__main__":
    main()
