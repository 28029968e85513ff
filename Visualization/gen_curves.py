"""Draw the trainings of runs, or their metrics.csv, in one picture: ``python Visualization/gen_curves.py RUN ...``."""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a start as a file, from any folder

from utils.card import read_table
from utils.checkpoint import load_checkpoint
from utils.cli import Parser, run_cli
from utils.config import Config, load_config
from utils.errors import UserError
from utils.labels import TITLES
from utils.runs import find_run, list_runs
from Visualization.curves import MOST_RUNS, Training, several_curves_figure
from Visualization.saving import save_figure

COLUMNS = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, then draw one figure.

    Raises:
        UserError: no runs, too many, or one that has folds or has not come to the end of an epoch.
        MachineError: the figure cannot be written.
    """
    parser = Parser("Draw how accuracy and loss of several runs went, on training and on validation.")
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help=f"run, fold, or metrics.csv (default: the newest {MOST_RUNS})"
    )
    parser.add_argument("--config", help="settings file that says where runs lie")
    parser.add_argument("--out", type=Path, metavar="FILE", help="PNG or PDF (default: curves.png among the logs)")
    options = parser.parse_args(arguments)
    config = load_config(options.config)
    names = options.runs or _newest(config)
    if len(names) > MOST_RUNS:
        raise UserError(f"command line: {len(names)} runs; up to {MOST_RUNS} stay apart in one picture")
    runs, datasets = zip(*(_training(name, config) for name in names), strict=True)
    file = options.out or Path(config.log_dir) / "curves.png"
    draw(runs, ", ".join(dict.fromkeys(datasets)) if all(datasets) else "", file)
    print(file)


def draw(runs: Sequence[Training], on: str, file: Path) -> None:
    """Draw ``runs`` into ``file``; ``on`` names their data, or is empty where nobody knows.

    Raises:
        MachineError: the figure cannot be written.
    """
    title = f"Training on {on}" if on else "Training"
    what = f"{len(runs)} run{'s' * (len(runs) > 1)}; validation with one view, at the size that training ends with"
    save_figure(several_curves_figure(runs, title, what), file)


def training_of(path: Path) -> Training:
    """The training whose ``metrics.csv``, which every run leaves among its logs, is ``path``.

    Raises:
        UserError: no such file, another table, no epoch in it, or words where numbers belong.
    """
    table = read_table(path, COLUMNS)
    try:
        history = [{name: float(row[name]) for name in COLUMNS} for row in table]
    except (TypeError, ValueError):
        raise UserError(f"{path}: expected numbers, one row an epoch") from None
    if not history:
        raise UserError(f"{path}: has no epochs")
    inside = path.name == "metrics.csv"
    name = path.resolve().parent.name if inside else path.name.removesuffix(".csv").removesuffix(".metrics")
    return Training(name, history)


def _newest(config: Config) -> list[str]:
    """The newest runs that are not runs of folds, oldest first."""
    names = [name for name in list_runs(config) if not find_run(name, config).settings.is_file()]
    if not names:
        raise UserError(f"{config.checkpoint_dir}: no runs; train one first: python main_fer.py, or make train")
    return names[-MOST_RUNS:]


def _training(name: str, config: Config) -> tuple[Training, str]:
    """What is drawn of a run, from its newest checkpoint or its table, and what it was trained on ('' if unknown)."""
    if name.endswith(".csv"):
        return training_of(Path(name)), ""
    files = find_run(name, config)
    if files.settings.is_file():
        raise UserError(f"{files.checkpoints}: has folds; name the folder of one, such as {files.fold(1).checkpoints}")
    checkpoint = load_checkpoint(files.last)
    history = checkpoint.progress.get("history")
    if not history:
        raise UserError(f"{files.last}: has not come to the end of an epoch, so there are no curves")
    return Training(checkpoint.run, history, checkpoint.config.select_by), TITLES[checkpoint.config.dataset]


if __name__ == "__main__":
    run_cli(main)
