"""Several trainings one after the other: what has ended is left alone, what was interrupted goes on."""

import dataclasses
import json
from pathlib import Path

from conftest import SMALL, start_here

from train_all import run_like
from trainers import experiment
from utils.config import load_config
from utils.files import write_atomically
from utils.runs import run_files

FAST = [text for text in SMALL if not text.startswith(("precision", "max_epoch_num"))]


def settings_file(folder: Path, name: str, **values: object) -> str:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps({"model_name": name.partition(".")[0], **values}))
    return str(folder / name)


def runs(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "saved" / "checkpoints").iterdir())


def test_trains_what_is_not_there_and_leaves_alone_what_has_ended(tmp_path):
    files = [settings_file(tmp_path / "configs", f"{name}.json", lr=lr) for name, lr in (("a", 0.05), ("b", 0.01))]
    first = start_here(tmp_path, "train_all.py", files[0], *FAST, "max_epoch_num=1")
    assert first.returncode == 0, first.stderr
    assert "a.json: not begun" in first.stdout
    second = start_here(tmp_path, "train_all.py", *files, *FAST, "max_epoch_num=1")
    assert second.returncode == 0, second.stderr
    assert f"{runs(tmp_path)[0]} has ended" in second.stdout and "b.json: not begun" in second.stdout
    assert [name.split("_")[2] for name in runs(tmp_path)] == ["a", "b"]


def test_goes_on_with_what_was_interrupted(tmp_path):
    file = settings_file(tmp_path / "configs", "a.json")
    assert start_here(tmp_path, "main_fer.py", "--config", file, *FAST, "max_epoch_num=2").returncode == 0
    (name,) = runs(tmp_path)
    (tmp_path / "saved" / "logs" / name / "report.json").unlink()  # it ended before it was judged
    listed = start_here(tmp_path, "train_all.py", "--list", file, *FAST, "max_epoch_num=2")
    assert f"{name} was interrupted" in listed.stdout
    assert not (tmp_path / "saved" / "logs" / name / "report.json").exists()
    assert start_here(tmp_path, "train_all.py", file, *FAST, "max_epoch_num=2").returncode == 0
    assert runs(tmp_path) == [name] and (tmp_path / "saved" / "logs" / name / "report.json").is_file()


def test_a_file_that_fails_does_not_keep_the_next_one_waiting(tmp_path):
    files = [settings_file(tmp_path / "configs", "bad.json", stem="conv3", arch="alexnet")]
    files.append(settings_file(tmp_path / "configs", "good.json"))
    small = [text for text in FAST if not text.startswith("arch")]
    told = start_here(tmp_path, "train_all.py", *files, *small, "max_epoch_num=1", "image_size=64")
    assert told.returncode == 2
    assert "bad.json" in told.stderr and len(told.stderr.splitlines()) == 1
    assert [name.split("_")[1] for name in runs(tmp_path)] == ["good"]


def test_another_folder_of_pictures_is_another_run(tmp_path):
    """Where a folder lies says what it is; where FER2013 lies does not."""
    run = dataclasses.replace(load_config(None, SMALL), checkpoint_dir=str(tmp_path / "checkpoints"))
    for dataset, known in (("folder", False), ("fer2013", True)):
        config = dataclasses.replace(run, dataset=dataset, data_path=str(tmp_path / "a"), model_name=dataset)
        files = run_files(f"tiny_{dataset}", config)
        files.prepare()
        write_atomically(files.settings, json.dumps({"config": dataclasses.asdict(config)}).encode())
        assert run_like(config).name == files.name
        there = dataclasses.replace(config, data_path=str(tmp_path / "b"))
        assert (run_like(there) is not None) == (experiment._run_like(there) is not None) == known


def test_needs_a_settings_file(tmp_path):
    told = start_here(tmp_path, "train_all.py", "lr=1")
    assert told.returncode == 2 and "no settings file" in told.stderr
