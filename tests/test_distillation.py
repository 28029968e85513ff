"""A student learns from what its teacher says of the training images, and says who that was."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import SMALL, start_here

from trainers.learner import Learner
from utils.checkpoint import load_checkpoint
from utils.config import Config, load_config
from utils.datasets.faces import Faces, Split
from utils.distillation import check_teacher_unseen, find_teacher, taught
from utils.errors import UserError
from utils.files import sha256_of
from utils.predictions import Predictions, load_predictions, save_predictions
from utils.splits import load_splits

CLASSES = ("a", "b", "c")
FACES = Faces(np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 2, 0]), ["i", "j", "k", "l"], None, CLASSES)
SAID = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.2, 0.5, 0.3]])


def dump(path, ids=("i", "j", "k", "l"), classes=CLASSES, said=SAID, **meta):
    logits = np.log(said).astype(np.float32)[None]
    save_predictions(Predictions(logits, np.zeros(len(ids), int), list(ids), classes, {"split": "train"} | meta), path)
    return Config(distil_from=str(path))


def test_images_and_classes_are_joined_by_name(tmp_path):
    turned = dump(tmp_path / "t.npz", ids=("l", "k", "j", "i"), classes=("c", "b", "a"), said=SAID[::-1, ::-1])
    teacher = find_teacher(turned, FACES)
    np.testing.assert_allclose(teacher.shares, SAID, atol=1e-6)
    assert teacher.hash == sha256_of(tmp_path / "t.npz")
    assert find_teacher(Config(), FACES) is None


def test_targets_are_of_both(tmp_path):
    teacher = find_teacher(dump(tmp_path / "t.npz"), FACES)
    mixed = taught(FACES, teacher, 0.25).soft
    np.testing.assert_allclose(mixed, 0.75 * np.eye(3)[FACES.labels] + 0.25 * SAID, atol=1e-6)
    voted = dataclasses.replace(FACES, soft=np.full((4, 3), 1 / 3, np.float32))
    np.testing.assert_allclose(taught(voted, teacher, 0.25).soft, 0.25 + 0.25 * SAID, atol=1e-6)


def test_temperature_softens_the_teacher(tmp_path):
    config = dataclasses.replace(dump(tmp_path / "t.npz"), distil_temperature=2.0)
    wanted = np.sqrt(SAID) / np.sqrt(SAID).sum(1, keepdims=True)
    np.testing.assert_allclose(find_teacher(config, FACES).shares, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"split": "test"}, "is of test; a teacher speaks of train"),
        ({"dataset": "sample"}, "is of sample; this run reads fer2013"),
        ({"classes": ("a", "b", "d")}, "knows a, b, d; here are a, b, c"),
        ({"ids": ("i", "j", "k", "m")}, "does not speak of training image l, of 1 in all"),
    ],
)
def test_what_is_no_teacher_is_refused(tmp_path, changes, says):
    with pytest.raises(UserError, match=says):
        find_teacher(dump(tmp_path / "t.npz", **changes), FACES)


def test_a_teacher_has_not_been_trained_on_what_judges(tmp_path):
    """One of FER2013's whole training part knows the labels of every fold of it."""
    config = dump(tmp_path / "t.npz")
    elsewhere = Split("a", FACES, dataclasses.replace(FACES, ids=["v", "w", "x", "y"]), None, "official")
    check_teacher_unseen(config, [elsewhere])
    fold = Split("a", FACES.take(np.array([0, 1])), FACES.take(np.array([2, 3])), FACES.take(np.array([2])), "random")
    with pytest.raises(UserError, match="was trained on 3 images of this run's val and test parts"):
        check_teacher_unseen(config, [elsewhere, fold])
    check_teacher_unseen(Config(), [fold])


def test_the_loss_is_that_against_the_mixed_targets(tmp_path):
    settings = [*SMALL, "sample_faces=70", "mixup=0", "label_smoothing=0", "ema_decay=0", "drop_rate=0"]
    (split,) = load_splits(load_config(None, settings))
    said = np.random.default_rng(0).dirichlet(np.ones(7), len(split.train))
    logits = np.log(said).astype(np.float32)[None]
    meta = {"split": "train"}
    save_predictions(
        Predictions(logits, split.train.labels, split.train.ids, split.train.classes, meta), tmp_path / "t.npz"
    )
    config = load_config(None, [*settings, f"distil_from={tmp_path / 't.npz'}", "distil_weight=1"])
    learner = Learner(config, split.train)
    learner.train_mode()
    images, targets = next(iter(learner.batches.epoch(0)))
    loss = learner.train_step(images, targets, 0, 0).loss
    again = Learner(config, split.train)
    again.train_mode()
    wanted = -(again.model(images).log_softmax(1) * targets).sum(1).mean()
    assert loss == pytest.approx(wanted.item(), rel=1e-5)
    rows = {tuple(np.round(row, 5)) for row in said}
    assert all(tuple(np.round(row, 5)) in rows for row in targets.double().numpy()) and torch.is_floating_point(targets)


def test_an_ensemble_teaches_as_the_readme_says(tmp_path):
    for seed in (1, 2):
        assert start_here(tmp_path, "main_fer.py", *SMALL, "max_epoch_num=1", f"seed={seed}").returncode == 0
    once = ("gen_results.py", "--split", "train", "--views", "1")
    assert start_here(tmp_path, *once).returncode == 0
    dumps = sorted((tmp_path / "saved" / "results").glob("*.train.npz"))
    whole = [path.stat().st_size for path in dumps]
    assert start_here(tmp_path, *once, "--half").stdout.count("up to date") == 0
    assert start_here(tmp_path, *once, "--half").stdout.count("up to date") == 2
    assert all(path.stat().st_size < size for path, size in zip(dumps, whole, strict=True))
    assert start_here(tmp_path, "gen_ensemble.py", *map(str, dumps), "--half").returncode == 0
    teacher = tmp_path / "saved" / "results" / "ensemble.train.npz"
    meta = load_predictions(teacher).meta
    assert meta["copies_in_train"] == [] and meta["kept_as"] == "float16"
    student = [*SMALL, "max_epoch_num=1", "model_name=student", f"distil_from={teacher}"]
    told = start_here(tmp_path, "main_fer.py", *student)
    assert told.returncode == 0, told.stderr
    (run,) = (tmp_path / "saved" / "checkpoints").glob("*student*")
    assert load_checkpoint(run / "last.pt").data["teacher"] == sha256_of(teacher)
    (test,) = (tmp_path / "saved" / "results").glob("*student*.test.npz")
    assert load_predictions(test).meta["teacher"] == sha256_of(teacher)
    told = start_here(tmp_path, "main_fer.py", *student, "protocol=random", "folds=3")
    assert told.returncode == 2 and "images of this run's val and test parts; a teacher comes from" in told.stderr
