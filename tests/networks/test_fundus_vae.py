"""FundusVAE and its loss: shapes, gradients, closed forms, the fitted prior."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from monai_retina_gen.losses import ELBOLoss, class_weights, kl_divergence
from monai_retina_gen.networks import FundusVAE, PerGradeVAE


@pytest.mark.parametrize("size", [64, 128, 256])
def test_default_networks_fit_every_size(size: int) -> None:
    vae = FundusVAE(image_size=size).eval()
    assert vae(torch.rand(1, 3, size, size), torch.tensor([2])).shape == (1, 3, size, size)


def test_size_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ValueError, match="100 cannot be halved"):
        FundusVAE(image_size=100)


def test_grade_changes_the_image_and_unknown_is_its_own_grade() -> None:
    torch.manual_seed(0)
    vae = FundusVAE(image_size=64, latent_dim=4, channels=(8, 8, 8, 8)).eval()
    latent = torch.zeros(1, 4)
    images = [vae.decode(latent, torch.tensor([g])) for g in range(6)] + [vae.decode(latent)]
    assert not torch.allclose(images[0], images[4])
    assert torch.equal(images[5], images[6])


def test_every_parameter_gets_a_gradient() -> None:
    vae = FundusVAE(image_size=64, latent_dim=4, channels=(8, 8, 8, 8))
    for parameter in vae.parameters():  # zero-initialised modulation would hide the embedding's gradient
        torch.nn.init.normal_(parameter, std=0.1)
    mean, log_variance = vae.encode(torch.rand(2, 3, 64, 64), torch.tensor([0, 5]))
    (vae.decode(mean, torch.tensor([0, 5])).sum() + log_variance.sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.parameters())


def test_kl_equals_torch_distributions() -> None:
    mean, log_variance = torch.randn(50), torch.randn(50)
    oracle = torch_kl(Normal(mean, (0.5 * log_variance).exp()), Normal(torch.zeros(50), torch.ones(50)))
    torch.testing.assert_close(kl_divergence(mean, log_variance), oracle, rtol=1e-5, atol=1e-6)


def test_elbo_terms_add_up() -> None:
    outputs = {"logits": torch.randn(4, 3, 8, 8), "mean": torch.randn(4, 6), "log_variance": torch.randn(4, 6)}
    target = torch.rand(4, 3, 8, 8)
    pixels = -(target * outputs["logits"].sigmoid().log() + (1 - target) * (-outputs["logits"]).sigmoid().log())
    kl = kl_divergence(outputs["mean"], outputs["log_variance"])
    expected = pixels.sum() / 4 + 0.5 * kl.sum() / 4
    torch.testing.assert_close(ELBOLoss(kl_weight=0.5)(outputs, target), expected)


def test_free_bits_are_not_penalised() -> None:
    outputs = {"logits": torch.zeros(2, 3, 4, 4), "mean": torch.full((2, 3), 0.1), "log_variance": torch.zeros(2, 3)}
    target = torch.zeros(2, 3, 4, 4)
    difference = ELBOLoss(free_bits=0.5)(outputs, target) - ELBOLoss(kl_weight=0.0)(outputs, target)
    assert float(difference) == pytest.approx(3 * 0.5)


def test_perceptual_switch() -> None:
    with pytest.raises(ValueError, match="needs `perceptual`"):
        ELBOLoss(perceptual_weight=1.0)

    class Distance(torch.nn.Module):
        def forward(self, image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return (image - target).abs().mean(dim=(1, 2, 3))

    outputs = {"logits": torch.zeros(2, 3, 4, 4), "mean": torch.zeros(2, 3), "log_variance": torch.zeros(2, 3)}
    with_term = ELBOLoss(perceptual=Distance(), perceptual_weight=2.0)(outputs, torch.zeros(2, 3, 4, 4))
    assert float(with_term - ELBOLoss()(outputs, torch.zeros(2, 3, 4, 4))) == pytest.approx(1.0)


def test_fitted_prior_has_the_moments_of_each_side() -> None:
    torch.manual_seed(0)
    vae = FundusVAE(image_size=64, latent_dim=3, channels=(8, 8, 8, 8), num_classes=1)
    means = torch.randn(4000, 3) @ torch.tensor([[0.2, 0.1, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 0.1]])
    means[:, 0] += 5  # mirroring an eye changes the sign of the first latent
    mirrored = means * torch.tensor([-1.0, 1.0, 1.0])
    zeros = torch.zeros(20000, dtype=torch.long)
    vae.fit_prior(means, mirrored, torch.full_like(means, 0.2), zeros[:4000], shrinkage=0.0)
    found = {round(float(vae.prior_mean[0, side, 0])) for side in (0, 1)}
    assert found == {5, -5}
    for side in (0, 1):
        own = means if vae.prior_mean[0, side, 0] > 0 else mirrored
        draws = vae.prior(torch.randn(20000, 3), zeros, zeros + side)
        torch.testing.assert_close(draws.mean(0), own.mean(0), atol=0.1, rtol=0)
        torch.testing.assert_close(draws.T.cov(), own.T.cov() + 0.2 * torch.eye(3), atol=0.1, rtol=0)


def test_a_grade_keeps_its_own_moments_with_the_stated_weight() -> None:
    """n / (n + shrinkage) for n photographs, each of which shows one view on either side."""
    generator = torch.Generator().manual_seed(0)
    vae = FundusVAE(image_size=64, latent_dim=3, channels=(8, 8, 8, 8), num_classes=2)
    means, grades = torch.randn(90, 3, generator=generator), torch.tensor([0] * 60 + [1] * 30)
    means[:, 0] += 20  # far from its mirror image
    means[grades == 1, 1] += 7
    vae.fit_prior(means, means * torch.tensor([-1.0, 1, 1]), torch.ones_like(means), grades, shrinkage=20.0)
    for grade, weight in ((0, 60 / 80), (1, 30 / 50), (2, 1.0)):
        rows = (grades == grade) | (grade == 2)
        expected = weight * means[rows, 1:].mean(0) + (1 - weight) * means[:, 1:].mean(0)
        for side in (0, 1):
            torch.testing.assert_close(vae.prior_mean[grade, side, 1:], expected, atol=1e-4, rtol=0)


def test_prior_of_fewer_photographs_than_dimensions() -> None:
    """Large latents of few photographs with little noise: singular but for the noise, which single precision loses."""
    vae = FundusVAE(image_size=64, latent_dim=64, channels=(8, 8, 8, 8))
    means = 300 * torch.randn(6, 64, generator=torch.Generator().manual_seed(0))
    vae.fit_prior(means, -means, torch.full_like(means, 1e-3), torch.tensor([0, 0, 1, 2, 3, 4]))
    covariance = vae.prior_scale[0, 0].double() @ vae.prior_scale[0, 0].double().T
    assert covariance.isfinite().all()
    assert covariance.diagonal().min() > 1e-3 * (1 - 1e-3)


def test_prior_of_a_grade_with_one_photograph_is_defined() -> None:
    vae = FundusVAE(image_size=64, latent_dim=4, channels=(8, 8, 8, 8))
    vae.fit_prior(torch.randn(9, 4), torch.randn(9, 4), torch.rand(9, 4) + 0.1, torch.tensor([0] * 8 + [1]))
    assert vae.prior_scale.isfinite().all()


def test_per_grade_vae_routes_rows_to_their_network() -> None:
    torch.manual_seed(0)
    vae = PerGradeVAE(image_size=64, num_classes=3, latent_dim=4, channels=(8, 8, 8, 8)).eval()
    image, grade = torch.rand(4, 3, 64, 64), torch.tensor([2, 0, 1, 0])
    whole = vae(image, grade)
    for row, g in enumerate(grade.tolist()):
        torch.testing.assert_close(whole[row], vae.grades[g](image[row : row + 1])[0], atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="needs `grade`"):
        vae(image)


def test_class_weights_average_to_one() -> None:
    counts = {0: 114, 1: 15, 2: 107, 3: 57, 4: 39}
    weights = class_weights(counts)
    mean = sum(float(w) * n for w, n in zip(weights, counts.values(), strict=True)) / sum(counts.values())
    assert mean == pytest.approx(1.0)
    for order in ([4, 2, 0, 1, 3], [1, 0, 2, 3, 4]):  # a weight belongs to its grade, not to its place
        assert torch.equal(class_weights({grade: counts[grade] for grade in order}), weights)
    with pytest.raises(ValueError, match=r"keys \[0, 2\]: the grades from 0 on"):
        class_weights({0: 5, 2: 3})
    assert torch.equal(class_weights({0: 3, 1: 0}) > 0, torch.tensor([True, False]))
    with pytest.raises(ValueError, match="no photograph"):
        class_weights({0: 0})
