"""Puts weights from a file or a library's download into a network, and says what fitted and what did not."""

import http.client
import logging
import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from models.errors import DownloadError, ModelError
from models.weight_files import read_weights

DOWNLOAD_TIMEOUT = 20.0  # seconds without an answer
COUNTER = "num_batches_tracked"  # batch norms of old files lack it, and nothing depends on it

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadReport:
    """What became of a weights file.

    Attributes:
        source: the file.
        loaded: names of the network's tensors that were set.
        skipped: names in the file that were not used: unknown here, or a head or stem of another shape.
        missing: names of the network's tensors that keep their fresh values.
    """

    source: str
    loaded: tuple[str, ...]
    skipped: tuple[str, ...]
    missing: tuple[str, ...]

    def summary(self) -> str:
        """Returns one line: how many tensors were loaded, and the first few that were not."""
        line = f"{self.source}: {len(self.loaded)} tensors loaded"
        if self.skipped:
            line += f", {len(self.skipped)} skipped ({_some(self.skipped)})"
        if self.missing:
            line += f", {len(self.missing)} keep fresh values ({_some(self.missing)})"
        return line


def load_weights(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    rename_key: Callable[[str], str | None] | None = None,
) -> LoadReport:
    """Loads the tensors of a file that fit the network; nothing is changed when the file is refused.

    A linear layer with another number of outputs (the head) and a first convolution with another kernel
    size (the stem) keep their fresh values. A first convolution of a grey network takes the file's kernel
    summed over its three channels: exact for images with R = G = B after normalisation.

    Args:
        model: the network, changed in place.
        path: .pth, .pt or .safetensors, see `models.weight_files.read_weights`.
        rename_key: maps a name in the file to the network's, or to None for one to leave out silently.

    Returns:
        What was loaded, skipped and missed; its summary is logged too.

    Raises:
        ModelError: unreadable file, no tensor that fits, one of another shape, or values not finite.
    """
    own = model.state_dict()
    state: dict[str, Tensor] = {}
    skipped: list[str] = []
    for file_key, tensor in read_weights(path).items():
        key = rename_key(file_key) if rename_key else file_key
        if key is None:
            continue
        fitted = _fit(model, key, tensor, own[key], path) if key in own else None
        if fitted is None:
            skipped.append(file_key)
        else:
            state[key] = fitted
    if not any(not key.endswith(COUNTER) for key in state):
        raise ModelError(f"{path}: weights of another network; none of its tensors fits ({_some(skipped)})")
    model.load_state_dict(state, strict=False)
    missing = tuple(key for key in own if key not in state and not key.endswith(COUNTER))
    report = LoadReport(str(path), tuple(state), tuple(skipped), missing)
    logger.info(report.summary())
    return report


def download_imagenet(source: str) -> Path:
    """Returns the ImageNet weights file of a library's network, downloaded if it is not there yet.

    Args:
        source: `torchvision:<name>` or `timm:<name>`.

    Raises:
        ModelError: no such weights, or no network: then it says which file belongs where.
    """
    url, file_name = _imagenet_file(source)
    target = Path(torch.hub.get_dir()) / "checkpoints" / file_name
    if target.exists():
        return target
    digest = re.search(r"-([0-9a-f]{8,})\.", url)
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(target), digest[1] if digest else None, progress=False)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise DownloadError(
            f"cannot download the imagenet weights of {source} ({error}); "
            f"place {url} at {target}, or give the file's path as weights"
        ) from None
    finally:
        socket.setdefaulttimeout(timeout)
    return target


def _fit(model: nn.Module, key: str, tensor: Tensor, own: Tensor, path: str | os.PathLike[str]) -> Tensor | None:
    """Returns the file's tensor as the network can take it, or None for a head or stem to leave out."""
    layer, _, _ = key.rpartition(".")
    module = model.get_submodule(layer)
    shape, own_shape = tuple(tensor.shape), tuple(own.shape)
    if isinstance(module, nn.Conv2d) and len(shape) == 4 and (shape[1], own_shape[1]) == (3, 1):
        # The sum is taken in fp32: files often hold kernels in fp16.
        tensor = tensor.float().sum(dim=1, keepdim=True)
        shape = tuple(tensor.shape)
    if shape == own_shape:
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{path}: {key} holds values that are not finite")
        return tensor
    if isinstance(module, nn.Linear) and len(shape) == len(own_shape) and shape[1:] == own_shape[1:]:
        return None
    if module is _first_convolution(model) and len(shape) == 4 and shape[:2] == own_shape[:2]:
        return None
    raise ModelError(f"{path}: weights of another network; {key} is {list(shape)}, expected {list(own_shape)}")


def _first_convolution(model: nn.Module) -> nn.Module | None:
    return next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)


def _imagenet_file(source: str) -> tuple[str, str]:
    """Returns the address of a library's ImageNet weights and the name they have on disk."""
    library, _, name = source.partition(":")
    if library == "torchvision":
        from models.torchvision_compat import torchvision

        url = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url
        return url, url.rpartition("/")[2]
    from models.timm_door import pretrained_file

    return pretrained_file(name)


def _some(names: tuple[str, ...] | list[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")
