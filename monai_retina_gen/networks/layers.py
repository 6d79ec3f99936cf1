"""Layers that several networks share."""

# TorchScript reads these, so this file does not postpone annotations

import math

import torch
from torch import Tensor, nn


def convolution(before: int, after: int) -> nn.Sequential:
    """A 3x3 convolution, batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


def with_minibatch_deviation(x: Tensor, group_size: int = 4) -> Tensor:
    """Append a channel with the mean standard deviation over the images of each group.

    Source: Karras et al., arXiv:1710.10196, section 3. A discriminator that sees one image at a time does not see that
    all are alike. A group has the largest number of images, up to `group_size`, that divides the batch.

    Examples:
        >>> with_minibatch_deviation(torch.tensor([0.0, 2.0]).view(2, 1, 1, 1)).flatten(1).tolist()
        [[0.0, 1.0], [2.0, 1.0]]
    """
    size = max(group for group in range(1, min(group_size, len(x)) + 1) if len(x) % group == 0)
    grouped = x.to(torch.promote_types(x.dtype, torch.float32)).unflatten(0, (size, -1))
    deviation = (grouped.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3)).repeat(size).to(x.dtype)
    return torch.cat([x, deviation[:, None, None, None].expand(-1, 1, x.shape[2], x.shape[3])], dim=1)


def scaled_leaky_relu(x: Tensor, gain: float = 1.0, clamp: float | None = None) -> Tensor:
    """Leaky ReLU of slope 0.2 times sqrt(2) (which keeps the variance) times `gain`, clamped to `+-clamp * gain`.

    Examples:
        >>> scaled_leaky_relu(torch.tensor([1.0, -1.0])).tolist()
        [1.4142..., -0.2828...]
    """
    x = nn.functional.leaky_relu(x, 0.2) * (math.sqrt(2.0) * gain)
    return x if clamp is None else x.clamp(-clamp * gain, clamp * gain)


def check_grade(grade: Tensor | None, num_classes: int, batch: int) -> None:
    """Raise unless `grade` is `(batch,)` integers, `num_classes` for "unknown", or `None` for unknown or no classes.

    A GPU is not waited for: there the failure shows at a later call, as that of an index out of range does.
    """
    if grade is not None and num_classes == 0:
        raise ValueError(f"grade must be None: this network is unconditional, got {tuple(grade.shape)}")
    if grade is None or torch.jit.is_tracing() or torch.compiler.is_compiling():
        return
    if grade.shape != (batch,) or grade.is_floating_point():
        raise ValueError(f"grade must be ({batch},) integers, got {tuple(grade.shape)} {grade.dtype}")
    inside = ((grade >= 0) & (grade <= num_classes)).all()
    wanted = f"grade must lie in 0..{num_classes - 1} ({num_classes} is unknown)"
    if grade.device.type != "cpu":
        torch._assert_async(inside, wanted)
    elif not bool(inside):
        raise ValueError(f"{wanted}, got {sorted(set(grade.tolist()))}")


class EqualizedLinear(nn.Module):
    """Linear layer with equalised learning rate.

    Source: Karras et al., arXiv:1710.10196, section 4.1: weights are drawn from N(0, 1) and scaled by 1 / sqrt(fan in)
    when used, so that an optimiser which normalises its steps moves all layers alike.

    `weight_init` is the standard deviation of the initial effective weights times sqrt(in_features), `lr_multiplier`
    the share of the optimiser's step that reaches them.
    """

    def __init__(
        self,
        *,
        in_features: int,
        out_features: int,
        bias_init: float = 0.0,
        weight_init: float = 1.0,
        lr_multiplier: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) * (weight_init / lr_multiplier))
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr_multiplier))
        self.weight_gain, self.bias_gain = lr_multiplier / math.sqrt(in_features), lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)


class EqualizedConv2d(nn.Module):
    """Convolution with equalised learning rate (see `EqualizedLinear`), without activation; the bias starts at zero."""

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.weight_gain = 1 / math.sqrt(in_channels * kernel_size**2)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight * self.weight_gain).to(x.dtype)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return nn.functional.conv2d(x, weight, bias, self.stride, self.padding)


def _unit_mean_square(x: Tensor) -> Tensor:
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class LatentMapping(nn.Module):
    """Fully connected network from latent and grade to the intermediate latent w, `(B, w_dim)`.

    Source: Karras et al., arXiv:1812.04948, section 2, with the two layers of StyleGAN3. `z_dim` 0 maps the grade alone
    (a discriminator's use), `num_classes` 0 the latent alone. A grade is `num_classes` for "unknown", `None` where all
    are: it gets the mean of all embeddings.
    """

    def __init__(
        self, *, z_dim: int, w_dim: int, num_classes: int = 0, num_layers: int = 2, lr_multiplier: float = 0.01
    ) -> None:
        super().__init__()
        if z_dim == 0 and num_classes == 0:
            raise ValueError("a mapping needs z_dim > 0 or num_classes > 0: there is nothing to map")
        self.z_dim, self.num_classes = z_dim, num_classes
        self.embed = EqualizedLinear(in_features=num_classes, out_features=w_dim) if num_classes else None
        first = z_dim + (w_dim if num_classes else 0)
        self.layers = nn.ModuleList(
            EqualizedLinear(in_features=width, out_features=w_dim, lr_multiplier=lr_multiplier)
            for width in [first, *[w_dim] * (num_layers - 1)]
        )

    def forward(self, latent: Tensor | None, grade: Tensor | None = None) -> Tensor:
        parts = []
        if latent is not None:
            if latent.ndim != 2 or latent.shape[1] != self.z_dim:
                raise ValueError(f"latent must be (B, {self.z_dim}), got {list(latent.shape)}")
            parts.append(_unit_mean_square(latent))
        given = grade if latent is None else latent
        if given is None:
            raise ValueError("latent and grade are None: there is nothing to map")
        if not torch.jit.is_scripting():
            check_grade(grade, self.num_classes, given.shape[0])
        if self.embed is not None:
            parts.append(_unit_mean_square(self.embed(self._shares(grade, given.shape[0]))))
        x = torch.cat(parts, dim=1)
        for layer in self.layers:
            x = scaled_leaky_relu(layer(x))
        return x

    def _shares(self, grade: Tensor | None, batch: int) -> Tensor:
        """`(B, num_classes)`: 1 at the grade, equal shares where it is unknown."""
        assert self.embed is not None
        like = self.embed.weight
        if grade is None:
            return like.new_full((batch, self.num_classes), 1 / self.num_classes)
        one_hot = (grade[:, None] == torch.arange(self.num_classes, device=grade.device)).to(like)
        return torch.where(grade[:, None] == self.num_classes, 1 / self.num_classes, one_hot)
