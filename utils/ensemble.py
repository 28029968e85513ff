"""Ensembles from dumps: which members, and what each of them and their average is worth."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import UserError
from utils.metrics import mcnemar, score
from utils.pooling import spread
from utils.predictions import Predictions, combine, load_predictions
from utils.report import judge, without_copies

ENSEMBLE = "ensemble"


def greedy(validation: Sequence[Predictions], names: Sequence[str]) -> list[int]:
    """Choose members one by one, each the one that raises validation accuracy most, while it rises.

    Args:
        validation: predictions of all candidates for the validation part (any order of images).
        names: what to call them in messages.

    Returns:
        Indices of the chosen members, in the order of choice. (Caruana et al., ICML 2004, without repeats.)
    """
    targets = validation[0].targets
    combine(validation, names)  # refuses what does not belong together
    probabilities = [in_order_of(validation[0].ids, member).probabilities() for member in validation]
    chosen: list[int] = []
    total, best = np.zeros_like(probabilities[0]), -1.0
    while len(chosen) < len(validation):
        left = [index for index in range(len(validation)) if index not in chosen]
        accuracy = {i: float(np.mean((total + probabilities[i]).argmax(1) == targets)) for i in left}
        winner = max(left, key=lambda i: accuracy[i])
        if accuracy[winner] <= best:
            break
        best = accuracy[winner]
        chosen.append(winner)
        total += probabilities[winner]
    return chosen


def table(members: Sequence[Predictions], names: Sequence[str], ensemble: Predictions) -> list[dict[str, Any]]:
    """One row for each candidate and one for the ensemble: accuracy, interval, F1, ECE, McNemar, whether it is in.

    The interval is that over persons where they are known. McNemar's p-value compares each row with the member of the
    highest accuracy.
    """
    everyone = [(name, in_order_of(ensemble.ids, member)) for name, member in zip(names, members, strict=True)]
    everyone.append((ENSEMBLE, ensemble))
    hits = [one.probabilities().argmax(1) == one.targets for _, one in everyone]
    best = max(range(len(members)), key=lambda index: hits[index].mean())
    fresh = in_part(ensemble.ids, without_copies(ensemble).ids)
    rows: list[dict[str, Any]] = []
    for index, (name, one) in enumerate(everyone):
        scores, over_persons = score(one.probabilities(), one.targets), spread(one).interval
        low, high = over_persons or scores.interval
        rows.append(
            {
                "name": name,
                "accuracy": scores.accuracy,
                "low": low,
                "high": high,
                "interval": "over persons" if over_persons else "Wilson",
                "balanced_accuracy": scores.balanced_accuracy,
                "macro_f1": scores.macro_f1,
                "ece": scores.ece,
                "accuracy_without_copies": float(hits[index][fresh].mean()) if fresh.any() else math.nan,
                "images": scores.images,
                "mcnemar_p_against_best_member": mcnemar(hits[index], hits[best]),
                "best_member": index == best,
                "averaged": name in ensemble.meta["members"],
                "protocol": str(ensemble.meta.get("protocol") or ""),
            }
        )
    return rows


def in_order_of(ids: Sequence[str], predictions: Predictions) -> Predictions:
    """``predictions`` with its images in the order of ``ids``, which must be the same images."""
    place = {identity: index for index, identity in enumerate(predictions.ids)}
    return predictions.part(np.array([place[identity] for identity in ids]))


def in_part(ids: Sequence[str], part: Sequence[str]) -> np.ndarray:
    """bool [N]: which of ``ids`` stand in ``part``."""
    known = set(part)
    return np.array([identity in known for identity in ids])


def load_runs(folder: Path) -> dict[str, tuple[Predictions, Predictions]]:
    """(validation, test) dumps of every run in ``folder``, by name, best on validation first.

    Raises:
        UserError: there are none, or one without the other.
    """
    runs = {}
    for path in sorted(folder.glob("*.test.npz")):
        test = load_predictions(path)
        if test.meta["run"] != ENSEMBLE:
            runs[path.name.removesuffix(".test.npz")] = (
                load_predictions(path.with_name(path.name.replace(".test.", ".val."))),
                test,
            )
    if not runs:
        raise UserError(f"{folder}: no dumps *.test.npz")
    return dict(sorted(runs.items(), key=lambda item: -_validation_accuracy(item[1][0])))


def _validation_accuracy(validation: Predictions) -> float:
    judged = judge(validation)
    return judged.get("views", judged["clean"]).accuracy
