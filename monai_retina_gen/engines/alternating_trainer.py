"""The adversarial trainer of all generative adversarial systems of this package.

MONAI's `GanTrainer` repeats a critic's steps on one batch, and its `AdversarialTrainer` cannot be resumed; neither has
penalties of inputs. Here an iteration is one fresh batch and one step of the critic; every `n_critic`-th, one of the
generator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from ignite.engine import Engine, Events
from ignite.utils import apply_to_tensor
from monai.engines import Trainer
from monai.engines.utils import IterationEvents
from torch import Tensor, nn
from torch.optim import Optimizer

from monai_retina_gen.data.sampling import ResumableSampler
from monai_retina_gen.engines.distributed import (
    average_buffers,
    average_gradients,
    broadcast_state,
    repeatable,
    seed_device,
    seed_of,
    world,
)
from monai_retina_gen.engines.phases import GenerativeEvents, LossTerm, NetworkLoss, Phase, phase_at
from monai_retina_gen.engines.prepare_batch import PrepareAdversarialBatch
from monai_retina_gen.losses import AdversarialStep
from monai_retina_gen.losses.penalties import Penalty
from monai_retina_gen.networks import draw_latents
from monai_retina_gen.networks.inputs import bfloat16_autocast

LatentSampler = Callable[[int, torch.Generator, dict[str, Tensor]], Tensor]


class _Real(NamedTuple):
    """A batch, and the generator of the random numbers that all processes draw alike."""

    image: Tensor
    condition: dict[str, Tensor]
    shared: torch.Generator


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
        penalties: see `monai_retina_gen.losses.penalties.Penalty`.
        g_terms: further terms of the generator's loss by name, each a function of an `AdversarialStep`. Tensors in a
            term's attribute `logs` are logged. A term that is a module may learn: its parameters belong into
            `g_optimizer`.
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
        epoch_length, non_blocking, postprocessing, key_train_metric, decollate: as in MONAI's trainers.
        train_handlers: attached when everything else is there.

    `state` also has `g_steps`, `images_seen` (by the discriminator, over all processes), `phase` and `ada_p` (strength
    of the augmentation), all saved with the trainer. The output of an iteration has `reals`, `fakes`, `latents`, `pred`
    and `image` (fakes and reals in [0, 1]), `loss` and `d_loss`, `g_loss` (of the last generator step) and each penalty
    and term by its name: tensors without gradients, none of which is read, so that a GPU is never waited for.

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
        names = [*(p.name for p in penalties), *(g_terms or {}), *(d_terms or {})]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"penalties and terms share the names {repeated}: give each its own")
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
        self.adversarial_loss, self.n_critic, self.autocast, self.seed = loss, n_critic, amp, seed
        self.losses = {
            network: NetworkLoss(terms or {}, [p for p in penalties if p.network == network])
            for network, terms in (("generator", g_terms), ("discriminator", d_terms))
        }
        self.generator_only, self.d_step_options = frozenset(generator_only), dict(d_step_options or {})
        self.augment: Callable[[Tensor], Tensor] = augment or nn.Identity()
        self.gradient_transforms, self.phases = list(gradient_transforms), list(phases)
        self.latents, self.latent_name = latents or self._draw_latents, latent_name
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

    def _iteration(self, engine: Any, batchdata: Any) -> dict[str, Any]:
        device, (rank, processes) = self.state.device, world()
        seed_device(device, seed_of(self.seed, self.state.iteration, rank))
        shared = torch.Generator().manual_seed(seed_of(self.seed, self.state.iteration))
        image, condition = self.prepare_batch(batchdata, device, self.non_blocking, **self.to_kwargs)
        real = _Real(image, condition, shared)
        self.generator.train()
        self.discriminator.train()
        self.state.images_seen += len(real.image) * processes
        step, values = self._discriminator_step(real)
        if self.state.iteration % self.n_critic == 0:
            self._g_values = self._generator_step(real)
            self.state.g_steps += 1
        engine.state.output = {
            "reals": real.image,
            "fakes": step.fake,
            "latents": step.latent,
            "image": (real.image + 1) / 2,
            "pred": ((step.fake + 1) / 2).clamp(0, 1),
            "loss": values["d_loss"],
            **values,
            **self._g_values,
        }
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _discriminator_step(self, real: _Real) -> tuple[AdversarialStep, dict[str, Tensor]]:
        self.fire_event(GenerativeEvents.D_STEP_STARTED)
        latent = self._own_rows(self.latents, real)
        with torch.no_grad(), self._autocast():
            fake = self._generate(latent, **real.condition, **self.d_step_options)
        if self.d_step_options:
            average_buffers(self.generator)
        seen = {"seen_real": self.augment(real.image), "seen_fake": self.augment(fake)}
        with self._autocast():
            scores = [apply_to_tensor(self._score(images, real.condition), Tensor.float) for images in seen.values()]
        step = self._step(real, fake, latent, real_scores=scores[0], fake_scores=scores[1], **seen)
        self.state.real_scores = apply_to_tensor(scores[0], Tensor.detach)  # for handlers
        loss = self.adversarial_loss.discriminator(*scores)
        return step, self._update("discriminator", loss, step, self.state.iteration)

    def _generator_step(self, real: _Real) -> dict[str, Tensor]:
        self.fire_event(GenerativeEvents.G_STEP_STARTED)
        learns = [p for p in self.discriminator.parameters() if p.requires_grad]
        for parameter in learns:  # the generator's gradients pass through the critic, whose own are not needed
            parameter.requires_grad_(False)
        latent = self._own_rows(self.latents, real)
        with self._autocast():
            fake = self._generate(latent, **real.condition)
        alike = repeatable(self.augment, fake.device)
        seen = alike(fake)  # geometry needs float32
        with self._autocast():
            scores = apply_to_tensor(self._score(seen, real.condition), Tensor.float)
        own = {"seen_fake": seen, "fake_scores": scores, "augment_alike": alike}
        step = self._step(real, fake, latent, seen_real=None, real_scores=None, **own)
        values = self._update("generator", self.adversarial_loss.generator(scores), step, self.state.g_steps + 1)
        for parameter in learns:
            parameter.requires_grad_(True)
        return values

    def _generate(self, latent: Tensor, **keywords: Any) -> Tensor:
        named = {} if self.latent_name is None else {self.latent_name: latent}
        fake: Tensor = self.generator(*([] if named else [latent]), **keywords, **named)
        return fake.float()

    def _score(self, images: Tensor, condition: dict[str, Tensor]) -> Any:
        return self.discriminator(images, **{k: v for k, v in condition.items() if k not in self.generator_only})

    def _step(self, real: _Real, fake: Tensor, latent: Tensor, **own: Any) -> AdversarialStep:
        """A step, of what those of both networks have in common and what is `own` to one."""
        return AdversarialStep(
            real=real.image,
            fake=fake,
            score=lambda images: self._score(images, real.condition),
            augment=self.augment,
            mix=self._own_rows(lambda count, shared, condition: torch.rand(count, generator=shared), real),
            latent=latent,
            condition=real.condition,
            **own,
        )

    def _update(self, which: str, loss: Tensor, step: AdversarialStep, count: int) -> dict[str, Tensor]:
        """Terms, penalties, backward pass and optimiser of one network."""
        letter, optimizer, whole = which[0], self.optimizers[which], self.losses[which]
        without = self.phases[self.state.phase].without if self.phases else ()
        total, values = whole.total(f"{letter}_loss", loss, step, count=count, without=without)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        # Those of the network, and of terms that learn with it.
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        average_gradients(parameters)
        for transform in self.gradient_transforms:
            transform(parameters)
        self.fire_event(GenerativeEvents(f"{letter}_backward_completed"))
        optimizer.step()
        whole.constrain(getattr(self, which), without=without)
        self.fire_event(GenerativeEvents(f"{letter}_step_completed"))
        return values

    def _own_rows(self, draw: LatentSampler, real: _Real) -> Tensor:
        """This process's rows of what is drawn for all, so that processes together are one with the joined batch."""
        rank, processes = world()
        return draw(len(real.image) * processes, real.shared, real.condition)[rank::processes].to(self.state.device)

    def _draw_latents(self, count: int, generator: torch.Generator, condition: dict[str, Tensor]) -> Tensor:
        network: Any = self.generator
        return draw_latents(count, network.latent_dim, distribution=network.latent_distribution, generator=generator)

    def _autocast(self) -> torch.autocast:
        return bfloat16_autocast(self.state.device.type, self.autocast)

    def _start_epoch(self, engine: Engine) -> None:
        if not self._started:
            learning = [term for term in self.losses["generator"].terms.values() if isinstance(term, nn.Module)]
            broadcast_state(self.generator, self.discriminator, *learning)
        sampler = getattr(self.data_loader, "sampler", None)
        if isinstance(sampler, ResumableSampler):
            done = self.state.iteration - (self.state.epoch - 1) * self.state.epoch_length
            sampler.set_position(epoch=self.state.epoch, batches=done)
        index = phase_at(self.phases, self.state.epoch) if self.phases else 0
        if self.phases and (index != self.state.phase or not self._started):
            self.state.phase = index
            self.phases[index].apply(self.generator, self.discriminator)
            self.logger.info(f"phase {self.phases[index].name}")
            self.fire_event(GenerativeEvents.PHASE_STARTED)
        self._started = True

    def _end_epoch(self, engine: Engine) -> None:
        last = self.state.epoch == self.state.max_epochs
        if self.phases and (last or phase_at(self.phases, self.state.epoch + 1) != self.state.phase):
            self.fire_event(GenerativeEvents.PHASE_COMPLETED)
