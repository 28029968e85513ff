"""This project, as `trainers.trainer` drives it: the same batches, the same step, the same forward pass for tests."""

import itertools
import time
from collections.abc import Iterator

import torch

from benchmarks.job import Job
from benchmarks.pacer import Pacer
from trainers.learner import Learner
from utils.batches import TrainingBatches
from utils.inference import predict
from utils.runtime import keep_freed_memory, placed


def train(job: Job, pacer: Pacer) -> None:
    """Train until the pacer has had enough; says how long each step waited for its batch."""
    keep_freed_memory()
    learner = Learner(job.config(), job.split().train)
    learner.train_mode()
    for epoch in itertools.count():
        batches = _timed(learner.batches.epoch(epoch), pacer)
        for step, (images, labels) in enumerate(batches):
            result = learner.train_step(images, labels, epoch, step)
            pacer.step(result.images, result.loss)


def feed(job: Job, pacer: Pacer) -> None:
    """Make augmented batches for nobody."""
    batches = TrainingBatches(job.split().train, job.config(), torch.device(job.device))
    for epoch in itertools.count():
        for _, labels in batches.epoch(epoch):
            pacer.step(len(labels))


def validate(job: Job, pacer: Pacer, views: int = 1) -> None:
    """Judge the same images again and again; a step is one pass over them."""
    keep_freed_memory()
    model, images = placed(job.network(), job.config()), job.split().val.images[: job.images]
    while True:
        predict(model, images, job.config(), views=views)
        pacer.step(len(images))


def views(job: Job, pacer: Pacer) -> None:
    """The same under ten views."""
    validate(job, pacer, views=10)


def _timed(
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]], pacer: Pacer
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    while True:
        started = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            return
        pacer.fed(time.perf_counter() - started)
        yield batch
