"""Two images in one: mixup (Zhang et al., ICLR 2018) and cutmix (Yun et al., ICCV 2019) within a batch."""

import numpy as np
import torch

from utils.config import Config
from utils.randomness import CUTMIX, MIXUP, stream_seed


def mixes(config: Config) -> bool:
    """Whether each image has a partner."""
    return config.mixup > 0 or config.cutmix > 0


def mixed(
    images: torch.Tensor, targets: torch.Tensor, config: Config, number: int, shared: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each image and its target with those of its partner, the image before it.

    That one is as random a partner as any, since batches are shuffled. Where both ways are asked for, each step draws
    one of them.

    Args:
        images: float32 [B, C, S, S]; targets: float32 [B, classes].
        number: of the step, from the first on; with the seed it alone decides what is drawn.
        shared: whether the batch is the share of one of several processes, with the partner of its first image in
            front, which is not returned.
    """
    if not mixes(config):
        return images, targets
    (ours, theirs), (wanted, others) = (_pair(values, shared) for values in (images, targets))
    cuts = np.random.default_rng(stream_seed(config.seed, CUTMIX, number)) if config.cutmix > 0 else None
    if cuts is None or (config.mixup > 0 and cuts.random() < 0.5):
        draws = np.random.default_rng(stream_seed(config.seed, MIXUP, number))
        share = float(draws.beta(config.mixup, config.mixup))
        return share * ours + (1 - share) * theirs, share * wanted + (1 - share) * others
    rows, columns = box(cuts, config.cutmix, images.shape[-1])
    ours = ours.clone()
    ours[:, :, rows, columns] = theirs[:, :, rows, columns]
    share = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / images.shape[-1] ** 2
    return ours, share * wanted + (1 - share) * others


def box(draws: np.random.Generator, alpha: float, side: int) -> tuple[slice, slice]:
    """Rows and columns of a square; a share of the image that is drawn from Beta(alpha, alpha) lies outside of it.

    Its centre lies anywhere, so that it may stand out over the edge, and is cut off there.
    """
    half = side * float(np.sqrt(1 - draws.beta(alpha, alpha))) / 2
    row, column = draws.random(2) * side
    return _within(row, half, side), _within(column, half, side)


def _within(centre: float, half: float, side: int) -> slice:
    return slice(max(0, round(centre - half)), min(side, round(centre + half)))


def _pair(values: torch.Tensor, shared: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row, and the one before it."""
    return (values[1:], values[:-1]) if shared else (values, values.roll(1, 0))
