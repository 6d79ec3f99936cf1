"""The adversarial trainer of all generative adversarial systems of this package.

MONAI's `GanTrainer` repeats a critic's steps on one batch and fires no events inside an iteration, and its
`AdversarialTrainer` has one step of each network and cannot be resumed; neither has penalties of inputs. Here one
iteration is one fresh real batch and one step of the critic, and the generator steps at every `n_critic`-th.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine, EventEnum, Events
from monai.engines import Trainer
from monai.engines.utils import IterationEvents
from torch import Tensor, nn
from torch.optim import Optimizer

from monai_retina_gen.data.resumable import ResumableSampler
from monai_retina_gen.engines.adversarial_batch import PrepareAdversarialBatch
from monai_retina_gen.engines.distributed import average_buffers, average_gradients, broadcast_state, world
from monai_retina_gen.engines.phases import Phase, phase_at
from monai_retina_gen.engines.repeatable import repeatable
from monai_retina_gen.losses import AdversarialStep, Penalty
from monai_retina_gen.networks import draw_latents
from monai_retina_gen.networks.mixed_precision import bfloat16_autocast

__all__ = ["AlternatingTrainer", "GenerativeEvents"]

LossTerm = Callable[[AdversarialStep], Tensor]
LatentSampler = Callable[[int, torch.Generator, dict[str, Tensor]], Tensor]


class GenerativeEvents(EventEnum):
    """Events within an iteration of `AlternatingTrainer`, for handlers."""

    D_STEP_STARTED = "d_step_started"
    D_BACKWARD_COMPLETED = "d_backward_completed"
    D_STEP_COMPLETED = "d_step_completed"
    G_STEP_STARTED = "g_step_started"
    G_BACKWARD_COMPLETED = "g_backward_completed"
    G_STEP_COMPLETED = "g_step_completed"
    PHASE_STARTED = "phase_started"
    PHASE_COMPLETED = "phase_completed"


_COMPLETED = {
    "discriminator": (GenerativeEvents.D_BACKWARD_COMPLETED, GenerativeEvents.D_STEP_COMPLETED),
    "generator": (GenerativeEvents.G_BACKWARD_COMPLETED, GenerativeEvents.G_STEP_COMPLETED),
}


class AlternatingTrainer(Trainer):
    """Trains a generator and a discriminator (critic) in turns.

    Random numbers of an iteration (latents, augmentation, dropout) come from a state that depends on `seed`, process
    and iteration alone, and data from a `ResumableSampler` on seed, epoch and position: a run that is killed and
    resumed from any checkpoint equals the uninterrupted one, bit for bit on the CPU. No random state is stored.

    Args:
        device: where to train.
        max_epochs: passes through the data.
        train_data_loader: real batches; give it a `ResumableSampler` for an exact resume.
        generator: from `(latent, **condition)` to images in [-1, 1]. Its attributes `latent_dim` and
            `latent_distribution` say what to draw, unless `latents` does.
        discriminator: from `(images, **condition)` to scores.
        g_optimizer: of the generator.
        d_optimizer: of the discriminator.
        loss: object with `discriminator(real_scores, fake_scores)` and `generator(fake_scores)`.
        n_critic: iterations, each with a step of the discriminator, for one step of the generator.
        penalties: see `monai_retina_gen.losses.Penalty`.
        g_terms: further terms of the generator's loss by name, each a function of an `AdversarialStep`. What a term
            leaves in its attribute `logs`, a dictionary of tensors, is logged. A term that is a module may learn: its
            parameters belong into `g_optimizer`.
        d_terms: further terms of the discriminator's loss.
        generator_only: names of conditions that the discriminator does not take, such as what a generator starts from.
        d_step_options: keywords of the generator in the discriminator's steps alone, such as StyleGAN3's
            `{"update_averages": True}`. Buffers that it changes there are averaged over all processes.
        augment: module that augments what the discriminator sees, real and generated alike.
        gradient_transforms: functions of a list of parameters, called before each optimiser's step, in order.
        phases: see `Phase`; empty is one phase with everything.
        latents: function `(count, torch.Generator, condition) -> (count, ...)` that replaces the drawing.
        latent_name: keyword under which the generator takes the latent; `None` for its first argument.
        prepare_batch: from a batch to `(real in [-1, 1], condition)`.
        amp: bfloat16 autocast in both networks; losses and penalties stay in float32.
        seed: of the random numbers.
        epoch_length: iterations of an epoch; the loader's length by default.
        postprocessing: transforms of output and batch, as in MONAI's trainers.
        key_train_metric: as in MONAI's trainers.
        train_handlers: attached when everything else is there.
        decollate: as in MONAI's trainers.

    Attributes of `state` beside MONAI's: `g_steps`, `images_seen` (by the discriminator, over all processes), `phase`
    and `ada_p` (strength of the augmentation), all saved with the trainer.

    Output of an iteration: `reals`, `fakes`, `latents`, `pred` (the fakes in [0, 1]), `image` (the reals in [0, 1]),
    `loss` and `d_loss`, `g_loss` (of the last generator step; not there before the run's first) and each penalty and
    term by its name. All are tensors without gradients; none is read, so that a GPU is never waited for.

    Raises:
        ValueError: for `n_critic` below 1, or names of penalties and terms that occur twice.
    """

    def __init__(
        self,
        *,
        device: str | torch.device,
        max_epochs: int,
        train_data_loader: Iterable[Any],
        generator: nn.Module,
        discriminator: nn.Module,
        g_optimizer: Optimizer,
        d_optimizer: Optimizer,
        loss: Any,
        n_critic: int = 1,
        penalties: Sequence[Penalty] = (),
        g_terms: Mapping[str, LossTerm] | None = None,
        d_terms: Mapping[str, LossTerm] | None = None,
        generator_only: Sequence[str] = (),
        d_step_options: Mapping[str, Any] | None = None,
        augment: nn.Module | None = None,
        gradient_transforms: Sequence[Callable[[Sequence[nn.Parameter]], None]] = (),
        phases: Sequence[Phase] = (),
        latents: LatentSampler | None = None,
        latent_name: str | None = None,
        prepare_batch: Callable[..., Any] | None = None,
        amp: bool = False,
        seed: int = 0,
        epoch_length: int | None = None,
        non_blocking: bool = False,
        postprocessing: Callable[..., Any] | None = None,
        key_train_metric: dict[str, Any] | None = None,
        train_handlers: Sequence[Any] | None = None,
        decollate: bool = False,
    ) -> None:
        if n_critic < 1:
            raise ValueError(f"n_critic must be at least 1, got {n_critic}")
        g_terms, d_terms = dict(g_terms or {}), dict(d_terms or {})
        _refuse_repeated([p.name for p in penalties] + list(g_terms) + list(d_terms))
        super().__init__(
            device=torch.device(device),
            max_epochs=max_epochs,
            data_loader=train_data_loader,
            epoch_length=epoch_length,
            non_blocking=non_blocking,
            prepare_batch=prepare_batch or PrepareAdversarialBatch(),
            postprocessing=postprocessing,
            key_metric=key_train_metric,
            event_names=[GenerativeEvents],
            decollate=decollate,
        )
        self.generator, self.discriminator = generator, discriminator
        self.optimizers = {"generator": g_optimizer, "discriminator": d_optimizer}
        self.adversarial_loss, self.n_critic, self.penalties = loss, n_critic, list(penalties)
        self.terms = {"generator": g_terms, "discriminator": d_terms}
        self.generator_only, self.d_step_options = frozenset(generator_only), dict(d_step_options or {})
        self.augment: Callable[[Tensor], Tensor] = augment or nn.Identity()
        self.gradient_transforms, self.phases = list(gradient_transforms), list(phases)
        self.latents, self.latent_name = latents or self._draw_latents, latent_name
        self.autocast, self.seed = amp, seed
        self.state.g_steps, self.state.images_seen, self.state.phase, self.state.ada_p = 0, 0, 0, 0.0
        self.state_dict_user_keys.extend(["g_steps", "images_seen", "phase", "ada_p"])
        self._g_values: dict[str, Tensor] = {}
        self._started = False
        self.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        self.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)
        # Handlers may read the networks when they are attached: last.
        if train_handlers:
            self._register_handlers(train_handlers)

    @property
    def network(self) -> nn.Module:
        """The generator: what MONAI's handlers take for the network of a trainer."""
        return self.generator

    # ---- one iteration

    def _iteration(self, engine: Any, batchdata: Any) -> dict[str, Any]:
        rank, count = world()
        _seed_device(self.state.device, _seed(self.seed, self.state.iteration, rank))
        shared = torch.Generator().manual_seed(_seed(self.seed, self.state.iteration))
        device = self.state.device
        real, condition = self.prepare_batch(batchdata, device, self.non_blocking, **self.to_kwargs)
        self.generator.train()
        self.discriminator.train()
        self.state.images_seen += len(real) * count
        step, values = self._discriminator_step(real, condition, shared)
        if self.state.iteration % self.n_critic == 0:
            self._g_values = self._generator_step(real, condition, shared)
            self.state.g_steps += 1
        engine.state.output = {
            "reals": real,
            "fakes": step.fake,
            "latents": step.latent,
            "image": (real + 1) / 2,
            "pred": ((step.fake + 1) / 2).clamp(0, 1),
            "loss": values["d_loss"],
            **values,
            **self._g_values,
        }
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _discriminator_step(
        self, real: Tensor, condition: dict[str, Tensor], shared: torch.Generator
    ) -> tuple[AdversarialStep, dict[str, Tensor]]:
        self.fire_event(GenerativeEvents.D_STEP_STARTED)
        latent = self._own_rows(self.latents, len(real), shared, condition)
        with torch.no_grad(), self._autocast():
            fake = self._generate(latent, **condition, **self.d_step_options)
        if self.d_step_options:
            average_buffers(self.generator)
        seen_real, seen_fake = self.augment(real), self.augment(fake)
        with self._autocast():
            real_scores = _float(self._score(seen_real, condition))
            fake_scores = _float(self._score(seen_fake, condition))
        step = AdversarialStep(
            seen_real=seen_real,
            seen_fake=seen_fake,
            real_scores=real_scores,
            fake_scores=fake_scores,
            **self._step_inputs(real, fake, latent, condition, shared),
        )
        self.state.real_scores = _detached(real_scores)  # for handlers, such as the adaptive augmentation's
        loss = self.adversarial_loss.discriminator(real_scores, fake_scores)
        return step, self._update("discriminator", "d_loss", loss, step, self.state.iteration)

    def _generator_step(self, real: Tensor, condition: dict[str, Tensor], shared: torch.Generator) -> dict[str, Tensor]:
        self.fire_event(GenerativeEvents.G_STEP_STARTED)
        learns = [p for p in self.discriminator.parameters() if p.requires_grad]
        for parameter in learns:  # the generator's gradients pass through the critic, whose own are not needed
            parameter.requires_grad_(False)
        latent = self._own_rows(self.latents, len(real), shared, condition)
        with self._autocast():
            fake = self._generate(latent, **condition)
        alike = repeatable(self.augment, fake.device)
        seen = alike(fake)  # geometry needs float32
        with self._autocast():
            scores = _float(self._score(seen, condition))
        step = AdversarialStep(
            seen_real=None,
            seen_fake=seen,
            real_scores=None,
            fake_scores=scores,
            augment_alike=alike,
            **self._step_inputs(real, fake, latent, condition, shared),
        )
        loss = self.adversarial_loss.generator(scores)
        values = self._update("generator", "g_loss", loss, step, self.state.g_steps + 1)
        for parameter in learns:
            parameter.requires_grad_(True)
        return values

    def _generate(self, latent: Tensor, **keywords: Any) -> Tensor:
        if self.latent_name is None:
            fake: Tensor = self.generator(latent, **keywords)
        else:
            fake = self.generator(**keywords, **{self.latent_name: latent})
        return fake.float()

    def _score(self, images: Tensor, condition: dict[str, Tensor]) -> Any:
        return self.discriminator(images, **{k: v for k, v in condition.items() if k not in self.generator_only})

    def _step_inputs(
        self, real: Tensor, fake: Tensor, latent: Tensor, condition: dict[str, Tensor], shared: torch.Generator
    ) -> dict[str, Any]:
        """What the steps of both networks have in common."""
        return {
            "real": real,
            "fake": fake,
            "score": lambda images: self._score(images, condition),
            "augment": self.augment,
            "mix": self._own_rows(_draw_mix, len(real), shared, condition),
            "latent": latent,
            "condition": condition,
        }

    def _update(self, which: str, name: str, loss: Tensor, step: AdversarialStep, count: int) -> dict[str, Tensor]:
        """Terms, penalties, backward pass and optimiser of one network."""
        network, optimizer = getattr(self, which), self.optimizers[which]
        backward_completed, step_completed = _COMPLETED[which]
        without = self.phases[self.state.phase].without if self.phases else ()
        penalties = [p for p in self.penalties if p.network == which and p.name not in without]
        values, total = {name: loss.detach()}, loss
        for key, term in self.terms[which].items():
            if key not in without:
                value = term(step)
                values[key], total = value.detach(), total + value
                values.update(getattr(term, "logs", {}))
        for penalty in penalties:
            due = penalty.loss(step) if count % penalty.interval == 0 else None
            if due is not None:
                values[penalty.name], total = due.detach(), total + due * penalty.interval
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        # Those of the network, and of terms that learn with it.
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        average_gradients(parameters)
        for transform in self.gradient_transforms:
            transform(parameters)
        self.fire_event(backward_completed)
        optimizer.step()
        for penalty in penalties:
            penalty.constrain(network)
        self.fire_event(step_completed)
        return values

    # ---- random numbers

    def _own_rows(
        self, draw: LatentSampler, count: int, shared: torch.Generator, condition: dict[str, Tensor]
    ) -> Tensor:
        """This process's rows of what is drawn for all, so that processes together are one with the joined batch."""
        rank, processes = world()
        return draw(count * processes, shared, condition)[rank::processes].to(self.state.device)

    def _draw_latents(self, count: int, generator: torch.Generator, condition: dict[str, Tensor]) -> Tensor:
        network: Any = self.generator
        return draw_latents(count, network.latent_dim, distribution=network.latent_distribution, generator=generator)

    def _autocast(self) -> torch.autocast:
        return bfloat16_autocast(self.state.device.type, self.autocast)

    # ---- epochs

    def _start_epoch(self, engine: Engine) -> None:
        if not self._started:
            learning = [term for term in self.terms["generator"].values() if isinstance(term, nn.Module)]
            broadcast_state(self.generator, self.discriminator, *learning)
        sampler = getattr(self.data_loader, "sampler", None)
        if isinstance(sampler, ResumableSampler):
            done = self.state.iteration - (self.state.epoch - 1) * self.state.epoch_length
            sampler.set_position(epoch=self.state.epoch, batches=done)
        self._enter_phase()
        self._started = True

    def _enter_phase(self) -> None:
        if not self.phases:
            return
        index = phase_at(self.phases, self.state.epoch)
        if index != self.state.phase or not self._started:
            self.state.phase = index
            self.phases[index].apply(self.generator, self.discriminator)
            self.logger.info(f"phase {self.phases[index].name}")
            self.fire_event(GenerativeEvents.PHASE_STARTED)

    def _end_epoch(self, engine: Engine) -> None:
        last = self.state.epoch == self.state.max_epochs
        if self.phases and (last or phase_at(self.phases, self.state.epoch + 1) != self.state.phase):
            self.fire_event(GenerativeEvents.PHASE_COMPLETED)


def _draw_mix(count: int, generator: torch.Generator, condition: dict[str, Tensor]) -> Tensor:
    return torch.rand(count, generator=generator)


def _float(scores: Any) -> Any:
    """Scores of one or several discriminators in float32."""
    if isinstance(scores, Tensor):
        return scores.float()
    if isinstance(scores, dict):
        return {name: _float(score) for name, score in scores.items()}
    return [_float(score) for score in scores]


def _detached(scores: Any) -> Any:
    if isinstance(scores, Tensor):
        return scores.detach()
    if isinstance(scores, dict):
        return {name: _detached(score) for name, score in scores.items()}
    return [_detached(score) for score in scores]


def _seed_device(device: torch.device, seed: int) -> None:
    """Seed the CPU and this device alone: `torch.manual_seed` formats a stack for every device that is not in use."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _seed(*numbers: int) -> int:
    seed = 0
    for number in numbers:
        seed = (seed * 6_364_136_223_846_793_005 + number + 1_442_695_040_888_963_407) % 2**63
    return seed


def _refuse_repeated(names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"penalties and terms share the names {repeated}: give each its own")
