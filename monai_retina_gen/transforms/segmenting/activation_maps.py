"""Masks of findings that are only labelled per photograph, from a classifier's activation maps.

For findings that nobody outlined, such as laser scars and proliferative membranes: a classifier learns from columns of
a datalist whether a photograph shows them, and where it looked becomes a mask. These masks are rough.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm

from monai_retina_gen.data import (
    SECTIONS,
    Item,
    photograph_names,
    save_datalist,
    write_mask,
)
from monai_retina_gen.data.plain_tensor import in_bytes
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.networks import ActivationMapClassifier
from monai_retina_gen.transforms import CropToFieldOfView, LoadFundus
from monai_retina_gen.transforms.segmenting.segment import with_masks
from monai_retina_gen.weights import save_state

logger = logging.getLogger(__name__)
STATE, DATALIST = "activation_maps.pt", "datalist.json"


def train_classifier(
    items: Sequence[Item],
    columns: Mapping[str, str],
    *,
    image_size: int = 256,
    epochs: int = 40,
    batch_size: int = 16,
    seed: int = 0,
    device: str = "cpu",
) -> ActivationMapClassifier:
    """Train a classifier of findings, by name the key of the items that says 0 or 1, on labels of whole photographs.

    Photographs that lack a column are left out, the others cropped, resized and mirrored at random. `DatalistError` for
    other labels, or a finding that no photograph, or every one, shows.
    """
    labelled = [item for item in items if all(column in item for column in columns.values())]
    target = _labels(labelled, columns)
    images = torch.stack([_photograph(item, image_size)[0] for item in tqdm(labelled, desc="load")])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ActivationMapClassifier(findings=list(columns)).to(device).train()
        _fit(network, images, target, epochs, batch_size)
    return network.eval().requires_grad_(False)


def _fit(network: ActivationMapClassifier, images: Tensor, target: Tensor, epochs: int, batch_size: int) -> None:
    device, shown = network.mean.device, target.mean(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    steps = epochs * -(-len(images) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    bar = tqdm(range(epochs), desc="train", unit="epoch")
    for _ in bar:
        for rows in torch.randperm(len(images)).split(batch_size):
            batch = images[rows].float() / 255
            batch = batch.flip(-1) if torch.rand(()) < 0.5 else batch
            logits = network((batch.flip(-2) if torch.rand(()) < 0.5 else batch).to(device))
            weight = ((1 - shown) / shown).to(device)
            loss = binary_cross_entropy_with_logits(logits, target[rows].to(device), pos_weight=weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        bar.set_postfix(loss=f"{float(loss.detach()):.3f}")


def _labels(items: Sequence[Item], columns: Mapping[str, str]) -> Tensor:
    wrong = [i["image"] for i in items if any(i[column] not in (0, 1) for column in columns.values())]
    if wrong:
        raise DatalistError(f"columns {list(columns.values())}: want 0 or 1, but not so in {', '.join(wrong[:5])}")
    target = torch.tensor([[float(item[column]) for column in columns.values()] for item in items])
    for index, (name, column) in enumerate(columns.items()):
        shown = int(target[:, index].sum()) if len(items) else 0
        if not 0 < shown < len(items):
            raise DatalistError(
                f"{name}: the column {column!r} is 1 in {shown} of {len(items)} training photographs that have all "
                "columns; a classifier needs photographs with and without the finding"
            )
    return target


def _photograph(item: Item, size: int) -> tuple[Tensor, MetaTensor]:
    """The cropped photograph as uint8, and the crop with its place in the photograph."""
    crop = CropToFieldOfView(size=size)(LoadFundus()(item["image"]))
    return in_bytes(crop), crop


def write_activation_masks(
    datalist: Mapping[str, Any],
    network: ActivationMapClassifier,
    out: str | Path,
    *,
    image_size: int = 256,
    threshold: float = 0.4,
) -> Path:
    """Write masks of all photographs, at their own size, a datalist that names them, and the classifier."""
    folder, cropper = Path(out), CropToFieldOfView(size=image_size)
    names = photograph_names(item["image"] for section in SECTIONS for item in datalist.get(section, ()))
    files: dict[str, dict[str, Path]] = {}
    for path, name in tqdm(names.items(), desc="masks", unit="photograph"):
        _, crop = _photograph({"image": path}, image_size)
        masks = network.masks(crop.as_tensor()[None].to(network.mean.device), threshold=threshold)[0].float().cpu()
        whole = cropper.inverse(MetaTensor(masks).copy_meta_from(crop)).as_tensor()
        files[path] = {key: folder / "masks" / key / f"{name}.png" for key in network.findings}
        for index, target in enumerate(files[path].values()):
            target.parent.mkdir(parents=True, exist_ok=True)
            write_mask(target, whole[[index]] >= 0.5)
    save_state(network.state_dict(), folder / STATE)
    save_datalist(with_masks(datalist, files, "activation maps"), folder / DATALIST)
    return folder
