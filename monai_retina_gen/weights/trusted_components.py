"""What a configuration from someone else may build, and with which arguments.

Sources: MONAI's advisory GHSA-873f-pvrv-4x83 (a bundle's `_target_` calls what it names). A list of modules is not
enough: `monai.transforms.LoadImage(reader="subprocess.Popen")` imports what an argument tells it. So components are
listed one by one, networks and generators alone, and their arguments are numbers, truth values and plain words.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from torch import nn

from monai_retina_gen import networks

TRUSTED_GENERATORS = (
    *("DRGANGenerator", "GANGenerator", "LesionPainterGenerator", "StyleGAN3Generator", "VAEGenerator"),
)
"""In `monai_retina_gen.generators`, which lies above this room."""

TRUSTED_MONAI_NETWORKS = (
    *("AttentionUnet", "AutoEncoder", "AutoencoderKL", "BasicUNet", "BasicUNetPlusPlus", "Classifier", "Critic"),
    *("DenseNet121", "DenseNet169", "DenseNet201", "DenseNet264", "DiffusionModelUNet", "Discriminator", "DynUNet"),
    *("Generator", "HighResNet", "PatchDiscriminator", "Regressor", "ResNet", "SegResNet", "SwinUNETR", "UNETR"),
    *("UNet", "VNet", "VQVAE", "VarAutoEncoder", "ViT"),
)
"""In `monai.networks.nets`: those that neither download nor read files."""

_WORD = re.compile(r"[A-Za-z0-9_+-]{0,64}")
_REFERENCE = re.compile(r"@\w+((::|#)\w+)*")
_OUTSIDE = re.compile(r"pretrained|download|url|path|file|folder|store|cache|module|import")


@lru_cache(maxsize=1)
def trusted_components() -> frozenset[str]:
    """Full names of all that may be built: the listed ones, and the public networks of this package.

    Examples:
        >>> "monai_retina_gen.networks.FundusVAE" in trusted_components()
        True
        >>> "monai.transforms.LoadImage" in trusted_components()
        False
    """
    own = [name for name in vars(networks) if _is_network(getattr(networks, name))]
    return frozenset(
        [f"monai_retina_gen.networks.{name}" for name in own]
        + [f"monai_retina_gen.generators.{name}" for name in TRUSTED_GENERATORS]
        + [f"monai.networks.nets.{name}" for name in TRUSTED_MONAI_NETWORKS]
    )


def unsafe_argument(key: str, value: Any) -> str:
    """Why an entry of a configuration may not be used, `""` where it may.

    Args:
        key: the entry's name.
        value: as JSON has it; of dictionaries and lists the entries are asked for one by one.

    Examples:
        >>> unsafe_argument("norm", "batch"), unsafe_argument("image_size", "@image_size")
        ('', '')
        >>> unsafe_argument("reader", "subprocess.Popen")
        "the text 'subprocess.Popen'"
        >>> unsafe_argument("_mode_", "callable")
        "the instruction '_mode_'"
    """
    if key == "_target_":
        return "" if isinstance(value, str) and value in trusted_components() else f"the component {value!r}"
    if key.startswith("_") and key != "_desc_":
        return f"the instruction {key!r}"  # to MONAI: not to build, to build otherwise, to build something else before
    if set(key) & set("$%@#:"):
        return f"the name {key[:80]!r}"
    number = isinstance(value, (int, float)) and value is not True
    if value and (key == "pretrained" or (_OUTSIDE.search(key.lower()) and not number)):
        return f"the argument {key!r}, which may read, write or download"
    if isinstance(value, str) and key != "_desc_" and not (_WORD.fullmatch(value) or _REFERENCE.fullmatch(value)):
        return f"the text {value[:80]!r}"
    if key == "_desc_" and not (isinstance(value, str) and not value.startswith(("$", "@", "%"))):
        return f"the description {str(value)[:80]!r}"
    return "" if isinstance(value, (str, bool, int, float, list, Mapping, type(None))) else f"a {type(value).__name__}"


def _is_network(found: Any) -> bool:
    return inspect.isclass(found) and issubclass(found, nn.Module)
