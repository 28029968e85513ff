"""Draw the confusion matrix of dumps of predictions: ``python Visualization/gen_confusion_matrix.py``."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a start as a file, from any folder

import matplotlib

from utils.cli import Parser, run_cli
from utils.errors import MachineError, UserError
from utils.predictions import Predictions, load_predictions
from utils.report import confusion
from Visualization.figures import confusion_matrix_figure
from Visualization.saving import save_figure

_TEX_PROGRAMS = ("latex", "dvipng")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, then draw one figure for each dump.

    Raises:
        UserError: a wrong option, no dump, or a dump that cannot be used.
        MachineError: no TeX, or the figures cannot be written.
    """
    options = _parser().parse_args(arguments)
    if options.usetex:
        _require_tex()
    kinds = ("png", "pdf") if options.format == "both" else (options.format,)
    for dump in find_dumps(options.dumps or [Path("saved/results")]):
        files = [options.out / f"{dump.stem}.{kind}" for kind in kinds]
        draw(dump, files, views=options.views, usetex=options.usetex)
        print(*files, sep="\n")


def draw(dump: Path, files: Sequence[Path], *, views: int | None = None, usetex: bool = False) -> None:
    """Draw the confusion matrix of one dump into each of ``files``.

    Args:
        dump: what `utils.predictions.save_predictions` wrote.
        files: PNG or PDF, by their suffixes.
        views: average the first so many test-time views; all by default.
        usetex: set the text with TeX.

    Raises:
        UserError: the dump cannot be used, or has fewer views.
        MachineError: TeX failed, or a file cannot be written.
    """
    predictions = load_predictions(dump)
    available = len(predictions.logits)
    if views is not None and not 1 <= views <= available:
        raise UserError(f"{dump}: --views must be 1 to {available}, the views in this dump; got {views}")
    matrix, subtitle = confusion(predictions, views)
    with matplotlib.rc_context({"text.usetex": usetex}):
        figure = confusion_matrix_figure(matrix, predictions.classes, title_of(predictions, dump), subtitle)
        for file in files:
            try:
                save_figure(figure, file)
            except RuntimeError as error:  # how matplotlib reports a failure of TeX
                if not usetex:
                    raise
                raise MachineError(f"{file}: TeX failed ({str(error).strip().splitlines()[0]})") from None


def find_dumps(places: Sequence[Path]) -> list[Path]:
    """The dumps named, and those in the folders named; no two that would be drawn into one file."""
    dumps: dict[str, Path] = {}
    for place in places:
        found = sorted(place.glob("*.npz")) if place.is_dir() else [place]
        if not found:
            raise UserError(f"{place}: no dump (*.npz) here; gen_results.py writes them")
        for dump in found:
            other = dumps.setdefault(dump.stem, dump)
            if other.resolve() != dump.resolve():
                raise UserError(f"{dump}: its figure would have the name of that of {other}; rename one")
    return list(dumps.values())


def title_of(predictions: Predictions, dump: Path) -> str:
    """The run and the part of the data, as far as the dump knows them."""
    run, split = (predictions.meta.get(key) for key in ("run", "split"))
    return f"{run or dump.stem}, {split}" if split else str(run or dump.stem)


def _parser() -> Parser:
    parser = Parser("Draw the confusion matrix of dumps of predictions.")
    parser.add_argument(
        "dumps",
        nargs="*",
        type=Path,
        metavar="DUMP.npz",
        help="dumps, or folders of them; default: saved/results",
    )
    parser.add_argument("--out", type=Path, default=Path("saved/confusion_matrices"), help="folder to write into")
    parser.add_argument("--format", choices=("png", "pdf", "both"), default="both", help="default: both")
    parser.add_argument("--views", type=int, help="average only the first so many test-time views; default: all")
    parser.add_argument("--usetex", action="store_true", help="set the text with TeX, which must be installed")
    return parser


def _require_tex() -> None:
    missing = [program for program in _TEX_PROGRAMS if shutil.which(program) is None]
    if missing:
        raise MachineError(f"--usetex: no {' and no '.join(missing)} on this machine; install TeX or leave it out")


if __name__ == "__main__":
    run_cli(main)
