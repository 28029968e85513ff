"""One set of predictions against two sets of labels: FER2013's, and what FER+'s ten people say of the same images.

``python -m utils.agreement FER2013NEW.CSV OUT.npz`` keeps the votes on validation and test images beside dumps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.arrays import npz_bytes, read_npz
from utils.cli import Parser, run_cli
from utils.datasets.ferplus import DROPPED, Votes, ferplus_majority, read_ferplus
from utils.errors import UserError
from utils.files import write_atomically
from utils.labels import FER2013_CLASSES, FERPLUS_COLUMNS, canonical


@dataclass(frozen=True)
class Score:
    """Accuracy on the images of which something holds."""

    what: str
    images: int
    correct: int


def save_votes(votes: Votes, path: Path) -> None:
    """Write votes as an .npz file, which is small enough to stand beside dumps."""
    write_atomically(path, npz_bytes({"counts": votes.counts.astype(np.int8), "ids": np.array(votes.ids)}))


def load_votes(path: Path) -> Votes:
    """What `save_votes` wrote.

    Raises:
        UserError: no such file, or another one.
    """
    arrays = read_npz(path)
    if {"counts", "ids"} - set(arrays) or len(arrays["counts"]) != len(arrays["ids"]):
        raise UserError(f"{path}: holds no votes of FER+")
    return Votes(arrays["counts"].astype(np.int64), arrays["ids"].tolist())


def human_agreement(votes: Votes) -> float:
    """How often one rater says what most of the others say (the first in the file's order among equals).

    Raises:
        UserError: no image has two votes.
    """
    agreed = said = 0
    for counts in votes.counts:
        for choice in np.flatnonzero(counts):
            others = counts.copy()
            others[choice] -= 1
            if others.any():
                said += int(counts[choice])
                agreed += int(counts[choice]) * int(others.argmax() == choice)
    if not said:
        raise UserError("FER+: no image has two votes")
    return agreed / said


def of_seven_classes(votes: Votes) -> Votes:
    """The same without the votes for what is no class of FER2013: contempt, unknown and no face."""
    own = np.isin([canonical(column) for column in FERPLUS_COLUMNS], FER2013_CLASSES)
    return Votes(np.where(own, votes.counts, 0), votes.ids)


def voted(votes: Votes, ids: Sequence[str], policy: str) -> np.ndarray:
    """int64 [N]: the class that the raters of each image of ``ids`` give by ``policy``, `DROPPED` where they give none.

    Raises:
        UserError: an image without votes, or an unknown policy.
    """
    row = {identity: index for index, identity in enumerate(votes.ids)}
    if unknown := [identity for identity in ids if identity not in row]:
        raise UserError(f"FER+ has no votes on image '{unknown[0]}'")
    return ferplus_majority(Votes(votes.counts[[row[identity] for identity in ids]], list(ids)), policy)


def dual_scores(
    probabilities: np.ndarray, targets: np.ndarray, ids: Sequence[str], votes: Votes, copies: Sequence[str]
) -> list[Score]:
    """Against both sets of labels, on all images and on those that have no copy among the training images.

    Args:
        probabilities: float [N, 7] in FER2013's order of classes; targets: int [N], its labels.
        ids: N names of images; votes: on these and perhaps others.
        copies: names of those with an exact copy among the training images.

    Raises:
        UserError: other classes, an image without votes, or votes that leave no image a class.
    """
    if probabilities.shape[1] != len(FER2013_CLASSES):
        raise UserError(
            f"FER+ judges FER2013's {len(FER2013_CLASSES)} classes; these dumps have {probabilities.shape[1]}"
        )
    predicted = probabilities.argmax(1)
    plurality, majority = (voted(votes, ids, policy) for policy in ("plurality", "majority"))
    if (plurality == DROPPED).all():
        raise UserError("FER+'s votes give none of these images a class of FER2013")
    fresh = ~np.isin(np.array(ids), np.array(list(copies)))
    kept = {"": np.ones(len(ids), bool), ", without copies": fresh}
    scores = []
    for words, part in kept.items():
        for what, labels, images in (
            ("FER2013's labels", targets, part),
            ("FER+ plurality", plurality, part & (plurality != DROPPED)),
            ("FER+ majority", majority, part & (majority != DROPPED)),
            ("FER2013's label where a FER+ majority shares it", targets, part & (majority == targets)),
        ):
            scores.append(Score(what + words, int(images.sum()), int((predicted == labels)[images].sum())))
    return scores


def main() -> None:
    """Write the votes on all images but those of the training part."""
    parser = Parser("Keep FER+'s votes on FER2013's validation and test images as a small file.")
    parser.add_argument("votes", type=Path, metavar="FER2013NEW.CSV", help="or the folder that holds it")
    parser.add_argument("out", type=Path, metavar="OUT.npz")
    arguments = parser.parse_args()
    votes = read_ferplus(arguments.votes)
    kept = np.array([not identity.startswith("train/") for identity in votes.ids])
    ids = [identity for identity, keep in zip(votes.ids, kept, strict=True) if keep]
    save_votes(Votes(votes.counts[kept], ids), arguments.out)
    print(f"{arguments.out}: votes on {len(ids):,} images")


if __name__ == "__main__":
    run_cli(main)
