"""LPIPS_DR: perceptual distance in a network that knows diabetic retinopathy (Zhao et al. 2023, Eq. 1)."""

from __future__ import annotations

from monai_retina_gen.losses.feature_distance import FeatureDistance

__all__ = ["LPIPSDR"]


class LPIPSDR(FeatureDistance):
    """`FeatureDistance` in a detector of retinopathy; its arguments, and at all layers that the detector names.

    The paper's detector is a `FundusGrader(backbone="vgg16", num_classes=2)` trained to tell grade 0 from 1-4, whose
    layers are the five max-pools. One that started from ImageNet is `FundusGrader(backbone="efficientnet_lite0",
    num_classes=2)`, with five strides.

    Examples:
        >>> import torch
        >>> from monai_retina_gen.networks import FundusGrader
        >>> distance = LPIPSDR(network=FundusGrader(backbone="vgg16", width=0.125, num_classes=2))
        >>> x = torch.rand(2, 3, 32, 32)
        >>> distance(x, x)
        tensor([0., 0.])
    """
