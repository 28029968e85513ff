"""Splits as a file with a hash: which image stands in which part of which fold, for another run to be forced onto."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils.datasets.faces import Faces, Split
from utils.datasets.tables import shown
from utils.errors import UserError
from utils.files import read_small_text, write_atomically
from utils.splits.leaks import check_apart, check_judged_once, check_parts
from utils.splits.protocols import GROUPED, SINGLE

FORMAT = "splits 1"
MOST_BYTES = 2**28
PARTS = ("train", "val", "test")


def split_table(splits: Sequence[Split], dataset: str) -> dict[str, Any]:
    """What a split file says: data set, protocol, the ids of each part of each fold, and ``sha256`` over all of it.

    Pixels are not part of it: the same folds serve another crop, size or network.
    """
    folds = [{"name": s.name} | {name: part.ids for name, part in s.parts().items()} for s in splits]
    table = {"format": FORMAT, "dataset": dataset, "protocol": splits[0].protocol, "folds": folds}
    return table | {"sha256": _hash(table)}


def save_split_file(path: Path, splits: Sequence[Split], dataset: str) -> str:
    """Write `split_table` as JSON, and return its hash.

    Raises:
        MachineError: it cannot be written; an earlier file is intact.
    """
    table = split_table(splits, dataset)
    write_atomically(path, json.dumps(table, indent=1).encode())
    return str(table["sha256"])


def split_file_hash(path: Path) -> str:
    """The hash that `save_split_file` gave to a file.

    Raises:
        UserError: not a split file, or changed by hand.
    """
    return _hash(_read(path))


def load_split_file(
    path: Path,
    faces: Faces,
    *,
    dataset: str,
    protocol: str | None = None,
    sequence_of: Callable[[str], str] | None = None,
) -> list[Split]:
    """The splits that a file names, made of ``faces`` and checked as if they had just been made.

    Args:
        path: what `save_split_file` wrote.
        faces: all images of the data set; each must stand in each fold.
        dataset: must be the file's.
        protocol: the word that must be the file's protocol; None: whatever it is.
        sequence_of: as for `protocols.kfold`.

    Raises:
        UserError: not a split file, changed by hand, made for another data set, protocol or other images, or it has
            something on both sides of a split that keeps persons apart.
    """
    table = _read(path)
    word = table["protocol"].partition(":")[0]
    if table["dataset"] != dataset:
        raise UserError(f"{path}: made for data set '{shown(table['dataset'])}'; this run reads '{dataset}'")
    if protocol is not None and word != protocol:
        raise UserError(f"{path}: made by protocol '{shown(word)}'; this run asks for '{protocol}'")
    index = {identity: number for number, identity in enumerate(faces.ids)}
    splits = [_split(path, fold, table["protocol"], faces, index) for fold in table["folds"]]
    try:
        if word in SINGLE and len(splits) != 1:
            raise UserError(f"{len(splits)} folds; protocol {word} has one")
        for split in splits:
            check_parts(split)
        if word in GROUPED or (word == "holdout" and faces.subjects is not None):
            check_apart(splits, sequence_of)
        if word not in SINGLE:
            check_judged_once(splits)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return splits


def _split(path: Path, fold: dict[str, Any], protocol: str, faces: Faces, index: dict[str, int]) -> Split:
    parts: dict[str, Faces] = {}
    named, where = 0, f"{path}: fold '{shown(fold['name'])}'"
    for part in PARTS:
        ids = fold.get(part, [])
        for identity in ids:
            if identity not in index:
                raise UserError(f"{where}: image '{shown(identity, 80)}' is not among the data")
        named += len(ids)
        parts[part] = faces.take(np.array(sorted(index[identity] for identity in ids), dtype=np.int64))
    if named != len(faces):
        raise UserError(f"{where}: {named} images, the data have {len(faces)}; made for other data")
    return Split(fold["name"], parts["train"], parts["val"], parts["test"] if "test" in fold else None, protocol)


def _read(path: Path) -> dict[str, Any]:
    text = read_small_text(path, most=MOST_BYTES)
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(f"{path}: not a split file (no valid JSON)") from None
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        raise UserError(f"{path}: not a split file; expected one that a run wrote (format '{FORMAT}')")
    seal = table.pop("sha256", None)
    if seal != _hash(table):
        raise UserError(f"{path}: damaged or changed by hand (its hash differs)")
    if not _well_formed(table):
        raise UserError(f"{path}: not a split file; expected data set, protocol and folds of names")
    return table


def _well_formed(table: dict[str, Any]) -> bool:
    folds = table.get("folds")
    texts = [table.get("dataset"), table.get("protocol")]
    if not isinstance(folds, list) or not folds or not all(isinstance(fold, dict) for fold in folds):
        return False
    for fold in folds:
        texts.append(fold.get("name"))
        for part in PARTS:
            ids = fold.get(part, [])
            if not isinstance(ids, list) or (part != "test" and part not in fold):
                return False
            texts += ids
    names = [fold["name"] for fold in folds if isinstance(fold.get("name"), str)]
    return all(isinstance(text, str) for text in texts) and len(set(names)) == len(folds)


def _hash(table: dict[str, Any]) -> str:
    text = json.dumps(table, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
