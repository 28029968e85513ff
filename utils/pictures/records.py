"""What was seen in pictures and frames, for people and for programs; written as it comes, so that nothing piles up."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

from utils.pictures.reader import Face

_REMEMBERED = 1000  # faces of videos, so that an hour of crowds needs no more memory than a minute


@dataclass(frozen=True)
class Record:
    """One picture, or one frame of a video.

    Attributes:
        source: the file or the camera.
        faces: possibly none.
        frame: its number in the video, from 0; None for a picture.
        seconds: since the video began; None for a picture.
    """

    source: str
    faces: Sequence[Face]
    frame: int | None = None
    seconds: float | None = None


class JsonLines:
    """One JSON object on a line for each picture or frame, also where there is no face in it."""

    def __init__(self, out: IO[str], classes: Sequence[str]) -> None:
        self._out = out

    def write(self, record: Record) -> None:
        """Add one line."""
        seconds = None if record.seconds is None else round(record.seconds, 3)
        faces = [_plain(face) for face in record.faces]
        told = {"source": record.source, "frame": record.frame, "seconds": seconds, "faces": faces}
        print(json.dumps(told), file=self._out, flush=True)

    def end_video(self, source: str) -> None:
        """Every frame has had its line."""


class CsvRows:
    """One row for each face: where it is, its class (empty where unsure) and the probability of every class."""

    def __init__(self, out: IO[str], classes: Sequence[str]) -> None:
        self._out, self._rows = out, csv.writer(out, lineterminator="\n")
        place = ("source", "frame", "seconds", "face", "left", "top", "right", "bottom")
        self._rows.writerow([*place, "label", "confidence", *classes])

    def write(self, record: Record) -> None:
        """Add the rows of one picture or frame."""
        seconds = None if record.seconds is None else f"{record.seconds:.3f}"
        for number, face in enumerate(record.faces, 1):
            place = (record.source, record.frame, seconds, face.track or number, *face.box.corners())
            said = (face.label, *(f"{p:.4f}" for p in (face.confidence, *face.probabilities.values())))
            self._rows.writerow([*place, *said])
        self._out.flush()

    def end_video(self, source: str) -> None:
        """Where there was no face there is no row."""


class Sentences:
    """A line for each face in a picture; in a video only where a face comes or changes."""

    def __init__(self, out: IO[str], classes: Sequence[str]) -> None:
        self._out = out
        self._said: dict[int, str | None] = {}
        self._frames = self._faces = 0  # of this video

    def write(self, record: Record) -> None:
        """Say what is new."""
        if record.frame == 0:
            self._said.clear()
            self._frames = self._faces = 0
        self._frames, self._faces = self._frames + 1, self._faces + len(record.faces)
        if record.frame is None and not record.faces:
            print(f"{record.source}: no face found", file=self._out)
        for face in record.faces:
            if face.track is None:
                left, top, right, bottom = face.box.corners()
                print(f"{record.source}: {said(face)}, at {left},{top} to {right},{bottom}", file=self._out)
            elif self._said.get(face.track, "") != face.label:
                if len(self._said) >= _REMEMBERED:
                    self._said.clear()
                self._said[face.track] = face.label
                print(f"{record.source}: {record.seconds:.1f} s, face {face.track}: {said(face)}", file=self._out)
        self._out.flush()

    def end_video(self, source: str) -> None:
        """Say so if there was no face in any frame."""
        if not self._faces:
            print(f"{source}: no face found in {self._frames} frames", file=self._out, flush=True)


Writer = JsonLines | CsvRows | Sentences
WRITERS: dict[str, Callable[[IO[str], Sequence[str]], Writer]] = {
    "json": JsonLines,
    "csv": CsvRows,
    "text": Sentences,
}


def said(face: Face) -> str:
    """``happy 92 %``, or ``unsure: sad 34 %`` where its best class is not probable enough to be named."""
    return f"{'' if face.label else 'unsure: '}{face.best} {100 * face.confidence:.0f} %"


def _plain(face: Face) -> dict[str, object]:
    plain: dict[str, object] = {"box": list(face.box.corners()), "label": face.label}
    plain["confidence"] = round(face.confidence, 4)
    plain["probabilities"] = {name: round(p, 4) for name, p in face.probabilities.items()}
    return plain if face.track is None else plain | {"track": face.track}
