"""Colour of pieces: mean colours are compared, and each lesion counts alike."""

from __future__ import annotations

import torch

from monai_retina_gen.losses import PieceColour


def canvas() -> torch.Tensor:
    made = torch.zeros(1, 10, 64, 64)
    made[:, 4] = 1
    made[:, 7, 4:36, 4:36] = 1  # a large haemorrhage
    made[:, 9, 52:56, 52:56] = 1  # a small soft exudate
    return made


def test_texture_is_free_and_a_shift_is_not() -> None:
    given, real = canvas(), torch.zeros(1, 3, 64, 64)
    chequered = 0.2 * (torch.arange(64) % 2 * 2 - 1).expand(1, 3, 64, 64) * given[:, 7:8]
    term = PieceColour(weight=1.0, size=9)
    assert float(term.distance(chequered, real, given)) < 0.002  # places at the edge see an odd number of columns
    shifted = -0.2 * given[:, 7:8].expand(1, 3, 64, 64)
    torch.testing.assert_close(term.distance(shifted, real, given), torch.tensor(0.04 / 2), atol=1e-4, rtol=0)


def test_small_and_large_lesions_count_alike_and_outside_of_holes_nothing_does() -> None:
    given, real = canvas(), torch.zeros(1, 3, 64, 64)
    term = PieceColour(weight=1.0)
    each = [term.distance(0.2 * given[:, i : i + 1].expand(1, 3, 64, 64), real, given) for i in (7, 9)]
    torch.testing.assert_close(each[0], each[1], atol=1e-4, rtol=0)
    given[:, 4] = 0
    assert float(term.distance(real + 1, real, given)) == 0


def test_the_best_colour_is_the_mean_and_not_the_median() -> None:
    """A mask of which a third is lesion: the absolute error is content with retina."""
    given = canvas()
    values = torch.linspace(-0.5, 0.5, 101)
    real = -0.3 * (torch.arange(64) % 3 == 0).expand(1, 3, 64, 64)
    errors = [float(PieceColour(size=27).distance(torch.full_like(real, float(v)), real, given)) for v in values]
    assert abs(float(values[errors.index(min(errors))]) + 0.1) < 0.03
