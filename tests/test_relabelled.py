"""FER2013 with the labels of FER+: what a run learns from and is judged on under each policy."""

from pathlib import Path

import numpy as np
import pytest

from utils.config import load_config
from utils.datasets.faces import Split
from utils.errors import UserError
from utils.labels import FER2013_CLASSES, FERPLUS_COLUMNS, canonical
from utils.splits import load_splits

USAGES = {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}
COLUMN = {canonical(name): index for index, name in enumerate(FERPLUS_COLUMNS)}


def votes(**by_name: int) -> list[int]:
    row = [0] * len(FERPLUS_COLUMNS)
    for name, count in by_name.items():
        row[COLUMN[name]] = count
    return row


# In each part, seven clear rows, one a class, and then these: FER2013's label, votes, FER+'s label by policy.
SPECIAL = (
    ("angry", votes(sad=9, angry=1), "sad", "sad"),
    ("happy", votes(happy=5, neutral=5), "neutral", None),  # the first column of the file among equals
    ("fear", votes(contempt=6, fear=4), None, None),
    ("sad", votes(nf=10), None, None),
    ("fear", votes(fear=4, surprise=3, contempt=2, unknown=1), "fear", None),  # 4 of 9
    ("surprise", votes(disgust=6, surprise=2, unknown=2), "disgust", "disgust"),
)
ROWS = [(name, votes(**{name: 10}), name, name) for name in FER2013_CLASSES] + list(SPECIAL)
POLICIES = {"plurality": 2, "majority": 3}  # where a row of ROWS has the label


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """``fer2013.csv`` and, in another order of parts and with wrong names, ``fer2013new.csv``."""
    faces, random = ["emotion,pixels,Usage"], np.random.default_rng(0)
    for usage in USAGES.values():
        for name, *_ in ROWS:
            pixels = " ".join(map(str, random.integers(0, 256, 48 * 48)))
            faces.append(f"{FER2013_CLASSES.index(name)},{pixels},{usage}")
    voted = [f"Usage,Image name,{','.join(FERPLUS_COLUMNS)}"]
    for usage in reversed(USAGES.values()):
        voted += [f"{usage},fer0000001.png,{','.join(map(str, row[1]))}" for row in ROWS]
    (tmp_path / "fer2013.csv").write_text("\n".join(faces))
    (tmp_path / "fer2013new.csv").write_text("\n".join(voted))
    return tmp_path


def split(data: Path, *changes: str) -> Split:
    places = [f"data_path={data / 'fer2013.csv'}", f"cache_dir={data / 'cache'}", f"ferplus_path={data}"]
    (found,) = load_splits(load_config(None, [*places, *changes]))
    return found


def expected(part: str, policy: str) -> dict[str, str]:
    """Class by image id, as the table above says."""
    labels = {f"{part}/{number:05d}": row[POLICIES[policy]] for number, row in enumerate(ROWS)}
    return {identity: name for identity, name in labels.items() if name is not None}


@pytest.mark.parametrize("source", ["ferplus", "ferplus_soft"])
def test_folds_cannot_keep_fer2013s_labels_for_those_that_judge(data, source):
    with pytest.raises(UserError, match="ferplus_parts train: in folds every image is trained on and judged"):
        split(data, "protocol=random", "folds=3", f"label_source={source}", "ferplus_parts=train")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("soft", [False, True])
def test_labels_and_dropped_rows_by_policy(data, policy, soft):
    own = split(data)
    found = split(data, f"label_source=ferplus{'_soft' * soft}", f"ferplus_policy={policy}")
    for name, part in found.parts().items():
        assert {i: FER2013_CLASSES[n] for i, n in zip(part.ids, part.labels, strict=True)} == expected(name, policy)
        before = own.parts()[name]
        for image, identity in zip(part.images, part.ids, strict=True):
            np.testing.assert_array_equal(image, before.images[before.ids.index(identity)])
    assert [len(part) for part in found.parts().values()] == [{"plurality": 11, "majority": 9}[policy]] * 3
    assert found.protocol.startswith(own.protocol) and f"in every part, policy {policy}" in found.protocol
    assert ("FER+ vote distributions" if soft else "FER+ labels") in found.protocol


def test_without_ferplus_the_labels_are_fer2013s(data):
    for part in split(data).parts().values():
        assert [FER2013_CLASSES[label] for label in part.labels] == [row[0] for row in ROWS] and part.soft is None


@pytest.mark.parametrize("source", ["ferplus", "ferplus_soft"])
def test_train_alone_can_be_relabelled(data, source):
    own, found = split(data), split(data, f"label_source={source}", "ferplus_parts=train")
    assert found.val.fingerprint() == own.val.fingerprint() and found.test.fingerprint() == own.test.fingerprint()
    assert found.train.fingerprint() != own.train.fingerprint() and len(found.train) == 11
    assert "in train alone" in found.protocol and "every part" not in found.protocol


@pytest.mark.parametrize("policy", POLICIES)
def test_soft_labels_are_the_shares_of_the_votes_and_for_training_alone(data, policy):
    found = split(data, "label_source=ferplus_soft", f"ferplus_policy={policy}")
    train = found.train
    assert train.soft.shape == (len(train), 7) and train.soft.dtype == np.float32
    np.testing.assert_allclose(train.soft.sum(1), 1, rtol=1e-6)
    for identity, shares in zip(train.ids, train.soft, strict=True):
        counted = ROWS[int(identity[-5:])][1]
        if policy == "majority":
            counted = [count if count > 1 else 0 for count in counted]
        seven = [counted[COLUMN[name]] for name in FER2013_CLASSES]
        np.testing.assert_allclose(shares, [count / sum(seven) for count in seven], rtol=1e-6)
    assert train.soft[train.ids.index("train/00007")].max() == pytest.approx(0.9 if policy == "plurality" else 1)
    assert found.val.soft is None and found.test.soft is None


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_blended_targets_are_the_label_and_the_votes_and_the_label_alone_where_there_are_none(data, policy, weight):
    own = split(data)
    found = split(data, "label_source=ferplus_blend", f"ferplus_weight={weight}", f"ferplus_policy={policy}")
    assert found.train.ids == own.train.ids and (found.train.labels == own.train.labels).all()
    assert found.train.soft.dtype == np.float32
    np.testing.assert_allclose(found.train.soft.sum(1), 1, rtol=1e-6)
    for row, (label, counts, *_) in enumerate(ROWS):
        one_hot = np.eye(7)[FER2013_CLASSES.index(label)]
        if row in (9, 10):  # contempt or no face wins
            np.testing.assert_allclose(found.train.soft[row], one_hot)
            continue
        counted = np.array([counts[COLUMN[name]] for name in FER2013_CLASSES], dtype=float)
        if policy == "majority":
            counted[counted == 1] = 0
        expected = (1 - weight) * one_hot + weight * counted / counted.sum()
        np.testing.assert_allclose(found.train.soft[row], expected, rtol=1e-6)
    for name in ("val", "test"):
        assert found.parts()[name].fingerprint() == own.parts()[name].fingerprint()
        assert found.parts()[name].soft is None
    assert f"with {weight:.0%} FER+ vote distributions in the targets, policy {policy}" in found.protocol


def test_data_that_are_learned_from_otherwise_have_another_fingerprint(data):
    prints = {split(data).train.fingerprint()}
    for source in ("ferplus", "ferplus_soft"):
        for policy in POLICIES:
            prints.add(split(data, f"label_source={source}", f"ferplus_policy={policy}").train.fingerprint())
    for weight in (0.3, 0.5):
        prints.add(split(data, "label_source=ferplus_blend", f"ferplus_weight={weight}").train.fingerprint())
    assert len(prints) == 7
    hard, soft = (split(data, f"label_source={source}").train for source in ("ferplus", "ferplus_soft"))
    assert hard.ids == soft.ids and (hard.labels == soft.labels).all()


def test_some_of_the_images_keep_their_distributions(data):
    train = split(data, "label_source=ferplus_soft").train
    for which in (np.array([1, 4, 7]), np.array([2, 3, 4]), train.labels == FER2013_CLASSES.index("sad")):
        some = train.take(which)
        assert len(some.soft) == len(some) > 1
        for identity, shares in zip(some.ids, some.soft, strict=True):
            np.testing.assert_array_equal(shares, train.soft[train.ids.index(identity)])


def test_missing_or_short_votes_are_refused(data):
    table = data / "fer2013new.csv"
    rows = table.read_text().splitlines()
    for kept, message in ((rows[:-1], "FER+ has no row for image 'train/00012'"), (rows[:1], f"{table}: no rows")):
        table.write_text("\n".join(kept))
        with pytest.raises(UserError) as caught:
            split(data, "label_source=ferplus")
        assert message in str(caught.value) and str(caught.value).isprintable() and caught.value.exit_code == 2
    table.unlink()
    with pytest.raises(UserError, match="fer2013new.csv: no such file"):
        split(data, "label_source=ferplus")
