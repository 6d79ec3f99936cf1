"""StyleGAN3's speed and memory against two plain versions of its filtered leaky ReLU.

Run: python tests/benchmarks/bench_stylegan3.py sample --channel-base 32768 --threads 2
     python tests/benchmarks/bench_stylegan3.py sample --batch 8 --versions ours ours-conv
     python tests/benchmarks/bench_stylegan3.py train --channel-base 8192 --channel-max 128 --batch 2
     python tests/benchmarks/bench_stylegan3.py layer --channel-base 8192 --channel-max 128
On a GPU: --device cuda. Each case runs in a process of its own; CPU seconds are of all threads together.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.networks import StyleDiscriminator, StyleGAN3
from monai_retina_gen.networks.stylegan3_schedule import LayerPlan

VERSIONS = ("ours", "ours-conv", "ours-full", "zero-insert", "strided")


class PlainFilteredLeakyReLU(nn.Module):
    """The operator as one would write it first: depthwise convolutions, everything left to autograd."""

    def __init__(self, plan: LayerPlan) -> None:
        super().__init__()
        self.plan = plan
        up, down = (torch.as_tensor(f, dtype=torch.float32) for f in plan.filters() if f is not None)
        self.register_buffer("up", up * plan.up)
        self.register_buffer("down", down)

    @staticmethod
    def kernels(taps: Tensor, channels: int) -> list[Tensor]:
        if taps.ndim == 2:
            return [taps.expand(channels, 1, -1, -1)]
        return [taps.view(1, 1, -1, 1).expand(channels, 1, -1, 1), taps.view(1, 1, 1, -1).expand(channels, 1, 1, -1)]

    def forward(self, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        x = self.upsample(x * scale[:, :, None, None] + bias[:, None, None])
        x = (nn.functional.leaky_relu(x, 0.2) * 2**0.5).clamp(-256, 256)
        return self.downsample(x)

    def upsample(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def downsample(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class ZeroInsert(PlainFilteredLeakyReLU):
    """Zeros inserted, padded or cropped, filtered at the high rate, every second sample kept."""

    def upsample(self, x: Tensor) -> Tensor:
        (batch, channels, size, _), up = x.shape, self.plan.up
        grid = nn.functional.pad(x.reshape(batch, channels, size, 1, size, 1), (0, up - 1, 0, 0, 0, up - 1))
        grid = nn.functional.pad(grid.reshape(batch, channels, size * up, size * up), self.plan.padding * 2)
        for kernel in self.kernels(self.up, channels):
            grid = nn.functional.conv2d(grid, kernel, groups=channels)
        return grid

    def downsample(self, x: Tensor) -> Tensor:
        for kernel in self.kernels(self.down, x.shape[1]):
            x = nn.functional.conv2d(x, kernel, groups=x.shape[1])
        return x[:, :, :: self.plan.down, :: self.plan.down]


class Strided(PlainFilteredLeakyReLU):
    """Transposed convolution with stride, cropped; convolution with stride."""

    def upsample(self, x: Tensor) -> Tensor:
        plan, taps = self.plan, len(self.up)
        start = taps - 1 - plan.padding[0]
        size = x.shape[-1] * plan.up + sum(plan.padding) - taps + 1
        for kernel in self.kernels(self.up, x.shape[1]):
            stride = tuple(plan.up if n > 1 else 1 for n in kernel.shape[2:])
            x = nn.functional.conv_transpose2d(x, kernel, stride=stride, groups=x.shape[1])
        return x[:, :, start : start + size, start : start + size]

    def downsample(self, x: Tensor) -> Tensor:
        for kernel in self.kernels(self.down, x.shape[1]):
            stride = tuple(self.plan.down if n > 1 else 1 for n in kernel.shape[2:])
            x = nn.functional.conv2d(x, kernel, stride=stride, groups=x.shape[1])
        return x


def build(args: argparse.Namespace, version: str) -> StyleGAN3:
    torch.manual_seed(0)
    network = StyleGAN3(
        image_size=args.image_size,
        config=args.config,
        channel_base=args.channel_base,
        channel_max=args.channel_max,
        amp=version.removeprefix("ours-") if version.startswith("ours-") else None,
    )
    plain = {"zero-insert": ZeroInsert, "strided": Strided}.get(version)
    for layer in network.synthesis.layers if plain else []:
        if layer.activation is not None:
            layer.activation = plain(layer.plan)  # type: ignore[assignment, arg-type, misc]
    return network.to(args.device)


def timed(function: Callable[[], Any], repeats: int, device: str) -> dict[str, float]:
    """Best of `repeats` in wall seconds, and that run's CPU seconds."""
    best = (float("inf"), 0.0)
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - wall, time.process_time() - cpu))
    return {"wall s": best[0], "CPU s": best[1]}


def kept_for_backward(function: Callable[[], Tensor], parameters: list[Tensor]) -> float:
    """MiB of storages that autograd keeps, parameters aside."""
    own = {p.untyped_storage().data_ptr() for p in parameters}
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = function()
    del result
    return sum(storages.values()) / 2**20


def peak_memory(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def bench_sample(args: argparse.Namespace, version: str) -> dict[str, float]:
    network = build(args, version).eval()
    latent = torch.randn(args.batch, 512, generator=torch.Generator().manual_seed(0)).to(args.device)
    with torch.no_grad():
        network(latent[:1])
        found = timed(lambda: network(latent), args.repeats, args.device)
        image = network(latent[:1])
    found = {f"{name} an image": value / args.batch for name, value in found.items()}
    return {**found, "peak MiB": peak_memory(args.device), "image mean square": float(image.square().mean())}


def bench_train(args: argparse.Namespace, version: str) -> dict[str, float]:
    """Forward and backward of the generator, the image's mean square as loss."""
    network = build(args, version).train()
    latent = torch.randn(args.batch, 512, generator=torch.Generator().manual_seed(0)).to(args.device)
    constants = [*network.parameters(), *network.buffers()]
    kept = kept_for_backward(lambda: network(latent), constants)
    found = timed(lambda: network(latent).square().mean().backward(), args.repeats, args.device)
    return {**found, "kept MiB": kept, "peak MiB": peak_memory(args.device)}


def bench_layer(args: argparse.Namespace, version: str) -> dict[str, float]:
    """The activation of layer 10 alone (the widest, upsampling by 4 at 256 px), batch 1."""
    layer = build(args, version).synthesis.layers[10]
    size, channels = layer.plan.source.size + layer.plan.kernel_size - 1, layer.plan.target.channels  # type: ignore[union-attr, operator]
    x, scale = torch.randn(1, channels, size, size), torch.ones(1, channels)  # type: ignore[arg-type]
    bias = torch.zeros(channels)  # type: ignore[arg-type]
    with torch.no_grad():
        forward = timed(lambda: layer.activation(x, scale, bias), args.repeats + 1, args.device)  # type: ignore[operator]
    x.requires_grad_()
    kept = kept_for_backward(lambda: layer.activation(x, scale, bias), [])  # type: ignore[operator]
    both = timed(lambda: layer.activation(x, scale, bias).sum().backward(), args.repeats + 1, args.device)  # type: ignore[operator]
    return {"forward CPU s": forward["CPU s"], "forward and backward CPU s": both["CPU s"], "kept MiB": kept}


def bench_step(args: argparse.Namespace, version: str) -> dict[str, float]:
    """Seconds per 1000 training images: a discriminator step and a generator step, without R1."""
    network = build(args, version).train()
    critic = StyleDiscriminator(
        image_size=args.image_size, channel_base=args.channel_base, channel_max=args.channel_max, amp="-" in version
    ).to(args.device)
    real = torch.rand(args.batch, 3, args.image_size, args.image_size, device=args.device) * 2 - 1

    def step() -> None:
        latent = torch.randn(args.batch, 512, device=args.device)
        with torch.no_grad():
            fake = network(latent, update_averages=True)
        softplus = nn.functional.softplus
        (softplus(critic(fake)).mean() + softplus(-critic(real)).mean()).backward()
        softplus(-critic(network(latent))).mean().backward()

    step()
    found = timed(step, args.repeats, args.device)
    return {"s per 1000 images": 1000 * found["wall s"] / args.batch, "peak MiB": peak_memory(args.device)}


CASES = {"sample": bench_sample, "train": bench_train, "layer": bench_layer, "step": bench_step}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--config", default="t")
    parser.add_argument("--channel-base", type=int, default=32768)
    parser.add_argument("--channel-max", type=int, default=512)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--versions", nargs="+", choices=VERSIONS, default=["ours", "ours-conv", "zero-insert", "strided"]
    )
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.child:
        print(json.dumps(CASES[args.case](args, args.versions[0])))
        return
    print(" ".join(sys.argv[1:]), f"(torch {torch.__version__}, {args.threads} threads)")
    for version in args.versions:
        command = [sys.executable, *sys.argv, "--child", "--versions", version]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = json.loads(output.splitlines()[-1])
        print(f"  {version}: " + ", ".join(f"{name} {value:.4g}" for name, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
