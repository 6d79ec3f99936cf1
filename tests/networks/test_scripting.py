"""Every network is compiled from its source by TorchScript, as MONAI's model zoo exports it, and gives the same."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from monai_retina_gen.networks import (
    DRGAN,
    DeconvolutionGenerator,
    FundusGrader,
    FundusVAE,
    LesionPainter,
    LesionSegmenter,
    LiteSegmenter,
    PerGradeVAE,
    ResidualGenerator,
    StyleGAN3,
)

GRADES = torch.tensor([4, 0])


def _drgan(**options: Any) -> nn.Module:
    return DRGAN(base_width=4, residual_blocks=1, grading_dimension=8, grading_rank=2, mapping_width=8, **options)


def _stylegan3(**options: Any) -> nn.Module:
    return StyleGAN3(image_size=32, z_dim=8, w_dim=8, channel_base=256, channel_max=8, **options)


def _image(side: int, channels: int = 3) -> Tensor:
    return torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(1))


def _latent(size: int) -> Tensor:
    return torch.randn(2, size, generator=torch.Generator().manual_seed(2))


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...]]] = {
    "DR-GAN": (lambda: _drgan(), (_image(32, 9), GRADES)),
    "DR-GAN, its own grade": (lambda: _drgan(), (_image(32, 9),)),
    "DR-GAN, two stages": (lambda: _drgan(stages=2), (_image(64, 9), GRADES, _latent(10))),
    "DR-GAN, the paper's layers": (
        lambda: _drgan(norm="batch", upsampling="transposed", channel_energy="mean", attention_side=8),
        (_image(32, 9), GRADES),
    ),
    "DR-GAN, without grading vectors and attention": (
        lambda: _drgan(grading_vectors=False, attention=False),
        (_image(32, 9), GRADES),
    ),
    "StyleGAN3": (lambda: _stylegan3(num_classes=5), (_latent(8), GRADES)),
    "StyleGAN3, truncated": (lambda: _stylegan3(num_classes=5), (_latent(8), GRADES, 0.5, 6)),
    "StyleGAN3-R, unconditional": (lambda: _stylegan3(config="r", conv_clamp=None), (_latent(8),)),
    "StyleGAN3, bfloat16": (lambda: _stylegan3(amp="full"), (_latent(8),)),
    "VAE": (lambda: FundusVAE(image_size=64, latent_dim=8, channels=(8, 8, 8, 8)), (_image(64), GRADES)),
    "VAE, one a grade": (
        lambda: PerGradeVAE(image_size=64, latent_dim=4, channels=(8, 8, 8, 8)),
        (_image(64), GRADES),
    ),
    "WGAN": (lambda: DeconvolutionGenerator(width=2, latent_dim=10), (_latent(10),)),
    "WGAN-GP": (lambda: ResidualGenerator(image_size=64, channels=(8,) * 5, latent_dim=4), (_latent(4), GRADES)),
    "WGAN-GP, unconditional": (
        lambda: ResidualGenerator(image_size=64, channels=(8,) * 5, latent_dim=4, num_classes=0),
        (_latent(4),),
    ),
    "grader": (lambda: FundusGrader(backbone="resnet18"), (_image(64),)),
    "grader, ordinal": (lambda: FundusGrader(backbone="vgg16", width=0.125, ordinal=True), (_image(64),)),
    "segmenter": (lambda: LesionSegmenter(channels=(4, 8, 8)), (_image(32),)),
    "segmenter, pretrained": (lambda: LiteSegmenter(channels=(8, 8, 8, 8)), (_image(32),)),
    "segmenter, enlarging": (lambda: LiteSegmenter(channels=(8, 8, 8, 8), enlarge=True), (_image(32),)),
    "painter": (lambda: LesionPainter(channels=(4, 8, 8)), (_image(32, 10).round(), _image(32, 1))),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", list(CASES))
@torch.no_grad()
def test_scripted_and_stored_network_gives_the_same(name: str) -> None:
    build, arguments = CASES[name]
    torch.manual_seed(0)
    network = build().eval()
    wanted = network(*arguments)
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(network), file)
    file.seek(0)
    with torch.jit.optimized_execution(False):
        found = torch.jit.load(file)(*arguments)
    # bfloat16 has eight bits, and the two ways round at other places
    torch.testing.assert_close(found, wanted, atol=5e-3 if "bfloat16" in name else 1e-5, rtol=1e-4)
    torch.testing.assert_close(network(*arguments), wanted)  # scripting has not changed it


def test_a_segmenter_still_learns_after_it_was_scripted() -> None:
    network = LesionSegmenter(channels=(4, 8, 8), deep_supervision=1)
    before = copy.deepcopy(network.state_dict())
    torch.jit.script(network)
    assert network.state_dict().keys() == before.keys()
    assert network.train()(torch.rand(2, 3, 32, 32)).shape == (2, 2, 6, 32, 32)


def test_messages_are_those_of_the_network() -> None:
    scripted = torch.jit.script(LesionSegmenter(channels=(4, 8, 8)).eval())
    with pytest.raises(torch.jit.Error, match=r"image has size \[30, 32\]: height and width must be multiples of 4"):
        scripted(torch.rand(1, 3, 30, 32))
