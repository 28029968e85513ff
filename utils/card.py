"""The figures of a model card, from committed dumps and tables, as Markdown."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from utils.errors import UserError
from utils.files import read_small_text
from utils.metrics import Scores, confusion_matrix, wilson
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
    robustness: Sequence[Row],
    others: Sequence[tuple[str, Predictions]],
    speeds: Sequence[Row],
) -> str:
    """The tables of a card.

    Args:
        validation, test: dumps of the network that is shipped.
        robustness: what `Visualization/gen_robustness.py` writes.
        others: the dumps, for the same test images, of networks that it is held against, by what they are called.
        speeds: what `benchmarks.small_networks` writes.
    """
    return "\n\n".join(
        "\n".join(lines)
        for lines in (
            _accuracy_lines(validation, test),
            _recall_lines(test),
            _robustness_lines(robustness),
            _beside_lines(test, others),
            _speed_lines(speeds),
        )
    )


def _accuracy_lines(validation: Predictions, test: Predictions) -> list[str]:
    head = "| part | views | images | accuracy | 95 % interval | balanced | macro F1 | ECE | log loss |"
    lines = [head, "|---|---|---|---|---|---|---|---|---|"]
    for name, dump in (("validation", validation), ("test", test)):
        for key, s in judge(dump).items():
            views = str(len(dump.logits)) if key.startswith("views") else "1"
            part = f"{name}, without copies of training images" if key.endswith("no copies") else name
            lines.append(f"| {part} | {views} | {s.images:,} | {_figures(s)} | {s.loss:.3f} |")
    return lines


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
        lines.append(f"| {name}: {cells[strengths[0]]['meaning']} to {cells[strengths[-1]]['meaning']} | {told} |")
    return lines


def _beside_lines(test: Predictions, others: Sequence[tuple[str, Predictions]]) -> list[str]:
    lines = [
        "| on the same test images, one view | accuracy | 95 % interval | balanced | macro F1 | ECE |",
        "|---|---|---|---|---|---|",
    ]
    for name, dump in ((f"**{test.meta['arch']}**", test), *others):
        lines.append(f"| {name} | {_figures(judge(dump)['clean'])} |")
    return lines


def _speed_lines(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| on one core | arithmetic | parameters | file | faces/s, batches of 256 | one face |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (f"{int(row['parameters']):,}", f"{float(row['megabytes']):.1f} MB")
        fast, slow = f"{float(row['faces_per_second']):,.0f}", f"{float(row['milliseconds']):.1f} ms"
        lines.append(f"| {row['name']} | {row['precision']} | {' | '.join(cells)} | {fast} | {slow} |")
    return lines


def _figures(s: Scores) -> str:
    low, high = s.interval
    return (
        f"{s.accuracy:.2%} | {100 * low:.2f}–{100 * high:.2f} % | {s.balanced_accuracy:.2%} | {s.macro_f1:.3f} "
        f"| {s.ece:.3f}"
    )
