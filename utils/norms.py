"""Batch norms of initial weights that bring no statistics, since they had been folded into scale and shift."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def refit_norms(model: nn.Module, x: torch.Tensor) -> None:
    """Give every batch norm the mean and variance of what reaches it, and the scale and shift that keep its answer.

    The network computes what it did, but can be trained as one whose norms were never folded: batch statistics, which
    training goes by, are then about those that it judges by.

    Args:
        model: changed in place; evaluation mode afterwards.
        x: float32 [B, C, H, W], images as the network sees them in training.
    """
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.affine]
    hooks = [norm.register_forward_pre_hook(_refit) for norm in norms]
    try:
        model(x)
    finally:
        for hook in hooks:
            hook.remove()


def _refit(norm: nn.Module, inputs: tuple[torch.Tensor]) -> None:
    assert isinstance(norm, _BatchNorm)
    assert norm.running_mean is not None and norm.running_var is not None
    over = [dim for dim in range(inputs[0].ndim) if dim != 1]
    variance, mean = torch.var_mean(inputs[0].float(), dim=over, correction=0)
    before = norm.weight / (norm.running_var + norm.eps).sqrt()
    norm.bias.add_(before * (mean - norm.running_mean))
    norm.weight.copy_(before * (variance + norm.eps).sqrt())
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
