"""The only forward pass outside training: images in, logits of every view out."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from utils.augment import VIEWS, view_batch
from utils.checkpoint import Checkpoint, rebuild_model
from utils.config import Config
from utils.datasets.duplicates import copied_from, image_digests
from utils.datasets.faces import Faces, Images, Split
from utils.datasets.taxonomy import TAXONOMIES, in_taxonomy
from utils.errors import UserError
from utils.predictions import Predictions, softmax
from utils.runtime import autocast, find_device, memory_format, placed
from utils.seen import form_of, pasts
from utils.shipped import is_shipped, load_network

# Images in one forward pass: enough to be fast, small enough for 224 px on a laptop.
MOST_IMAGES, MOST_PIXELS = 256, 2_000_000


def predict(
    model: nn.Module,
    images: Images,
    config: Config,
    *,
    views: int = 1,
    between_batches: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Logits of every image under every view.

    Args:
        model: maps float32 [B, in_channels, S, S] to logits [B, C]; put into evaluation mode here and left
            in the mode it had.
        images: uint8 [N, H, W] or [N, H, W, 3].
        config: normalisation, image size, channels, precision, device.
        views: how many of `utils.augment.VIEWS`; all views of a batch go through in one pass.
        between_batches: called before each batch; may raise to stop.

    Returns:
        float32 [views, N, C].

    Raises:
        ValueError: no such number of views, or images of another type or shape, which would give nonsense
            in silence.
    """
    if not 1 <= views <= len(VIEWS):
        raise ValueError(f"views is {views}; expected 1 to {len(VIEWS)}")
    if not hasattr(images, "dtype"):
        raise ValueError(f"images are a {type(images).__name__}; expected an array, uint8 [N, H, W] or [N, H, W, 3]")
    if images.dtype != np.uint8 or not (images.ndim == 3 or images.ndim == 4 and images.shape[3] == 3):
        raise ValueError(f"images are {images.dtype} {images.shape}; expected uint8 [N, H, W] or [N, H, W, 3]")
    was_training = model.training
    model.eval()
    at_once = max(1, min(MOST_IMAGES, MOST_PIXELS // config.image_size**2) // views)
    logits = [torch.empty(views, 0, config.num_classes)]  # so that no images give no rows
    try:
        with torch.inference_mode(), autocast(config):
            for start in range(0, len(images), at_once):
                between_batches()
                batch = torch.from_numpy(np.array(images[start : start + at_once])).to(config.device)
                stack = torch.cat([view_batch(batch, view, config) for view in range(views)])
                outputs = model(stack.contiguous(memory_format=memory_format(config)))
                logits.append(outputs.float().cpu().unflatten(0, (views, len(batch))))
    finally:
        model.train(was_training)
    return torch.cat(logits, dim=1).numpy()


class Recognizer:
    """A trained network, ready to judge arrays of faces.

    >>> recognizer = Recognizer("saved/checkpoints/<run>/best.pt")
    >>> recognizer.probabilities(images)  # uint8 [N, 48, 48] in, float64 [N, 7] out
    """

    def __init__(self, path: str | Path, device: str | None = None, precision: str | None = None) -> None:
        """Args:
            path: a checkpoint file, or one that came with the package (`models.pretrained_path`).
            device: where to compute; the processor by default.
            precision: fp32 or bf16; by default as it was trained, and of what came with the package fp32, which is the
                same on all machines.

        Raises:
            UserError: the file is neither, or damaged.
        """
        self.path = Path(path)
        self.checkpoint, self.hash = load_network(self.path)
        self.classes = self.checkpoint.classes
        config = self.checkpoint.config
        own = "fp32" if is_shipped(self.path) else config.precision
        self.config = dataclasses.replace(config, device=str(find_device(device or "cpu")), precision=precision or own)
        self.model = placed(rebuild_model(self.checkpoint), self.config)

    @property
    def name(self) -> str:
        """What its files are called: as its run and fold, or as its own file where that is all there is of the run."""
        run, folder = self.checkpoint.run, self.path.parent
        if self.path.suffix != ".pt":
            return self.path.stem
        return f"{run}.{folder.name}" if folder.parent.name == run else run

    def probabilities(self, images: np.ndarray, views: int | None = None) -> np.ndarray:
        """float64 [N, C] for uint8 [N, H, W] or [N, H, W, 3]; the mean over the config's or ``views`` views."""
        logits = predict(self.model, images, self.config, views=self.config.views if views is None else views)
        return softmax(logits).mean(0)

    def predict(
        self,
        split: Split,
        part: str,
        *,
        views: int | None = None,
        between_batches: Callable[[], None] = lambda: None,
    ) -> Predictions:
        """Predictions for one part of a data set, with all that identifies them.

        Args:
            split: the data that this network was trained on.
            part: ``"train"``, ``"val"`` or ``"test"``.
            views: how many deterministic views; the config's number by default.
            between_batches: called before each batch; may raise to stop.

        Raises:
            UserError: the data have no such part, other classes, or another training part than the network saw.
        """
        faces = split.parts().get(part)
        if faces is None:
            raise UserError(f"{self.path}: the data have no part '{part}'")
        if faces.classes != self.classes:
            raise UserError(
                f"{self.path}: trained on {', '.join(self.classes)}; the data have {', '.join(faces.classes)}"
            )
        if self.checkpoint.data.get("train") != split.train.fingerprint():
            raise UserError(f"{self.path}: was trained on other data than these; its numbers would not be comparable")
        views = self.config.views if views is None else views
        logits = predict(self.model, faces.images, self.config, views=views, between_batches=between_batches)
        copies = _copies(faces, split) if part != "train" else []
        meta = _identity(self.checkpoint, self.config) | {
            "checkpoint": self.hash,
            "data": faces.fingerprint(),
            "split": part,
            "protocol": split.protocol,
            "views": views,
            "copies_in_train": copies,
            "fold": split.name,
        }
        if split.trimmed:
            meta["training_part"] = dict(split.trimmed)
        if faces.subjects is not None:
            meta["subjects"] = dict(zip(faces.ids, faces.subjects, strict=True))
        return Predictions(logits, faces.labels, faces.ids, faces.classes, meta)

    def predict_elsewhere(
        self,
        faces: Faces,
        other: Config,
        *,
        views: int | None = None,
        between_batches: Callable[[], None] = lambda: None,
    ) -> Predictions:
        """Predictions for all images of a data set that this network has never been trained on.

        Args:
            faces: all images.
            other: the settings that they were read with.
            views, between_batches: as for `predict`.

        Raises:
            UserError: other classes; or the network (or what it began with) was trained on one of these images, or on
                this data set and nobody knows on which images.
        """
        dataset = other.dataset
        if faces.classes != self.classes:
            helps = [name for name in TAXONOMIES if _classes_in(faces, name) == self.classes]
            hint = f"; taxonomy={helps[0]} brings them to those of the network" if helps else ""
            sides = f"knows {', '.join(self.classes)}; {dataset} has {', '.join(faces.classes)}"
            if set(faces.classes) != set(self.classes):
                raise UserError(f"{self.path}: {sides}{hint}")
            places = np.array([self.classes.index(name) for name in faces.classes])
            faces = dataclasses.replace(faces, labels=places[faces.labels], classes=self.classes)
        history, form = list(pasts(self.checkpoint)), form_of(faces, other)
        digests = image_digests(faces.images) if any(past.form == form for past in history) else np.empty(0, np.int64)
        for past in history:
            if past.form == form and (met := int(np.isin(digests, past.images).sum())):
                raise UserError(f"{self.path}: was trained on {met} of these {len(faces)} images, so they are no test")
            if past.form != form and past.dataset == dataset:
                raise UserError(f"{self.path}: was trained on {dataset} itself, so all its images are no test of it")
        trained_on = [past.dataset for past in history]
        views = self.config.views if views is None else views
        logits = predict(self.model, faces.images, self.config, views=views, between_batches=between_batches)
        meta = _identity(self.checkpoint, self.config) | {
            "dataset": dataset,
            "checkpoint": self.hash,
            "data": faces.fingerprint(),
            "split": f"on_{_variant(other)}",
            "protocol": f"elsewhere: trained on {' and '.join(trained_on)}, judged on all of {dataset}",
            "views": views,
        }
        if faces.subjects is not None:
            meta["subjects"] = dict(zip(faces.ids, faces.subjects, strict=True))
        return Predictions(logits, faces.labels, faces.ids, faces.classes, meta)


def _copies(faces: Faces, split: Split) -> list[str]:
    """The ids of those that have an exact copy in the data set's training part, learned from or left out of it.

    So that accuracy without copies is of the same images for all networks.
    """
    copied = copied_from(faces, split.train)
    if split.left_out is not None:
        copied |= copied_from(faces, split.left_out)
    return [faces.ids[i] for i in np.flatnonzero(copied)]


def _classes_in(faces: Faces, taxonomy: str) -> tuple[str, ...]:
    """The classes that ``faces`` would have; none where they do not fit."""
    try:
        return in_taxonomy(faces, taxonomy).classes
    except UserError:
        return ()


def _variant(other: Config) -> str:
    """The data set, and what differs in these settings from the set as it comes; fit for the name of a file."""
    names = [other.dataset]
    if other.dataset == "folder":
        names.append(Path(other.data_path).resolve().name)
    for key in ("taxonomy", "crop", "label_source"):
        names += [str(getattr(other, key))] if getattr(other, key) not in ("own", "none") else []
    if other.label_source != "own":
        names += ["majority"] * (other.ferplus_policy == "majority") + ["train"] * (other.ferplus_parts == "train")
    return "-".join("".join(c if c.isascii() and (c.isalnum() or c in "._") else "_" for c in n)[:60] for n in names)


def _identity(checkpoint: Checkpoint, config: Config) -> dict[str, object]:
    """What a dump says of the run behind it: ``config`` is that of its training, ``precision`` that of the judging."""
    return {
        "scores": "logits",
        "run": checkpoint.run,
        "arch": config.arch,
        "dataset": config.dataset,
        "weights": config.weights,
        "seed": config.seed,
        "image_size": config.image_size,
        "precision": config.precision,
        "epoch": checkpoint.epoch,
        "selection": checkpoint.selection,
        "training_seconds": checkpoint.progress.get("seconds"),
        "config": dataclasses.asdict(checkpoint.config),
        "environment": checkpoint.environment,
        "origin": checkpoint.origin,
        "teacher": checkpoint.data.get("teacher"),
    }
