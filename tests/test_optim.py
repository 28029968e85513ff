"""Schedules at their corner points, averaged weights by their formula, optimisers by what they do to a weight."""

import math

import pytest
import torch
from torch import nn

from utils.config import Config
from utils.optim import AveragedWeights, Plateau, build_optimizer, learning_rate

STEPS = 10


def rate(config: Config, epoch: int, step: int = 0, plateau: Plateau | None = None) -> float:
    return learning_rate(config, epoch, step, STEPS, plateau or Plateau())


# ------------------------------------------------------------------------------------------------ schedules


def test_constant():
    config = Config(schedule="constant", lr=0.3)
    assert {rate(config, epoch, step) for epoch in (0, 7, 49) for step in (0, 9)} == {0.3}


@pytest.mark.parametrize("patience", [0, 1, 2, 5])
def test_plateau_drops_after_more_than_patience_epochs_without_a_rise(patience):
    plateau = Plateau()
    for _ in range(3):
        plateau.after_epoch(True, patience)
    for epoch in range(1, 3 * (patience + 1) + 1):
        plateau.after_epoch(False, patience)
        assert plateau.drops == epoch // (patience + 1)


def test_a_rise_begins_the_waiting_anew():
    plateau = Plateau()
    for improved in (False, False, True, False, False):
        plateau.after_epoch(improved, 2)
    assert plateau == Plateau(drops=0, waited=2)
    plateau.after_epoch(False, 2)
    assert plateau == Plateau(drops=1, waited=0)


def test_plateau_multiplies_by_a_tenth_down_to_the_floor():
    config = Config(schedule="plateau", lr=1e-4, min_lr=1e-6)
    rates = [rate(config, 0, plateau=Plateau(drops=drops)) for drops in range(5)]
    assert rates == pytest.approx([1e-4, 1e-5, 1e-6, 1e-6, 1e-6])


def test_step():
    config = Config(schedule="step", steplr=3, lr=0.1, min_lr=2e-4)
    rates = [rate(config, epoch, 9) for epoch in (0, 2, 3, 5, 6, 9, 30)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 2e-4, 2e-4])


def test_cosine():
    config = Config(schedule="cosine", lr=0.2, min_lr=0.01, max_epoch_num=8)
    assert rate(config, 0) == pytest.approx(0.2)
    assert rate(config, 4) == pytest.approx((0.2 + 0.01) / 2)
    assert rate(config, 2) == pytest.approx(0.01 + 0.19 * (1 + math.cos(math.pi / 4)) / 2)
    assert rate(config, 8) == pytest.approx(0.01)
    rates = [rate(config, epoch, step) for epoch in range(8) for step in range(STEPS)]
    assert rates == sorted(rates, reverse=True)


def test_onecycle():
    config = Config(schedule="onecycle", lr=0.1, min_lr=1e-5, warmup=0.2, max_epoch_num=10)
    assert rate(config, 0) == pytest.approx(0.1 / 25)
    assert rate(config, 1) == pytest.approx((0.1 / 25 + 0.1) / 2)
    assert rate(config, 2) == pytest.approx(0.1)
    assert rate(config, 6) == pytest.approx((0.1 + 1e-5) / 2)
    assert rate(config, 10) == pytest.approx(1e-5)
    rates = [rate(config, epoch, step) for epoch in range(10) for step in range(STEPS)]
    assert rates[:20] == sorted(rates[:20]) and rates[20:] == sorted(rates[20:], reverse=True)
    assert max(rates) == pytest.approx(0.1) and rates[-1] < 1e-4


def test_onecycle_without_warmup_is_cosine():
    onecycle = Config(schedule="onecycle", warmup=0.0, max_epoch_num=5)
    cosine = Config(schedule="cosine", max_epoch_num=5)
    for epoch in range(5):
        assert rate(onecycle, epoch, 3) == rate(cosine, epoch, 3)


@pytest.mark.parametrize("schedule", ["plateau", "step", "cosine", "onecycle", "constant"])
@pytest.mark.parametrize(("lr", "min_lr"), [(0.1, 0.05), (0.1, 1e-5), (1e-7, 1e-6), (0.1, 0.0)])
def test_the_rate_stays_between_the_floor_and_lr(schedule, lr, min_lr):
    config = Config(schedule=schedule, lr=lr, min_lr=min_lr, steplr=1, max_epoch_num=10)
    for epoch in range(10):
        for step in range(STEPS):
            assert min(min_lr, lr) <= rate(config, epoch, step, Plateau(drops=epoch)) <= lr * (1 + 1e-12)


# ------------------------------------------------------------------------------------------------ averaged weights


def test_averaged_weights_follow_their_formula():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    averaged = AveragedWeights(model, 0.9)
    expected = {name: value.clone().double() for name, value in model.state_dict().items()}
    for updates in range(150):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model(torch.randn(8, 4))
        averaged.update(model, updates)
        decay = min(0.9, (1 + updates) / (10 + updates))
        for name, value in model.state_dict().items():
            expected[name] = (
                decay * expected[name] + (1 - decay) * value if value.is_floating_point() else value.clone()
            )
    assert min(0.9, 150 / 159) == 0.9
    for name, value in averaged.model.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name].double(), rtol=1e-4, atol=1e-5)
    assert int(averaged.model[1].num_batches_tracked) == 150


def test_averaged_weights_start_as_the_network_and_are_apart_from_it():
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout())
    averaged = AveragedWeights(model, 0.5)
    assert not averaged.model.training and model.training
    assert not any(p.requires_grad for p in averaged.model.parameters()) and model[0].weight.requires_grad
    torch.testing.assert_close(averaged.model[0].weight.detach(), model[0].weight.detach(), rtol=0, atol=0)
    with torch.no_grad():
        model[0].weight.zero_()
    assert averaged.model[0].weight.abs().sum() > 0


# ------------------------------------------------------------------------------------------------ optimisers


def small_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def decays(config: Config, model: nn.Module) -> dict[str, float]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = build_optimizer(model, config).param_groups
    return {names[parameter]: group["weight_decay"] for group in groups for parameter in group["params"]}


def test_all_parameters_decay_or_only_the_matrices():
    model = small_network()
    everything = [name for name, _ in model.named_parameters()]
    assert decays(Config(decay_all=True, weight_decay=0.3), model) == dict.fromkeys(everything, 0.3)
    some = decays(Config(decay_all=False, weight_decay=0.3), model)
    assert some == {name: 0.3 if name in ("0.weight", "3.weight") else 0.0 for name in everything}


def test_frozen_parameters_are_left_out():
    model = small_network()
    model[0].requires_grad_(False)
    assert set(decays(Config(decay_all=False), model)) == {"1.weight", "1.bias", "3.weight", "3.bias"}


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW), ("radam", torch.optim.RAdam)]
)
def test_the_named_optimiser_with_the_configs_numbers(name, kind):
    optimizer = build_optimizer(small_network(), Config(optimizer=name, lr=0.02, momentum=0.8))
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert group["lr"] == 0.02
    assert group["momentum"] == 0.8 if name == "sgd" else group["betas"] == (0.8, 0.999)


def stepped(config: Config, gradients: list[float], start: float = 2.0) -> list[float]:
    """One weight after each step with the given gradients."""
    weight = nn.Linear(1, 1, bias=False)
    weight.weight.data.fill_(start)
    optimizer, values = build_optimizer(weight, config), []
    for gradient in gradients:
        weight.weight.grad = torch.full((1, 1), gradient)
        optimizer.step()
        values.append(weight.weight.item())
    return values


def test_sgd_is_nesterovs_with_decay_in_the_gradient():
    weight, velocity, expected = 2.0, 0.0, []
    for gradient in (1.0, -0.5, 2.0):
        total = gradient + 0.1 * weight
        velocity = 0.9 * velocity + total
        weight -= 0.01 * (total + 0.9 * velocity)
        expected.append(weight)
    config = Config(optimizer="sgd", lr=0.01, momentum=0.9, weight_decay=0.1)
    assert stepped(config, [1.0, -0.5, 2.0]) == pytest.approx(expected, rel=1e-5)
    assert stepped(Config(optimizer="sgd", lr=0.01, momentum=0.0, weight_decay=0.0), [1.0]) == pytest.approx([1.99])


@pytest.mark.parametrize("name", ["radam", "adamw"])
def test_decay_is_decoupled_from_the_gradient(name):
    """Without a gradient a weight shrinks by (1 - lr x decay) a step; with one, decay adds just that."""
    config = Config(optimizer=name, lr=0.01, weight_decay=0.5)
    expected = [2.0 * (1 - 0.01 * 0.5) ** steps for steps in (1, 2, 3)]
    assert stepped(config, [0.0] * 3) == pytest.approx(expected, rel=1e-6)
    plain = stepped(Config(optimizer=name, lr=0.01, weight_decay=0.0), [1.0])[0]
    assert stepped(config, [1.0])[0] == pytest.approx(plain - 0.01 * 0.5 * 2.0, rel=1e-5)


def test_radam_without_decay_is_the_published_algorithm():
    """Liu et al., algorithm 2, written out for one weight."""
    gradients = [0.3, -1.0, 0.7, 0.2, 1.5, -0.4, 0.9, 0.1]
    config = Config(optimizer="radam", lr=0.05, weight_decay=0.0)
    weight, first, second, expected = 2.0, 0.0, 0.0, []
    longest = 2 / (1 - 0.999) - 1
    for t, gradient in enumerate(gradients, start=1):
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        length = longest - 2 * t * 0.999**t / (1 - 0.999**t)
        step = first / (1 - 0.9**t)
        if length > 5:
            r = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            step *= math.sqrt(r) * math.sqrt(1 - 0.999**t) / (math.sqrt(second) + 1e-8)
        weight -= 0.05 * step
        expected.append(weight)
    assert stepped(config, gradients) == pytest.approx(expected, rel=1e-4)
