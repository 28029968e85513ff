"""Draw a sheet of drawn faces, one row for each person: ``python Visualization/gen_drawn_faces.py``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a start as a file, from any folder

import numpy as np

from utils.cli import Parser, run_cli
from utils.datasets.drawn_faces import draw_face
from utils.labels import FER2013_CLASSES
from Visualization.figures import faces_sheet_figure
from Visualization.saving import save_figure


def main() -> None:
    """Read the command line and draw."""
    parser = Parser("A sheet of the built-in drawn faces: one row for each expression, one column for each person.")
    parser.add_argument("--people", type=int, default=10, help="columns (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="who they are (default 0)")
    parser.add_argument("--size", type=int, default=160, help="pixels of each face (default 160)")
    parser.add_argument("--out", type=Path, default=Path("docs/drawn_faces.png"), help="PNG or PDF")
    options = parser.parse_args()
    sheet = np.stack(
        [
            [draw_face(label, subject=person, seed=options.seed, size=options.size) for person in range(options.people)]
            for label in range(len(FER2013_CLASSES))
        ]
    )
    save_figure(faces_sheet_figure(sheet, FER2013_CLASSES, ""), options.out)
    print(options.out)


if __name__ == "__main__":
    run_cli(main)
