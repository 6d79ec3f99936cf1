"""Discriminators of DR-GAN: three of one structure, at full, half and a quarter of the size, with a grade head each.

Source: Zhou et al. (DR-GAN), section III.C; the patch head after pix2pix (Isola et al. 2017, arXiv:1611.07004).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from monai_retina_gen.data.condition_map import CONDITION_KEYS
from monai_retina_gen.networks.drgan import initialise, resized_masks

HEADS = ("pooled", "patch")
SMALLEST = 16
"""Pixels that four halvings reduce to one."""


class MultiScaleDiscriminator(nn.Module):
    """Scores, grades and features of photographs with their condition maps, at several scales.

    Each discriminator has four convolutions (kernel 4, stride 2, leaky ReLU 0.2) over condition map and image together.
    Global average pooling fits it to any size; a linear layer each gives score and grade.

    Args:
        base_width: channels of the first layer; doubled by each of the others.
        scales: number of discriminators; each sees half the size of the one before, 16 px at least.
        num_classes: grades.
        condition_keys: channels of the condition map that are read, as the generator's.
        head: `"pooled"` is the paper's: one score an image. `"patch"` scores every place of the last features, so that
            few photographs give many examples.

    Shape:
        - image: `(B, 3, H, W)` in [-1, 1]; condition: `(B, 9, h, w)` in [0, 1], brought to the image's size.
        - output: dictionary of `score` (for each scale `(B,)`, or `(B, h, w)` of patches), `grade` (for each scale
          `(B, num_classes)`) and `features` (for each scale the four layers' outputs).

    Raises:
        ValueError: for another head, unknown keys, or less than one scale; for images that have less than 16 px at the
            last scale.

    Examples:
        >>> network = MultiScaleDiscriminator(base_width=4)
        >>> found = network(torch.zeros(2, 3, 64, 64), torch.zeros(2, 9, 64, 64))
        >>> [x.shape for x in found["score"]], found["grade"][0].shape, len(found["features"][2])
        ([torch.Size([2]), torch.Size([2]), torch.Size([2])], torch.Size([2, 5]), 4)
    """

    channels: Tensor

    def __init__(
        self,
        *,
        base_width: int = 64,
        scales: int = 3,
        num_classes: int = 5,
        condition_keys: Sequence[str] = CONDITION_KEYS,
        head: str = "pooled",
    ) -> None:
        super().__init__()
        unknown = [key for key in condition_keys if key not in CONDITION_KEYS]
        if head not in HEADS or unknown or scales < 1:
            raise ValueError(
                f"head={head!r}, scales={scales}, condition_keys={list(condition_keys)}: want one of {HEADS}, at least "
                f"one scale, and keys of {', '.join(CONDITION_KEYS)}"
            )
        channels = torch.tensor([CONDITION_KEYS.index(key) for key in condition_keys])
        self.register_buffer("channels", channels, persistent=False)  # a list would be copied to the GPU at every call
        inside = 3 + len(condition_keys)
        self.discriminators = nn.ModuleList(
            _Discriminator(inside, base_width, num_classes, patch=head == "patch") for _ in range(scales)
        )

    def forward(self, image: Tensor, condition: Tensor, grade: Tensor | None = None) -> dict[str, list[Tensor]]:
        """Judge images; `grade` is there for trainers that pass all conditions, and is not looked at."""
        smallest = SMALLEST * 2 ** (len(self.discriminators) - 1)
        if min(image.shape[2:]) < smallest:
            raise ValueError(
                f"image: size {tuple(image.shape[2:])} came, {len(self.discriminators)} scales need {smallest} pixels: "
                "take fewer scales"
            )
        condition = resized_masks(condition.index_select(1, self.channels), image.shape[-2], image.shape[-1])
        x = torch.cat([image, condition.to(image.dtype)], dim=1)
        found: dict[str, list[Tensor]] = {"score": [], "grade": [], "features": []}
        for index, discriminator in enumerate(self.discriminators):
            x = avg_pool2d(x, 2) if index else x
            score, logits, features = discriminator(x)
            found["score"].append(score)
            found["grade"].append(logits)
            found["features"].append(features)
        return found


class _Discriminator(nn.Module):
    def __init__(self, inside: int, width: int, num_classes: int, *, patch: bool) -> None:
        super().__init__()
        widths = [width * factor for factor in (1, 2, 4, 8)]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 4, stride=2, padding=1), nn.LeakyReLU(0.2))
            for i, o in zip([inside, *widths], widths, strict=False)
        )
        self.patch = patch
        self.score: nn.Module = nn.Conv2d(widths[-1], 1, 1) if patch else nn.Linear(widths[-1], 1)
        self.grade = nn.Linear(widths[-1], num_classes)
        self.layers.apply(initialise)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        features = []
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        pooled = x.mean((2, 3))
        score = self.score(x) if self.patch else self.score(pooled)
        return score.squeeze(1), self.grade(pooled), features
