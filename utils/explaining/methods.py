"""The maps by name, for any network of the registry: uint8 faces in, one map each out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from models import model_info
from utils.augment import view_batch
from utils.config import Config
from utils.datasets.faces import Images
from utils.errors import UserError, closest
from utils.explaining.cams import by_gradient, gradcam, gradcam_plus_plus, layercam, scorecam
from utils.explaining.pixels import integrated_gradients, occlusion, smoothgrad
from utils.explaining.watching import evaluating
from utils.inference import MOST_IMAGES, MOST_PIXELS

_GROUP = 16  # images explained together


@dataclass(frozen=True)
class Method:
    """One way to make maps.

    Attributes:
        title: what people call it.
        means: what its colours say; see `meaning`.
        of_layer: `of_layer(model, x, targets, layer, at_once)`, for methods that look at a feature map.
        of_pixels: `of_pixels(model, x, targets, at_once)`, for those that look at the input.
    """

    title: str
    means: str
    of_layer: Callable[[nn.Module, Tensor, Tensor, str, int], Tensor] | None = None
    of_pixels: Callable[[nn.Module, Tensor, Tensor, int], Tensor] | None = None

    def meaning(self, layer: str | None = None) -> str:
        """What the colours of a map say, of ``layer`` where another than the network's own was asked for."""
        return self.means.format(layer=layer or "the last feature map")


def _cam(weigh: Callable[[Tensor, Tensor], Tensor], model: nn.Module, x: Tensor, targets: Tensor, layer: str, _: int):  # type: ignore[no-untyped-def]
    return by_gradient(weigh, model, x, targets, layer)


_EVIDENCE = "orange: evidence for the class in {layer}"
CAMS: Mapping[str, Method] = {
    "gradcam": Method("Grad-CAM", _EVIDENCE, partial(_cam, gradcam)),
    "gradcam++": Method("Grad-CAM++", _EVIDENCE, partial(_cam, gradcam_plus_plus)),
    "layercam": Method("Layer-CAM", _EVIDENCE, partial(_cam, layercam)),
    "scorecam": Method("Score-CAM", _EVIDENCE, scorecam),
}
SALIENCY: Mapping[str, Method] = {
    "occlusion": Method("Occlusion", "orange: the class loses when it is covered; blue: it gains", None, occlusion),
    "integrated_gradients": Method(
        "Integrated gradients", "orange: adds to the class; blue: takes from it", None, integrated_gradients
    ),
    "smoothgrad": Method("SmoothGrad", "orange: the class depends on it, either way", None, smoothgrad),
}
METHODS: Mapping[str, Method] = {**CAMS, **SALIENCY}


def explain(
    model: nn.Module,
    images: Images,
    targets: np.ndarray,
    config: Config,
    method: str,
    *,
    layer: str | None = None,
) -> np.ndarray:
    """One map for each image: where what speaks for a class lies.

    The model is left as it was: its mode, its weights, their gradients and its hooks.

    Args:
        model: maps float32 [N, in_channels, S, S] to logits [N, C]; `predict` gives no gradients, so this is, beside
            it, the other forward pass outside training.
        images: uint8 [N, H, W] or [N, H, W, 3].
        targets: int64 [N], the class that each map is about.
        config: the network's name, image size, channels, normalisation, device.
        method: one of `METHODS`.
        layer: of which layer a class activation map is made; the one that the network's facts name by default.

    Returns:
        float32 [N, S, S]; 0 says nothing, above 0 speaks for the class, and below 0 (occlusion and integrated gradients
        alone) against it.

    Raises:
        UserError: no such method, class or layer; or the network has no feature map.
    """
    chosen = _method(method)
    if len(targets) and not 0 <= min(targets) <= max(targets) < config.num_classes:
        raise UserError(f"classes {min(targets)} to {max(targets)} asked for; the network has {config.num_classes}")
    if chosen.of_layer is not None and not (layer := layer or model_info(config.arch).cam_layer):
        others = ", ".join(SALIENCY)
        raise UserError(f"{config.arch}: has no feature map that {chosen.title} could look at; use {others}")
    at_once = max(1, min(MOST_IMAGES, MOST_PIXELS // config.image_size**2) // 2)
    maps = [np.empty((0, config.image_size, config.image_size), np.float32)]
    with evaluating(model):
        for start in range(0, len(images), _GROUP):
            part = slice(start, start + _GROUP)
            x = view_batch(torch.from_numpy(np.array(images[part])).to(config.device), 0, config)
            classes = torch.from_numpy(np.asarray(targets[part], np.int64)).to(config.device)
            if chosen.of_layer is not None:
                found = chosen.of_layer(model, x, classes, layer or "", at_once)
            else:
                assert chosen.of_pixels is not None
                found = chosen.of_pixels(model, x, classes, at_once)
            maps.append(found.detach().float().cpu().numpy())
    return np.concatenate(maps)


def _method(name: str) -> Method:
    if name not in METHODS:
        near = closest(name[:80], METHODS, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(METHODS)}"
        raise UserError(f"unknown method '{name[:80]}'; {hint}")
    return METHODS[name]
