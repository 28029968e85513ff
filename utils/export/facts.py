"""What must be known of a network wherever it runs: classes, how faces are shown to it, what its answers are worth."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from utils.config import Config
from utils.datasets.faces import Split
from utils.datasets.fer2013 import EYES, MOUTH
from utils.datasets.sources import SOURCES
from utils.errors import UserError
from utils.inference import Recognizer
from utils.metrics import score
from utils.predictions import Predictions, softmax
from utils.shipped import taken_up
from utils.splits import load_splits
from utils.trust import Trust

FORMAT = 1


def own_data(recognizer: Recognizer) -> Split:
    """The data that a network was trained on; of folds, its own.

    Raises:
        UserError: they are not there, or are others by now.
    """
    trained_on = recognizer.checkpoint.data.get("train")
    for split in load_splits(recognizer.config):
        if split.train.fingerprint() == trained_on:
            return split
    raise UserError(f"{recognizer.path}: was trained on other data than these")


def facts_of(
    recognizer: Recognizer,
    trust: Trust,
    maps_at: tuple[int, int] | None,
    dumps: Mapping[str, Predictions | None],
) -> dict[str, Any]:
    """All but what is found out while exporting, as plain JSON types.

    Args:
        recognizer: the trained network.
        trust: what validation says of it.
        maps_at: height and width of its class activation maps, or None.
        dumps: what it said of ``val`` and ``test``, as far as that is known.
    """
    checkpoint, config = recognizer.checkpoint, recognizer.config
    accuracy = {part: dump and _worth(dump, trust.temperature) for part, dump in dumps.items()}
    return {
        "format": FORMAT,
        "run": checkpoint.run,
        "arch": config.arch,
        "classes": list(recognizer.classes),
        "image_size": config.image_size,
        "channels": config.in_channels,
        "normalize": config.normalize,
        "temperature_applied": trust.temperature * taken_up(recognizer.path),
        "unsure_below": trust.unsure_below,
        "crop": _crop(config),
        "cam": maps_at and list(maps_at),
        "selection": dict(checkpoint.selection),
        "data": {"dataset": config.dataset, "train": checkpoint.data.get("train")},
        "accuracy": accuracy,
        "checkpoint": recognizer.hash,
    }


def _crop(config: Config) -> dict[str, Any]:
    """How a face has to be cut out, so that it looks like those that the network knows."""
    known = config.dataset == "fer2013"
    return {
        "square": True,
        "like": config.dataset,
        "grey": config.in_channels == 1 or not SOURCES[config.dataset].colour,
        "eyes": [list(eye) for eye in EYES] if known else None,
        "mouth": list(MOUTH) if known else None,
    }


def _worth(dump: Predictions, temperature: float) -> dict[str, Any]:
    """Figures of the clean view."""
    found = asdict(score(softmax(dump.logits[0] / np.float64(temperature)), dump.targets))
    return {key: found[key] for key in ("images", "accuracy", "interval", "balanced_accuracy", "ece")}
