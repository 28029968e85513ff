"""What a network has been trained on, itself or through what it began with: by names, and image by image."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import numpy as np
import torch

from utils.checkpoint import Checkpoint
from utils.config import Config
from utils.datasets.duplicates import image_digests
from utils.datasets.faces import Faces


@dataclass(frozen=True)
class Past:
    """One training in the past of a network.

    Attributes:
        run, dataset: its names; train: the fingerprint of its training part.
        form: of its images, see `form_of`; empty where the checkpoint does not know them (the first ones do not).
        images: int64 [N], what `image_digests` gives for each of them.
    """

    run: str
    dataset: str
    train: str | None
    form: str
    images: np.ndarray


def form_of(faces: Faces, config: Config) -> str:
    """How these images were made; digests of images tell them apart only where this is the same."""
    return f"{' x '.join(map(str, faces.images.shape[1:]))}, crop {config.crop}"


def seen_in(train: Faces, config: Config) -> dict[str, Any]:
    """What a checkpoint keeps of its training images (plain types and a tensor)."""
    return {"form": form_of(train, config), "images": torch.from_numpy(image_digests(train.images))}


def pasts(checkpoint: Checkpoint) -> Iterator[Past]:
    """The training of ``checkpoint``, that of what it began with, and so on."""
    record: dict[str, Any] = {
        "run": checkpoint.run,
        "dataset": checkpoint.config.dataset,
        "train": checkpoint.data.get("train"),
        "origin": checkpoint.origin,
    }
    for seen in chain(checkpoint.seen, repeat({"form": "", "images": torch.empty(0, dtype=torch.int64)})):
        yield Past(record["run"], record["dataset"], record["train"], seen["form"], seen["images"].numpy())
        record = record["origin"]
        if not record:
            return
