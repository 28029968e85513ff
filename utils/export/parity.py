"""The proof that an exported network says what the trained one says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from utils.config import Config
from utils.datasets.drawn_faces import draw_faces
from utils.datasets.faces import Images
from utils.datasets.images import resized
from utils.errors import UserError

MOST_DIFFERENCE = 1e-4
_SEED = 2013
_AT_ONCE = 64

# float32 [N, C, S, S] with values 0 to 255 → probabilities float [N, K]
JudgePixels = Callable[[np.ndarray], np.ndarray]


class ExportedFile(Protocol):
    """What an exported network can do before it is written, whatever its format.

    Attributes:
        made_with: the packages whose versions matter.
    """

    made_with: tuple[str, ...]

    def judge(self, pixels: np.ndarray) -> np.ndarray:
        """Probabilities, float32 [N, K], of float32 [N, C, S, S] with values 0 to 255."""

    def content(self, facts: Mapping[str, Any]) -> bytes:
        """The file, with the facts as JSON inside."""


class ParityError(UserError):
    """The exported network differs from the trained one; nothing is written."""

    exit_code = 3


@dataclass(frozen=True)
class Parity:
    """How far two judges of the same images lie apart.

    Attributes:
        images: how many were compared.
        max_abs_difference: the largest difference of a probability.
        flips: images of which the two name different classes.
    """

    images: int
    max_abs_difference: float
    flips: int

    def require(self) -> None:
        """Raises:
        ParityError: they differ by more than `MOST_DIFFERENCE`, or on the class of an image.
        """
        if self.max_abs_difference > MOST_DIFFERENCE or self.flips or not np.isfinite(self.max_abs_difference):
            raise ParityError(
                f"the exported network differs from the trained one: probabilities by {self.max_abs_difference:.1e} "
                f"(at most {MOST_DIFFERENCE:.0e}), {self.flips} of {self.images} images called by another name (none); "
                "nothing was written"
            )


def parity(expected: np.ndarray, found: np.ndarray) -> Parity:
    """Compare probabilities, float [N, K] each, N > 0."""
    flips = int((expected.argmax(1) != found.argmax(1)).sum())
    return Parity(len(expected), float(np.abs(expected - found).max()), flips)


def judged(judge: JudgePixels, images: np.ndarray) -> np.ndarray:
    """What ``judge`` says of uint8 [N, S, S] or [N, S, S, 3], in batches of which the last is smaller."""
    batches = [judge(as_pixels(images[start : start + _AT_ONCE])) for start in range(0, len(images), _AT_ONCE)]
    return np.concatenate(batches)


def as_pixels(images: np.ndarray) -> np.ndarray:
    """uint8 [N, S, S] or [N, S, S, 3] to float32 [N, C, S, S], values 0 to 255."""
    planes = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(planes, np.float32)


def drawn(count: int, config: Config) -> np.ndarray:
    """Drawn faces as a network of ``config`` is shown them: see `to_size`."""
    return to_size(draw_faces(count, seed=_SEED, size=max(48, config.image_size)).images, config)


def to_size(images: Images, config: Config) -> np.ndarray:
    """uint8 [N, S, S], or [N, S, S, 3] for a network of three channels; grey ones are repeated."""
    side = config.image_size
    square = [i if i.shape[:2] == (side, side) else resized(i, side) for i in images]
    shape = (0, side, side, 3) if images.ndim == 4 else (0, side, side)
    array = np.stack(square) if square else np.empty(shape, np.uint8)
    return array if config.in_channels == 1 or array.ndim == 4 else np.repeat(array[..., None], 3, axis=3)
