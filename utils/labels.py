"""The class names and label orders of every data set, written here and nowhere else."""

# What people call the data sets.
TITLES = {"fer2013": "FER2013", "jaffe": "JAFFE", "ckplus": "CK+", "folder": "own pictures", "sample": "drawn faces"}

FER2013_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

# CK+ labels no neutral face: FER2013's other six in the same order, then contempt.
CKPLUS_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "contempt")

# The numbers 0 to 7 of CK+ in the CSV form (ckextended.csv): FER2013's, then contempt.
CKPLUS_CSV_CLASSES = (*FER2013_CLASSES, "contempt")

# The expression in the name of a JAFFE file.
JAFFE_CODES = {
    "AN": "angry",
    "DI": "disgust",
    "FE": "fear",
    "HA": "happy",
    "SA": "sad",
    "SU": "surprise",
    "NE": "neutral",
}

# The ten columns of votes of FER+, in the order of its file.
FERPLUS_COLUMNS = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "NF",
)

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
