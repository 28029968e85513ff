"""One set's classes onto another's, so that a network trained on one can be tested or fine-tuned on another."""

import dataclasses

import numpy as np

from utils.datasets.faces import Faces
from utils.errors import UserError
from utils.labels import FER2013_CLASSES

CONTEMPT = "contempt"
TAXONOMIES = ("own", "fer2013", "no_contempt")


def in_taxonomy(faces: Faces, taxonomy: str) -> Faces:
    """``faces`` with the classes that ``taxonomy`` names.

    Args:
        faces: their classes are told apart by name, whatever their order.
        taxonomy: ``"own"``: as they are; ``"no_contempt"``: without the images of contempt, and the class;
            ``"fer2013"``: FER2013's seven classes in its order, without the images of contempt. A class that the set
            does not have (neutral in CK+) keeps its place and has no images.

    Raises:
        UserError: a class that FER2013 has not, contempt aside.
    """
    if taxonomy == "own":
        return faces
    rest = without_class(faces, CONTEMPT) if CONTEMPT in faces.classes else faces
    return rest if taxonomy == "no_contempt" else _as_fer2013(rest)


def without_class(faces: Faces, name: str) -> Faces:
    """``faces`` without the images of one class; the other classes keep their order and close up."""
    gone = faces.classes.index(name)
    kept = faces.take(faces.labels != gone)
    classes = tuple(c for c in faces.classes if c != name)
    return dataclasses.replace(kept, labels=kept.labels - (kept.labels > gone), classes=classes)


def _as_fer2013(faces: Faces) -> Faces:
    foreign = [name for name in faces.classes if name not in FER2013_CLASSES]
    if foreign:
        known = ", ".join(FER2013_CLASSES)
        raise UserError(f"taxonomy fer2013: class '{foreign[0]}' has no counterpart; FER2013 has {known}")
    place = np.array([FER2013_CLASSES.index(name) for name in faces.classes], dtype=np.int64)
    return dataclasses.replace(faces, labels=place[faces.labels], classes=FER2013_CLASSES)
