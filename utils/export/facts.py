"""What must be known of a network wherever it runs: classes, how faces are shown to it, what its answers are worth."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.weight_files import read_note
from utils.calibration import fit_temperature, unsure_below
from utils.config import Config
from utils.datasets.faces import Split
from utils.errors import UserError
from utils.inference import Recognizer
from utils.metrics import score
from utils.predictions import Predictions, load_predictions, softmax
from utils.shipped import is_shipped
from utils.splits import load_splits

FORMAT = 1
# Where `gen_pretrained.py` writes the dumps of what comes with the package.
_SHIPPED_DUMPS = Path(__file__).resolve().parents[2] / "results" / "pretrained"
# Where eyes and mouth lie in a training image, as shares of its side from the left and from the top: read off the mean
# of FER2013's training images and its mirror image.
_LANDMARKS = {"fer2013": {"eyes": [[0.32, 0.37], [0.68, 0.37]], "mouth": [0.5, 0.79]}}


@dataclass(frozen=True)
class Calibration:
    """What validation says of a network's confidence.

    Attributes:
        temperature: what its logits are still to be divided by.
        folded: what they have been divided by already, in its weights.
        unsure_below: see `utils.calibration.unsure_below`; None where no validation images could be had.
    """

    temperature: float
    folded: float
    unsure_below: float | None

    @classmethod
    def of(cls, recognizer: Recognizer, validation: Predictions | None) -> "Calibration":
        """Fitted on the clean view of ``validation``, unless the network came calibrated."""
        folded = 1.0
        if is_shipped(recognizer.path):
            folded = json.loads(read_note(recognizer.path)["told"])["temperature"]
        if validation is None:
            return cls(1.0, folded, None)
        logits, targets = validation.logits[0], validation.targets
        temperature = 1.0 if is_shipped(recognizer.path) else fit_temperature(logits, targets)
        return cls(temperature, folded, unsure_below(softmax(logits / temperature), targets))


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


def own_dump(recognizer: Recognizer, part: str) -> Predictions | None:
    """The dump of what this very network said of ``part``, where there is one."""
    folders = Path(recognizer.config.results_dir), _SHIPPED_DUMPS
    for path in (folder / f"{name}.{part}.npz" for folder in folders for name in _names(recognizer)):
        if path.is_file() and (dump := load_predictions(path)).meta.get("checkpoint") == recognizer.hash:
            return dump
    return None


def _names(recognizer: Recognizer) -> tuple[str, str]:
    return recognizer.checkpoint.run, recognizer.path.stem


def facts_of(
    recognizer: Recognizer,
    calibration: Calibration,
    maps_at: tuple[int, int] | None,
    dumps: Mapping[str, Predictions | None],
) -> dict[str, Any]:
    """All but what is found out while exporting, as plain JSON types.

    Args:
        recognizer: the trained network.
        calibration: what validation says of it.
        maps_at: height and width of its class activation maps, or None.
        dumps: what it said of ``val`` and ``test``, as far as that is known.
    """
    checkpoint, config = recognizer.checkpoint, recognizer.config
    accuracy = {part: dump and _worth(dump, calibration.temperature) for part, dump in dumps.items()}
    return {
        "format": FORMAT,
        "run": checkpoint.run,
        "arch": config.arch,
        "classes": list(recognizer.classes),
        "image_size": config.image_size,
        "channels": config.in_channels,
        "normalize": config.normalize,
        "temperature": calibration.temperature * calibration.folded,
        "unsure_below": calibration.unsure_below,
        "crop": _crop(config),
        "cam": maps_at and list(maps_at),
        "selection": dict(checkpoint.selection),
        "data": {"dataset": config.dataset, "train": checkpoint.data.get("train")},
        "accuracy": accuracy,
        "checkpoint": recognizer.hash,
    }


def _crop(config: Config) -> dict[str, Any]:
    """How a face has to be cut out, so that it looks like those that the network knows."""
    grey = config.dataset != "folder" or config.in_channels == 1
    unknown = {"eyes": None, "mouth": None}
    return {"square": True, "like": config.dataset, "grey": grey} | _LANDMARKS.get(config.dataset, unknown)


def _worth(dump: Predictions, temperature: float) -> dict[str, Any]:
    """Figures of the clean view."""
    found = asdict(score(softmax(dump.logits[0] / np.float64(temperature)), dump.targets))
    return {key: found[key] for key in ("images", "accuracy", "interval", "balanced_accuracy", "ece")}
