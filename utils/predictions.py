"""Predictions with their identity: what was predicted, by what, for which images; kept as dumps."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from utils.arrays import npz_bytes, read_npz
from utils.errors import UserError
from utils.files import write_atomically

HALF = "float16"  # what ``kept_as`` in a dump's meta says where its logits have been rounded
_ARRAYS = {"logits": "f", "targets": "i", "ids": "U", "classes": "U", "meta": "U", "sha256": "U"}


@dataclass(frozen=True)
class Predictions:
    """Scores of one network, or one ensemble, for one part of a data set.

    Attributes:
        logits: float32 [V, N, C], one layer for each test-time view; the first is the clean image.
        targets: int64 [N].
        ids: N names of images.
        classes: C class names.
        meta: run, checkpoint and data hash, split, views, protocol ... (plain JSON types).
    """

    logits: np.ndarray
    targets: np.ndarray
    ids: list[str]
    classes: tuple[str, ...]
    meta: Mapping[str, Any]

    def probabilities(self, views: int | None = None) -> np.ndarray:
        """float64 [N, C]: the mean over the first ``views`` views (all by default) of the softmax."""
        return softmax(self.logits[:views]).mean(0)

    def part(self, keep: np.ndarray) -> "Predictions":
        """The same predictions for the images that ``keep`` (bool [N] or int [M]) chooses, in its order."""
        index = np.flatnonzero(keep) if keep.dtype == bool else keep
        ids = [self.ids[i] for i in index]
        return Predictions(self.logits[:, index], self.targets[index], ids, self.classes, self.meta)


def softmax(logits: np.ndarray) -> np.ndarray:
    """float64, the same shape: probabilities over the last axis."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def save_predictions(predictions: Predictions, path: Path, *, half: bool = False) -> None:
    """Write a dump, atomically, with a hash of its own content.

    Args:
        predictions: what to write.
        path: where to.
        half: keep log probabilities as float16, in less than half the space; probabilities change by up to 0.0002.

    Raises:
        MachineError: it cannot be written.
    """
    predictions = _rounded(predictions) if half else predictions
    arrays: dict[str, np.ndarray] = {
        "logits": predictions.logits.astype(np.float16 if predictions.meta.get("kept_as") == HALF else np.float32),
        "targets": predictions.targets.astype(np.int64),
        "ids": np.array(predictions.ids),
        "classes": np.array(predictions.classes),
        "meta": np.array(json.dumps(dict(predictions.meta), sort_keys=True)),
    }
    arrays["sha256"] = np.array(_digest(arrays))
    write_atomically(path, npz_bytes(arrays))


def _rounded(predictions: Predictions) -> Predictions:
    """As float16, with what is probable close to 0, where float16 is finest."""
    logs = np.log(np.maximum(softmax(predictions.logits), 1e-30)).astype(np.float16)
    return replace(predictions, logits=logs.astype(np.float32), meta={**predictions.meta, "kept_as": HALF})


def load_predictions(path: Path) -> Predictions:
    """Read a dump that `save_predictions` wrote.

    Raises:
        UserError: not such a file, or its content does not agree with its hash or with itself.
    """
    arrays = read_npz(path)
    for name, kind in _ARRAYS.items():
        if name not in arrays or arrays[name].dtype.kind != kind:
            raise UserError(f"{path}: not a dump of this project (array '{name}' is missing or of another type)")
    if str(arrays["sha256"]) != _digest({name: arrays[name] for name in _ARRAYS if name != "sha256"}):
        raise UserError(f"{path}: damaged (checksum differs)")
    logits, targets, ids, classes = (arrays[name] for name in ("logits", "targets", "ids", "classes"))
    if logits.ndim != 3 or logits.size == 0 or classes.ndim != 1:
        raise UserError(f"{path}: logits of shape {logits.shape}; expected views, images, classes, none of them 0")
    if (targets.shape, ids.shape, classes.shape) != (logits.shape[1:2], logits.shape[1:2], logits.shape[2:]):
        shapes = f"targets {targets.shape}, ids {ids.shape}, classes {classes.shape}"
        raise UserError(f"{path}: logits of shape {logits.shape} with {shapes}")
    if targets.min() < 0 or targets.max() >= len(classes):
        raise UserError(f"{path}: targets outside 0 to {len(classes) - 1}")
    if not np.isfinite(logits).all():
        raise UserError(f"{path}: holds scores that are not finite")
    try:
        meta = json.loads(str(arrays["meta"]))
    except (ValueError, RecursionError):
        meta = None
    if not isinstance(meta, dict):
        raise UserError(f"{path}: array 'meta' is not a JSON object")
    copies = meta.get("copies_in_train", [])
    if not isinstance(copies, list) or not all(isinstance(identity, str) for identity in copies):
        raise UserError(f"{path}: 'copies_in_train' in array 'meta' is not a list of image ids")
    logits, targets = logits.astype(np.float32), targets.astype(np.int64)
    return Predictions(logits, targets, ids.tolist(), tuple(classes.tolist()), meta)


def probability_dump(probabilities: np.ndarray, targets: np.ndarray, name: str, targets_name: str) -> Predictions:
    """Bare probabilities (N, C) and targets (N,), as users have them, joined by position.

    Raises:
        UserError: wrong shape or type, not finite, or rows that do not sum to one (logits, for example).
    """
    if probabilities.ndim != 2 or probabilities.dtype.kind != "f" or not 2 <= probabilities.shape[1] <= 1000:
        raise UserError(f"{name}: shape {probabilities.shape} of {probabilities.dtype}; expected probabilities (N, C)")
    count, classes = probabilities.shape
    if targets.dtype.kind not in "iu" or targets.shape != (count,):
        raise UserError(f"{targets_name}: shape {targets.shape} of {targets.dtype}; expected {count} whole numbers")
    if count == 0 or targets.min() < 0 or targets.max() >= classes:
        raise UserError(f"{targets_name}: classes outside 0 to {classes - 1}, or none")
    if not np.isfinite(probabilities).all() or probabilities.min() < 0:
        raise UserError(f"{name}: holds values that are negative or not finite; expected probabilities")
    sums = probabilities.astype(np.float64).sum(1)
    if np.abs(sums - 1).max() > 1e-3:
        worst = int(np.abs(sums - 1).argmax())
        raise UserError(f"{name}: row {worst} sums to {sums[worst]:.4g}; expected probabilities that sum to 1")
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-30)).astype(np.float32)[None]
    names = tuple(f"class {index}" for index in range(classes))
    meta = {"scores": "probabilities", "run": name, "split": "given"}
    return Predictions(logits, targets.astype(np.int64), [f"{i:06d}" for i in range(count)], names, meta)


def combine(members: Sequence[Predictions], names: Sequence[str]) -> Predictions:
    """The unweighted average of the members' mean probabilities, joined by image id.

    Args:
        members: at least one; the order of the first one's images is kept.
        names: what to call each member in messages and in the result's meta.

    Returns:
        Predictions with one view, whose softmax is the average; ``networks`` in their meta says what was averaged.

    Raises:
        UserError: members differ in images, targets, classes, split or data, or one stands twice.
    """
    joined = [_joined(members[0], m, names[0], n) for m, n in zip(members, names, strict=True)]
    seen: dict[str, str] = {}
    runs: dict[str, str] = {}
    for member, name in zip(members, names, strict=True):
        identity = hashlib.sha256(member.logits[:, np.argsort(member.ids)].tobytes()).hexdigest()
        if identity in seen:
            raise UserError(f"{name}: the same predictions as {seen[identity]}; each member counts once")
        seen[identity] = name
        if (run := member.meta.get("run")) and member.meta.get("checkpoint"):
            if run in runs:
                raise UserError(f"{name}: the same network as {runs[run]} (run {run}); each member counts once")
            runs[run] = name
    mean = np.mean([member.probabilities() for member in joined], axis=0)
    first = members[0]
    kept = ["scores", "dataset", "split", "protocol", "data", "subjects"]
    for key in ("fold_of", "splits"):
        if all(member.meta.get(key) == first.meta.get(key) for member in members):
            kept.append(key)
    meta = {key: first.meta[key] for key in kept if key in first.meta}
    if any("copies_in_train" in member.meta for member in members):  # a copy that one has seen, the average has seen
        meta["copies_in_train"] = list(
            dict.fromkeys(identity for member in members for identity in member.meta.get("copies_in_train", ()))
        )
    if all("config" in member.meta for member in members):
        facts = ("config", "environment", "origin", "views")
        meta["networks"] = [{key: member.meta.get(key) for key in facts} for member in members]
    meta |= {"run": "ensemble", "members": list(names), "views": [len(member.logits) for member in members]}
    logits = np.log(np.maximum(mean, 1e-30)).astype(np.float32)[None]
    return Predictions(logits, first.targets, first.ids, first.classes, meta)


def _joined(first: Predictions, other: Predictions, first_name: str, name: str) -> Predictions:
    """``other`` in the order of ``first``."""
    for what, a, b in (
        ("classes", list(first.classes), list(other.classes)),
        ("split", first.meta.get("split"), other.meta.get("split")),
        ("protocol", first.meta.get("protocol"), other.meta.get("protocol")),
        ("number of images", len(first.ids), len(other.ids)),
        ("kind of score", first.meta.get("scores"), other.meta.get("scores")),
        ("data", first.meta.get("data"), other.meta.get("data")),
    ):
        if a != b:
            raise UserError(f"{name}: {what} {_brief(b)} differs from {_brief(a)} of {first_name}")
    place = {identity: index for index, identity in enumerate(other.ids)}
    if len(place) != len(other.ids):
        raise UserError(f"{name}: an image id stands twice")
    missing = [identity for identity in first.ids if identity not in place]
    if missing:
        raise UserError(f"{name}: has no prediction for {len(missing)} images of {first_name}, e.g. {missing[0]}")
    other = other.part(np.array([place[identity] for identity in first.ids]))
    if not np.array_equal(first.targets, other.targets):
        raise UserError(f"{name}: targets differ from those of {first_name}")
    return other


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(repr((name, array.dtype.str, array.shape)).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
