"""Frames of a video file or a camera, one at a time, and videos written frame by frame."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from utils.datasets.images import MOST_PIXELS
from utils.errors import MachineError, UserError
from utils.files import machine_errors, refuse_disguise

SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
_CODEC = "mp4v"  # MPEG-4, which OpenCV's wheel can write everywhere; H.264 it cannot
_USUAL_RATE = 25.0  # frames a second, where a file does not say
# Only AVI counts the frames that can be read. In MP4 an edit list hides some; of the others FFmpeg guesses by seconds.
_COUNTED, _MISSING = ".avi", 0.05


@dataclass(frozen=True)
class Video:
    """An open video.

    Attributes:
        name: to be shown.
        rate: frames a second.
        live: whether it is a camera, which goes on for ever.
        announced: how many frames there should be; 0 where that is not known.
    """

    name: str
    rate: float
    live: bool
    announced: int
    _capture: cv2.VideoCapture

    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        """(seconds from the start, uint8 [H, W, 3]) of one frame after the other, of which only one is in memory.

        Raises:
            UserError: at the end, when there was not a single one, or far fewer than an AVI announces.
        """
        number, begun = 0, time.monotonic()
        while (got := self._capture.read())[0]:
            # a camera drops the frames that come while an earlier one is being looked at
            yield time.monotonic() - begun if self.live else number / self.rate, cv2.cvtColor(got[1], cv2.COLOR_BGR2RGB)
            number += 1
        if number == 0:
            raise UserError(f"{self.name}: not a single frame can be read; damaged, or of a codec that is missing here")
        if number + 1 < (1 - _MISSING) * self.announced:
            raise UserError(f"{self.name}: damaged or cut; {number} of its {self.announced} frames can be read")


@contextmanager
def open_video(source: Path | int) -> Iterator[Video]:
    """The video in a file, or from the camera of that number.

    Raises:
        UserError: no such file, not a video, of a codec that is missing, or with frames of more than 50 million pixels.
        MachineError: no such camera.
    """
    live = isinstance(source, int)
    if isinstance(source, Path):
        refuse_disguise(source)
        # an absolute path, since names like concat:x mean more than a file to FFmpeg
        capture, name = cv2.VideoCapture(str(source.absolute()), cv2.CAP_FFMPEG), str(source)
    else:
        capture, name = cv2.VideoCapture(source), f"camera {source}"
    try:
        if not capture.isOpened():
            if live:
                raise MachineError(f"{name} is not there, or another program has it")
            raise UserError(f"{name}: not a readable video; damaged, or of a codec that is missing here")
        width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if width * height > MOST_PIXELS:
            raise UserError(f"{name}: {width:.0f}x{height:.0f} pixels; expected at most {MOST_PIXELS // 10**6} million")
        rate = capture.get(cv2.CAP_PROP_FPS)
        counted = not live and name.lower().endswith(_COUNTED)
        announced = round(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if counted else 0
        yield Video(name, rate if 1 <= rate <= 1000 else _USUAL_RATE, live, announced, capture)
    finally:
        capture.release()


class VideoWriter:
    """Writes a video frame by frame; the first one decides its size."""

    def __init__(self, path: Path, rate: float) -> None:
        """Args:
        path: the file, in a folder that is there; ends in ``.mp4``.
        rate: frames a second.
        """
        self._path, self._rate = path, rate
        self._writer: cv2.VideoWriter | None = None

    def write(self, frame: np.ndarray) -> None:
        """Add one frame, uint8 [H, W, 3].

        Raises:
            MachineError: it cannot be written.
        """
        if self._writer is None:
            size = frame.shape[1], frame.shape[0]
            code = cv2.VideoWriter.fourcc(*_CODEC)
            self._writer = cv2.VideoWriter(str(self._path), cv2.CAP_FFMPEG, code, self._rate, size)
            if not self._writer.isOpened():
                with machine_errors(self._path, frame.nbytes):
                    self._path.open("wb").close()  # for the system's own reason
                raise MachineError(f"{self._path}: this OpenCV cannot write {_CODEC} of {size[0]}x{size[1]} pixels")
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()
