"""ResMaskingNet: a ResNet-34 whose stages are each refined by a small U-shaped masking block."""

import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.errors import ModelError, check_choice
from models.layers import Classifier, init_convolutions
from models.registry import register_model
from models.resnet import DEPTHS, BasicBlock, ResNet, resnet_facts

ACTIVATIONS = ("softmax", "sigmoid")
MASK_DEPTHS = (4, 3, 2, 1)
# Published files hold each shortcut of a mask twice: in its unit, and once more beside the units.
DOUBLED_SHORTCUT = re.compile(r"^mask\d+\.downsample\d+\.")


class Masking(nn.Module):
    """An encoder and decoder that scores every position of a feature map (Pham et al., ICPR 2020).

    Units and up-samplings are numbered through as in the published files: conv1 … convD go down,
    up_pool(D+1) with conv(D+1) … go up again, and the last conv returns to the input's width.

    Args:
        channels: channels C of the feature map.
        depth: number D of encoder units; height and width must be multiples of 2^(D-1).
        activation: "softmax" over channels, so that the masks of a position sum to 1, or "sigmoid".

    Raises:
        ModelError: unknown activation, or depth below 1.
    """

    def __init__(self, channels: int, depth: int, activation: str = "softmax"):
        super().__init__()
        check_choice("mask_activation", activation, ACTIVATIONS)
        if depth < 1:
            raise ModelError(f"depth of a masking block must be at least 1; got {depth}")
        self.depth, self.activation = depth, activation
        widths = [channels * 2**k for k in range(depth + 1)]
        for k in range(1, depth + 1):
            self.add_module(f"conv{k}", BasicBlock(widths[k - 1], widths[k], project=True))
        for number, k in enumerate(range(depth - 1, 0, -1), start=depth + 1):
            self.add_module(f"up_pool{number}", _up_sampling(widths[k + 1], widths[k]))
            self.add_module(f"conv{number}", BasicBlock(widths[k + 1], widths[k], project=True))
        self.add_module(f"conv{2 * depth}", BasicBlock(widths[1], widths[0], project=True))
        _init_mask(self)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, C, H, W] to a mask of the same shape with values in (0, 1).

        Raises:
            ModelError: H or W is not a multiple of 2^(depth-1).
        """
        multiple = 2 ** (self.depth - 1)
        if x.shape[2] % multiple or x.shape[3] % multiple:
            size = " x ".join(str(side) for side in x.shape[2:])
            raise ModelError(f"masking block of depth {self.depth} needs multiples of {multiple}; got {size}")
        skips = []
        for k in range(1, self.depth + 1):
            x = self.get_submodule(f"conv{k}")(F.max_pool2d(x, 2) if k > 1 else x)
            skips.append(x)
        for number, skip in enumerate(reversed(skips[:-1]), start=self.depth + 1):
            x = torch.cat([self.get_submodule(f"up_pool{number}")(x), skip], dim=1)
            x = self.get_submodule(f"conv{number}")(x)
        x = self.get_submodule(f"conv{2 * self.depth}")(x)
        return torch.softmax(x, dim=1) if self.activation == "softmax" else torch.sigmoid(x)


class ResMasking(ResNet):
    """ResNet-34 with x · (1 + mask(x)) after each stage (Pham et al., ICPR 2020).

    Args:
        mask_activation: see `Masking`.
        **settings: see `ResNet`.
    """

    def __init__(self, mask_activation: str, **settings: Any):
        super().__init__(BasicBlock, DEPTHS[34], BasicBlock.expansion, **settings)
        self.mask1, self.mask2, self.mask3, self.mask4 = (
            Masking(channels, depth, mask_activation)
            for channels, depth in zip(self.stage_channels, MASK_DEPTHS, strict=True)
        )

    def after_stage(self, number: int, x: Tensor) -> Tensor:
        """Weighs the output [B, C, h, w] of stage `number` by one plus its mask."""
        return x * (1 + self.get_submodule(f"mask{number}")(x))


def drop_doubled_shortcut(key: str) -> str | None:
    """Returns None for the second copy of a mask's shortcut in a published file, other keys unchanged."""
    return None if DOUBLED_SHORTCUT.match(key) else key


def _up_sampling(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _init_mask(mask: Masking) -> None:
    """Kaiming fan-out, and every unit begins as its shortcut alone: the last batch norm's weight is 0."""
    init_convolutions(mask)
    for unit in mask.children():
        if isinstance(unit, BasicBlock):
            nn.init.zeros_(unit.bn2.weight)


def _facts(classifier: str) -> dict[str, Any]:
    return {
        **resnet_facts(34),
        "classifier": classifier,
        "masks": {"mask1": "layer2", "mask2": "layer3", "mask3": "layer4", "mask4": "avgpool"},
        "size_multiple": 32,
        "rename_key": drop_doubled_shortcut,
    }


@register_model(**_facts("fc"))
def resmasking(
    num_classes: int,
    in_channels: int,
    drop_rate: float | None,
    stem: str = "imagenet",
    mask_activation: str = "softmax",
) -> ResMasking:
    """ResMaskingNet with a plain linear head."""
    return ResMasking(mask_activation, num_classes=num_classes, in_channels=in_channels, drop_rate=drop_rate, stem=stem)


@register_model(**_facts("fc.1"))
def resmasking_dropout1(
    num_classes: int,
    in_channels: int,
    drop_rate: float | None,
    stem: str = "imagenet",
    mask_activation: str = "softmax",
) -> ResMasking:
    """ResMaskingNet with dropout (0.4 unless told otherwise) before its linear head."""
    model = ResMasking(mask_activation, num_classes=num_classes, in_channels=in_channels, stem=stem)
    rate = 0.4 if drop_rate is None else drop_rate
    model.fc = nn.Sequential(nn.Dropout(rate), Classifier(model.stage_channels[-1], num_classes))
    return model


@register_model(**_facts("fc.3"))
def resmasking_dropout2(
    num_classes: int,
    in_channels: int,
    drop_rate: float | None,
    stem: str = "imagenet",
    mask_activation: str = "softmax",
) -> ResMasking:
    """ResMaskingNet with a hidden layer of 128 and dropout (0.5 unless told otherwise) in its head."""
    model = ResMasking(mask_activation, num_classes=num_classes, in_channels=in_channels, stem=stem)
    rate = 0.5 if drop_rate is None else drop_rate
    hidden = nn.Linear(model.stage_channels[-1], 128)
    model.fc = nn.Sequential(hidden, nn.ReLU(), nn.Dropout(rate), Classifier(128, num_classes))
    return model
