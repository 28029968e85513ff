"""What an ensemble is worth, and how it could be made: ``python Visualization/gen_study.py [FOLDER]``."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a start as a file, from any folder

import numpy as np
from matplotlib.figure import Figure

from utils.agreement import load_votes
from utils.cli import Parser, run_cli
from utils.config import load_config
from utils.ensemble import load_runs
from utils.errors import UserError
from utils.files import csv_bytes, write_atomically
from utils.labels import TITLES
from utils.metrics import BINS, score
from utils.study import Study, in_order, pair_table, study, study_text, variant_table
from utils.variants import by_number, disagreement, risk_coverage
from Visualization.ensembles import members_figure, pairs_figure, reliability_figure, risk_coverage_figure
from Visualization.saving import save_figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Print and write the tables, and draw.

    Raises:
        UserError: fewer than two runs with both dumps, or dumps that do not belong together.
    """
    parser = Parser("Ways to make an ensemble, fitted on validation and judged on test, and how its members differ.")
    parser.add_argument("folder", type=Path, nargs="?", help="of NAME.val.npz and NAME.test.npz (default: results_dir)")
    parser.add_argument("--votes", type=Path, help="FER+'s votes on the images: results/ferplus/votes.npz")
    parser.add_argument("--out", type=Path, help="folder that is written to (default: the same)")
    options = parser.parse_args(arguments)
    votes = load_votes(options.votes) if options.votes else None
    folder = options.folder or Path(load_config(None).results_dir)
    runs = load_runs(folder)
    if len(runs) < 2:
        raise UserError(f"{folder}: one run; an ensemble has two or more")
    validation, test = zip(*runs.values(), strict=True)
    found = study(validation, test, list(runs))
    dataset = str(test[0].meta.get("dataset"))
    written = write(found, TITLES.get(dataset, dataset), options.out or folder)
    print(study_text(found, votes), *written, sep="\n")


def write(found: Study, dataset: str, folder: Path) -> list[Path]:
    """Two tables and four pictures; returns their paths."""
    tables = {folder / "variants.csv": variant_table(found), folder / "pairs.csv": pair_table(found)}
    for path, rows in tables.items():
        write_atomically(path, csv_bytes(rows))
    pictures = {folder / f"{name}.png": figure for name, figure in figures(found, dataset).items()}
    for path, figure in pictures.items():
        save_figure(figure, path)
    return [*tables, *pictures]


def figures(found: Study, dataset: str) -> dict[str, Figure]:
    """The pictures, by name."""
    members, average = found.members, found.average
    names = _brief(members.names)
    count, images = len(members.names), f"{len(members.targets):,} test images"
    what = f"{dataset}, average of {count} networks"
    before, after = (score(p, members.targets).ece for p in (average, found.calibrated))
    chosen = found.rows[1].variant
    curves = [
        (f"average of all {count}", risk_coverage(average, members.targets)),
        (f"average of all, temperature {found.temperature:.2f}", risk_coverage(found.calibrated, members.targets)),
        (f"average of {len(found.order)}, chosen on validation", risk_coverage(chosen.test, members.targets)),
        (names[found.best], risk_coverage(members.test[found.best], members.targets)),
    ]
    ranked = np.argsort(-found.hits.mean(1), kind="stable")
    return {
        "members": members_figure(
            by_number(members.test, members.targets), in_order(found), f"{dataset}: what members add", images
        ),
        "pairs": pairs_figure(
            [f"{names[i]}: {found.hits[i].mean():.1%}" for i in ranked],
            _adjusted(found)[np.ix_(ranked, ranked)],
            disagreement(members.test[ranked].argmax(2)),
            f"{dataset}: members in pairs",
            f"{images}, members in the order of their accuracy on them; p-values adjusted for their number (Holm)",
        ),
        "reliability": reliability_figure(
            average,
            found.calibrated,
            members.targets,
            (f"as averaged: ECE {before:.3f}", f"temperature {found.temperature:.2f}: ECE {after:.3f}"),
            f"{what}: does it mean what it says?",
            f"{images} in {BINS} bins of confidence; the temperature was fitted on validation",
        ),
        "risk_coverage": risk_coverage_figure(
            curves, f"{dataset}: error of what may abstain", f"{images}, the most confident first"
        ),
    }


def _adjusted(found: Study) -> np.ndarray:
    """float64 [M, M]: McNemar's p of each two members, adjusted for the number of pairs; 1 on the diagonal."""
    place = {name: number for number, name in enumerate(found.members.names)}
    p_values = np.ones((len(place), len(place)))
    for row in pair_table(found):
        first, second = place[row["first"]], place[row["second"]]
        p_values[first, second] = p_values[second, first] = row["holm_p"]
    return p_values


def _brief(runs: Sequence[str]) -> list[str]:
    """The runs' names without date and time, but for those that would be called alike."""
    cut = [re.sub(r"_20\d{6}_\d{6}$", "", run) for run in runs]
    return [run if cut.count(short) > 1 else short for run, short in zip(runs, cut, strict=True)]


if __name__ == "__main__":
    run_cli(main)
