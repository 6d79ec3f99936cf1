"""Inversion with the detail of a photograph: as the autoencoder that was trained draws it, through cache and editor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from monai_retina_gen.editing import InvertedPhotograph, PhotographCache
from monai_retina_gen.editing.style.encoder_inversion import EncoderInversion
from monai_retina_gen.networks import DetailEncoder, StyleAutoencoder, StyleEncoder, StyleGAN3

GRADES = torch.tensor([0, 2])


class Pixels(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (x - y).abs().mean((1, 2, 3))


@pytest.fixture(scope="module")
def autoencoder() -> StyleAutoencoder:
    torch.manual_seed(0)
    network = StyleGAN3(image_size=64, z_dim=8, w_dim=8, num_classes=5, channel_base=256, channel_max=8)
    encoder = StyleEncoder(w_dim=8, channels=(4, 4, 8, 8, 8), pyramid=8, hidden=16)
    return StyleAutoencoder(network, encoder, DetailEncoder.of(network, width=8, bottleneck=4)).eval()


@pytest.fixture(scope="module")
def eyes() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("steps", [0, 2])
def test_detail_is_kept_through_the_cache(
    autoencoder: StyleAutoencoder, eyes: Tensor, tmp_path: Path, steps: int
) -> None:
    network = autoencoder.generator
    invert = EncoderInversion(
        network, autoencoder.encoder, distance=Pixels(), steps=steps, detail_encoder=autoencoder.detail_encoder
    )
    found = invert(eyes, GRADES)
    cache = PhotographCache[InvertedPhotograph](0, folder=tmp_path, kind=InvertedPhotograph)
    for _ in range(2):  # computed, then read
        again = cache.entries(eyes, GRADES, lambda x, g: InvertedPhotograph.rows(invert(x, g)))
        details = [each.detail for each in again if each.detail is not None]
        torch.testing.assert_close(torch.stack(details), found.detail)
    with torch.no_grad():
        drawn = network.synthesize_from_styles(network.style_space.split(found.styles), detail=found.detail)
        whole = autoencoder.reconstruct(eyes * 2 - 1)
        bare = autoencoder.reconstruct(eyes * 2 - 1, detail=False)
    torch.testing.assert_close(((drawn + 1) / 2).clamp(0, 1), found.image)
    assert not torch.allclose(whole, bare, atol=1e-3)
    if steps == 0:
        torch.testing.assert_close(((whole + 1) / 2).clamp(0, 1), found.image)


def test_detail_belongs_to_one_layer(autoencoder: StyleAutoencoder, eyes: Tensor) -> None:
    network = autoencoder.generator
    layer = network.synthesis.detail_layer
    assert network.synthesis.layers[layer - 1].plan.source.sampling_rate == 16  # a quarter of 64
    with torch.no_grad():
        styles, detail = autoencoder.encode(eyes * 2 - 1)
        before = network.synthesis.run(styles, stop_layer=layer)
        late = network.synthesis.run(styles, start_layer=layer, features=before + detail)
        torch.testing.assert_close(late, network.synthesis.run(styles, detail=detail))
        after = network.synthesis.run(styles, stop_layer=layer + 1, detail=detail)
        torch.testing.assert_close(network.synthesis.run(styles, start_layer=layer + 1, features=after), late)


def test_the_first_rows_are_photographs_and_the_others_samples(autoencoder: StyleAutoencoder, eyes: Tensor) -> None:
    latent, grade = torch.randn(4, 8), torch.tensor([0, 1, 2, 3])
    with torch.no_grad():
        made = autoencoder(latent, grade, photograph=eyes, eye=eyes)
        torch.testing.assert_close(made[2:], autoencoder.generator(latent[2:], grade[2:]))
        torch.testing.assert_close(made[:2], autoencoder.reconstruct(eyes))  # 0.75 of two is two
