"""Draw faces as points, alike ones close together: ``python Visualization/gen_embedding.py``."""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a start as a file, from any folder

from utils.cli import Parser, run_cli
from utils.explaining.features import PROJECTIONS, features, projected, require
from Visualization.embedding import embedding_figure
from Visualization.map_sheets import sheet_file
from Visualization.saving import save_figure
from Visualization.subjects import add_options, chosen_subjects, require_labels

_TITLES = {"tsne": "t-SNE", "umap": "UMAP", "pca": "Principal components"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, then draw one figure.

    Raises:
        UserError: a wrong option, or a network or face that is not there; photos, whose classes nobody knows.
        MachineError: a package is missing, or the figure cannot be written.
    """
    parser = Parser("A map of faces by what the network makes of them before it decides.")
    add_options(parser)
    parser.add_argument("--method", choices=PROJECTIONS, default="tsne", help="default: tsne")
    parser.add_argument("--each", type=int, default=100, help="faces of each class, the first ones (default 100)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="PNG or PDF (default: under saved/explanations)")
    options = parser.parse_args(arguments)
    require(options.method)
    subjects = chosen_subjects(options, max(1, options.each))
    require_labels(subjects)
    file = sheet_file(options.out, options.method, subjects)
    recognizer = subjects.recognizer
    points = projected(features(recognizer.model, subjects.images, recognizer.config), options.method)
    right = subjects.probabilities.argmax(1) == subjects.labels
    title = f"{_TITLES[options.method]} of what the network sees: {subjects.title}"
    shown = f"{subjects.source}, {len(right):,} faces, {right.mean():.1%} of them classified rightly (one view)"
    save_figure(embedding_figure(points, subjects.labels, right, recognizer.classes, title, shown), file)
    print(file)


if __name__ == "__main__":
    run_cli(main)
