"""`GenerativeAugment[d]`: generative augmentation as a MONAI transform, array and dictionary form.

Each call may replace the image by one that a generator made with the same grade. It is random, so MONAI's caching
datasets stop before it; it carries no weights when pickled or copied; the draws follow MONAI's rules
(`set_random_state`).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Hashable, Mapping, Sequence, Sized
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import RandomizableTransform

from monai_retina_gen.data import ICDR_GRADE, MaskComposer, grade_of
from monai_retina_gen.editing import Gate
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.transforms.augment.conditions import check_masks_follow
from monai_retina_gen.transforms.augment.planned import PlannedTransform, PlannedTransformd
from monai_retina_gen.transforms.augment.policy import DEFAULT_STRENGTH, AugmentationPlan, AugmentationPolicy
from monai_retina_gen.transforms.augment.source import AugmentationSource
from monai_retina_gen.transforms.forms import with_arguments_of
from monai_retina_gen.transforms.worker_seeds import WorkerSeeded


class GenerativeAugment(PlannedTransform, WorkerSeeded, RandomizableTransform):
    """Replace an image, with some probability, by a generated one of the same grade.

    Args:
        generator: a bundle's name or folder, or a generator object. Not needed with `bank`, which then serves alone.
        mode: `"sample"` (another eye of the grade), `"reconstruct"`, `"edit"` (the same eye), `"synthesize"` (from
            masks), or several with weights, `{"sample": 1, "edit": 3}`.
        prob: a number, a number per grade, or `"balance"`: `1 - n_g / max(n)`, meant with `balanced_sampler`, so that
            every real photograph is shown about as often as before and the rest is generated. Alone it diversifies
            and changes no counts.
        counts: photographs per grade, or per label, for `"balance"`.
        lesion: lesion(s) that an `"edit"` picks from: `ma`, `he`, `ex`, `se`, or several at once as `"ex+he"`; without
            any, the generator chooses, if it can.
        strength: range for `"edit"` in [-1, 1], a share of what the generator can do; (0.3, 1.0) by default.
        gate: `None` (the record says "label unverified"), `"label"`, or a `Gate`. Bounded retries, then the real image;
            of an edit, the strongest up to the strength drawn that it accepts.
        max_retries: further tries after a refusal by the gate; 3 by default.
        bank: folder made by `monai-retina-gen expand`: images are picked instead of generated.
        image_order: `None` reads `meta["image_order"]`; `"CHW"`, or `"CWH"` after MONAI's default `LoadImage`.
        allow_upsampling: allow items larger than the generator's images.
        device: where the generator runs; a CUDA device is refused in a forked worker.
        trust_code: see `load_generator`.
        lesion_bank: for `"synthesize"`: path of a lesion bank, or a `MaskComposer`; lesions are then composed for the
            item's vessels, disc and field of view, after its grade. Without it the item's own lesions are taken.
        synthesize_options: further arguments of the generator's `synthesize`, such as `{"allow": ["overlap"]}`.
        edit_options: further arguments of the generator's `edit`, such as `{"step": "mu", "blend": "replace"}`.
        canvas: for `"synthesize"`: datalist, or list of items, of whose healthy photographs (grade 0) one is painted to
            the item's grade and takes its place, with its masks and everything that its item says; see `Canvases`.
        canvas_grades: grades of items that may become a canvas; 2 and 3 by default.
        background: for `"edit"`: share of the time, such as 0.02, in which a thread makes edits ahead; a photograph
            stays as it is until its first one is there. Not repeatable: it depends on time. `None` edits at once.
            Not in worker processes of a `DataLoader`, where it is an error.
        label_grades: what labels such as "referable" stand for, `{label: {grade: photographs}}` (`count_label_grades`):
            an image for a label is of one of its grades, each as often as in the data. Labels are grades without it. An
            item that says its own grade besides (`ICDR_GRADE`, as of `load_datalist(grade_map=...)`) keeps that.

    Shape:
        - image: `(3, H, W)` floating point in [0, 1]; the output has the same shape, order, dtype and device. Neither
          the pixels nor the metadata that came in are written to.

    Raises:
        ValueError: for arguments that do not fit, or that would do nothing with the others.
        BundleNotFoundError: if there is no such bundle; weights are loaded on first use.
        ImageValueError: for an image outside the convention, unknown axis order, or one larger than the generator's.
        UnsupportedModeError: on first use, for a mode that the generator lacks.

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

    def __init__(
        self,
        *,
        generator: str | os.PathLike[str] | RetinaGenerator | None = None,
        mode: str | Mapping[str, float] = "sample",
        prob: float | Mapping[Any, float] | str = 0.5,
        counts: Mapping[Any, int] | None = None,
        lesion: str | Sequence[str] = (),
        strength: Sequence[float] | None = None,
        gate: str | Gate | None = None,
        max_retries: int | None = None,
        bank: str | os.PathLike[str] | None = None,
        image_order: str | None = None,
        allow_upsampling: bool = False,
        device: str = "cpu",
        trust_code: bool = False,
        lesion_bank: str | os.PathLike[str] | MaskComposer | None = None,
        synthesize_options: Mapping[str, Any] | None = None,
        edit_options: Mapping[str, Any] | None = None,
        canvas: str | os.PathLike[str] | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        canvas_grades: Collection[int] | None = None,
        background: float | None = None,
        label_grades: Mapping[Any, Any] | None = None,
    ) -> None:
        RandomizableTransform.__init__(self, prob=1.0)
        shares = DEFAULT_STRENGTH if strength is None else strength
        self.policy = AugmentationPolicy(
            prob=prob, counts=counts, mode=mode, lesion=lesion, strength=shares, label_grades=label_grades
        )
        for name, options in (("synthesize_options", synthesize_options), ("edit_options", edit_options)):
            if options is not None and not isinstance(options, Mapping):
                raise ValueError(f"{name}: {options!r} came, want a dictionary of arguments")
        drawn = f"mode is {' and '.join(map(repr, self.policy.modes))}"
        made_ahead = "images come from a bank made ahead"
        if "edit" not in self.policy.modes:
            lesions = [each for each in self.policy.lesions if each]
            edits = {"lesion": lesions, "strength": strength, "edit_options": edit_options, "background": background}
            _refuse_useless(f"used by the mode 'edit' of a generator alone, but {drawn}", edits)
        if bank is not None or "synthesize" not in self.policy.modes:
            why = made_ahead if bank is not None else drawn
            masks = {"lesion_bank": lesion_bank, "synthesize_options": synthesize_options, "canvas": canvas}
            _refuse_useless(f"used by the mode 'synthesize' of a generator alone, but {why}", masks)
        if bank is not None and device != "cpu":
            _refuse_useless(f"where a generator runs, but {made_ahead}", {"device": device})
        if canvas is None:
            _refuse_useless("used together with canvas alone", {"canvas_grades": canvas_grades})
        else:
            _refuse_useless("not used with canvas: the generator's own bank is", {"lesion_bank": lesion_bank})
        if gate is None:
            _refuse_useless("used together with gate alone, which refuses images", {"max_retries": max_retries})
        source = AugmentationSource(
            generator=generator,
            gate=gate,
            max_retries=3 if max_retries is None else max_retries,
            bank=bank,
            allow_upsampling=allow_upsampling,
            device=device,
            trust_code=trust_code,
            lesion_bank=lesion_bank,
            synthesize_options=synthesize_options,
            edit_options=edit_options,
            canvas=canvas,
            canvas_grades=(2, 3) if canvas_grades is None else canvas_grades,
            background=background,
        )
        if source.has_bank:
            source.maker.check_modes(self.policy.modes)
        PlannedTransform.__init__(self, source, image_order)

    def check_masks_follow(self, mask_keys: Sequence[str]) -> None:
        """Raise `ValueError` where an item's image and its masks under `mask_keys` could not stay together."""
        source = self.source
        check_masks_follow(self.policy.modes, mask_keys, made_elsewhere=source.has_bank or source.has_canvases)

    def randomize(self, data: Any = None, own_grade: Any = None) -> AugmentationPlan | None:
        """Draw the plan for an item of grade `data`: it is returned, not kept, so that threads cannot mix plans."""
        self.settle_seed()
        grade = None if own_grade is None else grade_of(own_grade, ICDR_GRADE)
        return self.policy.draw(self.R, grade_of(data), grade)

    def plan(self, grade: Any, own_grade: Any = None) -> AugmentationPlan | None:
        """A new plan for an image of `grade`; `None` leaves it as it is. See `__call__` for `own_grade`."""
        return self.randomize(grade, own_grade)


def _refuse_useless(why: str, given: Mapping[str, Any]) -> None:
    """Raise `ValueError` for those of the arguments that were given: they would do nothing."""
    useless = [name for name, value in given.items() if not (value is None or (isinstance(value, Sized) and not value))]
    if useless:
        raise ValueError(f"{', '.join(useless)}: {why}")


@with_arguments_of(GenerativeAugment)
class GenerativeAugmentd(PlannedTransformd, RandomizableTransform):
    """Dictionary form of `GenerativeAugment`: replaces `keys` by a generated image of the item's grade.

    Args:
        keys: image key(s). Several keys get the image of the same plan.
        label_key: key of the grade.
        mask_keys: keys of masks `(1, H, W)`. `synthesize` starts from them and replaces them together with the image
            (with `lesion_bank`, lesions that an item lacks are added where `allow_missing_keys` lets it lack them); an
            `edit` changes those of the edited lesions, where the edit is. Not with the mode `sample`.
        group_key: key of the photograph or patient that an item belongs to, where it has one, as in the package's
            datalists: the gate's cross-fitted graders judge an edit only by networks that never saw its group.
        allow_missing_keys: leave out image and mask keys that an item lacks; else they are an error.

    The other arguments are those of `GenerativeAugment`. The item gains `<key>_generated`: the record as JSON, `""` for
    a real image; and `<key>_refused`: why the real image stays where another was wanted, else `""`. Grades and all
    other keys stay.

    Examples:
        >>> import torch
        >>> from monai_retina_gen.generators import VAEGenerator
        >>> from monai_retina_gen.networks import FundusVAE
        >>> vae = VAEGenerator(FundusVAE(image_size=64, latent_dim=4, channels=(8, 8, 8, 8)))
        >>> augment = GenerativeAugmentd(keys="image", label_key="grade", generator=vae, prob=1.0, image_order="CHW")
        >>> item = augment({"image": torch.zeros(3, 64, 64), "grade": 4})
        >>> sorted(item), item["grade"]
        (['grade', 'image', 'image_generated', 'image_refused'], 4)
    """

    augment: GenerativeAugment

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
        RandomizableTransform.__init__(self, prob=1.0)
        augment = GenerativeAugment(**options)
        PlannedTransformd.__init__(self, keys, augment, label_key, mask_keys, group_key, allow_missing_keys)
        augment.check_masks_follow(self.mask_keys)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> GenerativeAugmentd:
        """Seed the draws, as MONAI's transforms do."""
        super().set_random_state(seed, state)
        self.augment.set_random_state(seed, state)
        return self


GenerativeAugmentD = GenerativeAugmentDict = GenerativeAugmentd
