"""The CSV form that FER2013 and CK+ share: ``emotion,pixels`` and, where one file holds all parts, ``Usage``."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from utils.datasets.cache import Rows
from utils.datasets.tables import csv_rows, shown
from utils.errors import UserError

SIDE = 48
USAGES = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}


def parse_pixel_csv(path: Path, part: str | None, label_of: Callable[[str, str], int]) -> Rows:
    """Parse one CSV whose rows are grey images of 48 by 48 pixels.

    Args:
        path: the file.
        part: names the part of a file that has no Usage column; None where it has one.
        label_of: the label that the text of column ``emotion`` stands for; its second argument says where it stands,
            for the message of the UserError that it raises.

    Returns:
        Images uint8 [N, 48, 48]; ids are the part and the row's number within the part, e.g. ``"train/00017"``.

    Raises:
        UserError: naming file, row, column and value.
    """
    images: list[np.ndarray] = []
    labels: list[int] = []
    parts: list[str] = []
    ids: list[str] = []
    counts = dict.fromkeys(USAGES.values(), 0)
    for line, values in csv_rows(path, ["emotion", "pixels"] + ["Usage"] * (part is None)):
        where = f"{path}: row {line}"
        emotion, pixels, usage = (values + [""])[:3]
        labels.append(label_of(emotion, f"{where}, column emotion"))
        images.append(_pixels(pixels, where))
        if part is None and usage not in USAGES:
            raise UserError(f"{where}, column Usage: '{shown(usage)}'; expected one of {', '.join(USAGES)}")
        parts.append(part or USAGES[usage])
        ids.append(f"{parts[-1]}/{counts[parts[-1]]:05d}")
        counts[parts[-1]] += 1
    if not images:
        raise UserError(f"{path}: no rows below the header")
    array = np.stack(images).reshape(-1, SIDE, SIDE)
    return Rows(array, np.array(labels, dtype=np.int64), ids, parts)


def _pixels(text: str, where: str) -> np.ndarray:
    """uint8 [2304] from ``"70 80 82 ..."``."""
    strange = text.encode("utf-8", "replace").translate(None, b"0123456789 ")
    if strange:
        odd = next(word for word in text.split(" ") if not (word.isascii() and (word.isdigit() or not word)))
        raise UserError(f"{where}, column pixels: '{shown(odd, 20)}' is not a whole number from 0 to 255")
    values = np.fromstring(text, dtype=np.int64, sep=" ")
    if len(values) != SIDE * SIDE:
        raise UserError(f"{where}, column pixels: {len(values)} values, expected {SIDE * SIDE}")
    if values.max() > 255:
        raise UserError(f"{where}, column pixels: {values.max()} is not a whole number from 0 to 255")
    return values.astype(np.uint8)
