"""MobileNets whose initial weights can be had as a small file: v1, trained on faces, and EfficientNet-Lite2."""

import re

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers import Classifier, init_convolutions
from models.registry import HALF, register_model
from models.zoo import adapted

# (channels, stride) of each unit (Howard et al., arXiv:1704.04861, table 1).
UNITS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)
STEM_WIDTH = 32

LITE2 = "tf_efficientnet_lite2"
LITE2_DEPTHS = (1, 3, 3, 4, 4, 5, 1)  # units in each of timm's stages; the file counts them through
# What the file calls the layers outside of units, of the first unit (which does not expand), and of all others.
OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
OTHERS = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
OTHERS |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}


class MobileNetV1(nn.Module):
    """MobileNet v1 (Howard et al., arXiv:1704.04861), padded as where the VGGFace2 weights come from.

    They were trained on BGR, so RGB images are turned round; and their batch norms hold a folded scale and shift but no
    statistics: set ``refit_norms`` when you train on.

    Args:
        num_classes: outputs of the head.
        in_channels: channels of the images.
        drop_rate: dropout before the head.
    """

    def __init__(self, num_classes: int, in_channels: int, drop_rate: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, STEM_WIDTH, 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_WIDTH)
        self.blocks = nn.Sequential()
        entry = STEM_WIDTH
        for width, stride in UNITS:
            self.blocks.append(_Separable(entry, width, stride))
            entry = width
        init_convolutions(self)
        self.fc = Classifier(entry, num_classes, drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images [B, in_channels, H, W] to logits [B, num_classes]."""
        x = F.relu6(self.bn1(self.conv1(_padded(x.flip(1)))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(self.blocks(x), 1), 1))


class _Separable(nn.Module):
    def __init__(self, entry: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        padding = 1 if stride == 1 else 0  # `_padded` does the rest
        self.dw = nn.Conv2d(entry, entry, 3, stride, padding, groups=entry, bias=False)
        self.dwbn = nn.BatchNorm2d(entry)
        self.pw = nn.Conv2d(entry, width, 1, bias=False)
        self.pwbn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dw(x if self.stride == 1 else _padded(x))
        return F.relu6(self.pwbn(self.pw(F.relu6(self.dwbn(x)))))


def _padded(x: Tensor) -> Tensor:
    """For kernels of 3 that halve: they see a row more below and a column more on the right."""
    return F.pad(x, (0, 1, 0, 1))


def rename_vggface2_key(key: str) -> str:
    """Maps a key of the VGGFace2 file, which lists layers by kind, to ours, by unit; our names stay as they are."""
    return re.sub(r"^(dw|dwbn|pw|pwbn)\.(\d+)\.", r"blocks.\2.\1.", key)


# Trained on values from 0 to 255 less a mean for each channel; in [0, 1] this is the same.
@register_model(
    classifier="fc",
    cam_layer="blocks",
    min_size=32,
    mean=(123.68 / 255, 116.779 / 255, 103.939 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
    weights_hint="pass the path of the VGGFace2 file (mobilenet_v1_vggface2.safetensors), or 'none'",
    rename_key=rename_vggface2_key,
)
def mobilenet_v1(num_classes: int, in_channels: int, drop_rate: float | None) -> nn.Module:
    """MobileNet v1 (Howard et al., arXiv:1704.04861) for VGGFace2 weights given by path."""
    return MobileNetV1(num_classes, in_channels, drop_rate or 0.0)


def rename_lite2_key(key: str) -> str:
    """Maps a key of the converted TensorFlow file to timm's; timm's own names stay as they are."""
    layer, _, tensor = key.rpartition(".")
    if layer in OUTSIDE:
        return f"{OUTSIDE[layer]}.{tensor}"
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)", layer)
    if match is None:
        return key
    unit, stage = int(match[1]), 0
    while stage < len(LITE2_DEPTHS) - 1 and unit >= LITE2_DEPTHS[stage]:
        unit -= LITE2_DEPTHS[stage]
        stage += 1
    part = (OTHERS if stage else FIRST).get(match[2])
    return key if part is None else f"blocks.{stage}.{unit}.{part}.{tensor}"


@register_model(
    classifier="classifier",
    cam_layer="bn2",
    min_size=32,
    mean=HALF,
    std=HALF,
    imagenet=f"timm:{LITE2}",
    rename_key=rename_lite2_key,
)
def efficientnet_lite2(num_classes: int, in_channels: int, drop_rate: float | None) -> nn.Module:
    """EfficientNet-Lite2 as converted from TensorFlow (Tan and Le, ICML 2019): no squeeze-and-excitation, ReLU6."""
    from models.timm_door import build_timm  # timm takes a second to import; most runs need none of it

    return adapted(build_timm(LITE2, num_classes, in_channels, drop_rate), "classifier", in_channels, drop_rate=None)
