"""Faces in photographs: read in every form, found, cut out as in training, judged, left open where that is honest."""

import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from conftest import refusal
from PIL import Image

from utils.datasets.drawn_faces import draw_face
from utils.datasets.fer2013 import EYES, MOUTH
from utils.datasets.images import read_photo
from utils.errors import MachineError
from utils.files import sha256_of
from utils.inference import Recognizer
from utils.pictures import Box, FaceReader, detectors, yunet_file
from utils.pictures.boxes import cut_out
from utils.pictures.detectors import CASCADE, CascadeDetector, YuNetDetector, open_detector

HAPPY, SURPRISE = 3, 5


def scene(*faces: tuple[int, int, int], size: tuple[int, int] = (640, 360)) -> np.ndarray:
    """A grey wall uint8 [H, W, 3] with drawn faces: (label, left edge, side) of each."""
    wall = np.full((size[1], size[0], 3), 190, np.uint8)
    for label, left, side in faces:
        wall[60 : 60 + side, left : left + side] = draw_face(label, subject=label, seed=0, size=side)[..., None]
    return wall


@pytest.fixture(scope="module")
def reader():
    with FaceReader(detector=CASCADE) as opened:
        yield opened


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "CMYK", "RGBA", "LA"])
def test_pictures_of_every_mode_look_as_they_do_to_people(tmp_path, mode):
    image = Image.fromarray(scene((HAPPY, 100, 200)))
    path = tmp_path / f"a.{'tif' if mode == 'CMYK' else 'png'}"
    (image.quantize() if mode == "P" else image.convert(mode)).save(path)
    pixels = read_photo(path)
    assert pixels.shape == (360, 640, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - np.asarray(image, int)).mean() < 1


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_become_eight_and_are_not_clipped(tmp_path, suffix):
    deep = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    Image.fromarray(deep).save(tmp_path / f"a{suffix}")
    assert (read_photo(tmp_path / f"a{suffix}")[..., 0].ravel() == np.arange(256)).all()


def test_numbers_from_0_to_1_are_pixels_and_others_are_refused(tmp_path):
    values = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    for name, factor in (("a.tif", 1), ("b.tif", 3), ("c.tif", np.nan)):
        Image.fromarray(values * np.float32(factor)).save(tmp_path / name)
    assert (read_photo(tmp_path / "a.tif")[..., 0].ravel() == np.arange(256)).all()
    assert "floating-point pixels from 0 to 3; expected 0 to 1" in refusal(lambda: read_photo(tmp_path / "b.tif"))
    assert "expected 0 to 1" in refusal(lambda: read_photo(tmp_path / "c.tif"))


def test_transparent_pixels_are_seen_on_white(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2, :, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png")[:, 0, 0].tolist() == [0, 0, 255, 255]


def test_exif_turns_a_photo_before_faces_are_looked_for(tmp_path, reader):
    upright = Image.fromarray(scene((HAPPY, 100, 200)))
    tag = Image.Exif()
    tag[0x0112] = 6  # the camera was held so that the picture has to be turned by 90 degrees clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.jpg", exif=tag, quality=95)
    (face,) = reader.read(tmp_path / "a.jpg")
    assert abs(face.box.middle[0] - 200) < 20 and face.label == "happy"


def test_damaged_pictures_and_bombs_are_refused_by_name(tmp_path, reader):
    bad = tmp_path / "bad.jpg"
    bad.write_text("not a picture")
    assert refusal(lambda: reader.read(bad)).startswith(f"{bad}: not a readable image")
    assert refusal(lambda: reader.read(tmp_path / "none.png")).endswith("none.png: no such file")
    bomb = tmp_path / "bomb.png"
    Image.new("1", (8_000, 8_000)).save(bomb)
    assert refusal(lambda: reader.read(bomb)) == f"{bomb}: 8000x8000 pixels; expected at most 50 million"


def test_faces_are_found_from_left_to_right_with_what_they_express(reader):
    faces = reader.read(scene((SURPRISE, 360, 220), (HAPPY, 40, 220)))
    assert [face.label for face in faces] == ["happy", "surprise"]
    for face, left in zip(faces, (40, 360), strict=True):
        assert abs(face.box.middle[0] - (left + 110)) < 20 and 110 < face.box.side < 220
        assert sum(face.probabilities.values()) == pytest.approx(1) and tuple(face.probabilities) == reader.classes
        assert face.best == face.label and face.confidence == max(face.probabilities.values())


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (2000, 2, 3), (31, 31, 3), (300, 200)])
def test_no_face_is_an_answer(reader, shape):
    assert reader.read(np.full(shape, 90, np.uint8)) == []
    assert reader.judge([]) == []


def test_a_face_in_a_photo_is_judged_like_the_same_face_in_a_data_set(reader):
    crop = draw_face(HAPPY, subject=1, seed=0, size=48)
    photo = np.full((90, 120, 3), 7, np.uint8)
    photo[20:68, 30:78] = crop[..., None]
    (face,) = reader.read_in(photo, [Box(30, 20, 48)])
    (reading,) = reader.judge(crop[None])
    expected = Recognizer(reader.path).probabilities(crop[None], views=1)[0]
    assert np.allclose(list(face.probabilities.values()), expected, atol=1e-5)
    assert np.allclose(list(reading.probabilities.values()), expected, atol=1e-5)


def test_what_lies_beyond_the_picture_is_its_edge_going_on():
    image = np.arange(16, dtype=np.uint8).reshape(4, 4)
    beyond = cut_out(image, Box(-2, -2, 4), 4)
    assert beyond.tolist() == [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [4, 4, 4, 5]]
    assert cut_out(image, Box(1, 1, 2), 2).tolist() == [[5, 6], [9, 10]]


def test_crops_of_several_sizes_go_together(reader):
    crops = [draw_face(HAPPY, subject=1, seed=0, size=side) for side in (48, 96, 200)]
    readings = reader.judge([crops[0], np.repeat(crops[1][..., None], 3, 2), crops[2]])
    assert [reading.best for reading in readings] == ["happy"] * 3


def test_below_the_threshold_of_validation_no_class_is_named(reader):
    classes = len(reader.classes)
    least = reader.unsure_below
    assert least is not None and 1 / classes < least < 1  # of the dump that comes with the network
    rest = (1 - least) / (classes - 1)
    row = np.array([least, *[rest] * (classes - 1)])
    assert reader.reading(row).label == reader.classes[0]
    shy = reader.reading(row + np.array([-1e-6, *[1e-6 / (classes - 1)] * (classes - 1)]))
    assert shy.label is None and shy.best == reader.classes[0]


def test_threshold_of_ones_own_and_its_range():
    face = draw_face(HAPPY, subject=1, seed=0, size=48)[None]
    with FaceReader(detector=CASCADE, unsure_below=1.0) as shy:
        assert shy.judge(face)[0].label is None
    assert refusal(lambda: FaceReader(unsure_below=1.5)) == "unsure_below must be a number from 0 to 1; got 1.5"


def test_threads_share_a_reader(reader):
    photos = [scene((label, 60 + 20 * label, 200)) for label in range(7)]
    alone = [reader.read(photo) for photo in photos]
    gate = threading.Barrier(4)
    with ThreadPoolExecutor(4, initializer=gate.wait) as pool:
        together = list(pool.map(reader.read, photos * 4))
    assert together == alone * 4


def test_a_closed_reader_and_wrong_arrays_are_mistakes_of_the_caller():
    with FaceReader(detector=CASCADE) as reader:
        for wrong in (np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8)):
            with pytest.raises(ValueError, match="expected uint8"):
                reader.read(wrong)
    with pytest.raises(ValueError, match="closed"):
        reader.read(scene())


def test_yunet_squares_are_those_of_training_images():
    eyes_and_mouth = [(100 + 50 * x, 200 + 50 * y) for x, y in (*EYES, MOUTH)]
    right, left, mouth = eyes_and_mouth
    row = np.array([0, 0, 0, 0, *right, *left, 0, 0, mouth[0] - 9, mouth[1], mouth[0] + 9, mouth[1], 0.9])
    box = detectors._square(row)
    assert (box.left, box.top, box.side) == pytest.approx((100, 200, 50))


def test_detectors_are_refused_by_name(tmp_path, monkeypatch):
    text = tmp_path / "model.onnx"
    text.write_text("no model")
    assert refusal(lambda: open_detector(text)).startswith(f"{text}: not a model that OpenCV can read")
    assert refusal(lambda: open_detector(tmp_path / "x.onnx")).endswith("x.onnx: no such file")
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(MachineError, match="has no cascades; pip install"):
        CascadeDetector()


def test_a_fetched_detector_is_taken_if_its_hash_is_right(tmp_path, monkeypatch):
    """The file itself stands in the network; here, one with another hash has to do."""
    sent, kept = tmp_path / "sent.onnx", tmp_path / "detectors" / "yunet.onnx"
    sent.write_bytes(b"model")
    monkeypatch.setattr(detectors, "YUNET", kept)
    assert isinstance(open_detector(), CascadeDetector)
    assert "sent another file" in refusal(lambda: yunet_file.fetch_yunet(sent.as_uri(), kept)) and not kept.exists()
    with pytest.raises(MachineError, match="cannot be fetched"):
        yunet_file.fetch_yunet((tmp_path / "none").as_uri(), kept)
    for module in (yunet_file, detectors):
        monkeypatch.setattr(module, "YUNET_SHA256", sha256_of(sent))
    yunet_file.fetch_yunet(sent.as_uri(), kept)
    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *_: "the network")
    found = open_detector()
    assert isinstance(found, YuNetDetector) and found.path == kept
    kept.write_bytes(b"madel")
    assert "damaged (checksum differs)" in refusal(open_detector)
