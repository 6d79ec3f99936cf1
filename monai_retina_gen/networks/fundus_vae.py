"""Class-conditional convolutional variational autoencoder for fundus photographs.

Source: Manasa and Morampudi, "Variational autoencoder for synthetic data generation of diabetic retinopathy",
who train one plain VAE (Kingma and Welling, arXiv:1312.6114) per grade. `FundusVAE` is one network for all grades
(the grade enters encoder and decoder as an embedding), `PerGradeVAE` is the paper's: one network a grade.

The likelihood is Bernoulli per pixel, so images are in [0, 1] inside these networks as well.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monai_retina_gen.arguments import check_whole

CHANNELS = {
    64: (32, 64, 128, 192),
    128: (16, 32, 64, 128, 192),
    256: (8, 16, 32, 64, 128, 192),
}
"""Default feature channels for each image size, chosen to train on a CPU at 128 px."""


class _Residual(nn.Module):
    """Pre-activation residual block whose normalisation takes scale and shift from a condition vector."""

    def __init__(self, channels: int, condition_dim: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.film = nn.Linear(condition_dim, 2 * channels)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, dim=1)
        h = nn.functional.silu(self.norm(x) * (1 + scale) + shift)
        return x + self.conv2(nn.functional.silu(self.conv1(h)))


class _Autoencoder(nn.Module):
    """Images and reconstructions of a network with `encode` and `decode_logits`."""

    def decode(self, latent: Tensor, grade: Tensor | None = None) -> Tensor:
        """Images in [0, 1] for latents `(B, latent_dim)`."""
        return torch.sigmoid(self.decode_logits(latent, grade))  # type: ignore[operator]

    def forward(self, image: Tensor, grade: Tensor | None = None) -> Tensor:
        mean, log_variance = self.encode(image, grade)  # type: ignore[operator]
        if self.training:
            mean = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return self.decode(mean, grade)


class FundusVAE(_Autoencoder):
    """Variational autoencoder conditioned on the grade.

    Args:
        image_size: side of the square images in pixels, a power of two times `4`: 64, 128 or 256.
        num_classes: number of grades; `0` makes it unconditional.
        latent_dim: size of the latent vector.
        channels: feature channels after each halving of the resolution, multiples of 8; by default those of
            `CHANNELS` for the image size. `image_size` divided by `2 ** len(channels)` is the side of the innermost
            feature map and must be a whole number.
        embedding_dim: size of the grade embedding. The last embedding stands for "grade unknown".

    Shape:
        - `image`: `(B, 3, image_size, image_size)` in [0, 1]; `grade`: `(B,)` integers, or `None` for unknown.
        - output: the reconstruction, like `image`. In evaluation mode the latent is the posterior's mean.

    Examples:
        >>> vae = FundusVAE(image_size=64, latent_dim=8, channels=(8, 8, 16, 16)).eval()
        >>> vae(torch.rand(2, 3, 64, 64), torch.tensor([0, 4])).shape
        torch.Size([2, 3, 64, 64])
        >>> vae.decode(torch.randn(3, 8), torch.tensor([1, 2, 3])).shape
        torch.Size([3, 3, 64, 64])
    """

    prior_mean: Tensor
    prior_scale: Tensor

    def __init__(
        self,
        *,
        image_size: int = 128,
        num_classes: int = 5,
        latent_dim: int = 128,
        channels: Sequence[int] | None = None,
        embedding_dim: int = 32,
    ) -> None:
        super().__init__()
        channels = CHANNELS.get(check_whole("image_size", image_size), CHANNELS[128]) if channels is None else channels
        self.base = image_size // 2 ** len(channels)
        if self.base < 1 or self.base * 2 ** len(channels) != image_size:
            raise ValueError(f"image_size {image_size} cannot be halved {len(channels)} times (channels={channels})")
        self.image_size, self.num_classes, self.latent_dim = image_size, num_classes, latent_dim
        self.embedding = nn.Embedding(num_classes + 1, embedding_dim)
        down, up = list(channels), list(channels)[::-1]
        self.stem = nn.Conv2d(3, down[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(i, o, 4, stride=2, padding=1) for i, o in zip([down[0], *down], down, strict=False)
        )
        self.down_blocks = nn.ModuleList(_Residual(c, embedding_dim) for c in down)
        features = down[-1] * self.base**2
        self.posterior = nn.Linear(features + embedding_dim, 2 * latent_dim)
        self.expand = nn.Linear(latent_dim + embedding_dim, features)
        condition_dim = latent_dim + embedding_dim
        self.up_blocks = nn.ModuleList(_Residual(c, condition_dim) for c in up)
        self.up = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(up, [*up[1:], up[-1]], strict=True))
        self.head = nn.Sequential(nn.GroupNorm(8, up[-1]), nn.SiLU(), nn.Conv2d(up[-1], 3, 3, padding=1))
        # Gaussians per grade and side that samples are drawn from: N(0, I) until fitted to the aggregate posterior.
        self.register_buffer("prior_mean", torch.zeros(num_classes + 1, 2, latent_dim))
        self.register_buffer("prior_scale", torch.eye(latent_dim).repeat(num_classes + 1, 2, 1, 1))

    def _condition(self, grade: Tensor | None, batch: int) -> Tensor:
        if grade is None:
            grade = torch.full((batch,), self.num_classes, dtype=torch.long, device=self.prior_mean.device)
        return self.embedding(grade)

    def encode(self, image: Tensor, grade: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior q(z | image, grade), each `(B, latent_dim)`."""
        condition = self._condition(grade, image.shape[0])
        h = self.stem(image * 2 - 1)
        for halve, block in zip(self.down, self.down_blocks):  # noqa: B905
            h = block(halve(h), condition)
        mean, log_variance = self.posterior(torch.cat([h.flatten(1), condition], dim=1)).chunk(2, dim=1)
        # A cap keeps exp() finite in bfloat16 at the start of training.
        return mean, log_variance.clamp(-12.0, 6.0)

    def prior(self, noise: Tensor, grade: Tensor, side: Tensor) -> Tensor:
        """Standard normal noise `(B, latent_dim)` as latents of the grade's prior.

        `side` is `(B,)` of 0 and 1: which of the two mirror images of an eye.
        """
        return self.prior_mean[grade, side] + torch.einsum("bij,bj->bi", self.prior_scale[grade, side], noise)

    @torch.no_grad()
    def fit_prior(
        self, means: Tensor, mirrored: Tensor, variances: Tensor, grades: Tensor, *, shrinkage: float = 20.0
    ) -> None:
        """Fit the prior of each grade to the aggregate posterior (Ghosh et al. 2020, arXiv:1903.12436, section 4).

        Latents of N(0, I) between the encoded photographs decode to blur, where the network never trained; and one
        Gaussian over left and right eyes puts discs on both sides of an eye. So each grade has one Gaussian for either
        side; sides are told apart by the direction in which mirroring moves latents most. A grade with n photographs,
        each of which has one view on either side, keeps its own moments with weight n / (n + shrinkage), those of all
        grades otherwise. Given are posterior means `(N, latent_dim)` of the training photographs, those of the mirrored
        ones, and posterior variances.
        """
        direction = torch.linalg.eigh((means - mirrored).T @ (means - mirrored)).eigenvectors[:, -1]
        # With fewer photographs than dimensions only the noise keeps the covariance definite: double precision.
        latents, noise = torch.cat([means, mirrored]).double(), variances.double().mean(0)
        grades = torch.cat([grades, grades])
        right = latents @ direction.double() > latents.mean(0) @ direction.double()
        for side in (0, 1):
            pooled = _moments(latents[right == bool(side)], noise)
            for grade in range(self.num_classes + 1):
                rows = (right == bool(side)) & ((grades == grade) | (grade == self.num_classes))
                number = int(rows.sum())
                if number == 0:
                    continue
                own, moments = number / (number + shrinkage), _moments(latents[rows], noise)
                self.prior_mean[grade, side] = own * moments[0] + (1 - own) * pooled[0]
                covariance = own * moments[1] + (1 - own) * pooled[1]
                self.prior_scale[grade, side] = torch.linalg.cholesky(covariance).to(means.dtype)

    def decode_logits(self, latent: Tensor, grade: Tensor | None = None) -> Tensor:
        """Logits of the pixels' means for latents `(B, latent_dim)`: `(B, 3, image_size, image_size)`."""
        condition = torch.cat([latent, self._condition(grade, latent.shape[0])], dim=1)
        h = self.expand(condition).unflatten(1, (-1, self.base, self.base))
        for block, conv in zip(self.up_blocks, self.up):  # noqa: B905
            h = conv(nn.functional.interpolate(block(h, condition), scale_factor=2.0, mode="nearest"))
        return self.head(h)


def _moments(latents: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    centred = latents - latents.mean(0)
    return latents.mean(0), centred.T @ centred / len(latents) + torch.diag(noise)


def _rows_of_grades(grade: Tensor | None, num_classes: int) -> list[Tensor]:
    """Rows of each grade in a batch; a grade may have none."""
    if grade is None:
        raise ValueError("PerGradeVAE has one network per grade and needs `grade`; it got None")
    rows: list[Tensor] = []
    for g in range(num_classes):
        rows.append((grade == g).nonzero().flatten())
    return rows


class PerGradeVAE(_Autoencoder):
    """One independent `FundusVAE` per grade, with its arguments: the system as published (preset `per_class`).

    A grade with few photographs is learned by heart: audit its samples for copies before use.

    Examples:
        >>> vae = PerGradeVAE(image_size=64, num_classes=2, latent_dim=4, channels=(8, 8, 8, 8)).eval()
        >>> vae(torch.rand(3, 3, 64, 64), torch.tensor([0, 1, 0])).shape
        torch.Size([3, 3, 64, 64])
    """

    def __init__(
        self,
        *,
        image_size: int = 128,
        num_classes: int = 5,
        latent_dim: int = 64,
        channels: Sequence[int] = (16, 32, 64, 96, 96),
    ) -> None:
        super().__init__()
        self.image_size, self.num_classes, self.latent_dim = image_size, num_classes, latent_dim
        self.grades = nn.ModuleList(
            FundusVAE(image_size=image_size, num_classes=0, latent_dim=latent_dim, channels=channels)
            for _ in range(num_classes)
        )

    def prior(self, noise: Tensor, grade: Tensor, side: Tensor) -> Tensor:
        """Standard normal noise `(B, latent_dim)` as latents of the grade's prior; see `FundusVAE.prior`."""
        rows, parts = _rows_of_grades(grade, self.num_classes), list[Tensor]()
        for own, vae in zip(rows, self.grades, strict=True):
            parts.append(vae.prior(noise[own], torch.zeros_like(own), side[own]))  # type: ignore[operator]
        return torch.cat(parts)[torch.cat(rows).argsort()]

    def fit_prior(
        self, means: Tensor, mirrored: Tensor, variances: Tensor, grades: Tensor, *, shrinkage: float = 0.0
    ) -> None:
        """Fit each grade's prior to its own aggregate posterior; see `FundusVAE.fit_prior`."""
        for own, vae in zip(_rows_of_grades(grades, self.num_classes), self.grades, strict=True):
            if len(own):
                none = torch.zeros_like(own)
                vae.fit_prior(means[own], mirrored[own], variances[own], none, shrinkage=shrinkage)  # type: ignore[operator]

    def encode(self, image: Tensor, grade: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior, each `(B, latent_dim)`, by the network of each row's grade."""
        rows = _rows_of_grades(grade, self.num_classes)
        means: list[Tensor] = []
        log_variances: list[Tensor] = []
        for g, vae in enumerate(self.grades):
            if rows[g].numel() > 0:
                mean, log_variance = vae.encode(image[rows[g]])  # type: ignore[operator]
                means.append(mean)
                log_variances.append(log_variance)
        order = torch.cat(rows).argsort()
        return torch.cat(means)[order], torch.cat(log_variances)[order]

    def decode_logits(self, latent: Tensor, grade: Tensor | None = None) -> Tensor:
        """Logits of the pixels' means, `(B, 3, image_size, image_size)`."""
        rows = _rows_of_grades(grade, self.num_classes)
        parts: list[Tensor] = []
        for g, vae in enumerate(self.grades):
            if rows[g].numel() > 0:
                parts.append(vae.decode_logits(latent[rows[g]]))  # type: ignore[operator]
        return torch.cat(parts)[torch.cat(rows).argsort()]
