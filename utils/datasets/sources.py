"""Which data sets there are, and what each of them can be asked for: all its images, the parts it comes in."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from utils.config import Config
from utils.datasets.ckplus import read_ckplus, read_ckplus_files, sequence_of
from utils.datasets.faces import Faces, Split, pooled
from utils.datasets.fer2013 import read_fer2013
from utils.datasets.ferplus import relabelled
from utils.datasets.folder import read_folder, read_folder_files
from utils.datasets.jaffe import read_jaffe, read_jaffe_files
from utils.datasets.pixel_csv import SIDE
from utils.datasets.sample import sample_split
from utils.errors import UserError


@dataclass(frozen=True)
class Source:
    """One data set.

    Attributes:
        official: its own split, where it has one.
        whole: its images that a protocol deals out: all of them, or where others judge those of the training part.
        dealt: by which protocols.
        files: the parts that the user's files make.
        sequence_of: the sequence of an image's id, where there are sequences.
        side: of its images as they are stored; None: they are brought to ``image_size`` when they are read.
        colour: whether its images have colours, where the network takes them.
    """

    official: Callable[[Config], Split] | None = None
    whole: Callable[[Config], Faces] | None = None
    dealt: tuple[str, ...] = ("loso", "kfold", "holdout", "random")
    files: Callable[[Config], Mapping[str, Faces]] | None = None
    sequence_of: Callable[[str], str] | None = None
    side: int | None = None
    colour: bool = False


def _fer2013(config: Config) -> Split:
    split = read_fer2013(Path(config.data_path), Path(config.cache_dir))
    return relabelled(split, config) if config.label_source != "own" else split


def _fer2013_training(config: Config) -> Faces:
    """What a protocol deals out: the training part alone, since the others judge."""
    if config.label_source in ("ferplus", "ferplus_soft") and config.ferplus_parts == "train":
        kept = "ferplus_parts train: in folds every image is trained on and judged, so that each has FER+'s label"
        raise UserError(f"{kept}; set ferplus_parts=all, or protocol=official")
    return _fer2013(config).train


def _sample(config: Config) -> Split:
    return sample_split(config.sample_faces, config.sample_seed)


def _sample_faces(config: Config) -> Faces:
    return pooled(_sample(config).parts())


def _jaffe(config: Config) -> Faces:
    return read_jaffe(Path(config.data_path), crop=config.crop, side=config.image_size)


def _jaffe_files(config: Config) -> dict[str, Faces]:
    return read_jaffe_files(Path(config.data_path), crop=config.crop, side=config.image_size)


def _ckplus(config: Config) -> Faces:
    return read_ckplus(Path(config.data_path))


def _ckplus_files(config: Config) -> dict[str, Faces]:
    return read_ckplus_files(Path(config.data_path))


def _folder(config: Config) -> Faces:
    path, cache = Path(config.data_path), Path(config.cache_dir)
    return read_folder(path, cache, side=config.image_size, colour=config.in_channels == 3)


def _folder_files(config: Config) -> dict[str, Faces]:
    path, cache = Path(config.data_path), Path(config.cache_dir)
    return read_folder_files(path, cache, side=config.image_size, colour=config.in_channels == 3)


SOURCES = {
    "fer2013": Source(official=_fer2013, whole=_fer2013_training, dealt=("random",), side=SIDE),
    "sample": Source(official=_sample, whole=_sample_faces, side=SIDE),
    "jaffe": Source(whole=_jaffe, files=_jaffe_files),
    "ckplus": Source(whole=_ckplus, files=_ckplus_files, sequence_of=sequence_of, side=SIDE),
    "folder": Source(whole=_folder, files=_folder_files, colour=True),
}


def stored_side(config: Config) -> int:
    """How large the images are that a network was trained on, before they were brought to its own size."""
    return SOURCES[config.dataset].side or config.image_size


def read_for(trained: Config, other: Config) -> Config:
    """``other``, another data set, read as a network has seen its own: of that size, in grey where that has no colours.

    Images of FER2013 have 48 pixels, whatever they were enlarged to; others that are not made as small first are
    sharper than all that the network knows.
    """
    channels = trained.in_channels if SOURCES[trained.dataset].colour else 1
    return dataclasses.replace(other, image_size=stored_side(trained), in_channels=channels)
