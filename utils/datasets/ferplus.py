"""Labels of FER+: ten people's votes on each image of FER2013, joined by row (Barsoum et al., ICMI 2016)."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.config import Config
from utils.datasets.faces import Faces, Split
from utils.datasets.pixel_csv import USAGES
from utils.datasets.tables import csv_rows, shown, whole_number
from utils.errors import UserError
from utils.labels import FER2013_CLASSES, FERPLUS_COLUMNS, canonical

# Which rows get no label, in words. NF (no face), unknown and contempt are no classes of FER2013: under either policy
# an image that they win has no label here.
POLICIES = {
    "plurality": "most votes win, the first column of the file among equals; dropped where contempt, unknown or NF win",
    "majority": "single votes do not count, the winner needs more than half of the others; dropped where none has them",
}
DROPPED = -1
MOST_VOTES = 10
LEAST_AGREEMENT = (
    0.4  # rows in another order agree on a fifth of the labels, rows in the right order on nearly two thirds
)
_COLUMN = [[canonical(c) for c in FERPLUS_COLUMNS].index(name) for name in FER2013_CLASSES]


@dataclass(frozen=True)
class Votes:
    """The votes on each image.

    Attributes:
        counts: int64 [N, 10], votes in the order of `FERPLUS_COLUMNS`.
        ids: N names, those of FER2013's images: the part and the row's number within the part.
    """

    counts: np.ndarray
    ids: list[str]


def relabelled(split: Split, config: Config) -> Split:
    """FER2013's split with the labels of FER+, without the images that have none under ``config.ferplus_policy``.

    Args:
        split: as `read_fer2013` returns it.
        config: ``label_source``: with ``ferplus_soft`` the images of the train part also carry the distribution of
            their votes, which is then learned from; with ``ferplus_blend`` they carry a blend of it with their own
            label, and no image is dropped and no label changed; ``ferplus_parts``: whether validation and test are
            relabelled too.

    Raises:
        UserError: no readable votes, or votes that do not belong to these images.
    """
    votes = read_ferplus(Path(config.ferplus_path))
    if config.label_source == "ferplus_blend":
        text = f"{split.protocol}; learned from with {config.ferplus_weight:.0%} FER+ vote distributions in the targets"
        train = _blended(split.train, votes, config)
        return dataclasses.replace(split, train=train, protocol=f"{text}, policy {config.ferplus_policy}")
    soft = config.label_source == "ferplus_soft"
    parts = {
        name: _relabelled(part, votes, config.ferplus_policy, soft and name == "train")
        if name == "train" or config.ferplus_parts == "all"
        else part
        for name, part in split.parts().items()
    }
    where = "in every part" if config.ferplus_parts == "all" else "in train alone"
    kind = "FER+ vote distributions" if soft else "FER+ labels"
    text = f"{split.protocol}; {kind} {where}, policy {config.ferplus_policy}"
    return Split(split.name, parts["train"], parts["val"], parts.get("test"), text)


def read_ferplus(path: Path) -> Votes:
    """All votes of ``fer2013new.csv``, in file order.

    Rows are those of ``fer2013.csv``. They are joined by their number within each Usage and never by the column
    "Image name": its numbers drift from the rows by up to 85, four names stand twice and 173 are missing.

    Args:
        path: the file, or the folder that holds it.

    Raises:
        UserError: naming file, row, column and value.
    """
    file = path / "fer2013new.csv" if path.is_dir() else path
    counts, ids = [], []
    seen = dict.fromkeys(USAGES.values(), 0)
    for number, (usage, *votes) in csv_rows(file, ("Usage", *FERPLUS_COLUMNS)):
        if usage not in USAGES:
            raise UserError(
                f"{file}: row {number}, column Usage: '{shown(usage)}'; expected one of {', '.join(USAGES)}"
            )
        counts.append([_vote(file, number, *pair) for pair in zip(FERPLUS_COLUMNS, votes, strict=True)])
        part = USAGES[usage]
        ids.append(f"{part}/{seen[part]:05d}")
        seen[part] += 1
    if not ids:
        raise UserError(f"{file}: no rows below the header")
    return Votes(np.array(counts, dtype=np.int64), ids)


def votes_on(votes: Votes, faces: Faces) -> Votes:
    """The votes on ``faces``, a part of FER2013 in one of its CSV forms.

    Raises:
        UserError: an image without a row, which is so for images in folders, whose order is lost; or votes and labels
            that agree so seldom that the rows must be in another order.
    """
    row = {identity: index for index, identity in enumerate(votes.ids)}
    for identity in faces.ids:
        if identity not in row:
            raise UserError(
                f"FER+ has no row for image '{shown(identity)}'; it is joined to FER2013's CSV forms, by row"
            )
    found = Votes(votes.counts[[row[identity] for identity in faces.ids]], list(faces.ids))
    labels = ferplus_majority(found, "plurality")
    agreement = float((labels == faces.labels)[labels != DROPPED].mean()) if (labels != DROPPED).any() else 1.0
    if len(faces) >= 1000 and agreement < LEAST_AGREEMENT:
        raise UserError(f"FER+ agrees with {agreement:.1%} of FER2013's labels; the rows are in another order")
    return found


def ferplus_majority(votes: Votes, policy: str) -> np.ndarray:
    """The class that each image's votes give.

    Args:
        votes: N rows.
        policy: one of `POLICIES`.

    Returns:
        int64 [N]: an index into `FER2013_CLASSES`, or `DROPPED`.

    Raises:
        UserError: unknown policy.
    """
    counts = _counted(votes, policy)
    winner = counts.argmax(1)  # the first among equals
    label_of = np.full(len(FERPLUS_COLUMNS), DROPPED)
    label_of[_COLUMN] = np.arange(len(FER2013_CLASSES))
    labels = label_of[winner]
    if policy == "majority":
        labels[2 * counts.max(1) <= counts.sum(1)] = DROPPED
    return labels


def ferplus_soft(votes: Votes, policy: str) -> np.ndarray:
    """The votes on FER2013's seven classes as shares; votes on contempt, unknown and NF are left out.

    Args:
        votes: N rows.
        policy: ``"plurality"`` drops the rows that `ferplus_majority` drops; ``"majority"`` leaves single votes out
            and drops rows where the seven classes together have at most half of the others.

    Returns:
        float64 [N, 7]; a row sums to one, or to zero where it is dropped.

    Raises:
        UserError: unknown policy.
    """
    counts = _counted(votes, policy)
    seven = counts[:, _COLUMN].astype(np.float64)
    kept = ferplus_majority(votes, policy) != DROPPED if policy == "plurality" else 2 * seven.sum(1) > counts.sum(1)
    return np.where(kept[:, None], seven / np.maximum(seven.sum(1, keepdims=True), 1), 0.0)


def _relabelled(faces: Faces, votes: Votes, policy: str, soft: bool) -> Faces:
    votes = votes_on(votes, faces)
    labels, shares = ferplus_majority(votes, policy), ferplus_soft(votes, policy)
    kept = (shares.sum(1) > 0) & (labels != DROPPED)
    relabelled_faces = dataclasses.replace(faces, labels=labels, soft=shares.astype(np.float32) if soft else None)
    return relabelled_faces.take(kept)


def _blended(faces: Faces, votes: Votes, config: Config) -> Faces:
    """All of ``faces`` with targets of which ``config.ferplus_weight`` parts are FER+'s and the rest their own label.

    Where FER+ has no distribution, the label is the target.
    """
    own = np.eye(len(faces.classes))[faces.labels]
    shares = ferplus_soft(votes_on(votes, faces), config.ferplus_policy)
    weight = config.ferplus_weight * shares.sum(1, keepdims=True)  # 0 where there is none
    return dataclasses.replace(faces, soft=((1 - weight) * own + weight * shares).astype(np.float32))


def _counted(votes: Votes, policy: str) -> np.ndarray:
    if policy not in POLICIES:
        raise UserError(f"unknown FER+ policy '{shown(policy)}'; expected one of {', '.join(POLICIES)}")
    return votes.counts if policy == "plurality" else np.where(votes.counts > 1, votes.counts, 0)


def _vote(file: Path, number: int, column: str, text: str) -> int:
    value = whole_number(text, MOST_VOTES)
    if value is None:
        expected = f"expected a whole number from 0 to {MOST_VOTES}"
        raise UserError(f"{file}: row {number}, column {column}: '{shown(text)}'; {expected}")
    return value
