"""Corrected labels of training images: a JSON file, made by `gen_corrections.py` or by hand, that a run applies."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from utils.datasets.duplicates import image_hashes
from utils.datasets.faces import Faces, Split, pooled
from utils.errors import UserError
from utils.files import read_small_text, sha256_of, write_atomically


@dataclass(frozen=True)
class Correction:
    """What is to become of one image.

    Attributes:
        pixels: hexadecimal digest of the image, as `image_hashes` gives it.
        label: the class that it has in the data set.
        becomes: the class that it gets, or None: it is left out.
        why: in words, for who reads the file.
    """

    pixels: str
    label: str
    becomes: str | None
    why: str


def save_corrections(corrections: Mapping[str, Correction], path: Path) -> None:
    """Write corrections, keyed by image id."""
    table = {"images": {identity: asdict(one) for identity, one in corrections.items()}}
    write_atomically(path, json.dumps(table, indent=1).encode())


def load_corrections(path: Path) -> dict[str, Correction]:
    """Read what `save_corrections` wrote.

    Raises:
        UserError: no such file, or another content; names the image.
    """
    try:
        images = json.loads(read_small_text(path, most=2**24))["images"]
        items = list(images.items())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UserError(f"{path}: not a file of corrections; expected {{'images': {{ID: ...}}}}") from None
    found = {}
    for identity, entry in items:
        known = isinstance(entry, dict) and set(entry) == set(Correction.__dataclass_fields__)
        if not known or not all(isinstance(v, str) or (k == "becomes" and v is None) for k, v in entry.items()):
            raise UserError(
                f"{path}: image {json.dumps(identity)[:60]}: expected the texts pixels, label, becomes, why"
            )
        found[identity] = Correction(**entry)
    return found


def version_of(path: Path) -> str:
    """Twelve digits of the file's hash, by which a run says what corrected it."""
    return sha256_of(path)[:12]


def corrected(split: Split, path: Path) -> Split:
    """``split`` with the corrections of ``path`` in its training part; ``trimmed`` says how many, and of which file.

    Raises:
        UserError: an image that is not of the training part, other pixels or another label than the file was made
            for, a class that is none, or labels that are distributions.
    """
    corrections, train = load_corrections(path), split.train
    if train.soft is not None:
        raise UserError(f"corrections {path}: for one label an image; this run learns from distributions")
    place = {identity: row for row, identity in enumerate(train.ids)}
    aside = set() if split.left_out is None else set(split.left_out.ids)
    rows = {}
    for identity in [identity for identity in corrections if identity not in aside]:
        if identity not in place:
            where = next((f"of {name}" for name, part in split.parts().items() if identity in part.ids), "not here")
            raise UserError(f"{path}: image {json.dumps(identity)[:60]} is {where}; only train is corrected")
        rows[identity] = place[identity]
    labels, kept = train.labels.copy(), np.ones(len(train), dtype=bool)
    digests = image_hashes(train.images[row] for row in rows.values())
    for (identity, row), digest in zip(rows.items(), digests, strict=True):
        one = corrections[identity]
        _check(one, train, row, digest, f"{path}: image {identity}")
        if one.becomes is None:
            kept[row] = False
        else:
            labels[row] = train.classes.index(one.becomes)
    version = version_of(path)
    trimmed = {
        **split.trimmed,
        f"train images relabelled by {path.name} ({version})": int((labels != train.labels)[kept].sum()),
        f"train images left out by {path.name} ({version})": int((~kept).sum()),
    }
    left_out = {"copies": split.left_out, "corrections": train.take(~kept)}
    parts = {name: part for name, part in left_out.items() if part is not None and len(part)}
    return replace(
        split,
        train=replace(train, labels=labels).take(kept),
        left_out=pooled(parts) if parts else None,
        trimmed=trimmed,
    )


def _check(one: Correction, train: Faces, row: int, digest: bytes, where: str) -> None:
    if digest.hex() != one.pixels:
        raise UserError(f"{where}: other pixels than the file was made for")
    if train.classes[train.labels[row]] != one.label:
        raise UserError(f"{where}: is {train.classes[train.labels[row]]} here; the file corrects {one.label[:60]}")
    if one.becomes is not None and one.becomes not in train.classes:
        raise UserError(f"{where}: becomes {one.becomes[:60]}; expected one of {', '.join(train.classes)}, or null")
