"""Draw the faces that a network gets most wrong, for your own eyes: ``python Visualization/gen_mistakes.py``."""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a start as a file, from any folder

import numpy as np

from utils.cli import Parser, run_cli
from utils.errors import UserError
from Visualization.explanations import captioned_faces_figure
from Visualization.map_sheets import sheet_file
from Visualization.saving import save_figure
from Visualization.style import short
from Visualization.subjects import Subjects, add_options, chosen_subjects, require_labels

_ALL = 10**9


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, then draw one sheet, always below ``saved``, which git ignores: it shows people.

    Raises:
        UserError: a wrong option, or a network or face that is not there; photos, whose classes nobody knows; or the
            network makes no mistake.
        MachineError: the figure cannot be written.
    """
    parser = Parser("The worst mistakes of a network: the faces whose true class it holds to be least likely.")
    add_options(parser)
    parser.add_argument("--most", type=int, default=24, help="how many (default 24)")
    parser.add_argument("--each", type=int, help="faces of each class that are looked at (default: all)")
    options = parser.parse_args(arguments)
    subjects = chosen_subjects(options, max(1, _ALL if options.each is None else options.each))
    require_labels(subjects)
    worst = worst_mistakes(subjects.probabilities, subjects.labels)
    if not len(worst):
        raise UserError(f"{subjects.title}: no mistake on {len(subjects.labels)} faces ({subjects.source})")
    shown = worst[: max(1, options.most)].tolist()
    title = f"{subjects.title}: the {len(shown)} worst of {len(worst):,} mistakes"
    note = f"{subjects.source}, {len(subjects.labels):,} faces, one view; lowest probability of the true class first"
    file = sheet_file(None, "mistakes", subjects)
    save_figure(
        captioned_faces_figure([subjects.images[i] for i in shown], _captions(subjects, shown), title, note), file
    )
    print(file)


def worst_mistakes(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """int64 [M]: the places that are classified wrongly, the lowest probability of the true class first.

    Args:
        probabilities: float [N, C]; labels: int [N], true classes.
    """
    true = probabilities[np.arange(len(labels)), labels]
    ranked = np.argsort(true, kind="stable")
    return ranked[probabilities.argmax(1)[ranked] != labels[ranked]]


def _captions(subjects: Subjects, places: Sequence[int]) -> list[str]:
    """Of each face: its name, its true class and what the network holds of it, and what the network says."""
    classes, lines = subjects.recognizer.classes, []
    for place in places:
        own, label = subjects.probabilities[place], subjects.labels[place]
        said = f"says {classes[own.argmax()]}, {own.max():.0%}"
        lines.append(f"{short(subjects.names[place])}\ntrue: {classes[label]}, {own[label]:.1%}\n{said}")
    return lines


if __name__ == "__main__":
    run_cli(main)
