"""A small U-Net of guided-diffusion without scale-shift, for the import tests: plain_unet.py

Written from the formulas of openai/guided-diffusion (unet.py, nn.py): UNetModel(image_size=16, in_channels=2,
model_channels=64, out_channels=4, num_res_blocks=1, attention_resolutions=(2,), channel_mult=(1, 1), num_classes=2,
num_heads=1, use_scale_shift_norm=False). Weights as in make.py, in float64. Prints what the test holds the import against.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

# Two channels a group of the norm: with one, what is added to it before the norm would be gone after it.
E, C = 256, 64


class ResBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(32, channels), nn.SiLU(), nn.Conv2d(channels, C, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(E, C))
        self.out_layers = nn.Sequential(nn.GroupNorm(32, C), nn.SiLU(), nn.Dropout(0), nn.Conv2d(C, C, 3, padding=1))
        self.skip_connection = nn.Identity() if channels == C else nn.Conv2d(channels, C, 1)

    def forward(self, x, emb):
        h = self.in_layers(x)
        h = h + self.emb_layers(emb)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


class AttentionBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.GroupNorm(32, C)
        self.qkv = nn.Conv1d(C, 3 * C, 1)
        self.proj_out = nn.Conv1d(C, C, 1)

    def forward(self, x, emb):
        flat = x.flatten(2)
        q, k, v = self.qkv(self.norm(flat)).chunk(3, 1)
        weight = torch.einsum("bct,bcs->bts", q, k) / math.sqrt(C)
        h = torch.einsum("bts,bcs->bct", weight.softmax(-1), v)
        return (flat + self.proj_out(h)).reshape(x.shape)


class Downsample(nn.Module):
    def __init__(self):
        super().__init__()
        self.op = nn.Conv2d(C, C, 3, stride=2, padding=1)

    def forward(self, x, emb):
        return self.op(x)


class Upsample(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(C, C, 3, padding=1)

    def forward(self, x, emb):
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class Stem(nn.Conv2d):
    def forward(self, x, emb):
        return super().forward(x)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.time_embed = nn.Sequential(nn.Linear(C, E), nn.SiLU(), nn.Linear(E, E))
        self.label_emb = nn.Embedding(2, E)
        self.input_blocks = nn.ModuleList(
            nn.ModuleList(entry)
            for entry in [[Stem(2, C, 3, padding=1)], [ResBlock(C)], [Downsample()], [ResBlock(C), AttentionBlock()]]
        )
        self.middle_block = nn.ModuleList([ResBlock(C), AttentionBlock(), ResBlock(C)])
        self.output_blocks = nn.ModuleList(
            nn.ModuleList(entry)
            for entry in [
                [ResBlock(2 * C), AttentionBlock()],
                [ResBlock(2 * C), AttentionBlock(), Upsample()],
                [ResBlock(2 * C)],
                [ResBlock(2 * C)],
            ]
        )
        self.out = nn.Sequential(nn.GroupNorm(32, C), nn.SiLU(), nn.Conv2d(C, 4, 3, padding=1))

    def forward(self, x, t, y):
        half = C // 2
        rates = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float64) / half)
        angles = t[:, None].double() * rates[None]
        emb = self.time_embed(torch.cat([angles.cos(), angles.sin()], -1)) + self.label_emb(y)
        skips = []
        for entry in self.input_blocks:
            for layer in entry:
                x = layer(x, emb)
            skips.append(x)
        for layer in self.middle_block:
            x = layer(x, emb)
        for entry in self.output_blocks:
            x = torch.cat([x, skips.pop()], 1)
            for layer in entry:
                x = layer(x, emb)
        return self.out(x)


network = UNet().double().eval()
with torch.no_grad():
    for i, (name, tensor) in enumerate(sorted(network.state_dict().items())):
        k = torch.arange(tensor.numel(), dtype=torch.int64)
        value = (((37 * k + 11 * i) % 251 - 125).double() / 1000).float().double()
        tensor.copy_(value.reshape(tensor.shape))
    x = torch.sin(torch.arange(2 * 2 * 16 * 16, dtype=torch.float64) * 0.37).reshape(2, 2, 16, 16)
    out = network(x, torch.tensor([3, 700]), torch.tensor([1, 1]))
print(torch.__version__, "norm", out.square().sum().sqrt().item())
print([round(value, 6) for value in out.flatten()[::211].tolist()])
