"""What stops a run of folds, in one line: a fold that fails, a signal, damaged or changed files, wrong options."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FOLDED, start_here
from test_folds import assert_same_outcome, drop, dump, fold
from test_training import StopAfter

from trainers import experiment, folds, trainer
from utils.config import load_config
from utils.errors import TrainingError
from utils.predictions import load_predictions
from utils.splits import load_splits
from utils.splits.split_file import save_split_file

pytestmark = pytest.mark.usefixtures("without_pictures")


def refusal(folder: Path, *arguments: str, code: int = 2) -> str:
    """The one line that the program ends with; no file is written or removed."""
    before = sorted(folder.rglob("*"))
    done = start_here(folder, "main_fer.py", *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stdout + done.stderr
    assert sorted(folder.rglob("*")) == before
    return done.stderr.strip()


def test_a_fold_that_fails_is_one_line_and_keeps_the_others(tmp_path, monkeypatch):
    def fail_in_the_second(learner, split, files, *rest):
        if files.fold_name == "fold-02":
            raise TrainingError("epoch 1, step 2: loss is nan; try a smaller lr than 1, or grad_clip=1")
        return trainer.train_split(learner, split, files, *rest)

    monkeypatch.setattr(folds, "train_split", fail_in_the_second)
    done = start_here(tmp_path, "main_fer.py", *FOLDED)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "loss is nan" in done.stderr
    (run,) = (path.name for path in (tmp_path / "saved/checkpoints").iterdir())
    assert load_predictions(fold(tmp_path, run, 1) / f"{run}.test.npz").meta["fold"] == "fold-01"
    assert not fold(tmp_path, run, 3).exists() and not (tmp_path / f"saved/results/{run}.test.npz").exists()
    assert "fold-02" in done.stderr or "fold 2" in done.stderr


@pytest.mark.parametrize("code", [2, 3, 4])
def test_a_fold_that_fails_beside_others_ends_them_and_is_one_line(copied_folds, monkeypatch, code):
    folder, run = copied_folds
    drop(folder, run, 1, 2, 3)
    started = []

    def start_another(folded, number):
        script = f"import sys, time; print('oh dear'); time.sleep({0 if number == 2 else 60}); sys.exit({code})"
        output = folded.files.fold(number).logs / "terminal.txt"
        with open(output, "wb") as file:
            started.append(subprocess.Popen([sys.executable, "-u", "-c", script], stdout=file))
        return started[-1]

    monkeypatch.setattr(folds, "_start", start_another)
    done = start_here(folder, "main_fer.py", "--resume", run, "--jobs", "2")
    assert (done.returncode, done.stderr) == (code, f"fold 2: ended with exit code {code}: oh dear\n")
    assert len(started) == 2 and all(process.poll() is not None for process in started)


def test_a_signal_reaches_folds_side_by_side(copied_folds, monkeypatch):
    folder, run = copied_folds
    drop(folder, run, 1, 2, 3)
    started = []

    def start_another(folded, number):
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        return started[-1]

    monkeypatch.setattr(folds, "_start", start_another)
    monkeypatch.setattr(experiment, "StopRequest", lambda: StopAfter(1))
    done = start_here(folder, "main_fer.py", "--resume", run, "--jobs", "2")
    assert done.returncode == 143 and f"0 of 3 folds are finished; --resume {run} goes on" in done.stderr
    assert len(started) == 2 and all(process.poll() is not None for process in started)


BAD_SETTINGS = {
    "empty": b"",
    "cut": b'{"config": {"lr": 0.1',
    "a list": b"[]",
    "no config": b'{"data": "x"}',
    "config of another kind": b'{"config": 7}',
    "not UTF-8": b"\xff\xfe\x00",
    "nested": b"[" * 100000,
    "unknown setting": b'{"config": {"learning": 1}}',
    "bad value": b'{"config": {"lr": -1}}',
}


@pytest.mark.parametrize("what", BAD_SETTINGS)
def test_damaged_settings_of_a_run_are_one_line(copied_folds, what):
    folder, run = copied_folds
    (folder / "saved/checkpoints" / run / "run.json").write_bytes(BAD_SETTINGS[what])
    for arguments in ((), ("--fold", "1"), ("--compare-protocols",)):
        message = refusal(folder, "--resume", run, *arguments)
        assert message.startswith(f"saved/checkpoints/{run}/run.json: ") and len(message) < 400


def test_changed_data_are_refused(copied_folds):
    folder, run = copied_folds
    settings = folder / "saved/checkpoints" / run / "run.json"
    shared = json.loads(settings.read_text())
    settings.write_text(json.dumps(shared | {"data": "0" * 64}))
    assert refusal(folder, "--resume", run) == f"saved/checkpoints/{run}: the data have changed since it began"
    settings.write_text(json.dumps(shared | {"config": shared["config"] | {"sample_seed": 1}}))
    assert refusal(folder, "--resume", run) == f"saved/checkpoints/{run}: the data have changed since it began"
    settings.write_text(json.dumps({"config": shared["config"]}))
    assert "the data have changed" in refusal(folder, "--resume", run)


def test_other_folds_than_it_began_with_are_refused(copied_folds, monkeypatch):
    """A split file that is whole, of this protocol and these data, and with its folds in another order."""
    folder, run = copied_folds
    drop(folder, run, 3)
    splits = folder / "saved/checkpoints" / run / "splits.json"
    seal = json.loads(splits.read_text())["sha256"]
    assert seal == json.loads((splits.parent / "run.json").read_text())["splits"]
    others = load_splits(load_config(None, FOLDED))[::-1]
    assert save_split_file(splits, others, "sample") != seal
    expected = f"saved/checkpoints/{run}/splits.json: not the one that the run began with; run.json has its hash"
    assert refusal(folder, "--resume", run) == expected
    done = start_here(folder, "gen_results.py", run)
    assert (done.returncode, done.stderr) == (2, f"{expected}\n")


@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_a_run_without_its_splits_is_refused(copied_folds, content):
    folder, run = copied_folds
    splits = folder / "saved/checkpoints" / run / "splits.json"
    splits.unlink() if content is None else splits.write_bytes(content)
    assert refusal(folder, "--resume", run).startswith(f"saved/checkpoints/{run}/splits.json: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*FOLDED, "--jobs", "0"), "--jobs must be a whole number from 1; got 0"),
        ((*FOLDED, "--jobs", "two"), "--jobs: invalid int value: 'two'"),
        ((*FOLDED, "--fold", "2"), "--fold goes with --resume RUN"),
        (("--resume", "RUN", "--fold", "4"), "--fold: RUN has folds 1 to 3; got 4"),
        (("--resume", "RUN", "--fold", "0"), "--fold: RUN has folds 1 to 3; got 0"),
        (("--resume", "RUN", "folds=4"), "a resumed run keeps its settings"),
        (("--resume", "RUN", "--check"), "leave out --resume"),
        ((*FOLDED, "folds=9"), "9 folds of 5 persons; expected from 3 folds to as many as there are persons"),
        ((*FOLDED, "protocol=files"), "protocol files: not for sample"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, tuple) else "",
)
def test_what_does_not_go_together_is_one_line(finished_folds, arguments, message):
    folder, run, _ = finished_folds
    arguments = [run if argument == "RUN" else argument for argument in arguments]
    assert message.replace("RUN has", f"{run} has") in refusal(folder, *arguments)


def test_a_fold_of_a_run_that_has_none(copied_folds):
    folder, run = copied_folds
    (folder / "saved/checkpoints" / run / "run.json").unlink()
    assert refusal(folder, "--resume", run, "--fold", "1") == f"saved/checkpoints/{run}: has no folds; leave out --fold"


@pytest.mark.parametrize("how", ["lost", "damaged"])
def test_a_fold_without_its_best_weights_is_trained_again(copied_folds, finished_folds, how):
    folder, run = copied_folds
    best = fold(folder, run, 2) / "best.pt"
    whole = best.read_bytes()
    best.unlink() if how == "lost" else best.write_bytes(whole[:-500])
    for part in ((), ("--split", "val")):
        done = start_here(folder, "gen_results.py", run, "--views", "1", *part)
        where = f"saved/checkpoints/{run}/fold-02"
        hint = f"; delete {where}, and --resume {run} trains fold 2 again\n"
        assert done.returncode == 2 and done.stderr.startswith(f"{where}/best.pt: ") and done.stderr.endswith(hint)
        assert done.stderr.count("\n") == 1
    (fold(folder, run, 2) / f"{run}.test.npz").unlink()  # as if stopped between training and judging
    done = start_here(folder, "main_fer.py", "--resume", run)
    assert done.returncode == 0 and done.stderr.startswith(f"saved/checkpoints/{run}/fold-02/best.pt: ")
    assert done.stderr.endswith("; fold 2 is trained again\n") and done.stderr.count("\n") == 1
    assert_same_outcome(dump(finished_folds[0], run), dump(folder, run))
    assert start_here(folder, "gen_results.py", run, "--views", "1").returncode == 0


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_fold_without_any_usable_checkpoint_says_what_to_do(copied_folds, jobs):
    folder, run = copied_folds
    for name in ("best.pt", "last.pt"):
        (fold(folder, run, 2) / name).write_bytes(b"x" * 300)
    (fold(folder, run, 2) / f"{run}.test.npz").unlink()
    done = start_here(folder, "main_fer.py", "--resume", run, "--jobs", str(jobs))
    hint = f"; delete saved/checkpoints/{run}/fold-02, and --resume {run} trains fold 2 again"
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and hint in done.stderr.replace(f"{folder}/", "")
    assert done.stderr.startswith("fold 2: ")


@pytest.mark.parametrize(("gone", "words"), [((2,), "fold 2 is"), ((1, 3), "folds 1, 3 are")])
def test_what_is_not_finished_is_said_for_either_part(copied_folds, gone, words):
    folder, run = copied_folds
    drop(folder, run, *gone)
    for part, then in (("test", "so the test part stays closed"), ("val", f"--resume {run} goes on")):
        done = start_here(folder, "gen_results.py", run, "--split", part)
        assert (done.returncode, done.stderr) == (2, f"saved/checkpoints/{run}: {words} not finished, {then}\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("init_from=saved/checkpoints/RUN/fold-01/best.pt", "images of this run's val and test parts"),
        ("freeze_stages=9", "tiny_resnet has 4 stages to freeze; got 9"),
        ("judge_test=false", "every fold tests what others train on"),
    ],
    ids=["init_from", "freeze_stages", "judge_test"],
)
def test_check_refuses_what_the_run_refuses(copied_folds, change, message):
    """Here the origin has the very split of the first fold, and has seen the test images of the second."""
    folder, run = copied_folds
    settings = (*FOLDED, change.replace("RUN", run))
    said = [start_here(folder, "main_fer.py", *settings, *check) for check in ((), ("--check",))]
    assert [one.returncode for one in said] == [2, 2] and said[0].stderr == said[1].stderr
    assert message in said[0].stderr and said[0].stderr.count("\n") == 1
    assert "settings (those" not in said[1].stdout and len(list((folder / "saved/checkpoints").iterdir())) == 1


def test_check_shows_every_fold_and_writes_nothing(tmp_path):
    done = start_here(tmp_path, "main_fer.py", "--check", *FOLDED)
    assert done.returncode == 0, done.stderr
    splits = load_splits(load_config(None, FOLDED))
    for number, split in enumerate(splits, 1):
        (line,) = (line for line in done.stdout.splitlines() if line.startswith(f"  {number} fold-0{number}"))
        for part in split.parts().values():
            assert f"{len(part)} ({len(set(part.subjects))} p.)" in line
        assert line.split()[-7:] == [str(count) for count in split.test.counts()]
    assert "0 test images with an exact copy in the train part" in done.stdout and "in each of 3 folds" in done.stdout
    assert not (tmp_path / "saved").exists()
