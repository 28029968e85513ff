"""The one forward pass outside training: views, modes, shapes, and a Recognizer that knows what it was trained on."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from trainers.learner import Learner
from utils import inference
from utils.augment import VIEWS, view_batch
from utils.checkpoint import Checkpoint, checkpoint_hash, save_checkpoint
from utils.config import Config
from utils.datasets.faces import Faces, Split
from utils.errors import Interrupted, MachineError, UserError
from utils.inference import Recognizer, predict
from utils.labels import FER2013_CLASSES
from utils.predictions import softmax
from utils.runtime import find_device

CONFIG = Config(
    arch="tiny_resnet",
    image_size=16,
    in_channels=1,
    normalize="per_image",
    optimizer="sgd",
    augment="fast",
    ema_decay=0.5,
    views=4,
    batch_size=10,
    device="cpu",
    precision="fp32",
    channels_last="off",
    threads=1,
)


def faces(name: str, count: int, seed: int, classes=FER2013_CLASSES) -> Faces:
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, 48, 48), dtype=np.uint8)
    return Faces(images, np.arange(count) % len(classes), [f"{name}/{i:05d}" for i in range(count)], None, classes)


def made_split() -> Split:
    split = Split("official", faces("train", 30, 0), faces("val", 9, 1), faces("test", 13, 2), "by hand")
    split.test.images[[2, 5]] = split.train.images[[7, 1]]
    return split


SPLIT = made_split()


@pytest.fixture(scope="module")
def learner() -> Learner:
    learner = Learner(CONFIG, SPLIT.train)
    learner.model.train()
    for step, (images, labels) in enumerate(learner.batches.epoch(0)):
        learner.train_step(images, labels, 0, step)
    return learner


@pytest.fixture(scope="module")
def best(learner, tmp_path_factory):
    """A checkpoint of a network trained for three steps."""
    path = tmp_path_factory.mktemp("run") / "best.pt"
    checkpoint = Checkpoint(
        run="run",
        config=CONFIG,
        classes=FER2013_CLASSES,
        epoch=1,
        step=0,
        metrics={},
        selection={"split": "val", "metric": "accuracy"},
        data={"train": SPLIT.train.fingerprint(), "val": SPLIT.val.fingerprint()},
        model=learner.model.state_dict(),
        ema=learner.judged.state_dict(),
        optimizer=learner.optimizer.state_dict(),
        scheduler={"drops": 0, "waited": 0},
        progress={"seconds": 1.5},
        environment={"python": "3"},
    )
    save_checkpoint(checkpoint, path)
    return path


def by_hand(model: nn.Module, images: np.ndarray, view: int) -> np.ndarray:
    model.eval()
    with torch.no_grad():
        return model(view_batch(torch.from_numpy(images), view, CONFIG)).numpy()


def test_views_in_one_pass_are_the_views_one_by_one(learner):
    images = SPLIT.test.images
    together = predict(learner.judged, images, CONFIG, views=18)
    assert together.shape == (18, 13, 7) and together.dtype == np.float32
    for view in range(len(VIEWS)):
        np.testing.assert_allclose(together[view], by_hand(learner.judged, images, view), atol=1e-4)
    np.testing.assert_allclose(predict(learner.judged, images, CONFIG), together[:1], atol=1e-4)


@pytest.mark.parametrize("at_once", [1, 4, 7])
def test_the_size_of_a_pass_changes_nothing(learner, monkeypatch, at_once):
    expected = predict(learner.judged, SPLIT.test.images, CONFIG, views=3)
    calls = []
    monkeypatch.setattr(inference, "MOST_IMAGES", at_once)
    got = predict(learner.judged, SPLIT.test.images, CONFIG, views=3, between_batches=lambda: calls.append(1))
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert len(calls) == -(-13 // max(1, at_once // 3))


def test_large_images_go_through_one_at_a_time(learner, monkeypatch):
    monkeypatch.setattr(inference, "MOST_PIXELS", 10)
    calls = []
    predict(learner.judged, SPLIT.val.images, CONFIG, views=2, between_batches=lambda: calls.append(1))
    assert len(calls) == 9


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_restored_and_statistics_are_not_touched(learner, training):
    model = learner.model.train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = (predict(model, SPLIT.val.images, CONFIG, views=2) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert model.training is training and all(module.training is training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_mode_is_restored_when_stopped(learner):
    def stop() -> None:
        raise Interrupted(15)

    learner.model.train()
    with pytest.raises(Interrupted):
        predict(learner.model, SPLIT.val.images, CONFIG, between_batches=stop)
    assert learner.model.training and torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_colour_and_memory_mapped_images(learner, tmp_path):
    colour = np.stack([SPLIT.val.images] * 3, axis=-1)
    expected = predict(learner.judged, SPLIT.val.images, CONFIG)
    np.testing.assert_allclose(predict(learner.judged, colour, CONFIG), expected, atol=1e-3)
    np.save(tmp_path / "images.npy", SPLIT.val.images)
    for mode in ("r", "c"):
        mapped = np.load(tmp_path / "images.npy", mmap_mode=mode)
        np.testing.assert_array_equal(predict(learner.judged, mapped, CONFIG), expected)
    mirrored = SPLIT.val.images[:, :, ::-1]
    np.testing.assert_allclose(
        predict(learner.judged, mirrored, CONFIG)[0], predict(learner.judged, SPLIT.val.images, CONFIG, views=2)[1],
        atol=1e-3,
    )  # fmt: skip


def test_no_images_give_no_rows(learner):
    assert predict(learner.judged, SPLIT.val.images[:0], CONFIG, views=3).shape == (3, 0, 7)


@pytest.mark.parametrize(
    "images",
    [np.zeros((2, 48, 48), np.float32), np.zeros((2, 48, 48), np.int64), np.zeros((48, 48), np.uint8), [[[0]]], None],
)
def test_images_of_another_type_or_shape_are_refused(learner, images):
    with pytest.raises(ValueError, match=r"expected .*uint8 \[N, H, W\]"):
        predict(learner.judged, images, CONFIG)


# ------------------------------------------------------------------------------------------------ Recognizer


def test_a_recognizer_judges_with_the_averaged_weights(learner, best):
    recognizer = Recognizer(best)
    expected = predict(learner.judged, SPLIT.test.images, CONFIG, views=4)
    got = recognizer.probabilities(SPLIT.test.images)
    assert got.shape == (13, 7) and got.dtype == np.float64
    np.testing.assert_allclose(got, softmax(expected).mean(0), atol=1e-5)
    np.testing.assert_allclose(got.sum(1), 1)
    np.testing.assert_allclose(recognizer.probabilities(SPLIT.test.images, views=1), softmax(expected[0]), atol=1e-5)
    other = predict(learner.model, SPLIT.test.images, CONFIG, views=4)
    assert np.abs(softmax(other).mean(0) - got).max() > 1e-4


def test_predictions_carry_their_identity(best):
    got = Recognizer(best).predict(SPLIT, "test")
    assert got.logits.shape == (4, 13, 7) and got.ids == SPLIT.test.ids and got.classes == FER2013_CLASSES
    np.testing.assert_array_equal(got.targets, SPLIT.test.labels)
    assert got.meta["copies_in_train"] == ["test/00002", "test/00005"]
    expected = {
        "run": "run",
        "arch": "tiny_resnet",
        "split": "test",
        "views": 4,
        "protocol": "by hand",
        "scores": "logits",
        "epoch": 1,
        "seed": 0,
        "training_seconds": 1.5,
        "data": SPLIT.test.fingerprint(),
        "checkpoint": checkpoint_hash(best),
        "selection": {"split": "val", "metric": "accuracy"},
    }
    assert {key: got.meta[key] for key in expected} == expected
    assert len(got.meta["checkpoint"]) == 64
    assert Recognizer(best).predict(SPLIT, "val", views=1).logits.shape == (1, 9, 7)


def test_other_data_than_those_it_was_trained_on_are_refused(best):
    recognizer = Recognizer(best)
    changed = SPLIT.train.images.copy()
    changed[0, 0, 0] ^= 1
    others = dataclasses.replace(SPLIT, train=dataclasses.replace(SPLIT.train, images=changed))
    with pytest.raises(UserError, match="was trained on other data"):
        recognizer.predict(others, "test")
    relabelled = dataclasses.replace(SPLIT.train, labels=np.roll(SPLIT.train.labels, 1))
    with pytest.raises(UserError, match="was trained on other data"):
        recognizer.predict(dataclasses.replace(SPLIT, train=relabelled), "test")


def test_other_classes_are_refused_even_when_only_their_order_differs(best):
    classes = (*FER2013_CLASSES[1:], FER2013_CLASSES[0])
    split = dataclasses.replace(SPLIT, test=dataclasses.replace(SPLIT.test, classes=classes))
    with pytest.raises(UserError, match="trained on angry, disgust.*; the data have disgust, fear"):
        Recognizer(best).predict(split, "test")


def test_a_part_that_is_not_there_is_refused(best):
    with pytest.raises(UserError, match="the data have no part 'test'"):
        Recognizer(best).predict(dataclasses.replace(SPLIT, test=None), "test")


def test_a_device_that_is_not_there_is_refused(best):
    with pytest.raises(UserError, match="device 'gpu' is unknown"):
        Recognizer(best, device="gpu")
    with pytest.raises(MachineError, match="not on this machine"):
        Recognizer(best, device="cuda:999")


@pytest.mark.parametrize("name", ["cuda:1", "cuda:256", "cuda:999"])
def test_a_number_that_torch_takes_for_another_gpu_is_refused(monkeypatch, name):
    """It keeps 8 bits of it, so that cuda:256 would be the first GPU and cuda:999 none that one can compare with."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert find_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(MachineError, match=f"device '{name}' is not on this machine, which has 1 of them"):
        find_device(name)
