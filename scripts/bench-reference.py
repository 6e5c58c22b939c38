#!/usr/bin/env python3
"""Times the public Python reference's own loop against ours: same weights, slices, threads, in one sitting.

    git clone https://github.com/SoloChe/AnoFPDM reference && git -C reference checkout 94e838c
    python3 -m venv refvenv && refvenv/bin/pip install torch==2.11.0 numpy
    refvenv/bin/python scripts/bench-reference.py --checkout reference --config C.json [--network unet_v2] \\
        [--weights W.safetensors] --batch 2 --steps 3 --threads 2 > reference.json

The reference's loop is `calc_pred_xstart_loop` with deterministic encoding (four network evaluations a step, three in
the first). Ours is `anofpdm-worker bench`. First both walk the same slices with the same noise under our `reference`
semantics, and the largest difference of their predictions is printed: equal functions are timed, not similar ones.
Then each is timed `--rounds` times in turn; figures are medians. A step's time is that of K + 1 steps less that of
one, divided by K, so the cheaper first step does not flatter either.

A sweep of S strengths, `-ste` and three gradient maps is S + 4 runs of the reference and one pass of ours.
Nothing of the reference is copied: it is imported from --checkout. It needs `torch.utils.tensorboard` for a logger
that the loop does not use; an empty one stands in where tensorboard is not installed.
"""

import argparse
import json
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import types

HERE = pathlib.Path(__file__).resolve().parent


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", required=True, type=pathlib.Path, help="the public repository")
    parser.add_argument("--config", required=True, type=pathlib.Path, help="network configuration, as for bench")
    parser.add_argument("--network", help="which of several networks")
    parser.add_argument("--weights", type=pathlib.Path, help="safetensors [default: random ones]")
    parser.add_argument("--worker", type=pathlib.Path, default=HERE.parent / "target/release/anofpdm-worker")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3, help="K: steps timed, after the first")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--sweep", default="0.5,1,1.5,2,2.5,3,4,5,7,10", help="strengths of the sweep")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precisions", default="fp32,bf16", help="of ours")
    parser.add_argument("--semantics", default="paper-clipped,reference", help="of ours")
    return parser.parse_args()


KINDS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64", "I64": "int64", "U8": "uint8"}


def read_tensors(path, torch):
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        kind = getattr(torch, KINDS[entry["dtype"]])
        flat = torch.frombuffer(bytearray(raw[start:end]), dtype=kind) if end > start else torch.empty(0, dtype=kind)
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


def write_tensors(path, tensors):
    header, blobs, at = {}, [], 0
    for name, tensor in sorted(tensors.items()):
        blob = tensor.detach().float().contiguous().numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.writelines(blobs)


def reference(checkout, config, torch):
    """The public network and diffusion of `config`."""
    if "tensorboard" not in sys.modules:
        try:
            import tensorboard  # noqa: F401
        except ImportError:
            stand_in = types.ModuleType("torch.utils.tensorboard")
            stand_in.SummaryWriter = type("SummaryWriter", (), {})
            sys.modules["torch.utils.tensorboard"] = stand_in
    sys.path.insert(0, str(checkout))
    from guided_diffusion.script_util import create_gaussian_diffusion, create_model

    size = config["image_size"]
    model = create_model(
        size,
        config["num_channels"],
        config["num_res_blocks"],
        in_channels=config["in_channels"],
        channel_mult=",".join(str(m) for m in config["channel_mult"]),
        class_cond=True,
        attention_resolutions=",".join(str(size // rate) for rate in config["attention_downsample_rates"]),
        num_classes=config["num_classes"],
        num_heads=config["num_heads"],
        use_scale_shift_norm=True,
        unet_ver="v2",
        clf_free=True,
    )
    return model.eval(), create_gaussian_diffusion(steps=1000)


def main():
    args = arguments()
    # As `anofpdm run` starts its workers.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    torch.set_num_threads(args.threads)
    config = json.loads(args.config.read_text())
    if args.network:
        config = config[args.network]
    model, diffusion = reference(args.checkout, config, torch)
    folder = tempfile.TemporaryDirectory()
    weights = args.weights
    if weights:
        model.load_state_dict({name: tensor.float() for name, tensor in read_tensors(weights, torch).items()})
    else:
        # Fresh blocks end in zeros, which would hide them.
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.02)
        weights = pathlib.Path(folder.name) / "weights.safetensors"
        write_tensors(weights, model.state_dict())
    channels = config["in_channels"]
    modality = [0, 3] if channels == 4 else [0]
    torch.manual_seed(2)
    x0 = torch.rand(args.batch, channels, config["image_size"], config["image_size"]) * 2 - 1
    # A batch of one has no label axis there.
    healthy = torch.zeros(args.batch, dtype=torch.long)

    def walk(steps):
        torch.manual_seed(3)
        return diffusion.calc_pred_xstart_loop(
            model,
            x0,
            args.guidance,
            modality=modality,
            d_reverse=True,
            sample_steps=steps,
            model_kwargs={"y": healthy, "threshold": -1, "clf_free": True},
            model_kwargs_reverse={"threshold": -1, "clf_free": True, "null": True},
        )

    torch.manual_seed(3)
    noise = torch.randn_like(x0)

    common = ["--config", str(args.config)] + (["--network", args.network] if args.network else [])
    environment = dict(os.environ, ANOFPDM_LOG="warn")

    def compare():
        steps = min(args.steps, 3)
        given = walk(steps)
        inputs, out = (pathlib.Path(folder.name) / name for name in ("in.safetensors", "out.safetensors"))
        write_tensors(inputs, {"x0": x0, "noise": noise.unsqueeze(0)})
        command = [args.worker, "trace", *common, "--model", weights, "--input", inputs, "--out", out]
        command += ["--semantics", "reference", "--steps", steps, "--guidance", args.guidance]
        command += ["--modalities", ",".join(map(str, modality)), "--threads", args.threads]
        command += ["--keep", ",".join(map(str, range(steps)))]
        subprocess.run([str(word) for word in command], check=True, env=environment, stdout=sys.stderr)
        ours = read_tensors(out, torch)
        return {
            "steps": steps,
            "guided_x0": (given["xstart"] - ours["hgp_kept"]).abs().max().item(),
            "unguided_x0": (given["xstart_null"] - ours["ugp_kept"]).abs().max().item(),
        }

    def seconds(steps):
        start = time.perf_counter()
        walk(steps)
        return time.perf_counter() - start

    def bench(precision, semantics, guidance, variants=False):
        command = [args.worker, "bench", *common, "--weights", weights, "--json", "--batch", args.batch]
        command += ["--steps", args.steps + 1, "--repeats", 1, "--threads", args.threads, "--precision", precision]
        command += ["--semantics", semantics, "--guidance", guidance] + (["--variants"] if variants else [])
        done = subprocess.run([str(word) for word in command], check=True, env=environment, capture_output=True)
        return json.loads(done.stdout)["seconds_per_step"]

    difference = compare()
    sweep_runs = len(args.sweep.split(",")) + 4
    cases = [
        (f"{precision} {semantics}", precision, semantics)
        for precision in args.precisions.split(",")
        for semantics in args.semantics.split(",")
    ]
    times = {"reference": [], **{name: [] for name, _, _ in cases}, "sweep": []}
    seconds(1)
    for _ in range(args.rounds):
        times["reference"].append((seconds(args.steps + 1) - seconds(1)) / args.steps)
        for name, precision, semantics in cases:
            times[name].append(bench(precision, semantics, args.guidance))
        times["sweep"].append(bench("fp32", "paper-clipped", args.sweep, variants=True))
    middle = {name: statistics.median(values) for name, values in times.items()}
    slow = middle.pop("reference")
    sweep = middle.pop("sweep")
    json.dump(
        {
            "torch": torch.__version__,
            "threads": args.threads,
            "parameters": sum(p.numel() for p in model.parameters()),
            "batch": args.batch,
            "largest_difference": difference,
            "reference": {"seconds_per_step": slow, "all": times["reference"]},
            "ours": {
                name: {"seconds_per_step": fast, "ratio": slow / fast, "all": times[name]}
                for name, fast in middle.items()
            },
            "sweep": {
                "strengths": args.sweep,
                "reference_runs": sweep_runs,
                "seconds_per_step": sweep,
                "ratio": slow * sweep_runs / sweep,
            },
        },
        sys.stdout,
        indent=2,
    )
    print()


if __name__ == "__main__":
    main()
