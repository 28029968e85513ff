"""What a run learns from: copies of judging images left out, said and counted, and nothing else changed."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, refusal, start_here

from utils.config import load_config
from utils.datasets.duplicates import count_leaks
from utils.datasets.faces import Split
from utils.labels import FER2013_CLASSES
from utils.predictions import load_predictions
from utils.splits import load_splits

USAGES = {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}
COUNTS = {"train": 42, "val": 14, "test": 14}
# Which of the training images are made to be what: copies of the image of that number in another part.
COPIES = {"train/00007": ("test", 3, 1), "train/00008": ("test", 3, 1), "train/00010": ("val", 2, 1)}
MIRRORED = {"train/00020": ("test", 5, -1), "train/00021": ("val", 6, -1)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """``fer2013.csv`` of noise, with three exact and two mirrored copies across its parts."""
    random = np.random.default_rng(0)
    images = {part: random.integers(0, 256, (count, 48, 48)) for part, count in COUNTS.items()}
    for identity, (part, number, step) in (COPIES | MIRRORED).items():
        images["train"][int(identity[-5:])] = images[part][number][:, ::step]
    rows = ["emotion,pixels,Usage"]
    for part, usage in USAGES.items():
        rows += [f"{index % 7},{' '.join(map(str, image.ravel()))},{usage}" for index, image in enumerate(images[part])]
    (tmp_path / "fer2013.csv").write_text("\n".join(rows))
    return tmp_path / "fer2013.csv"


def split(data: Path, *changes: str) -> Split:
    (found,) = load_splits(load_config(None, [f"data_path={data}", f"cache_dir={data.parent / 'cache'}", *changes]))
    return found


@pytest.mark.parametrize(
    ("which", "gone"),
    [
        ("none", set()),
        ("test", {"train/00007", "train/00008"}),
        ("all", set(COPIES)),
        ("all_mirrored", set(COPIES | MIRRORED)),
    ],
)
def test_only_what_was_asked_for_is_left_out(data, which, gone):
    whole, found = split(data), split(data, f"drop_copies={which}")
    assert set(whole.train.ids) - set(found.train.ids) == gone
    for identity, label, image in zip(found.train.ids, found.train.labels, found.train.images, strict=True):
        row = whole.train.ids.index(identity)
        assert label == whole.train.labels[row] and np.array_equal(image, whole.train.images[row])
    assert found.val.fingerprint() == whole.val.fingerprint() and found.test.fingerprint() == whole.test.fingerprint()
    assert found.protocol == whole.protocol and list(found.trimmed.values()) == [len(gone)] * (which != "none")
    leaks = count_leaks(found)
    for part, kind in (("test", "exact"), ("val", "exact"), ("test", "mirrored"), ("val", "mirrored")):
        copies = COPIES if kind == "exact" else MIRRORED
        left = [i for i, (of, *_) in copies.items() if of == part and i not in gone]
        assert (
            leaks[f"{part} images with {'a mirrored' if kind == 'mirrored' else 'an exact'} copy in train"] > 0
        ) == (left != [])


def test_a_class_that_loses_its_last_image_is_refused(data):
    rows = data.read_text().splitlines()
    kept = [row for number, row in enumerate(rows[1:]) if not (number < 42 and number % 7 == 0 and number != 7)]
    data.write_text("\n".join([rows[0], *kept]))
    assert split(data).train.counts()[0] == 1
    assert "train part has no image of angry" in refusal(lambda: split(data, "drop_copies=test"))


def test_a_protocol_that_keeps_copies_apart_refuses_it():
    config = load_config(None, [*SMALL, "protocol=kfold", "drop_copies=test", "sample_faces=70", "folds=3"])
    assert refusal(lambda: load_splits(config)) == "drop_copies test: for protocol official; this run has kfold"


def test_check_report_and_dumps_say_it(data, tmp_path):
    small = [text for text in SMALL if not text.startswith(("dataset", "max_epoch_num"))]
    settings = [*small, f"data_path={data}", "max_epoch_num=1", "batch_size=16", "drop_copies=test"]
    sentence = "train images left out because they are an exact copy of a test image"
    checked = start_here(tmp_path, "main_fer.py", "--check", *settings)
    assert f"     2 {sentence}" in checked.stdout
    told = start_here(tmp_path, "main_fer.py", *settings)
    assert told.returncode == 0, told.stderr
    assert f"2 {sentence}" in told.stdout
    (report,) = (tmp_path / "saved" / "logs").glob("*/report.json")
    assert json.loads(report.read_text())["training_part"] == {sentence: 2}
    (dump,) = (tmp_path / "saved" / "results").glob("*.test.npz")
    meta = load_predictions(dump).meta
    assert meta["training_part"] == {sentence: 2} and meta["config"]["drop_copies"] == "test"
    # the same images are left out of 'without copies' as for networks that have learned from them
    assert meta["copies_in_train"] == ["test/00003"]
    assert load_predictions(dump).classes == FER2013_CLASSES
