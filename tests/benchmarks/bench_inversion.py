"""Quality and time of both ways of inversion on held-out photographs, and how many times faster the encoder's is.

`python tests/benchmarks/bench_inversion.py --generator retina_stylegan3 --dataset-dir IDRID --photographs 16`

Time is CPU time of this process where the device is a CPU (other work on the machine does not count), else wall time.
Phantoms (`--generator retina_stylegan3:phantom`) need no data set.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.data import write_image
from monai_retina_gen.data.sampling import spread
from monai_retina_gen.editing.style.encoder_inversion import EncoderInversion
from monai_retina_gen.editing.style.optimisation_inversion import OptimisationInversion
from monai_retina_gen.evidence.evaluation.image_sets import photographs, read_section
from monai_retina_gen.generators import PhantomGenerator, load_generator
from monai_retina_gen.handlers.sheets import image_grid
from monai_retina_gen.weights.perceptual import load_perceptual


def images_of(args: argparse.Namespace, generator: Any) -> tuple[Tensor, Tensor]:
    """Held-out photographs, or phantoms that no training has seen."""
    if args.generator.endswith(":phantom"):
        teacher, grades = PhantomGenerator(z_dim=generator.network.z_dim), [i % 5 for i in range(args.photographs)]
        batch = teacher.sample(grades, seeds=[5 * 10**6 + i for i in range(args.photographs)])
        return batch.image, batch.grade
    items = read_section(args.datalist, args.dataset_dir)
    few = photographs([items[i] for i in spread(len(items), args.photographs)], generator.image_size)
    return few.floats(), torch.tensor(few.grades)


def measured(inverter: Any, images: Tensor, grades: Tensor, judges: dict[str, Any]) -> tuple[dict[str, float], Tensor]:
    """Figures of an inverter, and its images."""
    inverter(images[:1], grades[:1]) if isinstance(inverter, EncoderInversion) else None  # warm
    clock = time.process_time if images.device.type == "cpu" else time.perf_counter
    start = clock()
    found = inverter(images, grades)
    seconds = (clock() - start) / len(images)
    error = (found.image - images).square().mean((1, 2, 3))
    with torch.no_grad():
        row = {name: float(judge(found.image, images).mean()) for name, judge in judges.items()}
    return {**row, "psnr": float((-10 * error.log10()).mean()), "seconds": seconds}, found.image


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="retina_stylegan3")
    parser.add_argument("--datalist", default="idrid:validation")
    parser.add_argument("--dataset-dir")
    parser.add_argument("--photographs", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1000, help="of the optimisation alone")
    parser.add_argument("--refine", type=int, nargs="*", default=[0, 10, 15])
    parser.add_argument("--spaces", nargs="*", default=["w", "w+", "s"])
    parser.add_argument("--imagenet", action="store_true", help="also LPIPS with ImageNet's VGG-16 (is downloaded)")
    parser.add_argument("--out", help="folder for a JSON file and a sheet of pictures")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(1)
    generator: Any = load_generator(args.generator, device=args.device)
    images, grades = (x.to(args.device) for x in images_of(args, generator))
    distance = load_perceptual(device=args.device)
    judges = {"lpips_dr": distance}
    if args.imagenet:
        judges["lpips"] = load_perceptual("imagenet", device=args.device)
    rows, sheet = {}, [images]
    own = generator.inverter.load()
    settings = {"space": own.space, "start": own.start, "one_sided": own.one_sided}
    for steps in args.refine:
        inverter = EncoderInversion(generator.network, own.encoder, distance=distance, steps=steps, **settings)
        rows[f"encoder + {steps}"], made = measured(inverter, images, grades, judges)
        sheet.append(made)
        print(f"encoder + {steps}", json.dumps({k: round(v, 4) for k, v in rows[f"encoder + {steps}"].items()}))
    for space in args.spaces:
        slow = OptimisationInversion(
            generator.network, distance=distance, space=space, steps=args.steps, one_sided=generator.one_sided
        )
        name = f"optimisation {space}, {args.steps} steps"
        rows[name], made = measured(slow, images, grades, judges)
        sheet.append(made)
        print(name, json.dumps({k: round(v, 4) for k, v in rows[name].items()}), flush=True)
    if args.out:
        folder = Path(args.out)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "inversion.json").write_text(json.dumps({"photographs": len(images), "rows": rows}, indent=2))
        write_image(folder / "inversion.png", image_grid(torch.cat(sheet).cpu(), columns=len(images)))


if __name__ == "__main__":
    main()
