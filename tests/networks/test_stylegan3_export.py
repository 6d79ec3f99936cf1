"""StyleGAN3 leaves Python: TorchScript tracing, torch.export, torch.compile, each with a parity test."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

from monai_retina_gen.networks import StyleGAN3

pytestmark = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def network() -> StyleGAN3:
    torch.manual_seed(0)
    return StyleGAN3(image_size=32, z_dim=8, w_dim=8, num_classes=3, channel_base=256, channel_max=8).eval()


def arguments(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(batch, 8), torch.arange(batch) % 3


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_traced_network_takes_any_batch(network: StyleGAN3) -> None:
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(network, arguments(2)), file)
    file.seek(0)
    given = arguments(3)
    close(torch.jit.load(file)(*given), network(*given))


@torch.no_grad()
def test_exported_network_takes_any_batch(network: StyleGAN3) -> None:
    batch = torch.export.Dim("batch")
    program = torch.export.export(network, arguments(2), dynamic_shapes=({0: batch}, {0: batch}))
    assert not any("monai_retina_gen" in str(node.target) for node in program.graph.nodes)  # runs without this package
    given = arguments(3)
    close(program.module()(*given), network(*given))


@torch.no_grad()
def test_compiled_layer_without_a_break(network: StyleGAN3) -> None:
    layer, style = network.synthesis.layers[3], torch.rand(2, 8) + 0.5
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    features = torch.randn(2, 8, 36, 36)
    close(compiled(features, style), layer(features, style))


def test_copies_and_pickles(network: StyleGAN3) -> None:
    given = arguments(2)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(other(*given), network(*given))
