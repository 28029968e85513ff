"""Attention modules that keep the shape of a feature map: CBAM and BAM."""

import torch
from torch import Tensor, nn

from models.errors import ModelError, check_choice

COMBINATIONS = ("product", "sum")


class CBAM(nn.Module):
    """Convolutional block attention: which channels, then where (Woo et al., ECCV 2018).

    As in the authors' code the spatial gate ends in a batch norm whose weight starts at 0: every gate
    value is 1/2 at first, whatever the input.

    Args:
        channels: channels C of the feature map.
        reduction: C over the width of the channel gate's hidden layer.
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        hidden = _hidden_width(channels, reduction)
        self.channel = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        norm = nn.BatchNorm2d(1, eps=1e-5, momentum=0.01)
        nn.init.zeros_(norm.weight)
        self.spatial = nn.Sequential(nn.Conv2d(2, 1, 7, padding=3, bias=False), norm)

    def forward(self, x: Tensor) -> Tensor:
        """Maps F [B, C, H, W] to F'' = F · Mc · Ms of the same shape."""
        x = x * self.channel_gate(x)
        return x * self.spatial_gate(x)

    def channel_gate(self, x: Tensor) -> Tensor:
        """Returns Mc [B, C, 1, 1] in (0, 1), from the mean and the maximum of each channel."""
        score = self.channel(x.mean(dim=(2, 3))) + self.channel(x.amax(dim=(2, 3)))
        return torch.sigmoid(score)[:, :, None, None]

    def spatial_gate(self, x: Tensor) -> Tensor:
        """Returns Ms [B, 1, H, W] in (0, 1), from the maximum and the mean over channels, in this order."""
        both = torch.cat([x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)], dim=1)
        return torch.sigmoid(self.spatial(both))


class BAM(nn.Module):
    """Bottleneck attention: a channel and a dilated spatial branch, one joint gate (Park et al., BMVC 2018).

    Args:
        channels: channels C of the feature map.
        reduction: C over the width of both branches.
        combine: "product" multiplies the branches, as the authors' code and published weights do;
            "sum" adds them, as the paper says.

    Raises:
        ModelError: unknown `combine`.
    """

    def __init__(self, channels: int, reduction: int = 16, combine: str = "product"):
        super().__init__()
        check_choice("combine", combine, COMBINATIONS)
        self.combine = combine
        width = _hidden_width(channels, reduction)
        self.channel = nn.Sequential(
            nn.Linear(channels, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, channels)
        )
        self.spatial = nn.Sequential(
            *_conv_bn_relu(channels, width, kernel_size=1),
            *_conv_bn_relu(width, width, kernel_size=3, padding=4, dilation=4),
            *_conv_bn_relu(width, width, kernel_size=3, padding=4, dilation=4),
            nn.Conv2d(width, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps F [B, C, H, W] to F · (1 + M) of the same shape, M = sigmoid(channel x spatial).

        Raises:
            ModelError: a training batch of one image, of which no batch statistics can be taken.
        """
        if self.training and x.shape[0] == 1:
            raise ModelError("bam needs at least 2 images in a training batch; got 1")
        channel, spatial = self.channel(x.mean(dim=(2, 3)))[:, :, None, None], self.spatial(x)
        score = channel * spatial if self.combine == "product" else channel + spatial
        return x * (1 + torch.sigmoid(score))


def _hidden_width(channels: int, reduction: int) -> int:
    if channels < reduction:
        raise ModelError(f"reduction must be at most the {channels} channels; got {reduction}")
    return channels // reduction


def _conv_bn_relu(
    in_channels: int, out_channels: int, kernel_size: int, padding: int = 0, dilation: int = 1
) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, dilation=dilation)
    return conv, nn.BatchNorm2d(out_channels), nn.ReLU()
