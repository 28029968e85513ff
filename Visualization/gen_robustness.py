"""How a run stands pictures that are blurred, noisy, turned ...: ``python Visualization/gen_robustness.py RUN``."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a start as a file, from any folder

import numpy as np

from utils.card import read_table
from utils.checkpoint import refuse_closed_test, refuse_unfinished
from utils.cli import Parser, run_cli
from utils.config import load_config
from utils.corruptions import CORRUPTIONS, STRENGTHS, corrupted
from utils.datasets.faces import Faces
from utils.errors import UserError
from utils.export.facts import own_data
from utils.files import csv_bytes, write_atomically
from utils.inference import Recognizer
from utils.metrics import score
from utils.shipped import network_path
from Visualization.robustness import robustness_figure
from Visualization.saving import save_figure


@dataclass(frozen=True)
class Row:
    """Accuracy on one part after one corruption, with its Wilson interval; strength 0 is the picture as it is."""

    corruption: str
    strength: int
    meaning: str
    images: int
    accuracy: float
    low: float
    high: float
    balanced_accuracy: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge, write the table, draw it.

    Raises:
        UserError: no such run or part; a run of folds, which has no one network, or one that has not ended; or
            ``judge_test`` keeps its test part closed, and it was not named.
    """
    parser = Parser("Accuracy of a run on corrupted pictures: eight kinds, each in five strengths, one view.")
    parser.add_argument("run", metavar="RUN", help="a run that has ended, or the path of its weights")
    parser.add_argument("--split", choices=("val", "test"), help="which part (default test)")
    parser.add_argument("--out", type=Path, help="folder that is written to (default: results_dir of the run)")
    options = parser.parse_args(arguments)
    recognizer, part = Recognizer(network_path(options.run, load_config(None))), options.split or "test"
    name = recognizer.name
    if part == "test":
        refuse_unfinished(recognizer.path)
    refuse_closed_test(name, recognizer.config, options.split)
    faces = own_data(recognizer).parts().get(part)
    if faces is None:
        raise UserError(f"{name}: its data have no part '{part}'")
    rows = measure(recognizer, faces)
    path = (options.out or Path(recognizer.config.results_dir)) / f"{name}.{part}.robustness.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, csv_bytes([asdict(row) for row in rows]))
    draw(path)
    for row in rows:
        print(f"{row.corruption:15s} {row.strength}  {row.accuracy:7.2%}  {row.meaning}")
    print(f"\n{path}\n{path.with_suffix('.png')}")


def measure(recognizer: Recognizer, faces: Faces) -> list[Row]:
    """The clean pictures, then each corruption in each strength; one view, so that nothing else helps."""
    images = np.asarray(faces.images)
    rows = [_row("none", 0, "as it is", recognizer, images, faces.labels)]
    for name, (_, values, words) in CORRUPTIONS.items():
        for strength, value in enumerate(values, 1):
            changed = corrupted(images, name, strength)
            rows.append(_row(name, strength, words.format(value), recognizer, changed, faces.labels))
    return rows


def draw(table: Path) -> None:
    """The picture of a table that this program wrote, NAME.PART.robustness.csv, beside it.

    Raises:
        UserError: another table.
    """
    clean, *others = read_table(table, [field.name for field in fields(Row)])
    name, part, _ = table.stem.rsplit(".", 2)
    worst = [row["meaning"] for row in others if int(row["strength"]) == STRENGTHS]
    shares = np.array([float(row["accuracy"]) for row in others]).reshape(-1, STRENGTHS)
    subtitle = f"{part}, {int(clean['images']):,} images, one view"
    title = f"{name} on corrupted pictures"
    figure = robustness_figure(list(CORRUPTIONS), worst, shares, float(clean["accuracy"]), title, subtitle)
    save_figure(figure, table.with_suffix(".png"))


def _row(name: str, strength: int, meaning: str, recognizer: Recognizer, images: np.ndarray, labels: np.ndarray) -> Row:
    found = score(recognizer.probabilities(images, views=1), labels)
    return Row(name, strength, meaning, found.images, found.accuracy, *found.interval, found.balanced_accuracy)


if __name__ == "__main__":
    run_cli(main)
