"""Inferers: how engines call a network.

MONAI's engines run mixed precision on CUDA only; `AutocastInferer` does it on any device, and bfloat16 needs no scaler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import SimpleInferer
from torch import Tensor, nn

from monai_retina_gen.networks import FundusVAE, PerGradeVAE
from monai_retina_gen.networks.mixed_precision import bfloat16_autocast


class AutocastInferer(SimpleInferer):
    """Calls the network under bfloat16 autocast and returns float32.

    Args:
        amp: `False` computes in float32.
    """

    def __init__(self, amp: bool = True) -> None:
        super().__init__()
        self.amp = amp

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with bfloat16_autocast(inputs.device.type, self.amp):
            outputs = super().__call__(inputs, network, *args, **kwargs)
        if isinstance(outputs, dict):
            return {name: value.float() for name, value in outputs.items()}
        return outputs.float()


class LatentOutputs(nn.Module):
    """A variational autoencoder that returns what its loss needs.

    All in one `forward`, so that it can be wrapped for several processes.

    Args:
        vae: the network; its state dict is what is saved.

    Returns:
        Dictionary with `logits`, `mean`, `log_variance` (see `ELBOLoss`). The latent is drawn in training mode and the
        mean otherwise.
    """

    def __init__(self, vae: FundusVAE | PerGradeVAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, image: Tensor, grade: Tensor | None = None) -> dict[str, Tensor]:
        mean, log_variance = self.vae.encode(image, grade)
        mean, log_variance = mean.float(), log_variance.float()
        latent = mean
        if self.training:
            latent = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return {"logits": self.vae.decode_logits(latent, grade), "mean": mean, "log_variance": log_variance}


class GeneratorInferer(SimpleInferer):
    """Runs a generator inside a MONAI evaluator: the inputs are grades, the seeds a keyword.

    Args:
        generator: a `RetinaGenerator` that can sample. The batch that it made last is `last_batch`.
        options: options of its `sample`.
    """

    def __init__(self, generator: Any, options: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.generator, self.options = generator, dict(options or {})
        self.last_batch: Any = None

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        self.last_batch = self.generator.sample(inputs, **self.options, **kwargs)
        images: Tensor = self.last_batch.image
        return images
