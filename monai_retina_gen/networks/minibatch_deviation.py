"""How much the images of a batch differ, as one more map for a discriminator.

Source: Karras et al., arXiv:1710.10196, section 3. A discriminator that sees one image at a time does not see that all
are alike.
"""

import torch
from torch import Tensor


def with_minibatch_deviation(x: Tensor, group_size: int = 4) -> Tensor:
    """Append a channel with the mean standard deviation over the images of each group.

    Of a group are the largest number of images up to `group_size` that divides the batch.

    Examples:
        >>> with_minibatch_deviation(torch.tensor([0.0, 2.0]).view(2, 1, 1, 1)).flatten(1).tolist()
        [[0.0, 1.0], [2.0, 1.0]]
    """
    size = max(group for group in range(1, min(group_size, len(x)) + 1) if len(x) % group == 0)
    grouped = x.to(torch.promote_types(x.dtype, torch.float32)).unflatten(0, (size, -1))
    deviation = (grouped.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3)).repeat(size).to(x.dtype)
    return torch.cat([x, deviation[:, None, None, None].expand(-1, 1, x.shape[2], x.shape[3])], dim=1)
