"""What a run learns from of its training part: the copies of images that judge it can be left out."""

from dataclasses import replace

import numpy as np

from utils.config import Config
from utils.datasets.duplicates import image_hashes
from utils.datasets.faces import Split
from utils.errors import UserError
from utils.splits.leaks import check_parts

# `Config.drop_copies`: the parts whose images may have no copy in train, and whether a mirror image is a copy too.
DROPPED = {"test": (("test",), False), "all": (("val", "test"), False), "all_mirrored": (("val", "test"), True)}


def learned_from(split: Split, config: Config) -> Split:
    """``split`` with the training part that ``config`` asks for; validation and test stay as they are.

    Raises:
        UserError: a protocol that keeps copies apart by itself, or a class is left without a training image.
    """
    if config.drop_copies == "none":
        return split
    if config.protocol != "official":
        raise UserError(f"drop_copies {config.drop_copies}: for protocol official; this run has {config.protocol}")
    split = _without_copies(split, config.drop_copies)
    check_parts(split)
    return split


def _without_copies(split: Split, which: str) -> Split:
    names, mirrored = DROPPED[which]
    judging = [part for name, part in split.parts().items() if name in names]
    known = {digest for part in judging for digest in image_hashes(part.images)}
    if mirrored:
        known |= {digest for part in judging for digest in image_hashes(image[:, ::-1] for image in part.images)}
    copies = np.array([digest in known for digest in image_hashes(split.train.images)])
    kinds = "an exact or a mirrored copy" if mirrored else "an exact copy"
    said = f"train images left out because they are {kinds} of a {' or '.join(names)} image"
    trimmed = {**split.trimmed, said: int(copies.sum())}
    left_out = split.train.take(copies)
    return replace(split, train=split.train.take(~copies), left_out=left_out, trimmed=trimmed)
