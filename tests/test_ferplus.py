"""FER+: votes joined by row, and what becomes of contempt, unknown and NF."""

from pathlib import Path

import numpy as np
import pytest

from utils.datasets.faces import Faces
from utils.datasets.fer2013 import read_fer2013
from utils.datasets.ferplus import DROPPED, Votes, ferplus_majority, ferplus_soft, read_ferplus, votes_on
from utils.errors import UserError
from utils.labels import FER2013_CLASSES, FERPLUS_COLUMNS

HEADER = "Usage,Image name," + ",".join(FERPLUS_COLUMNS)
# neutral, happiness, surprise, sadness, anger, disgust, fear, contempt, unknown, NF
CASES = {
    "clear": ([0, 9, 1, 0, 0, 0, 0, 0, 0, 0], "happy", "happy"),
    "tie": ([0, 0, 5, 5, 0, 0, 0, 0, 0, 0], "surprise", None),
    "tie with NF": ([0, 0, 0, 0, 0, 5, 0, 0, 0, 5], "disgust", None),
    "less than half": ([2, 0, 2, 2, 4, 0, 0, 0, 0, 0], "angry", None),
    "half of all, more without single votes": ([1, 0, 1, 0, 5, 1, 0, 1, 1, 0], "angry", "angry"),
    "contempt wins": ([2, 0, 0, 0, 0, 0, 0, 8, 0, 0], None, None),
    "unknown wins": ([2, 0, 0, 0, 0, 0, 2, 0, 6, 0], None, None),
    "no face": ([0, 0, 0, 0, 0, 0, 0, 0, 0, 10], None, None),
    "fear": ([0, 0, 0, 0, 0, 0, 10, 0, 0, 0], "fear", "fear"),
}
VOTES = Votes(np.array([counts for counts, _, _ in CASES.values()]), list(CASES))


def named(labels: np.ndarray) -> list[str | None]:
    return [None if label == DROPPED else FER2013_CLASSES[label] for label in labels]


def test_labels_by_policy():
    assert named(ferplus_majority(VOTES, "plurality")) == [plurality for _, plurality, _ in CASES.values()]
    assert named(ferplus_majority(VOTES, "majority")) == [majority for _, _, majority in CASES.values()]


def test_shares_by_policy():
    plurality, majority = ferplus_soft(VOTES, "plurality"), ferplus_soft(VOTES, "majority")
    assert plurality.shape == (len(CASES), 7) and plurality.dtype == np.float64
    sums = [float(plurality_label is not None) for _, plurality_label, _ in CASES.values()]
    np.testing.assert_allclose(plurality.sum(1), sums)
    row = dict(zip(CASES, plurality, strict=True))
    np.testing.assert_allclose(row["clear"], [0, 0, 0, 0.9, 0, 0.1, 0])
    np.testing.assert_allclose(row["tie with NF"], [0, 1, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(row["less than half"], [0.4, 0, 0, 0, 0.2, 0.2, 0.2])
    row = dict(zip(CASES, majority, strict=True))
    np.testing.assert_allclose(row["clear"], [0, 0, 0, 1, 0, 0, 0])
    np.testing.assert_allclose(row["tie"], [0, 0, 0, 0, 0.5, 0.5, 0])
    for dropped in ("tie with NF", "contempt wins", "unknown wins", "no face"):
        assert (row[dropped] == 0).all()


def test_unknown_policy():
    for function in (ferplus_majority, ferplus_soft):
        with pytest.raises(UserError, match="unknown FER\\+ policy 'mean'; expected one of plurality, majority"):
            function(VOTES, "mean")


def write(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join([HEADER, *rows]))
    return path


def test_rows_are_joined_by_number_not_by_name(tmp_path):
    rows = [f"{usage},fer0000007.png,{n},0,0,0,0,0,0,0,0,0" for n, usage in enumerate(["Training", "PrivateTest"] * 3)]
    votes = read_ferplus(write(tmp_path / "fer2013new.csv", rows))
    assert votes.ids == ["train/00000", "test/00000", "train/00001", "test/00001", "train/00002", "test/00002"]
    assert votes.counts[:, 0].tolist() == [0, 1, 2, 3, 4, 5] and votes.counts.dtype == np.int64
    faces = Faces(np.zeros((2, 1, 1), np.uint8), np.zeros(2, np.int64), ["test/00002", "test/00000"], None, ())
    assert votes_on(read_ferplus(tmp_path), faces).counts[:, 0].tolist() == [5, 1]
    images = Faces(faces.images, faces.labels, ["test/happy/a.png", "test/happy/b.png"], None, ())
    with pytest.raises(UserError, match="no row for image 'test/happy/a.png'; it is joined to FER2013's CSV forms"):
        votes_on(votes, images)


BAD = {
    "usage": ("Test,a,1,0,0,0,0,0,0,0,0,0", "row 2, column Usage: 'Test'; expected one of Training"),
    "eleven": ("Training,a,11,0,0,0,0,0,0,0,0,0", "row 2, column neutral: '11'; expected a whole number from 0 to 10"),
    "negative": ("Training,a,0,0,0,0,0,0,0,0,0,-1", "row 2, column NF: '-1'"),
    "text": ("Training,a,0,0,0,0,x,0,0,0,0,0", "row 2, column anger: 'x'"),
    "cut": ("Training,a,0,0", "row 2: 4 columns, expected 12"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_rows_name_file_row_and_value(tmp_path, what):
    file = write(tmp_path / "fer2013new.csv", [BAD[what][0]])
    with pytest.raises(UserError) as caught:
        read_ferplus(tmp_path)
    assert str(caught.value).startswith(f"{file}: {BAD[what][1]}")


@pytest.fixture(scope="module")
def real(real_data, tmp_path_factory):
    votes = read_ferplus(real_data("ferplus"))
    return votes, read_fer2013(real_data("fer2013"), tmp_path_factory.mktemp("cache"))


def test_real_agreement_with_the_official_labels(real):
    votes, split = real
    assert len(votes.ids) == 35887 and set(votes.counts.sum(1)) == {9, 10} and (votes.counts.sum(1) == 9).sum() == 1
    labels = ferplus_majority(votes_on(votes, split.test), "plurality")
    agrees = labels == split.test.labels
    assert round(100 * agrees.mean(), 1) == 62.2
    for name, expected in (("happy", 92.8), ("fear", 13.4)):
        assert round(100 * agrees[split.test.labels == FER2013_CLASSES.index(name)].mean(), 1) == expected


def test_real_rows_without_a_label(real):
    votes, split = real
    for policy, hard, soft in (
        ("plurality", [485, 60, 70], [485, 60, 70]),
        ("majority", [3768, 403, 452], [511, 71, 68]),
    ):
        found = [votes_on(votes, part) for part in split.parts().values()]
        assert [(ferplus_majority(v, policy) == DROPPED).sum() for v in found] == hard
        assert [(ferplus_soft(v, policy).sum(1) == 0).sum() for v in found] == soft


def test_real_rows_in_another_order_are_noticed(real):
    votes, split = real
    shuffled = Votes(np.random.default_rng(0).permutation(votes.counts), votes.ids)
    with pytest.raises(
        UserError, match="FER\\+ agrees with 1.\\..% of FER2013's labels; the rows are in another order"
    ):
        votes_on(shuffled, split.test)
