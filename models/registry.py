"""Maps a model's name to its builder and to the facts that other code must know about it."""

import inspect
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.errors import ModelError, closest
from models.weight_files import read_note
from models.weights import download_imagenet, load_weights

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "ModelError",
    "ModelInfo",
    "check_input_size",
    "create_model",
    "list_models",
    "model_info",
    "pretrained_path",
    "register_model",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
TIMM = "timm:"
PRETRAINED = "pretrained"
_SHIPPED = Path(__file__).resolve().parent / "pretrained"

Builder = Callable[..., nn.Module]
_registry: dict[str, "ModelInfo"] = {}


@dataclass(frozen=True)
class ModelInfo:
    """What other code must know about a network.

    Attributes:
        name: the registered name, equal to the builder's.
        builder: `builder(num_classes, in_channels, drop_rate, **options) -> nn.Module`, fresh weights.
        classifier: dotted path of the final linear layer; ``auxiliary``: that of a second head, used in training.
        cam_layer: dotted path of the last module whose output is a feature map [B, C, h, w].
        masks: dotted path of each masking block → that of the layer that takes in what it has weighed.
        min_size: smallest height and width, in pixels, with the default options.
        size_multiple: height and width must be multiples of this, with the default options.
        shrink: option name → its value → the number that divides `min_size` and `size_multiple`.
        mean, std: normalisation of RGB in [0, 1] that the pretrained weights expect.
        imagenet: where the ImageNet weights come from, `torchvision:<name>` or `timm:<name>`, or None.
        weights_hint: what to say when ImageNet weights are asked for and there are none.
        rename_key: maps a key of a published file to ours, or to None for one to leave out.
        options: the further keyword arguments that the builder accepts.
    """

    name: str
    builder: Builder
    classifier: str
    cam_layer: str
    auxiliary: str = ""
    masks: Mapping[str, str] = field(default_factory=dict)
    min_size: int = 1
    size_multiple: int = 1
    shrink: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    imagenet: str | None = None
    weights_hint: str = "train it from scratch (weights 'none') or pass the path of a file"
    rename_key: Callable[[str], str | None] | None = None
    options: tuple[str, ...] = ()

    def input_limits(self, options: Mapping[str, Any] | None = None) -> tuple[int, int]:
        """Returns (smallest size, multiple) in pixels for the network built with `options`."""
        divisor = 1
        for option, values in self.shrink.items():
            divisor *= values.get(str((options or {}).get(option)), 1)
        return max(1, self.min_size // divisor), max(1, self.size_multiple // divisor)


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    weights: str | os.PathLike[str] = "none",
    drop_rate: float | None = None,
    image_size: int | None = None,
    **options: Any,
) -> nn.Module:
    """Builds a network by name.

    The network maps x, float [B, in_channels, H, W], to logits [B, num_classes]; an input that it cannot
    take is refused with a `ModelError`. One with auxiliary heads (inception_v3) returns the tuple
    (logits, aux_logits) while training and plain logits in eval mode.

    Args:
        name: one of `list_models()`, or `timm:<name>` for any network of timm.
        num_classes: outputs of the head, at least 1; must be given, but for pretrained weights, which have their own.
        in_channels: 1 (grey) or 3 (RGB, the default without pretrained weights).
        weights: "none", "pretrained" (trained on faces, comes with this package, see `pretrained_path`), "imagenet"
            (the library's own download) or the path of a .pth, .pt or .safetensors file; a head of another shape
            keeps its fresh values.
        drop_rate: dropout before the head's linear layers, in [0, 1); None keeps the network's own.
        image_size: height and width of the inputs to come, checked now if given.
        **options: what the network accepts beyond that, see `ModelInfo.options`.

    Raises:
        ModelError: unknown name or option, value out of range, unsuitable size or weights.
    """
    info = model_info(name)
    note: Mapping[str, Any] = {}
    if not isinstance(weights, str | os.PathLike):
        raise ModelError(f"weights must be 'none', 'pretrained', 'imagenet' or a path; got {weights!r}")
    if os.fspath(weights) == PRETRAINED:
        weights = pretrained_path(name)
        note = json.loads(read_note(weights)["config"])
    num_classes = note.get("num_classes") if num_classes is None else num_classes
    in_channels = note.get("in_channels", 3) if in_channels is None else in_channels
    if note and in_channels != note["in_channels"]:
        raise ModelError(f"{name}: its pretrained weights take in_channels={note['in_channels']}; got {in_channels}")
    _check_arguments(num_classes, in_channels, drop_rate)
    _check_options(info, options)
    if image_size is not None:
        check_input_size(name, image_size, options)
    if name.startswith(TIMM):
        options = {"image_size": image_size, **options}
    model = info.builder(num_classes, in_channels, drop_rate, **options)
    smallest, multiple = info.input_limits(options)
    model.register_forward_pre_hook(partial(_check_input, name, in_channels, smallest, multiple))
    if os.fspath(weights) != "none":
        path = _imagenet_path(info) if os.fspath(weights) == "imagenet" else weights
        load_weights(model, path, rename_key=_ours if note else info.rename_key)
    return model


def pretrained_path(name: str) -> Path:
    """The weights of network ``name`` that come with this package; its folder says what they are worth, and for what.

    Raises:
        ModelError: none come with it.
    """
    path = _SHIPPED / f"{name}.safetensors"
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in _SHIPPED.glob("*.safetensors"))) or "none"
        raise ModelError(f"{name} has no pretrained weights; those that come with this package: {there}")
    return path


def list_models() -> list[str]:
    """Returns the registered names in alphabetical order (`timm:<name>` is open beside them)."""
    return sorted(_registry)


def model_info(name: str) -> ModelInfo:
    """Returns the facts about the network `name`.

    Raises:
        ModelError: no network of that name.
    """
    if name.startswith(TIMM):
        return replace(_timm_info(name.removeprefix(TIMM)), name=name)
    if name not in _registry:
        raise ModelError(f"unknown model {name!r}; closest: {closest(name, _registry)}")
    return _registry[name]


def check_input_size(name: str, size: int, options: Mapping[str, Any] | None = None) -> None:
    """Checks that the network `name`, built with `options`, takes images of `size` x `size` pixels.

    Raises:
        ModelError: too small, or not a multiple of what the network halves.
    """
    _check_size(name, size, *model_info(name).input_limits(options))


def register_model(**facts: Any) -> Callable[[Builder], Builder]:
    """Registers the decorated builder under its own name with the facts of `ModelInfo`.

    The builder's first three parameters are num_classes, in_channels and drop_rate; the parameters after
    them are the options that users may set.

    Raises:
        ValueError: the name is taken, or is not a plain function's.
    """

    def register(builder: Builder) -> Builder:
        name = builder.__name__
        if name in _registry:
            raise ValueError(f"model {name!r} is registered twice")
        options = tuple(inspect.signature(builder).parameters)[3:]
        _registry[name] = ModelInfo(name=name, builder=builder, options=options, **facts)
        return builder

    return register


def _timm_info(name: str) -> ModelInfo:
    """Facts about a network of timm; timm is imported only when someone knocks at its door."""
    from models.timm_door import timm_info

    return timm_info(name)


def _ours(key: str) -> str | None:
    """Beside the weights such a file holds what the network has been trained on."""
    return None if key.startswith("seen.") else key


def _imagenet_path(info: ModelInfo) -> os.PathLike[str]:
    if info.imagenet is None:
        raise ModelError(f"{info.name} has no imagenet weights; {info.weights_hint}")
    return download_imagenet(info.imagenet)


def _check_arguments(num_classes: int | None, in_channels: int, drop_rate: float | None) -> None:
    if num_classes is None:
        raise ModelError("num_classes must be given; only weights='pretrained' bring their own")
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
        raise ModelError(f"num_classes must be a whole number of at least 1; got {num_classes!r}")
    if in_channels not in (1, 3):
        raise ModelError(f"in_channels must be 1 or 3; got {in_channels!r}")
    if drop_rate is None:
        return
    if isinstance(drop_rate, bool) or not isinstance(drop_rate, int | float) or not 0 <= drop_rate < 1:
        raise ModelError(f"drop_rate must be at least 0 and below 1; got {drop_rate!r}")


def _check_options(info: ModelInfo, options: Mapping[str, Any]) -> None:
    for option in options:
        if option not in info.options:
            accepted = ", ".join(info.options) or "none"
            raise ModelError(f"{info.name} has no option {option!r}; it accepts: {accepted}")


def _check_size(name: str, size: int, smallest: int, multiple: int) -> None:
    if size < smallest:
        raise ModelError(f"{name} needs images of at least {smallest} x {smallest} pixels; got {size}")
    if size % multiple:
        below = size - size % multiple
        nearest = f"{below} or {below + multiple}" if below >= smallest else f"{below + multiple}"
        raise ModelError(f"{name} needs an image size that is a multiple of {multiple}; got {size}, nearest: {nearest}")


def _check_input(
    name: str, in_channels: int, smallest: int, multiple: int, module: nn.Module, args: tuple[Any, ...]
) -> None:
    """Forward pre-hook: refuses in one line what would crash deep inside the network."""
    x = args[0]
    if x.dim() != 4 or x.shape[1] != in_channels or not torch.is_floating_point(x):
        got = f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)}"
        raise ModelError(f"{name} takes floating-point images [B, {in_channels}, H, W]; got {got}")
    for size in x.shape[2:]:
        _check_size(name, size, smallest, multiple)
