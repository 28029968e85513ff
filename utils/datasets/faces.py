"""What every reader of a data set returns: faces with labels, and their three parts."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from utils.errors import UserError

_AT_ONCE = 4096  # images read into memory together


@dataclass(frozen=True)
class Picked:
    """Some images of an array that is too large to copy them: reads like an array, image by image or in slices.

    Attributes:
        source: uint8 [M, H, W] or [M, H, W, 3], memory-mapped.
        where: int64 [N], which of them, in their order here.
    """

    source: np.ndarray
    where: np.ndarray

    def __len__(self) -> int:
        return len(self.where)

    def __getitem__(self, which: int | slice | np.ndarray) -> np.ndarray:
        return np.asarray(self.source[self.where[which]])

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.source[row] for row in self.where)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W) or (N, H, W, 3)."""
        return len(self), *self.source.shape[1:]

    @property
    def ndim(self) -> int:
        """3 or 4."""
        return self.source.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8."""
        return self.source.dtype


Images = np.ndarray | Picked


@dataclass(frozen=True)
class Faces:
    """Labelled images of one part of a data set.

    Attributes:
        images: uint8 [N, H, W] or [N, H, W, 3]: an array, in memory or memory-mapped, or some images of the latter.
        labels: int64 [N], indices into ``classes``.
        ids: N names, unique within the data set, the same whatever form the files had.
        subjects: N names of persons, or None where the data set does not tell.
        classes: the class names in label order.
        soft: float32 [N, C], a distribution over the classes to learn from instead of the label; or None.
    """

    images: Images
    labels: np.ndarray
    ids: list[str]
    subjects: list[str] | None
    classes: tuple[str, ...]
    soft: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, which: np.ndarray) -> "Faces":
        """Some of the images, in their order.

        Args:
            which: bool [N], or their indices, ascending. Images that stand together or are memory-mapped are not
                copied.
        """
        where = np.flatnonzero(which) if which.dtype == bool else which
        images: Images
        if isinstance(self.images, Picked):
            images = Picked(self.images.source, self.images.where[where])
        elif len(where) > 0 and where[-1] - where[0] + 1 == len(where):
            images = self.images[where[0] : where[-1] + 1]
        elif isinstance(self.images, np.memmap):
            images = Picked(self.images, where)
        else:
            images = self.images[where]
        subjects = None if self.subjects is None else [self.subjects[i] for i in where]
        soft = None if self.soft is None else self.soft[where]
        return Faces(images, self.labels[where], [self.ids[i] for i in where], subjects, self.classes, soft)

    def counts(self) -> np.ndarray:
        """int64 [C]: images in each class."""
        return np.bincount(self.labels, minlength=len(self.classes))

    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 over pixels, labels and class names: the identity of these data."""
        return self._fingerprint

    @cached_property  # a set larger than memory takes minutes
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        for start in range(0, len(self.images), _AT_ONCE):
            digest.update(np.ascontiguousarray(self.images[start : start + _AT_ONCE]).data)
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        if self.soft is not None:
            digest.update(np.ascontiguousarray(self.soft, dtype="<f4").data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Split:
    """The parts of one experiment. The test part is judged once, after training has ended.

    Attributes:
        name: names the fold where there are several; ``"official"`` otherwise.
        train, val, test: the parts; ``test`` may be None.
        protocol: in words, what keeps the parts apart.
        left_out: training images that ``train`` does without although the data set has them there; or None.
        trimmed: how ``train`` differs from that of the data set, counts keyed by a sentence that says of what.
    """

    name: str
    train: Faces
    val: Faces
    test: Faces | None
    protocol: str
    left_out: Faces | None = None
    trimmed: Mapping[str, int] = field(default_factory=dict)

    def parts(self) -> dict[str, Faces]:
        """The parts that exist, by name: train, val, test."""
        parts = {"train": self.train, "val": self.val}
        return parts if self.test is None else parts | {"test": self.test}


def pooled(parts: Mapping[str, Faces]) -> Faces:
    """The parts of a data set as one.

    Raises:
        UserError: an id stands in two parts.
    """
    every = list(parts.values())
    ids = [identity for part in every for identity in part.ids]
    if len(set(ids)) != len(ids):
        twice = next(identity for identity in ids if ids.count(identity) > 1)
        raise UserError(f"image '{twice}' stands in two parts")
    subjects = [who for part in every for who in part.subjects or []]
    return Faces(
        np.concatenate([part.images[:] for part in every]),
        np.concatenate([part.labels for part in every]),
        ids,
        subjects if len(subjects) == len(ids) else None,
        every[0].classes,
    )
