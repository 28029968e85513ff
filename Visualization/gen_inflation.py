"""Draw what knowing the people is worth: ``python Visualization/gen_inflation.py APART.npz MIXED.npz [...]``."""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a start as a file, from any folder

from utils.cli import Parser, run_cli
from utils.errors import UserError
from utils.inflation import inflation, inflation_text
from utils.labels import TITLES
from utils.predictions import load_predictions
from Visualization.people import inflation_figure
from Visualization.saving import save_figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Read pairs of dumps, print each comparison and draw all of them into one figure.

    Raises:
        UserError: dumps that do not come in pairs, or do not belong together.
    """
    parser = Parser("Accuracy with other people in train and test against accuracy with the same people in both.")
    parser.add_argument(
        "dumps",
        nargs="+",
        type=Path,
        metavar="DUMP.npz",
        help="pairs: first the dump of loso or kfold, then that of random, both of one data set",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("saved/confusion_matrices/inflation.png"), help="what is drawn"
    )
    options = parser.parse_args(arguments)
    if len(options.dumps) % 2:
        raise UserError(f"{len(options.dumps)} dumps; expected pairs: one of loso or kfold, then one of random")
    dumps = [load_predictions(path) for path in options.dumps]
    rows = [inflation(*pair) for pair in zip(dumps[::2], dumps[1::2], strict=True)]
    if any(sorted(dump.ids) != sorted(dumps[0].ids) for dump in dumps):
        raise UserError("dumps of different images do not fit into one figure; draw one for each data set")
    print("\n".join(map(inflation_text, rows)))
    dataset = str(dumps[0].meta.get("dataset"))
    save_figure(inflation_figure(rows, TITLES.get(dataset, dataset)), options.out)
    print(options.out)


if __name__ == "__main__":
    run_cli(main)
