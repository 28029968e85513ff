"""From the dumps of the folds to one in which every image is judged once; what persons and folds say about it."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from utils.config import MAY_CHANGE, differing
from utils.datasets.faces import Faces, Split, pooled
from utils.errors import UserError
from utils.metrics import interval_over_groups
from utils.predictions import Predictions

# What differs from fold to fold; the rest of a dump's meta is the run's.
OF_A_FOLD = ("checkpoint", "data", "fold", "epoch", "training_seconds", "copies_in_train", "subjects")


def pool(folds: Sequence[Predictions], identity: Mapping[str, str], images: Collection[str]) -> Predictions:
    """The predictions of all folds as one dump.

    Args:
        folds: predictions for the same part (val or test) of each fold, in their order.
        identity: of what all folds share: ``data``, see `judged_data`, and ``splits``, the hash of their split file.
        images: the ids of all images of the data.

    Returns:
        Predictions ordered by id. An image may validate in several folds, so ids of the validation part begin with the
        fold. ``meta``: as of one fold, and ``folds`` (name, checkpoint, epoch, seconds of each) and ``fold_of``.

    Raises:
        UserError: folds of another network, other classes or views, or an image that is judged twice or never.
    """
    first = folds[0]
    for fold in folds:
        same = fold.classes == first.classes and fold.logits.shape[::2] == first.logits.shape[::2]
        same &= not differing(first.meta["config"], fold.meta["config"], MAY_CHANGE)
        if not same or any(fold.meta[key] != first.meta[key] for key in ("run", "protocol", "split")):
            raise UserError(f"fold {fold.meta['fold']} of {first.meta['run']}: of another run, or with other views")
        if fold.meta.get("origin") != first.meta.get("origin"):
            raise UserError(
                f"fold {fold.meta['fold']} of {first.meta['run']}: begins with other weights than the first"
            )
    testing = first.meta["split"] == "test"
    ids = [i if testing else f"{fold.meta['fold']}/{i}" for fold in folds for i in fold.ids]
    if len(set(ids)) != len(ids):
        raise UserError(f"{first.meta['run']}: an image is judged in two folds")
    if testing and (missing := sorted(set(images) - set(ids))):
        raise UserError(f"{first.meta['run']}: image '{missing[0]}' is judged in no fold ({len(missing)} in all)")
    meta = {key: value for key, value in first.meta.items() if key not in OF_A_FOLD}
    meta |= {
        "checkpoint": pooled_hash([fold.meta["checkpoint"] for fold in folds]),
        **identity,
        "training_seconds": sum(fold.meta["training_seconds"] for fold in folds),
        "folds": [
            {key: fold.meta[key] for key in ("fold", "checkpoint", "epoch", "training_seconds")} for fold in folds
        ],
        "fold_of": dict(zip(ids, (number for number, fold in enumerate(folds) for _ in fold.ids), strict=True)),
        "copies_in_train": [i for fold in folds for i in fold.meta["copies_in_train"]] if testing else [],
    }
    if testing and all("subjects" in fold.meta for fold in folds):
        meta["subjects"] = {identity: who for fold in folds for identity, who in fold.meta["subjects"].items()}
    together = Predictions(
        np.concatenate([fold.logits for fold in folds], axis=1),
        np.concatenate([fold.targets for fold in folds]),
        ids,
        first.classes,
        meta,
    )
    return together.part(np.argsort(ids))


def pooled_hash(checkpoints: Sequence[str]) -> str:
    """One hash for the checkpoints of all folds, from theirs."""
    return hashlib.sha256("".join(checkpoints).encode()).hexdigest()


def judged_data(splits: Sequence[Split]) -> str:
    """Fingerprint of all images that are judged, whatever the folds: runs on the same set have the same."""
    faces = pooled({split.name: split.test for split in splits if split.test is not None})
    order = np.argsort(faces.ids)
    ids = [faces.ids[i] for i in order]
    return Faces(faces.images[order], faces.labels[order], ids, None, faces.classes).fingerprint()


@dataclass(frozen=True)
class Spread:
    """How an accuracy differs between folds and between persons; shares lie in [0, 1].

    Attributes:
        folds: accuracy of each fold, in their order; empty where there are none.
        mean, sd: over the folds (sd with n - 1); NaN where there are none.
        persons: (name, right, images) of each person, by name; empty where they are not known.
        interval: of the pooled accuracy, by drawing whole persons; None where they are not known.
    """

    folds: tuple[float, ...]
    mean: float
    sd: float
    persons: tuple[tuple[str, int, int], ...]
    interval: tuple[float, float] | None


def spread(predictions: Predictions, views: int | None = None) -> Spread:
    """How the accuracy of a dump, over its first ``views`` views (all by default), differs by fold and person."""
    hit = predictions.probabilities(views).argmax(1) == predictions.targets
    folds: tuple[float, ...] = ()
    if of_fold := predictions.meta.get("fold_of"):
        number = np.array([of_fold[identity] for identity in predictions.ids])
        folds = tuple(float(hit[number == one].mean()) for one in np.unique(number))
    mean, sd = (float(np.mean(folds)), float(np.std(folds, ddof=1))) if len(folds) > 1 else (np.nan, np.nan)
    if not (subjects := predictions.meta.get("subjects")):
        return Spread(folds, mean, sd, (), None)
    names, person = np.unique([subjects[identity] for identity in predictions.ids], return_inverse=True)
    rights, images = np.bincount(person, weights=hit).astype(int), np.bincount(person)
    persons = tuple(zip(names.tolist(), rights.tolist(), images.tolist(), strict=True))
    return Spread(folds, mean, sd, persons, interval_over_groups(hit, person) if len(names) > 1 else None)


def spread_text(found: Spread) -> str:
    """The same in a sentence or two; empty where there is nothing to say."""
    lines = []
    if found.folds:
        lines.append(f"mean of {len(found.folds)} folds {found.mean:.2%}, sd {100 * found.sd:.2f} points")
    if found.interval:
        low, high = found.interval
        lines.append(f"95 % interval over {len(found.persons)} persons (bootstrap) {low:.2%}-{high:.2%}")
    return "; ".join(lines)
