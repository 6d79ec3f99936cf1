"""One number where one is meant: lists, tuples, texts and numbers out of range are named in one line."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_retina_gen.__main__ import main
from monai_retina_gen.arguments import check_real, check_whole
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.generators import DRGANGenerator, GANGenerator, VAEGenerator
from monai_retina_gen.networks import DRGAN, DeconvolutionGenerator, FundusVAE, ResidualGenerator, StyleGAN3
from monai_retina_gen.transforms import CropToFieldOfView, GenerativeAugment, RandLesionCropd
from monai_retina_gen.weights.perceptual import load_perceptual

OTHERS = st.one_of(st.text(), st.booleans(), st.none(), st.lists(st.integers()), st.tuples(st.integers()), st.just(1j))


@given(st.integers(-10, 10), st.integers(-10, 10))
def test_a_whole_number_passes_from_the_least_on(value: int, least: int) -> None:
    if value >= least:
        assert check_whole("count", value, least=least) == value
    else:
        with pytest.raises(ValueError, match=f"^count: {value} came, one whole number from {least} is wanted$"):
            check_whole("count", value, least=least)


@given(st.floats(), st.floats(-1, 0), st.floats(0, 1))
def test_a_number_passes_within_its_limits(value: float, least: float, most: float) -> None:
    if math.isfinite(value) and least <= value <= most:
        assert check_real("share", value, least=least, most=most) == value
    else:
        with pytest.raises(ValueError, match=r"^share: .* came, one number from .* to .* is wanted$"):
            check_real("share", value, least=least, most=most)


@given(OTHERS)
def test_anything_else_is_named_with_its_type(value: Any) -> None:
    for check in (check_real, check_whole):
        with pytest.raises(ValueError, match=r"^size: .* is wanted") as raised:
            check("size", value)
        assert repr(value) in str(raised.value)


def untrained() -> FundusVAE:
    return FundusVAE(image_size=64, latent_dim=4, channels=(8, 8, 8, 8))


def painter() -> DRGAN:
    return DRGAN(base_width=4, residual_blocks=1, grading_vectors=False)


@pytest.mark.parametrize(
    ("named", "make"),
    [
        ("size", lambda x: CropToFieldOfView(size=x)),
        ("margin", lambda x: CropToFieldOfView(size=64, margin=x)),
        ("size", lambda x: RandLesionCropd(size=x, structures=["ex"])),
        ("prob", lambda x: GenerativeAugment(generator="retina_vae", prob=x)),
        ("prob", lambda x: GenerativeAugment(generator="retina_vae", prob={2: x})),
        ("strength", lambda x: GenerativeAugment(generator="retina_vae", mode="edit", strength=x)),
        ("image_size", lambda x: FundusVAE(image_size=x)),
        ("image_size", lambda x: DeconvolutionGenerator(image_size=x)),
        ("image_size", lambda x: ResidualGenerator(image_size=x)),
        ("image_size", lambda x: StyleGAN3(image_size=x)),
        ("image_size", lambda x: DRGANGenerator(painter(), image_size=x)),
        ("temperature", lambda x: VAEGenerator(untrained(), temperature=x)),
        ("temperature", lambda x: GANGenerator(DeconvolutionGenerator(width=4), temperature=x)),
    ],
)
def test_lists_where_a_number_is_meant(named: str, make: Callable[[Any], Any]) -> None:
    for value in ([64], (64, 64, 64), "x"):
        with pytest.raises(ValueError, match=rf"^{named}\b.* (came|want)") as raised:
            make(value)
        assert "\n" not in str(raised.value)


def test_images_too_small_for_a_perceptual_distance() -> None:
    distance = load_perceptual("untrained")
    with pytest.raises(ImageValueError, match="16 x 20 px are too small for the layers pool1"):
        distance(torch.rand(1, 3, 16, 20), torch.rand(1, 3, 16, 20))


@pytest.mark.parametrize(
    "words", [["preview", "--count", "0"], ["expand", "--batch-size", "0"], ["demo", "--seeds", "x"]]
)
def test_numbers_of_commands(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(words)
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"argument {words[1]}: {words[2]!r} came, one whole number from 1 is wanted" in said


def test_a_console_that_knows_ascii_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(written, encoding="ascii", write_through=True))
    assert main(["model", "pin", "n\u00e9ant"]) == 2
    assert "error: bundle 'n\\xe9ant' was not found" in written.getvalue().decode("ascii")
