"""Temperatures: fitted on validation alone, in each fold on its own, and held against SciPy."""

import numpy as np
import pytest
from conftest import refusal
from scipy.optimize import minimize_scalar

from utils.calibration import at_its_bound, at_temperature, calibrated, fit_temperature
from utils.metrics import log_loss
from utils.predictions import Predictions, softmax


def dump(split: str, too_sure: dict[str, float], folds: dict[str, int] | None = None, seed: int = 0) -> Predictions:
    """Images whose logits are as many times too large as ``too_sure`` says of the fold that their name begins with."""
    random = np.random.default_rng(seed)
    ids, logits, targets = [], [], []
    for name, factor in too_sure.items():
        honest = random.normal(size=(400, 3)) * 1.5
        ids += [f"{name}{split}{n}" for n in range(400)]
        targets += [random.choice(3, p=row) for row in softmax(honest)]
        logits.append(honest * factor)
    meta = {"run": "r", "split": split}
    if folds:
        meta["fold_of"] = {identity: folds[identity[0]] for identity in ids}
    return Predictions(np.concatenate(logits)[None].astype(np.float32), np.array(targets), ids, ("a", "b", "c"), meta)


def test_the_temperature_is_the_one_that_scipy_finds():
    val, test = dump("v", {"x": 3.0}), dump("t", {"x": 3.0}, seed=1)
    after, (temperature,) = calibrated(val, test)
    found = minimize_scalar(
        lambda t: log_loss(softmax(val.logits[0] / t), val.targets), bounds=(0.05, 20), method="bounded"
    )
    assert temperature == pytest.approx(found.x, rel=1e-3) and temperature == pytest.approx(3, rel=0.2)
    np.testing.assert_allclose(after, softmax(test.logits[0].astype(float) / temperature), atol=1e-6)
    assert log_loss(after, test.targets) < log_loss(test.probabilities(), test.targets)


def test_each_fold_has_its_own_temperature():
    folds = {"p": 0, "q": 1}
    sure = {"p": 1.0, "q": 4.0}
    val, test = dump("v", sure, folds), dump("t", sure, folds, seed=1)
    after, temperatures = calibrated(val, test)
    first = np.array([identity[0] == "p" for identity in val.ids])
    alone = [fit_temperature(val.logits[0][own], val.targets[own]) for own in (first, ~first)]
    assert temperatures == pytest.approx(alone, rel=1e-3) and temperatures[1] > 3 * temperatures[0]
    np.testing.assert_allclose(after[~first], at_temperature(test.probabilities()[~first], temperatures[1]))


def test_a_fold_without_validation_is_refused():
    val = dump("v", {"p": 1.0}, {"p": 0})
    test = dump("t", {"p": 1.0, "q": 1.0}, {"p": 0, "q": 1})
    assert refusal(lambda: calibrated(val, test)) == "r: fold 2 of the test part has no validation part"


def test_a_temperature_at_its_bound_is_said():
    logits = np.array([[1.0, 0.0], [0.0, 1.0]])
    cold, hot = (fit_temperature(logits, np.array(targets)) for targets in ((0, 1), (1, 0)))
    assert at_its_bound(cold).startswith("temperature 0.05, the least") and not at_its_bound(1.3)
    assert at_its_bound(hot).startswith("temperature 20, the most")
