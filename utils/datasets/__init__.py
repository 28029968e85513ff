"""Readers of data sets; `load_split` is the one door to all of them."""

from pathlib import Path

from utils.config import Config
from utils.datasets.faces import Faces, Split
from utils.datasets.fer2013 import read_fer2013
from utils.datasets.sample import sample_split
from utils.errors import UserError

__all__ = ["Faces", "Split", "load_split"]


def load_split(config: Config) -> Split:
    """The data that ``config`` names.

    Raises:
        UserError: they are not there, not readable, or have another number of classes than the config says.
    """
    if config.dataset == "sample":
        split = sample_split(config.sample_faces, config.sample_seed)
    else:
        split = read_fer2013(Path(config.data_path), Path(config.cache_dir))
    classes = split.train.classes
    if len(classes) != config.num_classes:
        raise UserError(
            f"num_classes is {config.num_classes}; {config.dataset} has {len(classes)}: {', '.join(classes)}"
        )
    return split
