"""Where faces are in a picture: YuNet, where its model file is there, or the cascade that comes with OpenCV."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from utils.datasets.fer2013 import EYES, MOUTH
from utils.errors import MachineError, UserError
from utils.files import require_file, sha256_of
from utils.pictures.boxes import Box
from utils.pictures.yunet_file import YUNET, YUNET_SHA256

CASCADE = "cascade"
# Training images of FER2013 beside the squares in which this cascade sees their faces: 1.03 times as wide (median of
# 1,652; half of them from 0.97 to 1.11) and as high up (0.01). JAFFE's 213 portraits beside the box that is cut out of
# them for networks of FER2013: 1.01.
_CROP_BESIDE_CASCADE = 1.03
# YuNet says where eyes and corners of the mouth are, which lie in training images where `EYES` and `MOUTH` say.
_EYES_APART, _EYES_TO_MOUTH = EYES[1][0] - EYES[0][0], MOUTH[1] - EYES[0][1]
_MIDDLE = (0.5 - EYES[0][1]) / _EYES_TO_MOUTH  # of the way from the eyes to the mouth
# How sure YuNet has to be, from 0 to 1; its authors' demonstrations take 0.6 to 0.9.
_YUNET_SCORE = 0.7
# A face that is followed is looked for in a square so much wider than it, made so wide that it is about 60 pixels.
_SURROUNDINGS, _NEAR_SIDE = 1.8, 64


class Detector(Protocol):
    """Finds faces in a small picture.

    Attributes:
        longest: the side that a large picture is brought to before it is searched.
        smallest: the side of the smallest face that is looked for there.
    """

    longest: int
    smallest: int

    def detect(self, image: np.ndarray, least: float, most: float) -> list[Box]:
        """The squares that training would have cut out of ``image``, uint8 [H, W, 3].

        Args:
            least, most: the sides of the smallest and the largest face, as far as the detector can be told.
        """


class CascadeDetector:
    """The cascade of Viola and Jones (2001) in the form of Lienhart that comes within OpenCV's wheel."""

    longest, smallest = 1280, 32

    def __init__(self) -> None:
        """Raises:
        MachineError: this OpenCV has none.
        """
        if not hasattr(cv2, "CascadeClassifier"):
            hint = "pip install 'opencv-python-headless<5', or name a model file of YuNet with --detector"
            raise MachineError(f"OpenCV {cv2.__version__} has no cascades; {hint}")
        folder = Path(cv2.__file__).parent / "data"
        self._cascade = cv2.CascadeClassifier(str(folder / "haarcascade_frontalface_alt2.xml"))

    def detect(self, image: np.ndarray, least: float, most: float) -> list[Box]:
        """See `Detector.detect`."""
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        sizes = (round(least), round(least)), (round(most), round(most))
        found = self._cascade.detectMultiScale(
            grey, scaleFactor=1.1, minNeighbors=5, minSize=sizes[0], maxSize=sizes[1]
        )
        return [Box(float(x), float(y), float(width)).grown(_CROP_BESIDE_CASCADE) for x, y, width, _ in found]


class YuNetDetector:
    """YuNet (Wu et al., Machine Intelligence Research 20, 2023), through OpenCV."""

    longest, smallest = 640, 10  # its authors trained it on faces of 10 to 300 pixels

    def __init__(self, path: Path) -> None:
        """Raises:
        UserError: not a model file that OpenCV can read.
        """
        require_file(path)
        self.path = path
        try:
            self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), _YUNET_SCORE)
        except cv2.error:
            raise UserError(f"{path}: not a model that OpenCV can read; expected {YUNET.name}") from None

    def detect(self, image: np.ndarray, least: float, most: float) -> list[Box]:
        """See `Detector.detect`."""
        try:
            self._net.setInputSize((image.shape[1], image.shape[0]))
            _, rows = self._net.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        except cv2.error:
            raise UserError(f"{self.path}: a model, but not one of YuNet; expected {YUNET.name}") from None
        boxes = [_square(row) for row in ([] if rows is None else rows)]
        return [box for box in boxes if least <= box.side <= most]


class FaceFinder:
    """Finds the faces in pictures of any size with one detector; several threads may use it, one after the other."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._lock = threading.Lock()  # OpenCV's detectors change while they work

    def find(self, image: np.ndarray, longest: int | None = None) -> list[Box]:
        """The faces in uint8 [H, W, 3], from left to right, as squares like the images of FER2013.

        Args:
            longest: search the picture at this side, in less time, for larger faces only.
        """
        longest = min(longest or self._detector.longest, self._detector.longest)
        factor = min(1.0, longest / max(image.shape[:2]))
        boxes = self._detect(image, factor, self._detector.smallest, longest)
        return sorted(boxes, key=lambda box: box.middle)

    def find_near(self, image: np.ndarray, box: Box) -> Box | None:
        """The face that was in ``box`` a moment ago, by looking there alone: a small part of the time."""
        height, width = image.shape[:2]
        left, top, right, bottom = box.grown(_SURROUNDINGS).corners()
        left, top, right, bottom = max(0, left), max(0, top), min(width, right), min(height, bottom)
        if min(right - left, bottom - top) < 2:
            return None
        factor = min(1.0, _NEAR_SIDE / box.side)
        around = image[top:bottom, left:right]
        found = self._detect(around, factor, 0.7 * box.side * factor, 1.4 * box.side * factor)
        return max((one.moved(left, top) for one in found), key=box.overlap, default=None)

    def _detect(self, image: np.ndarray, factor: float, least: float, most: float) -> list[Box]:
        size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
        small = image if factor == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        with self._lock:
            found = self._detector.detect(small, least, most)
        return [box.scaled(1 / factor) for box in found]


def open_detector(name: str | Path | None = None) -> Detector:
    """A detector by the path of YuNet's model file, or ``"cascade"``.

    Args:
        name: None takes YuNet where `yunet_file.fetch_yunet` has put it, else the cascade: so that it works at once.

    Raises:
        UserError: no such file, not a model, or a fetched file that has been changed.
        MachineError: this OpenCV has no cascade.
    """
    if name == CASCADE:
        return CascadeDetector()
    if name is not None:
        return YuNetDetector(Path(name))
    if not YUNET.is_file():
        return CascadeDetector()
    if sha256_of(YUNET) != YUNET_SHA256:
        raise UserError(f"{YUNET}: damaged (checksum differs); python predict.py --fetch-detector fetches it anew")
    return YuNetDetector(YUNET)


def _square(row: Sequence[float]) -> Box:
    """The square around a face that YuNet found: (x, y) of eyes, nose and corners of the mouth follow its box."""
    eyes, mouth = np.reshape(row[4:8], (2, 2)), np.reshape(row[10:14], (2, 2))
    apart = float(np.linalg.norm(eyes[0] - eyes[1]))
    between, below = eyes.mean(0), mouth.mean(0)
    # the larger of the two distances counts: the first shrinks when a head turns, the second when it bows
    side = max(apart / _EYES_APART, float(np.linalg.norm(below - between)) / _EYES_TO_MOUTH)
    x, y = between + _MIDDLE * (below - between)
    return Box.around(float(x), float(y), side)
