"""Lightning: a LightningModule and its Trainer around the plain loop's DataLoader."""

import logging
import warnings
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.job import Job
from benchmarks.pacer import Pacer
from benchmarks.plain import loader, optimizer

# isort: split
import lightning


class Module(lightning.LightningModule):
    """As its documentation writes one."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job, self.model = job, job.network()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B, classes]."""
        if self.job.channels_last == "on":
            images = images.contiguous(memory_format=torch.channels_last)
        return self.model(images)

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """The loss."""
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, _: int) -> None:
        """The accuracy, logged."""
        self.log("accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The job's."""
        return optimizer(self.job, self.model)


class Paced(lightning.Callback):
    """Tells the pacer of every step."""

    def __init__(self, pacer: Pacer) -> None:
        self.pacer, self.seen = pacer, 0

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """A training step is over."""
        self.pacer.step(len(batch[1]), outputs["loss"].detach())


def train(job: Job, pacer: Pacer) -> None:
    """Train until the pacer has had enough."""
    _trainer(job, Paced(pacer), max_epochs=-1).fit(Module(job), loader(job, job.split().train))


def validate(job: Job, pacer: Pacer) -> None:
    """Judge the same images again and again; a step is one pass over them."""
    import numpy as np

    faces = job.split().val
    faces = faces.take(np.arange(min(job.images, len(faces))))
    trainer, module, batches = _trainer(job), Module(job), loader(job, faces, training=False)
    while True:
        trainer.validate(module, batches, verbose=False)
        pacer.step(len(faces))


def _trainer(job: Job, *callbacks: lightning.Callback, max_epochs: int = 1) -> lightning.Trainer:
    """With what costs time and is no part of the job (files, bars) switched off."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    return lightning.Trainer(
        accelerator="cpu" if job.device == "cpu" else "gpu",
        devices=1,
        precision="bf16-mixed" if job.precision == "bf16" else "32-true",
        max_epochs=max_epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
