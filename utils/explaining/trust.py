"""Whether a map can be believed: does it change with the weights, and does what it marks matter to the network?"""

import copy

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import nn

from models import model_info, stages
from utils.config import Config
from utils.explaining.methods import explain
from utils.inference import predict
from utils.predictions import softmax

STEPS = 20  # of the deletion and insertion curves
BLUR = 1 / 8  # of the side: what insertion begins with shows no expression


def randomised_similarity(
    model: nn.Module, images: np.ndarray, targets: np.ndarray, config: Config, method: str, *, seed: int = 0
) -> list[tuple[str, float]]:
    """How alike maps stay while the weights are lost, from the head down (Adebayo et al., NeurIPS 2018).

    Stage after stage the values of every parameter are shuffled, in a copy of the network, which keeps their
    distribution. A map that stays as it was does not show what the network has learned.

    Args:
        model, images, targets, config, method: as for `explain`.
        seed: of the shuffling.

    Returns:
        (name of the stage, mean over the images of Spearman's rank correlation with the trained network's map); the
        first is ``"trained"`` with 1, each later one has lost its own weights and those of all before it.
    """
    info, generator = model_info(config.arch), torch.Generator().manual_seed(seed)
    first = explain(model, images, targets, config, method)
    lost = copy.deepcopy(model)
    parts = [(info.classifier, [lost.get_submodule(info.classifier)]), *reversed(stages(lost, info))]
    found = [("trained", 1.0)]
    for name, modules in parts:
        for parameter in (parameter for module in modules for parameter in module.parameters()):
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.data = parameter.data.flatten()[order].view_as(parameter)
        now = explain(lost, images, targets, config, method)
        found.append((name, float(np.mean([rank_correlation(*pair) for pair in zip(first, now, strict=True)]))))
    return found


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's over the pixels of two maps; 0 where one of them is the same everywhere, and so says nothing."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def deletion_insertion(
    model: nn.Module, images: np.ndarray, targets: np.ndarray, config: Config, maps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The class's probability as the pixels that a map marks are taken away, or come back (Petsiuk et al., BMVC 2018).

    Deletion paints the pixels over, the most important first, with the image's mean; insertion brings them back into a
    blurred image. A good map makes the first curve fall and the second rise early.

    Args:
        model, images, targets, config: as for `explain`.
        maps: float [N, S, S]; random ones give what any map has to beat.

    Returns:
        deletion, insertion: float64 [N, STEPS + 1], from no pixel to all of them.
    """
    side = images.shape[1]
    order = np.stack([_enlarged(one, side).ravel().argsort(kind="stable")[::-1] for one in maps])
    grey = images.mean((1, 2), keepdims=True).round().astype(np.uint8)
    blurred = np.stack([_blurred(image) for image in images])
    deletion, insertion = np.empty((2, len(images), STEPS + 1))
    for step in range(STEPS + 1):
        marked = np.zeros((len(images), side * images.shape[2]), bool)
        np.put_along_axis(marked, order[:, : round(order.shape[1] * step / STEPS)], True, axis=1)
        where = marked.reshape(images.shape[:3] + (1,) * (images.ndim - 3))
        for curve, now in (
            (deletion, np.where(where, grey, images)),
            (insertion, np.where(where, images, blurred)),
        ):
            curve[:, step] = softmax(predict(model, now, config)[0])[np.arange(len(images)), targets]
    return deletion, insertion


def area(curves: np.ndarray) -> np.ndarray:
    """float64 [...]: what lies below each curve [..., K] whose points are evenly spaced from 0 to 1."""
    return np.trapezoid(curves, axis=-1) / (curves.shape[-1] - 1)


def _ranks(values: np.ndarray) -> np.ndarray:
    """float64 [size]: the place of each value in their order; equal values share the middle one of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place.ravel()]


def _enlarged(one: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(one.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR))


def _blurred(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(BLUR * len(image))))
