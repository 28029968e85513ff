"""Protocols: from the faces of a data set to the splits, one a fold, that an experiment trains and judges on."""

from collections.abc import Callable, Mapping

import numpy as np

from utils.datasets.faces import Faces, Split
from utils.errors import UserError
from utils.splits.even_folds import even_folds
from utils.splits.leaks import check_apart, check_judged_once, check_parts

# Protocols that keep persons apart; a person, a sequence or an exact copy on both sides of such a split is an error.
GROUPED = ("loso", "kfold")
# Protocols of one split; the others have folds, in which each image is judged once.
SINGLE = ("official", "files", "holdout")
SAME_PEOPLE = "same people in train and test"


def caution(protocol: object) -> str:
    """What must stand beside every result of a protocol; empty where nothing must.

    Args:
        protocol: in words, as splits and the meta of dumps have it.
    """
    return SAME_PEOPLE if SAME_PEOPLE in str(protocol) else ""


def loso(
    faces: Faces, *, seed: int, val_subjects: int = 2, sequence_of: Callable[[str], str] | None = None
) -> list[Split]:
    """Leave one subject out: as many folds as persons, each named for the person that it is judged on.

    Args:
        faces: must name persons.
        seed: the order of persons from which validation takes its turns: those of a fold are the next in that order,
            so that each person validates equally often.
        val_subjects: persons in the validation part of each fold; they are not in its train part.
        sequence_of: the sequence of an id, where the set has sequences; no sequence may stand in two parts.

    Raises:
        UserError: persons unknown or too few, a class without images in a train part, or something on both sides.
    """
    people = sorted(set(_subjects(faces, "loso")))
    if len(people) < val_subjects + 2:
        raise UserError(f"protocol loso: {len(people)} persons; expected at least {val_subjects + 2}")
    order = np.random.default_rng(seed).permutation(len(people))
    turn = np.empty(len(people), dtype=np.int64)
    turn[order] = np.arange(len(people))
    turns = turn[np.searchsorted(people, _subjects(faces, "loso"))]
    others = "one other validates" if val_subjects == 1 else f"{val_subjects} others validate"
    text = f"loso: leave one person out, {others}; no person in two parts"
    splits = []
    for index, person in enumerate(people):
        behind = (turns - turn[index]) % len(people)  # 0: the person left out; 1, 2, ...: who is next in the order
        splits.append(_split(faces, person, behind == 0, (behind > 0) & (behind <= val_subjects), text))
    return _checked(splits, sequence_of)


def kfold(faces: Faces, *, folds: int, seed: int, sequence_of: Callable[[str], str] | None = None) -> list[Split]:
    """Folds of persons, with each class spread over them as evenly as whole persons allow.

    Args:
        faces: must name persons.
        folds: at least 3: each is the test part once, and the validation part of the fold before it.
        seed: which persons share a fold.
        sequence_of: as for `loso`.

    Raises:
        UserError: as for `loso`.
    """
    fold = even_folds(faces.labels, _subjects(faces, "kfold"), folds, seed, "persons")
    text = f"kfold: {folds} folds of persons, the next one validates; no person in two parts"
    return _checked(_turns(faces, fold, folds, text), sequence_of)


def random_folds(faces: Faces, *, folds: int, seed: int) -> list[Split]:
    """Folds of images, each class spread evenly: what many publications did. Persons stand in every part.

    Its results say how well a network knows these persons again; ``protocol`` says so in words.

    Raises:
        UserError: too few images or folds, or a class without images in a train part.
    """
    fold = even_folds(faces.labels, faces.ids, folds, seed, "images")
    text = f"random: {folds} folds of images, the next one validates; {SAME_PEOPLE}"
    splits = _turns(faces, fold, folds, text)
    check_judged_once(splits)
    return splits


def given(parts: Mapping[str, Faces], *, name: str = "files", seed: int = 0) -> list[Split]:
    """The one split that the user's files make.

    Args:
        parts: train, test and val; without val, about a tenth of train is set apart: other persons, where they are
            known (a larger part where there are fewer than ten), and evenly of each class.
        name: ``"files"`` or ``"official"``.
        seed: what is set apart.

    Raises:
        UserError: an id stands in two parts, a part is empty, or a class has no image in train.
    """
    train, test = parts["train"], parts["test"]
    apart = _who_meets_whom(train, test)
    if "val" in parts:
        split = Split(name, train, parts["val"], test, f"{name}: as given; {apart}")
        check_parts(split)
        return [split]
    groups = train.ids if train.subjects is None else train.subjects
    folds = min(10, len(set(groups)))
    fold = even_folds(train.labels, groups, folds, seed, "images" if train.subjects is None else "persons")
    split = Split(
        name,
        train.take(fold != 0),
        train.take(fold == 0),
        test,
        f"{name}: as given, one of {folds} parts of train validates; {apart}",
    )
    check_parts(split)
    return [split]


def holdout(faces: Faces, *, seed: int, folds: int = 10) -> list[Split]:
    """One split of a set that comes without any: the first fold is the test part, the second validates.

    Persons are kept apart where they are known.

    Raises:
        UserError: too few persons or images, a class without images in a train part, or something on both sides.
    """
    who = "images" if faces.subjects is None else "persons"
    fold = even_folds(faces.labels, faces.ids if faces.subjects is None else faces.subjects, folds, seed, who)
    apart = "who is on them is not known" if faces.subjects is None else "no person in two parts"
    text = f"holdout: one of {folds} parts of {who} tests, one validates; {apart}"
    split = _turns(faces, fold, folds, text)[0]
    check_parts(split)
    if faces.subjects is not None:
        check_apart([split])
    return [Split("holdout", split.train, split.val, split.test, text)]


def _turns(faces: Faces, fold: np.ndarray, folds: int, text: str) -> list[Split]:
    return [
        _split(faces, f"fold-{index + 1:02d}", fold == index, fold == (index + 1) % folds, text)
        for index in range(folds)
    ]


def _split(faces: Faces, name: str, test: np.ndarray, val: np.ndarray, text: str) -> Split:
    return Split(name, faces.take(~test & ~val), faces.take(val), faces.take(test), text)


def _subjects(faces: Faces, protocol: str) -> list[str]:
    if faces.subjects is None:
        raise UserError(f"protocol {protocol}: who is on the images is not known; expected data that name persons")
    return faces.subjects


def _checked(splits: list[Split], sequence_of: Callable[[str], str] | None) -> list[Split]:
    check_apart(splits, sequence_of)
    check_judged_once(splits)
    return splits


def _who_meets_whom(train: Faces, test: Faces) -> str:
    """What is known about persons in parts that were given."""
    if train.subjects is None or test.subjects is None:
        return "who is on them is not known"
    return SAME_PEOPLE if set(train.subjects) & set(test.subjects) else "other people in train and test"
