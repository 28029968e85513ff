"""From a data set to the splits that an experiment trains and judges on; `load_splits` is the one door."""

from collections.abc import Callable
from pathlib import Path

from utils.config import Config
from utils.datasets.faces import Faces, Split, pooled
from utils.datasets.sources import SOURCES, Source
from utils.datasets.taxonomy import in_taxonomy
from utils.errors import UserError
from utils.splits.protocols import given, holdout, kfold, loso, random_folds
from utils.splits.split_file import load_split_file
from utils.splits.training_part import learned_from

__all__ = ["Split", "load_every", "load_faces", "load_splits"]

NOT_ASKED = "none"


def load_splits(config: Config) -> list[Split]:
    """The splits that ``config`` names: one, or one a fold.

    Raises:
        UserError: the data are not there, not readable or have no such protocol; something stands on both sides of a
            split that keeps persons apart; or the classes are not as many as the config says.
    """
    source = SOURCES[config.dataset]
    _check_protocol(config, source)
    if config.split_file != NOT_ASKED:
        faces = load_faces(config)
        path, protocol = Path(config.split_file), config.protocol
        splits = load_split_file(path, faces, dataset=config.dataset, protocol=protocol, sequence_of=source.sequence_of)
    elif config.protocol == "official" and source.official:
        splits = [source.official(config)]
    elif config.protocol == "files" and source.files:
        parts = {name: in_taxonomy(part, config.taxonomy) for name, part in source.files(config).items()}
        splits = given(parts, seed=config.split_seed)
    else:
        splits = _dealt(load_faces(config), config, source.sequence_of)
    classes = splits[0].train.classes
    if len(classes) != config.num_classes:
        raise UserError(
            f"num_classes is {config.num_classes}; {config.dataset} has {len(classes)}: {', '.join(classes)}"
        )
    return [learned_from(split, config) for split in splits]


def load_faces(config: Config) -> Faces:
    """The images of the data set that a protocol deals out, in the classes that ``config.taxonomy`` names.

    Raises:
        UserError: the data set comes only in its own parts, is not there, or cannot be read.
    """
    source = SOURCES[config.dataset]
    if source.whole is None:
        raise UserError(f"{config.dataset} comes in parts of its own; they are not pooled")
    return in_taxonomy(source.whole(config), config.taxonomy)


def load_every(config: Config) -> Faces:
    """All images of the data set to be judged, never to be dealt out: where it comes in parts of its own, all of them.

    Raises:
        UserError: as `load_faces`, or settings that are for other sets.
    """
    _check_labels_and_crop(config)
    source = SOURCES[config.dataset]
    if source.official is not None:
        return in_taxonomy(pooled(source.official(config).parts()), config.taxonomy)
    return load_faces(config)


def _check_protocol(config: Config, source: Source) -> None:
    possible = ["official"] if source.official else []
    possible += [*source.dealt] if source.whole else []
    possible += ["files"] if source.files else []
    if config.protocol not in possible:
        raise UserError(f"protocol {config.protocol}: not for {config.dataset}; expected one of {', '.join(possible)}")
    _check_labels_and_crop(config)


def _check_labels_and_crop(config: Config) -> None:
    if config.label_source != "own" and config.dataset != "fer2013":
        raise UserError(
            f"label_source {config.label_source}: FER+ has votes on fer2013; this run reads {config.dataset}"
        )
    if config.crop != "none" and config.dataset != "jaffe":
        raise UserError(f"crop {config.crop}: a box for jaffe; this run reads {config.dataset}")


def _dealt(faces: Faces, config: Config, sequence_of: Callable[[str], str] | None) -> list[Split]:
    seed, folds = config.split_seed, config.folds
    if config.protocol == "loso":
        return loso(faces, seed=seed, val_subjects=config.val_subjects, sequence_of=sequence_of)
    if config.protocol == "kfold":
        return kfold(faces, folds=folds, seed=seed, sequence_of=sequence_of)
    if config.protocol == "random":
        return random_folds(faces, folds=folds, seed=seed)
    return holdout(faces, seed=seed, folds=folds)
