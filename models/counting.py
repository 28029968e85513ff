"""Counts a network's parameters and the floating-point operations of one forward pass."""

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """Returns the number of trainable and frozen parameters, each shared one counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_flops(model: nn.Module, image_size: int, in_channels: int = 3) -> int:
    """Counts the operations of one image's forward pass in eval mode, 2 per multiply-add.

    Nothing is computed: parameters and image are stood in for on the meta device.

    Args:
        model: any network that takes [1, in_channels, image_size, image_size].
        image_size: height and width in pixels.
        in_channels: channels of the image.
    """
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    on_meta = {name: tensor.detach().to("meta") for name, tensor in state.items()}
    image = torch.empty(1, in_channels, image_size, image_size, device="meta")
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            functional_call(model, on_meta, (image,))
    finally:
        model.train(was_training)
    return counter.get_total_flops()
