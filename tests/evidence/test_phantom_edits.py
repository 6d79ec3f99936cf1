"""`evaluate --edits phantoms` against an editor that gives exactly what was asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from monai_retina_gen.data.phantom.smooth import FACTORS
from monai_retina_gen.evidence.edits.phantom_edits import FIRST_SEED, asked_phantoms, draw, figures, phantom_edits
from monai_retina_gen.generators import GeneratedBatch, PhantomGenerator

COUNT = 3


class ExactEditor(PhantomGenerator):
    """Draws the phantom that is asked for; knows the masks of all that it drew."""

    modes = frozenset({"edit"})

    def __init__(self, achieved: float = 1.0) -> None:
        super().__init__(z_dim=16, image_size=32)
        self.achieved, self.editor, self.known = achieved, self, dict[bytes, dict[str, Tensor]]()
        grades = torch.tensor([2 + i % 3 for i in range(COUNT)])
        self.all_factors = self.factors(self.latents([FIRST_SEED + i for i in range(COUNT)]), grades)
        self._remember(*self.draw(self.all_factors))

    def _remember(self, images: Tensor, masks: dict[str, Tensor]) -> Tensor:
        for i, image in enumerate(images):
            self.known[image.numpy().tobytes()] = {name: mask[i] for name, mask in masks.items()}
        return images

    def masks(self, images: Tensor) -> dict[str, Tensor]:
        found = [self.known[image.numpy().tobytes()] for image in images]
        return {name: torch.stack([each[name] for each in found]) for name in found[0]}

    def edit(self, images: Tensor, grades: Any, *, lesion: str, area_change: float, **options: Any) -> GeneratedBatch:  # type: ignore[override]
        own = self.masks(images)[lesion].sum((1, 2, 3)) * (1 + self.achieved * area_change)
        wanted = self.all_factors.clone()
        made, _ = asked_phantoms(self, wanted, lesion, own)
        masks = self._masks_of(wanted, lesion, own)
        self._remember(made, masks)
        records = [self.record("edit", 3, 0) for _ in range(len(images))]
        return GeneratedBatch(made, torch.as_tensor(grades), records, {k: (m >= 0.5).float() for k, m in masks.items()})

    def _masks_of(self, factors: Tensor, lesion: str, pixels: Tensor) -> dict[str, Tensor]:
        _, exact = asked_phantoms(self, factors, lesion, pixels)
        return {**self.draw(factors)[1], lesion: exact}


@pytest.mark.parametrize("lesion", ["ex", "he"])
def test_the_phantom_that_is_asked_for_has_so_many_pixels(lesion: str) -> None:
    teacher = PhantomGenerator(z_dim=16, image_size=64)
    grades = torch.tensor([2, 3])
    factors = teacher.factors(teacher.latents([1, 2]), grades)
    factors[:, FACTORS.index(lesion)] = 0.5
    own = teacher.draw(factors)[1][lesion].sum((1, 2, 3))
    image, mask = asked_phantoms(teacher, factors, lesion, own * 1.3)
    torch.testing.assert_close(mask.sum((1, 2, 3)), own * 1.3, rtol=0.05, atol=1.0)
    changed = (image - teacher.draw(factors)[0]).abs().amax(1, keepdim=True) > 0.02
    assert bool(changed.any())
    assert not bool((changed & (torch.nn.functional.max_pool2d(mask, 9, 1, 4) == 0)).any())


def test_an_exact_editor_gets_full_marks_and_a_weak_one_does_not() -> None:
    for achieved in (1.0, 0.0):
        teacher = ExactEditor(achieved)
        rows, sheets = phantom_edits(
            teacher,
            ["he"],
            count=COUNT,
            changes=(-0.5,),
            teacher=teacher,  # type: ignore[arg-type]
        )
        (found,) = figures(rows)
        assert found["n"] > 0
        assert sheets["he"].shape[0] == 3
        assert found["asked"] < 0
        if achieved:
            assert found["changed"] == pytest.approx(found["asked"], rel=0.35)  # soft masks counted from 0.5 on
            assert found["right_way"] == 1.0
            assert found["inside"] > 0.95
            assert found["error_after"] < 0.05 * found["error_before"]
        else:
            assert abs(found["changed"]) < 0.2 * abs(found["asked"])
            assert found["error_after"] > 0.5 * found["error_before"]


def test_plot(tmp_path: Any) -> None:
    row = {"lesion": "ex", "change": 0.3, "refused": "", "had": 10.0, "asked": 3.0, "changed": 2.0}
    draw([row], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000
