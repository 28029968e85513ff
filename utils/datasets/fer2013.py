"""Reader of FER2013 in every form that users have: one CSV, three CSVs, or folders of images."""

import csv
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from utils.datasets.cache import Rows, cached_rows
from utils.datasets.faces import Faces, Split
from utils.errors import MissingDataError, UserError
from utils.files import refuse_disguise, require_file
from utils.labels import FER2013_CLASSES, canonical

SIDE = 48
USAGES = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
FOLDERS = {"train": "train", "val": "val", "validation": "val", "test": "test"}
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
VAL_SHARE = 0.1

HOW_TO_GET = """{path}: no FER2013 here. Any one of these forms is read:
  {path}/fer2013.csv                        emotion,pixels,Usage  (Kaggle: fer2013.tar.gz)
  {path}/icml_face_data.csv                 emotion, Usage, pixels  (Kaggle: same challenge)
  {path}/train.csv, val.csv, test.csv       emotion,pixels
  {path}/train/<class>/*.png, test/<class>/*.png
Get it from kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge.
No data at hand? `make train` needs none: it trains on drawn faces."""


def read_fer2013(path: Path, cache_dir: Path) -> Split:
    """The official split of FER2013: 28,709 Training, 3,589 PublicTest (val), 3,589 PrivateTest (test) images.

    Args:
        path: the CSV itself, or a folder that holds any one of the forms in `HOW_TO_GET`.
        cache_dir: where the parsed uint8 array is kept.

    Returns:
        A Split of grey images uint8 [N, 48, 48]. Where the files have no validation part, a tenth of each
        class of the training part, evenly spaced, is set apart, and ``protocol`` says so.

    Raises:
        UserError: nothing is there, or a file, row and column is not what it should be.
    """
    rows = _find(path, cache_dir)
    protocol = "official: Training / PublicTest / PrivateTest"
    if "val" not in rows.parts:
        rows = _with_validation(rows)
        protocol = "official test part; validation: every tenth image of each class of train"
    parts = {part: _part(rows, part) for part in ("train", "val", "test")}
    for part, faces in parts.items():
        if len(faces) == 0:
            raise UserError(f"{path}: the {part} part has no images")
    missing = [name for name, count in zip(FER2013_CLASSES, parts["train"].counts(), strict=True) if count == 0]
    if missing:
        raise UserError(f"{path}: the train part has no image of {', '.join(missing)}")
    return Split("official", parts["train"], parts["val"], parts["test"], protocol)


def _find(path: Path, cache_dir: Path) -> Rows:
    if path.is_file():
        return cached_rows([path], cache_dir, lambda: _parse_csv(path, None))
    for name in ("fer2013.csv", "icml_face_data.csv"):
        if (file := path / name).exists():
            require_file(file)
            return cached_rows([file], cache_dir, lambda: _parse_csv(file, None))
    files = {part: path / f"{part}.csv" for part in ("train", "val", "test")}
    if files["train"].exists():
        for file in files.values():
            require_file(file)
        return cached_rows(
            list(files.values()),
            cache_dir,
            lambda: _join([_parse_csv(file, part) for part, file in files.items()]),
        )
    if (path / "train").is_dir() and (path / "test").is_dir() and (images := _list_images(path)):
        return cached_rows([file for file, _, _ in images], cache_dir, lambda: _read_images(images))
    if path.exists() and not path.is_dir():
        require_file(path)
    raise MissingDataError(HOW_TO_GET.format(path=path))


def _part(rows: Rows, part: str) -> Faces:
    """One part of the rows, as a view where its rows stand together (they do in every official form)."""
    where = np.flatnonzero(np.array(rows.parts) == part)
    together = len(where) > 0 and where[-1] - where[0] + 1 == len(where)
    images = rows.images[where[0] : where[-1] + 1] if together else rows.images[where]
    return Faces(images, rows.labels[where], [rows.ids[i] for i in where], None, FER2013_CLASSES)


def _with_validation(rows: Rows) -> Rows:
    parts = np.array(rows.parts)
    for label in range(len(FER2013_CLASSES)):
        of_class = np.flatnonzero((parts == "train") & (rows.labels == label))
        parts[of_class[:: round(1 / VAL_SHARE)]] = "val"
    return Rows(rows.images, rows.labels, rows.ids, parts.tolist())


def _join(tables: Sequence[Rows]) -> Rows:
    return Rows(
        np.concatenate([t.images for t in tables]),
        np.concatenate([t.labels for t in tables]),
        [i for t in tables for i in t.ids],
        [p for t in tables for p in t.parts],
    )


def _parse_csv(path: Path, part: str | None) -> Rows:
    """Parse one CSV; ``part`` names the split of a file that has no Usage column."""
    refuse_disguise(path)
    images: list[np.ndarray] = []
    labels: list[int] = []
    parts: list[str] = []
    ids: list[str] = []
    counts = dict.fromkeys(USAGES.values(), 0)
    for line, emotion, pixels, usage in _csv_fields(path, part is None):
        where = f"{path}: row {line}"
        labels.append(_label(emotion, where))
        images.append(_pixels(pixels, where))
        if part is None and usage not in USAGES:
            raise UserError(f"{where}, column Usage: '{_shown(usage)}'; expected one of {', '.join(USAGES)}")
        parts.append(part or USAGES[usage])
        ids.append(f"{parts[-1]}/{counts[parts[-1]]:05d}")
        counts[parts[-1]] += 1
    if not images:
        raise UserError(f"{path}: no rows below the header")
    array = np.stack(images).reshape(-1, SIDE, SIDE)
    return Rows(array, np.array(labels, dtype=np.int64), ids, parts)


def _csv_fields(path: Path, with_usage: bool) -> Iterator[tuple[int, str, str, str]]:
    """(row number as a spreadsheet shows it, emotion, pixels, usage) for each row of a CSV."""
    wanted = ["emotion", "pixels"] + ["Usage"] * with_usage
    number = 0
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            number = 1
            for name in wanted:
                if header.count(name) != 1:
                    found = f"header is '{_shown(','.join(header), 60)}'"
                    raise UserError(f"{path}: {found}; expected the columns {', '.join(wanted)}, each once")
            columns = [header.index(name) for name in wanted]
            for number, row in enumerate(reader, start=2):
                if not row:  # a blank line
                    continue
                if len(row) != len(header):
                    raise UserError(f"{path}: row {number}: {len(row)} columns, expected {len(header)}")
                emotion, pixels, usage = ([row[column].strip() for column in columns] + [""])[:3]
                yield number, emotion, pixels, usage
    except UnicodeDecodeError:
        raise UserError(f"{path}: after row {number}: not text in UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path}: row {number + 1}: not a valid CSV row ({error})") from None


def _label(text: str, where: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 2 and int(text) < len(FER2013_CLASSES):
        return int(text)
    raise UserError(f"{where}, column emotion: '{_shown(text)}'; expected a whole number from 0 to 6")


def _pixels(text: str, where: str) -> np.ndarray:
    """uint8 [2304] from ``"70 80 82 ..."``."""
    strange = text.encode("utf-8", "replace").translate(None, b"0123456789 ")
    if strange:
        odd = next(word for word in text.split(" ") if not (word.isascii() and (word.isdigit() or not word)))
        raise UserError(f"{where}, column pixels: '{_shown(odd, 20)}' is not a whole number from 0 to 255")
    values = np.fromstring(text, dtype=np.int64, sep=" ")
    if len(values) != SIDE * SIDE:
        raise UserError(f"{where}, column pixels: {len(values)} values, expected {SIDE * SIDE}")
    if values.max() > 255:
        raise UserError(f"{where}, column pixels: {values.max()} is not a whole number from 0 to 255")
    return values.astype(np.uint8)


def _shown(text: str, most: int = 40) -> str:
    """The start of ``text``, safe to stand in a message of one line."""
    return "".join(c if c.isprintable() else "?" for c in text[:most])


def _list_images(path: Path) -> list[tuple[Path, str, int]]:
    """(file, part, label) of every image below ``path``, ordered by part, label and name.

    The order is the same whether folders are called ``happy``, ``Happiness`` or ``3``, and so are the ids.
    """
    found = []
    seen: dict[tuple[str, int], Path] = {}
    for name, part in FOLDERS.items():
        folders = [(_folder_label(p), p) for p in (path / name).glob("*") if p.is_dir()]
        for label, folder in sorted(folders):
            if (other := seen.setdefault((part, label), folder)) != folder:
                raise UserError(f"{folder}: stands for the same part and class as {other}; expected one of them")
            files = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            found += [(file, part, label) for file in files]
    return found


def _folder_label(folder: Path) -> int:
    name = canonical(folder.name)
    if name in FER2013_CLASSES:
        return FER2013_CLASSES.index(name)
    if name.isascii() and name.isdigit() and int(name) < len(FER2013_CLASSES):
        return int(name)
    raise UserError(f"{folder}: not the name of a class; expected one of {', '.join(FER2013_CLASSES)} or 0 to 6")


def _read_images(files: Sequence[tuple[Path, str, int]]) -> Rows:
    images = np.empty((len(files), SIDE, SIDE), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of sizes that are refused here, and of damaged EXIF tags
        for index, (file, _, _) in enumerate(files):
            images[index] = _read_image(file)
    ids = [f"{part}/{FER2013_CLASSES[label]}/{file.name}" for file, part, label in files]
    labels = np.array([label for _, _, label in files], dtype=np.int64)
    return Rows(images, labels, ids, [part for _, part, _ in files])


def _read_image(file: Path) -> np.ndarray:
    require_file(file)
    try:
        with Image.open(file, formats=("PNG", "JPEG")) as image:  # some of Pillow's other readers start programs
            if image.size != (SIDE, SIDE):  # checked on the header, before any memory is taken
                width, height = image.size
                raise UserError(f"{file}: {width}x{height} pixels, expected {SIDE}x{SIDE}")
            if image.mode not in EIGHT_BIT:  # convert() would clip 16 bits to white
                raise UserError(f"{file}: pixels of kind {image.mode}; expected 8 bits a channel")
            return np.asarray(ImageOps.exif_transpose(image).convert("L"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{file}: not a readable image ({error})") from None
