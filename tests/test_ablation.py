"""What a change is worth: runs found by their settings, paired by seed and image, trained once, kept in a table."""

import csv
import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SMALL, refusal, start_here
from test_figures import texts

from utils.ablation import Gain, Row, ablation_text, change_of, row_of, rows_of, runs_of, write_ablation
from utils.config import Config, load_config
from utils.datasets.ferplus import Votes
from utils.labels import FERPLUS_COLUMNS, canonical
from utils.predictions import Predictions, save_predictions
from Visualization.ablation import ablation_figure

BASE = Config(model_name="base", lr=0.1)
MIXUP = dataclasses.replace(BASE, model_name="mixup", mixup=0.2)
FILES = sorted((ROOT / "configs" / "ablation").glob("*.json"))
FAST = [text for text in SMALL if not text.startswith(("max_epoch_num", "mixup", "precision"))]


def dump(config: Config, seed: int, right: list[int], order: list[int] | None = None, data: str = "x") -> Predictions:
    """A validation dump of four images of class 0, of which those numbered in ``right`` are classified rightly."""
    order = order or [0, 1, 2, 3]
    logits = np.array([[[1.0, 0.0] if image in right else [0.0, 1.0] for image in order]], dtype=np.float32)
    settings = dataclasses.asdict(dataclasses.replace(config, seed=seed, precision="fp32", threads=2))
    meta = {"config": settings, "split": "val", "data": data, "training_seconds": 10.0 + seed}
    return Predictions(logits, np.zeros(4, np.int64), [f"val/{image}" for image in order], ("a", "b"), meta)


def row(config: Config, *dumps: Predictions, votes: Votes | None = None) -> Row | None:
    return row_of("01_x", config, BASE, runs_of(config, dumps), runs_of(BASE, dumps), "python x", votes)


def test_runs_are_found_by_their_settings_whatever_their_seed():
    dumps = [dump(MIXUP, 1, [0]), dump(BASE, 3, [1]), dump(MIXUP, 0, [2])]
    assert list(runs_of(MIXUP, dumps)) == [0, 1] and list(runs_of(BASE, dumps)) == [3]
    assert runs_of(dataclasses.replace(MIXUP, mixup=0.3), dumps) == {}


def test_a_run_of_another_teacher_or_other_corrections_is_another_run(tmp_path):
    teacher, file = tmp_path / "teacher.npz", tmp_path / "corrections.json"
    teacher.write_bytes(b"one teacher")
    file.write_bytes(b"some corrections")
    taught = dataclasses.replace(BASE, distil_from=str(teacher))
    cleaned = dataclasses.replace(BASE, corrections=str(file))
    dumps = [dump(taught, 0, [0]), dump(cleaned, 0, [0])]
    dumps[0].meta["teacher"] = hashlib.sha256(b"one teacher").hexdigest()
    version = hashlib.sha256(b"some corrections").hexdigest()[:12]
    dumps[1].meta["training_part"] = {f"train images relabelled by corrections.json ({version})": 3}
    assert list(runs_of(taught, dumps)) == [0] and list(runs_of(cleaned, dumps)) == [0]
    teacher.write_bytes(b"another teacher")
    file.write_bytes(b"other corrections")
    assert runs_of(taught, dumps) == {} and runs_of(cleaned, dumps) == {}
    teacher.unlink()
    file.unlink()
    assert runs_of(taught, dumps) == {} and runs_of(cleaned, dumps) == {}


def test_a_change_is_paired_with_the_base_by_seed_and_image():
    dumps = [dump(BASE, 0, [0]), dump(BASE, 1, [0, 1]), dump(MIXUP, 0, [0, 1, 2], [3, 1, 0, 2])]
    found = row(MIXUP, *dumps, dump(MIXUP, 2, []))
    assert found is not None
    assert (found.seeds, found.accuracies, found.change) == ((0,), (0.75,), "mixup=0.2")
    difference = np.array([0.0, 1.0, 1.0, 0.0])  # image by image, against seed 0 of the base alone
    half = 1.959964 * difference.std(ddof=1) / 2
    assert found.gain == pytest.approx((0.5, 0.5 - half, 0.5 + half)) and found.plurality_gain is None
    assert found.seconds == 10 and found.command == "python x --seeds 0"
    alone = row(BASE, *dumps)
    assert alone is not None and alone.seeds == (0, 1) and alone.accuracy == 0.375
    assert alone.change == "" and alone.gain is None and not alone.proven
    assert row(MIXUP, dump(MIXUP, 2, [0]), dumps[0]) is None


def test_raters_judge_the_same_answers_where_they_give_a_class():
    """Of four images, all labelled 0, they say class 1, 0, contempt and 1."""
    columns = [canonical(column) for column in FERPLUS_COLUMNS]
    counts = np.zeros((4, len(columns)), np.int64)
    for image, name in enumerate(("disgust", "angry", "contempt", "disgust")):
        counts[image, columns.index(name)] = 10
    votes = Votes(counts, [f"val/{image}" for image in range(4)])
    found = row(MIXUP, dump(BASE, 0, [0, 1, 3]), dump(MIXUP, 0, [1, 2], [2, 3, 0, 1]), votes=votes)
    assert found is not None and found.gain is not None and found.plurality_gain is not None
    assert found.gain.mean == -0.25  # by the labels 2 of 4 less 3
    assert found.plurality_gain.mean == pytest.approx(2 / 3)  # by the raters all three less the second alone
    lines = ablation_text([found]).splitlines()
    assert "| gain by FER+'s plurality |" in lines[0] and "| -25.00 [" in lines[2] and "| **+66.67 [" in lines[2]
    assert "white: gain by FER+'s plurality" in " ".join(" ".join(texts(ablation_figure([found], "x"))).split())
    told = refusal(lambda: row(MIXUP, dump(BASE, 0, [0]), dump(MIXUP, 0, [1]), votes=Votes(counts[:1], ["val/0"])))
    assert told == "FER+ has no votes on image 'val/1'"


def test_other_images_or_labels_are_refused():
    told = refusal(lambda: row(MIXUP, dump(BASE, 0, [0]), dump(MIXUP, 0, [1], data="y")))
    assert told == "mixup: judged on other images or labels than base"


def test_the_table_is_made_from_a_folder_of_dumps(tmp_path):
    paths = [tmp_path / "00_base.json", tmp_path / "01_mixup.json", tmp_path / "02_not_trained.json"]
    for path, change in zip(paths, ({}, {"mixup": 0.2}, {"lr": 0.5}), strict=True):
        path.write_text(json.dumps({"lr": 0.1, "model_name": path.stem[3:]} | change))
    for seed in (0, 1):
        save_predictions(dump(BASE, seed, [0]), tmp_path / f"base{seed}.val.npz", half=True)
        save_predictions(dump(MIXUP, seed, [0, seed + 1]), tmp_path / f"mixup{seed}.val.npz", half=True)
    rows = rows_of(paths, ["threads=2", "precision=fp32"], tmp_path)
    assert [(row.name, row.seeds, row.accuracies) for row in rows] == [
        ("base", (0, 1), (0.25, 0.25)),
        ("mixup", (0, 1), (0.5, 0.5)),
    ]
    assert rows[1].command == f"python gen_ablation.py {paths[1]} --seeds 0 1"
    lines = ablation_text(rows).splitlines()
    assert lines[2].startswith("| none (00_base) | 0, 1 | 25.00% (25.00%, 25.00%) |  |")
    assert lines[3].startswith("| 01_mixup: `mixup=0.2` | 0, 1 | 50.00% (50.00%, 50.00%) | +25.00 [")
    write_ablation(rows, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open() as file:
        cells = list(csv.DictReader(file))
    assert [(row["name"], row["seeds"], row["each"], row["gain"]) for row in cells] == [
        ("base", "0 1", "0.250000 0.250000", ""),
        ("mixup", "0 1", "0.500000 0.500000", "0.250000"),
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_changes_keep_the_test_part_closed_and_are_named_apart(path):
    base, config = load_config(FILES[0]), load_config(path)
    assert not config.judge_test and config.model_name == path.stem.split("_", 1)[1]
    assert (change_of(config, base) == "") == (path == FILES[0])


def test_trains_what_is_missing_and_writes_table_and_picture(tmp_path, without_pictures):
    folder = tmp_path / "configs" / "ablation"
    folder.mkdir(parents=True)
    settings = {"judge_test": False, "max_epoch_num": 1}
    for name, change in (("00_base", {}), ("01_mixup", {"mixup": 0.4}), ("02_bad", {"stem": "conv3"})):
        (folder / f"{name}.json").write_text(json.dumps(settings | {"model_name": name[3:]} | change))
    base_only = start_here(tmp_path, "gen_ablation.py", str(Path("configs/ablation/00_base.json")), *FAST)
    assert base_only.returncode == 0, base_only.stderr
    table = tmp_path / "results" / "ablation" / "sample.csv"
    assert names(table) == ["base"] and not table.with_suffix(".png").exists()
    told = start_here(tmp_path, "gen_ablation.py", *FAST)
    assert told.returncode == 2 and "02_bad.json" in told.stderr and len(told.stderr.splitlines()) == 1
    assert names(table) == ["base", "mixup"]
    assert table.with_suffix(".png").stat().st_size > 1000
    with table.open() as file:
        command = list(csv.DictReader(file))[1]["command"]
    assert command.startswith("python gen_ablation.py configs/ablation/01_mixup.json dataset=sample")
    assert "threads" not in command and command.endswith("--seeds 0")
    runs = sorted(path.name for path in (tmp_path / "saved" / "checkpoints").iterdir())
    assert len(runs) == 2 and not list((tmp_path / "saved").rglob("*.test.*"))
    assert sorted(path.name for path in table.parent.glob("*.npz")) == [f"{run}.val.npz" for run in runs]
    shutil.rmtree(tmp_path / "saved")  # another machine, or a fresh clone: the committed dumps say what was trained
    again = start_here(
        tmp_path, "gen_ablation.py", "--list", "./configs/ablation/01_mixup.json", *FAST, "--seeds", "0", "1"
    )
    assert "01_mixup.json, seed 1: not begun" in again.stdout and "01_mixup.json, seed 0" not in again.stdout
    assert names(table) == ["base", "mixup"] and not list((tmp_path / "saved").rglob("*.pt"))


def test_without_a_run_of_the_base_the_table_says_so(tmp_path):
    (tmp_path / "configs" / "ablation").mkdir(parents=True)
    (tmp_path / "configs" / "ablation" / "00_base.json").write_text('{"dataset": "sample"}')
    told = start_here(tmp_path, "gen_ablation.py", "--list")
    last = told.stdout.splitlines()[-1]
    assert last == "results/ablation: no run of configs/ablation/00_base.json, so there is nothing to compare"


def names(table: Path) -> list[str]:
    with table.open() as file:
        return [row["name"] for row in csv.DictReader(file)]


def test_a_file_that_is_not_in_the_folder_is_refused(tmp_path):
    (tmp_path / "configs" / "ablation").mkdir(parents=True)
    (tmp_path / "configs" / "ablation" / "00_base.json").write_text("{}")
    told = start_here(tmp_path, "gen_ablation.py", "configs/x.json")
    assert told.returncode == 2 and told.stderr == "configs/x.json: not one of the settings files in configs/ablation\n"
    told = start_here(tmp_path, "gen_ablation.py", "--list", "--votes", "none.npz")
    assert told.returncode == 2 and told.stderr.startswith("none.npz: ") and told.stderr.count("\n") == 1


def gained(gain: float, low: float, high: float, name: str, *seeds: int) -> Row:
    change = Gain(gain, low, high)
    return Row(f"01_{name}", name, "x=1", seeds, (0.6,) * len(seeds), change, None, 10.0, "python x")


@pytest.mark.parametrize(
    ("gain", "seeds", "proven"), [(-0.012, (0,), False), (-0.012, (0, 1), True), (-0.016, (0,), True)]
)
def test_one_seed_proves_only_what_seeds_alone_cannot_do(gain, seeds, proven):
    row = gained(gain, gain - 0.01, gain + 0.01, "x", *seeds)
    assert row.proven == proven and ("**-1" in ablation_text([row])) == proven
    assert not gained(gain, gain - 0.02, gain + 0.02, "x", *seeds).proven


def test_the_picture_names_every_change_and_its_gain():
    changes = [gained(0.012, 0.002, 0.022, "no_ema", 0, 1), gained(-0.004, -0.01, 0.002, "sam", 0)]
    shown = texts(ablation_figure(changes, "FER2013"))
    assert {"01 no ema (2 seeds)", "01 sam", "+1.2", "-0.4", "FER2013"} <= set(shown)
    with pytest.raises(ValueError, match="nothing"):
        ablation_figure([], "x")


def test_a_row_far_behind_leaves_the_others_apart():
    near, far = gained(-0.01, -0.02, 0.0, "sam", 0), gained(-0.27, -0.29, -0.25, "mixup", 0)
    for changes, arrows in (([near], 0), ([near, far], 1)):
        figure = ablation_figure(changes, "FER2013")
        (axes,) = figure.axes
        assert axes.get_xlim()[0] > -13
        assert [line.get_marker() for line in axes.lines].count("<") == arrows
        assert any("arrow: more than 10" in text for text in texts(figure)) == bool(arrows)
        assert "-27.0" in texts(figure) or not arrows


def test_what_a_teacher_that_has_changed_taught_is_trained_anew(tmp_path, without_pictures):
    folder = tmp_path / "configs" / "ablation"
    folder.mkdir(parents=True)
    settings = {"judge_test": False, "max_epoch_num": 1}
    taught = {"distil_from": "teacher.npz", "distil_weight": 0.5}
    for name, change in (("00_base", {}), ("21_distilled", taught)):
        (folder / f"{name}.json").write_text(json.dumps(settings | {"model_name": name[3:]} | change))
    assert start_here(tmp_path, "main_fer.py", *FAST, "max_epoch_num=1", "model_name=teacher").returncode == 0
    for views, count in (("1", 1), ("2", 2), ("2", 2)):  # another teacher, and then the same again
        assert start_here(tmp_path, "gen_results.py", "--split", "train", "--views", views).returncode == 0
        (dump,) = tmp_path.glob("saved/results/*_teacher_*.train.npz")
        shutil.copy(dump, tmp_path / "teacher.npz")
        told = start_here(tmp_path, "gen_ablation.py", "configs/ablation/21_distilled.json", *FAST, "batch_size=auto")
        assert told.returncode == 0, told.stderr
        assert names(tmp_path / "results" / "ablation" / "sample.csv") == ["base", "distilled"]
        assert len(list((tmp_path / "saved" / "checkpoints").glob("*_distilled_*"))) == count
