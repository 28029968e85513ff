"""Where trainings stood when: the table of `benchmarks.time_to_accuracy`, and the one of docs/speed.md made from it."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean, stdev

from utils.errors import UserError
from utils.files import read_small_text, write_atomically
from utils.markdown import Runs, all_views
from utils.report import judge


@dataclass(frozen=True)
class Point:
    """Where one training stood after an epoch: the share of validation images that were right, each seen once."""

    program: str
    run: str
    seed: int
    threads: int
    epoch: int
    seconds: float
    accuracy: float


@dataclass(frozen=True)
class Aim:
    """What a recipe is to reach on the validation part, on the mean of its seeds, and how fast."""

    share: float
    minutes: float


AIMS = {"ours, 8min": Aim(0.65, 8), "ours, 30min": Aim(0.685, 30)}


def read_points(path: Path) -> list[Point]:
    """The table, empty where there is none.

    Raises:
        UserError: it is not one of ours.
    """
    if not path.is_file():
        return []
    reader = csv.DictReader(io.StringIO(read_small_text(path, most=2**22)))
    if reader.fieldnames != [field.name for field in fields(Point)]:
        raise UserError(f"{path}: not a table of `python -m benchmarks.time_to_accuracy`")
    kinds = {"seed": int, "threads": int, "epoch": int, "seconds": float, "accuracy": float}
    return [Point(**{key: kinds.get(key, str)(value) for key, value in row.items()}) for row in reader]


def write_points(points: Iterable[Point], path: Path) -> None:
    """The table, one row an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Point)], lineterminator="\n")
    writer.writeheader()
    for point in points:
        writer.writerow(asdict(point) | {"seconds": f"{point.seconds:.1f}", "accuracy": f"{point.accuracy:.5f}"})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue().encode())


def record_text(points: Sequence[Point], runs: Runs) -> str:
    """The table, as Markdown: how far each program came, in what time; and what was to be reached.

    Args:
        points: of the table.
        runs: (validation, test) dumps of those of our runs that have any, by name.
    """
    lines = [
        "| program | processor | seeds | minutes, at most | PublicTest, clean | PublicTest | PrivateTest "
        "| to be reached | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for program in dict.fromkeys(point.program for point in points):
        lines.append("| " + " | ".join(_cells(program, points, runs)) + " |")
    return "\n".join(lines)


def _cells(program: str, points: Sequence[Point], runs: Runs) -> list[str]:
    names = list(dict.fromkeys(point.run for point in points if point.program == program))
    own = {name: [point for point in points if point.run == name] for name in names}
    minutes = max(point.seconds for some in own.values() for point in some) / 60
    clean = [max(point.accuracy for point in some) for some in own.values()]
    dumps = [runs[name] for name in names if name in runs]
    validation, test = ([all_views(judge(pair[part])).accuracy for pair in dumps] for part in (0, 1))
    processors = {pair[0].meta["environment"]["processor"] for pair in dumps}
    cells = [program, ", ".join(sorted(processors)) or "–", str(len(names)), f"{minutes:.1f}"]
    cells += [_spread(clean), _spread(validation), _spread(test)]
    aim = AIMS.get(program)
    if aim is None or not validation:
        return [*cells, "", ""]
    reached = minutes <= aim.minutes and mean(validation) >= aim.share
    return [*cells, f"{aim.share:.1%} in {aim.minutes:g} minutes", "yes" if reached else "no"]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return f"{mean(values):.2%}" + (f" ± {100 * stdev(values):.2f}" if len(values) > 1 else "")
