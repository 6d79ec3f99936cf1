"""Checks on the way of a training step do not wait for the GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from monai_retina_gen.engines import PreparePaintingBatch
from monai_retina_gen.losses import LPIPSDR, HoleError, PairedPerceptual, PieceColour, WeightedHinge
from monai_retina_gen.networks import FundusGrader, LesionPainter, PaintingDiscriminator, StyleDiscriminator, StyleGAN3


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def check(step: Callable[[], object]) -> None:
    step()  # the first call looks at values, and makes what is kept
    torch.cuda.synchronize()
    with waiting_is_an_error():
        step()


def test_networks_with_grades() -> None:
    small = {"image_size": 32, "channel_base": 256, "channel_max": 8, "num_classes": 5}
    network, critic = StyleGAN3(z_dim=8, w_dim=8, **small).cuda(), StyleDiscriminator(**small).cuda()  # type: ignore[arg-type]
    latent, grade = torch.randn(2, 8, device="cuda"), torch.tensor([1, 5], device="cuda")
    check(lambda: critic(network(latent, grade), grade).mean().backward())


def test_perceptual_distance() -> None:
    distance = LPIPSDR(network=FundusGrader(backbone="vgg16", width=0.125, num_classes=2)).cuda()
    x, y = (torch.rand(2, 3, 32, 32, device="cuda").requires_grad_() for _ in range(2))
    check(lambda: distance(x, y).mean().backward())


def test_painter() -> None:
    features = FundusGrader(backbone="vgg16", width=0.125, num_classes=2).cuda()
    network = LesionPainter(channels=(4, 8)).cuda()
    critic = PaintingDiscriminator(base_width=4, features=features, feature_layers=["pool2"], feature_width=4).cuda()
    masks = torch.full((2, 7, 64, 64), 255, dtype=torch.uint8, device="cuda")
    given = {"image": torch.zeros(2, 3, 64, 64, dtype=torch.uint8, device="cuda"), "masks": masks}
    prepare = PreparePaintingBatch()

    def step() -> None:
        real, condition = prepare(given, "cuda", non_blocking=True)
        fake, canvas = network(**condition), condition["canvas"]
        scores, loss = critic(fake, canvas), WeightedHinge()
        errors = HoleError().distance(fake, real, canvas) + PieceColour().distance(fake, real, canvas)
        (loss.discriminator(critic(real, canvas), scores) + loss.generator(scores) + errors).backward()

    check(step)


def test_value_errors_are_still_found_at_the_first_call() -> None:
    distance = LPIPSDR(network=FundusGrader(backbone="vgg16", width=0.125, num_classes=2)).cuda()
    with pytest.raises(ValueError, match="preds: values"):
        distance(255 * torch.rand(1, 3, 32, 32, device="cuda"), torch.rand(1, 3, 32, 32, device="cuda"))
    assert PairedPerceptual  # its check is of shapes alone
