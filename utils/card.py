"""The figures of a model card, from committed dumps and tables, as Markdown."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from utils.calibration import at_temperature
from utils.errors import UserError
from utils.files import read_small_text
from utils.metrics import Scores, confusion_matrix, score, wilson
from utils.predictions import Predictions
from utils.report import judge

Row = Mapping[str, str]


def read_table(path: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a CSV table that has ``columns``.

    Raises:
        UserError: no such file, or another table.
    """
    reader = csv.DictReader(io.StringIO(read_small_text(path, most=2**20)))
    if not set(columns) <= set(reader.fieldnames or ()):
        raise UserError(f"{path}: expected a table with the columns {', '.join(columns)}")
    return list(reader)


def card_text(
    validation: Predictions,
    test: Predictions,
    name: str,
    robustness: Sequence[Row],
    others: Sequence[tuple[str, Predictions]],
    temperature: float,
) -> str:
    """The tables of a card.

    Args:
        validation, test: dumps of the network that is shipped.
        name: what it is called.
        robustness: what `Visualization/gen_robustness.py` writes.
        others: the dumps, for the same test images, of networks that it is held against, by what they are called.
        temperature: what the logits of the dumps have been divided by already.
    """
    return "\n\n".join(
        "\n".join(lines)
        for lines in (
            _accuracy_lines(validation, test),
            _calibration_lines(test, temperature),
            _recall_lines(test),
            _robustness_lines(robustness),
            _beside_lines(test, name, others),
        )
    )


def speed_table(rows: Sequence[Row]) -> str:
    """What `benchmarks.small_networks` has measured, a row a network and arithmetic, as Markdown."""
    lines = [
        f"| one view, one core, {rows[0]['processor']} | arithmetic | accuracy on test | balanced "
        "| faces/s (in batches of) | one face | parameters | file |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        shares = " | ".join(f"{float(row[key]):.2%}" for key in ("accuracy", "balanced_accuracy"))
        fast, slow = f"{float(row['faces_per_second']):,.0f} ({row['batch']})", f"{float(row['milliseconds']):.1f} ms"
        size = f"{int(row['parameters']):,} | {float(row['megabytes']):.1f} MB"
        lines.append(f"| {row['name']} | {row['precision']} | {shares} | {fast} | {slow} | {size} |")
    return "\n".join(lines)


def before_and_after(test: Predictions, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """float64 [N, C] twice: probabilities of the clean view as they were before ``temperature``, and as they are."""
    after = test.probabilities(1)
    return at_temperature(after, 1 / temperature), after


def _accuracy_lines(validation: Predictions, test: Predictions) -> list[str]:
    head = "| part | views | images | accuracy | 95 % interval | balanced | macro F1 | ECE | log loss |"
    lines = [head, "|---|---|---|---|---|---|---|---|---|"]
    for name, dump in (("validation", validation), ("test", test)):
        for key, s in judge(dump).items():
            views = str(len(dump.logits)) if key.startswith("views") else "1"
            part = f"{name}, without copies of training images" if key.endswith("no copies") else name
            lines.append(f"| {part} | {views} | {s.images:,} | {_figures(s)} | {s.loss:.3f} |")
    return lines


def _calibration_lines(test: Predictions, temperature: float) -> list[str]:
    before, after = (score(p, test.targets) for p in before_and_after(test, temperature))
    return [
        f"The temperature, {temperature:.3f}, was fitted on validation with one view: on test it brings the ECE from "
        f"{before.ece:.3f} to {after.ece:.3f} and the log loss from {before.loss:.3f} to {after.loss:.3f}."
    ]


def _recall_lines(test: Predictions) -> list[str]:
    matrix = confusion_matrix(test.probabilities(1).argmax(1), test.targets, len(test.classes))
    lines = ["| class (test, one view) | images | recall | 95 % interval |", "|---|---|---|---|"]
    for index, name in enumerate(test.classes):
        right, images = int(matrix[index, index]), int(matrix[index].sum())
        low, high = wilson(right, images)
        lines.append(f"| {name} | {images} | {right / images:.1%} | {low:.1%}–{high:.1%} |")
    return lines


def _robustness_lines(rows: Sequence[Row]) -> list[str]:
    strengths = sorted({int(row["strength"]) for row in rows} - {0})
    (clean,) = (float(row["accuracy"]) for row in rows if row["strength"] == "0")
    lines = [
        f"| accuracy on test (one view; as it is {clean:.1%}) | " + " | ".join(map(str, strengths)) + " |",
        "|---|" + "---|" * len(strengths),
    ]
    for name in dict.fromkeys(row["corruption"] for row in rows if row["strength"] != "0"):
        cells = {int(row["strength"]): row for row in rows if row["corruption"] == name}
        told = " | ".join(f"{float(cells[s]['accuracy']):.1%}" for s in strengths)
        lines.append(f"| {name}: {in_one([cells[s]['meaning'] for s in strengths])} | {told} |")
    return lines


def in_one(meanings: Sequence[str]) -> str:
    """Phrases that differ by one number, as one phrase: "5% of it" and "10% of it" are "5 / 10% of it"."""
    parts = [re.split(r"(\d+(?:\.\d+)?)", meaning) for meaning in meanings]
    if any(len(part) == 1 for part in parts) or len({(part[0], *part[2:]) for part in parts}) > 1:
        return "; ".join(meanings)
    return parts[0][0] + " / ".join(part[1] for part in parts) + "".join(parts[0][2:])


def _beside_lines(test: Predictions, name: str, others: Sequence[tuple[str, Predictions]]) -> list[str]:
    lines = [
        "| on the same test images, one view | accuracy | 95 % interval | balanced | macro F1 | ECE |",
        "|---|---|---|---|---|---|",
    ]
    for called, dump in ((f"**{name}**", test), *others):
        lines.append(f"| {called} | {_figures(judge(dump)['clean'])} |")
    return lines


def _figures(s: Scores) -> str:
    low, high = s.interval
    return (
        f"{s.accuracy:.2%} | {100 * low:.2f}–{100 * high:.2f} % | {s.balanced_accuracy:.2%} | {s.macro_f1:.3f} "
        f"| {s.ece:.3f}"
    )
