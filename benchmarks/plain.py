"""A plain loop as PyTorch's tutorials write it: torchvision's transforms on PIL images, a DataLoader, autograd."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from benchmarks.job import ROTATION, Job
from benchmarks.pacer import Pacer
from models.torchvision_compat import torchvision  # noqa: F401  (torchvision may need help to be imported)
from utils.augment import VIEWS
from utils.datasets.faces import Faces
from utils.runtime import autocast, memory_format, processors

# isort: split
from torchvision import transforms as T  # noqa: E402
from torchvision.transforms import functional as TF  # noqa: E402

SMOOTH = T.InterpolationMode.BILINEAR


class Pictures(Dataset[Any]):
    """Grey pictures held in memory, as RGB PIL images through ``transform``; in the order ``which``."""

    def __init__(self, faces: Faces, transform: Callable[[Any], Any], which: Sequence[int]) -> None:
        self.images, self.labels = faces.images, faces.labels.tolist()
        self.transform, self.which = transform, which

    def __len__(self) -> int:
        return len(self.which)

    def __getitem__(self, place: int) -> tuple[Any, int]:
        index = self.which[place]
        return self.transform(Image.fromarray(self.images[index]).convert("RGB")), self.labels[index]


def workers(job: Job) -> int:
    """Worker processes of a DataLoader.

    On a processor none: they would take from the network the cores that all peers are given alike, and a batch of
    this size costs a small part of a step. With an accelerator, as many as there are cores, up to 8.
    """
    return 0 if job.device == "cpu" else min(8, processors())


def transform(job: Job) -> Callable[[Image.Image], torch.Tensor]:
    """What the job asks of an image, in the published order: resize, then mirror and rotate."""
    if job.augment == "none":
        return T.Compose([T.Resize(job.image_size), T.ToTensor()])
    if job.augment in ("fast", "shift"):
        config = job.config()
        scale = (1 - config.scale, 1 + config.scale)
        moved = T.RandomAffine(config.rotation, (config.shift, config.shift), scale, interpolation=SMOOTH)
        erased = [T.RandomErasing(config.erase)] if config.erase else []
        return T.Compose([T.Grayscale(), T.RandomHorizontalFlip(), moved, T.ToTensor(), standardized, *erased])
    turned = T.RandomRotation(ROTATION, SMOOTH)
    return T.Compose([T.Resize(job.image_size), T.RandomHorizontalFlip(), turned, T.ToTensor()])


def loader(job: Job, faces: Faces, *, training: bool = True) -> DataLoader[Any]:
    """As a user builds it. Without augmentation, which is the check that all do the same job, in our own order."""
    ordered = training and job.augment == "none"
    pictures = Pictures(faces, transform(job), job.order(faces) if ordered else range(len(faces)))
    count = workers(job)
    return DataLoader(
        pictures,
        job.batch_size,
        shuffle=training and not ordered,
        drop_last=training,
        num_workers=count,
        persistent_workers=count > 0,
        pin_memory=job.device != "cpu",
    )


def optimizer(job: Job, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of the job."""
    config = job.config()
    return torch.optim.SGD(
        model.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay, nesterov=True
    )


def train(job: Job, pacer: Pacer) -> None:
    """Train until the pacer has had enough."""
    model, config = job.network().train(), job.config()
    batches, step = loader(job, job.split().train), optimizer(job, model)
    for _ in itertools.count():
        for images, labels in batches:
            images = images.to(job.device, memory_format=memory_format(config), non_blocking=True)
            labels = labels.to(job.device, non_blocking=True)
            step.zero_grad()
            with autocast(config):
                loss = F.cross_entropy(model(images), labels)
            loss.backward()
            step.step()
            pacer.step(len(labels), loss.detach())


def feed(job: Job, pacer: Pacer) -> None:
    """Make augmented batches for nobody."""
    batches = loader(job, job.split().train)
    for _ in itertools.count():
        for _, labels in batches:
            pacer.step(len(labels))


def validate(job: Job, pacer: Pacer) -> None:
    """Judge the same images again and again; a step is one pass over them."""
    import numpy as np

    model, config = job.network().eval(), job.config()
    faces = job.split().val
    faces = faces.take(np.arange(min(job.images, len(faces))))
    batches = loader(job, faces, training=False)
    while True:
        right = 0
        with torch.inference_mode(), autocast(config):
            for images, labels in batches:
                images = images.to(job.device, memory_format=memory_format(config))
                right += int((model(images).argmax(1).cpu() == labels).sum())
        pacer.step(len(faces))


def views(job: Job, pacer: Pacer) -> None:
    """Ten views of each image, one image and one view at a time, as published; a step is one image."""
    model, config = job.network().eval(), job.config()
    moved = [partial(_moved, view=view, size=job.image_size) for view in range(10)]
    pictures = Pictures(job.split().val, lambda image: image, range(job.images))
    for place in itertools.cycle(range(job.images)):
        image, _ = pictures[place]
        total = torch.zeros(7)
        with torch.inference_mode(), autocast(config):
            for view in moved:
                batch = view(image)[None].to(job.device, memory_format=memory_format(config))
                total += model(batch)[0].float().softmax(0).cpu()
        pacer.step(1)


def _moved(image: Image.Image, view: int, size: int) -> torch.Tensor:
    """One of our views of a picture, with torchvision's functions."""
    flip, angle, shift_x, shift_y = VIEWS[view]
    image = TF.resize(image, [size, size])
    if flip < 0:
        image = TF.hflip(image)
    if angle or shift_x or shift_y:
        shift = [round(shift_x * size), round(shift_y * size)]
        image = TF.affine(image, -angle, shift, 1.0, [0.0], SMOOTH)
    return TF.to_tensor(image)


def standardized(pixels: torch.Tensor) -> torch.Tensor:
    """float32 [1, S, S] by its own mean and standard deviation."""
    return (pixels - pixels.mean()) / (pixels.std() + 0.04)


def still(image: Image.Image) -> torch.Tensor:
    """A picture as it is judged."""
    return standardized(TF.to_tensor(image.convert("L")))
