"""What the faces in a picture express: found, cut out as in training, judged, and left open where that is honest."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from PIL import Image

from utils.config import Config, load_config
from utils.datasets.images import read_photo, resized
from utils.datasets.sources import SOURCES, stored_side
from utils.errors import UserError
from utils.inference import Recognizer
from utils.pictures.boxes import Box, cut_out
from utils.pictures.detectors import FaceFinder, open_detector
from utils.shipped import network_path
from utils.trust import calibrated_probabilities, trust_of


@dataclass(frozen=True)
class Reading:
    """What a network says of one face.

    Attributes:
        probabilities: of each class by its name, in label order; they sum to one.
        label: the most probable class; None where it is not probable enough to be named.
    """

    probabilities: dict[str, float]
    label: str | None

    @property
    def best(self) -> str:
        """The most probable class, named or not."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def confidence(self) -> float:
        """The probability of that class, from 0 to 1."""
        return self.probabilities[self.best]


@dataclass(frozen=True)
class Face(Reading):
    """A face in a picture.

    Attributes:
        box: the square that the network saw, in pixels of the picture.
        track: in a video, the number of this face; frames that show the same one share it.
    """

    box: Box
    track: int | None = None


class FaceReader:
    """Finds faces and says what they express; several threads may use one at the same time.

    >>> with FaceReader() as reader:
    ...     for face in reader.read("photo.jpg"):
    ...         print(face.box, face.label, face.probabilities)
    """

    def __init__(
        self,
        network: str | None = None,
        *,
        detector: str | Path | None = None,
        device: str | None = None,
        unsure_below: float | None = None,
    ) -> None:
        """Args:
            network: a run, a checkpoint or a .safetensors file; by default what comes with the package.
            detector: YuNet's model file, or ``"cascade"``; see `detectors.open_detector`.
            device: where to compute; the processor by default.
            unsure_below: a threshold of one's own, from 0 (always name a class) to 1.

        Raises:
            UserError: no such network or detector, a damaged file, or a threshold out of range.
            MachineError: no such device.
        """
        if unsure_below is not None and not 0 <= unsure_below <= 1:
            raise UserError(f"unsure_below must be a number from 0 to 1; got {unsure_below!r}")
        self._recognizer: Recognizer | None = Recognizer(network_path(network, load_config(None)), device)
        self.path, self.run = self._recognizer.path, self._recognizer.checkpoint.run
        self.classes = self._recognizer.classes
        self.trust = trust_of(self._recognizer)
        self.unsure_below = self.trust.unsure_below if unsure_below is None else unsure_below
        self.finder = FaceFinder(open_detector(detector))

    def read(self, picture: str | Path | np.ndarray) -> list[Face]:
        """The faces in a picture, from left to right; possibly none.

        Args:
            picture: the path of an image, or its pixels, uint8 [H, W] or [H, W, 3] (red, green, blue).

        Raises:
            UserError: not an image.
            ValueError: an array of another type or shape; or this reader has been closed.
        """
        image = read_photo(Path(picture)) if isinstance(picture, str | Path) else as_rgb(checked(picture))
        return self.read_in(image, self.finder.find(image))

    def read_in(self, image: np.ndarray, boxes: Sequence[Box]) -> list[Face]:
        """The faces of uint8 [H, W, 3] that are known to be in ``boxes``, in their order."""
        side = stored_side(self._open().config)
        readings = self._judged([cut_out(image, box, side) for box in boxes])
        return [Face(r.probabilities, r.label, box) for r, box in zip(readings, boxes, strict=True)]

    def judge(self, crops: np.ndarray | Sequence[np.ndarray]) -> list[Reading]:
        """What faces express that have been cut out already, as tightly as FER2013's: hairline to chin.

        Args:
            crops: uint8 [N, H, W] or [N, H, W, 3], or a sequence of arrays [H, W] or [H, W, 3] of any sizes; of one
                that is not square, the largest square in its middle is taken.

        Raises:
            ValueError: arrays of another type or shape; or this reader has been closed.
        """
        side = stored_side(self._open().config)
        return self._judged([resized(checked(crop), side) for crop in crops])

    def reading(self, probabilities: np.ndarray) -> Reading:
        """float [C] as a `Reading`: its best class is named unless that is less probable than ``unsure_below``."""
        best = int(probabilities.argmax())
        sure = probabilities[best] >= (self.unsure_below or 0)
        named = dict(zip(self.classes, probabilities.tolist(), strict=True))
        return Reading(named, self.classes[best] if sure else None)

    def close(self) -> None:
        """Let the network go; whatever is asked afterwards is refused."""
        self._recognizer = None

    def __enter__(self) -> "FaceReader":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def _judged(self, crops: Sequence[np.ndarray]) -> list[Reading]:
        """Readings of uint8 [side, side] or [side, side, 3] each."""
        recognizer = self._open()
        if not crops:
            return []
        images = np.stack([as_stored(crop, recognizer.config) for crop in crops])
        return [self.reading(row) for row in calibrated_probabilities(recognizer, images, self.trust)]

    def _open(self) -> Recognizer:
        if self._recognizer is None:
            raise ValueError("this reader has been closed")
        return self._recognizer


def as_stored(crop: np.ndarray, config: Config) -> np.ndarray:
    """uint8 [S, S] or [S, S, 3] as the data set of a network has them: in grey where it knows no colours."""
    return as_rgb(crop) if config.in_channels == 3 and SOURCES[config.dataset].colour else _as_grey(crop)


def checked(image: np.ndarray) -> np.ndarray:
    """``image`` itself.

    Raises:
        ValueError: not uint8 [H, W] or [H, W, 3], or without a pixel.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.size == 0 or not (image.ndim == 2 or image.ndim == 3 and image.shape[2] == 3):
        raise ValueError(f"image is {image.dtype} {image.shape}; expected uint8 [H, W] or [H, W, 3]")
    return image


def as_rgb(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] of uint8 [H, W] or [H, W, 3]."""
    return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image


def _as_grey(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W] of the same, by the weights of ITU-R 601."""
    return image if image.ndim == 2 else np.asarray(Image.fromarray(image).convert("L"))
