"""A generator that learns another's images: what the student is shown, and that it learns."""

from __future__ import annotations

import pytest
import torch

from monai_retina_gen.engines import PrepareImitationBatch
from monai_retina_gen.generators import GANGenerator
from monai_retina_gen.networks import ResidualGenerator, StyleGAN3


@pytest.fixture(scope="module")
def teacher() -> GANGenerator:
    torch.manual_seed(0)
    return GANGenerator(ResidualGenerator(image_size=64, num_classes=5, channels=(8, 8, 8, 8, 8), latent_dim=8))


def test_targets_are_the_teachers_samples(teacher: GANGenerator) -> None:
    batch = {"seed": torch.tensor([7, 8]), "grade": torch.tensor([0, 4])}
    latent, image, _, options = PrepareImitationBatch(teacher=teacher, image_size=64)(batch, "cpu")
    torch.testing.assert_close((image + 1) / 2, teacher.sample([0, 4], seeds=[7, 8]).image)
    assert torch.equal(latent, teacher.latents([7, 8]))
    assert options["grade"].tolist() == [0, 4]
    assert options["update_averages"]
    smaller = PrepareImitationBatch(teacher=teacher, image_size=32, update_averages=False)(batch, "cpu")
    assert smaller[1].shape[-2:] == (32, 32)
    assert set(smaller[3]) == {"grade"}
    with pytest.raises(ValueError, match="too small to learn 128 px"):
        PrepareImitationBatch(teacher=teacher, image_size=128)


def test_a_student_comes_closer(teacher: GANGenerator) -> None:
    torch.manual_seed(0)
    student = StyleGAN3(image_size=32, z_dim=8, w_dim=8, num_classes=5, channel_base=256, channel_max=8)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.01)
    prepare = PrepareImitationBatch(teacher=teacher, image_size=32)
    losses = []
    batch = {"seed": torch.arange(4), "grade": torch.arange(4)}
    for _ in range(25):
        latent, image, _, options = prepare(batch, "cpu")
        loss = (student.train()(latent, **options) - image).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])
    assert student.w_avg.abs().sum() > 0  # the averages that truncation and layers need were taken along
