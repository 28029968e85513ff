"""A network and what changes it: one optimiser step at a time, each decided by (seed, epoch, step) alone."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from models import freeze, model_info
from utils.batches import TrainingBatches
from utils.checkpoint import network
from utils.config import Config
from utils.datasets.faces import Faces
from utils.errors import TrainingError
from utils.optim import AveragedWeights, Plateau, build_optimizer, learning_rate
from utils.randomness import stream_seed
from utils.runtime import autocast, memory_format, placed
from utils.transfer import begin_with, check_unseen, find_origin

AUXILIARY_WEIGHT = 0.4  # of a network's auxiliary head (Szegedy et al., CVPR 2016)
_INIT, _DROPOUT, _MIXUP = 0, 1, 2  # streams of random numbers


@dataclass(frozen=True)
class StepResult:
    """What one step tells: the mean loss, and how many of how many augmented images were right."""

    loss: float
    hits: int
    images: int


class Learner:
    """The network, its optimiser, its averaged weights and its training batches."""

    def __init__(self, config: Config, faces: Faces, *, fresh: bool = True) -> None:
        """Args:
        config: resolved settings (no 'auto' left).
        faces: the training part.
        fresh: whether to read initial weights; not where those of a checkpoint follow.
        """
        self.config = config
        torch.manual_seed(stream_seed(config.seed, _INIT))
        model = network(config, weights=None if fresh else "none")
        self.origin, self.begins = (find_origin(config) if fresh else None), ""
        if self.origin is not None:
            check_unseen(self.origin, config, faces)
            self.begins = begin_with(model, self.origin, config, faces.classes)
        self.frozen = freeze(model, model_info(config.arch), config.freeze_stages)
        self.model = placed(model, config)
        self.averaged = AveragedWeights(self.model, config.ema_decay) if config.ema_decay > 0 else None
        self.optimizer = build_optimizer(self.model, config)
        self.plateau = Plateau()
        self.batches = TrainingBatches(faces, config, torch.device(config.device))
        self.class_weights = class_weights(faces.counts()).to(config.device) if config.weighted_loss else None

    def train_mode(self) -> None:
        """Dropout and batch norm as in training, but for the frozen stages."""
        self.model.train()
        for module in self.frozen:
            module.eval()

    @property
    def judged(self) -> torch.nn.Module:
        """The network that validation judges: the averaged one where there is one."""
        return self.model if self.averaged is None else self.averaged.model

    def train_step(self, images: torch.Tensor, labels: torch.Tensor, epoch: int, step: int) -> StepResult:
        """One step on a batch of augmented images; epochs, and steps within one, count from 0.

        Args:
            images: float32 [B, C, S, S]; labels: int64 [B], or float32 [B, classes] that sum to one.

        Raises:
            TrainingError: loss or gradient is not finite; the weights have not been touched.
        """
        config, number = self.config, epoch * self.batches.steps + step
        where = f"epoch {epoch + 1}, step {step + 1}"
        # dropout draws from the ambient generator, so that one is set anew for every step
        torch.manual_seed(stream_seed(config.seed, _DROPOUT, number))
        rate = learning_rate(config, epoch, step, self.batches.steps, self.plateau)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("share", 1.0)  # the first checkpoints name no shares
        images, targets = self._mixed(images, labels, number)
        with autocast(config):
            outputs = self.model(images.contiguous(memory_format=memory_format(config)))
        logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
        loss = self._loss(logits, targets)
        for extra in auxiliary:
            loss = loss + AUXILIARY_WEIGHT * self._loss(extra, targets)
        value = self._finite(loss, "loss", where)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        self._finite(norm, "norm of the gradient", where)
        if config.grad_clip > 0:
            torch.nn.utils.clip_grads_with_norm_(parameters, config.grad_clip, norm)
        self.optimizer.step()
        if self.averaged is not None:
            self.averaged.update(self.model, number)
        return StepResult(value, int((logits.argmax(1) == targets.argmax(1)).sum()), len(labels))

    def _mixed(self, images: torch.Tensor, labels: torch.Tensor, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Soft targets float32 [B, C], and mixup (Zhang et al., ICLR 2018) where it is asked for."""
        targets = labels if labels.is_floating_point() else F.one_hot(labels, self.config.num_classes).float()
        if self.config.mixup == 0:
            return images, targets
        generator = np.random.default_rng(stream_seed(self.config.seed, _MIXUP, number))
        share = float(generator.beta(self.config.mixup, self.config.mixup))
        # the next image of the batch is as random a partner as any, since batches are shuffled
        images = share * images + (1 - share) * images.roll(1, 0)
        return images, share * targets + (1 - share) * targets.roll(1, 0)

    def _loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        smoothing = self.config.label_smoothing
        return F.cross_entropy(logits.float(), targets, weight=self.class_weights, label_smoothing=smoothing)

    def _finite(self, value: torch.Tensor, what: str, where: str) -> float:
        number = float(value.detach())
        if not math.isfinite(number):
            raise TrainingError(
                f"{where}: {what} is {number}; try a smaller lr than {self.config.lr:g}, or grad_clip=1"
            )
        return number


def class_weights(counts: np.ndarray) -> torch.Tensor:
    """float32 [C]: the inverse of each class's frequency, one on average over the images."""
    counts = np.maximum(counts, 1)
    return torch.from_numpy(counts.sum() / (len(counts) * counts)).float()
