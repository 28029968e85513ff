"""Convolutions that are slow in bf16 on processors, computed otherwise: over tiny maps, and halving depthwise ones."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Measured with oneDNN on AMX in bf16, forward and backward, 64 images, 512 channels, 2 x 2 pixels: 62 ms, here 12.
# Larger maps and fewer channels gain nothing, and neither does fp32.
MOST_PIXELS, FEWEST_CHANNELS = 4, 256


class SmallMapConv2d(nn.Conv2d):
    """An `nn.Conv2d` of 3x3 with padding 1, computed as a matrix product where that is faster; same parameters."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        height, width = ((size - 1) // self.stride[0] + 1 for size in input.shape[2:])
        if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu") or height * width > MOST_PIXELS:
            return super()._conv_forward(input, weight, bias)
        return _product(input, weight, bias, self.stride[0], height, width)


class HalvingDepthwiseConv2d(nn.Conv2d):
    """A depthwise `nn.Conv2d` with a stride, computed in fp32 under bf16 autocast; same parameters.

    Measured with oneDNN on Zen 4, forward and backward, 128 images, 3x3, stride 2: 128 channels of 24 x 24 pixels take
    106 ms in bf16 and 10 ms in fp32, 512 channels of 6 x 6 take 85 ms and 2 ms. With stride 1 bf16 is the faster one.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super()._conv_forward(input, weight, bias)
        with torch.autocast("cpu", enabled=False):
            out = super()._conv_forward(input.float(), weight.float(), None if bias is None else bias.float())
        return out.to(torch.get_autocast_dtype("cpu"))


def speed_up_convolutions(model: nn.Module) -> None:
    """Makes those convolutions of ``model`` that may be slow a class of this module, in place."""
    for module in model.modules():
        if type(module) is not nn.Conv2d:  # other subclasses may compute something else
            continue
        same = module.padding == module.dilation == (1, 1) and module.padding_mode == "zeros"
        if module.groups == module.in_channels > 1 and max(module.stride) > 1:
            module.__class__ = HalvingDepthwiseConv2d
        elif (
            module.groups == 1
            and min(module.in_channels, module.out_channels) >= FEWEST_CHANNELS
            and (same and module.kernel_size == (3, 3) and module.stride in ((1, 1), (2, 2)))
        ):
            module.__class__ = SmallMapConv2d


def _product(images: Tensor, weight: Tensor, bias: Tensor | None, stride: int, height: int, width: int) -> Tensor:
    """The convolution of [B, C, H, W] with [O, C, 3, 3]: each output pixel's neighbourhood times the kernels."""
    padded = F.pad(images.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    rows, columns = stride * (height - 1) + 1, stride * (width - 1) + 1
    around = [padded[:, y : y + rows : stride, x : x + columns : stride] for y in range(3) for x in range(3)]
    neighbourhoods = torch.cat(around, dim=-1).flatten(0, 2)
    out = F.linear(neighbourhoods, weight.permute(0, 2, 3, 1).flatten(1), bias)
    return out.view(len(images), height, width, -1).permute(0, 3, 1, 2)
