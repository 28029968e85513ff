"""The README holds what the committed dumps give, and make_results.py computes it."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

import make_results
from utils.errors import UserError
from utils.predictions import load_predictions

DUMPS = sorted(ROOT.glob("results/*/*.test.npz"))


def test_the_readme_is_what_the_dumps_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["make_results.py", "--check"])
    make_results.main()


def test_a_changed_number_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "results", tmp_path / "results")
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    text = (ROOT / "README.md").read_text()
    number = re.search(r"\*\*(\d\d\.\d\d)%\*\*", text)
    assert number is not None
    (tmp_path / "README.md").write_text(text.replace(number.group(1), "99.99", 1))
    monkeypatch.setattr(make_results, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["make_results.py", "--check"])
    with pytest.raises(UserError, match="differs from the committed dumps"):
        make_results.main()


@pytest.mark.parametrize("path", DUMPS, ids=lambda path: path.name)
def test_committed_dumps_say_what_chose_and_what_judged(path: Path) -> None:
    dump = load_predictions(path)
    assert dump.meta["split"] == "test"
    if dump.meta["run"] == "ensemble":
        assert dump.meta["selection"]["split"] in ("val", "none")
        return
    assert dump.meta["selection"]["split"] == "val"
    assert dump.logits.shape[0] == dump.meta["views"]
    validation = load_predictions(path.with_name(path.name.replace(".test.", ".val.")))
    assert validation.meta["checkpoint"] == dump.meta["checkpoint"]
    if "fold_of" not in dump.meta:
        assert validation.meta["data"] != dump.meta["data"]
        return
    # folds: every image is judged once, and validates in another fold than the one that it is judged in
    assert set(dump.meta["fold_of"]) == set(dump.ids) and len(set(dump.ids)) == len(dump.ids)
    names = [fold["fold"] for fold in dump.meta["folds"]]
    for identity in validation.ids:
        fold, _, image = identity.partition("/")
        assert names[dump.meta["fold_of"][image]] != fold


def test_fer2013_dumps_are_of_the_official_parts() -> None:
    counts = {"test": [491, 55, 528, 879, 594, 416, 626], "val": [467, 56, 496, 895, 653, 415, 607]}
    for path in ROOT.glob("results/fer2013/*.npz"):
        dump = load_predictions(path)
        assert np.bincount(dump.targets).tolist() == counts[dump.meta["split"]]
        assert len(set(dump.ids)) == 3589
