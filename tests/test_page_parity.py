"""The page says what Python says: the same pictures, cut out and judged by both."""

from base64 import b64encode

import numpy as np
import page
import pytest
from PIL import Image

from utils.config import load_config
from utils.datasets.drawn_faces import draw_face
from utils.datasets.fer2013 import read_fer2013
from utils.inference import Recognizer
from utils.labels import FER2013_CLASSES
from utils.shipped import network_path

ACROSS = 20
MARGIN = 2  # around a drawn face, like its edge: what is scaled down is made of pixels beyond its edge too
# Faces that lie on a sheet as squares of the page's picture, judged by the page: probabilities, row by row.
JUDGED = """async ([cell, margin, count, across]) => {
    const squares = Array.from({ length: count }, (_, i) => ({ left: (i % across) * cell + margin,
        top: Math.floor(i / across) * cell + margin, side: cell - 2 * margin }));
    const seen = await forTests.recognizeSquares(forTests.page.show.picture, squares, forTests.page.classifier);
    return seen.map(({ probabilities }) => [...probabilities]);
}"""


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(network_path(None, load_config(None)), device="cpu", precision="fp32")


def in_the_page(tab, faces: np.ndarray, margin: int = 0) -> np.ndarray:
    """Probabilities float64 [N, C] of faces uint8 [N, S, S] without their margin, which the page sees on sheets."""
    side, rows = faces.shape[1], 1600 // faces.shape[1]
    found = []
    for start in range(0, len(faces), ACROSS * rows):
        part = faces[start : start + ACROSS * rows]
        sheet = np.zeros((-(-len(part) // ACROSS) * ACROSS, side, side), np.uint8)
        sheet[: len(part)] = part
        grid = sheet.reshape(-1, ACROSS, side, side).swapaxes(1, 2).reshape(-1, ACROSS * side)
        put = """async (text) => {
            const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
            const picture = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
            forTests.page.show.put(picture, picture.width, picture.height, "sheet");
        }"""
        tab.evaluate(put, b64encode(page.png(grid)).decode())
        found.append(np.array(tab.evaluate(JUDGED, [side, margin, len(part), ACROSS])))
    return np.concatenate(found)


def scaled(faces: np.ndarray, size: int) -> np.ndarray:
    """What Pillow makes of faces without their margin."""
    box = (MARGIN, MARGIN, faces.shape[2] - MARGIN, faces.shape[1] - MARGIN)
    pictures = map(Image.fromarray, faces)
    return np.stack([np.asarray(one.resize((size, size), Image.Resampling.BILINEAR, box)) for one in pictures])


def require_same(here: np.ndarray, there: np.ndarray) -> None:
    assert np.abs(here - there).max() < 1e-3
    assert (here.argmax(1) == there.argmax(1)).all()


def test_drawn_faces_are_judged_as_in_python(tab, recognizer):
    classes = len(FER2013_CLASSES)
    faces = np.stack([draw_face(number % classes, subject=number, seed=7, size=75) for number in range(504)])
    faces = np.pad(faces, [(0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)], mode="edge")
    expected = recognizer.probabilities(scaled(faces, recognizer.config.image_size), views=1)
    require_same(in_the_page(tab, faces, MARGIN), expected)


def test_fer2013_is_judged_as_in_python(tab, recognizer, real_data, tmp_path):
    test = read_fer2013(real_data("fer2013"), tmp_path).test
    assert test is not None
    require_same(in_the_page(tab, test.images[:]), recognizer.probabilities(test.images, views=1))
