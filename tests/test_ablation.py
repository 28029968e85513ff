"""What a change is worth: runs found by their settings, paired by seed and image, trained once, kept in a table."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SMALL, refusal, start_here
from test_figures import texts

from utils.ablation import Row, ablation_text, change_of, read_ablation, row_of, runs_of, write_ablation
from utils.config import Config, load_config
from utils.predictions import Predictions
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


def row(config: Config, *dumps: Predictions) -> Row | None:
    return row_of(config, BASE, runs_of(config, dumps), runs_of(BASE, dumps), "python x")


def test_runs_are_found_by_their_settings_whatever_their_seed():
    dumps = [dump(MIXUP, 1, [0]), dump(BASE, 3, [1]), dump(MIXUP, 0, [2])]
    assert list(runs_of(MIXUP, dumps)) == [0, 1] and list(runs_of(BASE, dumps)) == [3]
    assert runs_of(dataclasses.replace(MIXUP, mixup=0.3), dumps) == {}


def test_a_change_is_paired_with_the_base_by_seed_and_image():
    dumps = [dump(BASE, 0, [0]), dump(BASE, 1, [0, 1]), dump(MIXUP, 0, [0, 1, 2], [3, 1, 0, 2])]
    found = row(MIXUP, *dumps, dump(MIXUP, 2, []))
    assert found is not None
    assert (found.seeds, found.accuracies, found.change) == ((0,), (0.75,), "mixup=0.2")
    difference = np.array([0.0, 1.0, 1.0, 0.0])  # image by image, against seed 0 of the base alone
    half = 1.959964 * difference.std(ddof=1) / 2
    assert (found.gain, found.low, found.high) == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    assert found.seconds == 10 and found.command == "python x --seeds 0"
    alone = row(BASE, *dumps)
    assert alone is not None and alone.seeds == (0, 1) and alone.accuracy == 0.375
    assert alone.change == "" and np.isnan([alone.gain, alone.low, alone.high]).all()
    assert row(MIXUP, dump(MIXUP, 2, [0]), dumps[0]) is None


def test_other_images_or_labels_are_refused():
    told = refusal(lambda: row(MIXUP, dump(BASE, 0, [0]), dump(MIXUP, 0, [1], data="y")))
    assert told == "mixup: judged on other images or labels than base"


def test_the_table_comes_back_as_it_was_and_keeps_rows_of_other_machines(tmp_path):
    dumps = [dump(BASE, seed, [0]) for seed in (0, 1)] + [dump(MIXUP, seed, [0, seed + 1]) for seed in (0, 1)]
    rows = [row(BASE, *dumps), row(MIXUP, *dumps)]
    write_ablation(rows, tmp_path / "t.csv")
    for kept, given in zip(read_ablation(tmp_path / "t.csv"), rows, strict=True):
        numbers = [[r.gain, r.low, r.high, r.seconds, *r.accuracies] for r in (kept, given)]
        np.testing.assert_allclose(*numbers, atol=1e-6)
        assert (kept.name, kept.change, kept.seeds, kept.command) == (
            *(given.name, given.change, given.seeds, given.command),
        )
    write_ablation(rows[:1], tmp_path / "t.csv")
    assert [found.name for found in read_ablation(tmp_path / "t.csv")] == ["base", "mixup"]
    lines = ablation_text(read_ablation(tmp_path / "t.csv")).splitlines()
    assert lines[2].startswith("| none (base) | 0, 1 | 25.00% (25.00%, 25.00%) |  |")
    assert lines[3].startswith("| mixup: `mixup=0.2` | 0, 1 | 50.00% (50.00%, 50.00%) | +25.00 [")


@pytest.mark.parametrize("damage", ["a,b\n1,2\n", "cut", "words"])
def test_another_table_is_refused(tmp_path, damage):
    dumps = [dump(BASE, 0, [0])]
    write_ablation([row(BASE, *dumps)], tmp_path / "t.csv")
    text = (tmp_path / "t.csv").read_text()
    changed = {"cut": text.rstrip()[:-40], "words": text.replace("0.250000", "much")}.get(damage, damage)
    (tmp_path / "t.csv").write_text(changed)
    assert "t.csv" in refusal(lambda: read_ablation(tmp_path / "t.csv"))


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
    assert [found.name for found in read_ablation(table)] == ["base"] and not table.with_suffix(".png").exists()
    told = start_here(tmp_path, "gen_ablation.py", *FAST)
    assert told.returncode == 2 and "02_bad.json" in told.stderr and len(told.stderr.splitlines()) == 1
    assert [found.name for found in read_ablation(table)] == ["base", "mixup"]
    assert table.with_suffix(".png").stat().st_size > 1000
    with table.open() as file:
        command = list(csv.DictReader(file))[1]["command"]
    assert command.startswith("python gen_ablation.py configs/ablation/01_mixup.json dataset=sample")
    assert "threads" not in command and command.endswith("--seeds 0")
    runs = sorted(path.name for path in (tmp_path / "saved" / "checkpoints").iterdir())
    assert len(runs) == 2 and not list((tmp_path / "saved").rglob("*.test.*"))
    again = start_here(tmp_path, "gen_ablation.py", "--list", *FAST, "--seeds", "0", "1")
    assert "01_mixup.json, seed 1: not begun" in again.stdout and "01_mixup.json, seed 0" not in again.stdout
    assert sorted(path.name for path in (tmp_path / "saved" / "checkpoints").iterdir()) == runs


def test_a_file_that_is_not_in_the_folder_is_refused(tmp_path):
    (tmp_path / "configs" / "ablation").mkdir(parents=True)
    (tmp_path / "configs" / "ablation" / "00_base.json").write_text("{}")
    told = start_here(tmp_path, "gen_ablation.py", "configs/x.json")
    assert told.returncode == 2 and told.stderr == "configs/x.json: not one of the settings files in configs/ablation\n"


def test_the_picture_names_every_change_and_its_gain():
    shown = texts(ablation_figure([("no_ema", 0.012, 0.002, 0.022), ("sam", -0.004, -0.01, 0.002)], "FER2013"))
    assert {"no ema", "sam", "+1.2", "-0.4", "FER2013"} <= set(shown)
    with pytest.raises(ValueError, match="nothing"):
        ablation_figure([], "x")
