"""Refuses splits in which something of one part stands in another, or an image is judged twice or never."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from utils.datasets.duplicates import image_hashes
from utils.datasets.faces import Split
from utils.errors import UserError


def check_apart(splits: Sequence[Split], sequence_of: Callable[[str], str] | None = None) -> None:
    """Nothing may stand on both sides of a split that keeps persons apart.

    Args:
        splits: the folds; all parts of each are compared with each other.
        sequence_of: the sequence of an id, where the data set has sequences.

    Raises:
        UserError: a person, a sequence or an exact copy of an image stands in two parts, or persons are not known;
            names the fold, the two parts and the two images.
    """
    hashes: dict[str, str] = {}  # folds are made of the same images: each is hashed once
    for split in splits:
        check_ids(split)
        parts = split.parts()
        for name, part in parts.items():
            if part.subjects is None:
                raise UserError(f"{place(split)}: the persons in its {name} part are not known")
            new = part.take(np.array([identity not in hashes for identity in part.ids], dtype=bool))
            hashes |= {i: digest.hex() for i, digest in zip(new.ids, image_hashes(new.images), strict=True)}
        _refuse_shared(split, "person '{}'", {name: part.subjects or [] for name, part in parts.items()})
        if sequence_of is not None:
            _refuse_shared(split, "sequence '{}'", {n: [sequence_of(i) for i in p.ids] for n, p in parts.items()})
        _refuse_shared(split, "exact copies of one image", {n: [hashes[i] for i in p.ids] for n, p in parts.items()})


def check_ids(split: Split) -> None:
    """No image may stand in two parts of one split, or twice in one, whatever the protocol.

    Raises:
        UserError: naming fold, parts and image.
    """
    seen: dict[str, str] = {}
    for name, part in split.parts().items():
        for identity in part.ids:
            if (other := seen.setdefault(identity, name)) != name:
                raise UserError(f"{place(split)}: image '{identity}' stands in {other} and {name}")
        if len(set(part.ids)) != len(part):
            raise UserError(f"{place(split)}: an image stands twice in {name}")


def check_parts(split: Split) -> None:
    """There must be something to learn from, to choose by and to judge on, and `check_ids` must hold.

    Raises:
        UserError: also where a part is empty, or a class of the others has no image in the train part.
    """
    check_ids(split)
    for name, part in split.parts().items():
        if len(part) == 0:
            raise UserError(f"{place(split)}: the {name} part has no images")
    counts = np.array([part.counts() for part in split.parts().values()])
    # a class of the taxonomy that the whole set does not have (neutral in CK+) can be neither learned nor judged
    missing = [split.train.classes[c] for c in np.flatnonzero((counts[0] == 0) & (counts.sum(0) > 0))]
    if missing:
        raise UserError(f"{place(split)}: the train part has no image of {', '.join(missing)}")


def check_judged_once(splits: Sequence[Split]) -> None:
    """Pooled over the folds, each image must be judged exactly once, and `check_parts` must hold for each.

    Raises:
        UserError: also where an image stands in the test part of two folds, or of none.
    """
    judged: dict[str, str] = {}
    for split in splits:
        check_parts(split)
        for identity in split.test.ids if split.test else ():
            if (other := judged.setdefault(identity, split.name)) != split.name:
                raise UserError(f"{place(split)}: image '{identity}' is judged here and in fold '{other}'")
    for split in splits:
        for identity in (i for part in split.parts().values() for i in part.ids):
            if identity not in judged:
                raise UserError(f"{place(split)}: image '{identity}' is judged in no fold")


def keeps_apart(split: Split) -> bool:
    """Whether it is known that nobody on the training images is on the others."""
    people = {name: None if part.subjects is None else set(part.subjects) for name, part in split.parts().items()}
    train = people.pop("train")
    return train is not None and all(others is not None and not train & others for others in people.values())


def place(split: Split) -> str:
    """Which split this is, for the start of a message."""
    return f"{split.protocol.partition(':')[0]}, fold '{split.name}'"


def _refuse_shared(split: Split, what: str, keys: Mapping[str, Sequence[str]]) -> None:
    """Refuse a key that stands in two parts; ``keys`` has one for each image of each part."""
    first: dict[str, tuple[str, str]] = {}
    for name, part in split.parts().items():
        for key, identity in zip(keys[name], part.ids, strict=True):
            other, image = first.setdefault(key, (name, identity))
            if other != name:
                sides = f"{other} '{image}', {name} '{identity}'"
                raise UserError(f"{place(split)}: {what.format(key)} on both sides: {sides}")
