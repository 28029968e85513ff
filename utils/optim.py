"""Optimiser, learning-rate schedule and averaged weights, each a function of the config."""

import copy
import math
from dataclasses import dataclass

import torch
from torch import nn

from models import model_info
from utils.config import Config

DROP = 0.1


def build_optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """The optimiser that ``config`` names, over all parameters of ``model`` that ask for a gradient.

    Sources: RAdam (Liu et al., ICLR 2020), decoupled decay (Loshchilov and Hutter, ICLR 2019), SGD with
    Nesterov's momentum.
    """
    head_rate = config.lr if config.head_lr is None else config.head_lr
    head = model_info(config.arch).classifier + "."
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = config.weight_decay if parameter.ndim > 1 or config.decay_all else 0.0
            share = head_rate / config.lr if name.startswith(head) else 1.0
            groups.setdefault((decay, share), []).append(parameter)
    # `share` is this group's part of the learning rate that the schedule gives
    every = [{"params": found, "weight_decay": decay, "share": share} for (decay, share), found in groups.items()]
    if config.optimizer == "sgd":
        return torch.optim.SGD(every, config.lr, config.momentum, nesterov=config.momentum > 0, fused=True)
    betas = (config.momentum, 0.999)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(every, config.lr, betas, fused=True)
    return torch.optim.RAdam(every, config.lr, betas, decoupled_weight_decay=True)


@dataclass
class Plateau:
    """How often the learning rate has dropped because validation did not rise."""

    drops: int = 0
    waited: int = 0

    def after_epoch(self, improved: bool, patience: int) -> None:
        """Drop once validation has not risen for more than ``patience`` epochs."""
        self.waited = 0 if improved else self.waited + 1
        if self.waited > patience:
            self.drops, self.waited = self.drops + 1, 0


def learning_rate(config: Config, epoch: int, step: int, steps: int, plateau: Plateau) -> float:
    """The learning rate of one step; epochs and steps count from 0, ``steps`` are in an epoch.

    ``onecycle`` rises by half a cosine from lr/25 to lr over ``warmup`` of the training and falls by half a
    cosine to ``min_lr`` (Smith and Topin, 2018); ``cosine`` is its second part alone.
    """
    done = (epoch * steps + step) / (config.max_epoch_num * steps)
    rate, floor = config.lr, min(config.min_lr, config.lr)
    if config.schedule == "plateau":
        rate *= DROP**plateau.drops
    elif config.schedule == "step":
        rate *= DROP ** (epoch // config.steplr)
    elif config.schedule in ("cosine", "onecycle"):
        warmup = config.warmup if config.schedule == "onecycle" else 0.0
        if done < warmup:
            rate = _between(config.lr / 25, config.lr, done / warmup)
        else:
            rate = _between(config.lr, floor, (done - warmup) / (1 - warmup))
    return max(rate, floor)


class AveragedWeights:
    """An exponential moving average of a network's weights and batch-norm statistics.

    Early steps count more (decay (1 + n) / (10 + n) after n updates), or the start would be remembered.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, updates: int) -> None:
        """Move towards ``model``; ``updates`` counts the optimiser's steps so far."""
        decay = min(self.decay, (1 + updates) / (10 + updates))
        pairs = list(zip(self.model.state_dict().values(), model.state_dict().values(), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        counts = [pair for pair in pairs if not pair[0].is_floating_point()]
        torch._foreach_lerp_([mine for mine, _ in floats], [new for _, new in floats], 1 - decay)
        if counts:  # of batches that a norm has seen
            torch._foreach_copy_([mine for mine, _ in counts], [new for _, new in counts])


def _between(start: float, end: float, share: float) -> float:
    """From ``start`` to ``end`` along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
