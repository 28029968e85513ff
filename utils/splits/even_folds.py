"""Deals groups of images out to folds so that sizes and classes come out even."""

from collections.abc import Sequence

import numpy as np

from utils.errors import UserError

DEALS = 200


def even_folds(labels: np.ndarray, groups: Sequence[str], folds: int, seed: int, what: str) -> np.ndarray:
    """The fold of each image: about the same number of images in each fold, and of each class.

    Groups are dealt out from the largest to the smallest, each to the fold that has least of the classes it brings,
    and rare classes weigh more. The order among groups of one size is drawn; the evenest of many such deals is taken.

    Args:
        labels: int64 [N].
        groups: N names; the images of one group stay together.
        folds: how many folds.
        seed: which deals are drawn; the same seed gives the same folds whatever the order of the images.
        what: what the groups are, for the message.

    Returns:
        int64 [N], values from 0 to ``folds - 1``.

    Raises:
        UserError: fewer than 3 folds, or fewer groups than folds.
    """
    names, group = np.unique(np.array(groups), return_inverse=True)
    if folds < 3 or len(names) < folds:
        raise UserError(f"{folds} folds of {len(names)} {what}; expected from 3 folds to as many as there are {what}")
    brings = np.zeros((len(names), labels.max() + 2))  # the share of each class, and of all images, that a group holds
    np.add.at(brings, (group, labels), 1)
    brings[:, -1] = brings.sum(1)
    brings /= np.maximum(brings.sum(0), 1)
    random = np.random.default_rng(seed)
    deals = DEALS if len(names) < len(labels) else 1  # single images come out even at the first deal
    best, fold = np.inf, np.zeros(len(names), dtype=np.int64)
    for _ in range(deals):
        order = random.permutation(len(names))
        order = order[np.argsort(-brings[order, -1], kind="stable")]
        dealt, unevenness = _deal(brings, order, folds)
        if unevenness < best - 1e-9:
            best, fold = unevenness, dealt
    return fold[group]


def _deal(brings: np.ndarray, order: np.ndarray, folds: int) -> tuple[np.ndarray, float]:
    """One deal, and the sum of squares of what the folds have: least where all have the same."""
    has, fold = np.zeros((folds, brings.shape[1])), np.empty(len(order), dtype=np.int64)
    for one in order:
        fold[one] = np.argmin(has @ brings[one])  # what the sum of squares grows by, less what is the same for all
        has[fold[one]] += brings[one]
    return fold, float((has**2).sum())
