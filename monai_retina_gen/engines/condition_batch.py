"""Inferers of generators, and what engines read from a batch of condition maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from ignite.utils import apply_to_tensor
from monai.inferers import SimpleInferer
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from monai_retina_gen.data.condition_map import CONDITION_KEYS
from monai_retina_gen.engines.prepare_batch import Place, PrepareAdversarialBatch, PrepareOnDevice
from monai_retina_gen.networks import FundusVAE, PerGradeVAE
from monai_retina_gen.networks.inputs import bfloat16_autocast


class AutocastInferer(SimpleInferer):
    """Calls the network under bfloat16 autocast (unless `amp` is False) and returns float32."""

    def __init__(self, amp: bool = True) -> None:
        super().__init__()
        self.amp = amp

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with bfloat16_autocast(inputs.device.type, self.amp):
            outputs = super().__call__(inputs, network, *args, **kwargs)
        return apply_to_tensor(outputs, Tensor.float)


class LatentOutputs(nn.Module):
    """A variational autoencoder that returns what its loss needs, in one `forward`, so that it can be wrapped.

    Its `vae` is what is saved. Gives `logits`, `mean` and `log_variance` (see `ELBOLoss`); the latent is drawn in
    training mode and the mean otherwise.
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


class PrepareConditionBatch(PrepareAdversarialBatch):
    """Photographs, condition maps and grades for `AlternatingTrainer`.

    Attributes:
        reduction: factor by which images and maps are made smaller, 2 while only the coarse stage learns
            (`StageHandler` sets it).

    Returns:
        `(real, {"condition": (B, 9, H, W) in [0, 1], "grade": (B,)})`, `real` in [-1, 1].
    """

    def __init__(self, *, image_key: str = "image") -> None:
        super().__init__(image_key=image_key, condition_keys=("condition", "grade"))
        self.reduction = 1

    def read(self, batch: Mapping[str, Any], place: Place) -> tuple[Tensor, dict[str, Tensor]]:
        real, condition = super().read(batch, place)
        condition["condition"] = _reduced(condition["condition"], self.reduction)
        return _reduced(real, self.reduction), condition


class PrepareSynthesisBatch(PrepareOnDevice):
    """Condition maps as input and photographs as target, for evaluators that run a generator.

    Args:
        samples: images for each set of masks; those of item i begin with seed `seed_i * samples`.

    Returns:
        `(condition, image or condition, (), {"grades": (B,), "seeds": [...], "missing": [...]})`, each but the image
        `samples` times; a grade of -1 is to be predicted. `reduction` as in `PrepareConditionBatch`.
    """

    def __init__(self, *, samples: int = 1) -> None:
        self.samples, self.reduction = samples, 1

    def read(self, batch: Mapping[str, Any], place: Place) -> tuple[Tensor, Tensor, tuple[()], dict[str, Any]]:
        condition = _reduced(place(batch["condition"]).float(), self.reduction)
        image = _reduced(place(batch["image"]).float(), self.reduction) if "image" in batch else condition
        seeds = [int(s) * self.samples + i for s in batch["seed"] for i in range(self.samples)]
        grades = torch.as_tensor(batch["grade"]).long().repeat_interleave(self.samples)
        missing = [str(names) for names in batch["missing"] for _ in range(self.samples)]
        keywords = {"grades": grades, "seeds": seeds, "missing": missing}
        return condition.repeat_interleave(self.samples, dim=0), image, (), keywords


class SynthesisInferer(SimpleInferer):
    """Runs a mask-to-photograph generator inside a MONAI evaluator.

    Args:
        generator: a `RetinaGenerator` that synthesizes. The batch that it made last is `last_batch`, if `checked`.
        allow: see its `synthesize`.
        checked: `False` asks for the images alone (`images`), without checks and records: for validation while
            training, on masks as they were predicted.
    """

    def __init__(self, *, generator: Any, allow: Sequence[str] = (), checked: bool = True) -> None:
        super().__init__()
        self.generator, self.allow, self.checked = generator, tuple(allow), checked
        self.last_batch: Any = None

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        grades, seeds, missing = kwargs["grades"], kwargs["seeds"], kwargs["missing"]
        if not self.checked:
            made: Tensor = self.generator.images(inputs, grades, seeds)
            return made.to(inputs.device)
        parts = [self._synthesize(inputs[i : i + 1], int(grades[i]), seeds[i], missing[i]) for i in range(len(inputs))]
        self.last_batch = type(parts[0])(
            torch.cat([part.image for part in parts]),
            torch.cat([part.grade for part in parts]),
            [record for part in parts for record in part.records],
        )
        image: Tensor = self.last_batch.image
        return image

    def _synthesize(self, condition: Tensor, grade: int, seed: int, missing: str) -> Any:
        absent = missing.split(",")
        masks = {key: condition[:, i : i + 1] for i, key in enumerate(CONDITION_KEYS) if key not in absent}
        grades = None if grade < 0 else [grade]
        return self.generator.synthesize(masks, grades, seeds=[seed], allow=self.allow)


def _reduced(values: Tensor, factor: int) -> Tensor:
    return values if factor == 1 else avg_pool2d(values, factor)
