"""TensorFlow's padding of strided convolutions, without the padded copy of the input that timm makes of it."""

from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

__all__ = ["EvenSameConv"]


class EvenSameConv(nn.Module):
    """A convolution of stride 2 with padding "same", for judging: no copy of the input where its sides are even.

    There one more pixel is padded at the right and at the bottom than at the left and at the top. A kernel with an
    empty first row and column, under equal padding, gives the same values; on large maps the copy costs more than the
    convolution. Inputs with an odd side are padded as before.

    Args:
        convolution: timm's `Conv2dSame` with an odd square kernel and stride 2; its weights are shared.

    Raises:
        ValueError: for another kernel or stride.

    Examples:
        >>> import torch
        >>> from timm.layers import Conv2dSame
        >>> plain, image = Conv2dSame(3, 4, 3, stride=2), torch.rand(1, 3, 8, 8)
        >>> torch.allclose(EvenSameConv(plain)(image), plain(image), atol=1e-6)
        True
    """

    # TorchScript reads it, so this file does not postpone annotations
    weight: Tensor

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        side = convolution.kernel_size[0]
        if convolution.kernel_size != (side, side) or side % 2 == 0 or convolution.stride != (2, 2):
            raise ValueError(
                f"kernel {convolution.kernel_size} with stride {convolution.stride}: want an odd square kernel with "
                "stride 2"
            )
        self.convolution, self.padding, self.groups = convolution, side // 2, convolution.groups
        self.register_buffer("weight", pad(convolution.weight.detach(), (1, 0, 1, 0)), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        if image.shape[-1] % 2 or image.shape[-2] % 2:
            return self.convolution(image)
        return conv2d(image, self.weight, self.convolution.bias, 2, self.padding, 1, self.groups)
