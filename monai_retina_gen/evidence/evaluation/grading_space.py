"""Fit normal distributions of grader features per grade, store them, and plot them."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from monai_retina_gen.data import write_json
from monai_retina_gen.networks import GradingSpace
from monai_retina_gen.weights import find_bundle, load_network, load_state, save_state, split_bundle_name
from monai_retina_gen.zoo.packing import pin

from .extractor import Extractor
from .image_sets import ImageSet

STATE, SETTINGS, PLOT = "grading_space.pt", "grading_space.json", "grading_space.png"


def fit_grading_space(
    images: ImageSet, extractor: Extractor, out: str | Path, *, num_classes: int = 5, rank: int = 0
) -> GradingSpace:
    """Fit a grading space to training photographs with their grades, by the features of a grader.

    Writes `grading_space.pt` (a bare state dict), `grading_space.json` (arguments of `GradingSpace`, extractor,
    photographs per grade) and `grading_space.png` into `out`.
    """
    folder = Path(out)
    features, grades = images.features(extractor), torch.tensor(images.grades)
    space = GradingSpace(dimension=features.shape[1], num_classes=num_classes, rank=rank)
    space.fit(features, grades)
    save_state(space.state_dict(), folder / STATE)
    arguments = {"dimension": space.dimension, "num_classes": num_classes, "rank": rank}
    write_json({**arguments, "extractor": extractor.as_dict(), "photographs": space.count.tolist()}, folder / SETTINGS)
    plot_grading_space(space, features, grades, folder / PLOT)
    return space


def store_grading_space(space: GradingSpace, extractor: Extractor, bundle: str | Path) -> None:
    """Put a fitted space into a bundle, from where `load_network(bundle, config_name="grading_space")` builds it."""
    folder = find_bundle(bundle)
    arguments = {"dimension": space.dimension, "num_classes": space.num_classes, "rank": space.rank}
    config = {
        "weights_file": f"models/{STATE}",
        "extractor": extractor.as_dict(),
        "photographs": space.count.tolist(),
        "network_def": {"_target_": "monai_retina_gen.networks.GradingSpace", **arguments},
    }
    save_state(space.state_dict(), folder / "models" / STATE)
    write_json(config, folder / "configs" / SETTINGS, sort_keys=False)
    pin(folder, config_name=Path(SETTINGS).stem)


def load_grading_space(name: str = "retina_grader:grading_space") -> dict[str, Tensor]:
    """State dict of a grading space (`BUNDLE:CONFIG`, or a `grading_space.pt`), for `DRGAN.set_grading_space`."""
    if name.endswith(".pt"):
        return load_state(name)
    bundle, config = split_bundle_name(name)
    return load_network(find_bundle(bundle), config_name=config).state_dict()


def plot_grading_space(space: GradingSpace, features: Tensor, grades: Tensor, path: str | Path) -> None:
    """Features `(n, dimension)` and the ellipses of one and two deviations per grade, in the plane that varies most."""
    middle = features.mean(0)
    plane = torch.linalg.svd(features - middle, full_matrices=False).Vh[:2]
    points = (features - middle) @ plane.T
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    for grade in range(space.num_classes):
        chosen, colour = points[grades == grade], f"C{grade}"
        axes.scatter(chosen[:, 0], chosen[:, 1], s=12, color=colour, label=f"grade {grade} (n = {len(chosen)})")
        if space.count[grade] >= 2:
            for deviations in (1, 2):
                outline = _ellipse(space, grade, plane, deviations) + (space.mean[grade] - middle) @ plane.T
                axes.plot(outline[:, 0], outline[:, 1], color=colour, linewidth=1.5 / deviations)
    axes.set(xlabel="first principal direction", ylabel="second principal direction", title="Grader features")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def _ellipse(space: GradingSpace, grade: int, plane: Tensor, deviations: int) -> Tensor:
    covariance = (plane @ space.covariance(grade) @ plane.T).double()
    angles = torch.linspace(0, 2 * torch.pi, 100, dtype=torch.float64)
    circle = torch.stack([angles.cos(), angles.sin()], 1)
    values, vectors = torch.linalg.eigh(covariance)
    return (deviations * circle * values.clamp(min=0).sqrt() @ vectors.T).float()
