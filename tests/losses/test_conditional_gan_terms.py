"""Losses of DR-GAN: adversarial over scales, least squares, feature matching, paired perceptual, grades."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from monai_retina_gen.engines import DiscriminatorAugment
from monai_retina_gen.engines.distributed import repeatable
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.losses import (
    AdversarialStep,
    DiscriminatedGrade,
    EncodedGrade,
    FeatureMatching,
    LeastSquaresLoss,
    MultiScaleAdversarialLoss,
    NonSaturatingLoss,
    PairedPerceptual,
)


def step(**fields: Any) -> AdversarialStep:
    names = (
        "real",
        "fake",
        "score",
        "augment",
        "seen_real",
        "seen_fake",
        "real_scores",
        "fake_scores",
        "mix",
        "latent",
    )
    return AdversarialStep(**(dict.fromkeys(names) | fields))


def test_adversarial_loss_is_the_cross_entropy_of_every_scale() -> None:
    torch.manual_seed(0)
    loss = MultiScaleAdversarialLoss(base=NonSaturatingLoss())
    real, fake = ({"score": [torch.randn(3), torch.randn(3, 2, 2)]} for _ in range(2))
    bce = binary_cross_entropy_with_logits
    expected = sum(bce(r, torch.ones_like(r)) for r in real["score"]) + sum(
        bce(f, torch.zeros_like(f)) for f in fake["score"]
    )
    torch.testing.assert_close(loss.discriminator(real, fake), expected)
    expected = sum(bce(f, torch.ones_like(f)) for f in fake["score"])
    torch.testing.assert_close(loss.generator(fake), expected)


def test_least_squares() -> None:
    real, fake = torch.randn(4, 3), torch.randn(4, 3)
    loss = LeastSquaresLoss()
    ones, zeros = torch.ones(4, 3), torch.zeros(4, 3)
    torch.testing.assert_close(loss.discriminator(real, fake), mse_loss(real, ones) + mse_loss(fake, zeros))
    torch.testing.assert_close(loss.generator(fake), mse_loss(fake, ones))


def test_feature_matching_against_the_norm() -> None:
    torch.manual_seed(1)
    shapes = [[(2, 3, 4, 4), (2, 5)], [(2, 3, 2, 2), (2, 6)]]
    real, fake = ({"features": [[torch.randn(s) for s in scale] for scale in shapes]} for _ in range(2))
    expected = 0.0
    for reals, fakes in zip(real["features"], fake["features"], strict=True):
        layers = [
            sum(float((x[b] - y[b]).norm()) / math.sqrt(x[b].numel()) for b in range(2)) / 2
            for x, y in zip(reals, fakes, strict=True)
        ]
        expected += sum(layers) / 2
    term = FeatureMatching(weight=10.0)
    assert float(term.distance(real, fake)) == pytest.approx(expected, rel=1e-5)
    assert float(term(step(score=lambda images: real, fake_scores=fake))) == pytest.approx(10 * expected, rel=1e-5)


def test_feature_matching_compares_pairs_that_are_augmented_alike() -> None:
    """The real image of a pair is turned and coloured as the generated one: equal images have no distance."""
    augment = DiscriminatorAugment(operations="fundus")
    augment.p.fill_(1.0)
    alike, image = repeatable(augment, torch.device("cpu")), torch.rand(4, 3, 16, 16) * 2 - 1

    def score(images: torch.Tensor) -> dict[str, Any]:
        return {"features": [[images]]}

    seen = alike(image)
    before = torch.get_rng_state()
    term = FeatureMatching()
    assert float(term(step(score=score, real=image, fake_scores=score(seen), augment_alike=alike))) == 0
    assert torch.equal(torch.get_rng_state(), before)  # what is drawn next is not moved
    assert float(term(step(score=score, real=image, fake_scores=score(seen), augment_alike=augment))) > 0.1


def test_feature_matching_teaches_the_generated_side_alone() -> None:
    real, fake = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    FeatureMatching().distance({"features": [[real]]}, {"features": [[fake]]}).backward()
    assert real.grad is None
    assert fake.grad is not None
    equal = torch.zeros(2, 3, requires_grad=True)
    FeatureMatching().distance({"features": [[torch.zeros(2, 3)]]}, {"features": [[equal]]}).backward()
    assert equal.grad is not None
    assert equal.grad.isfinite().all()
    with pytest.raises(ValueError, match="weight"):
        FeatureMatching(weight=-1)


class TwoLayers(nn.Module):
    """Features whose difference is known: the image, and ten times its mean."""

    layers = ("one", "two", "")

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def features_at(self, image: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        found = {"one": self.scale * image, "two": 10 * image.mean((2, 3))}
        return {name: found[name] for name in layers}


def test_paired_perceptual_by_hand() -> None:
    fake, real = torch.full((2, 3, 4, 4), 0.75), torch.full((2, 3, 4, 4), 0.5)
    layers = {"one": 0.25, "two": 2.5, "pixels": 0.25}
    printed = PairedPerceptual(network=TwoLayers(), relative=False, pixels=False, weight=10.0)
    assert float(printed.distance(fake, real)) == pytest.approx((layers["one"] + layers["two"]) / 2)
    relative = PairedPerceptual(network=TwoLayers())
    assert float(relative.distance(fake, real)) == pytest.approx(0.5, rel=1e-4)  # each layer is off by a half
    found = relative(step(fake=2 * fake - 1, real=2 * real - 1))
    assert float(found) == pytest.approx(5.0, rel=1e-4)


def test_paired_perceptual_holds_no_state_and_freezes_its_network() -> None:
    network = TwoLayers()
    term = PairedPerceptual(network=network)
    assert not term.state_dict()
    assert not list(term.parameters())
    assert not network.scale.requires_grad
    fake = torch.rand(1, 3, 4, 4, requires_grad=True)
    term.distance(fake, torch.rand(1, 3, 4, 4)).backward()
    assert fake.grad is not None
    assert term.to(torch.float64) is term
    assert network.scale.dtype == torch.float64  # moves along


def test_paired_perceptual_refuses() -> None:
    with pytest.raises(ValueError, match="features_at"):
        PairedPerceptual(network=nn.Identity())
    with pytest.raises(ImageValueError, match="differ in shape"):
        PairedPerceptual(network=TwoLayers()).distance(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 8, 8))


def test_grades_of_real_and_generated_images() -> None:
    torch.manual_seed(2)
    grade = torch.tensor([0, 3, 4])
    real, fake = ({"grade": [torch.randn(3, 5), torch.randn(3, 5)]} for _ in range(2))
    term = DiscriminatedGrade(weight=2.0, gamma=0.0)
    both = sum(cross_entropy(x, grade) for x in real["grade"] + fake["grade"])
    found = term(step(real_scores=real, fake_scores=fake, condition={"grade": grade}))
    torch.testing.assert_close(found, 2 * both)
    alone = term(step(fake_scores=fake, condition={"grade": grade}))
    torch.testing.assert_close(alone, 2 * sum(cross_entropy(x, grade) for x in fake["grade"]))


def test_grade_of_the_encoder_is_learned_from_masks() -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(9, 5)

        def predict_grade(self, condition: Tensor) -> Tensor:
            return self.head(condition.mean((2, 3)))

    encoder, grade = Encoder(), torch.tensor([1, 2])
    condition = {"condition": torch.rand(2, 9, 4, 4), "grade": grade}
    term = EncodedGrade(generator=encoder, gamma=0.0)
    found = term(step(condition=condition))
    torch.testing.assert_close(found, cross_entropy(encoder.predict_grade(condition["condition"]), grade))
    found.backward()
    assert encoder.head.weight.grad is not None
