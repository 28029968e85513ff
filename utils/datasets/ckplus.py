"""Reader of CK+ as CK+48: the last three frames of 327 sequences of 118 people, in folders or in one CSV."""

import re
from pathlib import Path

import numpy as np

from utils.datasets.faces import Faces
from utils.datasets.images import image_files, read_image
from utils.datasets.pixel_csv import SIDE, parse_pixel_csv
from utils.datasets.tables import shown, whole_number
from utils.datasets.taxonomy import without_class
from utils.errors import MissingDataError, UserError
from utils.labels import CKPLUS_CLASSES, CKPLUS_CSV_CLASSES, canonical

NAME = re.compile(r"(S\d{3})_(\d{3})_\d{8}", re.IGNORECASE)
SUFFIXES = (".png", ".jpg", ".jpeg")
CSV_NAMES = ("ckextended.csv", "ckplus.csv")
PARTS = ("train", "val", "test")

HOW_TO_GET = """{path}: no CK+ here. Either of these forms is read:
  {path}/<class>/S005_001_00000011.png ...   CK+48 (Kaggle: shawon10/ckplus)
  {path}/ckextended.csv                      emotion,pixels,Usage (Kaggle: davilsena/ckdataset)"""


def read_ckplus(path: Path) -> Faces:
    """All of CK+48 (Lucey et al., 2010): ``anger/S005_001_00000011.png`` is person S005, sequence 001, frame 11.

    Args:
        path: the folder that holds the folders of the classes; or the CSV form, which does not tell persons.

    Returns:
        Grey images uint8 [N, 48, 48], ordered by name; ids are the names without suffix. The classes are
        `CKPLUS_CLASSES`; the CSV form may have neutral images, and then has `CKPLUS_CSV_CLASSES`.

    Raises:
        UserError: nothing is there, a name that does not parse, or an image or row that is not what it should be.
    """
    table = _table(path)
    return _read_folders(path) if table is None else _parse(table)[0]


def read_ckplus_files(path: Path) -> dict[str, Faces]:
    """CK+ in the parts that the column Usage of its CSV form names; arguments and errors as for `read_ckplus`."""
    table = _table(path)
    if table is None:
        raise UserError(f"{path}: has no {' or '.join(CSV_NAMES)} that names parts; folders of images have none")
    faces, part_of = _parse(table)
    parts = {part: faces.take(np.array([part_of[i] == part for i in faces.ids])) for part in PARTS}
    for part, found in parts.items():
        if len(found) == 0:
            raise UserError(f"{table}: the {part} part has no images")
    return parts


def sequence_of(identity: str) -> str:
    """The sequence that a frame of CK+48 belongs to: ``"S005_001"`` of ``"S005_001_00000011"``."""
    return identity.rpartition("_")[0]


def _table(path: Path) -> Path | None:
    if path.is_file():
        return path
    return next((path / name for name in CSV_NAMES if (path / name).exists()), None)


def _read_folders(path: Path) -> Faces:
    found: dict[str, tuple[Path, int]] = {}
    folders = sorted(p for p in path.glob("*") if p.is_dir() and not p.name.startswith("."))
    for folder in folders:
        if canonical(folder.name) not in CKPLUS_CLASSES:
            raise UserError(f"{folder}: not the name of a class; expected one of {', '.join(CKPLUS_CLASSES)}")
        label = CKPLUS_CLASSES.index(canonical(folder.name))
        for file in image_files(folder, SUFFIXES):
            if NAME.fullmatch(file.stem) is None:
                raise UserError(f"{file}: not a name of CK+48's; expected one like S005_001_00000011.png")
            other, _ = found.setdefault(file.stem.upper(), (file, label))
            if other != file:
                raise UserError(f"{file}: the same frame as {other}; expected one of them")
    if not found:
        raise MissingDataError(HOW_TO_GET.format(path=path))
    ids = sorted(found)
    _one_class_a_sequence(ids, found)
    images = np.stack([read_image(found[i][0], size=(SIDE, SIDE)) for i in ids])
    labels = np.array([found[i][1] for i in ids], dtype=np.int64)
    return Faces(images, labels, ids, [i.partition("_")[0] for i in ids], CKPLUS_CLASSES)


def _one_class_a_sequence(ids: list[str], found: dict[str, tuple[Path, int]]) -> None:
    first: dict[str, str] = {}
    for i in ids:
        other = first.setdefault(sequence_of(i), i)
        if found[i][1] != found[other][1]:
            raise UserError(f"{found[i][0]}: another class than {found[other][0]}, a frame of the same sequence")


def _parse(table: Path) -> tuple[Faces, dict[str, str]]:
    """The images of the CSV form, and the part that each id belongs to."""
    rows = parse_pixel_csv(table, None, _csv_label)
    neutral, contempt = CKPLUS_CSV_CLASSES.index("neutral"), CKPLUS_CSV_CLASSES.index("contempt")
    faces = Faces(rows.images, rows.labels, rows.ids, None, CKPLUS_CSV_CLASSES)
    if not (faces.labels == neutral).any():
        faces = without_class(faces, "neutral")
    elif not (faces.labels == contempt).any():
        # Files with the seven classes of CK+48 often count contempt as 6; nothing in them tells which it is.
        raise UserError(
            f"{table}: column emotion has {neutral} and no {contempt}: is {neutral} neutral or contempt? "
            f"number contempt {contempt}, or write names instead of numbers"
        )
    return faces, dict(zip(rows.ids, rows.parts, strict=True))


def _csv_label(text: str, where: str) -> int:
    number = whole_number(text, len(CKPLUS_CSV_CLASSES) - 1)
    if number is not None:
        return number
    if canonical(text) in CKPLUS_CSV_CLASSES:
        return CKPLUS_CSV_CLASSES.index(canonical(text))
    raise UserError(f"{where}: '{shown(text)}'; expected one of {', '.join(CKPLUS_CSV_CLASSES)} or 0 to 7")
