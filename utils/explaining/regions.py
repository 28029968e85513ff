"""Parts of a face as boxes, and the share of a map that falls on each of them."""

from collections.abc import Mapping

import numpy as np

from utils.datasets.drawn_faces import PHOTO, person_traits

# Left, top, right and bottom as shares of the side.
Box = tuple[float, float, float, float]
Boxes = Mapping[str, tuple[Box, ...]]

PARTS = ("brows", "eyes", "mouth")
REGIONS = (*PARTS, "border", "elsewhere")
BORDER = 0.1  # width of the frame along the edge

# Read off the mean faces of FER2013, CK+48 and JAFFE (crop "box"), which lie within two pixels of 48 of each other.
CROPPED: Boxes = {
    "brows": ((0.14, 0.18, 0.46, 0.29), (0.54, 0.18, 0.86, 0.29)),
    "eyes": ((0.16, 0.29, 0.44, 0.43), (0.56, 0.29, 0.84, 0.43)),
    "mouth": ((0.30, 0.69, 0.70, 0.89),),
}


def drawn(subject: int, seed: int) -> Boxes:
    """Where brows, eyes and mouth of `draw_face(..., subject=subject, seed=seed)` lie, whatever its expression."""
    t = person_traits(subject, seed)
    eye, brow_end = t["eye_x"], t["eye_x"] + t["eye_w"] + 0.07
    lids, half = t["eye_y"] - 1.7 * t["eye_h"], 1.2 * t["eye_w"]
    brows_top = t["brow_y"] - t["brow_arch"] - 0.2
    mouth = 1.35 * t["mouth_w"]
    return {
        "brows": _pair(0.06, brows_top, brow_end, lids),
        "eyes": _pair(eye - half, lids, eye + half, t["eye_y"] + 1.7 * t["eye_h"]),
        "mouth": (_placed(-mouth, t["mouth_y"] - 0.16, mouth, t["mouth_y"] + 0.3),),
    }


def region_masks(boxes: Boxes, side: int) -> dict[str, np.ndarray]:
    """Name → bool [side, side] for each of `REGIONS`; every pixel lies in just one of them.

    A pixel belongs to a box that holds its centre, to the first of the parts where two boxes hold it.
    """
    centres = (np.arange(side) + 0.5) / side
    x, y = centres[None, :], centres[:, None]
    free = np.ones((side, side), bool)
    masks = {}
    for name in PARTS:
        inside = np.zeros((side, side), bool)
        for left, top, right, bottom in boxes[name]:
            inside |= (x >= left) & (x < right) & (y >= top) & (y < bottom)
        masks[name] = inside & free
        free &= ~inside
    edge = np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y)) < BORDER
    return masks | {"border": edge & free, "elsewhere": ~edge & free}


def energy_shares(maps: np.ndarray, masks: Mapping[str, np.ndarray]) -> np.ndarray:
    """What share of each map, of its positive part, lies in each region.

    Args:
        maps: float [N, S, S].
        masks: name → bool [S, S], or [N, S, S] where every map has its own.

    Returns:
        float64 [N, len(masks)]; NaN for a map with nothing above 0.
    """
    positive = np.maximum(maps, 0).astype(np.float64)
    total = positive.sum((1, 2))
    inside = np.stack([(positive * mask).sum((1, 2)) for mask in masks.values()], axis=1)
    return np.where(total[:, None] > 0, inside / np.where(total > 0, total, 1)[:, None], np.nan)


def _pair(left: float, top: float, right: float, bottom: float) -> tuple[Box, Box]:
    """A box of the right half of the face, and its mirror image."""
    return _placed(-right, top, -left, bottom), _placed(left, top, right, bottom)


def _placed(*box: float) -> Box:
    """From face coordinates, -1 to 1 about the middle of the face, to shares of the picture that `draw_face` makes."""
    zoom, shift = PHOTO["zoom"][0], (PHOTO["shift_x"][0], PHOTO["shift_y"][0])
    left, top, right, bottom = ((zoom * place + shift[axis % 2] + 1) / 2 for axis, place in enumerate(box))
    return left, top, right, bottom
