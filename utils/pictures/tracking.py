"""Faces through a video: which one is which, and what each expresses once the flicker of single frames is smoothed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from utils.pictures.boxes import Box
from utils.pictures.reader import Face, FaceReader

# Every so many frames the whole picture is searched; between, each face is looked for where it was, which takes a
# tenth of the time. New faces appear with up to that delay: a third of a second.
SCAN_EVERY = 10
SCAN_SIDE = 640  # pixels; in 1280x720 faces from 64 pixels on are found
SAME_FACE = 0.3  # overlap from which on squares in two frames are one face
HALF_LIFE = 0.3  # seconds after which what was seen counts half
FORGOTTEN_AFTER = 1.0  # seconds without being seen


@dataclass
class _Track:
    number: int
    box: Box
    probabilities: np.ndarray
    seen: float


class FaceTracker:
    """Follows the faces of one video; frames go in in their order.

    >>> tracker = FaceTracker(reader)
    >>> for seconds, frame in frames:
    ...     faces = tracker.step(frame, seconds)
    """

    def __init__(self, reader: FaceReader) -> None:
        self._reader = reader
        self._tracks: list[_Track] = []
        self._numbers, self._frames = count(1), count()

    def step(self, frame: np.ndarray, seconds: float) -> list[Face]:
        """The faces in the next frame, with smoothed probabilities and the numbers of their tracks.

        Args:
            frame: uint8 [H, W, 3].
            seconds: when it was taken; not before the frame that came last.
        """
        self._tracks = [track for track in self._tracks if seconds - track.seen <= FORGOTTEN_AFTER]
        found = self._reader.read_in(frame, self._boxes(frame))
        return [self._smoothed(face, track, seconds) for face, track in self._matched(found)]

    def _boxes(self, frame: np.ndarray) -> list[Box]:
        if next(self._frames) % SCAN_EVERY == 0:
            return self._reader.finder.find(frame, SCAN_SIDE)
        near = (self._reader.finder.find_near(frame, track.box) for track in self._tracks)
        return _apart([box for box in near if box is not None])

    def _matched(self, found: list[Face]) -> Iterator[tuple[Face, _Track | None]]:
        """Each face with the track that it goes on, or None: the pairs that overlap most come first."""
        pairs = [(face.box.overlap(track.box), i, track) for i, face in enumerate(found) for track in self._tracks]
        of_face: dict[int, _Track] = {}
        for overlap, index, track in sorted(pairs, key=lambda pair: pair[0], reverse=True):
            taken = index in of_face or any(track is other for other in of_face.values())
            if overlap >= SAME_FACE and not taken:
                of_face[index] = track
        return ((face, of_face.get(index)) for index, face in enumerate(found))

    def _smoothed(self, face: Face, track: _Track | None, seconds: float) -> Face:
        probabilities = np.array(list(face.probabilities.values()))
        if track is None:
            track = _Track(next(self._numbers), face.box, probabilities, seconds)
            self._tracks.append(track)
        kept = 0.5 ** (max(0.0, seconds - track.seen) / HALF_LIFE)
        track.probabilities = kept * track.probabilities + (1 - kept) * probabilities
        track.box, track.seen = face.box, seconds
        reading = self._reader.reading(track.probabilities)
        return replace(face, probabilities=reading.probabilities, label=reading.label, track=track.number)


def _apart(boxes: list[Box]) -> list[Box]:
    """The same without squares that lie on an earlier one: two tracks may have met at one face."""
    kept: list[Box] = []
    for box in boxes:
        if all(box.overlap(other) < SAME_FACE for other in kept):
            kept.append(box)
    return kept
