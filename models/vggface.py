"""ResNet-50 in the Caffe layout that the VGGFace2 weights were trained in."""

import re
from functools import partial

from torch import nn

from models.registry import register_model
from models.resnet import DEPTHS, Bottleneck, ResNet

# Published files name layers conv<stage+1>_<unit>_<part>[_bn]; this is what each part is called here.
PARTS = {
    "1x1_reduce": "conv1",
    "1x1_reduce_bn": "bn1",
    "3x3": "conv2",
    "3x3_bn": "bn2",
    "1x1_increase": "conv3",
    "1x1_increase_bn": "bn3",
    "1x1_proj": "downsample.0",
    "1x1_proj_bn": "downsample.1",
}
STEM_PARTS = {"conv1_7x7_s2": "conv1", "conv1_7x7_s2_bn": "bn1"}


def rename_caffe_key(key: str) -> str:
    """Maps a key of the converted Caffe file to ours; torchvision's names stay as they are."""
    layer, _, tensor = key.rpartition(".")
    if layer in STEM_PARTS:
        return f"{STEM_PARTS[layer]}.{tensor}"
    match = re.fullmatch(r"conv([2-5])_(\d+)_(\w+)", layer)
    if match is None or match[3] not in PARTS:
        return key
    return f"layer{int(match[1]) - 1}.{int(match[2]) - 1}.{PARTS[match[3]]}.{tensor}"


@register_model(
    classifier="fc",
    cam_layer="layer4",
    min_size=32,
    # The weights expect RGB in [0, 255] minus the mean; this is the same in [0, 1].
    mean=(131.0912 / 255, 103.8827 / 255, 91.4953 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
    weights_hint="it takes VGGFace2 weights, which have no public download: pass the path of the file",
    rename_key=rename_caffe_key,
)
def resnet50_pretrained_vgg(num_classes: int, in_channels: int, drop_rate: float | None) -> nn.Module:
    """ResNet-50 with the stride on the first 1x1 and a ceil-mode max pool (Cao et al., FG 2018)."""
    model = ResNet(
        partial(Bottleneck, stride_first=True),
        DEPTHS[50],
        Bottleneck.expansion,
        num_classes=num_classes,
        in_channels=in_channels,
        drop_rate=drop_rate,
    )
    model.maxpool = nn.MaxPool2d(3, stride=2, padding=0, ceil_mode=True)
    return model
