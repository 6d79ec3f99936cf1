"""The discriminator of painted photographs: where it looks, what is saved of it, and that it learns at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from monai_retina_gen.losses import WeightedHinge
from monai_retina_gen.networks import FundusGrader, PaintingDiscriminator


def judge() -> PaintingDiscriminator:
    torch.manual_seed(0)
    features = FundusGrader(backbone="vgg16", width=0.125, num_classes=2)
    return PaintingDiscriminator(base_width=8, features=features, feature_layers=["pool1", "pool2"], feature_width=8)


def canvas(count: int = 2) -> Tensor:
    made = torch.zeros(count, 10, 64, 64)
    made[:, 3], made[:, 4, 16:32, 16:32], made[:, 7, 20:28, 20:28] = 1, 1, 1
    return made


def test_a_patch_counts_by_its_share_of_hole_and_more_with_a_lesion() -> None:
    found = judge()(torch.zeros(2, 3, 64, 64), canvas())
    assert [x.shape for x in found["score"]] == [(2, 8, 8), (2, 32, 32), (2, 16, 16)]
    assert [x.shape for x in found["weight"]] == [x.shape for x in found["score"]]
    weight = found["weight"][2]  # places of 4 px
    assert float(weight[0, 4, 4]) == 1
    assert float(weight[0, 5, 5]) == 5
    assert float(weight[0, 8:].sum() + weight[0, :4].sum()) == 0


def test_outside_the_field_and_the_holes_masks_are_not_seen() -> None:
    network, one = judge().eval(), canvas()
    other = one.clone()
    other[:, :3], other[:, 8, 40:50, 40:50] = 0.7, 1
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    for found, again in zip(network(image, one)["score"], network(image, other)["score"], strict=True):
        torch.testing.assert_close(found, again)


def test_features_are_frozen_and_no_part_of_the_state() -> None:
    network = judge()
    assert not any("features" in key for key in network.state_dict())
    frozen = list(network._features[0].parameters())
    assert not any(p.requires_grad for p in frozen)
    image = torch.rand(2, 3, 64, 64, requires_grad=True)
    network(image, canvas())["score"][1].mean().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    network.to(torch.float64)
    assert next(network._features[0].parameters()).dtype == torch.float64


def test_it_tells_faint_lesions_from_real_ones_within_tens_of_steps() -> None:
    """Each judge by itself: the loss is 2 where it knows nothing."""
    network, loss, given = judge(), WeightedHinge(), canvas(4)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3, betas=(0.5, 0.99))
    generator = torch.Generator().manual_seed(0)
    last: list[float] = []
    for _ in range(60):
        retina = 0.1 * torch.randn(4, 3, 64, 64, generator=generator)
        real, fake = retina - 0.3 * given[:, 7:8], retina - 0.1 * given[:, 7:8]
        scores = [network(image, given) for image in (real, fake)]
        each = [[{key: [x[i]] for key, x in score.items()} for score in scores] for i in range(3)]
        last = [float(loss.discriminator(*pair).detach()) for pair in each]
        optimizer.zero_grad()
        loss.discriminator(*scores).backward()
        optimizer.step()
    assert max(last) < 1.8, last


def test_another_network_is_refused() -> None:
    with pytest.raises(ValueError, match="features_at"):
        PaintingDiscriminator(features=nn.Conv2d(3, 3, 1))
