"""Ensembles from dumps: which members, and what each of them and their average is worth."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import UserError
from utils.files import csv_bytes, write_atomically
from utils.metrics import mcnemar, score
from utils.pooling import spread
from utils.predictions import Predictions, combine, load_predictions, save_predictions
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


def write_ensemble(
    members: Sequence[Predictions],
    names: Sequence[str],
    ensemble: Predictions,
    selection: Mapping[str, str],
    stem: Path,
    *,
    half: bool = False,
) -> list[dict[str, Any]]:
    """Write an average's dump and `table`, STEM.npz and STEM.csv.

    Args:
        members: all candidates, averaged or not; names: what to call them.
        ensemble: what `combine` made of some of them.
        selection: which ``members``, and what ``split`` chose them.
        stem: the two files without their endings.
        half: round the dump to float16.

    Returns:
        The rows of the table.

    Raises:
        MachineError: a file cannot be written.
    """
    rows = table(members, names, ensemble)
    dump = replace(ensemble, meta={**ensemble.meta, "selection": dict(selection)})
    save_predictions(dump, stem.with_name(stem.name + ".npz"), half=half)
    write_atomically(stem.with_name(stem.name + ".csv"), csv_bytes(rows))
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
    """(validation, test) dumps of every run in ``folder``, by name, best on validation first; averages are passed over.

    Raises:
        UserError: there are none, one without the other, or two that are not of one network.
    """
    runs = {}
    for path in sorted(folder.glob("*.test.npz")):
        test = load_predictions(path)
        if test.meta.get("run") != ENSEMBLE:
            runs[path.name.removesuffix(".test.npz")] = (load_validation(path, test), test)
    if not runs:
        raise UserError(f"{folder}: no dumps *.test.npz")
    return dict(sorted(runs.items(), key=lambda item: -_validation_accuracy(item[1][0])))


def load_validation(path: Path, test: Predictions) -> Predictions:
    """The validation dump that lies beside ``path``, the test dump ``test``.

    Raises:
        UserError: it is not there, or is of another part or another network: what was fitted on it would not be honest.
    """
    if not path.name.endswith(".test.npz"):
        raise UserError(f"{path}: expected a test dump, NAME.test.npz, with NAME.val.npz beside it")
    other = path.with_name(path.name.removesuffix(".test.npz") + ".val.npz")
    if not other.is_file():
        raise UserError(f"{path}: no validation dump {other.name} beside it; python gen_results.py --split val")
    validation = load_predictions(other)
    for file, dump, split in ((path, test, "test"), (other, validation, "val")):
        if dump.meta.get("split") != split:
            raise UserError(f"{file}: holds predictions for '{dump.meta.get('split')}'; expected '{split}'")
    for what, one, another in (
        ("run", validation.meta.get("run"), test.meta.get("run")),
        ("checkpoint", validation.meta.get("checkpoint"), test.meta.get("checkpoint")),
        ("classes", validation.classes, test.classes),
    ):
        if one != another:
            raise UserError(f"{other}: is not of the network of {path.name} ({what} {one} and {another})")
    return validation


def refuse_folds(members: Sequence[Predictions], names: Sequence[str]) -> None:
    """Who chooses or weighs members must not have seen the test images, and of folds each validates what another tests.

    Raises:
        UserError: a member was pooled from folds.
    """
    for member, name in zip(members, names, strict=True):
        if "fold_of" in member.meta:
            raise UserError(
                f"{name}: pooled from folds, whose validation images are other folds' test images; average all members"
            )


def refuse_averages(members: Sequence[Predictions], names: Sequence[str]) -> None:
    """Of several members none may be an average, which would weigh its own members otherwise than the others.

    Raises:
        UserError: one is.
    """
    for member, name in zip(members, names, strict=True):
        if len(members) > 1 and member.meta.get("run") == ENSEMBLE:
            raise UserError(f"{name}: is an average itself; name its members")


def _validation_accuracy(validation: Predictions) -> float:
    judged = judge(validation)
    return judged.get("views", judged["clean"]).accuracy
