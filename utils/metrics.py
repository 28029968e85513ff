"""What a set of predictions is worth: accuracy with its interval, per-class figures, calibration, tests."""

import math
from dataclasses import dataclass

import numpy as np

BINS = 15  # of confidence, in calibration error and its picture


@dataclass(frozen=True)
class Scores:
    """Figures of one set of predictions over N images and C classes; shares lie in [0, 1].

    A class without an image has recall NaN and stays out of the means.
    """

    images: int
    accuracy: float
    interval: tuple[float, float]
    balanced_accuracy: float
    macro_f1: float
    recall: tuple[float, ...]
    ece: float
    loss: float


def score(probabilities: np.ndarray, targets: np.ndarray) -> Scores:
    """All figures at once, from probabilities float [N, C] (rows sum to one) and targets int [N]; N > 0."""
    matrix = confusion_matrix(probabilities.argmax(1), targets, probabilities.shape[1])
    correct, total = int(np.trace(matrix)), len(targets)
    recalls = recall(matrix)
    return Scores(
        images=total,
        accuracy=correct / total,
        interval=wilson(correct, total),
        balanced_accuracy=float(np.nanmean(recalls)),
        macro_f1=macro_f1(matrix),
        recall=tuple(recalls.tolist()),
        ece=expected_calibration_error(probabilities, targets),
        loss=log_loss(probabilities, targets),
    )


def confusion_matrix(predicted: np.ndarray, targets: np.ndarray, classes: int) -> np.ndarray:
    """int64 [C, C]: how many images of class ``row`` were called ``column``."""
    return np.bincount(targets * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def wilson(correct: int, total: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The interval of a share that holds it with 95 % (Wilson, JASA 22, 1927)."""
    share, spread = correct / total, z * z / total
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def interval_over_groups(value: np.ndarray, group: np.ndarray, draws: int = 10_000) -> tuple[float, float]:
    """The interval of a mean over images that come in groups: several of one person are not independent.

    Whole groups are drawn with replacement (cluster bootstrap: Field and Welsh, JRSS B 69, 2007); the interval holds
    the middle 95 % of the means so drawn. The draws are fixed.

    Args:
        value: bool or float [N], for an accuracy whether each image was classified rightly.
        group: int64 [N], from 0 on: the person on each image.
        draws: how often.
    """
    sums, sizes = np.bincount(group, weights=value), np.bincount(group)
    times = np.random.default_rng(0).multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), draws)
    low, high = np.quantile((times @ sums) / (times @ sizes), [0.025, 0.975])
    return float(low), float(high)


def interval_of_mean(value: np.ndarray, z: float = 1.959963984540054) -> tuple[float, float]:
    """The interval that holds the mean of float [N] independent values with 95 %, by the normal approximation."""
    mean, half = float(value.mean()), z * float(value.std(ddof=1)) / math.sqrt(len(value))
    return mean - half, mean + half


def recall(matrix: np.ndarray) -> np.ndarray:
    """float64 [C]: share of each class's images that were called by its name; NaN for an empty class."""
    counts = matrix.sum(1)
    return np.where(counts > 0, np.diag(matrix) / np.maximum(counts, 1), np.nan)


def precision(matrix: np.ndarray) -> np.ndarray:
    """float64 [C]: share of the images called by each class's name that are of it; NaN for a name never given."""
    return recall(matrix.T)


def class_f1(matrix: np.ndarray) -> np.ndarray:
    """float64 [C]: 2 TP / (2 TP + FP + FN) of each class; NaN for an empty class."""
    hits, called, there = np.diag(matrix), matrix.sum(0), matrix.sum(1)
    return np.where(there > 0, 2 * hits / np.maximum(called + there, 1), np.nan)


def macro_f1(matrix: np.ndarray) -> float:
    """Mean of `class_f1` over the classes that occur."""
    return float(np.nanmean(class_f1(matrix)))


def expected_calibration_error(probabilities: np.ndarray, targets: np.ndarray, bins: int = BINS) -> float:
    """Mean distance of confidence and accuracy over equal-width bins (Guo et al., ICML 2017)."""
    confidence = probabilities.max(1)
    hit = probabilities.argmax(1) == targets
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(index, weights=hit - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(targets))


def log_loss(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean negative log-likelihood, in nats."""
    chosen = probabilities[np.arange(len(targets)), targets]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def mcnemar(first_hit: np.ndarray, second_hit: np.ndarray) -> float:
    """Two-sided exact p-value that two classifiers err equally often on the same images (McNemar, 1947).

    Args:
        first_hit, second_hit: bool [N], whether each classifier was right on each image.
    """
    only_first = int(np.sum(first_hit & ~second_hit))
    only_second = int(np.sum(second_hit & ~first_hit))
    differing = only_first + only_second
    tail = sum(math.comb(differing, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2**differing)
