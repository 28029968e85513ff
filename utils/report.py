"""The figures of a set of predictions as a person reads them, and as a file keeps them."""

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

import numpy as np

from utils.metrics import Scores, confusion_matrix, score
from utils.pooling import spread
from utils.predictions import Predictions
from utils.splits.protocols import caution


def without_copies(predictions: Predictions) -> Predictions:
    """The predictions for images that have no exact copy in the training part."""
    copies = set(predictions.meta.get("copies_in_train") or ())
    return predictions.part(np.array([identity not in copies for identity in predictions.ids]))


def judge(predictions: Predictions) -> dict[str, Scores]:
    """Scores of the clean view, of all views, and of both without the images that have a copy in train.

    Keys: ``clean``, ``views``, ``clean, no copies``, ``views, no copies``; those that would say the same as an
    earlier one, or would have no images, are left out.
    """
    return {
        name: score(variant.probabilities(views), variant.targets)
        for name, (variant, views) in _variants(predictions).items()
    }


def over_persons(predictions: Predictions) -> dict[str, tuple[float, float]]:
    """The interval over persons for each key of `judge`; empty where persons are not known."""
    found = {name: spread(variant, views).interval for name, (variant, views) in _variants(predictions).items()}
    return {name: interval for name, interval in found.items() if interval}


def _variants(predictions: Predictions) -> dict[str, tuple[Predictions, int]]:
    """(images, views) behind each key of `judge`."""
    variants = {"": predictions}
    if predictions.meta.get("copies_in_train") and (rest := without_copies(predictions)).ids:
        variants[", no copies"] = rest
    views = {"clean": 1} | ({"views": len(predictions.logits)} if len(predictions.logits) > 1 else {})
    return {name + suffix: (variant, n) for suffix, variant in variants.items() for name, n in views.items()}


def confusion(predictions: Predictions, views: int | None = None) -> tuple[np.ndarray, str]:
    """The confusion matrix, int64 [C, C], over the first ``views`` views (all by default), and a line on it."""
    probabilities = predictions.probabilities(views)
    matrix = confusion_matrix(probabilities.argmax(1), predictions.targets, len(predictions.classes))
    scores, count = score(probabilities, predictions.targets), views or len(predictions.logits)
    found = spread(predictions, views)
    low, high = found.interval or scores.interval
    drawn = f" over {len(found.persons)} persons" if found.interval else ""
    counted = f"{scores.images:,} image{'s' * (scores.images != 1)}"
    if "members" not in predictions.meta:  # the views of an average are its members' own
        counted += f", {count} view{'s' * (count != 1)}"
    if words := caution(predictions.meta.get("protocol")):
        counted += f"; {words}"
    return matrix, f"accuracy {scores.accuracy:.2%} (95% interval{drawn} {100 * low:.2f}–{100 * high:.2f}%), {counted}"


def scores_table(
    judged: dict[str, Scores],
    classes: tuple[str, ...],
    views: int,
    persons: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> str:
    """A table of a few lines for the terminal: one row for each of `judge`'s keys, then recall by class.

    Args:
        judged: what `judge` gives; ``views``: how many there are.
        classes: their names.
        persons: what `over_persons` gives; where there is any, these intervals are shown instead of Wilson's.
    """
    named = "95 % over persons" if persons else "95 % interval  "
    lines = [f"{'':24s}{'images':>7s}{'accuracy':>10s}  {named}{'balanced':>9s}{'F1':>7s}{'ECE':>7s}"]
    for name, s in judged.items():
        label = name.replace("views", f"{views} views")
        low, high = persons.get(name, s.interval)
        interval = f"{low:6.2%}-{high:6.2%}" if not persons or name in persons else "of one person"
        lines.append(
            f"{label:24s}{s.images:7d}{s.accuracy:10.2%}  {interval:{len(named)}s}{s.balanced_accuracy:9.2%}"
            f"{s.macro_f1:7.3f}{s.ece:7.3f}"
        )
    best = judged.get("views", judged["clean"])
    lines.append(
        "recall  " + "  ".join(f"{name} {share(value)}" for name, value in zip(classes, best.recall, strict=True))
    )
    return "\n".join(lines)


def share(value: float) -> str:
    """A recall as a person reads it; of a class without images there is none."""
    return "–" if np.isnan(value) else f"{value:.1%}"


def as_json(judged: dict[str, Scores]) -> dict[str, Any]:
    """The same figures as plain JSON types; the recall of a class without images is null."""
    table = {name: asdict(scores) for name, scores in judged.items()}
    for row in table.values():
        row["recall"] = [None if np.isnan(value) else value for value in row["recall"]]
        row["interval"] = list(row["interval"])
    return table
