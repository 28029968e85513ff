"""timm: the step of its train.py, amp and channels_last as asked for, on its own loader or on one synthetic batch."""

import itertools
from collections.abc import Iterable
from typing import Any

import torch

from benchmarks.job import Job
from benchmarks.pacer import Pacer
from benchmarks.plain import Pictures, workers
from models.torchvision_compat import torchvision  # noqa: F401  (timm imports torchvision, which may need help)
from utils.runtime import autocast, memory_format

# isort: split
from timm.data import create_loader
from timm.optim import create_optimizer_v2


def train(job: Job, pacer: Pacer) -> None:
    """Train until the pacer has had enough."""
    model, config = job.network().train(), job.config()
    optimizer = create_optimizer_v2(
        model,
        "sgd",  # with Nesterov's momentum, as timm has it
        lr=config.lr,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        filter_bias_and_bn=not config.decay_all,
    )
    loss_of = torch.nn.CrossEntropyLoss()
    batches = _one_batch(job) if job.synthetic else _loader(job)
    for _ in itertools.count():
        for images, labels in batches:
            if job.channels_last == "on":
                images = images.contiguous(memory_format=memory_format(config))
            with autocast(config):
                loss = loss_of(model(images), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            pacer.step(len(labels), loss.detach())


def feed(job: Job, pacer: Pacer) -> None:
    """Make augmented batches for nobody."""
    batches = _loader(job)
    for _ in itertools.count():
        for _, labels in batches:
            pacer.step(len(labels))


def _loader(job: Job) -> Iterable[Any]:
    """timm's own: mirror and random crop, which it has instead of a rotation; normalised on whole batches."""
    faces = job.split().train
    plain = job.augment == "none"  # the check that all do the same job: all images as they are, in our own order
    which = job.order(faces) if plain else range(len(faces))
    return create_loader(
        Pictures(faces, lambda image: image, which),  # type: ignore[arg-type]  # it sets the transform itself
        (3, job.image_size, job.image_size),
        job.batch_size,
        is_training=not plain,
        no_aug=plain,
        scale=(0.8, 1.0),
        color_jitter=0.0,
        crop_pct=1.0,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        num_workers=workers(job),
        persistent_workers=workers(job) > 0,
        device=torch.device(job.device),
    )


def _one_batch(job: Job) -> Iterable[Any]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(job.batch_size, 3, job.image_size, job.image_size, generator=generator)
    labels = torch.randint(0, 7, (job.batch_size,), generator=generator)
    return [(images.to(job.device), labels.to(job.device))]
