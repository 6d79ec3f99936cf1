"""The short form of the benchmarks: figures for the report, and that they can be taken at all.

Nothing here asserts a speed. Times are medians of repeats after a warm-up, synchronised.
"""

from __future__ import annotations

import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from shipped_generators import NAMES, images, shipped
from torch import nn

from monai_retina_gen.data import phantom_fundus
from monai_retina_gen.editing import Directions
from monai_retina_gen.editing.style.encoder_inversion import EncoderInversion
from monai_retina_gen.generators import StyleGAN3Generator
from monai_retina_gen.losses import LPIPSDR
from monai_retina_gen.networks import FundusGrader, StyleEncoder

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import bench_stylegan3


def seconds(function: Callable[[], Any], repeats: int = 5) -> float:
    """Median seconds of a call."""
    found = []
    for _ in range(repeats + 1):
        torch.cuda.synchronize()
        started = time.perf_counter()
        function()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return statistics.median(found[1:])


@pytest.mark.parametrize("name", NAMES)
def test_images_a_second(name: str, bundles_dir: Path, report: dict[str, Any]) -> None:
    generator = shipped(bundles_dir / name)
    generator.to("cuda")
    images(generator, 2)
    count = 16 if name == "retina_drgan" else 64
    found = count / seconds(lambda: images(generator, count), 3)
    report.setdefault("images a second", {})[f"{name}, {generator.image_size} px, {count} at once"] = round(found, 1)
    assert found > 0


def test_batch_edit_beside_a_training_step(bundles_dir: Path, report: dict[str, Any]) -> None:
    """16 photographs of 512 px: edited by `retina_stylegan3`, and one step of a ResNet-50 in bfloat16."""
    generator = shipped(bundles_dir / "retina_stylegan3")
    assert isinstance(generator, StyleGAN3Generator)
    network: Any = generator.network
    if "edit" not in generator.modes:
        generator.equip(inverter=inverter(network), directions=directions(network))
    generator.to("cuda")
    photographs = torch.stack([phantom_fundus(seed, grade=3, size=512).image for seed in (1, 2)] * 8).cuda()
    grades = [3] * len(photographs)
    varied = [(photographs + 0.001 * i).clamp(0, 1) for i in range(5)]  # nothing is found in a cache
    turn = iter(varied)
    edit = seconds(lambda: generator.edit(next(turn), grades, lesion="ex", strength=0.5), 4)
    grader = FundusGrader(backbone="resnet50").cuda().to(memory_format=torch.channels_last)
    optimizer, loss = torch.optim.AdamW(grader.parameters(), 1e-4), nn.CrossEntropyLoss()
    target = torch.tensor(grades, device="cuda")

    def step() -> None:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            value = loss(grader(photographs.to(memory_format=torch.channels_last)), target)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()

    trained = seconds(step)
    report["batch of 16 at 512 px, milliseconds"] = {
        "edit": round(1e3 * edit, 1),
        "ResNet-50 step": round(1e3 * trained, 1),
    }
    assert edit > 0


def inverter(network: Any) -> EncoderInversion:
    encoder = StyleEncoder(num_ws=network.num_ws, w_dim=network.w_dim)
    distance = LPIPSDR(network=FundusGrader(backbone="vgg16", width=0.25, num_classes=2))
    return EncoderInversion(network, encoder, distance=distance, steps=5, one_sided=True)


def directions(network: Any) -> Directions:
    size = network.style_space.size
    vector, one = torch.zeros(size), torch.ones(size)
    vector[network.style_space.index(9, 2)] = 30.0
    none: dict[str, Any] = {"channels": torch.tensor([], dtype=torch.long), "effects": {}, "spread": {}}
    return Directions({"ex": vector}, "sigma", one, one, -900 * one, 900 * one, **none)


@pytest.mark.parametrize("channel_base", [16384, 32768])
def test_stylegan3_training_step(channel_base: int, report: dict[str, Any]) -> None:
    arguments = Namespace(image_size=256, config="t", channel_base=channel_base, channel_max=512, device="cuda")
    arguments.batch, arguments.repeats = 32, 3
    torch.cuda.reset_peak_memory_stats()
    found = bench_stylegan3.bench_step(arguments, "ours-full")
    name = f"StyleGAN3-T 256 px, channel base {channel_base}, bfloat16, batch 32, without R1"
    report.setdefault("training", {})[name] = {key: round(value, 2) for key, value in found.items()}
    assert found["s per 1000 images"] > 0
