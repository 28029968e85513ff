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
from utils.distributed import ALONE, Team
from utils.errors import TrainingError
from utils.optim import AveragedWeights, Plateau, build_optimizer, learning_rate
from utils.randomness import stream_seed
from utils.runtime import autocast, memory_format, placed
from utils.sync_norm import over_team
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

    def __init__(self, config: Config, faces: Faces, *, fresh: bool = True, team: Team = ALONE) -> None:
        """Args:
        config: resolved settings (no 'auto' left).
        faces: the training part.
        fresh: whether to read initial weights; not where those of a checkpoint follow.
        team: the processes that train together, each on its share of every batch.
        """
        self.config, self.team = config, team
        torch.manual_seed(stream_seed(config.seed, _INIT))
        model = network(config, weights=None if fresh else "none")
        self.origin, self.begins = (find_origin(config) if fresh else None), ""
        if self.origin is not None:
            check_unseen(self.origin, config, faces)
            self.begins = begin_with(model, self.origin, config, faces.classes)
        self.frozen = freeze(model, model_info(config.arch), config.freeze_stages)
        if config.sync_batchnorm and team.size > 1:
            over_team(model, team)
        self.model = placed(model, config)
        self.averaged = AveragedWeights(self.model, config.ema_decay) if config.ema_decay > 0 else None
        self.optimizer = build_optimizer(self.model, config)
        self.plateau = Plateau()
        self.batches = TrainingBatches(faces, config, torch.device(config.device), team)
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

        The processes of a team add up their shares of loss and gradient, so that the step, and what is told of it, is
        that of one process on the whole batch; but each draws its own dropout, and has batch norm of its own share.

        Args:
            images: float32 [B, C, S, S]; labels: int64 [B], or float32 [B, classes] that sum to one; a share, as
                `TrainingBatches` yields it.

        Raises:
            TrainingError: loss or gradient is not finite; the weights have not been touched.
        """
        config, number = self.config, epoch * self.batches.steps + step
        where = f"epoch {epoch + 1}, step {step + 1}"
        # dropout draws from the ambient generator, so that one is set anew for every step
        own = (self.team.rank,) if self.team.rank else ()
        torch.manual_seed(stream_seed(config.seed, _DROPOUT, number, *own))
        rate = learning_rate(config, epoch, step, self.batches.steps, self.plateau)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("share", 1.0)  # the first checkpoints name no shares
        total = len(labels) if self.team.size == 1 else self.batches.sizes[step]
        self.optimizer.zero_grad(set_to_none=True)
        loss, hits = self._forward_and_back(images, labels, number, total)
        if self.team.size > 1:
            self.team.add_up([loss, hits, *self._gradients()])
        value = self._finite(loss, "loss", where)
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        self._finite(norm, "norm of the gradient", where)
        if config.grad_clip > 0:
            torch.nn.utils.clip_grads_with_norm_(parameters, config.grad_clip, norm)
        self.optimizer.step()
        if self.averaged is not None:
            self.averaged.update(self.model, number)
        return StepResult(value, int(hits), total)

    def agree(self) -> None:
        """Give every process the leading one's weights, and its batch-norm statistics, which are of its share alone."""
        averaged = [] if self.averaged is None else [self.averaged.model]
        for model in (self.model, *averaged):
            self.team.as_leader(list(model.state_dict().values()))

    def _forward_and_back(
        self, images: torch.Tensor, labels: torch.Tensor, number: int, total: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What these images add to the mean loss over ``total`` images, and to the hits; gradients stay in place."""
        if len(images) == 0 and not self.config.sync_batchnorm:  # nothing to learn from, nothing to tell the norms
            return torch.zeros((), device=images.device), torch.zeros((), device=images.device)
        images, targets = self._mixed(images, labels, number)
        with autocast(self.config):
            outputs = self.model(images.contiguous(memory_format=memory_format(self.config)))
        logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
        loss = self._loss(logits, targets) / total
        for extra in auxiliary:
            loss = loss + AUXILIARY_WEIGHT * self._loss(extra, targets) / total
        loss.backward()
        return loss.detach(), (logits.argmax(1) == targets.argmax(1)).sum()

    def _gradients(self) -> list[torch.Tensor]:
        """Of every parameter that is trained, in one order for all processes; zeros where this one has no images."""
        trained = [p for p in self.model.parameters() if p.requires_grad]
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return [p.grad for p in trained if p.grad is not None]

    def _mixed(self, images: torch.Tensor, labels: torch.Tensor, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Soft targets float32 [B, C], and mixup (Zhang et al., ICLR 2018) where it is asked for."""
        targets = labels if labels.is_floating_point() else F.one_hot(labels, self.config.num_classes).float()
        if self.config.mixup == 0:
            return images, targets
        generator = np.random.default_rng(stream_seed(self.config.seed, _MIXUP, number))
        share = float(generator.beta(self.config.mixup, self.config.mixup))
        # the image before is as random a partner as any, since batches are shuffled
        if self.team.size > 1:  # that of the first one stands in front
            return share * images[1:] + (1 - share) * images[:-1], share * targets[1:] + (1 - share) * targets[:-1]
        return share * images + (1 - share) * images.roll(1, 0), share * targets + (1 - share) * targets.roll(1, 0)

    def _loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The sum over the images."""
        smoothing, weights = self.config.label_smoothing, self.class_weights
        return F.cross_entropy(logits.float(), targets, weights, reduction="sum", label_smoothing=smoothing)

    def _finite(self, value: torch.Tensor, what: str, where: str) -> float:
        number = float(value.detach())
        if not math.isfinite(number):
            hint = f"try a smaller lr than {self.config.lr:g}, or grad_clip=1"
            raise self.team.alike(TrainingError(f"{where}: {what} is {number}; {hint}"))
        return number


def class_weights(counts: np.ndarray) -> torch.Tensor:
    """float32 [C]: the inverse of each class's frequency, one on average over the images."""
    counts = np.maximum(counts, 1)
    return torch.from_numpy(counts.sum() / (len(counts) * counts)).float()
