"""Checkpoints: one self-describing file of plain types, with a hash of its own, never half written."""

import dataclasses
import hashlib
import io
import pickle
import pickletools
import re
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models import create_model
from utils.config import Config, config_from_dict
from utils.errors import UserError
from utils.files import refuse_disguise, write_atomically

FORMAT = 1
_MARK = b"sha256:"
_TRAILER = len(_MARK) + 64
# What a checkpoint of plain types and tensors needs to be rebuilt. torch.load allows more, some of it able to take
# any amount of memory.
_CALLS = re.compile(r"collections OrderedDict|torch\._utils _rebuild_tensor_v2|torch \w+Storage")
# What zipfile, pickletools and torch.load raise over a file that makes no sense.
_BROKEN = (
    zipfile.BadZipFile,
    RuntimeError,
    ArithmeticError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    EOFError,
)
_KINDS = {"run": str, "config": dict, "classes": list, "epoch": int, "step": int, "model": dict} | dict.fromkeys(
    ("metrics", "selection", "data", "optimizer", "scheduler", "progress", "environment", "origin"), dict
)
_KINDS["seen"] = list
# Where a zip file says how long its closing comment is: 20 bytes into the end record, which is 22 bytes long.
_END_RECORD, _COMMENT_LENGTH = 22, 20


@dataclass(frozen=True)
class Checkpoint:
    """A run at one moment.

    Attributes:
        run: its name.
        config: its settings; the network is rebuilt from them.
        classes: class names in label order.
        epoch: epochs completed; ``step`` counts the steps done in the next one.
        metrics: validation figures of the weights that are judged.
        selection: which part and which metric choose the best checkpoint.
        data: fingerprint of each part of the data that this run may use in training; hash of its teacher's dump.
        model: weights as trained; ``ema``: averaged weights, or None.
        optimizer, scheduler, progress: what resuming needs besides.
        environment: versions and machine; under ``earlier`` other machines, on which the run was before.
        origin: the run whose weights this one began with, see `utils.transfer.Origin`; empty where there is none.
        seen: the images of its training part, then those of what it began with, and so on, each as
            `utils.seen.seen_in` tells them; as far as they are known.
    """

    run: str
    config: Config
    classes: tuple[str, ...]
    epoch: int
    step: int
    metrics: dict[str, Any]
    selection: dict[str, Any]
    data: dict[str, Any]
    model: dict[str, torch.Tensor]
    ema: dict[str, torch.Tensor] | None
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    progress: dict[str, Any]
    environment: dict[str, Any]
    origin: dict[str, Any] = dataclasses.field(default_factory=dict)
    seen: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def judged_weights(self) -> dict[str, torch.Tensor]:
        """The weights that validation judged: the averaged ones where there are any."""
        return self.model if self.ema is None else self.ema


def checkpoint_bytes(checkpoint: Checkpoint) -> bytes:
    """The file: what `torch.save` writes, closed by a zip comment ``sha256:<hash of all before it>``.

    A comment is part of the zip format, so `torch.load` reads the file as any other.
    """
    plain = {f.name: getattr(checkpoint, f.name) for f in dataclasses.fields(checkpoint)}
    plain |= {
        "format": FORMAT,
        "config": dataclasses.asdict(checkpoint.config),
        "classes": list(checkpoint.classes),
    }
    buffer = io.BytesIO()
    torch.save(plain, buffer)
    content = bytearray(buffer.getvalue())
    where = len(content) - _END_RECORD + _COMMENT_LENGTH
    content[where : where + 2] = struct.pack("<H", _TRAILER)
    return bytes(content) + _MARK + hashlib.sha256(content).hexdigest().encode()


def save_checkpoint(checkpoint: Checkpoint, *paths: Path) -> None:
    """Write the same checkpoint to each of ``paths``, each one atomically.

    Raises:
        MachineError: no space, no permission; what was there before is intact.
    """
    content = checkpoint_bytes(checkpoint)
    for path in paths:
        write_atomically(path, content)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of this project; no code in it is ever run.

    Raises:
        UserError: not a checkpoint, damaged, of a newer format, or with weights that are not finite.
    """
    refuse_disguise(path)
    expected = checkpoint_hash(path)
    if not expected:
        hint = "cut off, or not a checkpoint of this project (other weights are loaded with weights=FILE)"
        raise UserError(f"{path}: {hint}")
    content = path.read_bytes()
    if expected != hashlib.sha256(memoryview(content)[:-_TRAILER]).hexdigest():
        raise UserError(f"{path}: damaged (checksum differs)")
    return checkpoint_from(_load_plain(content, path), path)


def checkpoint_hash(path: Path) -> str:
    """The hash that a checkpoint carries, read from its last bytes; ``""`` where it has none."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - _TRAILER))
        trailer = file.read()
    return trailer[len(_MARK) :].decode("ascii", "replace") if trailer.startswith(_MARK) else ""


def rebuild_model(checkpoint: Checkpoint) -> nn.Module:
    """The network of a checkpoint with the weights that validation judged, in evaluation mode on the CPU.

    Raises:
        UserError: the weights do not fit the network that the config names.
    """
    model = network(checkpoint.config, weights="none")
    try:
        model.load_state_dict(checkpoint.judged_weights())
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"checkpoint of {checkpoint.run}: does not fit {checkpoint.config.arch}: {reason}") from None
    return model.eval()


def network(config: Config, *, weights: str | None = None) -> nn.Module:
    """The network that ``config`` describes; ``weights`` replaces the setting of that name."""
    return create_model(
        config.arch,
        num_classes=config.num_classes,
        in_channels=config.in_channels,
        weights=config.weights if weights is None else weights,
        drop_rate=config.drop_rate,
        image_size=config.image_size,
        **network_options(config),
    )


def network_options(config: Config) -> dict[str, str]:
    """What ``config`` asks of its network beyond what every network is asked."""
    return {name: value for name in ("stem", "mask_activation") if (value := getattr(config, name)) != "default"}


def _load_plain(content: bytes, path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            # torch.save never compresses, so whatever is compressed here could be a bomb
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise UserError(f"{path}: holds compressed parts, which no checkpoint of this project has; refused")
            if sum(member.file_size for member in archive.infolist()) > len(content):
                raise UserError(f"{path}: would unpack to more than it holds; refused")
            _refuse_calls(archive)
        plain = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(f"{path}: holds objects that could run code; refused") from None
    except _BROKEN as error:
        raise UserError(f"{path}: damaged ({(str(error).splitlines() or ['no reason given'])[0]})") from None
    if not isinstance(plain, dict) or not isinstance(plain.get("format"), int):
        raise UserError(f"{path}: not a checkpoint of this project (other weights are loaded with weights=FILE)")
    if plain["format"] > FORMAT:
        raise UserError(f"{path}: format {plain['format']} is newer than this program reads ({FORMAT})")
    return plain


def _refuse_calls(archive: zipfile.ZipFile) -> None:
    """Raises:
    pickle.UnpicklingError: the pickle in ``archive`` asks for anything but plain types and tensors.
    """
    for name in archive.namelist():
        if name.rpartition("/")[2] == "data.pkl":
            for opcode, argument, _ in pickletools.genops(archive.read(name)):
                if "GLOBAL" in opcode.name and not _CALLS.fullmatch(str(argument)):
                    raise pickle.UnpicklingError(argument)


def checkpoint_from(plain: dict[str, Any], path: Path) -> Checkpoint:
    """The checkpoint whose fields a file holds as ``plain``; nothing in it is trusted.

    Raises:
        UserError: one is missing or of another type, or weights are not finite; ``path`` is named in the message.
    """
    names = [f.name for f in dataclasses.fields(Checkpoint)]
    for name, nothing in (("origin", {}), ("seen", [])):
        plain.setdefault(name, nothing)  # files of the first versions have none
    missing = [name for name in names if name not in plain]
    if missing:
        raise UserError(f"{path}: lacks '{missing[0]}'")
    for name, kind in _KINDS.items():
        if not isinstance(plain[name], kind):
            raise UserError(f"{path}: '{name}' is not {'a table' if kind is dict else f'of type {kind.__name__}'}")
    for tensor in _tensors(plain):
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise UserError(f"{path}: holds a tensor that is larger than its data; refused")
    if not all(map(_are_digests, plain["seen"])):
        raise UserError(f"{path}: 'seen' is not a list of digests of images")
    values = {name: plain[name] for name in names}
    values["config"] = config_from_dict(plain["config"], str(path))
    values["classes"] = tuple(map(str, plain["classes"]))
    checkpoint = Checkpoint(**values)
    for weights in (checkpoint.model, {} if checkpoint.ema is None else checkpoint.ema):
        if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
            raise UserError(f"{path}: the weights are not a table of names")
        for name, tensor in weights.items():
            if not isinstance(tensor, torch.Tensor) or not torch.isfinite(tensor).all():
                raise UserError(f"{path}: weight '{name}' is not finite")
    return checkpoint


def _are_digests(seen: Any) -> bool:
    """Whether this is what `utils.seen.seen_in` makes."""
    if not isinstance(seen, dict) or not isinstance(seen.get("form"), str):
        return False
    images = seen.get("images")
    return isinstance(images, torch.Tensor) and images.dtype == torch.int64 and images.ndim == 1


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """Every tensor in nested tables and lists, each once."""
    waiting, seen = [value], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            waiting.extend(value.values() if isinstance(value, dict) else value)


def refuse_unfinished(path: Path) -> None:
    """The test part is opened after training, not during it.

    Raises:
        UserError: the run that the checkpoint ``path`` belongs to has not ended.
    """
    last = path.with_name("last.pt")
    if last.is_file() and not load_checkpoint(last).progress.get("finished"):
        raise UserError(
            f"{path.parent}: training has not ended, so nothing is tested with it; --resume it, or --split val"
        )


class ClosedTestError(UserError):
    """The test part of a trial run, which nobody has asked for in so many words."""


def refuse_closed_test(name: str, config: Config, asked: str | None) -> None:
    """A run with ``judge_test=false`` is compared by validation; its test part is opened only by who names it.

    Args:
        name: what the user calls the network.
        config: its own.
        asked: the part that was typed; None where it is test by default.

    Raises:
        ClosedTestError: it is not to be opened.
    """
    if asked is None and not config.judge_test:
        raise ClosedTestError(f"{name}: judge_test is false, so its test part stays closed; --split test opens it")
