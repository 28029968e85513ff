"""Correct training labels that are likely wrong: ``python gen_corrections.py DUMP``, with an out-of-fold dump."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from utils.cli import Parser, run_cli
from utils.config import load_config
from utils.datasets.faces import Faces
from utils.datasets.noise import copy_conflicts, corrections_of, out_of_fold, ranked_suspects
from utils.datasets.sources import SOURCES
from utils.errors import UserError
from utils.splits import load_faces
from utils.splits.corrections import save_corrections
from Visualization.figures import faces_sheet_figure
from Visualization.saving import save_figure

OUT = Path("saved/noise")  # the gallery shows people: nothing of it is to be committed
_SHOWN = 10  # suspects of each class in the gallery


def main() -> None:
    """Write ``corrections.json``, for the setting ``corrections``, and a gallery of the suspects.

    Raises:
        UserError: a negative number of suspects, a data set without a training part of its own, no such dump, one that
            is not out of fold, or one of other images than those that were read.
        MachineError: the files cannot be written.
    """
    parser = Parser("Rank training labels that are likely wrong, and write a file that corrects them.")
    parser.add_argument("dump", type=Path, help="out-of-fold predictions: the test dump of a run of folds")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="where the data lie, e.g. data_path=FOLDER")
    parser.add_argument("--most", type=int, default=1000, help="correct so many suspects at most (default 1000)")
    parser.add_argument("--drop", action="store_true", help="leave suspects out rather than relabel them")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder that is written to (default {OUT})")
    arguments = parser.parse_intermixed_args()
    if arguments.most < 0:
        raise UserError(f"--most must be 0 or more; got {arguments.most}")
    config = load_config(None, arguments.settings)
    if SOURCES[config.dataset].official is None:
        raise UserError(f"{config.dataset}: corrections are for protocol=official, which this data set does not have")
    faces = load_faces(config)
    probabilities = out_of_fold(arguments.dump, faces)
    suspects = ranked_suspects(probabilities, faces.labels)
    conflicts = copy_conflicts(faces, probabilities)
    corrections = corrections_of(faces, probabilities, suspects[: arguments.most], conflicts, arguments.drop)
    save_corrections(corrections, arguments.out / "corrections.json")
    print(f"{len(suspects)} suspects among {len(faces)} training labels, {len(conflicts)} copies with another label")
    print(f"{arguments.out / 'corrections.json'}: {len(corrections)} corrections")
    gallery = arguments.out / "suspects.png"
    if len(suspects):
        save_figure(_gallery(faces, suspects), gallery)
    else:
        gallery.unlink(missing_ok=True)  # of another set


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
