"""Small networks of our own for faces at their native 48 pixels, quick enough to train on a CPU."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.errors import ModelError
from models.layers import Classifier, init_convolutions
from models.registry import register_model
from models.resnet import BasicBlock

NO_WEIGHTS = {"weights_hint": "compact networks train from scratch: weights 'none', or the path of your own file"}


class CompactResNet(nn.Module):
    """A 3x3 stem at full resolution, then stages of basic residual units, each halving the size.

    Args:
        num_classes: outputs of the head.
        in_channels: channels of the images.
        drop_rate: dropout before the head.
        stem_width: channels of the stem.
        widths: channels of each stage.
        blocks: units in each stage.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        drop_rate: float,
        stem_width: int,
        widths: Sequence[int],
        blocks: Sequence[int],
    ):
        super().__init__()
        _check_widths(widths=widths, blocks=blocks, stem_width=[stem_width])
        if len(widths) != len(blocks):
            raise ModelError(f"widths and blocks must be equally long; got {list(widths)} and {list(blocks)}")
        self.stem = _conv_bn_relu(in_channels, stem_width)
        self.stages = nn.Sequential()
        for (entry, width), depth in zip(pairwise([stem_width, *widths]), blocks, strict=True):
            rest = (BasicBlock(width, width) for _ in range(depth - 1))
            self.stages.append(nn.Sequential(BasicBlock(entry, width, stride=2), *rest))
        self.pool = nn.AdaptiveAvgPool2d(1)
        init_convolutions(self)
        self.fc = Classifier(widths[-1], num_classes, drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images [B, in_channels, H, W] to logits [B, num_classes]."""
        return self.fc(torch.flatten(self.pool(self.stages(self.stem(x))), 1))


class CompactVGG(nn.Module):
    """A 5x5 stem that halves the size, then stages of 3x3 convolutions with max pooling between them.

    Args:
        num_classes: outputs of the head.
        in_channels: channels of the images.
        drop_rate: dropout before the head.
        stem_width: channels of the stem.
        widths: channels of each stage.
        depths: convolutions in each stage.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        drop_rate: float,
        stem_width: int,
        widths: Sequence[int],
        depths: Sequence[int],
    ):
        super().__init__()
        _check_widths(widths=widths, depths=depths, stem_width=[stem_width])
        if len(widths) != len(depths):
            raise ModelError(f"widths and depths must be equally long; got {list(widths)} and {list(depths)}")
        # At full resolution batch norm and ReLU cost a CPU more than the convolutions do, so the stem halves it.
        self.stem = _conv_bn_relu(in_channels, stem_width, kernel=5, stride=2)
        self.features = nn.Sequential()
        for (entry, width), depth in zip(pairwise([stem_width, *widths]), depths, strict=True):
            if len(self.features):
                self.features.append(nn.MaxPool2d(2))
            convolutions = [_conv_bn_relu(channels, width) for channels in [entry, *[width] * (depth - 1)]]
            self.features.append(nn.Sequential(*convolutions))
        self.pool = nn.AdaptiveAvgPool2d(1)
        init_convolutions(self)
        self.fc = Classifier(widths[-1], num_classes, drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images [B, in_channels, H, W] to logits [B, num_classes]."""
        return self.fc(torch.flatten(self.pool(self.features(self.stem(x))), 1))


def _conv_bn_relu(in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _check_widths(**lists: Sequence[int]) -> None:
    for name, values in lists.items():
        if (
            not isinstance(values, Sequence)
            or not values
            or any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in values)
        ):
            raise ModelError(f"{name} must be whole numbers of at least 1; got {values!r}")


@register_model(classifier="fc", cam_layer="stages", min_size=8, **NO_WEIGHTS)
def compact_resnet(
    num_classes: int,
    in_channels: int,
    drop_rate: float | None,
    stem_width: int = 32,
    widths: Sequence[int] = (64, 128, 256),
    blocks: Sequence[int] = (2, 2, 2),
) -> CompactResNet:
    """Compact ResNet, 2.76 M parameters; dropout 0.2 before the head unless told otherwise."""
    rate = 0.2 if drop_rate is None else drop_rate
    return CompactResNet(num_classes, in_channels, rate, stem_width, widths, blocks)


@register_model(classifier="fc", cam_layer="stages", min_size=8, **NO_WEIGHTS)
def tiny_resnet(num_classes: int, in_channels: int, drop_rate: float | None) -> CompactResNet:
    """One unit a stage at widths 16, 48, 96, 192; dropout 0.2 before the head unless told otherwise."""
    rate = 0.2 if drop_rate is None else drop_rate
    return CompactResNet(num_classes, in_channels, rate, stem_width=16, widths=(48, 96, 192), blocks=(1, 1, 1))


@register_model(classifier="fc", cam_layer="features", min_size=16, **NO_WEIGHTS)
def compact_vgg(
    num_classes: int,
    in_channels: int,
    drop_rate: float | None,
    widths: Sequence[int] = (64, 128, 256),
) -> CompactVGG:
    """Compact VGG, ten convolutions, 1.96 M parameters; dropout 0.3 before the head unless told otherwise."""
    rate = 0.3 if drop_rate is None else drop_rate
    return CompactVGG(num_classes, in_channels, rate, widths[0], widths, [3] * len(widths))


@register_model(classifier="fc", cam_layer="features", min_size=16, **NO_WEIGHTS)
def quick_vgg(num_classes: int, in_channels: int, drop_rate: float | None) -> CompactVGG:
    """Quick VGG: few layers where maps are large and cost most; dropout 0.1 before the head unless told otherwise."""
    rate = 0.1 if drop_rate is None else drop_rate
    return CompactVGG(num_classes, in_channels, rate, stem_width=32, widths=(64, 128, 256), depths=(1, 2, 3))
