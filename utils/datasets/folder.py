"""Reader of any folder of images: ``<class>/*`` or ``{train,val,test}/<class>/*``, with or without persons."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.datasets.cache import Rows, cached_rows, new_array
from utils.datasets.faces import Faces
from utils.datasets.images import FORMATS, image_files, read_image, resized
from utils.datasets.tables import csv_rows, shown
from utils.errors import MissingDataError, UserError
from utils.labels import canonical

GROUPS = "groups.csv"
PART_FOLDERS = {"train": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}

HOW_TO_LAY_OUT = """{path}: no images here. Either of these forms is read:
  {path}/<class>/*.png                     the name of a folder is the name of its class
  {path}/train/<class>/*.png, val/..., test/...
Beside them may lie groups.csv (file,group), which names the person on each image."""


@dataclass(frozen=True)
class _Found:
    """One image file: its path below the root (its id), part (empty where there are none) and class."""

    id: str
    part: str
    name: str


def read_folder(path: Path, cache_dir: Path, *, side: int, colour: bool = False) -> Faces:
    """All images below ``path``, whatever parts they lie in.

    Args:
        path: the root; see `HOW_TO_LAY_OUT`. Classes are the names of folders, as `labels.canonical` spells them,
            sorted. ``groups.csv`` with the columns ``file`` (path below the root) and ``group``, where it is there,
            names every image's person.
        cache_dir: where the parsed uint8 array is kept, to be mapped into memory.
        side: width and height of the images; of one that is not square, the largest square in its middle is taken.
        colour: three channels instead of grey.

    Returns:
        Images uint8 [N, side, side] or [N, side, side, 3]; ids are paths below the root.

    Raises:
        UserError: nothing is there, fewer than two classes, a class twice or without images, an unreadable image, or
            a ``groups.csv`` that names a file that is not there, names one twice, or leaves one out.
    """
    return _read(path, cache_dir, side, colour)[0]


def read_folder_files(path: Path, cache_dir: Path, *, side: int, colour: bool = False) -> dict[str, Faces]:
    """The images below ``path`` in the parts that they lie in: train, test and, where there is one, val.

    Arguments and errors as for `read_folder`; all parts have the classes of all of them.

    Raises:
        UserError: also where there is no train or no test folder, or a class has no image in train.
    """
    faces, part_of = _read(path, cache_dir, side, colour)
    parts: dict[str, Faces] = {}
    for part in ("train", "val", "test"):
        if part in part_of:
            parts[part] = faces.take(np.array(part_of) == part)
        elif part != "val":
            raise UserError(f"{path}: no folder {part}/<class> with images; protocol 'files' needs train and test")
    missing = [name for name, count in zip(faces.classes, parts["train"].counts(), strict=True) if count == 0]
    if missing:
        raise UserError(f"{path}: the train part has no image of {', '.join(missing)}")
    return parts


def _read(path: Path, cache_dir: Path, side: int, colour: bool) -> tuple[Faces, list[str]]:
    found = _list_images(path)
    classes = tuple(sorted({one.name for one in found}))
    if len(classes) < 2:
        raise UserError(f"{path}: one class, {classes[0]}; expected the folders of at least two")
    rows = cached_rows(
        [path / one.id for one in found],
        cache_dir,
        lambda: _read_images(path, found, classes, side, colour, cache_dir),
        form=f"folder {classes} {side} {colour}",
    )
    groups = path / GROUPS
    subjects = _subjects(groups, rows.ids) if groups.exists() else None
    return Faces(rows.images, rows.labels, rows.ids, subjects, classes), rows.parts


def _list_images(path: Path) -> list[_Found]:
    in_parts = [p for p in _folders(path) if p.name.lower() in PART_FOLDERS] if (path / "train").is_dir() else []
    if not in_parts:
        found = _list_classes(path, path, "")
    else:
        found = []
        names = [PART_FOLDERS[p.name.lower()] for p in in_parts]
        for folder, part in zip(in_parts, names, strict=True):
            if names.count(part) > 1:
                raise UserError(f"{path}: more than one folder for the {part} part; expected one")
            found += _list_classes(path, folder, part)
    if not found:
        raise MissingDataError(HOW_TO_LAY_OUT.format(path=path))
    return found


def _list_classes(root: Path, folder: Path, part: str) -> list[_Found]:
    found, seen = [], dict[str, Path]()
    for of_class in _folders(folder):
        name = canonical(of_class.name)
        if (other := seen.setdefault(name, of_class)) != of_class:
            raise UserError(f"{of_class}: stands for the same class as {other}; expected one of them")
        files = image_files(of_class)
        if not files:
            raise UserError(f"{of_class}: no image in it; expected {', '.join(FORMATS)}")
        found += [_Found(file.relative_to(root).as_posix(), part, name) for file in files]
    return found


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.glob("*") if p.is_dir() and not p.name.startswith("."))


def _read_images(
    root: Path, found: Sequence[_Found], classes: tuple[str, ...], side: int, colour: bool, cache_dir: Path
) -> Rows:
    formats = tuple(dict.fromkeys(FORMATS.values()))
    with new_array(cache_dir, (len(found), side, side, 3) if colour else (len(found), side, side)) as images:
        for index, one in enumerate(found):
            images[index] = resized(read_image(root / one.id, formats=formats, colour=colour), side)
    labels = np.array([classes.index(one.name) for one in found], dtype=np.int64)
    return Rows(images, labels, [one.id for one in found], [one.part for one in found])


def _subjects(table: Path, ids: Sequence[str]) -> list[str]:
    """Whom ``groups.csv`` names for each of ``ids``."""
    known, group_of = set(ids), dict[str, str]()
    for number, (file, group) in csv_rows(table, ("file", "group")):
        where = f"{table}: row {number}"
        if file not in known:
            raise UserError(f"{where}, column file: '{shown(file, 80)}' is no image of {table.parent}")
        if not group or not group.isprintable():
            raise UserError(f"{where}, column group: '{shown(group)}'; expected a name")
        if file in group_of:
            raise UserError(f"{where}, column file: '{shown(file, 80)}' stands twice")
        group_of[file] = group
    for identity in ids:
        if identity not in group_of:
            raise UserError(f"{table}: has no row for '{shown(identity, 80)}'; expected one for each image")
    return [group_of[identity] for identity in ids]
