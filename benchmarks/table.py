"""From measured rounds to rows: best, median, the ratio to ours, what was to be reached; and rows to files."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median

from benchmarks.records import write_records
from utils.errors import UserError
from utils.files import read_small_text

MAY_MOVE = 0.10  # of the matmul peak between before and after; beyond, the machine was not the same
USERS, EQUAL = "as its users run it", "equal settings"
PEERS = ("plain", "lightning", "timm")


@dataclass(frozen=True)
class Target:
    """What is to be reached: at least or at most ``bound``, by the ratio to a peer or by our own figure."""

    bound: float
    at_least: bool = True

    def reached(self, value: float) -> bool:
        """Whether ``value`` is good enough."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.bound:,g}"


@dataclass(frozen=True)
class State:
    """Of the machine at one moment: the load over the last minute, and the matmul rate in GFLOP/s."""

    load: float
    peak: float


@dataclass(frozen=True)
class Row:
    """One line of the CSV file; ``ratio`` is above 1 where ours is the better one, "" where there is no peer."""

    case: str
    peer: str
    settings: str
    unit: str
    best: float | str
    median: float | str
    ratio: float | str = ""
    target: str = ""
    reached: str = ""
    rounds: int = 0
    warm_up: int | str = ""
    precision: str = ""
    channels_last: str = ""
    batch: int | str = ""
    threads: int | str = ""
    peak_memory_gb: float | str = ""
    load_before: float | str = ""
    load_after: float | str = ""
    peak_before: float | str = ""
    peak_after: float | str = ""
    void: str = ""
    note: str = ""


def moved(before: State, after: State) -> bool:
    """Whether the machine changed so much in between that its figures are void."""
    return abs(after.peak - before.peak) > MAY_MOVE * before.peak


def of_another_job(row: Row) -> Row:
    """``row`` of a peer whose losses are not ours: its ratio compares two jobs, so it is void and reaches nothing."""
    return replace(row, void="void", reached=row.reached and "no", note=f"not the same job {row.note}".rstrip())


def higher_is_better(unit: str) -> bool:
    """Rates are better when high; seconds, gigabytes and shares when low."""
    return "/s" in unit


def best(values: Sequence[float], unit: str) -> float:
    """The best of ``values``."""
    return max(values) if higher_is_better(unit) else min(values)


def ratio(ours: Sequence[float], peer: Sequence[float], unit: str) -> float:
    """How many times as good ours is: the median over the rounds, each compared with its neighbour in time."""
    pairs = zip(ours, peer, strict=False)
    return median(a / b if higher_is_better(unit) else b / a for a, b in pairs)


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write the CSV file, atomically; called after every case, so that what is measured is not lost."""
    write_records(rows, path, ".5g")


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file as texts.

    Raises:
        UserError: it is not one of ours.
    """
    reader = csv.DictReader(io.StringIO(read_small_text(path, most=2**20)))
    if reader.fieldnames != [f.name for f in fields(Row)]:
        raise UserError(f"{path}: not a table of `python -m benchmarks`")
    return list(reader)


def figure(value: str | float, unit: str) -> str:
    """A measured value as a person reads it."""
    if value == "":
        return "–"
    number = float(value)
    digits = 0 if number >= 100 else 1 if number >= 10 else 2
    return f"{number:,.{digits}f} {unit}"


def speed_text(rows: Sequence[Mapping[str, str]], facts: Mapping[str, str], titles: Mapping[str, str]) -> str:
    """The section, as Markdown: ours, and how many times as good it is as each peer; then what was to be reached.
    A void row neither reaches nor misses anything.

    Args:
        rows: of the CSV file.
        facts: what `benchmarks.__main__` wrote beside it.
        titles: of the cases.
    """
    lines = [f"{facts['summary']} Each figure is the median of {facts['rounds']} rounds.", ""]
    peers = [peer for peer in PEERS if any(row["peer"] == peer and row["ratio"] for row in rows)]
    lines += ["| | ours | " + " | ".join(peers) + " |", "|---" * (len(peers) + 2) + "|"]
    for case in dict.fromkeys(row["case"] for row in rows):
        mine = [row for row in rows if row["case"] == case]
        beside_peers = any(row["ratio"] and row["peer"] in PEERS for row in mine)
        if beside_peers or not any(row["target"] for row in mine):
            own = next((row for row in mine if row["peer"] == "ours"), None)
            cells = [titles.get(case, case), "–" if own is None else figure(own["median"], own["unit"])]
            cells += [_ratios(mine, peer) for peer in peers]
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| to be reached | | measured | |", "|---|---|---|---|"]
    for row in rows:
        if row["target"]:
            by_ratio = row["peer"] != "ours"
            value = figure(row["ratio"], "times") if by_ratio else figure(row["median"], row["unit"])
            what = titles.get(row["case"], row["case"])
            what += f", beside {row['peer']} ({row['settings']})" if by_ratio else ""
            unit = "times" if by_ratio else row["unit"]
            verdict = row["reached"] and ("void" if row["void"] else row["reached"])
            lines.append(f"| {what} | {row['target']} {unit} | {value} | {verdict} |")
    return "\n".join(lines)


def _ratios(rows: Sequence[Mapping[str, str]], peer: str) -> str:
    """Ours beside one peer: a number for each of its settings, a dash where it was not measured."""
    found = [row for row in rows if row["peer"] == peer and row["ratio"]]
    texts = [f"{_short(row)}{float(row['ratio']):.2f}{' (void)' if row['void'] else ''}" for row in found]
    return ", ".join(texts) or "–"


def _short(row: Mapping[str, str]) -> str:
    return {USERS: "", EQUAL: "equal "}.get(row["settings"], f"{row['settings'].partition(',')[0]} ")
