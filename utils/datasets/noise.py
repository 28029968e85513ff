"""Which training labels are likely wrong: ``python -m utils.datasets.noise DUMP``, with an out-of-fold dump.

Such a dump is the test dump of a run with ``protocol=random``: every training image judged once, by a network that did
not learn from it. The rule is confident learning's (Northcutt, Jiang and Chuang, JAIR 70, 2021), written from
the paper; a test compares it with the authors' package, cleanlab 2.9.0 (Apache License 2.0, as its metadata state).
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from utils.cli import Parser, run_cli
from utils.config import load_config
from utils.datasets.duplicates import image_hashes
from utils.datasets.faces import Faces
from utils.errors import UserError
from utils.predictions import load_predictions
from utils.splits import load_faces
from utils.splits.corrections import Correction, save_corrections
from Visualization.figures import faces_sheet_figure
from Visualization.saving import save_figure

OUT = Path("saved/noise")  # the gallery shows people: nothing of it is to be committed
_SHOWN = 10  # suspects of each class in the gallery


def main() -> None:
    """Write ``corrections.json``, for the setting ``corrections``, and a gallery of the suspects."""
    parser = Parser("Rank training labels that are likely wrong, and write a file that corrects them.")
    parser.add_argument("dump", type=Path, help="out-of-fold predictions: the test dump of a run of folds")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="where the data lie, e.g. data_path=FOLDER")
    parser.add_argument("--most", type=int, default=1000, help="correct so many suspects at most (default 1000)")
    parser.add_argument("--drop", action="store_true", help="leave suspects out rather than relabel them")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder that is written to (default {OUT})")
    arguments = parser.parse_intermixed_args()
    faces = load_faces(load_config(None, arguments.settings))
    probabilities = out_of_fold(arguments.dump, faces)
    suspects = ranked_suspects(probabilities, faces.labels)
    conflicts = copy_conflicts(faces, probabilities)
    corrections = _corrections(faces, probabilities, suspects[: arguments.most], conflicts, arguments.drop)
    save_corrections(corrections, arguments.out / "corrections.json")
    print(f"{len(suspects)} suspects among {len(faces)} training labels, {len(conflicts)} copies with another label")
    print(f"{arguments.out / 'corrections.json'}: {len(corrections)} corrections")
    if len(suspects):
        save_figure(_gallery(faces, suspects), arguments.out / "suspects.png")


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


def _corrections(
    faces: Faces, probabilities: np.ndarray, suspects: np.ndarray, conflicts: dict[int, int], drop: bool
) -> dict[str, Correction]:
    """By id; what copies say goes before what networks say."""
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


def _gallery(faces: Faces, suspects: np.ndarray) -> Figure:
    """The first suspects of each label, most suspicious first."""
    blank = np.full_like(faces.images[0], 255)
    rows = []
    for label in range(len(faces.classes)):
        first = suspects[faces.labels[suspects] == label][:_SHOWN]
        rows.append([*(faces.images[row] for row in first), *[blank] * (_SHOWN - len(first))])
    return faces_sheet_figure(np.array(rows), faces.classes, "Labelled so, and likely wrong; the least credible first")


if __name__ == "__main__":
    run_cli(main)
