"""Parsed data sets on disk: images as one memory-mapped uint8 array, keyed by the hash of their source."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.files import machine_errors, sha256_of, sync_folder


@dataclass(frozen=True)
class Rows:
    """All rows of a data set in file order; ``parts`` says which split each belongs to.

    images uint8 [N, H, W], labels int64 [N], ids and parts N texts each.
    """

    images: np.ndarray
    labels: np.ndarray
    ids: list[str]
    parts: list[str]


def cached_rows(sources: Sequence[Path], cache_dir: Path, parse: Callable[[], Rows]) -> Rows:
    """The rows of ``sources``, parsed once; later calls map the kept array into memory.

    Args:
        sources: the files that ``parse`` reads. For CSV files the key is the hash of their bytes; for image
            files, of which there are many, it is the hash of names, sizes and times.
        cache_dir: where parsed arrays are kept; removing it costs time and nothing else.
        parse: reads the sources; called only when no intact parsed form is there.
    """
    folder = cache_dir / _key(sources, cache_dir)
    kept = _load(folder)
    if kept is not None:
        return kept
    rows = parse()
    _store(rows, folder)
    return _load(folder) or rows


def _key(sources: Sequence[Path], cache_dir: Path) -> str:
    digest = hashlib.sha256(b"rows 1")  # raise the number when the parsed form changes
    for path in sources:
        status = path.stat()
        identity: list[str | int] = [str(path.resolve()), status.st_size, status.st_mtime_ns]
        if path.suffix.lower() == ".csv":
            identity = [path.name, _remembered_hash(path, identity, cache_dir)]
        digest.update(json.dumps(identity).encode())
    return digest.hexdigest()[:32]


def _remembered_hash(path: Path, identity: list[str | int], cache_dir: Path) -> str:
    """SHA-256 of a large file, read again only when its size or time has changed."""
    note = cache_dir / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]}.json"
    try:
        known = json.loads(note.read_text())
        if known["identity"] == identity:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no note yet, or a damaged one: hash again
    value = sha256_of(path)
    with machine_errors(note, 200):
        cache_dir.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps({"identity": identity, "sha256": value}))
    return value


def _store(rows: Rows, folder: Path) -> None:
    working = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    with machine_errors(folder, rows.images.nbytes):
        try:
            working.mkdir(parents=True)
            np.save(working / "images.npy", rows.images)
            index = {
                "labels": rows.labels.tolist(),
                "ids": rows.ids,
                "parts": rows.parts,
                "sha256": sha256_of(working / "images.npy"),
            }
            (working / "index.json").write_text(json.dumps(index))
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(working, folder)
        finally:
            shutil.rmtree(working, ignore_errors=True)
        sync_folder(folder.parent)


def _load(folder: Path) -> Rows | None:
    """What ``folder`` holds, or None when nothing is there or it was damaged."""
    try:
        index = json.loads((folder / "index.json").read_text())
        if sha256_of(folder / "images.npy") != index["sha256"]:
            return None
        # copy-on-write: torch wants a writable array, the file stays as it is
        images = np.load(folder / "images.npy", mmap_mode="c", allow_pickle=False)
        return Rows(images, np.array(index["labels"], dtype=np.int64), index["ids"], index["parts"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
