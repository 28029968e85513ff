"""A trained network as one small .safetensors file: what judges, at half precision, and what is known of its past."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from models import ModelError, model_info, pretrained_path
from models.weight_files import read_note, read_weights
from utils.checkpoint import Checkpoint, checkpoint_from, checkpoint_hash, load_checkpoint
from utils.config import Config
from utils.errors import UserError
from utils.files import is_file, refuse_disguise, sha256_of
from utils.runs import find_run

# The network that programs take where none is named.
DEFAULT_NETWORK = "compact_vgg"
SUFFIX = ".safetensors"
# What else of a checkpoint goes along; the rest is for going on with the training.
_TOLD = ("run", "classes", "epoch", "metrics", "selection", "data", "environment", "origin")
# Of the machine it was trained on, and no matter of the network.
_HERE = ("device", "data_path", "cache_dir", "log_dir", "checkpoint_dir", "results_dir", "figures_dir", "threads")


def network_path(name: str | None, config: Config) -> Path:
    """The file of the network that a user names: a run that has ended, a file, or None for what comes with the package.

    Args:
        name: of a run, or of a checkpoint or what `shipped_bytes` made of one.
        config: says where the runs lie.

    Raises:
        UserError: no such run, one that has not ended or is a run of folds; or nothing came with the package.
    """
    if name is None:
        try:
            return pretrained_path(DEFAULT_NETWORK)
        except ModelError as error:
            raise UserError(f"{error}; name a run, or make them of one: python gen_pretrained.py RUN") from None
    if name.endswith((SUFFIX, ".pt")):
        return Path(name)
    if is_file(name):
        raise UserError(f"{name}: not a network; expected the name of a run, a checkpoint (.pt) or a {SUFFIX} file")
    files = find_run(name, config)
    if files.settings.is_file():
        raise UserError(f"{files.checkpoints}: has a network for each fold; name the checkpoint file of one")
    if not load_checkpoint(files.last).progress.get("finished"):
        raise UserError(f"{files.checkpoints}: training has not ended; --resume it")
    return files.best


def load_network(path: Path) -> tuple[Checkpoint, str]:
    """A checkpoint, or what `shipped_bytes` made of one; and the hash that names it.

    Raises:
        UserError: neither of them, or damaged.
    """
    return _read(path) if path.suffix == SUFFIX else (load_checkpoint(path), checkpoint_hash(path))


def is_shipped(path: Path) -> bool:
    """Whether `shipped_bytes` made this file, rather than another program."""
    try:
        return path.suffix == SUFFIX and "told" in read_note(path)
    except ModelError:
        return False


def taken_up(path: Path) -> float:
    """The temperature that a network's weights have taken up already; 1 where `shipped_bytes` did not make the file."""
    return json.loads(read_note(path)["told"])["temperature"] if is_shipped(path) else 1.0


def shipped_bytes(checkpoint: Checkpoint, temperature: float) -> bytes:
    """The file: matrices and kernels as float16, all else as it is; settings and past as JSON in its header.

    Args:
        checkpoint: a run that has ended; its judged weights go along.
        temperature: what logits are divided by (Guo et al., ICML 2017). The last layer takes it up, so that whoever
            loads the file has calibrated probabilities without knowing of it.
    """
    head = model_info(checkpoint.config.arch).classifier
    tensors = {}
    for key, tensor in checkpoint.judged_weights().items():
        value = tensor / temperature if key in (f"{head}.weight", f"{head}.bias") else tensor
        tensors[key] = (value.half() if value.is_floating_point() and value.ndim > 1 else value).contiguous()
    for number, seen in enumerate(checkpoint.seen):
        tensors[f"seen.{number}"] = seen["images"].contiguous()
    plain = Config()
    config = replace(checkpoint.config, **{key: getattr(plain, key) for key in _HERE})
    told: dict[str, Any] = {key: getattr(checkpoint, key) for key in _TOLD} | {"temperature": temperature}
    told["seconds"] = checkpoint.progress.get("seconds")
    told["forms"] = [seen["form"] for seen in checkpoint.seen]
    notes = {"config": json.dumps(asdict(config)), "told": json.dumps(told)}
    return safetensors.torch.save(tensors, notes)


def _read(path: Path) -> tuple[Checkpoint, str]:
    refuse_disguise(path)
    try:
        note, tensors = read_note(path), read_weights(path)
    except ModelError as error:
        raise UserError(str(error)) from None
    try:
        plain = _as_plain({key: json.loads(note[key]) for key in ("config", "told")}, tensors)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        hint = "weights of another program are loaded with weights=FILE"
        raise UserError(f"{path}: does not say what network it holds; {hint}") from None
    return checkpoint_from(plain, path), sha256_of(path)


def _as_plain(note: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """What a checkpoint's own file would hold."""
    told = note["told"]
    seen = [{"form": form, "images": tensors[f"seen.{number}"]} for number, form in enumerate(told["forms"])]
    model = {
        key: tensor.float() if tensor.is_floating_point() else tensor
        for key, tensor in tensors.items()
        if not key.startswith("seen.")
    }
    plain = {key: told[key] for key in _TOLD} | {"config": note["config"], "seen": seen, "model": model}
    plain |= {"step": 0, "ema": None, "optimizer": {}, "scheduler": {}}
    return plain | {"progress": {"seconds": told["seconds"], "finished": True}}
