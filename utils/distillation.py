"""Learning from what another network, or an ensemble, says of the training images (Hinton et al., 2015)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from utils.config import Config
from utils.datasets.faces import Faces, Split
from utils.errors import UserError
from utils.files import sha256_of
from utils.predictions import Predictions, load_predictions, softmax

NONE = "none"


@dataclass(frozen=True, eq=False)
class Teacher:
    """Attributes:
    shares: float32 [N, C], what it says of each training image, in the order of the images.
    hash: of the dump.
    """

    shares: np.ndarray
    hash: str


def find_teacher(config: Config, train: Faces) -> Teacher | None:
    """The teacher that ``config.distil_from`` names, or None.

    Raises:
        UserError: no such dump, one of another data set, other images or classes, or one that is not of a training
            part.
    """
    if config.distil_from == NONE:
        return None
    path = Path(config.distil_from)
    dump = load_predictions(path)
    if dump.meta.get("split") != "train":
        raise UserError(
            f"distil_from: {path} is of {dump.meta.get('split')}; a teacher speaks of train (--split train)"
        )
    if dump.meta.get("dataset", config.dataset) != config.dataset:
        raise UserError(f"distil_from: {path} is of {dump.meta['dataset']}; this run reads {config.dataset}")
    if set(dump.classes) != set(train.classes):
        raise UserError(f"distil_from: {path} knows {', '.join(dump.classes)}; here are {', '.join(train.classes)}")
    row = {identity: index for index, identity in enumerate(dump.ids)}
    if unknown := [identity for identity in train.ids if identity not in row]:
        raise UserError(f"distil_from: {path} does not speak of training image {unknown[0]}, of {len(unknown)} in all")
    dump = dump.part(np.array([row[identity] for identity in train.ids]))
    places = [dump.classes.index(name) for name in train.classes]
    return Teacher(_softened(dump, config.distil_temperature)[:, places].astype(np.float32), sha256_of(path))


def check_teacher_unseen(config: Config, splits: Sequence[Split]) -> None:
    """Who teaches must not have been trained on what this run is judged on.

    Raises:
        UserError: its training part holds images of this run's other parts, as that of FER2013 holds those of folds.
    """
    if config.distil_from == NONE:
        return
    known = set(load_predictions(Path(config.distil_from)).ids)
    for split in splits:
        judged = [identity for name, part in split.parts().items() if name != "train" for identity in part.ids]
        if met := sum(identity in known for identity in judged):
            seen = f"was trained on {met} images of this run's val and test parts"
            raise UserError(f"distil_from: {config.distil_from} {seen}; a teacher comes from this very split")


def taught(train: Faces, teacher: Teacher, weight: float) -> Faces:
    """``train`` with targets that are ``weight`` parts the teacher's and the rest its own.

    Cross-entropy is linear in its targets, so this is the sum of both losses; the network itself is not softened.
    """
    own = np.eye(len(train.classes), dtype=np.float32)[train.labels] if train.soft is None else train.soft
    return replace(train, soft=(1 - weight) * own + weight * teacher.shares)


def _softened(dump: Predictions, temperature: float) -> np.ndarray:
    """float64 [N, C]: the mean over views, at ``temperature``."""
    return softmax(np.log(np.maximum(dump.probabilities(), 1e-12)) / temperature)
