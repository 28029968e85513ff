"""The class names and label orders of every data set, written here and nowhere else."""

FER2013_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

# Names under which the same expression stands in users' folders and files.
SYNONYMS = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}


def canonical(name: str) -> str:
    """The name that this project uses for an expression, e.g. ``"Happiness"`` -> ``"happy"``."""
    name = name.strip().lower()
    return SYNONYMS.get(name, name)
