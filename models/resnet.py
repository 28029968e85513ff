"""ResNet v1.5 with torchvision's parameter names, with room for attention in units and after stages."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from models.layers import STEM_SHRINK, Classifier, init_convolutions, make_stem
from models.registry import register_model

Attention = Callable[[int], nn.Module]  # channels → a module that keeps the shape of its input

WIDTHS = (64, 128, 256, 512)
DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al., CVPR 2016).

    Args:
        in_channels: channels of the input.
        width: channels of the output.
        stride: of the first convolution.
        attention: built for the branch's channels and applied to it before the addition.
        project: a 1x1 shortcut even where the shapes agree; by default only where they do not.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int = 1,
        attention: Attention | None = None,
        project: bool = False,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.attention = attention(width) if attention else None
        project = project or stride != 1 or in_channels != width
        self.downsample = _shortcut(in_channels, width, stride) if project else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, in_channels, H, W] to [B, width, H / stride, W / stride]."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.attention is not None:
            out = self.attention(out)
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions around a shortcut; v1.5 has its stride on the 3x3.

    Args:
        in_channels: channels of the input.
        width: channels inside; the output has four times as many.
        stride: of the whole unit.
        attention: built for the branch's channels and applied to it before the addition.
        stride_first: puts the stride on the first 1x1, as the Caffe models have it.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int = 1,
        attention: Attention | None = None,
        stride_first: bool = False,
    ):
        super().__init__()
        out_channels = width * self.expansion
        first, second = (stride, 1) if stride_first else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, width, 1, stride=first, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=second, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.attention = attention(out_channels) if attention else None
        project = stride != 1 or in_channels != out_channels
        self.downsample = _shortcut(in_channels, out_channels, stride) if project else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, in_channels, H, W] to [B, 4 * width, H / stride, W / stride]."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.attention is not None:
            out = self.attention(out)
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """ResNet v1.5; subclasses refine the feature maps after each stage.

    Args:
        unit: builds one residual unit: `unit(in_channels, width, stride)`.
        depths: units in each of the four stages.
        expansion: output channels of a unit over its width.
        num_classes: outputs of the head.
        in_channels: channels of the images.
        drop_rate: dropout before the head.
        stem: see `models.layers.make_stem`.
    """

    def __init__(
        self,
        unit: Callable[[int, int, int], nn.Module],
        depths: Sequence[int],
        expansion: int,
        *,
        num_classes: int,
        in_channels: int = 3,
        drop_rate: float | None = None,
        stem: str = "imagenet",
    ):
        super().__init__()
        self.conv1, self.maxpool = make_stem(stem, in_channels, WIDTHS[0])
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        self.stage_channels = [width * expansion for width in WIDTHS]
        entries = [WIDTHS[0], *self.stage_channels]
        stages = [
            _stage(unit, entry, width, expansion, depth, stride=1 if number == 0 else 2)
            for number, (entry, width, depth) in enumerate(zip(entries, WIDTHS, depths, strict=False))
        ]
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        init_convolutions(self)
        self.fc: nn.Module = Classifier(self.stage_channels[-1], num_classes, drop_rate or 0.0)

    def after_stage(self, number: int, x: Tensor) -> Tensor:
        """Refines the output [B, C, h, w] of stage `number` (1 to 4); the plain network leaves it alone."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Maps images [B, in_channels, H, W] to logits [B, num_classes]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.after_stage(1, self.layer1(x))
        x = self.after_stage(2, self.layer2(x))
        x = self.after_stage(3, self.layer3(x))
        x = self.after_stage(4, self.layer4(x))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def _stage(
    unit: Callable[[int, int, int], nn.Module],
    entry: int,
    width: int,
    expansion: int,
    depth: int,
    stride: int,
) -> nn.Sequential:
    first = unit(entry, width, stride)
    return nn.Sequential(first, *(unit(width * expansion, width, 1) for _ in range(depth - 1)))


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
    )


def resnet_facts(layers: int) -> dict[str, object]:
    """The facts that every ResNet of so many layers shares, for `register_model`."""
    return {
        "classifier": "fc",
        "cam_layer": "layer4",
        "min_size": 32,
        "shrink": STEM_SHRINK,
        "imagenet": f"torchvision:resnet{layers}",
    }


def residual_unit(layers: int) -> type[BasicBlock] | type[Bottleneck]:
    """The unit that a ResNet of so many layers is made of."""
    return BasicBlock if layers < 50 else Bottleneck


def _resnet(layers: int, num_classes: int, in_channels: int, drop_rate: float | None, stem: str) -> ResNet:
    unit = residual_unit(layers)
    return ResNet(
        unit,
        DEPTHS[layers],
        unit.expansion,
        num_classes=num_classes,
        in_channels=in_channels,
        drop_rate=drop_rate,
        stem=stem,
    )


@register_model(**resnet_facts(18))
def resnet18(num_classes: int, in_channels: int, drop_rate: float | None, stem: str = "imagenet") -> ResNet:
    """ResNet-18 (He et al., CVPR 2016)."""
    return _resnet(18, num_classes, in_channels, drop_rate, stem)


@register_model(**resnet_facts(34))
def resnet34(num_classes: int, in_channels: int, drop_rate: float | None, stem: str = "imagenet") -> ResNet:
    """ResNet-34 (He et al., CVPR 2016)."""
    return _resnet(34, num_classes, in_channels, drop_rate, stem)


@register_model(**resnet_facts(50))
def resnet50(num_classes: int, in_channels: int, drop_rate: float | None, stem: str = "imagenet") -> ResNet:
    """ResNet-50 v1.5 (He et al., CVPR 2016; stride on the 3x3)."""
    return _resnet(50, num_classes, in_channels, drop_rate, stem)


@register_model(**resnet_facts(101))
def resnet101(num_classes: int, in_channels: int, drop_rate: float | None, stem: str = "imagenet") -> ResNet:
    """ResNet-101 v1.5 (He et al., CVPR 2016; stride on the 3x3)."""
    return _resnet(101, num_classes, in_channels, drop_rate, stem)


@register_model(**resnet_facts(152))
def resnet152(num_classes: int, in_channels: int, drop_rate: float | None, stem: str = "imagenet") -> ResNet:
    """ResNet-152 v1.5 (He et al., CVPR 2016; stride on the 3x3)."""
    return _resnet(152, num_classes, in_channels, drop_rate, stem)
