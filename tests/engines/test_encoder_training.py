"""Training of encoder, phantom student and segmenter: batches say what they promise, losses are their formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from monai_retina_gen.engines import (
    EncoderLoss,
    EncoderReconstruction,
    PrepareEncoderBatch,
    PreparePhantomBatch,
    PreparePhantomMasks,
    PrepareVersionsBatch,
    fit_mapping,
)
from monai_retina_gen.generators import PhantomGenerator
from monai_retina_gen.losses import WeightedL1Loss
from monai_retina_gen.networks import StyleEncoder, StyleGAN3, latent_statistics, pinned_styles


class Pixels(nn.Module):
    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        return (preds - target).abs().mean((1, 2, 3))


@pytest.fixture
def network() -> StyleGAN3:
    torch.manual_seed(0)
    made = StyleGAN3(image_size=32, z_dim=16, w_dim=16, num_classes=5, channel_base=256, channel_max=8)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def teacher() -> PhantomGenerator:
    return PhantomGenerator(image_size=32)


def test_known_latents_make_their_images(network: StyleGAN3) -> None:
    prepare = PrepareEncoderBatch(network=network, generated=4, bank=6)
    real = torch.rand(2, 3, 32, 32)
    images, target, _, _ = prepare({"image": real}, "cpu")
    torch.testing.assert_close(images[:2], real * 2 - 1)
    assert target["latents"].shape == (4, 16, 16)
    with torch.no_grad():
        made = network.synthesize_from_styles(pinned_styles(network, target["latents"])).clamp(-1, 1)
    torch.testing.assert_close(images[2:], made, atol=2e-3, rtol=2e-3)  # the bank is in half precision
    spread = (prepare.latents - prepare.latents[:, :1]).abs().amax((1, 2))
    assert (spread > 0).any()  # some mix two eyes
    none = PrepareEncoderBatch(network=network, generated=0, bank=1)({"image": real}, "cpu")
    assert len(none[0]) == 2


def test_loss_is_its_formula(network: StyleGAN3) -> None:
    loss = EncoderLoss(Pixels(), network, pixel=1.0, square=2.0, perceptual=3.0, known=4.0, regular=5.0)
    means, spread, _ = latent_statistics(network)
    image = torch.zeros(3, 3, 32, 32)
    latents = means.mean(0).expand(3, 16, -1).clone()
    known = latents[1:].clone()
    preds = {"image": image[:2] + 0.2, "latents": latents}
    found = loss(preds, {"image": image, "latents": known})
    assert float(found) == pytest.approx(0.2 + 2 * 0.04 + 3 * 0.1, abs=1e-5)
    preds["latents"] = latents + 0.5  # all off by a half: the known ones and, from the mean, the others
    variance = float(spread.square() / 16)
    expected = float(found) + (4 + 5) * 0.25 / variance
    assert float(loss(preds, {"image": image, "latents": known})) == pytest.approx(expected, rel=1e-4)


def test_encoder_learns_from_both(network: StyleGAN3, teacher: PhantomGenerator) -> None:
    torch.manual_seed(0)
    encoder = StyleEncoder(w_dim=16, channels=(8, 8, 16, 16, 16), pyramid=16, hidden=32)
    module = EncoderReconstruction(encoder, network, reconstructed=3)
    assert set(module.state_dict()) == {f"encoder.{name}" for name in encoder.state_dict()}
    batch = {"seed": torch.tensor([1, 2]), "grade": torch.tensor([0, 3])}
    prepare = PrepareEncoderBatch(network=network, generated=4, bank=8, teacher=teacher)
    images, target, _, _ = prepare(batch, "cpu")
    assert module.train()(images)["image"].shape[0] == 3
    assert module.eval()(images)["image"].shape[0] == len(images)
    off = {"pixel": 0.0, "square": 0.0, "perceptual": 0.0, "known": 0.0, "regular": 0.0}
    for name in off:  # every term reaches the encoder
        loss = EncoderLoss(Pixels(), network, **{**off, name: 1.0})
        gradients = torch.autograd.grad(loss(module.train()(images), target), list(encoder.parameters()))
        assert max(float(g.abs().max()) for g in gradients) > 0, name
    loss, optimizer = EncoderLoss(Pixels(), network), torch.optim.Adam(encoder.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        total = loss(module(images), target)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(float(total.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert all(p.grad is None for p in network.parameters())


def test_phantom_targets_and_weights(teacher: PhantomGenerator) -> None:
    batch = {"seed": torch.tensor([1, 2]), "grade": torch.tensor([0, 3])}
    latent, target, _, options = PreparePhantomBatch(teacher=teacher, lesion_weight=4.0)(batch, "cpu")
    drawn = teacher.sample([0, 3], seeds=[1, 2])
    torch.testing.assert_close((target[:, :3] + 1) / 2, drawn.image)
    assert torch.equal(latent, teacher.latents([1, 2]))
    assert options["update_averages"]
    assert target[:, 3].min() == 1
    lesions = torch.stack([drawn.masks[name] for name in ("ma", "he", "ex", "se")]).amax(0)[:, 0]
    assert (target[:, 3] >= 1 + 4 * lesions - 1e-4).all()
    assert target[0, 3].max() > 4  # also where this eye has none
    image, masks = PreparePhantomMasks(teacher=teacher, structures=["ex", "od"])(batch, "cpu")
    torch.testing.assert_close(image, drawn.image)
    assert torch.equal(masks, torch.cat([drawn.masks["ex"], drawn.masks["od"]], dim=1))


def test_mapping_holds_the_factors(network: StyleGAN3, teacher: PhantomGenerator) -> None:
    network.requires_grad_(True)
    before = torch.get_rng_state()
    left = fit_mapping(network, teacher, steps=400)
    assert torch.equal(torch.get_rng_state(), before)
    assert left < 0.5  # a mapping that knows nothing leaves 1; how close it comes depends on the steps
    seeds, grades = list(range(300)), torch.arange(300) % 5
    latents = teacher.latents(seeds)
    with torch.no_grad():
        w = network.latent_mapping(latents, grades)
    w = torch.cat([w.clamp(min=0), w.clamp(max=0), torch.ones(300, 1)], dim=1)
    factors = teacher.factors(latents, grades)
    rest = factors - w @ torch.linalg.lstsq(w, factors).solution
    assert (rest.square().mean(0) < 0.5 * factors.var(0)).all()


def test_further_factors_join_a_mapping_that_keeps_the_first(network: StyleGAN3, teacher: PhantomGenerator) -> None:
    """A student of two factors more: w moves along two further directions, and nowhere else."""
    network.requires_grad_(True)
    fit_mapping(network, teacher, steps=300)

    class Further(PhantomGenerator):
        def factors(self, latents: Tensor, grades: Tensor) -> Tensor:
            return torch.cat([super().factors(latents, grades), latents[:, 10:12]], dim=1)

    latents, grades = teacher.latents(list(range(300))), torch.arange(300) % 5
    with torch.no_grad():
        before = network.latent_mapping(latents, grades)
        left = fit_mapping(network, Further(image_size=32), known=10, steps=1500)
        after = network.latent_mapping(latents, grades)
    assert left < 0.3
    linear = [torch.where(w > 0, w, w / 0.2) for w in (before, after)]  # the last activation undone
    moved = linear[1] - linear[0]
    strength = torch.linalg.svdvals(moved - moved.mean(0))
    assert float(strength[:2].square().sum()) > 0.7 * float(strength.square().sum())
    wanted = latents[:, 10:12] - latents[:, 10:12].mean(0)
    rest = wanted - moved @ torch.linalg.lstsq(moved, wanted).solution
    assert float(rest.square().mean()) < 0.3 * float(wanted.square().mean())


def test_weighted_error_is_its_formula() -> None:
    preds, wanted = torch.full((1, 3, 2, 2), 0.5), torch.zeros(1, 3, 2, 2)
    weight = torch.tensor([[[[1.0, 1.0], [1.0, 5.0]]]])
    assert float(WeightedL1Loss(square=2.0)(preds, torch.cat([wanted, weight], 1))) == pytest.approx(2 * (0.5 + 0.5))
    assert float(WeightedL1Loss()(preds, wanted)) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="one more with the weights"):
        WeightedL1Loss()(preds, torch.zeros(1, 5, 2, 2))


def test_versions_are_the_clean_eye_and_the_changes_that_are_asked_for() -> None:
    versions = torch.randint(40, 60, (6, 3, 3, 16, 16), dtype=torch.uint8)
    batch = {"versions": versions, "grades": torch.tensor([[0, 2, 3]] * 6)}
    clean = versions[:, 0].float() / 255 * 2 - 1
    still = {"mirror": 0.0, "turned": 0.0}

    def made(**options: float) -> tuple[Tensor, dict[str, Tensor]]:
        torch.manual_seed(0)
        found: tuple[Tensor, dict[str, Tensor]] = PrepareVersionsBatch(**options)(batch, "cpu")  # type: ignore[arg-type]
        return found

    real, condition = made(shown=0.0, **still)
    torch.testing.assert_close(real, clean)
    torch.testing.assert_close(condition["eye"], clean)
    assert condition["grade"].tolist() == [0] * 6

    whole = versions[:, 1:].float().sum(1) / 255 - versions[:, 0].float() / 255  # both changes in full
    real, condition = made(shown=1.0, equal=0.0, faintest=1.0, strongest=0.0, **still)
    torch.testing.assert_close(real, clean)  # amounts of 0 in the photograph
    torch.testing.assert_close(condition["eye"], whole.clamp(0, 1) * 2 - 1)

    real, condition = made(shown=1.0, equal=1.0, faintest=1.0, **still)
    torch.testing.assert_close(real, condition["eye"])
    assert set(condition["grade"].tolist()) <= {2, 3}

    torch.testing.assert_close(made(shown=0.0, mirror=1.0, turned=0.0)[0], clean.flip(-1))
    torch.testing.assert_close(made(shown=0.0, mirror=0.0, turned=1.0, degrees=0.0, zoom=0.0)[0], clean)
    assert not torch.allclose(made(shown=0.0, mirror=0.0, turned=1.0, degrees=10.0, zoom=0.0)[0], clean, atol=0.1)
