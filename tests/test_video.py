"""Faces through a video: who is who, smoothed over time, one frame in memory; files that are none are refused."""

import weakref
from dataclasses import dataclass, field
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import refusal

from utils.errors import MachineError
from utils.pictures import Box, Face, FaceReader
from utils.pictures import video as video_module
from utils.pictures.detectors import CASCADE, FaceFinder
from utils.pictures.tracking import FORGOTTEN_AFTER, HALF_LIFE, SCAN_EVERY, FaceTracker
from utils.pictures.video import VideoWriter, open_video


@dataclass
class WhiteSquares:
    """A detector that takes white squares for faces."""

    longest: int = 640
    smallest: int = 8
    searched: list[int] = field(default_factory=list)

    def detect(self, image: np.ndarray, least: float, most: float) -> list[Box]:
        self.searched.append(image.shape[0] * image.shape[1])
        _, _, found, _ = cv2.connectedComponentsWithStats((image[..., 0] > 128).astype(np.uint8))
        return [Box(float(x), float(y), float(w)) for x, y, w, _, _ in found[1:] if least <= w <= most]


def frame(*lefts: int) -> np.ndarray:
    """uint8 [120, 320, 3] with a white square of 30 pixels at each place."""
    image = np.zeros((120, 320, 3), np.uint8)
    for left in lefts:
        image[40:70, left : left + 30] = 255
    return image


@pytest.fixture
def reader():
    with FaceReader(detector=CASCADE) as opened:
        opened.finder = FaceFinder(WhiteSquares())
        yield opened


def test_faces_keep_their_numbers_while_they_move_and_new_ones_get_new_numbers(reader):
    tracker = FaceTracker(reader)
    for step in range(2 * SCAN_EVERY):
        faces = tracker.step(frame(10 + 3 * step, *([250] if step >= 5 else [])), step / 25)
        boxes = {face.track: round(face.box.left) for face in faces}
        seen = {1: 10 + 3 * step} | ({2: 250} if step >= SCAN_EVERY else {})  # found by the next search of it all
        assert boxes == seen


def test_a_face_that_was_away_for_long_is_a_new_one(reader):
    tracker = FaceTracker(reader)
    assert [face.track for face in tracker.step(frame(50), 0.0)] == [1]
    for number in range(1, SCAN_EVERY):
        assert tracker.step(frame(), number * FORGOTTEN_AFTER / SCAN_EVERY) == []
    assert [face.track for face in tracker.step(frame(50), 1.01 * FORGOTTEN_AFTER)] == [2]


def test_between_searches_only_the_surroundings_are_looked_at(reader):
    detector = WhiteSquares()
    reader.finder, tracker = FaceFinder(detector), FaceTracker(reader)
    for number in range(SCAN_EVERY + 1):
        tracker.step(frame(50), number / 25)
    whole = 120 * 320
    assert detector.searched[0] == detector.searched[-1] == whole
    assert len(detector.searched) == SCAN_EVERY + 1 and max(detector.searched[1:-1]) < whole / 8


def test_what_was_seen_counts_half_after_the_half_life(reader, monkeypatch):
    said = iter([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    monkeypatch.setattr(reader, "classes", ("a", "b"))

    def judge(_, boxes):
        return [Face(dict(zip("ab", next(said), strict=True)), None, boxes[0])]

    monkeypatch.setattr(reader, "read_in", judge)
    tracker = FaceTracker(reader)
    shares = [tracker.step(frame(50), n * HALF_LIFE)[0].probabilities["a"] for n in range(3)]
    assert shares == pytest.approx([1, 1 / 2, 1 / 4])


def test_however_long_a_video_is_one_frame_is_in_memory(reader):
    tracker, met = FaceTracker(reader), []
    for number in range(40 * SCAN_EVERY):
        image = frame(10 + 40 * (number // SCAN_EVERY % 7))
        met.append(weakref.ref(image))
        tracker.step(image, number / 5)
        assert sum(image() is not None for image in met) == 1 and len(tracker._tracks) <= 2


def written(path, frames, rate=10.0):
    writer = VideoWriter(path, rate)
    for image in frames:
        writer.write(image)
    writer.close()
    return path


def test_a_written_video_is_read_back_frame_by_frame(tmp_path):
    path = written(tmp_path / "a.mp4", [frame(10 * number) for number in range(5)])
    with open_video(path) as opened:
        read = list(opened.frames())
    assert [seconds for seconds, _ in read] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    for number, (_, image) in enumerate(read):
        assert np.abs(image.astype(int) - frame(10 * number)).mean() < 4


def test_colours_keep_their_places(tmp_path):
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 200
    with open_video(written(tmp_path / "a.mp4", [red])) as opened:
        ((_, image),) = opened.frames()
    assert np.abs(image.mean((0, 1)) - (200, 0, 0)).max() < 12


def test_what_is_no_video_is_refused_in_one_line(tmp_path):
    def open_it(path):
        with open_video(path) as opened:
            list(opened.frames())

    text = tmp_path / "a.mp4"
    text.write_text("no video")
    assert (
        refusal(lambda: open_it(text)) == f"{text}: not a readable video; damaged, or of a codec that is missing here"
    )
    whole = written(tmp_path / "whole.mp4", [frame(9)] * 9).read_bytes()
    for cut in (0, 40, len(whole) // 2):
        text.write_bytes(whole[:cut])
        assert refusal(lambda: open_it(text)).startswith(f"{text}: ")
    assert refusal(lambda: open_it(tmp_path / "none.mp4")).endswith("none.mp4: no such file")


def test_a_playlist_that_names_other_files_is_not_followed(tmp_path):
    written(tmp_path / "secret.mp4", [frame(9)] * 3)
    text = tmp_path / "list.mp4"
    text.write_text(f"ffconcat version 1.0\nfile {tmp_path / 'secret.mp4'}\n")
    with pytest.raises(Exception, match="not a readable video"), open_video(text):
        pass


def test_frames_of_too_many_pixels_are_refused_before_one_is_read(tmp_path, monkeypatch):
    path = written(tmp_path / "a.mp4", [frame(9)] * 2)
    monkeypatch.setattr(video_module, "MOST_PIXELS", 320 * 120 - 1)

    def open_it():
        with open_video(path):
            pass

    assert refusal(open_it).startswith(f"{path}: 320x120 pixels; expected at most")


def test_a_camera_goes_by_the_clock_and_one_that_is_not_there_is_the_machines_fault(monkeypatch):
    with pytest.raises(MachineError, match="camera 97 is not there"), open_video(97):
        pass
    answers = iter([(True, frame(1)), (True, frame(2)), (False, None)])
    capture = SimpleNamespace(
        isOpened=lambda: True, get=lambda _: 30.0, read=lambda: next(answers), release=lambda: None
    )
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: capture)
    clock = iter([100.0, 100.5, 102.0])
    monkeypatch.setattr(video_module.time, "monotonic", lambda: next(clock))
    with open_video(0) as opened:
        assert opened.live and [seconds for seconds, _ in opened.frames()] == [0.5, 2.0]


def test_a_video_that_cannot_be_written_says_why(tmp_path):
    with pytest.raises(MachineError, match=r"none.a\.mp4: cannot be written \(no such file"):
        written(tmp_path / "none" / "a.mp4", [frame(9)])
