"""Parsed data sets on disk: images as one memory-mapped uint8 array, keyed by the hash of their source."""

import contextlib
import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.files import (
    lock,
    machine_errors,
    remove_leftovers,
    require_file,
    sha256_of,
    sync_folder,
    write_atomically,
)

# A parsed array larger than this is read to its end only when it is new; later its size and time vouch for it.
LARGE = 2**30


@dataclass(frozen=True)
class Rows:
    """All rows of a data set in file order; ``parts`` says which split each belongs to.

    images uint8 [N, H, W], labels int64 [N], ids and parts N texts each.
    """

    images: np.ndarray
    labels: np.ndarray
    ids: list[str]
    parts: list[str]


def cached_rows(sources: Sequence[Path], cache_dir: Path, parse: Callable[[], Rows], form: str = "") -> Rows:
    """The rows of ``sources``, parsed once; later calls map the kept array into memory.

    Args:
        sources: the files that ``parse`` reads. For CSV files the key is the hash of their bytes; for image
            files, of which there are many, it is the hash of names, sizes and times.
        cache_dir: where parsed arrays are kept; removing it costs time and nothing else.
        parse: reads the sources; called only when no intact parsed form is there. Its images may lie in a
            `new_array` of ``cache_dir``.
        form: says how they are parsed, where there is more than one way (at which size, grey or colour).
    """
    images = cache_dir / f"{_key(sources, cache_dir, form)}.npy"
    kept = _load(images)
    if kept is not None:
        return kept
    with _one_at_a_time(images):
        kept = _load(images)  # by another process, meanwhile
        if kept is not None:
            return kept
        rows = parse()
        _store(rows, images)
        return _load(images) or rows


@contextlib.contextmanager
def new_array(cache_dir: Path, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """An empty uint8 array in a file of ``cache_dir``, for data that may be larger than memory.

    `cached_rows` takes the file over; it is deleted where the block fails.

    Raises:
        MachineError: the disk has no room for it, or the folder cannot be written.
    """
    path = cache_dir / f".new.npy.{os.getpid()}.tmp"
    try:
        with machine_errors(cache_dir, math.prod(shape)):
            cache_dir.mkdir(parents=True, exist_ok=True)
            remove_leftovers(cache_dir)
            array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
            if hasattr(os, "posix_fallocate"):  # on a full disk, writing to a mapped file kills the process
                with open(path, "r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        yield array
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _one_at_a_time(images: Path) -> Iterator[None]:
    """Let other processes that would parse the same wait: those of a team on one machine all begin with it."""
    path = images.with_suffix(".lock")
    with machine_errors(path, 0):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "w")  # noqa: SIM115 - closed by the block below
    with file:
        with contextlib.suppress(OSError):  # a file system without locks, where each of them parses
            lock(file, wait=True)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # removed by another one, or in use on Windows
                path.unlink()


def _key(sources: Sequence[Path], cache_dir: Path, form: str) -> str:
    digest = hashlib.sha256(b"rows 1" + form.encode())  # raise the number when the parsed form changes
    for path in sources:
        status = require_file(path)
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
    write_atomically(note, json.dumps({"identity": identity, "sha256": value}).encode())
    return value


def _hash_of(images: Path) -> str:
    status = images.stat()
    if status.st_size <= LARGE:
        return sha256_of(images)
    return _remembered_hash(images, [str(images.resolve()), status.st_size, status.st_mtime_ns], images.parent)


def _store(rows: Rows, images: Path) -> None:
    """Write the array, then the index that vouches for it; programs that do so at once write the same bytes."""
    remove_leftovers(images.parent)
    if isinstance(rows.images, np.memmap) and rows.images.filename is not None:
        rows.images.flush()
        os.replace(rows.images.filename, images)
        sync_folder(images.parent)
    else:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(rows.images))
        write_atomically(images, header.getvalue(), np.ascontiguousarray(rows.images).ravel().data)
    table = {"labels": rows.labels.tolist(), "ids": rows.ids, "parts": rows.parts, "images": _hash_of(images)}
    text = json.dumps(table).encode()
    write_atomically(_index(images), hashlib.sha256(text).hexdigest().encode(), b"\n", text)


def _load(images: Path) -> Rows | None:
    """What is kept in ``images`` and its index, or None when nothing is there or it was damaged."""
    try:
        seal, text = _index(images).read_bytes().split(b"\n", 1)
        if hashlib.sha256(text).hexdigest().encode() != seal:
            return None
        table = json.loads(text)
        if _hash_of(images) != table["images"]:
            return None
        # copy-on-write: torch wants a writable array, the file stays as it is
        array = np.load(images, mmap_mode="c", allow_pickle=False)
        return Rows(array, np.array(table["labels"], dtype=np.int64), table["ids"], table["parts"])
    except (OSError, ValueError):
        return None


def _index(images: Path) -> Path:
    return images.with_suffix(".rows")
