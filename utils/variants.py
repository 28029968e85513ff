"""Ways to make one prediction of many members', fitted on validation alone, and how much the members differ."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from utils.calibration import fit_temperature
from utils.ensemble import in_order_of
from utils.predictions import Predictions, combine, softmax

AVERAGE = "average of all"
FOLDS = 5  # of validation, which choose how freely stacking may weigh
PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
_LEAST = 1e-7  # of a probability, before its logarithm is taken


@dataclass(frozen=True, eq=False)
class Members:
    """The members' probabilities for both parts, images in the same order.

    Attributes:
        names: M names.
        ids: N names of the test images.
        validation, test: float64 [M, N, C], means over their views.
        validation_targets, targets: int64 [N].
    """

    names: tuple[str, ...]
    ids: list[str]
    validation: np.ndarray
    validation_targets: np.ndarray
    test: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True, eq=False)
class Variant:
    """One way: its name, what was fitted on validation, and its probabilities float64 [N, C] for both parts."""

    name: str
    fitted: str
    validation: np.ndarray
    test: np.ndarray


def members_of(validation: Sequence[Predictions], test: Sequence[Predictions], names: Sequence[str]) -> Members:
    """Brought into one order.

    Raises:
        UserError: dumps that do not belong together.
    """
    parts = []
    for dumps, part in ((validation, " (val)"), (test, "")):
        together = combine(dumps, [name + part for name in names])  # refuses what does not belong together
        probabilities = [in_order_of(together.ids, dump).probabilities() for dump in dumps]
        parts.append((np.stack(probabilities), together.targets, together.ids))
    (val, val_targets, _), (tested, targets, ids) = parts
    return Members(tuple(names), ids, val, val_targets, tested, targets)


def variants(members: Members, chosen: Sequence[int]) -> list[Variant]:
    """Every way, the plain average first.

    Args:
        members: two or more.
        chosen: those that `utils.ensemble.greedy` chooses on validation.
    """
    val, test, targets = members.validation, members.test, members.validation_targets
    temperatures = np.array([fit_temperature(_logs(one), targets) for one in val])[:, None, None]
    weights = mixture_weights(val, targets)
    penalty, stack = stacked(val, targets)
    picked = list(chosen)
    return [
        Variant(AVERAGE, "nothing", val.mean(0), test.mean(0)),
        Variant("chosen greedily", f"{len(picked)} of {len(val)} members", val[picked].mean(0), test[picked].mean(0)),
        Variant("geometric mean", "nothing", geometric_mean(val), geometric_mean(test)),
        Variant(
            "average after a temperature for each member",
            f"{len(val)} temperatures",
            softmax(_logs(val) / temperatures).mean(0),
            softmax(_logs(test) / temperatures).mean(0),
        ),
        Variant(
            "weighted average",
            f"{len(val)} weights, {int((weights > 0.005).sum())} above 0.005",
            np.tensordot(weights, val, 1),
            np.tensordot(weights, test, 1),
        ),
        Variant("stacked", f"logistic regression, penalty {penalty:g}", stack(val), stack(test)),
    ]


def geometric_mean(probabilities: np.ndarray) -> np.ndarray:
    """float64 [N, C] of [M, N, C]: the softmax of the mean logarithm."""
    return softmax(_logs(probabilities).mean(0))


def mixture_weights(probabilities: np.ndarray, targets: np.ndarray, rounds: int = 500) -> np.ndarray:
    """The weights, at least 0 and 1 in all, whose average has the least log loss.

    That loss is convex, and the steps of expectation-maximisation never raise it (Dempster, Laird and Rubin, 1977).

    Args:
        probabilities: float [M, N, C]; targets: int [N].
        rounds: how many steps.

    Returns:
        float64 [M].
    """
    right = probabilities[:, np.arange(len(targets)), targets] + 1e-12
    weights = np.full(len(right), 1 / len(right))
    for _ in range(rounds):
        share = weights[:, None] * right
        weights = (share / share.sum(0)).mean(1)
    return weights


def stacked(probabilities: np.ndarray, targets: np.ndarray) -> tuple[float, Callable[[np.ndarray], np.ndarray]]:
    """Multinomial logistic regression on the members' log probabilities (stacking: Wolpert, 1992).

    It is drawn towards the geometric mean, by a penalty on the distance from it which cross-validation within these
    images chooses among `PENALTIES`.

    Args:
        probabilities: float [M, N, C]; targets: int [N].

    Returns:
        (penalty, what maps float [M, K, C] to probabilities float64 [K, C]).
    """
    fold = np.random.default_rng(0).permutation(len(targets)) % FOLDS
    losses = []
    for penalty in PENALTIES:
        loss = 0.0
        for number in range(FOLDS):
            out = fold == number
            fitted = _fit(probabilities[:, ~out], targets[~out], penalty)
            loss -= np.log(fitted(probabilities[:, out])[np.arange(out.sum()), targets[out]]).sum()
        losses.append(loss)
    best = PENALTIES[int(np.argmin(losses))]
    return best, _fit(probabilities, targets, best)


def _fit(probabilities: np.ndarray, targets: np.ndarray, penalty: float) -> Callable[[np.ndarray], np.ndarray]:
    count, _, classes = probabilities.shape
    features = torch.from_numpy(_flat(probabilities))
    start = torch.eye(classes, dtype=torch.float64).repeat(count, 1) / count  # the geometric mean
    change = torch.zeros(count * classes, classes, dtype=torch.float64, requires_grad=True)
    shift = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    wanted = torch.from_numpy(targets)
    solver = torch.optim.LBFGS([change, shift], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        solver.zero_grad()
        logits = features @ (start + change) + shift
        loss = torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")
        loss = loss + penalty * (change.square().sum() + shift.square().sum())
        loss.backward()
        return loss

    solver.step(closure)
    matrix, offset = (start + change).detach().numpy(), shift.detach().numpy()
    return lambda other: softmax(_flat(other) @ matrix + offset)


def _flat(probabilities: np.ndarray) -> np.ndarray:
    """float64 [N, M * C] of [M, N, C]."""
    return np.ascontiguousarray(_logs(probabilities).transpose(1, 0, 2)).reshape(probabilities.shape[1], -1)


def _logs(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities, _LEAST))


def oracle(hits: np.ndarray) -> float:
    """Share of the images, bool [M, N], that at least one member gets right."""
    return float(hits.any(0).mean())


def disagreement(predicted: np.ndarray) -> np.ndarray:
    """float64 [M, M]: share of the images, int [M, N], that two members call differently."""
    return (predicted[:, None] != predicted[None]).mean(2)


def error_correlation(hits: np.ndarray) -> np.ndarray:
    """float64 [M, M]: correlation of two members' errors, bool [M, N] (phi; 1 where they err on the same images)."""
    return np.atleast_2d(np.corrcoef(hits.astype(np.float64)))


def by_number(probabilities: np.ndarray, targets: np.ndarray, draws: int = 200) -> np.ndarray:
    """Accuracy of averages of 1 to M members, over the choices of so many.

    Args:
        probabilities: float [M, N, C]; targets: int [N].
        draws: how many sets of each size, drawn with a fixed seed; all sets where there are no more than that.

    Returns:
        float64 [M, 3]: mean, 5 % and 95 % quantile for each size.
    """
    random, count = np.random.default_rng(0), len(probabilities)
    rows = []
    for size in range(1, count + 1):
        sets: Iterable[Sequence[int]] = itertools.combinations(range(count), size)
        if math.comb(count, size) > draws:
            sets = [random.choice(count, size, replace=False).tolist() for _ in range(draws)]
        found = [(probabilities[list(chosen)].mean(0).argmax(1) == targets).mean() for chosen in sets]
        rows.append([np.mean(found), *np.quantile(found, [0.05, 0.95])])
    return np.array(rows)


def holm(p_values: np.ndarray) -> np.ndarray:
    """float64, the same shape [K]: p-values adjusted for having asked K times (Holm, 1979)."""
    order = np.argsort(p_values)
    scaled = p_values[order] * (len(p_values) - np.arange(len(p_values)))
    adjusted = np.empty_like(scaled)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return adjusted


def risk_coverage(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Error among the n most confident images, for n from 1 to N (Geifman and El-Yaniv, NeurIPS 2017).

    Returns:
        float64 [N]; its mean is the area under the risk-coverage curve.
    """
    order = np.argsort(-probabilities.max(1), kind="stable")
    wrong = (probabilities.argmax(1) != targets)[order]
    return np.cumsum(wrong) / np.arange(1, len(targets) + 1)
