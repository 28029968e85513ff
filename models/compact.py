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


class CompactInception(nn.Module):
    """A 5x5 stem that halves the size, then stages of Inception units with max pooling between them.

    Args:
        num_classes: outputs of the head.
        in_channels: channels of the images.
        drop_rate: dropout before the head.
        stem_width: channels of the stem.
        widths: channels of each stage, multiples of 8.
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
        self.stem = _conv_bn_relu(in_channels, stem_width, kernel=5, stride=2)
        self.features = nn.Sequential()
        for (entry, width), depth in zip(pairwise([stem_width, *widths]), blocks, strict=True):
            if len(self.features):
                self.features.append(nn.MaxPool2d(2))
            self.features.append(nn.Sequential(*(Inception(c, width) for c in [entry, *[width] * (depth - 1)])))
        self.pool = nn.AdaptiveAvgPool2d(1)
        init_convolutions(self)
        self.fc = Classifier(widths[-1], num_classes, drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images [B, in_channels, H, W] to logits [B, num_classes]."""
        return self.fc(torch.flatten(self.pool(self.features(self.stem(x))), 1))


class Inception(nn.Module):
    """Four branches side by side: 1x1; 3x3; two 3x3 in the place of a 5x5; pooling (Szegedy et al., CVPR 2016, fig. 5).

    Args:
        in_channels: channels that come in.
        out_channels: channels that go out, a multiple of 8: a quarter, a half, an eighth and an eighth of them.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        quarter, eighth = out_channels // 4, out_channels // 8
        self.point = _conv_bn_relu(in_channels, quarter, kernel=1)
        self.near = nn.Sequential(_conv_bn_relu(in_channels, quarter, kernel=1), _conv_bn_relu(quarter, 2 * quarter))
        self.far = nn.Sequential(
            _conv_bn_relu(in_channels, eighth, kernel=1), _conv_bn_relu(eighth, eighth), _conv_bn_relu(eighth, eighth)
        )
        self.pooled = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), _conv_bn_relu(in_channels, eighth, kernel=1))

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, in_channels, H, W] to [B, out_channels, H, W]."""
        return torch.cat([self.point(x), self.near(x), self.far(x), self.pooled(x)], dim=1)


class CompactDenseNet(nn.Module):
    """A 5x5 stem that halves the size, then dense blocks with halving transitions between them.

    Each layer sees the maps of all before it (Huang et al., CVPR 2017, DenseNet-BC).

    Args:
        num_classes: outputs of the head.
        in_channels: channels of the images.
        drop_rate: dropout before the head.
        growth: channels that each layer adds.
        blocks: layers in each dense block.
    """

    def __init__(self, num_classes: int, in_channels: int, drop_rate: float, growth: int, blocks: Sequence[int]):
        super().__init__()
        channels = 2 * growth
        self.stem = _conv_bn_relu(in_channels, channels, kernel=5, stride=2)
        self.features = nn.Sequential()
        for depth in blocks:
            if len(self.features):
                self.features.append(nn.Sequential(_bn_relu_conv(channels, channels // 2, kernel=1), nn.AvgPool2d(2)))
                channels //= 2
            self.features.append(nn.Sequential(*(DenseLayer(channels + i * growth, growth) for i in range(depth))))
            channels += depth * growth
        self.norm = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.pool = nn.AdaptiveAvgPool2d(1)
        init_convolutions(self)
        self.fc = Classifier(channels, num_classes, drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images [B, in_channels, H, W] to logits [B, num_classes]."""
        return self.fc(torch.flatten(self.pool(self.norm(self.features(self.stem(x)))), 1))


class DenseLayer(nn.Module):
    """A 1x1 convolution to four times ``growth`` channels, a 3x3 one to ``growth``, appended to what came in."""

    def __init__(self, in_channels: int, growth: int):
        super().__init__()
        self.layers = nn.Sequential(_bn_relu_conv(in_channels, 4 * growth, kernel=1), _bn_relu_conv(4 * growth, growth))

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, in_channels, H, W] to [B, in_channels + growth, H, W]."""
        return torch.cat([x, self.layers(x)], dim=1)


def _bn_relu_conv(in_channels: int, out_channels: int, kernel: int = 3) -> nn.Sequential:
    # not in place: the maps are also passed on as they are
    return nn.Sequential(
        nn.BatchNorm2d(in_channels),
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
    )


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


@register_model(classifier="fc", cam_layer="features", min_size=16, **NO_WEIGHTS)
def compact_inception(num_classes: int, in_channels: int, drop_rate: float | None) -> CompactInception:
    """Compact Inception, seven units; dropout 0.3 before the head unless told otherwise."""
    rate = 0.3 if drop_rate is None else drop_rate
    return CompactInception(num_classes, in_channels, rate, stem_width=64, widths=(128, 256, 384), blocks=(2, 3, 2))


@register_model(classifier="fc", cam_layer="norm", min_size=16, **NO_WEIGHTS)
def compact_densenet(num_classes: int, in_channels: int, drop_rate: float | None) -> CompactDenseNet:
    """Compact DenseNet, growth 32, sixteen layers; dropout 0.3 before the head unless told otherwise."""
    rate = 0.3 if drop_rate is None else drop_rate
    return CompactDenseNet(num_classes, in_channels, rate, growth=32, blocks=(4, 6, 6))
