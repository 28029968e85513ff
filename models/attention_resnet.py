"""ResNets with CBAM in every residual unit or BAM after the first three stages."""

import re
from functools import partial
from typing import Any

from torch import Tensor, nn

from models.attention import BAM, CBAM
from models.registry import register_model
from models.resnet import DEPTHS, ResNet, residual_unit, resnet_facts

# Names in the authors' published files → ours, part by part.
AUTHORS_NAMES = {
    r"\.cbam\.ChannelGate\.mlp\.1\.": ".attention.channel.0.",
    r"\.cbam\.ChannelGate\.mlp\.3\.": ".attention.channel.2.",
    r"\.cbam\.SpatialGate\.spatial\.conv\.": ".attention.spatial.0.",
    r"\.cbam\.SpatialGate\.spatial\.bn\.": ".attention.spatial.1.",
    r"\.channel_att\.gate_c\.gate_c_fc_0\.": ".channel.0.",
    r"\.channel_att\.gate_c\.gate_c_bn_1\.": ".channel.1.",
    r"\.channel_att\.gate_c\.gate_c_fc_final\.": ".channel.3.",
    r"\.spatial_att\.gate_s\.gate_s_conv_reduce0\.": ".spatial.0.",
    r"\.spatial_att\.gate_s\.gate_s_bn_reduce0\.": ".spatial.1.",
    r"\.spatial_att\.gate_s\.gate_s_conv_di_0\.": ".spatial.3.",
    r"\.spatial_att\.gate_s\.gate_s_bn_di_0\.": ".spatial.4.",
    r"\.spatial_att\.gate_s\.gate_s_conv_di_1\.": ".spatial.6.",
    r"\.spatial_att\.gate_s\.gate_s_bn_di_1\.": ".spatial.7.",
    r"\.spatial_att\.gate_s\.gate_s_conv_final\.": ".spatial.9.",
}


class BamResNet(ResNet):
    """ResNet v1.5 with BAM after stages 1, 2 and 3 (Park et al., BMVC 2018).

    Args:
        layers: 18, 34, 50 or 101.
        combine: how BAM joins its branches, "product" or "sum".
        **settings: see `ResNet`.
    """

    def __init__(self, layers: int, combine: str, **settings: Any):
        unit = residual_unit(layers)
        super().__init__(unit, DEPTHS[layers], unit.expansion, **settings)
        self.bam1, self.bam2, self.bam3 = (BAM(channels, combine=combine) for channels in self.stage_channels[:3])

    def after_stage(self, number: int, x: Tensor) -> Tensor:
        """Gates the output of stages 1 to 3; stage 4 has no module."""
        if number == 1:
            return self.bam1(x)
        if number == 2:
            return self.bam2(x)
        return self.bam3(x) if number == 3 else x


def rename_authors_key(key: str) -> str:
    """Maps a key of the authors' published CBAM and BAM files to ours; others stay as they are."""
    for pattern, ours in AUTHORS_NAMES.items():
        key = re.sub(pattern, ours, key)
    return key


def _facts(layers: int) -> dict[str, Any]:
    return {**resnet_facts(layers), "rename_key": rename_authors_key}


def _cbam_resnet(layers: int, num_classes: int, in_channels: int, drop_rate: float | None, stem: str) -> nn.Module:
    unit = residual_unit(layers)
    return ResNet(
        partial(unit, attention=CBAM),
        DEPTHS[layers],
        unit.expansion,
        num_classes=num_classes,
        in_channels=in_channels,
        drop_rate=drop_rate,
        stem=stem,
    )


def _bam_resnet(
    layers: int, num_classes: int, in_channels: int, drop_rate: float | None, stem: str, combine: str
) -> nn.Module:
    return BamResNet(layers, combine, num_classes=num_classes, in_channels=in_channels, drop_rate=drop_rate, stem=stem)


@register_model(**_facts(18))
def cbam_resnet18(num_classes: int, in_channels: int, drop_rate: float | None, stem: str = "imagenet") -> nn.Module:
    """ResNet-18 with CBAM in every unit (Woo et al., ECCV 2018)."""
    return _cbam_resnet(18, num_classes, in_channels, drop_rate, stem)


@register_model(**_facts(34))
def cbam_resnet34(num_classes: int, in_channels: int, drop_rate: float | None, stem: str = "imagenet") -> nn.Module:
    """ResNet-34 with CBAM in every unit (Woo et al., ECCV 2018)."""
    return _cbam_resnet(34, num_classes, in_channels, drop_rate, stem)


@register_model(**_facts(50))
def cbam_resnet50(num_classes: int, in_channels: int, drop_rate: float | None, stem: str = "imagenet") -> nn.Module:
    """ResNet-50 with CBAM in every unit (Woo et al., ECCV 2018)."""
    return _cbam_resnet(50, num_classes, in_channels, drop_rate, stem)


@register_model(**_facts(101))
def cbam_resnet101(num_classes: int, in_channels: int, drop_rate: float | None, stem: str = "imagenet") -> nn.Module:
    """ResNet-101 with CBAM in every unit (Woo et al., ECCV 2018)."""
    return _cbam_resnet(101, num_classes, in_channels, drop_rate, stem)


@register_model(**_facts(18))
def bam_resnet18(
    num_classes: int,
    in_channels: int,
    drop_rate: float | None,
    stem: str = "imagenet",
    combine: str = "product",
) -> nn.Module:
    """ResNet-18 with BAM after stages 1 to 3 (Park et al., BMVC 2018)."""
    return _bam_resnet(18, num_classes, in_channels, drop_rate, stem, combine)


@register_model(**_facts(34))
def bam_resnet34(
    num_classes: int,
    in_channels: int,
    drop_rate: float | None,
    stem: str = "imagenet",
    combine: str = "product",
) -> nn.Module:
    """ResNet-34 with BAM after stages 1 to 3 (Park et al., BMVC 2018)."""
    return _bam_resnet(34, num_classes, in_channels, drop_rate, stem, combine)


@register_model(**_facts(50))
def bam_resnet50(
    num_classes: int,
    in_channels: int,
    drop_rate: float | None,
    stem: str = "imagenet",
    combine: str = "product",
) -> nn.Module:
    """ResNet-50 with BAM after stages 1 to 3 (Park et al., BMVC 2018)."""
    return _bam_resnet(50, num_classes, in_channels, drop_rate, stem, combine)


@register_model(**_facts(101))
def bam_resnet101(
    num_classes: int,
    in_channels: int,
    drop_rate: float | None,
    stem: str = "imagenet",
    combine: str = "product",
) -> nn.Module:
    """ResNet-101 with BAM after stages 1 to 3 (Park et al., BMVC 2018)."""
    return _bam_resnet(101, num_classes, in_channels, drop_rate, stem, combine)
