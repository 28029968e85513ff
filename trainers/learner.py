"""A network and what changes it: one optimiser step at a time, each decided by (seed, epoch, step) alone."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from models import freeze, model_info
from utils.augment import training_batch
from utils.batches import TrainingBatches
from utils.checkpoint import network
from utils.config import Config
from utils.datasets.faces import Faces
from utils.distillation import find_teacher, taught
from utils.distributed import ALONE, Team
from utils.errors import TrainingError
from utils.losses import class_weights, training_loss
from utils.mixing import mixed
from utils.norms import refit_norms
from utils.optim import AveragedWeights, Plateau, build_optimizer, learning_rate
from utils.randomness import DROPOUT, INIT, stream_seed
from utils.runtime import autocast, memory_format, one_memory_error, placed
from utils.sam import uphill
from utils.sync_norm import over_team
from utils.transfer import begin_with, find_origin, not_compared

AUXILIARY_WEIGHT = 0.4  # of a network's auxiliary head (Szegedy et al., CVPR 2016)
REFITTED_ON = 256  # images that tell batch norms their statistics, at most


@dataclass(frozen=True, eq=False)
class StepResult:
    """What one step tells of its augmented images: the mean loss, the gradient's norm, and how many were right.

    Attributes:
        told: float32 [3], loss, norm and hits, on the device: reading them waits until the step is done.
        images: how many there were.
    """

    told: torch.Tensor
    images: int

    @property
    def loss(self) -> float:
        """The mean loss."""
        return float(self.told[0])

    @property
    def hits(self) -> int:
        """How many images were right."""
        return int(self.told[2])


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
        torch.manual_seed(stream_seed(config.seed, INIT))
        model = network(config, weights=None if fresh else "none")
        self.origin, self.begins = (find_origin(config) if fresh else None), ""
        if self.origin is not None:
            self.begins = begin_with(model, self.origin, config, faces.classes)
            self.begins += not_compared(self.origin, config, faces)
        self.frozen = freeze(model, model_info(config.arch), config.freeze_stages)
        if config.freeze_norms:
            self.frozen += [module for module in model.modules() if isinstance(module, _BatchNorm)]
        if config.sync_batchnorm and team.size > 1:
            over_team(model, team)
        self.model = placed(model, config)
        if fresh and config.refit_norms:
            some = torch.from_numpy(np.array(faces.images[:: -(-len(faces) // REFITTED_ON)])).to(config.device)
            seen = config
            if config.refit_size is not None:
                seen = dataclasses.replace(config, image_size=config.refit_size, start_size=None)
            refit_norms(self.model, training_batch(some, torch.arange(len(some), device=config.device), 0, seen))
        self.averaged = AveragedWeights(self.model, config.ema_decay) if config.ema_decay > 0 else None
        self.optimizer = build_optimizer(self.model, config)
        self.plateau = Plateau()
        self.teacher = find_teacher(config, faces)
        learned = faces if self.teacher is None else taught(faces, self.teacher, config.distil_weight)
        self.batches = TrainingBatches(learned, config, torch.device(config.device), team)
        self.class_weights = class_weights(faces.counts()).to(config.device) if config.weighted_loss else None
        self.micro_batch = config.micro_batch
        self._one_hot = torch.eye(config.num_classes, device=config.device)
        self._forward = self.model if config.compile == "off" else torch.compile(self.model, mode=config.compile)
        # a processor is never ahead of its program; elsewhere a look at every loss would keep the device waiting
        self.looks_at_each = torch.device(config.device).type == "cpu"

    def train_mode(self) -> None:
        """Dropout and batch norm as in training, but for what is frozen."""
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
        With `Config.sam_rho`, the step is by the gradient from uphill; loss and hits are still told of where it began.

        Args:
            images: float32 [B, C, S, S]; labels: int64 [B], or float32 [B, classes] that sum to one; a share, as
                `TrainingBatches` yields it.

        Raises:
            TrainingError: loss or gradient is not finite, and the weights have not been touched (on an accelerator,
                `check_finite` says so later); or memory ran out.
        """
        config, number = self.config, epoch * self.batches.steps + step
        rate = learning_rate(config, epoch, step, self.batches.steps, self.plateau)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("share", 1.0)  # the first checkpoints name no shares
        total = len(labels) if self.team.size == 1 else self.batches.sizes[step]
        targets = labels if labels.is_floating_point() else self._one_hot[labels]
        images, targets = mixed(images, targets, config, number, shared=self.team.size > 1)
        loss, hits, norm = self._whole_gradients(images, targets, number, total)
        if config.sam_rho > 0:
            with uphill(self.model, norm, config.sam_rho):
                _, _, norm = self._whole_gradients(images, targets, number, total)
        result = StepResult(torch.stack([loss.float(), norm.float(), hits.float()]), total)
        if self.looks_at_each:
            loss_value, norm_value, _ = result.told.tolist()
            self.check_finite(loss_value, norm_value, epoch, step)
        if config.grad_clip > 0:
            parameters = [p for p in self.model.parameters() if p.grad is not None]
            torch.nn.utils.clip_grads_with_norm_(parameters, config.grad_clip, norm)
        self.optimizer.step()
        if self.averaged is not None:
            self.averaged.update(self.model, number)
        return result

    def check_finite(self, loss: float, norm: float, epoch: int, step: int) -> None:
        """Raises:
        TrainingError: loss or gradient of this step (counted from 0) is not finite.
        """
        for what, number in (("loss", loss), ("norm of the gradient", norm)):
            if not math.isfinite(number):
                hint = f"try a smaller lr than {self.config.lr:g}, or grad_clip=1"
                error = TrainingError(f"epoch {epoch + 1}, step {step + 1}: {what} is {number}; {hint}")
                raise self.team.alike(error)

    def agree(self) -> None:
        """Give every process the leading one's weights, and its batch-norm statistics, which are of its share alone."""
        averaged = [] if self.averaged is None else [self.averaged.model]
        for model in (self.model, *averaged):
            self.team.as_leader(list(model.state_dict().values()))

    def _whole_gradients(
        self, images: torch.Tensor, targets: torch.Tensor, number: int, total: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Mean loss, hits and the gradient's norm, over the shares of all processes; gradients stay in place."""
        loss, hits = self._gradients_of(images, targets, number, total)
        if self.team.size > 1:
            self.team.add_up([loss, hits, *self._gradients()])
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        return loss, hits, torch.nn.utils.get_total_norm(gradients)

    def _gradients_of(
        self, images: torch.Tensor, targets: torch.Tensor, number: int, total: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What these images add to the mean loss over ``total`` images, and to the hits; gradients stay in place.

        In one pass, or in as many as `Config.micro_batch` asks for; of half as many images each time memory runs out.

        Raises:
            TrainingError: memory ran out, and the settings leave no choice.
        """
        while True:
            passes = 1 if self.micro_batch is None else min(-(-len(images) // self.micro_batch), len(images) // 2)
            done = self._in_passes(images, targets, number, total, max(1, passes))
            if done is not None:
                return done
            at_once = -(-len(images) // max(1, passes))
            if self.micro_batch is None or at_once < 4:
                raise TrainingError(self._what_fits(images, targets, number, at_once))
            self.micro_batch = at_once // 2

    def _in_passes(
        self, images: torch.Tensor, targets: torch.Tensor, number: int, total: int, passes: int
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """As `_gradients_of`, None where memory does not suffice."""
        # dropout draws from the ambient generator, so that one is set anew for every step
        own = (self.team.rank,) if self.team.rank else ()
        torch.manual_seed(stream_seed(self.config.seed, DROPOUT, number, *own))
        self.optimizer.zero_grad(set_to_none=True)
        loss, hits = torch.zeros((), device=images.device), torch.zeros((), device=images.device)
        try:
            with one_memory_error():
                for some, wanted in zip(images.tensor_split(passes), targets.tensor_split(passes), strict=True):
                    if len(some) or self.config.sync_batchnorm:  # else nothing to learn from or to tell the norms
                        more_loss, more_hits = self._forward_and_back(some, wanted, total)
                        loss, hits = loss + more_loss, hits + more_hits
        except torch.OutOfMemoryError:
            self.optimizer.zero_grad(set_to_none=True)
            return None
        return loss, hits

    def _what_fits(self, images: torch.Tensor, targets: torch.Tensor, number: int, tried: int) -> str:
        """A sentence on the largest number of images that memory suffices for, found by trying."""
        where = f"out of memory with {tried} images of {self.config.image_size} px in one pass"
        if self.config.sync_batchnorm and self.team.size > 1:  # the others are not there to try with
            return f"{where}; try half of batch_size"
        size = tried // 2
        while size > 1 and self._in_passes(images[:size], targets[:size], number, size, 1) is None:
            size //= 2
        if size < 2:
            return f"{where}, and with 2 as well; try a smaller image_size or arch"
        return (
            f"{where}; {size} fit: micro_batch={size} takes the same steps in more passes (batch_size=auto finds out)"
        )

    def _forward_and_back(
        self, images: torch.Tensor, targets: torch.Tensor, total: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        with autocast(self.config):
            outputs = self._forward(images.contiguous(memory_format=memory_format(self.config)))
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

    def _loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return training_loss(logits, targets, self.config, self.class_weights)
