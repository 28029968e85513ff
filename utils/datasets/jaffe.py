"""Reader of JAFFE: 213 portraits of ten women, told apart by the names of their files."""

import re
from pathlib import Path

import numpy as np

from utils.datasets.faces import Faces
from utils.datasets.images import image_files, read_image, resized
from utils.datasets.tables import csv_rows, shown, whole_number
from utils.errors import MissingDataError, UserError, closest
from utils.files import require_file
from utils.labels import FER2013_CLASSES, JAFFE_CODES, canonical

SIDE = 256
SUFFIXES = (".tiff", ".tif", ".png", ".jpg", ".jpeg")
NAME = re.compile(rf"([A-Z]{{2}})\.({'|'.join(JAFFE_CODES)})\d\.\d+", re.IGNORECASE)
PARTS = ("train", "val", "test")

# All portraits are framed alike, so one box serves all: left, top, right, bottom. It is the square whose content, made
# small, correlates best with the mean face of FER2013 (0.88; for CK+48's mean face it has the same corner and
# 156 pixels): from the hairline to the chin, the eyes a little above the middle.
FACE_BOX = (52, 68, 212, 228)
CROPS = {"none": (0, 0, SIDE, SIDE), "box": FACE_BOX}

HOW_TO_GET = """{path}: no JAFFE here. Either of these forms is read:
  {path}/KA.AN1.39.tiff ...                  the files as they are distributed (zenodo.org/records/3451524)
  {path}/train.csv, val.csv, test.csv        filepath,emotions; the images beside them"""


def read_jaffe(path: Path, *, crop: str = "none", side: int = SIDE) -> Faces:
    """All of JAFFE, by the names of its files: ``KA.AN1.39.tiff`` is person KA, expression AN (Lyons et al., 1998).

    Args:
        path: the folder that holds the files, named ``.tiff``, ``.tif``, ``.png`` or ``.jpg``.
        crop: ``"none"``, the whole image, or ``"box"``, the face in one fixed box (`FACE_BOX`).
        side: width and height that the images are brought to.

    Returns:
        Grey images uint8 [N, side, side], ordered by name; ids are the names without suffix, e.g. ``"KA.AN1.39"``.

    Raises:
        UserError: nothing is there, a name that does not parse, or an image that is not what it should be.
    """
    files = image_files(path, SUFFIXES) if path.is_dir() else []
    if not files:
        raise MissingDataError(HOW_TO_GET.format(path=path))
    first: dict[str, Path] = {}
    for file in files:
        if (other := first.setdefault(file.stem.upper(), file)) != file:
            raise UserError(f"{file}: the same image as {other}; expected one of them")
    return _read(files, crop, side)


def read_jaffe_files(path: Path, *, crop: str = "none", side: int = SIDE) -> dict[str, Faces]:
    """JAFFE in the parts that ``train.csv``, ``val.csv`` and ``test.csv`` name (columns ``filepath,emotions``).

    Args:
        path: the folder that holds the three files; ``filepath`` starts from it, and ``emotions`` is a name or a number
            from 0 to 6 in FER2013's order.
        crop, side: as for `read_jaffe`.

    Returns:
        The Faces of train, val and test.

    Raises:
        UserError: naming file, row, column and value; also where an image stands twice, or where ``emotions`` is not
            what the image's own name says (numbers in another order would go unnoticed).
    """
    listed: dict[str, str] = {}
    parts = {}
    for part in PARTS:
        files = _listed(path, path / f"{part}.csv", listed)
        parts[part] = _read(files, crop, side)
    return parts


def _read(files: list[Path], crop: str, side: int) -> Faces:
    if crop not in CROPS:
        raise UserError(f"unknown crop '{shown(crop)}' of JAFFE; expected one of {', '.join(CROPS)}")
    names = [_name(file) for file in files]
    images = np.empty((len(files), side, side), dtype=np.uint8)
    for index, file in enumerate(files):
        whole = read_image(file, formats=("TIFF", "PNG", "JPEG"), size=(SIDE, SIDE))
        images[index] = resized(whole, side, CROPS[crop])
    labels = np.array([FER2013_CLASSES.index(expression) for _, expression in names], dtype=np.int64)
    return Faces(images, labels, [file.stem.upper() for file in files], [who for who, _ in names], FER2013_CLASSES)


def _name(file: Path) -> tuple[str, str]:
    """(person, expression) as the name of a file says."""
    match = NAME.fullmatch(file.stem)
    if match is None:
        raise UserError(f"{file}: not a name of JAFFE's; expected one like KA.AN1.39.tiff, person.expression.number")
    return match[1].upper(), JAFFE_CODES[match[2].upper()]


def _listed(root: Path, table: Path, listed: dict[str, str]) -> list[Path]:
    """The files that one CSV lists; ``listed`` says where each image was listed first, in this CSV or another."""
    files = []
    for number, (name, emotion) in csv_rows(table, ("filepath", "emotions")):
        where = f"{table}: row {number}"
        file = _inside(root, name, f"{where}, column filepath")
        expression = _emotion(emotion, f"{where}, column emotions")
        if expression != _name(file)[1]:
            says = f"'{shown(emotion)}' ({expression}), but {file.name} is {_name(file)[1]} by its name"
            raise UserError(f"{where}, column emotions: {says}")
        place = listed.setdefault(file.stem.upper(), where)
        if place != where:
            raise UserError(f"{where}, column filepath: '{shown(name)}' stands already in {place}")
        files.append(file)
    if not files:
        raise UserError(f"{table}: no rows below the header")
    return files


def _inside(root: Path, name: str, where: str) -> Path:
    """The file ``name`` in ``root``, which it may not lead out of."""
    file = Path(name)
    if not name.isprintable() or file.is_absolute() or ".." in file.parts:
        raise UserError(f"{where}: '{shown(name)}' does not lie in {root}; expected a path that starts from there")
    try:
        require_file(root / file)
    except UserError as error:
        raise type(error)(f"{where}: {error}") from None
    return root / file


def _emotion(text: str, where: str) -> str:
    number = whole_number(text, len(FER2013_CLASSES) - 1)
    name = canonical(text) if number is None else FER2013_CLASSES[number]
    if name not in FER2013_CLASSES:
        near = closest(name[:40], FER2013_CLASSES, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(FER2013_CLASSES)} or 0 to 6"
        raise UserError(f"{where}: '{shown(text)}'; {hint}")
    return name
