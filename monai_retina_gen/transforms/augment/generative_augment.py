"""`GenerativeAugment`: generative augmentation as a MONAI transform, array and dictionary form.

Each call may replace the image by one that a generator made with the same grade. It is random, so MONAI's caching
datasets stop before it; it carries no weights when pickled or copied; the draws follow MONAI's rules
(`set_random_state`).
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor, get_track_meta
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import TransformBackends, convert_to_tensor
from torch import Tensor
from torch.utils.data import get_worker_info

from monai_retina_gen.data import MaskComposer
from monai_retina_gen.data.record import RECORD_KEY
from monai_retina_gen.editing import Gate
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.transforms.augment.conditions import check_mask_keys, check_stale_masks
from monai_retina_gen.transforms.augment.policy import AugmentationPlan, AugmentationPolicy, grade_of
from monai_retina_gen.transforms.augment.source import AugmentationSource, Augmented
from monai_retina_gen.transforms.image_order import check_image, resolve_image_order

__all__ = [
    "REFUSED_KEY",
    "GenerativeAugment",
    "GenerativeAugmentD",
    "GenerativeAugmentDict",
    "GenerativeAugmentd",
]

REFUSED_KEY = "generation_refused"
"""Key in `MetaTensor.meta` for why a gate kept the real image; `""` otherwise."""


class GenerativeAugment(RandomizableTransform):
    """Replace an image, with some probability, by a generated one of the same grade.

    Args:
        generator: a bundle's name or folder, or a generator object. May be left out with `bank`.
        mode: `"sample"` (another eye of the grade), `"reconstruct"`, `"edit"` (the same eye), `"synthesize"` (from
            masks), or several with weights, `{"sample": 1, "edit": 3}`.
        prob: a number, a number per grade, or `"balance"`: `1 - n_g / max(n)`, meant with `balanced_sampler`, so that
            every real photograph is shown about as often as before and the rest is generated. Alone it diversifies
            and changes no counts.
        counts: photographs per grade, for `"balance"`.
        lesion: lesion(s) for `"edit"`: `ma`, `he`, `ex`, `se`.
        strength: range for `"edit"`, a share of the direction's calibrated range in [-1, 1].
        gate: `None` (the record says "label unverified"), `"label"`, or a `Gate`. Bounded retries, then the real image.
        max_retries: further tries after a refusal.
        bank: folder made by `python -m monai_retina_gen expand`: images are picked instead of generated.
        image_order: `None` reads `meta["image_order"]`; `"CHW"`, or `"CWH"` after MONAI's default `LoadImage`.
        allow_upsampling: allow items larger than the generator's images.
        device: where the generator runs; a CUDA device is refused in a forked worker.
        trust_code: see `load_generator`.
        lesion_bank: for `"synthesize"`: path of a lesion bank, or a `MaskComposer`; lesions are then composed for the
            item's vessels, disc and field of view, after its grade. Without it the item's own lesions are taken.
        synthesize_options: further arguments of the generator's `synthesize`, such as `{"allow": ["overlap"]}`.

        edit_options: further arguments of the generator's `edit`, such as `{"step": "mu", "blend": "replace"}`.
        background: for `"edit"`: share of the time, such as 0.02, in which a thread makes edits ahead; a photograph
            stays as it is until its first one is there. Not repeatable: it depends on time. `None` edits at once.

    Shape:
        - image: `(3, H, W)` floating point in [0, 1]; the output has the same shape, order, dtype and device.

    Raises:
        ImageValueError: for an image outside the convention, unknown axis order, or one larger than the generator's.
        UnsupportedModeError: on first use, for a mode that the generator lacks.
        BundleNotFoundError: on first use, if there is no such bundle.

    Examples:
        >>> import torch
        >>> from monai_retina_gen.generators import VAEGenerator
        >>> from monai_retina_gen.networks import FundusVAE
        >>> vae = VAEGenerator(FundusVAE(image_size=64, latent_dim=4, channels=(8, 8, 8, 8)))
        >>> augment = GenerativeAugment(generator=vae, prob={3: 1.0}, image_order="CHW")
        >>> image = torch.zeros(3, 32, 32)
        >>> augment(image, grade=3).meta["generated"][:40]
        '{"generator": "VAEGenerator", "grade": 3'
        >>> augment(image, grade=0).meta["generated"]
        ''
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012  # MONAI reads a list

    def __init__(
        self,
        *,
        generator: str | os.PathLike[str] | RetinaGenerator | None = None,
        mode: str | Mapping[str, float] = "sample",
        prob: float | Mapping[Any, float] | str = 0.5,
        counts: Mapping[Any, int] | None = None,
        lesion: str | Sequence[str] = (),
        strength: Sequence[float] = (-1.0, 1.0),
        gate: str | Gate | None = None,
        max_retries: int = 3,
        bank: str | os.PathLike[str] | None = None,
        image_order: str | None = None,
        allow_upsampling: bool = False,
        device: str = "cpu",
        trust_code: bool = False,
        lesion_bank: str | os.PathLike[str] | MaskComposer | None = None,
        synthesize_options: Mapping[str, Any] | None = None,
        edit_options: Mapping[str, Any] | None = None,
        background: float | None = None,
    ) -> None:
        RandomizableTransform.__init__(self, prob=1.0)
        self.policy = AugmentationPolicy(prob=prob, counts=counts, mode=mode, lesion=lesion, strength=strength)
        self.source = AugmentationSource(
            generator=generator,
            bank=bank,
            device=device,
            trust_code=trust_code,
            gate=gate,
            max_retries=max_retries,
            allow_upsampling=allow_upsampling,
            lesion_bank=lesion_bank,
            synthesize_options=synthesize_options,
            edit_options=edit_options,
            background=background,
        )
        if bank is not None:
            self.source.check_modes(self.policy.modes)
        self.image_order = image_order
        self.plan: AugmentationPlan | None = None
        self._worker_seed: int | None = None

    def randomize(self, data: Any = None) -> None:
        """Draw the plan for an item of grade `data`; all random numbers are drawn here."""
        self._reseed_in_worker()
        self.plan = self.policy.draw(self.R, grade_of(data))

    def _reseed_in_worker(self) -> None:
        # In a plain torch DataLoader every worker starts with a copy of the same state and would draw the same numbers.
        info = get_worker_info()
        if info is not None and info.seed != self._worker_seed:
            self._worker_seed = info.seed
            own = int(self.R.randint(0, 2**32, dtype=np.uint64))
            seed = np.random.SeedSequence([own, info.seed % 2**63]).generate_state(1)[0]
            self.set_random_state(state=np.random.RandomState(seed))

    def __call__(
        self,
        img: Any,
        grade: Any,
        masks: Mapping[str, Tensor] | None = None,
        randomize: bool = True,
        *,
        group: str | None = None,
    ) -> Tensor:
        """Augment one image.

        Args:
            img: `(3, H, W)`, see the class.
            grade: its grade.
            masks: name to `(1, H, W)`, for the mode `synthesize`.
            randomize: draw a new plan, or use the last one again.
            group: photograph or patient that the image belongs to, for a cross-fitted gate.

        Returns:
            The image; its `meta["generated"]` holds the record, `""` for a real one.
        """
        return self.augment(img, grade, masks, randomize, group=group)[0]

    def augment(
        self,
        img: Any,
        grade: Any,
        masks: Mapping[str, Tensor] | None = None,
        randomize: bool = True,
        *,
        group: str | None = None,
    ) -> tuple[Tensor, Augmented]:
        """As `__call__`, and the outcome with its record and masks."""
        if randomize:
            self.randomize(grade)
        order = resolve_image_order(img, self.image_order)
        image = convert_to_tensor(img, track_meta=get_track_meta())
        check_image(_plain(image))  # plain tensors skip MetaTensor's bookkeeping of every operation
        outcome = self._apply(image, order, masks, group)
        if outcome.image is not None:
            image = _take_over(image, _reorder(outcome.image, order))
        _mark(image, outcome)
        return image, outcome

    def _apply(self, image: Tensor, order: str, masks: Mapping[str, Tensor] | None, group: str | None) -> Augmented:
        if self.plan is None:
            return Augmented(None, None, {})
        plain = _reorder(_plain(image), order)[None]
        plain_masks = {k: _reorder(_plain(m), order)[None] for k, m in (masks or {}).items()}
        source = str(getattr(image, "meta", {}).get("filename_or_obj", ""))
        outcome = self.source.apply([self.plan], plain, plain_masks, [os.path.basename(source)], [group])[0]
        outcome.masks = {k: _reorder(m, order) for k, m in outcome.masks.items()}
        return outcome


class GenerativeAugmentd(RandomizableTransform, MapTransform):
    """Dictionary form of `GenerativeAugment`: replaces `keys` by a generated image of the item's grade.

    Args:
        keys: image key(s). Several keys get the image of the same plan.
        label_key: key of the grade.
        mask_keys: masks `(1, H, W)` for `synthesize`, replaced together with the image: what an item has of
            `CONDITION_KEYS` (with `lesion_bank`, lesions that it lacks are added). Not with the mode `sample`.
        group_key: key of the photograph or patient that an item belongs to, where it has one, as in the package's
            datalists: the gate's cross-fitted graders judge an edit only by networks that never saw its group.
        allow_missing_keys: leave out keys that an item lacks.
        options: the keyword arguments of `GenerativeAugment`.

    The item gains `<key>_generated`: the record as JSON, `""` for a real image. Grades and all other keys stay.

    Examples:
        >>> import torch
        >>> from monai_retina_gen.generators import VAEGenerator
        >>> from monai_retina_gen.networks import FundusVAE
        >>> vae = VAEGenerator(FundusVAE(image_size=64, latent_dim=4, channels=(8, 8, 8, 8)))
        >>> augment = GenerativeAugmentd(keys="image", label_key="grade", generator=vae, prob=1.0, image_order="CHW")
        >>> item = augment({"image": torch.zeros(3, 64, 64), "grade": 4})
        >>> sorted(item), item["grade"]
        (['grade', 'image', 'image_generated'], 4)
    """

    backend = GenerativeAugment.backend

    def __init__(
        self,
        keys: KeysCollection,
        label_key: Hashable = "grade",
        *,
        mask_keys: Sequence[str] = (),
        group_key: Hashable = "group",
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob=1.0)
        self.label_key, self.mask_keys, self.group_key = label_key, tuple(mask_keys), group_key
        self.augment = GenerativeAugment(**options)
        check_mask_keys(self.augment.policy.modes, self.mask_keys, self.augment.source.bank is not None)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> GenerativeAugmentd:
        """Seed the draws, as MONAI's transforms do."""
        super().set_random_state(seed, state)
        self.augment.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        if self.label_key not in item:
            raise KeyError(f"label_key {self.label_key!r} is not in the item, which has {sorted(map(str, item))}")
        self.augment.randomize(item[self.label_key])
        masks = {k: item[k] for k in self.mask_keys if k in item}
        group = str(item[self.group_key]) if self.group_key in item else None
        for key in self.key_iterator(item):
            item[key], outcome = self.augment.augment(
                item[key], item[self.label_key], masks, randomize=False, group=group
            )
            item[f"{key}_generated"] = outcome.record.to_json() if outcome.record else ""
            self._take_masks(item, outcome)
        return item

    def _take_masks(self, item: dict[Hashable, Any], outcome: Augmented) -> None:
        if outcome.record is not None and outcome.record.mode == "synthesize":
            check_stale_masks(item, self.mask_keys, outcome.masks)
        for name in self.mask_keys:
            if name in outcome.masks:  # one that the item lacks has the metadata of another
                real = item.get(name, next((item[k] for k in self.mask_keys if k in item), outcome.masks[name]))
                item[name] = _take_over(convert_to_tensor(real, track_meta=get_track_meta()), outcome.masks[name])


def _plain(image: Tensor) -> Tensor:
    return image.as_tensor() if isinstance(image, MetaTensor) else image


def _reorder(image: Tensor, order: str) -> Tensor:
    return image.transpose(-1, -2) if order == "CWH" else image


def _take_over(real: Tensor, made: Tensor) -> Tensor:
    """The generated values with the real image's dtype, device and metadata."""
    made = made.to(dtype=real.dtype, device=real.device).contiguous()
    if isinstance(real, MetaTensor):
        return MetaTensor(made, meta=dict(real.meta), applied_operations=real.applied_operations)
    return made


def _mark(image: Tensor, outcome: Augmented) -> None:
    # Both keys are always there: MONAI collates only the keys that all items of a batch have.
    if isinstance(image, MetaTensor):
        image.meta[RECORD_KEY] = outcome.record.to_json() if outcome.record else ""
        image.meta[REFUSED_KEY] = outcome.refused


GenerativeAugmentD = GenerativeAugmentDict = GenerativeAugmentd
