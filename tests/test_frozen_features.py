"""Readouts of frozen networks: what they are fitted to, what they say, and the table of them."""

import dataclasses

import numpy as np
from conftest import ROOT, SMALL, start_here

from benchmarks.frozen_features import IMAGES, fitted, frozen_text, readout
from utils.config import load_config
from utils.predictions import Predictions
from utils.splits import load_splits


def test_the_readout_finds_what_is_linear_and_a_feature_without_life_spoils_nothing():
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    known = rng.normal(size=(300, 5)).astype(np.float32) + 4 * np.eye(3, 5, dtype=np.float32)[labels]
    known[:, 4] = 0
    logits = fitted(known[:200], labels[:200], known[200:], 4)
    assert logits.shape == (100, 4) and logits.dtype == np.float32
    assert (logits.argmax(1) == labels[200:]).mean() > 0.95
    alive = known[200:].copy()
    alive[:, 4] = 1
    assert np.array_equal(fitted(known[:200], labels[:200], alive, 4), logits)


def test_a_dump_is_of_validation_and_says_what_it_was_fitted_to():
    config = dataclasses.replace(load_config(None, list(SMALL)), weights="some/network.safetensors", image_size=32)
    (split,) = load_splits(config)
    dump = readout(dataclasses.replace(config, weights="none"), split)
    validation = split.parts()["val"]
    assert dump.ids == list(validation.ids) and np.array_equal(dump.targets, validation.labels)
    assert dump.logits.shape == (1, len(validation), 7)
    assert dump.meta["fitted_to"] == min(IMAGES, len(split.train)) and dump.meta["data"] == validation.fingerprint()
    assert dump.meta["run"] == "none_32px" and dump.meta["config"]["image_size"] == 32


def test_what_cannot_be_asked_is_one_line(tmp_path):
    file = str(ROOT / "configs" / "sample_config.json")
    for arguments, message in (
        ([file], f"{file}: weights is none, so there is nothing to look at\n"),
        (["seed=1"], "seed=1: settings on top of no file; name one with weights, as configs/ablation/24_*\n"),
        (
            [file, "weights=x.safetensors", "protocol=kfold", "folds=3", "sample_faces=70"],
            f"{file}: protocol kfold makes folds; expected one split, as of FER2013\n",
        ),
    ):
        told = start_here(tmp_path, "benchmarks/frozen_features.py", *arguments)
        assert (told.returncode, told.stderr) == (2, message)


def test_the_table_has_a_row_for_each_network_and_leaves_open_what_was_not_measured():
    def dump(name: str, size: int, right: int) -> Predictions:
        logits = np.eye(2, dtype=np.float32)[[0] * right + [1] * (10 - right)][None]
        meta = {"run": f"{name}_{size}px", "config": {"image_size": size}}
        return Predictions(logits, np.zeros(10, np.int64), [str(i) for i in range(10)], ("a", "b"), meta)

    assert frozen_text([dump("b_net", 224, 9), dump("b_net", 48, 3), dump("a", 48, 5)]).splitlines() == [
        "| weights | 48 px | 224 px |",
        "|---|---|---|",
        "| `a` | 50.0% |  |",
        "| `b_net` | 30.0% | 90.0% |",
    ]
