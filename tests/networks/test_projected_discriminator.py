"""The projected discriminator: what is frozen, what learns, what reaches the generator, and its mixing by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader

from monai_retina_gen.engines import AlternatingTrainer, DiscriminatorAugment, PrepareAdversarialBatch
from monai_retina_gen.losses import HingeLoss, MultiScaleAdversarialLoss
from monai_retina_gen.networks import ProjectedDiscriminator


class Pyramid(nn.Module):
    """Random features at two strides, with what evaluation mode would change."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.norm = nn.Conv2d(3, 6, 2, stride=2), nn.BatchNorm2d(6)
        self.coarse = nn.Conv2d(6, 8, 2, stride=2)

    def features_at(self, image: Tensor, layers: list[str]) -> dict[str, Tensor]:
        fine = torch.tanh(self.norm(self.fine(image)))
        return {name: fine if name == "fine" else self.coarse(fine) for name in layers}


class Generator(nn.Module):
    """A latent of 3 to an image of 32 px, whatever the grade."""

    latent_dim, latent_distribution = 3, "normal"

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 3 * 64), nn.Unflatten(1, (3, 8, 8)), nn.Upsample(size=32), nn.Tanh())

    def forward(self, latent: Tensor, grade: Tensor) -> Tensor:
        image: Tensor = self.layers(latent)
        return image


def discriminator(size: int = 32, **options: Any) -> ProjectedDiscriminator:
    torch.manual_seed(0)
    return ProjectedDiscriminator(
        **{"features": Pyramid(), "image_size": size, "layers": ("fine", "coarse"), "width": 8, **options}
    )


def test_scores_of_places_at_every_scale() -> None:
    scores = discriminator()(torch.rand(3, 3, 32, 32) * 2 - 1)["score"]
    assert [tuple(score.shape) for score in scores] == [(3, 4, 4), (3, 4, 4)]
    small = discriminator(feature_size=16)(torch.rand(3, 3, 32, 32) * 2 - 1)["score"]
    assert [tuple(score.shape) for score in small] == [(3, 4, 4), (3, 4, 4)]
    with pytest.raises(ValueError, match="made for 32"):
        discriminator()(torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match="features_at"):
        discriminator(features=nn.Flatten())


def test_mixing_is_linear_in_the_features_from_coarse_to_fine() -> None:
    mixing = discriminator().mixing
    fine, coarse = torch.rand(1, 6, 16, 16), torch.rand(1, 8, 8, 8)
    found = mixing([fine, coarse])
    c0, c1, s = mixing.channel[0], mixing.channel[1], mixing.scale[0]
    by_hand = torch.einsum("oi,bihw->bohw", c1.weight[:, :, 0, 0], coarse)
    torch.testing.assert_close(found[1], by_hand)
    raised = interpolate(torch.conv2d(by_hand, s.weight, padding=1), size=16, mode="bilinear")
    torch.testing.assert_close(found[0], torch.einsum("oi,bihw->bohw", c0.weight[:, :, 0, 0], fine) + raised)
    assert int(torch.linalg.matrix_rank(c1.weight[:, :, 0, 0])) == 8  # nothing is lost


def test_discriminators_are_spectrally_normalised() -> None:
    network = discriminator(num_classes=5).train()
    for _ in range(30):  # each forward pass is one step of the power iteration
        network(torch.rand(2, 3, 32, 32), torch.tensor([0, 1]))
    for judge in network.discriminators:
        for layer in (*judge.layers, judge.score, judge.embedding):
            norm = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2)
            assert float(norm) == pytest.approx(1, abs=0.02)


def test_grades_count_only_where_asked_for() -> None:
    image = torch.rand(2, 3, 32, 32)
    conditional, plain = discriminator(num_classes=5).eval(), discriminator().eval()
    first, second = (conditional(image, torch.tensor(grades))["score"][0] for grades in ([0, 4], [1, 4]))
    assert not torch.equal(first[0], second[0])
    torch.testing.assert_close(first[1], second[1])
    unknown = conditional(image, torch.tensor([5, 5]))["score"]
    torch.testing.assert_close(conditional(image)["score"], unknown)
    torch.testing.assert_close(plain(image, torch.tensor([0, 4]))["score"], plain(image)["score"])


def test_the_projection_is_part_of_the_state() -> None:
    first, second = discriminator().eval(), discriminator().eval()
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(0.1)
    image = torch.rand(1, 3, 32, 32)
    assert not torch.equal(first(image)["score"][0], second(image)["score"][0])
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(image)["score"][0], second(image)["score"][0])


def test_trained_by_the_trainer_only_generator_and_discriminators_learn() -> None:
    torch.manual_seed(0)
    generator, network = Generator(), discriminator(num_classes=5)
    frozen = {k: v.clone() for k, v in network.state_dict().items() if k.startswith(("features", "mixing"))}
    learns = {k: p for k, p in (*generator.named_parameters(), *network.named_parameters()) if p.requires_grad}
    before = {k: p.detach().clone() for k, p in learns.items()}
    items = [{"image": torch.rand(3, 32, 32), "grade": i % 5} for i in range(8)]
    trainer = AlternatingTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=DataLoader(items, batch_size=4),
        generator=generator,
        discriminator=network,
        g_optimizer=torch.optim.Adam(generator.parameters(), 1e-3),
        d_optimizer=torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 1e-3),
        loss=MultiScaleAdversarialLoss(base=HingeLoss()),
        augment=DiscriminatorAugment(operations="fundus", p=0.5),
        prepare_batch=PrepareAdversarialBatch(condition_keys=("grade",)),
    )
    trainer.run()
    assert not network.features.training
    for key, value in frozen.items():
        assert torch.equal(network.state_dict()[key], value), key
    assert not [name for name in learns if name.startswith(("features", "mixing"))]
    still = [name for name, value in before.items() if torch.equal(value, learns[name])]
    # within the margins both halves of the loss pull at the last bias alike
    assert all(name.endswith("score.bias") for name in still), still


def test_gradient_passes_augmentation_and_features_to_the_image() -> None:
    image = torch.rand(2, 3, 32, 32, requires_grad=True)
    loss = MultiScaleAdversarialLoss(base=HingeLoss())
    loss.generator(discriminator()(DiscriminatorAugment(operations="fundus", p=0.5)(image))).backward()
    assert image.grad is not None
    assert (image.grad.flatten(1).abs().amax(1) > 0).all()
    assert torch.isfinite(image.grad).all()
