"""The auxiliary head of Inception; apart, because it is made of torchvision's, which takes a second to import."""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.torchvision_compat import torchvision


class InceptionAux(torchvision.models.inception.InceptionAux):  # type: ignore[name-defined]
    """Inception's auxiliary head, for feature maps of any size.

    torchvision's takes maps of at least 17 x 17 (images of 299 pixels); smaller ones are pooled to the
    5 x 5 that its convolution needs, so that faces of 75 to 298 pixels can be trained on.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, C, h, w] to auxiliary logits [B, num_classes]."""
        large = min(x.shape[2:]) >= 17
        x = F.avg_pool2d(x, kernel_size=5, stride=3) if large else F.adaptive_avg_pool2d(x, 5)
        x = F.adaptive_avg_pool2d(self.conv1(self.conv0(x)), 1)
        return self.fc(torch.flatten(x, 1))
