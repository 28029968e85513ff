"""Beginning with the weights of another run: every layer as it is, the head class by class, by their names."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models import model_info, pretrained_path
from utils.checkpoint import Checkpoint, checkpoint_hash
from utils.config import ANY_SET, Config
from utils.datasets.duplicates import image_digests
from utils.datasets.faces import Faces, Split
from utils.datasets.fer2013 import OFFICIAL
from utils.errors import UserError
from utils.runs import find_run
from utils.seen import form_of, pasts
from utils.shipped import SUFFIX, is_shipped, load_network
from utils.splits.leaks import keeps_apart

NONE, PRETRAINED = "none", "pretrained"
# What makes it another network if it differs.
SHAPE = ("arch", "stem", "mask_activation", "in_channels")


@dataclass(frozen=True)
class Origin:
    """The run that a training begins with.

    Attributes:
        checkpoint: its settings, classes and weights.
        hash: of its file.
    """

    checkpoint: Checkpoint
    hash: str

    def identity(self) -> dict[str, Any]:
        """What checkpoints and dumps say of it, and of what it began with in its turn (plain types)."""
        source = self.checkpoint
        return {
            "run": source.run,
            "checkpoint": self.hash,
            "dataset": source.config.dataset,
            "epoch": source.epoch,
            "train": source.data.get("train"),
            "origin": dict(source.origin),
        }


def find_origin(config: Config) -> Origin | None:
    """The checkpoint that ``config.init_from`` names, or None.

    Raises:
        UserError: there is none, it is damaged, or it is of another network than ``config`` asks for; or ``weights``
            names a checkpoint, whose past nobody would ask about.
    """
    if config.init_from == NONE:
        _refuse_checkpoint(config.weights)
        return None
    if config.weights != NONE:
        raise UserError(f"init_from and weights both name initial weights; leave weights at none, got {config.weights}")
    path = Path(config.init_from)
    if config.init_from == PRETRAINED:
        path = pretrained_path(config.arch)
    elif path.suffix not in (".pt", SUFFIX):
        try:
            path = find_run(config.init_from, config).best
        except UserError as error:
            raise UserError(f"init_from: {error}; name a run that you have trained, or a checkpoint file") from None
    if not path.is_file():
        raise UserError(f"init_from: {path}: no such checkpoint; a run of folds has one in each fold's folder")
    source, name = load_network(path)
    for key in SHAPE:
        theirs, ours = getattr(source.config, key), getattr(config, key)
        if theirs != ours:
            raise UserError(f"init_from: {path} has {key} {theirs}; this run asks for {ours}")
    return Origin(source, name)


def _refuse_checkpoint(weights: str) -> None:
    """Files of others are weights; what a run of ours has seen is known, and `check_unseen` must be able to ask."""
    if weights == PRETRAINED:
        raise UserError("weights: pretrained ones are of a run of ours; init_from=pretrained begins with it")
    path = Path(weights)
    try:
        ours = path.is_file() and os.access(path, os.R_OK) and (checkpoint_hash(path) != "" or is_shipped(path))
    except OSError:  # a name of 300 characters; whoever reads the weights says so
        return
    if ours:
        raise UserError(f"weights: {path} is a checkpoint of this project; init_from={path} begins with it")


def check_unseen(origin: Origin, config: Config, split: Split) -> None:
    """The weights must not have been trained on what this run is judged on.

    Args:
        origin: what it begins with.
        config: of this run.
        split: of this run. Copies of its test images that stand in its own training part are no secret of its origin.

    Raises:
        UserError: they, or what they began with, were trained on images of its other parts; or on other images of the
            same data set, where that keeps people apart; or, where nobody knows on which images, on another part of it.
    """
    form, known = form_of(split.train, config), list(pasts(origin.checkpoint))
    own, judged = np.empty(0, np.int64), np.empty(0, np.int64)
    if any(past.form == form for past in known):
        own = image_digests(split.train.images)
        parts = [image_digests(part.images) for name, part in split.parts().items() if name != "train"]
        judged = np.concatenate(parts)
        judged = judged[~np.isin(judged, own)]
    for past in known:
        if past.dataset == config.dataset and split.protocol.startswith(OFFICIAL):
            continue
        other = past.dataset == config.dataset and past.train != split.train.fingerprint()
        what = ""
        if past.form != form:
            what = f"other parts of {config.dataset}, perhaps on images that this run is judged on" if other else ""
        elif met := int(np.isin(judged, past.images).sum()):
            what = f"{met} images of this run's val and test parts"
        elif other and config.dataset != ANY_SET and keeps_apart(split) and _differ(own, past.images):
            what = f"other parts of {config.dataset}, perhaps on people that this run is judged on"
        if what:
            hint = "begin with a run on another data set, or on this very split"
            if config.dataset == ANY_SET and past.form != form:
                hint = (
                    f"read both at one image_size and crop, so that pictures can be compared (it: {past.form or '?'})"
                )
            raise UserError(f"init_from: {past.run} was trained on {what}; {hint}")


def not_compared(origin: Origin, config: Config, faces: Faces) -> str:
    """Half a sentence where `check_unseen` cannot compare pictures, and names say nothing; else nothing.

    A folder may hold the pictures of any other set.
    """
    form = form_of(faces, config)
    asked = [p for p in pasts(origin.checkpoint) if p.form != form and p.dataset != config.dataset]
    runs = [past.run for past in asked if ANY_SET in (past.dataset, config.dataset)]
    if not runs:
        return ""
    return f"; {', '.join(runs)} read pictures at another size or crop, so nobody can tell whether they stand here too"


def _differ(own: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether these digests are not of the same images."""
    return not np.array_equal(np.unique(own), np.unique(theirs))


def begin_with(model: nn.Module, origin: Origin, config: Config, classes: tuple[str, ...]) -> str:
    """Put the judged weights of ``origin`` into ``model``; outputs of its heads go by the names of the classes.

    Args:
        model: fresh, as ``config`` describes it; changed in place.
        origin: `find_origin` has checked that it is the same network.
        config: of this run.
        classes: of this run, in the order of the outputs. A class that ``origin`` has not keeps its fresh weights.

    Returns:
        One line on what was taken over.

    Raises:
        UserError: weights that do not fit.
    """
    info, source = model_info(config.arch), origin.checkpoint
    heads = tuple(f"{path}." for path in (info.classifier, info.auxiliary) if path)
    rows = {index: source.classes.index(name) for index, name in enumerate(classes) if name in source.classes}
    own, state = model.state_dict(), dict(source.judged_weights())
    try:
        for key in own:
            if key.startswith(heads) and key in state:
                state[key] = _by_class(own[key], state[key], rows)
        model.load_state_dict(state)
    except (RuntimeError, IndexError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"init_from: {source.run} does not fit {config.arch}: {reason}") from None
    fresh = [name for index, name in enumerate(classes) if index not in rows]
    said = [f"{len(rows)} of {len(classes)} classes known to it"] + ([f"new: {', '.join(fresh)}"] if fresh else [])
    if source.config.normalize != config.normalize:
        said.append(f"it saw images with normalize={source.config.normalize}, here they have {config.normalize}")
    return f"begins with {source.run}, epoch {source.epoch}: {'; '.join(said)}"


def _by_class(own: torch.Tensor, theirs: torch.Tensor, rows: Mapping[int, int]) -> torch.Tensor:
    """``own`` [C, ...] with the rows of the classes that both know taken from ``theirs`` [C', ...]."""
    mixed = own.clone()
    for mine, other in rows.items():
        mixed[mine] = theirs[other].to(own)
    return mixed
