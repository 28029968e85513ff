"""What validation says of a network's confidence: how much of it to believe, and when to say nothing."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.calibration import fit_temperature, unsure_below
from utils.datasets.faces import Images
from utils.inference import Recognizer, predict
from utils.predictions import Predictions, load_predictions, softmax
from utils.shipped import is_shipped

# Where `gen_pretrained.py` writes the dumps of what comes with the package.
_SHIPPED_DUMPS = Path(__file__).resolve().parent.parent / "results" / "pretrained"


@dataclass(frozen=True)
class Trust:
    """How the scores of one network are to be read.

    Attributes:
        temperature: what its logits are still to be divided by.
        unsure_below: the confidence below which it had better say nothing; None where that is not known.
        known: whether there is a dump of validation that says so; without one the temperature is 1.
    """

    temperature: float
    unsure_below: float | None
    known: bool


def trust_of(recognizer: Recognizer) -> Trust:
    """What is known of a network, by its dump of validation.

    Raises:
        UserError: that dump is damaged.
    """
    return trusted_by(own_dump(recognizer, "val"), recognizer)


def trusted_by(validation: Predictions | None, recognizer: Recognizer) -> Trust:
    """What ``validation``, where there is any, says of the network that it was judged by.

    Only the clean view is looked at, which is what single faces are judged by.
    """
    if validation is None:
        return Trust(1.0, None, known=False)
    logits, targets = validation.logits[0], validation.targets
    # the last layer of what comes with the package has taken up the temperature
    temperature = 1.0 if is_shipped(recognizer.path) else fit_temperature(logits, targets)
    return Trust(temperature, unsure_below(softmax(logits / temperature), targets), known=True)


def calibrated_probabilities(recognizer: Recognizer, images: Images, trust: Trust | None = None) -> np.ndarray:
    """float64 [N, C]: what a network says of single faces, uint8 [N, H, W] or [N, H, W, 3], at its temperature.

    Args:
        trust: what is known of the network, if that has been looked up before.

    Raises:
        UserError: without ``trust``, the dump of validation is damaged.
    """
    trust = trust or trust_of(recognizer)
    return softmax(predict(recognizer.model, images, recognizer.config)[0] / np.float64(trust.temperature))


def own_dump(recognizer: Recognizer, part: str) -> Predictions | None:
    """The dump of what this very network said of ``part``, where there is one; that of other weights does not count.

    Raises:
        UserError: a dump of that name is damaged.
    """
    names = recognizer.checkpoint.run, recognizer.path.stem
    folders = Path(recognizer.config.results_dir), _SHIPPED_DUMPS
    for path in (folder / f"{name}.{part}.npz" for folder in folders for name in names):
        if path.is_file() and (dump := load_predictions(path)).meta.get("checkpoint") == recognizer.hash:
            return dump
    return None
