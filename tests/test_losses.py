"""Losses against their formulas, written out image by image, and what they promise about wrong labels."""

import math

import numpy as np
import pytest
import torch

from utils.config import Config
from utils.losses import training_loss

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(6, 4), scale=2)
HARD = np.eye(4)[[0, 1, 2, 3, 3, 0]]
SOFT = RANDOM.dirichlet(np.ones(4), 6)  # what mixup, votes or a teacher make


def probabilities(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def own_gce(targets: np.ndarray, q: float, weights: np.ndarray) -> float:
    total = 0.0
    for row, wanted in zip(probabilities(LOGITS), targets, strict=True):
        for p, t, w in zip(row, wanted, weights, strict=True):
            total += w * t * (1 - p**q) / q
    return total


def own_sce(targets: np.ndarray, alpha: float, beta: float, weights: np.ndarray) -> float:
    total = 0.0
    for row, wanted in zip(probabilities(LOGITS), targets, strict=True):
        image = sum(w * t for w, t in zip(weights, wanted, strict=True))
        for p, t, w in zip(row, wanted, weights, strict=True):
            total -= alpha * w * t * math.log(p)
            total -= beta * image * p * (max(-4.0, math.log(t)) if t > 0 else -4.0)
    return total


def loss(
    targets: np.ndarray, weights: np.ndarray | None = None, logits: np.ndarray = LOGITS, **changes: object
) -> float:
    by_class = None if weights is None else torch.from_numpy(weights).float()
    found = training_loss(
        torch.from_numpy(logits).float(), torch.from_numpy(targets).float(), Config(**changes), by_class
    )
    assert found.shape == () and found.dtype == torch.float32
    return float(found)


@pytest.mark.parametrize("targets", [HARD, SOFT], ids=["hard", "soft"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, np.array([0.5, 1.0, 3.0, 0.2])], ids=["alike", "weighed"])
def test_losses_are_their_formulas(targets, smoothing, weights):
    smoothed = (1 - smoothing) * targets + smoothing / 4
    by_class = np.ones(4) if weights is None else weights
    common = {"label_smoothing": smoothing}
    straight = -(smoothed * by_class * np.log(probabilities(LOGITS))).sum()
    assert loss(targets, weights, **common) == pytest.approx(straight, rel=1e-5)
    for q in (0.3, 0.7, 1.0):
        expected = own_gce(smoothed, q, by_class)
        assert loss(targets, weights, loss="gce", gce_q=q, **common) == pytest.approx(expected, rel=1e-5)
    expected = own_sce(smoothed, 0.3, 2.0, by_class)
    assert loss(targets, weights, loss="sce", sce_alpha=0.3, sce_beta=2.0, **common) == pytest.approx(
        expected, rel=1e-5
    )


def test_the_ends_of_generalised_cross_entropy():
    assert loss(HARD, loss="gce", gce_q=0.01) == pytest.approx(loss(HARD), rel=0.03)
    absolute = np.abs(HARD - probabilities(LOGITS)).sum() / 2
    assert loss(HARD, loss="gce", gce_q=1.0) == pytest.approx(absolute, rel=1e-5)


@pytest.mark.parametrize("kind", ["gce", "sce"])
def test_a_label_that_is_surely_wrong_costs_little_more_than_one_that_is_nearly_so(kind):
    def cost(margin: float) -> float:
        return loss(HARD[:1], logits=np.array([[-margin, 0.0, 0.0, 0.0]]), loss=kind, sce_alpha=0.0)

    assert cost(40) - cost(10) < 0.05 * cost(10)
    assert np.isfinite(cost(1e4)) and loss(HARD[:1], logits=np.array([[-40.0, 0, 0, 0]])) > 40


def test_gradients_are_finite_where_a_class_is_hopeless():
    for kind in ("gce", "sce"):
        logits = torch.tensor([[-1e4, 0.0, 0.0, 0.0]], requires_grad=True)
        training_loss(logits, torch.from_numpy(HARD[:1]).float(), Config(loss=kind), None).backward()
        assert torch.isfinite(logits.grad).all()
