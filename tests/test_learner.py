"""One training step against written-out formulas; what is not finite never reaches the weights."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from trainers import learner as learner_module
from trainers.learner import AUXILIARY_WEIGHT, Learner
from utils.config import Config
from utils.datasets.faces import Faces
from utils.errors import TrainingError
from utils.labels import FER2013_CLASSES
from utils.losses import class_weights
from utils.mixing import box, mixed
from utils.optim import AveragedWeights
from utils.randomness import stream_seed

# Plain gradient descent on a linear network, so that every number can be had by hand.
PLAIN = Config(
    image_size=8,
    in_channels=1,
    augment="none",
    optimizer="sgd",
    momentum=0.0,
    weight_decay=0.0,
    lr=0.1,
    schedule="constant",
    batch_size=8,
    device="cpu",
    precision="fp32",
    channels_last="off",
    threads=1,
)
REAL = dataclasses.replace(
    PLAIN, arch="tiny_resnet", image_size=16, augment="fast", momentum=0.9, mixup=0.3, drop_rate=0.3, batch_size=16
)


class Linear(nn.Module):
    """One linear layer and, on request, a second one as auxiliary head."""

    def __init__(self, auxiliary: bool = False) -> None:
        super().__init__()
        self.head = nn.Linear(64, 7)
        self.auxiliary = nn.Linear(64, 7) if auxiliary else None

    def forward(self, images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        flat = images.flatten(1)
        if self.auxiliary is not None and self.training:
            return self.head(flat), self.auxiliary(flat)
        return self.head(flat)


def faces(count: int = 40, side: int = 8) -> Faces:
    random = np.random.default_rng(0)
    labels = random.choice(7, count, p=[0.3, 0.05, 0.05, 0.2, 0.1, 0.2, 0.1])
    images = random.integers(0, 256, (count, side, side), dtype=np.uint8)
    return Faces(images, labels, [str(i) for i in range(count)], None, FER2013_CLASSES)


@pytest.fixture
def linear(monkeypatch):
    """A learner of the linear network with some settings changed."""

    def build(auxiliary: bool = False, **changes) -> Learner:
        monkeypatch.setattr(learner_module, "network", lambda config, weights=None: Linear(auxiliary))
        learner = Learner(dataclasses.replace(PLAIN, **changes), faces())
        learner.model.train()
        return learner

    return build


def batch(count: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 1, 8, 8, generator=generator), torch.arange(count) % 7


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def assert_same(one: list[torch.Tensor], other: list[torch.Tensor]) -> None:
    assert len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def own_loss(logits: np.ndarray, targets: np.ndarray, by_class: np.ndarray | None = None) -> float:
    """Mean cross-entropy of soft targets [B, C], each term weighed by its class."""
    shifted = logits - logits.max(1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return float(-(targets * logs * (1 if by_class is None else by_class)).sum(1).mean())


def head(learner: Learner, images: torch.Tensor, name: str = "head") -> np.ndarray:
    layer = getattr(learner.model, name)
    flat = images.flatten(1).double().numpy()
    return flat @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()


def one_hot(labels: torch.Tensor) -> np.ndarray:
    return np.eye(7)[labels.numpy()]


# ------------------------------------------------------------------------------------------------ what a step does


def test_a_plain_step_is_gradient_descent_on_the_cross_entropy(linear):
    learner = linear()
    images, labels = batch()
    logits, before = head(learner, images), learner.model.head.weight.detach().double().numpy().copy()
    result = learner.train_step(images, labels, 0, 0)
    assert result.loss == pytest.approx(own_loss(logits, one_hot(labels)), rel=1e-5)
    assert result.images == 8 and result.hits == (logits.argmax(1) == labels.numpy()).sum()
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    gradient = (shares - one_hot(labels)).T @ images.flatten(1).double().numpy() / 8
    np.testing.assert_allclose(learner.model.head.weight.detach().numpy(), before - 0.1 * gradient, atol=1e-6)


def test_the_learning_rate_of_the_schedule_is_used(linear):
    learner = linear(schedule="step", steplr=1, min_lr=0.0)
    images, labels = batch()
    for epoch, rate in ((0, 0.1), (1, 0.01), (2, 0.001)):
        learner.train_step(images, labels, epoch, 0)
        assert [group["lr"] for group in learner.optimizer.param_groups] == pytest.approx([rate])


def test_label_smoothing(linear):
    learner = linear(label_smoothing=0.2)
    images, labels = batch()
    expected = own_loss(head(learner, images), 0.8 * one_hot(labels) + 0.2 / 7)
    assert learner.train_step(images, labels, 0, 0).loss == pytest.approx(expected, rel=1e-5)


def test_class_weights_are_inverse_frequencies_and_one_on_average_over_the_images():
    counts = np.array([3995, 436, 4097, 7215, 4830, 3171, 4965])
    got = class_weights(counts).numpy()
    np.testing.assert_allclose(got, counts.sum() / (7 * counts), rtol=1e-6)
    assert (got * counts).sum() / counts.sum() == pytest.approx(1)


def test_a_class_without_images_weighs_nothing():
    """With label smoothing its share of every target would else be worth more than the label."""
    assert class_weights(np.array([0, 6, 2])).tolist() == pytest.approx([0, 2 / 3, 2])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighted_loss(linear, smoothing):
    learner = linear(weighted_loss=True, label_smoothing=smoothing)
    images, labels = batch()
    counts = np.maximum(faces().counts(), 1)
    by_class = counts.sum() / (7 * counts)
    targets = (1 - smoothing) * one_hot(labels) + smoothing / 7
    expected = own_loss(head(learner, images), targets, by_class)
    assert learner.train_step(images, labels, 0, 0).loss == pytest.approx(expected, rel=1e-5)
    assert linear().class_weights is None


def test_mixup_blends_each_image_and_target_with_its_neighbours(linear):
    learner = linear(mixup=0.4)
    images, labels = batch()
    number = 3 * learner.batches.steps + 2
    share = np.random.default_rng(stream_seed(0, 2, number)).beta(0.4, 0.4)
    partner = [7, 0, 1, 2, 3, 4, 5, 6]
    mixed = share * images + (1 - share) * images[partner]
    targets = share * one_hot(labels) + (1 - share) * one_hot(labels)[partner]
    expected = own_loss(head(learner, mixed), targets)
    assert learner.train_step(images, labels, 3, 2).loss == pytest.approx(expected, rel=1e-5)
    assert not np.isclose(expected, own_loss(head(learner, images), one_hot(labels)))


def own_cut(images: torch.Tensor, labels: torch.Tensor, rows: slice, columns: slice) -> tuple[torch.Tensor, np.ndarray]:
    """Each image with a box of the one before it, and targets by area, pixel by pixel."""
    partner, cut, shares = [7, 0, 1, 2, 3, 4, 5, 6], images.clone(), np.zeros((8, 7))
    for number, other in enumerate(partner):
        for row in range(8):
            for column in range(8):
                inside = rows.start <= row < rows.stop and columns.start <= column < columns.stop
                source = other if inside else number
                cut[number, :, row, column] = images[source, :, row, column]
                shares[number, labels[source]] += 1 / 64
    return cut, shares


def test_cutmix_pastes_a_box_of_each_neighbour_and_targets_go_by_area(linear):
    learner = linear(cutmix=1.0)
    images, labels = batch()
    areas = set()
    for step in range(4):
        number = 2 * learner.batches.steps + step
        rows, columns = box(np.random.default_rng(stream_seed(0, 3, number)), 1.0, 8)
        cut, shares = own_cut(images, labels, rows, columns)
        expected = own_loss(head(learner, cut), shares)
        assert learner.train_step(images, labels, 2, step).loss == pytest.approx(expected, rel=1e-5)
        areas.add((rows.start, rows.stop, columns.start, columns.stop))
    assert len(areas) == 4 and torch.equal(images, batch()[0])  # the batch itself is not written to


def test_boxes_lie_within_the_image_and_have_the_drawn_share_where_they_fit():
    draws = np.random.default_rng(0)
    for _ in range(500):
        share = np.random.default_rng(draws.integers(2**32))
        rows, columns = box(share, 1.0, 48)
        assert 0 <= rows.start <= rows.stop <= 48 and 0 <= columns.start <= columns.stop <= 48
    whole, boxes = [], [box(np.random.default_rng(seed), 1.0, 48) for seed in range(4000)]
    for seed, (rows, columns) in enumerate(boxes):
        if min(rows.start, columns.start) > 0 and max(rows.stop, columns.stop) < 48:
            wanted = 48**2 * (1 - np.random.default_rng(seed).beta(1, 1))
            whole.append(((rows.stop - rows.start) * (columns.stop - columns.start)) ** 0.5 - wanted**0.5)
    assert len(whole) > 500 and np.abs(whole).max() <= 1 and abs(np.mean(whole)) < 0.05


def test_with_both_each_step_draws_mixup_or_cutmix(linear):
    learner = linear(mixup=0.4, cutmix=1.0)
    images, labels = batch()
    targets = torch.eye(7)[labels]
    cut = 0
    for number in range(200):
        new, _ = mixed(images, targets, learner.config, number, shared=False)
        cut += bool(((new == images) | (new == images.roll(1, 0))).all())
    assert 70 < cut < 130


def test_the_auxiliary_head_counts_with_its_weight(linear):
    learner = linear(auxiliary=True)
    images, labels = batch()
    main, extra = (
        own_loss(head(learner, images), one_hot(labels)),
        own_loss(head(learner, images, "auxiliary"), one_hot(labels)),
    )
    hits = (head(learner, images).argmax(1) == labels.numpy()).sum()
    result = learner.train_step(images, labels, 0, 0)
    assert AUXILIARY_WEIGHT == 0.4 and result.loss == pytest.approx(main + 0.4 * extra, rel=1e-5)
    assert result.hits == hits


def gradient_norm(learner: Learner, images: torch.Tensor, labels: torch.Tensor) -> float:
    loss = F.cross_entropy(learner.model(images), labels)
    gradients = torch.autograd.grad(loss, list(learner.model.parameters()))
    return float(sum((g**2).sum() for g in gradients) ** 0.5)


@pytest.mark.parametrize("changes", [{}, {"micro_batch": 3}, {"grad_clip": 0.05}])
def test_a_sharpness_aware_step_goes_by_the_gradient_from_uphill(linear, changes):
    learner = linear(sam_rho=0.5, **changes)
    images, labels = batch()
    flat = np.hstack([images.flatten(1).double().numpy(), np.ones((8, 1))])
    layer = learner.model.head
    before = np.hstack([layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()[:, None]])

    def gradient(matrix: np.ndarray) -> np.ndarray:
        logits = flat @ matrix.T
        return (np.exp(logits) / np.exp(logits).sum(1, keepdims=True) - one_hot(labels)).T @ flat / 8

    here = gradient(before)
    there = gradient(before + 0.5 * here / np.linalg.norm(here))
    length = np.linalg.norm(there)
    clipped = there * min(1, learner.config.grad_clip / length) if learner.config.grad_clip else there
    result = learner.train_step(images, labels, 0, 0)
    assert result.loss == pytest.approx(own_loss(flat @ before.T, one_hot(labels)), rel=1e-5)
    assert float(result.told[1]) == pytest.approx(length, rel=1e-5) and not np.isclose(length, np.linalg.norm(here))
    after = np.hstack([layer.weight.detach().numpy(), layer.bias.detach().numpy()[:, None]])
    np.testing.assert_allclose(after, before - 0.1 * clipped, atol=1e-6)


def test_uphill_leaves_weights_statistics_and_momentum_as_they_were():
    learners = [Learner(dataclasses.replace(REAL, lr=1e-9, sam_rho=rho), faces(side=16)) for rho in (0.0, 0.5)]
    for learner in learners:
        learner.train_mode()
        images, labels = next(iter(learner.batches.epoch(0)))
        learner.train_step(images, labels, 0, 0)
    plain, aware = (learner.model for learner in learners)
    for one, other in zip(plain.modules(), aware.modules(), strict=True):
        if isinstance(one, nn.BatchNorm2d):
            assert torch.equal(one.running_mean, other.running_mean) and one.momentum == other.momentum == 0.1
            assert torch.equal(one.running_var, other.running_var)
    for one, other in zip(plain.parameters(), aware.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


@pytest.mark.parametrize("limit", [0.05, 1e3])
def test_the_gradient_is_clipped_to_its_largest_norm(linear, limit):
    learner = linear(grad_clip=limit)
    images, labels = batch()
    norm = gradient_norm(learner, images, labels)
    assert 0.05 < norm < 1e3
    before = weights(learner.model)
    learner.train_step(images, labels, 0, 0)
    moved = sum(((a - b) ** 2).sum() for a, b in zip(before, weights(learner.model), strict=True)) ** 0.5
    assert float(moved) == pytest.approx(0.1 * min(limit, norm), rel=1e-3)


# ------------------------------------------------------------------------------------------------ what is not finite


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched(linear, poison):
    learner = linear(ema_decay=0.9)
    images, labels = batch()
    learner.train_step(images, labels, 0, 0)
    before, averaged = weights(learner.model), weights(learner.judged)
    state = learner.optimizer.state_dict()
    images[3, 0, 2, 2] = poison
    with pytest.raises(
        TrainingError, match=r"^epoch 3, step 5: loss is (nan|inf); try a smaller lr than 0\.1"
    ) as caught:
        learner.train_step(images, labels, 2, 4)
    assert caught.value.exit_code == 3 and "\n" not in str(caught.value)
    assert_same(weights(learner.model), before)
    assert_same(weights(learner.judged), averaged)
    assert learner.optimizer.state_dict() == state


def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_touched(linear):
    learner = linear(grad_clip=1.0)
    images, labels = batch()
    before = weights(learner.model)
    learner.model.head.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrainingError, match="^epoch 1, step 2: norm of the gradient is (nan|inf)"):
        learner.train_step(images, labels, 0, 1)
    assert_same(weights(learner.model), before)


def test_weights_that_have_grown_too_large_stop_the_training(linear):
    learner = linear(lr=100.0)
    images, labels = batch()
    with torch.no_grad():
        learner.model.head.weight.copy_(torch.full((7, 64), 1e38) * torch.arange(7)[:, None])
    before = weights(learner.model)
    with pytest.raises(TrainingError, match="loss is (nan|inf); try a smaller lr than 100, or grad_clip=1$"):
        learner.train_step(images, labels, 0, 0)
    assert_same(weights(learner.model), before)


# ------------------------------------------------------------------------------------------------ memory and waiting


@pytest.mark.parametrize("size", [2, 3, 5, 8, 100])
def test_gradients_of_several_passes_are_those_of_one(linear, size):
    whole, split = linear(mixup=0.4, weighted_loss=True), linear(mixup=0.4, weighted_loss=True, micro_batch=size)
    passes = []
    split.model.register_forward_hook(lambda model, inputs, output: passes.append(len(output)))
    images, labels = batch(11)
    one, several = whole.train_step(images, labels, 0, 0), split.train_step(images, labels, 0, 0)
    assert sum(passes) == 11 and max(passes) <= max(size, 3) and min(passes) >= 2
    torch.testing.assert_close(several.told, one.told, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(weights(split.model), weights(whole.model), rtol=1e-5, atol=1e-6)


def on_cuda() -> None:
    raise torch.OutOfMemoryError("out of memory")


def on_a_processor() -> None:
    torch.empty(2**60)  # more than any machine has: torch's own refusal


def small_memory(learner: Learner, most: int, refuse: Callable[[], None] = on_cuda) -> list[int]:
    """Let memory suffice for ``most`` images in one pass; the returned list grows by the passes tried."""
    tried: list[int] = []

    def pass_through(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        tried.append(len(inputs[0]))
        if len(inputs[0]) > most:
            refuse()

    learner.model.register_forward_pre_hook(pass_through)
    return tried


@pytest.mark.parametrize("refuse", [on_cuda, on_a_processor])
def test_the_pass_is_halved_until_memory_suffices_and_the_step_is_the_same(linear, refuse):
    whole, halved = linear(), linear(micro_batch=40)
    tried = small_memory(halved, 12, refuse)
    images, labels = batch(40)
    one, several = whole.train_step(images, labels, 0, 0), halved.train_step(images, labels, 0, 0)
    assert tried == [40, 20, 10, 10, 10, 10] and halved.micro_batch == 10
    torch.testing.assert_close(several.told, one.told, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(weights(halved.model), weights(whole.model), rtol=1e-5, atol=1e-6)
    halved.train_step(images, labels, 0, 1)
    assert tried[6:] == [10, 10, 10, 10]


@pytest.mark.parametrize("refuse", [on_cuda, on_a_processor])
def test_without_a_choice_the_message_says_what_fits(linear, refuse):
    learner = linear()
    small_memory(learner, 12, refuse)
    before = weights(learner.model)
    with pytest.raises(TrainingError, match=r"^out of memory with 40 images of 8 px.*; 10 fit: micro_batch=10 "):
        learner.train_step(*batch(40), 0, 0)
    assert_same(weights(learner.model), before)
    hopeless = linear(micro_batch=8)
    small_memory(hopeless, 0)
    with pytest.raises(TrainingError, match=r"^out of memory with 2 images .* and with 2 as well"):
        hopeless.train_step(*batch(8), 0, 0)


class Reads(TorchDispatchMode):
    """Counts what would make an accelerator wait: values read by the program."""

    WAITING = ("aten._local_scalar_dense", "aten.nonzero", "aten.is_nonzero", "aten.equal", "aten._unique2")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.found += [str(func) for name in self.WAITING if str(func).startswith(name)]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "changes", [{}, {"sam_rho": 0.1}, {"grad_clip": 1.0, "ema_decay": 0.9, "weighted_loss": True, "erase": 0.5}]
)
def test_a_step_reads_nothing_from_the_device(changes):
    """From one device-side batch to the next: augmentation, forward, backward, optimiser, averaged weights."""
    learner = Learner(dataclasses.replace(REAL, normalize="per_image", **changes), faces(side=16))
    learner.train_mode()
    learner.looks_at_each = False
    batches = learner.batches.epoch(0)
    learner.train_step(*next(batches), 0, 0)
    with Reads() as reads:
        result = learner.train_step(*next(batches), 0, 1)
        assert reads.found == []
        assert result.loss > 0 and reads.found == ["aten._local_scalar_dense.default"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_step_never_waits_for_the_gpu():
    config = dataclasses.replace(REAL, normalize="per_image", device="cuda", precision="bf16", channels_last="on")
    learner = Learner(config, faces(side=16))
    learner.train_mode()
    batches = learner.batches.epoch(0)
    learner.train_step(*next(batches), 0, 0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        learner.train_step(*next(batches), 0, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_compiled_is_the_same_network(monkeypatch):
    """With the compiler's first half alone, which needs no C++ compiler."""
    compiled = []

    def first_half(model, mode):
        compiled.append(mode)
        return torch._dynamo.optimize("eager")(model)

    monkeypatch.setattr(torch, "compile", first_half)
    config = dataclasses.replace(REAL, augment="none", mixup=0.0)
    plain, other = (
        Learner(config, faces(side=16)),
        Learner(dataclasses.replace(config, compile="default"), faces(side=16)),
    )
    assert compiled == ["default"]
    images, labels = next(plain.batches.epoch(0))
    for learner in (plain, other):
        learner.train_mode()
    torch.testing.assert_close(
        other.train_step(images, labels, 0, 0).told, plain.train_step(images, labels, 0, 0).told, rtol=1e-4, atol=1e-4
    )
    assert list(other.model.state_dict()) == list(plain.model.state_dict())


# ------------------------------------------------------------------------------------------------ seeds


def trained(config: Config, epochs: int = 2) -> Learner:
    learner = Learner(config, faces(40, 16))
    learner.model.train()
    for epoch in range(epochs):
        for step, (images, labels) in enumerate(learner.batches.epoch(epoch)):
            learner.train_step(images, labels, epoch, step)
    return learner


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    first = trained(REAL)
    torch.manual_seed(99)
    torch.rand(5)
    assert_same(weights(trained(REAL).model), weights(first.model))
    assert_same(weights(trained(dataclasses.replace(REAL, num_workers=1)).model), weights(first.model))
    other = trained(dataclasses.replace(REAL, seed=1))
    assert not torch.equal(next(other.model.parameters()), next(first.model.parameters()))


def test_another_seed_begins_with_other_weights():
    first, again, other = (Learner(dataclasses.replace(REAL, seed=seed), faces(40, 16)) for seed in (0, 0, 1))
    assert_same(weights(first.model), weights(again.model))
    assert not torch.equal(next(first.model.parameters()), next(other.model.parameters()))


def test_dropout_and_mixup_of_a_step_do_not_depend_on_what_came_before():
    learner = Learner(REAL, faces(40, 16))
    learner.model.train()
    images, labels = next(iter(learner.batches.epoch(0)))
    state = {name: value.clone() for name, value in learner.model.state_dict().items()}
    first = learner.train_step(images, labels, 1, 1).loss
    learner.model.load_state_dict(state)
    torch.rand(1000)
    assert learner.train_step(images, labels, 1, 1).loss == first
    learner.model.load_state_dict(state)
    assert learner.train_step(images, labels, 1, 2).loss != first


# ------------------------------------------------------------------------------------------------ averaged weights


def test_the_averaged_network_is_judged(linear):
    learner = linear(ema_decay=0.9)
    reference = AveragedWeights(learner.model, 0.9)
    assert learner.judged is learner.averaged.model and learner.judged is not learner.model
    images, labels = batch()
    for step in range(3):
        learner.train_step(images, labels, 1, step)
        reference.update(learner.model, learner.batches.steps + step)
    assert_same(weights(learner.judged), weights(reference.model))
    assert not torch.equal(learner.judged.head.weight, learner.model.head.weight)


def test_without_averaging_the_network_itself_is_judged(linear):
    learner = linear()
    assert learner.averaged is None and learner.judged is learner.model


def test_a_network_with_an_auxiliary_head_trains():
    config = dataclasses.replace(PLAIN, arch="inception_v3", image_size=75, in_channels=3, batch_size=2, lr=1e-3)
    learner = Learner(config, faces(4, 16))
    learner.model.train()
    images, labels = next(iter(learner.batches.epoch(0)))
    auxiliary = learner.model.AuxLogits.fc.weight
    before = auxiliary.detach().clone()
    result = learner.train_step(images, labels, 0, 0)
    assert np.isfinite(result.loss) and not torch.equal(auxiliary.detach(), before)
