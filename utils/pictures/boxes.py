"""Squares in a picture: where a face is, how much two of them share, and what lies within one."""

from dataclasses import dataclass

import numpy as np

from utils.datasets.images import resized


@dataclass(frozen=True)
class Box:
    """A square in a picture, in pixels from the upper left corner; it may reach beyond the edges."""

    left: float
    top: float
    side: float

    @classmethod
    def around(cls, x: float, y: float, side: float) -> "Box":
        """The square whose middle is (x, y)."""
        return cls(x - side / 2, y - side / 2, side)

    @property
    def middle(self) -> tuple[float, float]:
        """(x, y)."""
        return self.left + self.side / 2, self.top + self.side / 2

    def corners(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom in whole pixels; right - left = bottom - top, at least 1."""
        left, top, side = round(self.left), round(self.top), max(1, round(self.side))
        return left, top, left + side, top + side

    def scaled(self, factor: float) -> "Box":
        """The same square in the picture made larger by ``factor``."""
        return Box(self.left * factor, self.top * factor, self.side * factor)

    def grown(self, factor: float) -> "Box":
        """A square around the same middle, ``factor`` times as wide."""
        return Box.around(*self.middle, self.side * factor)

    def moved(self, x: float, y: float) -> "Box":
        """The same square, further right and down."""
        return Box(self.left + x, self.top + y, self.side)

    def overlap(self, other: "Box") -> float:
        """Intersection over union: 1 for equal squares, 0 for such as share nothing."""
        width = min(self.left + self.side, other.left + other.side) - max(self.left, other.left)
        height = min(self.top + self.side, other.top + other.side) - max(self.top, other.top)
        shared = max(0.0, width) * max(0.0, height)
        return shared / (self.side**2 + other.side**2 - shared)


def cut_out(image: np.ndarray, box: Box, side: int) -> np.ndarray:
    """What lies within ``box``, as a square of ``side`` pixels; beyond the picture its edge goes on.

    Args:
        image: uint8 [H, W] or [H, W, 3].

    Returns:
        uint8 [side, side] or [side, side, 3].
    """
    height, width = image.shape[:2]
    left, top, right, bottom = box.corners()
    beyond = (max(0, -top), max(0, bottom - height)), (max(0, -left), max(0, right - width))
    inside = image[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    if any(map(any, beyond)):
        inside = np.pad(inside, (*beyond, (0, 0))[: image.ndim], mode="edge")
    return resized(inside, side)
