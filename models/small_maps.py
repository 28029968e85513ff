"""3x3 convolutions over maps of a few pixels, as one matrix product: for processors, where the library's are slow."""

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


def speed_up_small_maps(model: nn.Module) -> None:
    """Makes those convolutions of ``model`` that may meet small maps a `SmallMapConv2d`, in place."""
    for module in model.modules():
        # other subclasses may compute something else
        if type(module) is nn.Conv2d and min(module.in_channels, module.out_channels) >= FEWEST_CHANNELS:
            same = module.padding == module.dilation == (1, 1) and module.padding_mode == "zeros"
            if module.kernel_size == (3, 3) and module.stride in ((1, 1), (2, 2)) and module.groups == 1 and same:
                module.__class__ = SmallMapConv2d


def _product(images: Tensor, weight: Tensor, bias: Tensor | None, stride: int, height: int, width: int) -> Tensor:
    """The convolution of [B, C, H, W] with [O, C, 3, 3]: each output pixel's neighbourhood times the kernels."""
    padded = F.pad(images.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    rows, columns = stride * (height - 1) + 1, stride * (width - 1) + 1
    around = [padded[:, y : y + rows : stride, x : x + columns : stride] for y in range(3) for x in range(3)]
    neighbourhoods = torch.cat(around, dim=-1).flatten(0, 2)
    out = F.linear(neighbourhoods, weight.permute(0, 2, 3, 1).flatten(1), bias)
    return out.view(len(images), height, width, -1).permute(0, 3, 1, 2)
