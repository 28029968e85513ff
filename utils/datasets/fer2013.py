"""Reader of FER2013 in every form that users have: one CSV, three CSVs, or folders of images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.datasets.cache import Rows, cached_rows
from utils.datasets.faces import Faces, Split
from utils.datasets.images import image_files, read_image
from utils.datasets.pixel_csv import SIDE, parse_pixel_csv
from utils.datasets.tables import shown, whole_number
from utils.errors import MissingDataError, UserError
from utils.files import require_file
from utils.labels import FER2013_CLASSES, canonical

FOLDERS = {"train": "train", "val": "val", "validation": "val", "test": "test"}
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
VAL_SHARE = 0.1
# Every run on this split has the same parts: labels of FER+ drop images from one, and never move any to another.
OFFICIAL = "official: Training / PublicTest / PrivateTest"
# Images of the official parts; some shared folders hold PublicTest in their test part too.
COUNTS = {"train": 28709, "val": 3589, "test": 3589}
# Where the middles of eyes and mouth lie in its images, as shares of their side from the left and from the top: read
# off the mean of the training images and its mirror image.
EYES, MOUTH = ((0.32, 0.37), (0.68, 0.37)), (0.5, 0.79)

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
        class of the training part, evenly spaced, is set apart. Where the parts are not the official ones by their
        numbers of images, ``protocol`` says what they are.

    Raises:
        UserError: nothing is there, or a file, row and column is not what it should be.
    """
    rows = _find(path, cache_dir)
    validation = f"{rows.parts.count('val'):,} images"
    if "val" not in rows.parts:
        rows, validation = _with_validation(rows), "every tenth image of each class of train"
    counts = {part: rows.parts.count(part) for part in COUNTS}
    test = "official test part"
    if counts["test"] != COUNTS["test"]:
        test = f"test part of {counts['test']:,} images, which is not PrivateTest ({COUNTS['test']:,})"
    protocol = OFFICIAL if counts == COUNTS else f"{test}; validation: {validation}"
    every = Faces(rows.images, rows.labels, rows.ids, None, FER2013_CLASSES)
    parts = {part: every.take(np.array(rows.parts) == part) for part in ("train", "val", "test")}
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
    return parse_pixel_csv(path, part, _label)


def _label(text: str, where: str) -> int:
    label = whole_number(text, len(FER2013_CLASSES) - 1)
    if label is None:
        raise UserError(f"{where}: '{shown(text)}'; expected a whole number from 0 to 6")
    return label


def _list_images(path: Path) -> list[tuple[Path, str, int]]:
    """(file, part, label) of every image below ``path``, ordered by part, label and name.

    The order is the same whether folders are called ``happy``, ``Happiness`` or ``3``, and so are the ids.
    """
    found = []
    seen: dict[tuple[str, int], Path] = {}
    for name, part in FOLDERS.items():
        folders = [(_folder_label(p), p) for p in (path / name).glob("[!.]*") if p.is_dir()]
        for label, folder in sorted(folders):
            if (other := seen.setdefault((part, label), folder)) != folder:
                raise UserError(f"{folder}: stands for the same part and class as {other}; expected one of them")
            files = image_files(folder, IMAGE_SUFFIXES)
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
    for index, (file, _, _) in enumerate(files):
        images[index] = read_image(file, size=(SIDE, SIDE))
    ids = [f"{part}/{FER2013_CLASSES[label]}/{file.name}" for file, part, label in files]
    labels = np.array([label for _, _, label in files], dtype=np.int64)
    return Rows(images, labels, ids, [part for _, part, _ in files])
