"""Batch norm over the images of all processes. torch's SyncBatchNorm does the same, but only on GPUs."""

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from utils.distributed import ALONE, Team
from utils.errors import UserError


class _OverTeam(_BatchNorm):
    """In training, normalises by mean and variance over the shares of the whole team; else as any batch norm."""

    team: Team = ALONE

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """float [B, C, ...] in and out; B may be 0 on some of the processes."""
        if not self.training:
            return super().forward(input)
        values = input.float()
        over = [dim for dim in range(values.ndim) if dim != 1]
        shape = [1, -1] + [1] * (values.ndim - 2)
        here = torch.full((1,), values.numel() // values.shape[1], dtype=torch.float32, device=values.device)
        *sums, count = _Sum.apply(torch.cat([values.sum(over), here]), self.team).split([self.num_features, 1])
        mean = sums[0] / count
        # in two passes: the mean of the squares less the square of the mean loses digits
        centred = values - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(over), self.team) / count
        self._follow(mean.detach(), (variance * count / (count - 1).clamp(min=1)).detach())
        normal = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(input.dtype)

    def _follow(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        """Move the running statistics towards those of this batch."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class _OverTeam1d(_OverTeam, nn.BatchNorm1d):
    pass


class _OverTeam2d(_OverTeam, nn.BatchNorm2d):
    pass


_KINDS = {nn.BatchNorm1d: _OverTeam1d, nn.BatchNorm2d: _OverTeam2d}


def over_team(model: nn.Module, team: Team) -> None:
    """Let every batch norm of ``model`` be one over the images of all processes; weights and their names stay.

    Raises:
        UserError: the network has a batch norm of its own kind.
    """
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            if type(module) not in _KINDS:
                raise UserError(f"sync_batchnorm: '{name}' is a {type(module).__name__}, which cannot be shared")
            module.__class__ = _KINDS[type(module)]  # in place: whoever holds the module holds the new kind
            module.team = team  # type: ignore[assignment]


class _Sum(torch.autograd.Function):
    """The sum over all processes, and backwards that of the gradients."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, team: Team) -> torch.Tensor:
        ctx.team = team
        return _summed(values, team)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _summed(gradient, ctx.team), None


def _summed(values: torch.Tensor, team: Team) -> torch.Tensor:
    total = values.clone()
    team.add_up([total])
    return total
