"""Which training labels are likely wrong, by an out-of-fold dump; ``gen_corrections.py`` writes what to do about it.

Such a dump is the test dump of a run with ``protocol=random``: every training image judged once, by a network that did
not learn from it. The rule is confident learning's (Northcutt, Jiang and Chuang, JAIR 70, 2021), written from
the paper; a test compares it with the authors' package, cleanlab 2.9.0 (Apache License 2.0, as its metadata state).
"""

from collections import defaultdict
from pathlib import Path

import numpy as np

from utils.datasets.duplicates import image_hashes
from utils.datasets.faces import Faces
from utils.errors import UserError
from utils.predictions import load_predictions
from utils.splits.corrections import Correction


def out_of_fold(path: Path, faces: Faces) -> np.ndarray:
    """float64 [N, C]: probabilities of a dump for ``faces``, in their order.

    Raises:
        UserError: a dump of other images, labels or classes, or of images that its networks have learned from.
    """
    dump = load_predictions(path)
    if dump.meta.get("split") != "test" or "fold_of" not in dump.meta:
        raise UserError(f"{path}: not the test dump of a run of folds, so not out of fold")
    place = {identity: row for row, identity in enumerate(dump.ids)}
    if dump.classes != faces.classes or set(place) != set(faces.ids):
        raise UserError(f"{path}: of other images or classes than the training part that was read")
    rows = np.array([place[identity] for identity in faces.ids])
    if not np.array_equal(dump.targets[rows], faces.labels):
        raise UserError(f"{path}: its labels differ from those of the training part that was read")
    return dump.probabilities()[rows]


def ranked_suspects(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Images whose label is likely wrong, the least credible label first.

    A class is confidently predicted where its probability reaches the mean that it has over the images labelled so; of
    several such classes the likeliest counts. An image is suspect where that class is not its label. Suspects are
    ranked by normalized margin: probability of the label less that of the likeliest other class.

    Args:
        probabilities: float [N, C], out of fold; labels: int64 [N], each class at least once.

    Returns:
        int64 [M]: rows.
    """
    count, classes = probabilities.shape
    thresholds = np.array([probabilities[labels == c, c].mean() for c in range(classes)])
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    suspect = (confident.max(1) >= 0) & (confident.argmax(1) != labels)
    own = probabilities[np.arange(count), labels]
    others = probabilities.copy()
    others[np.arange(count), labels] = -1.0
    margin = own - others.max(1)
    rows = np.flatnonzero(suspect)
    return rows[np.argsort(margin[rows], kind="stable")]


def copy_conflicts(faces: Faces, probabilities: np.ndarray) -> dict[int, int]:
    """Row → label, for images that have exact copies with other labels and do not have the label that prevails.

    Most copies decide; among equals, the label that the networks find likeliest.
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    for row, digest in enumerate(image_hashes(faces.images)):
        groups[digest].append(row)
    becomes: dict[int, int] = {}
    for rows in groups.values():
        votes = np.bincount(faces.labels[rows], minlength=len(faces.classes))
        prevails = int(np.lexsort((probabilities[rows].mean(0), votes))[-1])
        becomes |= {row: prevails for row in rows if faces.labels[row] != prevails}
    return becomes


def corrections_of(
    faces: Faces, probabilities: np.ndarray, suspects: np.ndarray, conflicts: dict[int, int], drop: bool
) -> dict[str, Correction]:
    """What is to become of suspects and of copies, by id; what copies say goes before what networks say.

    Args:
        faces: the training part.
        probabilities: float [N, C], out of fold.
        suspects: rows, as `ranked_suspects` gives them.
        conflicts: as `copy_conflicts` gives them.
        drop: leave suspects out rather than call them what networks find likeliest.
    """
    found = {}
    likeliest = probabilities.argmax(1)
    decided = {int(row): None if drop else int(likeliest[row]) for row in suspects} | conflicts
    for row, label in sorted(decided.items()):
        own = int(faces.labels[row])
        if label == own:  # confident of another class than the likeliest one
            continue
        why = (
            "exact copies are labelled so"
            if row in conflicts
            else f"label has probability {probabilities[row, own]:.3f}"
        )
        (digest,) = image_hashes([faces.images[row]])
        becomes = None if label is None else faces.classes[label]
        found[faces.ids[row]] = Correction(digest.hex(), faces.classes[own], becomes, why)
    return found
