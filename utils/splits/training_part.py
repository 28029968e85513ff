"""What a run learns from of its training part: copies of judging images left out, wrong labels corrected."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from utils.config import Config
from utils.datasets.duplicates import image_hashes
from utils.datasets.faces import Split
from utils.errors import UserError
from utils.splits.corrections import corrected
from utils.splits.leaks import check_parts

# `Config.drop_copies`: the parts whose images may have no copy in train, and whether a mirror image is a copy too.
DROPPED = {"test": (("test",), False), "all": (("val", "test"), False), "all_mirrored": (("val", "test"), True)}


def learned_from(split: Split, config: Config) -> Split:
    """``split`` with the training part that ``config`` asks for; validation and test stay as they are.

    Raises:
        UserError: a protocol that deals the images out itself, corrections that do not fit, or a class is left
            without a training image.
    """
    asked = [key for key in ("drop_copies", "corrections") if getattr(config, key) != "none"]
    if not asked:
        return split
    if config.protocol != "official":
        value = getattr(config, asked[0])
        raise UserError(f"{asked[0]} {value}: for protocol official; this run has {config.protocol}")
    if config.drop_copies != "none":
        split = _without_copies(split, config.drop_copies)
    if config.corrections != "none":
        split = corrected(split, Path(config.corrections))
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
