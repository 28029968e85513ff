"""The built-in data set of drawn faces, split by person."""

import numpy as np

from utils.datasets.drawn_faces import draw_faces
from utils.datasets.faces import Faces, Split
from utils.labels import FER2013_CLASSES

FACES_PER_SUBJECT = 20
SHARE_OF_TRAIN = {"train": 1.0, "val": 1 / 6, "test": 1 / 6}


def sample_split(train_faces: int, seed: int) -> Split:
    """Drawn faces: ``train_faces`` to learn from, and a sixth as many, of other persons, to choose and to judge.

    The same arguments give the same bytes.
    """
    parts, first_subject = {}, 0
    for number, (name, share) in enumerate(SHARE_OF_TRAIN.items()):
        count = max(len(FER2013_CLASSES), round(share * train_faces))
        subjects = max(1, count // FACES_PER_SUBJECT)
        drawn = draw_faces(count, seed=3 * seed + number, subjects=subjects, first_subject=first_subject)
        ids = [f"{name}/{index:05d}" for index in range(count)]
        persons = [f"person{subject:05d}" for subject in np.asarray(drawn.subjects).tolist()]
        parts[name] = Faces(drawn.images, drawn.labels, ids, persons, FER2013_CLASSES)
        first_subject += subjects
    return Split("official", parts["train"], parts["val"], parts["test"], "drawn faces; no person in two parts")
