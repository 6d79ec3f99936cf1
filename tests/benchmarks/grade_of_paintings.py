"""Whether graders see the grade that healthy photographs were painted to, for each painter.

Run: python tests/benchmarks/grade_of_paintings.py --datalist idrid --dataset-dir IDRID

Validation photographs of grade 0, each judged by the cross-fitted graders of the label gate: mean expected grade before
and after, 95 % interval of the difference (bootstrap over photographs), and how many the gate accepts at once.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from monai_retina_gen.data import load_datalist
from monai_retina_gen.editing import LabelGate
from monai_retina_gen.generators import load_generator
from monai_retina_gen.transforms import CropToFieldOfView, LoadFundus

PAINTERS = ("retina_lesion_painter", "retina_drgan")


def main() -> None:
    """Print a row for each painter and grade."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datalist", required=True)
    parser.add_argument("--dataset-dir")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--count", type=int, default=16)
    args = parser.parse_args()
    items = load_datalist(args.datalist, args.dataset_dir)["validation"]
    items = [item for item in items if item.get("grade") == 0][: args.count]
    load, crop = LoadFundus(), CropToFieldOfView(size=args.size)
    photographs = torch.stack([crop(load(item["image"])).as_tensor() for item in items])
    gate, groups = LabelGate(), [item.get("group") for item in items]
    before = expected(gate.probabilities(photographs, groups))
    print(f"{len(items)} photographs of grade 0: expected grade {before.mean():.2f}")
    for painter in map(load_generator, PAINTERS):
        for grade in (2, 3):
            grades = [grade] * len(items)
            made = painter.synthesize(None, grades, seeds=range(len(items)), canvas=photographs).image
            after = expected(gate.probabilities(made, groups))
            low, high = interval(after - before)
            accepted = sum(not reason for reason in gate.check(made, grades, groups=groups).reasons)
            print(f"{painter.name} to {grade}: {after.mean():.2f}, difference {(after - before).mean():+.2f} ", end="")
            print(f"[{low:+.2f}, {high:+.2f}]; the gate accepts {accepted}", flush=True)


def expected(probabilities: Tensor) -> Tensor:
    """The expected grade of each."""
    return (probabilities * torch.arange(probabilities.shape[1])).sum(1)


def interval(differences: Tensor) -> tuple[float, float]:
    """95 % of the means of resampled photographs."""
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randint(len(differences), (2000, len(differences)), generator=generator)
    low, high = differences[chosen].mean(1).quantile(torch.tensor([0.025, 0.975])).tolist()
    return low, high


if __name__ == "__main__":
    main()
