"""Cost of lesion edits: seconds an edit, and the share of a ResNet-50 training step (batch 32, 224 px, prob 0.5).

Run: OMP_NUM_THREADS=2 python tests/benchmarks/bench_edit.py --threads 2
On a GPU: python tests/benchmarks/bench_edit.py --device cuda --step
Without one: --count counts the operators of a batch as a GPU would get them; each is a launch that Python waits for.
A bundle without encoder or directions is given untrained ones of the shipped sizes: what they cost does not depend on
what they know. Cases are measured in turns, so that other work on the machine slows all alike.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from monai_retina_gen.data import phantom_fundus
from monai_retina_gen.editing import Directions
from monai_retina_gen.editing.style.encoder_inversion import EncoderInversion
from monai_retina_gen.generators import StyleGAN3Generator, load_generator
from monai_retina_gen.networks import StyleEncoder, banded_resampling
from monai_retina_gen.transforms import BatchGenerativeAugment
from monai_retina_gen.weights.perceptual import load_perceptual

STEP_BATCH, STEP_SIDE = 32, 224
FREE = {"view", "reshape", "as_strided", "expand", "detach", "detach_", "alias", "_unsafe_view", "unbind", "empty"}
FREE |= {"empty_strided", "resolve_conj", "resolve_neg", "to", "lift_fresh", "is_nonzero", "result_type", "item"}


def equipped(name: str, device: str, layer: int, steps: int) -> StyleGAN3Generator:
    """The bundle's generator; what it lacks is made up."""
    generator = load_generator(name, device=device)
    assert isinstance(generator, StyleGAN3Generator)
    network, inverter, directions = generator.network, generator.inverter, generator.directions
    if inverter is None:
        channels, sizes = (24, 48, 96, 128, 160), {"pyramid": 96, "hidden": 128}
        encoder = StyleEncoder(num_ws=network.num_ws, w_dim=network.w_dim, channels=channels, **sizes)
        inverter = EncoderInversion(network, encoder, distance=load_perceptual(device=device), steps=steps).to(device)
        print(f"no trained encoder in {name}: an untrained one, {steps} refinement steps")
    if directions is None:
        size, one = network.style_space.size, torch.ones(network.style_space.size)
        vector = torch.zeros(size)
        vector[network.style_space.index(layer, 0)] = 1.0
        nothing = {"channels": torch.tensor([], dtype=torch.long), "effects": {}, "spread": {}}
        directions = Directions({"ex": vector}, "sigma", one, one, -9 * one, 9 * one, **nothing)
        print(f"no directions in {name}: one channel of layer {layer}")
    generator.equip(inverter=inverter, directions=directions)
    return generator


def photographs(count: int, size: int, device: str) -> Tensor:
    folder: list[Tensor] = [phantom_fundus(i, size=size, grade=3).image for i in range(count)]
    return torch.stack(folder).to(device)


def training_step(device: str) -> Callable[[Tensor], None]:
    network = resnet50(num_classes=5).to(device)
    optimizer = torch.optim.SGD(network.parameters(), 1e-3)
    target = torch.arange(STEP_BATCH, device=device) % 5

    def step(images: Tensor) -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), target).backward()
        optimizer.step()

    return step


def measured(cases: dict[str, Callable[[], object]], repeats: int, device: str) -> dict[str, tuple[float, float]]:
    """Medians of wall and CPU seconds."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for turn in range(repeats + 1):
        for name, case in cases.items():
            wall, cpu = time.perf_counter(), time.process_time()
            case()
            if device != "cpu":
                torch.cuda.synchronize()
            if turn:
                times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    middle = repeats // 2
    return {n: (sorted(w for w, _ in t)[middle], sorted(c for _, c in t)[middle]) for n, t in times.items()}


def operators(case: Callable[[], object]) -> int:
    """Operators that do work, innermost ones, with the blocks and chunks that a GPU gets."""
    sizes = (banded_resampling._CHUNK_ELEMENTS, banded_resampling._BLOCK_ROWS)
    kept = [dict(each) for each in sizes]
    for each in sizes:
        each.clear()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        case()
    for each, old in zip(sizes, kept, strict=True):
        each.update(old)
    names = [e.name for e in profile.events() if not e.cpu_children]
    return sum(name.startswith("aten::") and name.removeprefix("aten::") not in FREE for name in names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generator", default="retina_stylegan3")
    parser.add_argument("--size", type=int, default=256, help="side of the photographs")
    parser.add_argument("--layer", type=int, default=8, help="edited layer, where there are no directions")
    parser.add_argument("--steps", type=int, default=10, help="refinement steps, where there is no encoder")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--step", action="store_true", help="the training step too")
    parser.add_argument("--count", action="store_true", help="count operators instead of seconds")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    generator = equipped(args.generator, args.device, args.layer, args.steps)
    images = photographs(max(args.batch, 4), args.size, args.device)

    def edit(count: int, cached: bool) -> None:
        if not cached:
            generator.editor.cache.clear()
        options = {"lesion": "ex", "strength": 0.5}
        generator.edit(images[:count], [3] * count, **options)

    cases: dict[str, Callable[[], object]] = {
        "one edit, new photograph": lambda: edit(1, False),
        "one edit, photograph seen before": lambda: edit(1, True),
        f"{args.batch} edits, new photographs": lambda: edit(args.batch, False),
        f"{args.batch} edits, photographs seen before": lambda: edit(args.batch, True),
    }
    if args.count:
        edit(args.batch, False)
        for cached in (False, True):
            count = operators(lambda cached=cached: edit(args.batch, cached))  # type: ignore[misc]
            print(f"{args.batch} edits, photographs {'seen before' if cached else 'new'}: {count} operators")
        return
    for name, (wall, cpu) in measured(cases, args.repeats, args.device).items():
        count = args.batch if name.startswith(str(args.batch)) else 1
        print(f"{name}: {wall / count:.3f} s wall, {cpu / count:.3f} s CPU an edit, {count / wall:.1f} edits a second")
    if args.step:
        shares(generator, args)


def shares(generator: StyleGAN3Generator, args: argparse.Namespace) -> None:
    """What editing half of a batch adds to a training step: at once, and from a bank filled in the background."""
    step, batch = training_step(args.device), photographs(STEP_BATCH, STEP_SIDE, args.device)
    item = {"image": batch, "grade": torch.full((STEP_BATCH,), 3)}
    common = {"generator": generator, "mode": "edit", "lesion": "ex", "prob": 0.5, "image_order": "CHW"}
    at_once = BatchGenerativeAugment(**common)
    ahead = BatchGenerativeAugment(**common, background=0.02)

    def fresh() -> None:
        generator.editor.cache.clear()
        step(at_once(item)["image"])

    cases: dict[str, Callable[[], object]] = {
        "step alone": lambda: step(batch),
        "step with edits, photographs new": fresh,
        "step with edits, photographs seen before": lambda: step(at_once(item)["image"]),
    }
    found = measured(cases, args.repeats, args.device)
    # apart from the others: its thread works on while they would be measured
    found |= measured({"step alone, again": lambda: step(batch)}, args.repeats, args.device)
    found |= measured(
        {"step with a bank in the background": lambda: step(ahead(item)["image"])}, args.repeats, args.device
    )
    base = found["step alone"][0]
    for name, (wall, cpu) in found.items():
        print(f"{name}: {wall:.3f} s wall, {cpu:.3f} s CPU, {100 * (wall / base - 1):+.1f} % of the step")


if __name__ == "__main__":
    assert Path("tests").is_dir(), "run it from the repository's root"
    main()
