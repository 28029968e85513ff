"""The few pieces that several networks share: the head's linear layer, stems, dropout."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from models.errors import check_choice

# Stem → how far it reduces height and width before the first stage.
STEMS = {"imagenet": 4, "conv3_pool": 2, "conv3": 1}
# For `register_model(shrink=...)`: how much smaller the smallest input gets with each stem.
STEM_SHRINK = {"stem": {stem: STEMS["imagenet"] // stride for stem, stride in STEMS.items()}}
HEAD_GAIN = 0.1  # logits start with about a tenth of the features' spread


class Classifier(nn.Linear):
    """Dropout, then a linear layer, under the parameter names of the linear layer alone.

    Weights files and the path of the classifier so stay the same whether there is dropout or not.

    Args:
        in_features: width of the features.
        num_classes: number of logits.
        drop_rate: probability of zeroing a feature while training.
    """

    def __init__(self, in_features: int, num_classes: int, drop_rate: float = 0.0):
        super().__init__(in_features, num_classes)
        self.drop_rate = drop_rate
        init_head(self)

    def forward(self, x: Tensor) -> Tensor:
        """Maps features [B, in_features] to logits [B, num_classes]."""
        return super().forward(F.dropout(x, self.drop_rate, self.training) if self.drop_rate else x)

    def extra_repr(self) -> str:
        """Adds the dropout rate to what the linear layer prints of itself."""
        return f"{super().extra_repr()}, drop_rate={self.drop_rate}"


def init_head(linear: nn.Linear) -> None:
    """Starts a head near zero, so that the first loss is ln(num_classes) whatever the features' scale."""
    nn.init.normal_(linear.weight, std=HEAD_GAIN / math.sqrt(linear.in_features))
    nn.init.zeros_(linear.bias)


def make_stem(stem: str, in_channels: int, width: int) -> tuple[nn.Conv2d, nn.Module]:
    """Returns the first convolution and the pooling of a ResNet.

    Args:
        stem: "imagenet" (7x7 stride 2, max pool), "conv3_pool" (3x3, max pool) or "conv3" (3x3 alone);
            the smaller ones keep the detail of 48-pixel faces.
        in_channels: channels of the images.
        width: channels of the first feature map.

    Raises:
        ModelError: unknown stem.
    """
    check_choice("stem", stem, STEMS)
    if stem == "imagenet":
        conv = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
    else:
        conv = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
    pool = nn.Identity() if stem == "conv3" else nn.MaxPool2d(3, stride=2, padding=1)
    return conv, pool


def init_convolutions(module: nn.Module) -> None:
    """Kaiming fan-out for every convolution inside (He et al., ICCV 2015); batch norms start at 1 and 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
