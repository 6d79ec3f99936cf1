"""StyleGAN3 as a generator: truncation, style mixing and a user transform.

The user transform moves and turns the eye before it is drawn, not after: Karras et al., "Alias-Free Generative
Adversarial Networks", arXiv:2106.12423, section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.generators.base import GeneratedBatch
from monai_retina_gen.generators.gan_generator import GANGenerator
from monai_retina_gen.generators.inverting_generator import InvertingGenerator
from monai_retina_gen.generators.loading import load_generator
from monai_retina_gen.networks import StyleSpace
from monai_retina_gen.networks.style_encoder import flipped

CENTERS = ("grade", "global")
CENTER_DRAWS = 1024


class StyleGAN3Generator(InvertingGenerator, GANGenerator):
    """Samples of a `StyleGAN3`, and edits of photographs where it is equipped for them (`InvertingGenerator.equip`).

    Truncation (Karras et al. 2019, arXiv:1812.04948, Appendix B) draws w towards a mean: less variety, fewer failures.
    The published mean is that of all grades, so truncation would also draw every grade towards the average eye; here
    the mean of the grade asked for is the default, taken over 1024 fixed latents.

    An unconditional network knows no grades: any image for any grade, and its records say so (`curated` False).

    Args:
        network: the trained network.
        truncation: share of the distance from the mean that is kept: 1 is the full variety, 0 the mean.
        truncation_center: `grade` or `global`.
        batch_size: images per forward pass.
        one_sided: the network draws the disc on one side only; samples of odd seeds are mirrored.
        samples: whether it samples. `False` for a network that learned to draw photographs alone.

    Raises:
        ValueError: for another center.

    Examples:
        >>> from monai_retina_gen.networks import StyleGAN3
        >>> network = StyleGAN3(image_size=32, z_dim=8, w_dim=8, num_classes=5, channel_base=256, channel_max=8)
        >>> batch = StyleGAN3Generator(network).sample([0, 4], seeds=[1, 2], truncation=0.7)
        >>> batch.image.shape, batch.records[0].options
        (torch.Size([2, 3, 32, 32]), {'truncation': 0.7, 'truncation_center': 'grade'})
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        truncation: float = 1.0,
        truncation_center: str = "grade",
        batch_size: int = 32,
        one_sided: bool = False,
        samples: bool = True,
    ) -> None:
        super().__init__(network, curated=False, batch_size=batch_size)
        self.own_modes = self.modes = self.modes if samples else frozenset()
        self.one_sided = one_sided
        self.truncation, self.truncation_center = truncation, _known_center(truncation_center)
        self._centers: tuple[Any, Tensor] | None = None

    @property
    def style_space(self) -> StyleSpace:
        """Size of the style space, and where each of its channels lies: `locate(k)` is (layer, channel)."""
        space: StyleSpace = self.network.style_space
        return space

    def sample(  # type: ignore[override]  # options written out
        self,
        grades: Sequence[int] | Tensor,
        *,
        seeds: Sequence[int],
        truncation: float | None = None,
        truncation_cutoff: int | None = None,
        truncation_center: str | None = None,
        mix_seeds: Sequence[int] | None = None,
        mix_layers: Sequence[int] | None = None,
        transform: Mapping[str, Any] | None = None,
        curated: bool = False,
    ) -> GeneratedBatch:
        """Images for grades; a sample depends on its seed, its grade and the options alone.

        Args:
            grades: `B` grades.
            seeds: `B` integers.
            truncation: see the class, as `truncation_center`.
            truncation_cutoff: only the first so many of the 16 latents (pose and layout first) are truncated.
            truncation_center: `grade` or `global`.
            mix_seeds: `B` seeds of other samples of the same grades, whose latents `mix_layers` are taken.
            mix_layers: entries of 0..15: 0 is the pose, the last the colours.
            transform: moves and turns the eye, as `{"rotate": 10.0, "translate": [0.1, 0.0]}`: degrees
                counter-clockwise, then shares of the side to the right and down. Configuration "t" is equivariant to
                translation alone: turned, it shows another eye.
            curated: `False`, as records of unconditional networks say: nobody chose these latents.

        Raises:
            ValueError: for grades, seeds, layers or transforms that do not fit.
        """
        self.check_mode("sample")
        if curated:
            raise ValueError("curated=True: the latents of a StyleGAN3 are not curated")
        if (mix_seeds is None) != (mix_layers is None):
            raise ValueError("mix_seeds and mix_layers belong together: give both or neither")
        grade = self.check_pairs(grades, seeds)
        used = self._truncation(truncation, truncation_cutoff, truncation_center)
        ws = self.codes(seeds, grade, **used)
        if mix_seeds is not None and mix_layers is not None:
            self.check_pairs(grade, mix_seeds)
            ws = self.network.mix_styles(ws, self.codes(mix_seeds, grade, **used), layers=mix_layers)
            used["mix_layers"] = [int(layer) for layer in mix_layers]
        images = self._either_side(ws, seeds, transform)
        if transform is not None:
            used["transform"] = {key: list(v) if key == "translate" else v for key, v in transform.items()}
        if not self.conditional:
            used["curated"] = False
        each = [used if mix_seeds is None else {**used, "mix_seeds": [int(mix_seeds[i])]} for i in range(len(seeds))]
        records = [self.record("sample", g, s, options=o) for g, s, o in zip(grade.tolist(), seeds, each, strict=True)]
        return GeneratedBatch(images, grade, records)

    @torch.no_grad()
    def codes(
        self,
        seeds: Sequence[int],
        grades: Tensor,
        *,
        truncation: float = 1.0,
        truncation_cutoff: int | None = None,
        truncation_center: str = "grade",
    ) -> Tensor:
        """Intermediate latents `(B, num_ws, w_dim)` of seeds, on the generator's device."""
        grade = grades.to(self.device) if self.conditional else None
        ws: Tensor = self.network.mapping(self.latents(seeds).to(self.device), grade)
        if truncation == 1.0:
            return ws
        cutoff = ws.shape[1] if truncation_cutoff is None else truncation_cutoff
        if not 0 <= cutoff <= ws.shape[1]:
            raise ValueError(f"truncation_cutoff must lie in 0..{ws.shape[1]}, got {cutoff}")
        if grade is None or _known_center(truncation_center) == "global":
            center = self.network.w_avg[None, None]
        else:
            center = self.centers()[grade][:, None]
        return torch.cat([center + truncation * (ws[:, :cutoff] - center), ws[:, cutoff:]], dim=1)

    @torch.no_grad()
    def centers(self) -> Tensor:
        """Mean intermediate latent of each grade, `(num_classes, w_dim)`, over fixed latents."""
        mapping = self.network.latent_mapping
        state = (self.device, *((p.data_ptr(), p._version) for p in mapping.parameters()))  # a training may go on
        if self._centers is None or self._centers[0] != state:
            drawn = torch.Generator().manual_seed(0)
            latents = torch.randn(CENTER_DRAWS, self.network.z_dim, generator=drawn, dtype=torch.float32)
            latents = latents.to(self.device)
            grades = torch.arange(self.num_classes, device=self.device)
            means = [mapping(latents, grade.expand(CENTER_DRAWS)).mean(0) for grade in grades]
            self._centers = (state, torch.stack(means))
        return self._centers[1]

    def render(self, ws: Tensor, *, transform: Mapping[str, Any] | None = None, mirrored: bool = False) -> Tensor:
        """Images `(B, 3, H, W)` in [0, 1] of intermediate latents; `transform` as for `sample`.

        `mirrored`: the images will be mirrored afterwards, and the transform is meant for what is then seen.
        """
        matrix = None if transform is None else inverse_transform(transform, mirrored=mirrored).to(self.device)
        return self.in_batches(len(ws), lambda rows: self.network.synthesis(ws[rows], transform=matrix))

    def _either_side(self, ws: Tensor, seeds: Sequence[int], transform: Mapping[str, Any] | None) -> Tensor:
        """Images of latents; those of odd seeds mirrored, if the network draws the disc on one side only."""
        mirrored = torch.tensor([self.one_sided and int(seed) % 2 == 1 for seed in seeds], dtype=torch.bool)
        if transform is None or not bool(mirrored.any()):
            return flipped(self.render(ws, transform=transform), mirrored)
        made = torch.empty(len(ws), 3, self.image_size, self.image_size, device=ws.device)
        for rows, mirror in ((~mirrored, False), (mirrored, True)):
            if bool(rows.any()):
                own = rows.to(ws.device)
                made[own] = self.render(ws[own], transform=transform, mirrored=mirror)
        return flipped(made, mirrored)

    def _truncation(self, truncation: float | None, cutoff: int | None, center: str | None) -> dict[str, Any]:
        """The options that matter, as the record keeps them."""
        share = float(self.truncation if truncation is None else truncation)
        if share == 1.0:
            return {"truncation": share}
        used = {"truncation": share, "truncation_center": _known_center(center or self.truncation_center)}
        return used if cutoff is None else {**used, "truncation_cutoff": int(cutoff)}


def _known_center(center: str) -> str:
    if center not in CENTERS:
        raise ValueError(f"truncation_center must be one of {', '.join(CENTERS)}, got {center!r}")
    return center


def load_style_generator(name: str, *, device: str = "cpu") -> StyleGAN3Generator:
    """A StyleGAN3 with what its bundle brings: encoder, directions, segmenters; `ValueError` for another generator."""
    generator = load_generator(name, device=device)
    if not isinstance(generator, StyleGAN3Generator):
        raise ValueError(f"generator {name!r} is a {type(generator).__name__}: only a StyleGAN3 has styles")
    return generator


def inverse_transform(transform: Mapping[str, Any], *, mirrored: bool = False) -> Tensor:
    """Matrix `(3, 3)`, from places of the new image to places of the old one, of a transform as one thinks of it.

    `rotate` is in degrees counter-clockwise about the image's centre; then `translate`, `[x, y]` in shares of the
    image's side, to the right and down. `mirrored`: the image is mirrored afterwards, left to right, and is then to be
    moved and turned like this. `ValueError` for other keys, or values that are no finite numbers.

    Examples:
        >>> inverse_transform({"translate": [0.25, 0.0]})[0]
        tensor([ 1.0000, 0.0000, -0.2500])
    """
    unknown = sorted(set(transform) - {"rotate", "translate"})
    if unknown:
        raise ValueError(f"transform has {unknown}: want rotate (degrees) and translate ([x, y] in shares of the side)")
    angle, shift = transform.get("rotate", 0.0), transform.get("translate", (0.0, 0.0))
    if (
        not isinstance(shift, (list, tuple))
        or len(shift) != 2
        or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in (angle, *shift))
    ):
        raise ValueError(f"transform {dict(transform)}: want numbers, as in {{'rotate': 10, 'translate': [0.1, 0]}}")
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    # y runs down, so that a turn to the left as one sees it has the sine's signs the other way round.
    matrix = torch.tensor([[cosine, sine, shift[0]], [-sine, cosine, shift[1]], [0, 0, 1]], dtype=torch.float64)
    if mirrored:
        mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
        matrix = mirror @ matrix @ mirror
    return torch.linalg.inv(matrix).float()
