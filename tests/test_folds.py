"""A run of folds from end to end: every image judged once; interrupted and gone on with; side by side; one alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import FOLDED, start_here
from test_training import StopAfter

from trainers import experiment, folds
from utils.checkpoint import load_checkpoint
from utils.config import load_config
from utils.inference import Recognizer
from utils.predictions import Predictions, load_predictions
from utils.runs import find_run
from utils.splits import load_splits

pytestmark = pytest.mark.usefixtures("without_pictures")


def fold(folder: Path, run: str, number: int) -> Path:
    return folder / "saved" / "checkpoints" / run / f"fold-{number:02d}"


def dump(folder: Path, run: str, part: str = "test") -> Predictions:
    return load_predictions(folder / "saved" / "results" / f"{run}.{part}.npz")


def drop(folder: Path, run: str, *numbers: int) -> None:
    """As if these folds had never begun."""
    for number in numbers:
        shutil.rmtree(fold(folder, run, number))
    for part in ("val", "test"):
        (folder / "saved" / "results" / f"{run}.{part}.npz").unlink()


def states(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of every file below ``folder``."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def assert_same_outcome(one: Predictions, other: Predictions) -> None:
    assert one.ids == other.ids and one.logits.tobytes() == other.logits.tobytes()
    assert one.meta["fold_of"] == other.meta["fold_of"] and one.meta["data"] == other.meta["data"]


# ------------------------------------------------------------------------------------------------ what a run leaves


def test_each_image_is_judged_once_by_a_network_that_has_not_met_its_person(finished_folds):
    folder, run, _ = finished_folds
    pooled, splits = dump(folder, run), load_splits(load_config(None, FOLDED))
    every = {i: label for s in splits for i, label in zip(s.test.ids, s.test.labels.tolist(), strict=True)}
    assert len(every) == 94 and dict(zip(pooled.ids, pooled.targets.tolist(), strict=True)) == every
    for number, split in enumerate(splits):
        best = Recognizer(fold(folder, run, number + 1) / "best.pt")
        assert best.checkpoint.data["train"] == split.train.fingerprint()
        assert not set(split.test.subjects) & {*split.train.subjects, *split.val.subjects}
        own = best.predict(split, "test")
        assert {i for i, of in pooled.meta["fold_of"].items() if of == number} == set(own.ids)
        places = [pooled.ids.index(identity) for identity in own.ids]
        np.testing.assert_array_equal(pooled.logits[:, places], own.logits)
        assert [pooled.meta["subjects"][identity] for identity in own.ids] == split.test.subjects
    assert len(set(pooled.meta["subjects"].values())) == 5


def test_what_a_pooled_dump_says_of_its_run(finished_folds):
    folder, run, _ = finished_folds
    test, val = dump(folder, run), dump(folder, run, "val")
    assert [one["fold"] for one in test.meta["folds"]] == ["fold-01", "fold-02", "fold-03"]
    assert test.meta["protocol"] == "kfold: 3 folds of persons, the next one validates; no person in two parts"
    assert (test.meta["run"], test.meta["split"], test.meta["dataset"]) == (run, "test", "sample")
    assert len(val.ids) == 94 and {identity.partition("/")[0] for identity in val.ids} == {
        f"fold-0{n}" for n in (1, 2, 3)
    }
    last = [load_checkpoint(fold(folder, run, number) / "last.pt") for number in (1, 2, 3)]
    assert all(one.progress["finished"] and one.epoch == 2 for one in last)
    assert {one.selection["protocol"] for one in last} == {test.meta["protocol"]}


def no_json(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def test_report_pictures_and_words(finished_folds):
    folder, run, said = finished_folds
    test = dump(folder, run)
    right = test.probabilities().argmax(1) == test.targets
    report = json.loads((folder / "saved/logs" / run / "report.json").read_text(), parse_constant=no_json)
    assert report["test"]["views"]["accuracy"] == right.mean() and report["protocol"] == test.meta["protocol"]
    shares = [right[[test.meta["fold_of"][i] == number for i in test.ids]].mean() for number in range(3)]
    assert report["test"]["spread"]["folds"] == pytest.approx(shares)
    assert sum(images for _, _, images in report["test"]["spread"]["persons"]) == 94
    for picture in ("test", "val", "persons"):
        assert (folder / f"saved/confusion_matrices/{run}.{picture}.png").read_bytes().startswith(b"\x89PNG")
    for number, share in enumerate(shares, 1):
        assert f"fold {number}/3 (fold-0{number}): epoch " in said and f"right ({share:.1%})" in said
        assert (folder / f"saved/logs/{run}/fold-0{number}/metrics.csv").stat().st_size > 0
    assert f"mean of 3 folds {np.mean(shares):.2%}" in said and "over 5 persons" in said and "opened once" in said


def test_the_report_of_one_split_is_json_too(tmp_path):
    done = start_here(tmp_path, "main_fer.py", *FOLDED, "protocol=official", "max_epoch_num=1")
    assert done.returncode == 0, done.stderr
    (report,) = tmp_path.glob("saved/logs/*/report.json")
    assert json.loads(report.read_text(), parse_constant=no_json)["test"]["clean"]["images"] == 12


# ------------------------------------------------------------------------------------------------ stopped, then resumed


@pytest.mark.parametrize(("questions", "finished"), [(12, 0), (15, 1)], ids=["while judging", "within an epoch"])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(finished_folds, tmp_path, monkeypatch, questions, finished):
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "StopRequest", lambda: StopAfter(questions))
        done = start_here(tmp_path, "main_fer.py", *FOLDED)
    (run,) = (path.name for path in (tmp_path / "saved/checkpoints").iterdir())
    assert (done.returncode, done.stderr.count("\n")) == (143, 1)
    assert f"{finished} of 3 folds are finished; --resume {run} goes on" in done.stderr
    assert fold(tmp_path, run, finished + 1).is_dir() and not fold(tmp_path, run, finished + 2).exists()
    assert not (tmp_path / f"saved/results/{run}.test.npz").exists()
    kept = [states(fold(tmp_path, run, number + 1)) for number in range(finished)]

    refused = start_here(tmp_path, "gen_results.py", run)
    unfinished = ", ".join(str(number) for number in range(finished + 1, 4))
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert f"folds {unfinished} are not finished, so the test part stays closed" in refused.stderr
    early = start_here(tmp_path, "gen_results.py", run, "--split", "val")
    assert (early.returncode, early.stderr.count("\n")) == (2, 1)

    assert start_here(tmp_path, "main_fer.py", "--resume", run).returncode == 0
    assert [states(fold(tmp_path, run, number + 1)) for number in range(finished)] == kept
    folder, whole, _ = finished_folds
    for part in ("val", "test"):
        assert_same_outcome(dump(folder, whole, part), dump(tmp_path, run, part))


def test_folds_side_by_side_give_what_one_by_one_gives(copied_folds, finished_folds):
    folder, run = copied_folds
    drop(folder, run, 2, 3)
    kept = states(fold(folder, run, 1))
    done = start_here(folder, "main_fer.py", "--resume", run, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert "2 folds to train, 2 side by side" in done.stdout and "fold 3/3 (fold-03): epoch " in done.stdout
    assert states(fold(folder, run, 1)) == kept
    for part in ("val", "test"):
        assert_same_outcome(dump(finished_folds[0], run, part), dump(folder, run, part))
    for number in (2, 3):
        assert (
            (folder / f"saved/logs/{run}/fold-0{number}/terminal.txt")
            .read_text()
            .startswith(f"run {run}, fold-0{number}")
        )


def test_a_fold_in_a_process_of_its_own_is_handed_what_may_change(monkeypatch, copied_folds):
    """Where the data lie, where and how it is computed; as typed after --resume."""
    folder, run = copied_folds
    monkeypatch.chdir(folder)
    typed = []
    monkeypatch.setattr(folds.subprocess, "Popen", lambda command, **_: typed.append(command))
    changes = {"threads": 1, "micro_batch": 8, "num_workers": 2}
    folds._start(folds.reopen(find_run(run, load_config(None)), changes), 2)
    assert {"threads=1", "micro_batch=8", "num_workers=2", "--fold"} <= set(typed[0])


@pytest.mark.parametrize(("changed", "jobs", "threads"), [([], 1, 4), ([], 2, 1), (["threads"], 2, 4)])
def test_folds_that_go_on_side_by_side_share_the_processors(monkeypatch, finished_folds, changed, jobs, threads):
    """Though the run had settled on more when it was alone; unless the user says how many."""
    folder, run, *_ = finished_folds
    monkeypatch.chdir(folder)
    begun, trained = folds.reopen(find_run(run, load_config(None)), {"threads": 4}), []
    monkeypatch.setattr(experiment, "reopen", lambda found, changes: begun)
    monkeypatch.setattr(experiment, "resolve", lambda config, say: config)
    monkeypatch.setattr(experiment, "processors", lambda: 2)
    monkeypatch.setattr(experiment, "_train_folds", lambda folded, jobs: trained.append(folded.config.threads))
    experiment.resume(run, load_config(None), changed, jobs)
    assert trained == [threads]


def test_one_fold_alone_then_all_together(copied_folds, finished_folds):
    folder, run = copied_folds
    drop(folder, run, 2, 3)
    place = str(folder / "saved/checkpoints" / run)  # as on another machine
    assert start_here(folder, "main_fer.py", "--resume", place, "--fold", "3", "num_workers=1").returncode == 0
    assert fold(folder, run, 3).is_dir() and not fold(folder, run, 2).exists()
    assert not (folder / f"saved/results/{run}.test.npz").exists()
    kept = states(fold(folder, run, 3))
    assert start_here(folder, "main_fer.py", "--resume", run, "--fold", "3").returncode == 0  # nothing left to do
    done = start_here(folder, "main_fer.py", "--resume", run)
    assert done.returncode == 0, done.stderr
    assert states(fold(folder, run, 3)) == kept
    assert_same_outcome(dump(finished_folds[0], run), dump(folder, run))


def test_a_run_can_be_told_where_it_lies(copied_folds, monkeypatch):
    folder, run = copied_folds
    (folder / "saved/checkpoints").rename(folder / "moved")
    done = start_here(folder, "main_fer.py", "--resume", run, f"checkpoint_dir={folder / 'moved'}")
    assert done.returncode == 0, done.stderr
