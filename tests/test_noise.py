"""Wrong labels: found by what other folds say and by copies, corrected in the training part alone, and said."""

import json

import numpy as np
import pytest
from conftest import FOLDED, SMALL, refusal, start_here
from test_training_part import data, split  # noqa: F401

from utils.datasets.duplicates import image_hashes
from utils.datasets.faces import Faces
from utils.datasets.noise import copy_conflicts, ranked_suspects
from utils.predictions import load_predictions
from utils.splits.corrections import load_corrections


def test_suspects_follow_the_published_rule():
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.05, 0.95], [0.2, 0.8], [0.8, 0.2], [0.45, 0.55]])
    labels = np.array([0, 0, 0, 1, 1, 0])
    # mean of class 0 over its images 0.525, of class 1 over its own 0.5: image 5 is confidently 1 as well
    assert ranked_suspects(probabilities, labels).tolist() == [2, 4, 5]


def test_planted_errors_come_first_as_the_reference_has_them():
    random = np.random.default_rng(0)
    truth = random.integers(0, 4, 600)
    logits = random.normal(0, 1, (600, 4)) + 3 * np.eye(4)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = truth.copy()
    labels[:60] = (truth[:60] + 1) % 4
    found = ranked_suspects(probabilities, labels)
    assert (found[:40] < 60).mean() > 0.95
    filters = pytest.importorskip("cleanlab.filter")
    reference = filters.find_label_issues(
        labels, probabilities, filter_by="confident_learning", return_indices_ranked_by="normalized_margin", n_jobs=1
    )
    assert found.tolist() == reference.tolist()


def test_copies_get_the_label_of_most_or_the_likeliest():
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4), dtype=np.uint8)
    images[[1, 2]], images[4] = images[0], images[3]
    faces = Faces(images, np.array([0, 0, 1, 0, 1, 1]), [f"train/{i}" for i in range(6)], None, ("a", "b"))
    assert copy_conflicts(faces, np.full((6, 2), [0.3, 0.7])) == {2: 0, 3: 1}


@pytest.fixture
def corrections(data):  # noqa: F811
    """A file that relabels one training image and leaves another out; what it says can be changed."""
    whole = split(data)
    entries = {}
    for row, becomes in ((8, "happy"), (11, None)):
        (digest,) = image_hashes([whole.train.images[row]])
        label = whole.train.classes[whole.train.labels[row]]
        entries[whole.train.ids[row]] = {"pixels": digest.hex(), "label": label, "becomes": becomes, "why": "x"}
    path = data.parent / "corrections.json"

    def write(**changes):
        path.write_text(json.dumps({"images": {**entries, **changes}}))
        return path

    write.entries = entries
    return write


def test_only_the_training_part_is_corrected(data, corrections):  # noqa: F811
    path = corrections()
    whole, found = split(data), split(data, f"corrections={path}")
    assert set(whole.train.ids) - set(found.train.ids) == {"train/00011"}
    row = found.train.ids.index("train/00008")
    assert found.train.classes[found.train.labels[row]] == "happy"
    others = [i for i, identity in enumerate(found.train.ids) if identity != "train/00008"]
    same = [found.train.labels[i] == whole.train.labels[whole.train.ids.index(found.train.ids[i])] for i in others]
    assert all(same)
    assert (found.val.fingerprint(), found.test.fingerprint()) == (whole.val.fingerprint(), whole.test.fingerprint())
    assert list(found.trimmed.values()) == [1, 1] and all("corrections.json" in said for said in found.trimmed)
    both = split(data, f"corrections={path}", "drop_copies=test")  # which leaves train/00008 out already
    assert sorted(both.left_out.ids) == ["train/00007", "train/00008", "train/00011"]
    assert list(both.trimmed.values()) == [2, 0, 1]


@pytest.mark.parametrize(
    ("identity", "change", "told"),
    [
        ("test/00001", {}, 'image "test/00001" is of test; only train is corrected'),
        ("train/99999", {}, 'image "train/99999" is not here'),
        ("train/00008", {"pixels": "00"}, "train/00008: other pixels"),
        ("train/00008", {"label": "sad"}, "the file corrects sad"),
        ("train/00008", {"becomes": "joy"}, "becomes joy; expected one of angry"),
        ("train/00008", {"becomes": 3}, "expected the texts"),
    ],
)
def test_corrections_that_do_not_fit_are_refused(data, corrections, identity, change, told):  # noqa: F811
    path = corrections(**{identity: corrections.entries["train/00008"] | change})
    assert told in refusal(lambda: split(data, f"corrections={path}"))


@pytest.mark.parametrize("text", ["", "[]", '{"images": 3}'])
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    assert "x.json" in refusal(lambda: load_corrections(tmp_path / "x.json"))


def test_from_folds_to_a_run_that_applies_what_was_found(data, tmp_path):  # noqa: F811
    here = [f"data_path={data}", f"cache_dir={data.parent / 'cache'}"]
    keys = ("dataset", "sample_faces", "max_epoch_num", "protocol", "batch_size")
    small = [text for text in FOLDED if not text.startswith(keys)] + ["batch_size=8", "max_epoch_num=1", *here]
    done = start_here(tmp_path, "main_fer.py", *small, "protocol=random")
    assert done.returncode == 0, done.stderr
    (dump,) = (tmp_path / "saved" / "results").glob("*.test.npz")
    assert set(load_predictions(dump).ids) == {f"train/{i:05d}" for i in range(42)}  # the other parts stay out
    told = start_here(tmp_path, "gen_corrections.py", str(dump), *here, "--most", "1")
    assert told.returncode == 0, told.stderr
    path = tmp_path / "saved" / "noise" / "corrections.json"
    assert "train/00008" in (found := load_corrections(path)) or "train/00007" in found  # copies, labels 0 and 1
    small = [text for text in SMALL if not text.startswith(("dataset", "sample", "max_epoch", "batch"))]
    run = start_here(tmp_path, "main_fer.py", *small, *here, "batch_size=8", "max_epoch_num=1", f"corrections={path}")
    assert run.returncode == 0, run.stderr
    meta = load_predictions(max((tmp_path / "saved" / "results").glob("*.test.npz"))).meta
    assert meta["config"]["corrections"] == str(path)
    assert all("corrections.json" in said for said in meta["training_part"]) and sum(meta["training_part"].values()) > 0
    negative = start_here(tmp_path, "gen_corrections.py", str(dump), *here, "--most", "-5")
    assert (negative.returncode, negative.stderr) == (2, "--most must be 0 or more; got -5\n")
    refused = start_here(tmp_path, "gen_corrections.py", str(dump).replace(".test.", ".val."), *here)
    assert refused.returncode == 2 and "not out of fold" in refused.stderr


def test_settings_are_not_asked_for(tmp_path):
    refused = start_here(tmp_path, "gen_corrections.py")
    assert (refused.returncode, refused.stderr) == (2, "the following arguments are required: dump\n")


@pytest.mark.parametrize("dataset", ["jaffe", "ckplus"])
def test_no_corrections_are_written_that_no_run_could_apply(tmp_path, dataset):
    refused = start_here(tmp_path, "gen_corrections.py", "x.test.npz", f"dataset={dataset}")
    assert refused.returncode == 2 and "protocol=official, which this data set does not have" in refused.stderr
    assert not (tmp_path / "saved" / "noise").exists()
