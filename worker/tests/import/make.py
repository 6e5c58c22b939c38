"""Checkpoints as PyTorch writes them, for the import tests: make.py SHAPES.json OUT

SHAPES.json: {network: {tensor name: shape}}. Value k of tensor i (in name order) is
((37 k + 11 i) mod 251 - 125) / 1000.
The files in fixtures/ (gzip) were made by PyTorch 2.11 from the shapes that the test writes; the one in f64 is
left out for its size.
"""

import json
import os
import sys
from collections import OrderedDict

import torch

shapes = json.load(open(sys.argv[1]))
out = sys.argv[2]


def values(shape, i):
    count = 1
    for size in shape:
        count *= size
    k = torch.arange(count, dtype=torch.int64)
    return (((37 * k + 11 * i) % 251 - 125).to(torch.float64) / 1000).to(torch.float32).reshape(shape)


def weights(network, change=lambda tensor: tensor, prefix=""):
    names = sorted(shapes[network])
    state = OrderedDict((prefix + name, change(values(shapes[network][name], i))) for i, name in enumerate(names))
    # As Module.state_dict() leaves it.
    state._metadata = OrderedDict([("", {"version": 1})])
    return state


def save(name, value, zipped=True):
    torch.save(value, os.path.join(out, name), _use_new_zipfile_serialization=zipped)


def strided(tensor):
    if tensor.dim() != 2:
        return tensor
    return tensor.t().contiguous().t()


def wrong(state):
    state["middle_block.0.out_layers.3.weight"] = torch.zeros(32, 32, 1, 1)
    return state


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile-was-run",)


save("v2-zip-f32.pt", weights("v2", strided))
save("v1-zip-bf16-wrapped.pt", {"state_dict": weights("v1", torch.Tensor.bfloat16), "epoch": 3, "lr": 1e-4})
ema = weights("conditional", torch.Tensor.half)
model = OrderedDict((name, -ema[name]) for name in list(ema)[:3])
save("conditional-legacy-f16-ema.pt", {"model": model, "ema": ema}, zipped=False)
save("classifier-zip-f32-module.pt", weights("classifier", prefix="module."))
save("v2-zip-f64.pt", weights("v2", torch.Tensor.double))
save("v2-zip-wrong-shape.pt", wrong(weights("v2", torch.Tensor.half)))
hostile = OrderedDict(list(weights("v2").items())[:3])
hostile["out.2.bias"] = Hostile()
save("hostile-zip.pt", hostile)
save("hostile-legacy.pt", hostile, zipped=False)
