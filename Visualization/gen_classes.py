"""Draw which classes are recognised and which are taken for each other: ``python Visualization/gen_classes.py``."""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a start as a file, from any folder

import numpy as np
from matplotlib.figure import Figure

from utils.cli import Parser, run_cli
from utils.metrics import wilson
from utils.pooling import spread
from utils.predictions import Predictions, load_predictions
from utils.report import confusion
from Visualization.bars import confused_pairs_figure, recall_figure
from Visualization.gen_confusion_matrix import find_dumps, title_of
from Visualization.saving import save_figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, then draw two figures for each dump.

    Raises:
        UserError: a wrong option, no dump, or a dump that cannot be used.
        MachineError: the figures cannot be written.
    """
    parser = Parser("Draw, for dumps of predictions, the recall of each class and the most frequent mistakes.")
    parser.add_argument(
        "dumps", nargs="*", type=Path, metavar="DUMP.npz", help="dumps, or folders of them; default: saved/results"
    )
    parser.add_argument("--out", type=Path, default=Path("saved/confusion_matrices"), help="folder to write into")
    options = parser.parse_args(arguments)
    for dump in find_dumps(options.dumps or [Path("saved/results")]):
        predictions = load_predictions(dump)
        for name, figure in class_figures(predictions, title_of(predictions, dump)).items():
            file = options.out / f"{dump.stem}.{name}.png"
            save_figure(figure, file)
            print(file)


def class_figures(predictions: Predictions, title: str) -> dict[str, Figure]:
    """``recall`` and, where there is a mistake, ``mistakes``, over all views of a dump."""
    matrix, subtitle = confusion(predictions)
    classes, totals = predictions.classes, matrix.sum(1)
    intervals = [_interval(predictions.part(predictions.targets == label)) for label in range(len(classes))]
    figures = {"recall": recall_figure(matrix, classes, intervals, f"{title}: recall of each class", subtitle)}
    if np.trace(matrix) < totals.sum():
        heading = f"{title}: most frequent mistakes"
        figures["mistakes"] = confused_pairs_figure(matrix, classes, heading, subtitle)
    return figures


def _interval(one_class: Predictions) -> tuple[float, float]:
    """The interval of its recall: over persons where they are known, else over images; whole without an image."""
    if not one_class.ids:
        return 0.0, 1.0
    hits = one_class.probabilities().argmax(1) == one_class.targets
    return spread(one_class).interval or wilson(int(hits.sum()), len(hits))


if __name__ == "__main__":
    run_cli(main)
