#!/usr/bin/env python3
"""Times a plain Python training loop of the public network against ours: same network, batch and threads, in turn.

    git clone https://github.com/SoloChe/AnoFPDM reference && git -C reference checkout 94e838c
    python3 -m venv refvenv && refvenv/bin/pip install torch==2.11.0 numpy
    refvenv/bin/python scripts/bench-train-reference.py reference --config C.json --batch 16 --threads 1

The Python loop is what the public code does in a step, on tensors that are already in memory: noise a batch at
uniform t, forward with label drop, squared error, backward, `torch.optim.AdamW`, moving average of every weight.
Ours is `anofpdm-worker bench-train`, which also loads its samples and draws their noise by counter. Both are timed
--rounds times in turn; figures are medians of all steps. Nothing of the public code is copied: its v2 network is
imported from the checkout.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time
import types

HERE = pathlib.Path(__file__).resolve().parent


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=pathlib.Path, help="the public repository")
    parser.add_argument("--config", required=True, type=pathlib.Path, help="one v2 network, as for bench-train")
    parser.add_argument("--worker", type=pathlib.Path, default=HERE.parent / "target/release/anofpdm-worker")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8, help="steps timed a round")
    parser.add_argument("--warm-up", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--precisions", default="fp32,bf16")
    return parser.parse_args()


def network(args, config):
    sys.path.insert(0, str(args.checkout))
    # The network imports a logger that imports tensorboard, which nothing here uses.
    stand_in = types.ModuleType("torch.utils.tensorboard")
    stand_in.SummaryWriter = object
    sys.modules.setdefault("torch.utils.tensorboard", stand_in)
    from guided_diffusion.unet_v2 import UNetModel

    return UNetModel(
        image_size=config["image_size"],
        in_channels=config["in_channels"],
        model_channels=config["num_channels"],
        out_channels=config["in_channels"],
        num_res_blocks=config["num_res_blocks"],
        attention_resolutions=tuple(config["attention_downsample_rates"]),
        dropout=args.dropout,
        channel_mult=tuple(config["channel_mult"]),
        num_classes=config["num_classes"],
        num_heads=config["num_heads"],
        use_scale_shift_norm=True,
    )


class PythonLoop:
    def __init__(self, args, config, precision):
        import torch

        self.torch, self.precision = torch, precision
        torch.set_num_threads(args.threads)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        self.device = torch.device(args.device)
        self.model = network(args, config).to(self.device).train()
        self.parameters = list(self.model.parameters())
        self.averages = [parameter.detach().clone() for parameter in self.parameters]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-4, weight_decay=0.0)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        side = config["image_size"]
        self.images = torch.rand(args.batch, config["in_channels"], side, side, device=self.device) * 2 - 1
        self.labels = torch.arange(args.batch, device=self.device) % config["num_classes"]
        self.alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, device=self.device), 0)

    def step(self):
        torch = self.torch
        t = torch.randint(0, 1000, (len(self.images),), device=self.device)
        noise = torch.randn_like(self.images)
        level = self.alpha_bar[t].view(-1, 1, 1, 1)
        noised = self.images * level.sqrt() + noise * (1 - level).sqrt()
        lower = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        with torch.autocast(self.device.type, dtype=lower, enabled=lower is not None):
            predicted = self.model(noised, t, y=self.labels, threshold=0.1)
            loss = torch.nn.functional.mse_loss(predicted.float(), noise)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        with torch.no_grad():
            for average, parameter in zip(self.averages, self.parameters):
                average.lerp_(parameter, 1 - 0.9999)
        return loss.item()

    def times(self, args):
        seconds = []
        for _ in range(args.warm_up + args.steps):
            start = time.perf_counter()
            self.step()
            seconds.append(time.perf_counter() - start)
        return seconds[args.warm_up :]


def ours(args, precision):
    """Median seconds of a step."""
    command = [args.worker, "bench-train", "--json", "--config", args.config, "--precision", precision]
    for name in ("batch", "steps", "warm_up", "threads", "device", "dropout"):
        command += ["--" + name.replace("_", "-"), str(getattr(args, name))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)["seconds_per_step"]


def main():
    args = arguments()
    config = json.loads(args.config.read_text())
    print(f"{args.config.name}, batch {args.batch}, {args.threads} thread(s), {args.device}; images/s, medians")
    for precision in args.precisions.split(","):
        python, rust = [], []
        for _ in range(args.rounds):
            python += PythonLoop(args, config, precision).times(args)
            rust.append(ours(args, precision))
        theirs, mine = (args.batch / statistics.median(seconds) for seconds in (python, rust))
        print(f"{precision}: python {theirs:.2f}, anofpdm {mine:.2f}, ratio {mine / theirs:.2f}", flush=True)


main()
