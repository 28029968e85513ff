"""Sharpness-aware minimisation: learning from where the loss nearby is highest (Foret et al., ICLR 2021)."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextlib.contextmanager
def uphill(model: nn.Module, norm: torch.Tensor, rho: float) -> Iterator[None]:
    """While the block lasts, weights lie ``rho`` further along their gradients; then what they were, to the bit.

    The running statistics of batch norms stay as they are: they are those of the weights that are kept.

    Args:
        model: with gradients in place.
        norm: of all of them together, float32 [], on the device: reading it would keep the program waiting.
        rho: how far.
    """
    moved: list[torch.Tensor] = [p for p in model.parameters() if p.grad is not None]
    kept = [p.detach().clone() for p in moved]
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [module.momentum for module in norms]
    with torch.no_grad():
        steps = torch._foreach_mul([p.grad for p in moved if p.grad is not None], rho / (norm + 1e-12))
        torch._foreach_add_(moved, list(steps))
    try:
        for module in norms:
            module.momentum = 0.0
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(moved, kept)
        for module, momentum in zip(norms, momenta, strict=True):
            module.momentum = momentum
