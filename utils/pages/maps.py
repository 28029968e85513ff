"""Where a network looks on drawn faces, which anyone may see."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from models import model_info
from utils.datasets.drawn_faces import draw_face
from utils.explaining.methods import METHODS, explain
from utils.inference import Recognizer
from utils.labels import FER2013_CLASSES
from utils.trust import calibrated_probabilities
from Visualization.explanations import SCALE, overlaid, tiles_figure

_SUBJECTS = (3, 11)  # of the drawn people; one sheet each
_SEED = 0
_SIDE = 192  # pixels of a drawn face


@dataclass(frozen=True)
class Sheet:
    """One drawn person.

    Attributes:
        figure: a column for each expression: the face, and below it the face under its map.
        name: of the person.
        drawn: the expressions.
        said: what the network says of each, and how sure it is.
    """

    figure: Figure
    name: str
    drawn: list[str]
    said: list[str]


def map_sheets(recognizer: Recognizer) -> list[Sheet]:
    """A few drawn persons, with maps of the class that the network takes each of their faces for.

    The expressions are those that the network knows, or all seven where it knows none of them.
    """
    classes, method = recognizer.classes, _method(recognizer)
    drawn = [name for name in FER2013_CLASSES if name in classes] or list(FER2013_CLASSES)
    sheets = []
    for number, subject in enumerate(_SUBJECTS, 1):
        faces = np.stack([_drawn(name, subject) for name in drawn])
        probabilities = calibrated_probabilities(recognizer, faces)
        chosen = probabilities.argmax(1)
        maps = explain(recognizer.model, faces, chosen, recognizer.config, method)
        pairs = [(overlaid(face, 0 * one), overlaid(face, one)) for face, one in zip(faces, maps, strict=True)]
        said = [f"{classes[c]}, {p:.0%}" for c, p in zip(chosen, probabilities.max(1), strict=True)]
        title = f"Drawn person {number}: {METHODS[method].title} of what the network says"
        shown = f"{METHODS[method].meaning()}; {SCALE}"
        figure = tiles_figure(np.array(pairs).swapaxes(0, 1), ["face", "map"], drawn, title, shown)
        sheets.append(Sheet(figure, f"person {number}", drawn, said))
    return sheets


def _method(recognizer: Recognizer) -> str:
    """What fits the network: not every one has a feature map."""
    return "gradcam" if model_info(recognizer.config.arch).cam_layer else "occlusion"


def _drawn(expression: str, subject: int) -> np.ndarray:
    return draw_face(FER2013_CLASSES.index(expression), subject=subject, seed=_SEED, size=_SIDE)
