"""Reads weights files from strangers: no code runs, no bomb goes off, every refusal is one line."""

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from models.errors import ModelError

# Keys under which training programs keep the network; averaged weights, where there are any, are the ones judged.
WRAPPERS = ("ema", "net", "state_dict", "model")
PREFIXES = ("module.", "_orig_mod.")  # left by DataParallel and by torch.compile
MAX_EXPANSION = 50  # torch stores its archives uncompressed, so honest files are near 1
MAX_BYTES = 8 * 2**30

# What torch's and safetensors' readers are known to raise on damaged or hostile files.
UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    safetensors.SafetensorError,
    zipfile.BadZipFile,
)


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Reads the tensors of a .pth, .pt or .safetensors file, told apart by content, onto the CPU.

    The state dict may be the file itself or lie under "net", "state_dict" or "model"; the prefix
    "module." is stripped.

    Args:
        path: the file.

    Returns:
        Parameter name → tensor, strided and on the CPU.

    Raises:
        ModelError: no such file, not a weights file, damaged, hostile, or without tensors.
    """
    path = Path(path)
    start = _first_bytes(path)
    try:
        content = _read_safetensors(path) if start[8:9] == b"{" else _read_torch(path, start)
    except ModelError:
        raise
    except UNREADABLE as error:
        raise ModelError(f"{path}: not loaded, damaged or unsafe ({_first_line(error)})") from None
    state = {_plain_key(key): value for key, value in _unwrap(content).items() if _is_plain(value)}
    if not state:
        raise ModelError(f"{path}: holds no tensors; expected a state dict, plain or under {', '.join(WRAPPERS)}")
    return state


def read_note(path: str | os.PathLike[str]) -> dict[str, str]:
    """What the writer of a .safetensors file noted beside its tensors; nothing where it is another kind of file.

    Raises:
        ModelError: no such file, or damaged.
    """
    if _first_bytes(Path(path))[8:9] != b"{":
        return {}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except UNREADABLE as error:
        raise ModelError(f"{path}: not loaded, damaged or unsafe ({_first_line(error)})") from None


def _first_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise ModelError(f"{path}: is a folder; expected a .pth, .pt or .safetensors file")
    if not path.exists():
        raise ModelError(f"{path}: no such weights file")
    if not path.is_file():
        raise ModelError(f"{path}: not a regular file; expected a .pth, .pt or .safetensors file")
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    if not start:
        raise ModelError(f"{path}: empty; expected a .pth, .pt or .safetensors file")
    if start.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path}: a git-lfs pointer, not the weights themselves; fetch them with 'git lfs pull'")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ModelError(f"{path}: a web page, not weights; download the file itself")
    return start


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    return safetensors.torch.load_file(path, device="cpu")


def _read_torch(path: Path, start: bytes) -> Any:
    """Reads what torch.save wrote, a zip archive or (before torch 1.6) a pickle."""
    if start.startswith(b"PK"):
        _refuse_bomb(path)
    elif not start.startswith(b"\x80"):
        raise ModelError(f"{path}: not a weights file; expected .pth, .pt or .safetensors content")
    return torch.load(path, map_location="cpu", weights_only=True)


def _refuse_bomb(path: Path) -> None:
    """Compares the sizes that the archive declares with the file's own, before anything is unpacked."""
    with zipfile.ZipFile(path) as archive:
        declared = sum(entry.file_size for entry in archive.infolist())
    size = path.stat().st_size
    if declared > MAX_BYTES or declared > MAX_EXPANSION * size:
        raise ModelError(f"{path}: refused, {size} bytes would unpack to {declared}")


def _unwrap(content: Any) -> Mapping[Any, Any]:
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            return content[wrapper]
    return content if isinstance(content, Mapping) else {}


def _plain_key(key: Any) -> str:
    name = str(key)
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _is_plain(value: Any) -> bool:
    if not isinstance(value, Tensor):
        return False
    return value.layout is torch.strided and value.device.type == "cpu" and not value.is_quantized


def _first_line(error: BaseException) -> str:
    """The error's first line, cut short: torch's advice to load unsafely must not reach the user."""
    text = str(error).strip().partition("\n")[0].partition(". ")[0]
    return f"{type(error).__name__}: {text[:120]}" if text else type(error).__name__
