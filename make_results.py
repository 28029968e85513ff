"""Every number and table of the README, from the committed dumps: python make_results.py."""

import json
from pathlib import Path

from benchmarks.cases import TITLES as CASES
from benchmarks.points import read_points, record_text
from benchmarks.table import read_rows, speed_text
from utils.cli import Parser, run_cli
from utils.ensemble import load_runs
from utils.errors import UserError
from utils.files import read_small_text, write_atomically
from utils.labels import TITLES
from utils.markdown import Runs, best_average, inflations, results_text
from utils.pooling import spread, spread_text
from utils.report import confusion
from utils.splits.protocols import caution
from Visualization.figures import confusion_matrix_figure
from Visualization.people import inflation_figure, person_accuracy_figure
from Visualization.saving import save_figure

ROOT = Path(__file__).resolve().parent
BENCH, RECORD = "bench", "record"  # under results/, and no data sets
BEGIN, END = "<!-- begin generated: {} -->", "<!-- end generated: {} -->"


def main() -> None:
    """Rewrite the generated parts of README.md and the files beside the dumps; ``--check`` only compares."""
    parser = Parser("Every number and table of the README, from the committed dumps.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 2 where the README differs")
    arguments = parser.parse_args()
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    new = text
    for folder in sorted(path for path in (ROOT / "results").glob("*") if path.name not in (BENCH, RECORD)):
        name, runs = folder.name, load_runs(folder)
        new = replaced(new, name, results_text(runs, f"results/{name}", ROOT / "configs"))
        if not arguments.check:
            draw(runs, folder)
    new = replaced(new, BENCH, measured_speed(ROOT / "results" / BENCH / "cpu.csv"))
    points = read_points(ROOT / "results" / BENCH / "time_to_accuracy.csv")
    new = replaced(new, RECORD, record_text(points, load_runs(ROOT / "results" / RECORD)))
    if arguments.check and new != text:
        raise UserError("README.md: differs from the committed dumps; run 'make results'")
    if not arguments.check:
        write_atomically(readme, new.encode())
        print(f"{readme.name}: written")


def measured_speed(table: Path) -> str:
    """The block of the README that `make bench` fills."""
    if not table.exists():
        return "Not measured yet."
    facts = json.loads(read_small_text(table.with_suffix(".json"), most=2**16))
    return speed_text(read_rows(table), facts, CASES)


def replaced(text: str, name: str, block: str) -> str:
    """``text`` with what stands between the marks of ``name`` replaced by ``block``.

    Raises:
        UserError: the marks are not there.
    """
    begin, end = BEGIN.format(name), END.format(name)
    if text.count(begin) != 1 or text.count(end) != 1:
        raise UserError(f"README.md: expected '{begin}' and '{end}', each once")
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{block}\n{end}{tail}"


def draw(runs: Runs, folder: Path) -> None:
    """Of the average (or the only run) the confusion matrix on the test part; and, where people are known, each person
    and what knowing them beforehand is worth."""
    what, test = best_average(runs)
    title = f"{TITLES[test.meta['dataset']]}, {test.meta['split']}: {what}"
    matrix, subtitle = confusion(test)
    save_figure(confusion_matrix_figure(matrix, test.classes, title, subtitle), folder / "confusion_matrix.png")
    found = spread(test)
    if found.persons:
        words = "; ".join(filter(None, (spread_text(found), caution(test.meta["protocol"]))))
        save_figure(person_accuracy_figure(found.persons, title, words), folder / "persons.png")
    if rows := inflations(runs):
        save_figure(inflation_figure(rows, TITLES[test.meta["dataset"]]), folder / "inflation.png")


if __name__ == "__main__":
    run_cli(main)
