"""Convolutions that are slow in bf16, computed otherwise: the same numbers, only where it was measured to be faster."""

import copy

import pytest
import torch
from torch import nn

from models import create_model
from models.slow_convolutions import HalvingDepthwiseConv2d, SmallMapConv2d, speed_up_convolutions


def pair(stride: int = 1, bias: bool = False) -> tuple[nn.Module, nn.Module]:
    """A convolution, and the same one sped up."""
    return sped_up(nn.Conv2d(256, 256, 3, stride, 1, bias=bias), SmallMapConv2d)


def sped_up(convolution: nn.Conv2d, kind: type[nn.Conv2d]) -> tuple[nn.Module, nn.Module]:
    """``convolution`` with random weights, and the same one as a ``kind``."""
    torch.manual_seed(0)
    convolution.reset_parameters()
    plain = nn.Sequential(convolution).to(memory_format=torch.channels_last)
    fast = copy.deepcopy(plain)
    speed_up_convolutions(fast)
    assert type(fast[0]) is kind and list(fast.state_dict()) == list(plain.state_dict())
    return plain, fast


def outcome(model: nn.Module, images: torch.Tensor, bf16: bool) -> list[torch.Tensor]:
    """Output, and the gradients of images and parameters."""
    images = images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        out = model(images)
    (out.float() * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum().backward()
    return [out, images.grad, *(parameter.grad for parameter in model.parameters())]


@pytest.mark.parametrize(("side", "stride"), [(1, 1), (2, 1), (2, 2), (3, 2), (4, 2), (3, 1)])
@pytest.mark.parametrize("bias", [False, True])
def test_the_same_numbers_in_bf16(side, stride, bias):
    images = torch.randn(5, 256, side, side, generator=torch.Generator().manual_seed(1))
    for expected, found in zip(*(outcome(model, images, True) for model in pair(stride, bias)), strict=True):
        assert found.shape == expected.shape and found.dtype == expected.dtype
        scale = expected.abs().max().item()
        torch.testing.assert_close(found, expected, rtol=0, atol=0.01 * scale)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize(("bf16", "off"), [(True, 0.01), (False, 0)])
def test_depthwise_convolutions_that_halve_give_the_same_numbers(kernel, padding, bf16, off):
    depthwise = nn.Conv2d(12, 12, kernel, 2, padding, groups=12, bias=padding == 1)
    images = torch.randn(5, 12, 9, 9, generator=torch.Generator().manual_seed(1))
    models = sped_up(depthwise, HalvingDepthwiseConv2d)
    for expected, found in zip(*(outcome(model, images, bf16) for model in models), strict=True):
        assert found.shape == expected.shape and found.dtype == expected.dtype
        torch.testing.assert_close(found, expected, rtol=0, atol=off * expected.abs().max().item())


def test_fp32_is_left_alone_to_the_last_bit():
    images = torch.randn(3, 256, 2, 2)
    for expected, found in zip(*(outcome(model, images, False) for model in pair()), strict=True):
        assert torch.equal(found, expected)


def test_only_wide_plain_3x3_convolutions_change():
    others = [
        nn.Conv2d(255, 256, 3, padding=1),
        nn.Conv2d(256, 256, 3),
        nn.Conv2d(256, 256, 1),
        nn.Conv2d(256, 256, 3, padding=1, groups=256),
        nn.Conv2d(256, 256, 3, padding=1, dilation=2),
        nn.Conv2d(256, 256, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(256, 256, (3, 1), padding=1),
    ]
    model = nn.Sequential(*others)
    speed_up_convolutions(model)
    assert all(type(module) is nn.Conv2d for module in model)


def test_a_network_keeps_its_logits():
    torch.manual_seed(0)
    plain = create_model("resnet18", num_classes=7).eval()
    fast = copy.deepcopy(plain)
    speed_up_convolutions(fast)
    assert sum(isinstance(module, SmallMapConv2d) for module in fast.modules()) == 7
    images = torch.rand(4, 3, 48, 48)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected, found = plain(images), fast(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02 * expected.abs().max().item())
