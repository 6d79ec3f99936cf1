"""Handlers of trainings: averages of weights, augmentation, blur and phases; priors and order; which ones run where.

Sources: Karras et al. 2020, arXiv:2006.06676, section 3 (augmentation); 2021, arXiv:2106.12423, section F.3 (blur).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai import handlers as monai_handlers
from torch import Tensor, nn

from monai_retina_gen.engines.discriminator_augment import DiscriminatorAugment, FadingBlur
from monai_retina_gen.engines.distributed import world
from monai_retina_gen.engines.phases import GenerativeEvents
from monai_retina_gen.networks import FundusVAE, PerGradeVAE


class GeneratorEMAHandler:
    """Updates a copy of the generator after each of its steps.

    Ignite's `EMAHandler` counts in iterations and makes the copy itself; half lives in images stay right when batch
    size or number of processes change, and a configuration needs the copy to sample, judge and save.

    Args:
        generator: the network that is trained.
        ema: its copy.
        half_life: images seen by the discriminator until a weight counts half.
        ramp_up: at the beginning, the half life is at most this share of the images seen; 0 for none.
        buffers: `"copy"` takes the generator's buffers, `"average"` averages those with fractions, as statistics of
            batch normalisation should be.
        overwrite: whether the copy is overwritten at the first step of a run that is not resumed. `False` goes on with
            an average that an earlier training left.
        batch_size: images an iteration, for a trainer that is no `AlternatingTrainer` and steps at every iteration.

    Raises:
        ValueError: for another `buffers`, or a half life that is not positive.
    """

    def __init__(
        self,
        *,
        generator: nn.Module,
        ema: nn.Module,
        half_life: float = 10_000,
        ramp_up: float = 0.05,
        buffers: str = "copy",
        overwrite: bool = True,
        batch_size: int | None = None,
    ) -> None:
        if buffers not in ("copy", "average") or half_life <= 0:
            raise ValueError(f"buffers {buffers!r} must be 'copy' or 'average', half_life {half_life} positive")
        self.generator, self.ema = generator, ema.eval().requires_grad_(False)
        self.half_life, self.ramp_up = half_life, ramp_up
        self.buffers, self.overwrite, self.batch_size = buffers, overwrite, batch_size

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(
            Events.ITERATION_COMPLETED if self.batch_size else GenerativeEvents.G_STEP_COMPLETED, self
        )

    def decay(self, seen: int, between: float) -> float:
        """Weight of the old average after `between` more images, `seen` in all."""
        half_life = min(self.half_life, max(self.ramp_up * seen, 1.0)) if self.ramp_up else self.half_life
        return float(0.5 ** (between / half_life))

    @torch.no_grad()
    def __call__(self, engine: Any) -> None:
        steps, seen, between = self._progress(engine)
        if steps == 0 and self.overwrite:  # the first step: nothing to average yet
            self.ema.load_state_dict(self.generator.state_dict())
            return
        weight = 1 - self.decay(seen, between)
        torch._foreach_lerp_(list(self.ema.parameters()), list(self.generator.parameters()), weight)
        for average, value in zip(self.ema.buffers(), self.generator.buffers(), strict=True):
            if self.buffers == "average" and average.is_floating_point():
                average.lerp_(value, weight)
            else:
                average.copy_(value)

    def _progress(self, engine: Any) -> tuple[int, int, float]:
        """Steps of the generator before this one, images seen, and images between two steps."""
        state = engine.state
        if self.batch_size:
            return state.iteration - 1, state.iteration * self.batch_size, self.batch_size
        return state.g_steps, state.images_seen, state.images_seen / state.iteration * engine.n_critic


class AdaptiveAugmentHandler:
    r"""Raises `p` while the discriminator overfits, and lowers it otherwise.

    Overfitting is :math:`r_t = E[\mathrm{sign}\, D(x)]` of real images (Eq. 1 there) above `target`. That holds for
    discriminators whose scores are logits; a Wasserstein critic's have no zero, so give those a fixed `p` and no such
    handler. Nothing is read from the device but once an epoch, for the log.

    Args:
        augment: the module whose `p` is adapted.
        target: r_t that is aimed at.
        interval: steps of the discriminator between two changes.
        images: real images in which `p` would go from 0 to 1.
        limit: largest `p`; above 0.8 operations begin to leak into the images (section 2.2).
    """

    def __init__(
        self,
        *,
        augment: DiscriminatorAugment,
        target: float = 0.6,
        interval: int = 4,
        images: float = 500_000,
        limit: float = 0.8,
    ) -> None:
        self.augment, self.target, self.interval, self.images, self.limit = augment, target, interval, images, limit

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(GenerativeEvents.D_STEP_COMPLETED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._report)

    @torch.no_grad()
    def __call__(self, engine: Any) -> None:
        by_image = _signs_by_image(engine.state.real_scores)
        signs, p = self.augment.signs, self.augment.p
        signs += torch.stack([by_image.sum(), torch.full_like(signs[1], len(by_image))])
        if engine.state.iteration % self.interval == 0:
            if world()[1] > 1:
                torch.distributed.all_reduce(signs)
            p += (signs[0] / signs[1] - self.target).sign() * signs[1] / self.images
            p.clamp_(0, self.limit)
            signs.zero_()

    def _report(self, engine: Any) -> None:
        engine.state.ada_p = float(self.augment.p)


def _signs_by_image(scores: Any) -> Tensor:
    """Mean sign of each image's scores `(B,)`: of one discriminator, or of several under `score`, also of places."""
    parts = scores["score"] if isinstance(scores, dict) else [scores]
    return torch.stack([part.sign().reshape(len(part), -1).mean(1) for part in parts]).mean(0)


class FadingBlurHandler:
    """Tells the blur before each step of the discriminator how many images it has seen, also in a resumed training."""

    def __init__(self, *, blur: FadingBlur) -> None:
        self.blur = blur

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(GenerativeEvents.D_STEP_STARTED, self)

    def __call__(self, engine: Any) -> None:
        self.blur.seen(engine.state.images_seen)


class StageHandler:
    """Runs as many stages of the networks as the phase has, with images reduced to their size.

    Attach it to an `AlternatingTrainer` with `phases`. In a phase of one stage of a two-stage network, images and masks
    are halved. When the phase changes, the best validation so far is forgotten: the figures of two sizes do not
    compare, and weights whose second stage has not learned must not be kept for the best.

    Args:
        networks: the generators that are switched (`active_stages`), such as the trained one and its average.
        stages: of each phase, in order.
        reduced: objects with `reduction`, such as `PrepareConditionBatch`.
        validator: evaluator whose best metric is forgotten; `None` for none.
        savers: MONAI's `CheckpointSaver`s of the validator's best weights.
    """

    def __init__(
        self,
        *,
        networks: Sequence[Any],
        stages: Sequence[int],
        reduced: Sequence[Any] = (),
        validator: Any = None,
        savers: Sequence[Any] = (),
    ) -> None:
        self.networks, self.stages, self.reduced = list(networks), list(stages), list(reduced)
        self.validator, self.savers = validator, list(savers)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(GenerativeEvents.PHASE_STARTED, self)

    def __call__(self, engine: Any) -> None:
        stages = self.stages[min(engine.state.phase, len(self.stages) - 1)]
        for network in self.networks:
            network.active_stages = min(stages, network.stages)
        for part in self.reduced:
            part.reduction = 2 if stages < max(network.stages for network in self.networks) else 1
        if self.validator is not None:
            self.validator.state.best_metric_epoch = -1
        for saver in self.savers:
            checkpoint = getattr(saver, "_key_metric_checkpoint", None)
            if checkpoint is not None:
                checkpoint.reset()


class EpochShuffleHandler:
    """Calls a `DistributedSampler`'s `set_epoch`; without it every epoch has the same order."""

    def __init__(self, *, sampler: Any) -> None:
        self.sampler = sampler

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        self.sampler.set_epoch(engine.state.epoch)


class FitPriorHandler:
    """Fits the prior from the training photographs and their mirror images, every `interval` epochs and at the end.

    Attach it before the handlers that validate and save, so that what they see has the prior of its weights.

    Args:
        vae: the network.
        data: batches with `image` and `grade`: the training batches themselves, mirrored as the network saw them.
        interval: epochs between fits.
    """

    def __init__(self, *, vae: FundusVAE | PerGradeVAE, data: Iterable[dict[str, Any]], interval: int = 1) -> None:
        self.vae, self.data, self.interval = vae, data, interval

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval) | Events.COMPLETED, self)

    @torch.no_grad()
    def __call__(self, engine: Engine) -> None:
        training, device = self.vae.training, next(self.vae.parameters()).device
        self.vae.eval()
        columns: list[tuple[Tensor, ...]] = []
        for batch in self.data:
            image, grade = torch.as_tensor(batch["image"]).to(device), batch["grade"].long().to(device)
            mean, log_variance = self.vae.encode(image, grade)
            mirrored, _ = self.vae.encode(image.flip(-1), grade)
            columns.append((mean, mirrored, log_variance.exp(), grade))
        # Every process has encoded its share of the photographs; all fit the same prior to the whole.
        gathered = [idist.all_gather(torch.cat(column)) for column in zip(*columns, strict=True)]
        self.vae.fit_prior(*(torch.as_tensor(column) for column in gathered))
        self.vae.train(training)


WRITERS = (
    monai_handlers.CheckpointSaver,
    *(monai_handlers.ClassificationSaver, monai_handlers.MetricsSaver, monai_handlers.StatsHandler),
    *(monai_handlers.TensorBoardImageHandler, monai_handlers.TensorBoardStatsHandler),
)
"""MONAI's handlers that only write: files, or lines that every process would repeat."""


def handlers_of_process(handlers: Iterable[Any], *, rank: int) -> list[Any]:
    """The handlers that a process attaches: all of them in the first, none that only write in the others.

    Handlers of one's own run everywhere, as schedules, guards and averages must, unless they have an attribute
    `first_process_only` that is true.
    """
    if rank == 0:
        return list(handlers)
    return [h for h in handlers if not isinstance(h, WRITERS) and not getattr(h, "first_process_only", False)]
