"""Probabilities that mean what they say: one temperature for all classes (Guo et al., ICML 2017)."""

import numpy as np

from utils.metrics import log_loss
from utils.predictions import softmax

_GOLDEN = (5**0.5 - 1) / 2


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """What logits are divided by so that their log loss is least; from 0.05 to 20.

    The loss is convex in the inverse of the temperature, so that golden-section search finds its only minimum.

    Args:
        logits: float [N, C]; targets: int [N], N > 0, which the network was not trained on.
    """

    def loss(inverse: float) -> float:
        return log_loss(softmax(logits * inverse), targets)

    low, high = 1 / 20, 1 / 0.05
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > 1e-6:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = loss(right)
    return 2 / (low + high)
