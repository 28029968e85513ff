"""Exact and mirrored copies of one image within and across the parts of a data set."""

import hashlib
from collections.abc import Iterable

import numpy as np

from utils.datasets.faces import Faces, Split


def image_hashes(images: Iterable[np.ndarray]) -> list[bytes]:
    """One 16-byte digest per image (uint8 arrays); equal digests mean equal pixels."""
    return [hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest() for image in images]


def image_digests(images: Iterable[np.ndarray]) -> np.ndarray:
    """int64 [N]: the first 8 bytes of `image_hashes`, to be kept and compared."""
    return np.frombuffer(b"".join(digest[:8] for digest in image_hashes(images)), dtype="<i8").astype(np.int64)


def copied_from(part: Faces, other: Faces) -> np.ndarray:
    """bool [len(part)]: which images of ``part`` have an exact copy in ``other``."""
    known = set(image_hashes(other.images))
    return np.array([digest in known for digest in image_hashes(part.images)], dtype=bool)


def count_leaks(split: Split) -> dict[str, int]:
    """Copies inside and across the parts, keyed by a sentence that says what is counted."""
    parts = split.parts()
    hashes = {name: image_hashes(part.images) for name, part in parts.items()}
    mirrored = {name: image_hashes(image[:, ::-1] for image in part.images) for name, part in parts.items()}
    counts: dict[str, int] = {}
    for name, own in hashes.items():
        counts[f"{name} images that repeat an earlier one of {name}"] = len(own) - len(set(own))
    for name, other in (("val", "train"), ("test", "train"), ("test", "val")):
        if name in parts:
            known = set(hashes[other])
            counts[f"{name} images with an exact copy in {other}"] = sum(h in known for h in hashes[name])
            counts[f"{name} images with a mirrored copy in {other}"] = sum(
                m in known and h not in known for h, m in zip(hashes[name], mirrored[name], strict=True)
            )
    return counts
