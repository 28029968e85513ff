"""Probabilities that mean what they say, by one temperature (Guo et al., ICML 2017); and when to say nothing."""

import numpy as np

from utils.errors import UserError
from utils.metrics import log_loss
from utils.predictions import Predictions, softmax

COLDEST, HOTTEST = 0.05, 20.0  # temperatures that are looked at
_LEAST = 1e-12  # of a probability, before its logarithm is taken
_GOLDEN = (5**0.5 - 1) / 2


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """What logits are divided by so that their log loss is least; from `COLDEST` to `HOTTEST`.

    The loss is convex in the inverse of the temperature, so that golden-section search finds its only minimum.

    Args:
        logits: float [N, C]; targets: int [N], N > 0, which the network was not trained on.
    """

    def loss(inverse: float) -> float:
        return log_loss(softmax(logits * inverse), targets)

    low, high = 1 / HOTTEST, 1 / COLDEST
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


def at_its_bound(temperature: float) -> str:
    """A line to be said where the best temperature lay beyond those that are looked at; else nothing."""
    if 1.001 * COLDEST < temperature < 0.999 * HOTTEST:
        return ""
    why = "validation is all but all right, or says next to nothing: these probabilities are not to be believed"
    return f"temperature {temperature:.3g}, the {'least' if temperature < 1 else 'most'} that is looked at; {why}"


def unsure_below(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """The confidence below which an answer is better not given, where a right one counts 1 and a wrong one -1.

    Args:
        probabilities: float [N, C]; targets: int [N], N > 0, which the network was not trained on.

    Returns:
        The threshold, a confidence that occurs; of several that are worth as much, the one that answers most.
    """
    confidence = probabilities.max(1)
    order = np.argsort(-confidence, kind="stable")
    worth = np.cumsum(np.where(probabilities.argmax(1) == targets, 1, -1)[order])
    # an answer may be held back only together with all of the same confidence
    last_of_its_kind = np.append(np.diff(confidence[order]) != 0, True)
    worth = np.where(last_of_its_kind, worth, -len(targets) - 1)
    best = len(worth) - 1 - int(np.argmax(worth[::-1]))
    return float(confidence[order[best]])


def at_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """float64, the same shape [N, C]: what the softmax would be of logits divided by ``temperature``."""
    return softmax(np.log(np.maximum(probabilities, _LEAST)) / temperature)


def calibrated(validation: Predictions, test: Predictions) -> tuple[np.ndarray, list[float]]:
    """Probabilities for ``test`` after a temperature fitted on ``validation``, both over all their views.

    In a run of folds each has its own temperature: what validates in one fold is tested in another, so that one for
    all would have been fitted on images that it is judged by.

    Returns:
        (float64 [N, C], the temperatures of the folds in their order, or the only one).

    Raises:
        UserError: only one of the two is of folds, or of other ones.
    """
    before, known = test.probabilities(), validation.probabilities()
    of_test, of_validation = _folds(test), _folds(validation)
    after, temperatures = np.empty_like(before), []
    for fold in np.unique(of_test):
        own = of_validation == fold
        if not own.any():
            raise UserError(f"{test.meta.get('run')}: fold {fold + 1} of the test part has no validation part")
        logits = np.log(np.maximum(known[own], _LEAST))
        temperatures.append(fit_temperature(logits, validation.targets[own]))
        after[of_test == fold] = at_temperature(before[of_test == fold], temperatures[-1])
    return after, temperatures


def _folds(predictions: Predictions) -> np.ndarray:
    """int64 [N]: the fold of each image, 0 where there are none."""
    of_fold = predictions.meta.get("fold_of") or {}
    return np.array([of_fold.get(identity, 0) for identity in predictions.ids])
